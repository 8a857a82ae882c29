from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from unisono import CancelToken, EngineUnavailable, Segment, TranscriptionRequest
from unisono_pocketsphinx.engine import PocketsphinxEngine
from unisono_pocketsphinx.utterances import LONGEST, utterances

RATE = 16_000
Write = Callable[..., list[Segment]]
MakeRequest = Callable[..., TranscriptionRequest]


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.float32)


def noise(seconds: float, level: float) -> np.ndarray:
    return np.random.default_rng(1).normal(0, level, int(seconds * RATE)).astype(np.float32)


def texts(segments: list[Segment]) -> list[str]:
    return [segment.text for segment in segments]


def test_a_recording_is_transcribed_exactly(write: Write, goforward: np.ndarray) -> None:
    (segment,) = write(goforward)
    assert segment.text == "go forward ten meters"
    assert segment.start == pytest.approx(0.46, abs=0.1)
    assert segment.end == pytest.approx(2.12, abs=0.1)
    assert segment.words == ()
    assert segment.avg_logprob is not None
    assert segment.avg_logprob <= 0


def test_words_have_rising_times_and_a_confidence(write: Write, goforward: np.ndarray) -> None:
    (segment,) = write(goforward, words=True)
    assert [word.text for word in segment.words] == ["go", "forward", "ten", "meters"]
    for word in segment.words:
        assert segment.start <= word.start < word.end <= segment.end
        assert word.probability is not None
        assert 0 <= word.probability <= 1
    assert all(a.end <= b.start + 0.02 for a, b in pairwise(segment.words))
    assert segment.words[1].start == pytest.approx(0.64, abs=0.1)
    assert segment.words[3].start == pytest.approx(1.53, abs=0.1)


def test_the_probabilities_of_the_words_come_when_asked_for(
    write: Write, goforward: np.ndarray
) -> None:
    (segment,) = write(goforward, words=True, logprobs=True)
    assert [token.token for token in segment.logprobs] == ["go", " forward", " ten", " meters"]
    for token, word in zip(segment.logprobs, segment.words, strict=True):
        assert math.exp(token.logprob) == pytest.approx(word.probability)
    mean = sum(token.logprob for token in segment.logprobs) / 4
    assert segment.avg_logprob == pytest.approx(mean)
    assert write(goforward, words=True)[0].logprobs == ()


def test_equal_audio_gives_equal_segments_whatever_came_before(
    write: Write, goforward: np.ndarray
) -> None:
    first = write(goforward, words=True)
    assert write(goforward, words=True) == first
    write(0.2 * goforward[RATE::-1])
    assert write(goforward, words=True) == first


@pytest.mark.parametrize(("before", "after"), [(0, 0.1), (0, 2), (1.5, 0), (3, 3)])
def test_digital_silence_around_speech_changes_no_word(
    write: Write, goforward: np.ndarray, before: float, after: float
) -> None:
    (segment,) = write(np.concatenate([silence(before), goforward, silence(after)]))
    assert segment.text == "go forward ten meters"
    assert segment.start == pytest.approx(before + 0.46, abs=0.15)


def test_speech_with_digital_silence_between_its_sounds_is_understood(
    write: Write, goforward: np.ndarray
) -> None:
    frames = goforward[: len(goforward) // 160 * 160].reshape(-1, 160).copy()
    frames[np.sqrt(np.mean(frames**2, axis=1)) < 0.01] = 0  # a noise gate
    first = write(frames.ravel(), words=True)
    assert texts(first) == ["go forward ten meters"]
    assert write(frames.ravel(), words=True) == first


@pytest.mark.parametrize("length", [0, 1, 100, 400, 5_000, 48_000])
def test_digital_silence_of_any_length_gives_nothing(write: Write, length: int) -> None:
    assert write(np.zeros(length)) == []


@pytest.mark.parametrize("level", [0.0005, 0.01, 0.1])
def test_noise_gives_nothing(write: Write, level: float) -> None:
    assert write(noise(2, level)) == []


def test_samples_beyond_full_scale_are_clipped(write: Write, goforward: np.ndarray) -> None:
    assert texts(write(6 * goforward)) == ["go forward ten meters"]


def test_each_utterance_is_a_segment_at_its_place(write: Write, goforward: np.ndarray) -> None:
    pauses = [0.5, 1.0, 2.0, 1.2, 4.0, 1.0]
    samples = np.concatenate([part for pause in pauses for part in (silence(pause), goforward)])
    began = np.cumsum([0, *(pause + len(goforward) / RATE for pause in pauses[:-1])]) + pauses
    segments = write(samples)
    assert texts(segments) == ["go forward ten meters"] * len(pauses)
    for segment, start in zip(segments, began, strict=True):
        assert segment.start == pytest.approx(start + 0.46, abs=0.1)
        assert segment.end == pytest.approx(start + 2.12, abs=0.1)


def test_a_word_at_the_very_end_of_the_audio_stays_within_it(
    write: Write, goforward: np.ndarray
) -> None:
    samples = goforward[: int(2.105 * RATE)]
    (segment,) = write(samples, words=True)
    assert segment.text == "go forward ten meters"
    assert segment.words[-1].end <= segment.end <= len(samples) / RATE


def test_speech_without_a_pause_is_cut_into_bounded_parts_that_abut(babble: np.ndarray) -> None:
    samples = np.tile(babble, 3)
    spans = list(utterances((samples * 32767).astype(np.int16).tobytes()))
    assert len(spans) > 1
    assert spans[0][0] == 0
    assert spans[-1][1] == len(samples)
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert all(0 < end - start <= LONGEST for start, end in spans)


def test_nothing_but_pauses_is_left_out(goforward: np.ndarray) -> None:
    samples = np.concatenate([silence(2), goforward, silence(3), goforward, silence(2)])
    spans = list(utterances((samples * 32767).astype(np.int16).tobytes()))
    assert len(spans) == 2
    for (start, end), offset in zip(spans, [2, 5 + len(goforward) / RATE], strict=True):
        assert start / RATE <= offset + 0.46
        assert end / RATE >= offset + 2.12


def test_a_cancelled_request_ends_before_the_next_utterance(
    engine: PocketsphinxEngine, make_request: MakeRequest, goforward: np.ndarray
) -> None:
    cancel = CancelToken()
    samples = np.concatenate([goforward, silence(1), goforward])
    stream = engine.transcribe(make_request(samples, cancel=cancel))
    assert next(stream).text == "go forward ten meters"
    cancel.cancel()
    assert list(stream) == []


def test_a_request_that_was_cancelled_before_is_not_decoded(
    write: Write, goforward: np.ndarray
) -> None:
    cancel = CancelToken()
    cancel.cancel()
    assert write(goforward, cancel=cancel) == []


def test_a_stream_closed_early_does_not_disturb_the_next_one(
    engine: PocketsphinxEngine, make_request: MakeRequest, write: Write, goforward: np.ndarray
) -> None:
    samples = np.concatenate([goforward, silence(1), goforward])
    stream = engine.transcribe(make_request(samples, keyphrases=["meters"]))
    assert next(stream).text == "meters"
    stream.close()
    assert texts(write(goforward)) == ["go forward ten meters"]


@pytest.mark.parametrize("setting", ["acoustic_model", "language_model", "dictionary"])
def test_a_missing_model_file_is_named_by_its_setting(
    make_engine: Callable[..., PocketsphinxEngine], tmp_path: Path, setting: str
) -> None:
    with pytest.raises(EngineUnavailable, match=setting) as caught:
        make_engine(**{setting: tmp_path / "nowhere"}).load()
    assert "nowhere" not in str(caught.value)
