"""What is heard, through the engine alone."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from unisono import CancelToken, RequestError, VoicePrompt

TEXT = "Hello, a test."


def upstream(engine, text, **options) -> np.ndarray:
    """Speak with mlx-audio's own generator, greedily, all at once."""
    (result,) = engine._loaded.mlx.generate(text, temperature=0, **options)
    engine._loaded.mlx._icl_cache.clear()
    return np.array(result.audio)


# The speech is mlx-audio's


@pytest.mark.parametrize("length", [2, 3, 6, 7, 14, 15])
def test_streamed_speech_is_what_mlx_audio_makes_as_a_whole(engine, speech, length):
    model = engine("custom_voice")

    said = speech(model, "x" * length, "ryan", language="en-US")

    whole = upstream(model, "x" * length, voice="ryan", lang_code="english")
    np.testing.assert_array_equal(said, whole)


def test_instructions_and_dialects_reach_the_model_as_in_mlx_audio(engine, speech):
    model = engine("custom_voice")

    said = speech(model, TEXT, "eric", instructions="Sadly.")

    np.testing.assert_array_equal(said, upstream(model, TEXT, voice="eric", instruct="Sadly."))


def test_cloning_from_the_embedding_alone_is_as_in_mlx_audio(engine, speech, cloned, recording):
    model = engine("base")
    voice = cloned(model, recording(), None)

    said = speech(model, TEXT, voice, x_vector_only_mode=True)

    np.testing.assert_array_equal(said, upstream(model, TEXT, ref_audio=mx.array(recording())))


def test_cloning_with_a_transcript_is_as_in_mlx_audio_as_a_whole(engine, speech, cloned, recording):
    model = engine("base")

    said = speech(model, TEXT, cloned(model, recording(), "and so on"))

    # mlx-audio takes frames of the reference whose first code is 0 for padding.
    loaded = model._loaded
    codes = loaded.codec.encode(recording())
    assert (codes[:, 0] > 0).all()
    whole = upstream(model, TEXT, ref_audio=mx.array(recording()), ref_text="and so on")
    np.testing.assert_allclose(said, whole, atol=1e-6)


def test_descriptions_are_as_in_mlx_audio(engine, speech):
    model = engine("voice_design")
    voice = VoicePrompt(description="A calm old man.")

    said = speech(model, TEXT, voice, instructions="He whispers.")

    whole = upstream(model, TEXT, instruct="A calm old man. He whispers.")
    np.testing.assert_array_equal(said, whole)


@pytest.mark.parametrize("name", ["base_bf16", "base_4bit", "base_bf16_4bit"])
def test_other_precisions_speak(engine, speech, cloned, recording, name):
    model = engine(name)

    said = speech(model, TEXT, cloned(model, recording()))

    assert said.dtype == np.float32
    assert len(said) / 24_000 == pytest.approx(0.08 * len(TEXT), rel=0.5)


# Streaming


def test_the_first_chunk_is_short_and_later_ones_are_longer(engine, request_of):
    request = request_of(TEXT * 2, "ryan")

    sizes = [len(chunk.samples) for chunk in engine("custom_voice").synthesize(request)]

    assert sizes[:4] == [2 * 1920, 4 * 1920, 8 * 1920, 8 * 1920]
    assert sizes[4] <= 8 * 1920


def test_a_cancelled_request_stops_within_a_frame(engine, request_of):
    cancel = CancelToken()
    chunks = engine("custom_voice").synthesize(request_of(TEXT * 5, "ryan", cancel=cancel))
    next(chunks)

    cancel.cancel()

    assert list(chunks) == []


def test_a_closed_stream_leaves_nothing_behind_for_the_next(engine, request_of, speech):
    model = engine("custom_voice")
    alone = speech(model, TEXT, "ryan")
    chunks = model.synthesize(request_of(TEXT * 5, "vivian"))
    next(chunks)
    chunks.close()

    np.testing.assert_array_equal(speech(model, TEXT, "ryan"), alone)


def test_codes_that_are_zero_are_heard(engine):
    from unisono_mlx_qwen3_tts.codec import CodecStream

    codec = engine("custom_voice")._loaded.codec
    codes = np.ones((5, 4), np.int32)
    codes[3:, 0] = 0

    assert len(CodecStream(codec).decode(codes)) == 5 * 1920


# The end of the speech


def test_speech_that_is_cut_off_is_an_error_after_what_was_said(engine, request_of):
    chunks = engine("custom_voice").synthesize(request_of(TEXT, "ryan", max_new_tokens=5))

    heard = [next(chunks) for _ in range(2)]
    with pytest.raises(RequestError, match=r"5 frames \(0\.4 seconds\)") as caught:
        next(chunks)

    assert caught.value.param == "max_new_tokens"
    assert sum(len(chunk.samples) for chunk in heard) == 5 * 1920


def test_speech_that_just_fits_is_complete(engine, speech):
    model = engine("custom_voice")
    whole = speech(model, TEXT, "ryan")
    frames = len(whole) // 1920

    fitting = speech(model, TEXT, "ryan", max_new_tokens=frames)

    np.testing.assert_array_equal(fitting, whole)


def test_a_model_that_runs_away_is_stopped_by_its_own_limit(engine, speech):
    with pytest.raises(RequestError, match="20 frames"):
        speech(engine("endless"), TEXT, "ryan")


@pytest.mark.parametrize("text", [" ", "\n\n", "\u3000"])
def test_a_blank_text_is_silence(engine, request_of, text):
    assert list(engine("custom_voice").synthesize(request_of(text, "ryan"))) == []


@pytest.mark.parametrize("text", ["\ud800", "a\nb", "\x00", "😀", "<|im_start|>", "<tts_pad>"])
def test_odd_texts_speak(engine, speech, text):
    assert len(speech(engine("custom_voice"), text, "ryan"))


def test_special_tokens_in_a_text_are_only_characters(engine, speech):
    model = engine("custom_voice")

    shorter = speech(model, "ab", "ryan")

    assert len(speech(model, "a<|im_end|>b", "ryan")) > 3 * len(shorter)


# Chance


def test_the_same_seed_sounds_the_same(engine, speech):
    model = engine("custom_voice")

    first, again, other = (
        speech(model, TEXT, "ryan", temperature=None, seed=seed) for seed in (7, 7, 8)
    )

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_requests_without_a_seed_differ_even_after_one_with_it(engine, speech):
    model = engine("custom_voice")

    heard = []
    for _ in range(2):
        speech(model, "Hi.", "ryan", temperature=None, seed=7)
        heard.append(speech(model, TEXT, "ryan", temperature=None))

    assert not np.array_equal(*heard)
