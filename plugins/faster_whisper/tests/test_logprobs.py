from __future__ import annotations

import math

import numpy as np
import pytest

from unisono import Feature, Segment
from unisono_faster_whisper.logprobs import probabilities, token_logprobs

RATE = 16_000


def joined(segment: Segment) -> str:
    pieces = (piece.data or piece.token.encode() for piece in segment.logprobs)
    return b"".join(pieces).decode("utf-8", "replace")


def test_the_pieces_of_a_text_come_with_their_log_probabilities_when_asked_for(
    write, write_batched, spoken
) -> None:
    for writes in (write, write_batched):
        for text in spoken:
            (segment,) = writes(spoken[text], logprobs=True, without_timestamps=False)
            assert joined(segment) == segment.text == text
            assert all(-3 < piece.logprob <= 0 for piece in segment.logprobs)
            (segment,) = writes(spoken[text])
            assert segment.logprobs == ()


def test_every_model_has_them(make_engine, trained) -> None:
    for settings in ({}, {"batched": True}):
        assert Feature.LOGPROBS in make_engine(trained, **settings).model.features


def test_a_doubtful_word_is_known_by_its_log_probability(write, hello) -> None:
    noisy = hello + np.random.default_rng(0).normal(0, 0.03, len(hello)).astype(np.float32)
    options = {"logprobs": True, "vad_filter": False, "language": "en", "temperature_fallback": []}

    def mean(samples: np.ndarray) -> float:
        (segment,) = write(samples, **options)
        return sum(piece.logprob for piece in segment.logprobs) / len(segment.logprobs)

    assert mean(noisy) < mean(hello) < 0


@pytest.mark.parametrize("previous", [[], [53, 120, 211, 7]])
def test_they_are_those_with_which_the_decoder_wrote(loaded, folder, previous) -> None:
    """Greedily, the library tells the logits of each step; of beams it has none."""
    from faster_whisper.tokenizer import Tokenizer

    model = loaded(folder("random"))._loaded
    tokenizer = Tokenizer(model.hf_tokenizer, True, task="transcribe", language="de")
    noise = np.random.default_rng(0).standard_normal((3, 80, 3000)).astype(np.float32)
    encoded = model.encode(noise)
    start = [tokenizer.sot_prev, *previous] if previous else []
    prompt = [*start, *tokenizer.sot_sequence, tokenizer.no_timestamps]
    results = model.model.generate(
        encoded,
        [prompt] * 3,
        beam_size=1,
        max_length=len(prompt) + 9,
        return_logits_vocab=True,
        suppress_blank=False,
        suppress_tokens=list(range(tokenizer.eot, model.hf_tokenizer.get_vocab_size())),
    )
    texts = [result.sequences_ids[0] for result in results]
    prompts = [prompt, [], prompt]
    found = probabilities(model, encoded, prompts, texts)
    for result, text, own, values in zip(results, texts, prompts, found, strict=True):
        if not own:
            assert values == ()
            continue
        assert len(values) == len(text) > 5
        for step, token, value in zip(result.logits[0], text, values, strict=True):
            scores = np.exp(np.asarray(step).reshape(-1)[: tokenizer.eot].astype(np.float64))
            assert value == pytest.approx(scores[token] / scores.sum(), rel=1e-3)


def test_a_character_of_several_tokens_is_told_by_its_bytes(loaded, trained) -> None:
    tokenizer = loaded(trained)._loaded.hf_tokenizer
    tokens = tokenizer.encode(" n\u00e4 \u20ac x\u3000 ", add_special_tokens=False).ids
    found = token_logprobs(tokenizer, tokens, [0.5] * len(tokens))
    assert b"".join(piece.data or piece.token.encode() for piece in found).decode() == "nä € x"
    assert [(piece.token, piece.data) for piece in found if piece.data] == [
        ("\ufffd", bytes([byte])) for byte in "ä€".encode()
    ]
    assert {piece.logprob for piece in found} == {math.log(0.5)}


def test_what_is_next_to_impossible_is_still_a_number(loaded, trained) -> None:
    tokenizer = loaded(trained)._loaded.hf_tokenizer
    (piece,) = token_logprobs(tokenizer, tokenizer.encode("a", add_special_tokens=False).ids, [0.0])
    assert piece.logprob < -80
    assert math.isfinite(piece.logprob)


def test_a_prompt_that_fills_the_decoder_makes_room(loaded, folder) -> None:
    """What the decoder wrote ends at its last position; two more tokens are needed to read it."""
    model = loaded(folder("random"))._loaded
    noise = np.random.default_rng(0).standard_normal((1, 80, 3000)).astype(np.float32)
    encoded = model.encode(noise)
    tokenizer = model.hf_tokenizer
    names = ("<|startofprev|>", "<|startoftranscript|>", "<|de|>", "<|transcribe|>")
    before, *start = map(tokenizer.token_to_id, names)
    for prompt in ([before, *[53] * 300, *start], [before, *[9] * 2, *[53] * 298, *start]):
        (values,) = probabilities(model, encoded, [prompt], [[120] * 144])
        assert len(values) == 144


@pytest.mark.parametrize("batched", [False, True])
def test_each_segment_has_its_own(loaded, request_of, folder, apart, batched: bool) -> None:
    engine = loaded(folder("random"), batched=batched)
    options = {"vad_filter": True} if batched else {"temperature_fallback": [0.8]}
    request = request_of(
        apart[: 40 * RATE],
        prompt="good morning " * 1000,
        hotwords=("guten tag",) * 8,
        logprobs=True,
        word_timestamps=True,
        without_timestamps=False,
        **options,
    )
    # A random model sampled at random may write nothing at all.
    attempts = (list(engine.transcribe(request)) for _ in range(20))
    segments = next(filter(None, attempts))
    for segment in segments:
        assert joined(segment) == segment.text
        assert segment.logprobs


def test_who_does_not_ask_has_none_though_another_of_the_batch_does(
    loaded, request_of, trained, hello
) -> None:
    batch = loaded(trained, batched=True).open_batch()
    for key, options in enumerate([{}, {"logprobs": True}, {"language": "de", "logprobs": True}]):
        batch.add(key, request_of(hello, without_timestamps=False, **options))
    found = {key: item for key, item in batch.step() if item is not None}
    assert [len(found[key].logprobs) > 5 for key in range(3)] == [False, True, True]
    assert [joined(found[key]) == found[key].text for key in (1, 2)] == [True, True]
