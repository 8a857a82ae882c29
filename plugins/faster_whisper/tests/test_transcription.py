from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from unisono import Segment, Word

RATE = 16_000
BATCHED = {"multilingual": True, "without_timestamps": False}
# Of text before it the tiny model has learnt nothing.
WINDOW_BY_WINDOW = {"vad_filter": False, "multilingual": True, "condition_on_previous_text": False}


def texts(segments: list[Segment]) -> list[str]:
    return [segment.text for segment in segments]


def test_each_phrase_is_understood_in_its_language(write, spoken) -> None:
    for text, language in zip(spoken, ["en", "en", "de", "fr"], strict=True):
        (segment,) = write(spoken[text])
        assert (segment.text, segment.language) == (text, language)


def test_a_segment_says_how_sure_the_model_is(write, hello) -> None:
    (segment,) = write(hello)
    assert segment.avg_logprob is not None
    assert -0.5 < segment.avg_logprob <= 0
    assert segment.no_speech_prob is not None
    assert 0 <= segment.no_speech_prob < 0.5
    assert segment.compression_ratio == pytest.approx(0.58, abs=0.05)
    assert segment.temperature == 0.0
    assert segment.tokens


def test_words_come_with_times_and_probabilities_when_asked_for(write, hello) -> None:
    (segment,) = write(hello, word_timestamps=True)
    assert [word.text for word in segment.words] == ["hello", "world"]
    first, second = segment.words
    assert 0 <= first.start < first.end <= second.start + 0.02
    assert second.end <= len(hello) / RATE + 0.1
    for word in segment.words:
        assert type(word.start) is type(word.end) is type(word.probability) is float
        assert 0.5 < word.probability <= 1
    assert write(hello)[0].words == ()


def test_a_language_that_is_given_is_not_detected(write, spoken) -> None:
    (segment,) = write(spoken["guten tag"], language="de-AT")
    assert (segment.text, segment.language) == ("guten tag", "de")


@pytest.mark.parametrize(("tag", "answer"), [("nb", "no"), ("cmn-Hant", "zh"), ("jv", "jv")])
def test_tags_that_whisper_has_by_another_code_are_known(write, hello, tag, answer) -> None:
    assert {segment.language for segment in write(hello, language=tag)} == {answer}


def test_a_model_of_one_language_is_told_that_language(loaded, request_of, trained, hello) -> None:
    engine = loaded(trained, languages=["de"])
    assert next(engine.transcribe(request_of(hello))).language == "de"


def test_an_english_model_never_sees_another_language(loaded, request_of, folder, hello) -> None:
    engine = loaded(folder("english"))
    for language in (None, "en", "en-GB"):
        segments = engine.transcribe(
            request_of(hello, language=language, temperature_fallback=[], vad_filter=False)
        )
        assert {segment.language for segment in segments} <= {"en"}


def test_translation_is_another_task_for_the_decoder(loaded, request_of, folder, hello) -> None:
    engine = loaded(folder("random"))
    options = {"language": "de", "temperature_fallback": [], "max_new_tokens": 20}
    written = list(engine.transcribe(request_of(hello, **options)))
    translated = list(engine.transcribe(request_of(hello, translate=True, **options)))
    assert texts(written) != texts(translated)


@pytest.mark.parametrize("samples", [0, 1, 399, RATE])
def test_no_text_is_made_up_for_silence(write, write_batched, samples: int) -> None:
    silence = np.zeros(samples, np.float32)
    assert write(silence) == []
    assert write_batched(silence) == []


def test_without_the_detector_the_model_makes_up_text_for_silence(write) -> None:
    assert write(np.zeros(RATE, np.float32), vad_filter=False)


def test_times_are_those_of_the_whole_audio_though_silence_is_left_out(write, hello) -> None:
    padded = np.concatenate([np.zeros(7 * RATE, np.float32), hello])
    (segment,) = write(padded, word_timestamps=True)
    assert segment.text == "hello world"
    assert 6.5 < segment.start < 7.5
    assert 6.5 < segment.words[0].start < segment.words[-1].end < 9


def test_each_window_yields_its_segments_when_it_is_decoded(
    loaded, request_of, trained, apart
) -> None:
    request = request_of(apart, **WINDOW_BY_WINDOW)
    stream = loaded(trained).transcribe(request)
    calls = count_calls(loaded(trained), "generate")
    assert next(stream).text == "hello world"
    assert len(calls) == 1
    assert texts(list(stream)) == ["good morning", "guten tag", "bonjour"]
    assert len(calls) == 4


def count_calls(engine, name: str) -> list[None]:
    calls: list[None] = []
    model = engine._loaded.model
    original = getattr(type(model), name)

    def counted(*args, **options):
        calls.append(None)
        return original(model, *args, **options)

    setattr(model, name, counted)
    return calls


def test_mixed_languages_are_detected_window_by_window(write, apart) -> None:
    segments = write(apart, **WINDOW_BY_WINDOW)
    assert texts(segments) == ["hello world", "good morning", "guten tag", "bonjour"]
    assert [segment.language for segment in segments] == ["en", "en", "de", "fr"]
    assert all(a.start < b.start for a, b in pairwise(segments))


def test_batches_give_the_same_text(write_batched, spoken) -> None:
    for text in spoken:
        (segment,) = write_batched(spoken[text], without_timestamps=False)
        assert segment.text == text


def test_a_batch_has_several_windows_at_once(loaded, request_of, trained, apart) -> None:
    engine = loaded(trained, batched=True, batch_size=3)
    calls = count_calls(engine, "generate")
    times = [value for k in range(4) for value in (30.0 * k, 30.0 * k + 2)]
    request = request_of(apart, clip_timestamps=times, **BATCHED)
    segments = list(engine.transcribe(request))
    assert len(calls) == 2
    assert texts(segments) == ["hello world", "good morning", "guten tag", "bonjour"]
    assert [round(segment.start) for segment in segments] == [0, 30, 60, 90]
    assert [segment.language for segment in segments] == ["en", "en", "de", "fr"]


def test_batches_have_words_too(write_batched, hello) -> None:
    (segment,) = write_batched(hello, word_timestamps=True)
    assert [word.text for word in segment.words] == ["hello", "world"]


def test_random_weights_break_nothing(loaded, request_of, folder, apart) -> None:
    engine = loaded(folder("random"))
    segments = list(
        engine.transcribe(
            request_of(
                apart[: 31 * RATE], vad_filter=False, word_timestamps=True, max_new_tokens=40
            )
        )
    )
    for segment in segments:
        assert segment.avg_logprob is None or np.isfinite(segment.avg_logprob)
        assert type(segment.start) is type(segment.end) is float


class _Doubtful:
    """A library whose segments lack what real ones may lack, with numpy's numbers."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(detected=None)
        self.hf_tokenizer = SimpleNamespace(get_vocab_size=lambda: 1)

    def transcribe(self, samples: np.ndarray, **options: Any) -> Any:
        word = SimpleNamespace(
            word=" odd", start=np.float64(0.2), end=np.float64(1.2), probability=np.float64("nan")
        )
        segment = SimpleNamespace(
            text=" odd",
            start=np.float64(0.3),
            end=np.float64(0.9),
            words=[word, SimpleNamespace(**{**vars(word), "word": " "})],
            avg_logprob=-np.inf,
            no_speech_prob=np.nan,
            compression_ratio=None,
            temperature=None,
            tokens=[1],
        )
        blank = SimpleNamespace(**{**vars(segment), "text": " "})
        return iter([blank, segment]), SimpleNamespace(language="jw")


def test_what_the_library_does_not_know_is_left_out(make_engine, request_of, trained, hello):
    engine = make_engine(trained)
    engine._loaded = _Doubtful()
    (segment,) = engine.transcribe(request_of(hello, word_timestamps=True))
    assert segment == Segment("odd", 0.2, 1.2, (Word("odd", 0.2, 1.2),), language="jv", tokens=(1,))
    assert type(segment.start) is type(segment.words[0].end) is float
