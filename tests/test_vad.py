"""Where somebody speaks. espeak-ng does; noise and silence are made here."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

import unisono_espeak
from unisono import Kernel
from unisono.audio import resample
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono.silero import RATE, WINDOW, Silero
from unisono.vad import Detection, Endpoints, last_pause, speech_spans

PHRASE = "Nobody knows how the story ends"
SECOND = np.zeros(RATE, np.float32)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """A phrase at 16 kHz, 1.6 s long, without silence around it."""

    async def speak() -> np.ndarray:
        plugins = PluginManager()
        plugins.add(unisono_espeak, "espeak")
        async with Kernel(Config(), plugins) as kernel:
            chunks = [chunk async for chunk in kernel.speech(PHRASE, model="espeak")]
        samples = np.concatenate([chunk.samples for chunk in chunks])
        return resample(samples, chunks[0].sample_rate, RATE)

    samples = asyncio.run(speak())
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() / 50)
    return samples[loud[0] : loud[-1] + 1]


@pytest.fixture(scope="module")
def twice(speech: np.ndarray) -> np.ndarray:
    """One second of silence, the phrase, one second, the phrase, one second."""
    return np.concatenate([SECOND, speech, SECOND, speech, SECOND])


def noise(frames: int, level: float, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(frames)).astype(np.float32)


def blocks(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    yield from (samples[at : at + size] for at in range(0, len(samples), size))


def spans_of(
    likely: list[float], detection: Detection | None = None, max_seconds: float | None = None
) -> list[tuple[int, int]]:
    """Return the spans, in windows, of probabilities of windows."""
    endpoints = Endpoints(detection or Detection(prefix_padding_ms=0), max_seconds)
    spans = [*endpoints.follow(np.array(likely)), *endpoints.finish(len(likely) * WINDOW)]
    return [(start // WINDOW, -(-end // WINDOW)) for start, end in spans]


def vowels() -> np.ndarray:
    """Two seconds of something between vowels and a machine, about which Silero is unsure."""
    time = np.arange(64 * WINDOW) / RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 1.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    first = 500 + 250 * np.sin(2 * np.pi * 2 * time)
    second = 1500 + 600 * np.sin(2 * np.pi * 1.1 * time)
    samples = np.zeros_like(time)
    for number in range(1, 30):
        near = np.exp(-(((number * pitch - first) / 150) ** 2))
        near += 0.5 * np.exp(-(((number * pitch - second) / 200) ** 2))
        samples += near * np.sin(number * phase)
    samples *= np.clip(3 * np.sin(2 * np.pi * 1.5 * time), 0, 1)
    return (0.2 * samples / np.abs(samples).max()).astype(np.float32)


def test_the_probabilities_are_those_of_the_published_network() -> None:
    # fmt: off
    published = [  # silero_vad_16k_op15.onnx of v6.2, run by onnxruntime
        0.113, 0.348, 0.177, 0.340, 0.326, 0.291, 0.328, 0.458, 0.789, 0.924, 0.783, 0.475, 0.368,
        0.154, 0.074, 0.038, 0.027, 0.021, 0.019, 0.018, 0.054, 0.304, 0.196, 0.362, 0.585, 0.756,
        0.694, 0.449, 0.334, 0.391, 0.380, 0.216, 0.070, 0.047, 0.026, 0.019, 0.014, 0.012, 0.011,
        0.010, 0.009, 0.041, 0.191, 0.122, 0.050, 0.060, 0.059, 0.056, 0.058, 0.090, 0.091, 0.110,
        0.019, 0.012, 0.010, 0.007, 0.005, 0.004, 0.004, 0.004, 0.004, 0.004, 0.020, 0.006,
    ]
    # fmt: on
    assert Silero().write(vowels()) == pytest.approx(published, abs=0.02)


def test_each_utterance_is_a_span_and_silence_is_none(
    twice: np.ndarray, speech: np.ndarray
) -> None:
    spans = list(speech_spans([twice], Detection(prefix_padding_ms=0)))
    begins = [RATE, 2 * RATE + len(speech)]
    assert len(spans) == 2
    for (start, end), begin in zip(spans, begins, strict=True):
        assert abs(start - begin) < 0.1 * RATE
        assert 0 <= end - (begin + len(speech)) < 0.3 * RATE


def test_utterances_are_found_in_loud_noise(twice: np.ndarray, speech: np.ndarray) -> None:
    loudness = float(np.sqrt(np.mean(speech**2)))
    noisy = twice + noise(len(twice), loudness * 10 ** (-10 / 20))
    spans = list(speech_spans([noisy]))
    assert len(spans) == 2
    for (start, end), begin in zip(spans, [RATE, 2 * RATE + len(speech)], strict=True):
        assert start < begin + 0.2 * RATE
        assert end > begin + len(speech) - 0.2 * RATE


@pytest.mark.parametrize(
    "samples",
    [
        np.empty(0, np.float32),
        np.zeros(100, np.float32),
        np.zeros(3 * RATE, np.float32),
        noise(3 * RATE, 0.001),
        noise(3 * RATE, 0.2),
    ],
    ids=["nothing", "too little", "digital silence", "hiss", "loud noise"],
)
def test_nobody_speaks_where_there_is_no_speech(samples: np.ndarray) -> None:
    assert list(speech_spans([samples])) == []


def test_no_blocks_are_no_speech() -> None:
    assert list(speech_spans([])) == []


@pytest.mark.parametrize("size", [160, 511, 512, 5000, 40_000])
def test_where_blocks_are_cut_changes_nothing(twice: np.ndarray, size: int) -> None:
    silero = Silero()
    likely = np.concatenate([*map(silero.write, blocks(twice, size))])
    assert np.array_equal(likely, Silero().write(twice))
    assert list(speech_spans(blocks(twice, size))) == list(speech_spans([twice]))


def test_empty_blocks_change_nothing(twice: np.ndarray) -> None:
    parts = [part for block in blocks(twice, 9000) for part in (SECOND[:0], block)]
    assert list(speech_spans(parts)) == list(speech_spans([twice]))


def test_a_span_is_known_soon_after_it_ends(twice: np.ndarray, speech: np.ndarray) -> None:
    read = 0

    def reading() -> Iterator[np.ndarray]:
        nonlocal read
        for block in blocks(twice, 1000):
            read += len(block)
            yield block

    next(speech_spans(reading()))
    assert read < RATE + len(speech) + 0.6 * RATE


def test_speech_that_goes_on_to_the_end_ends_there(twice: np.ndarray, speech: np.ndarray) -> None:
    cut = twice[: 2 * RATE + len(speech) + RATE // 2 + 123]
    assert [end for _, end in speech_spans([cut])][-1] == len(cut)


def test_speech_from_the_first_frame_starts_there(speech: np.ndarray) -> None:
    assert next(speech_spans([speech]))[0] == 0


def test_a_short_silence_ends_nothing(twice: np.ndarray) -> None:
    assert len(list(speech_spans([twice], Detection(silence_duration_ms=600)))) == 2
    assert len(list(speech_spans([twice], Detection(silence_duration_ms=1500)))) == 1


def test_the_padding_comes_before_speech(twice: np.ndarray) -> None:
    bare = list(speech_spans([twice], Detection(prefix_padding_ms=0)))
    padded = list(speech_spans([twice], Detection(prefix_padding_ms=250)))
    assert padded == [(start - RATE // 4, end) for start, end in bare]


def test_the_padding_ends_where_the_span_before_did(twice: np.ndarray) -> None:
    first, second = speech_spans([twice], Detection(prefix_padding_ms=5000))
    assert first[0] == 0
    assert second[0] == first[1]


def test_recordings_heard_at_once_do_not_disturb_each_other(twice: np.ndarray) -> None:
    noisy = twice + noise(len(twice), 0.01)
    recordings = [twice, noisy, twice[5000:], noisy[9000:]]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda samples: list(speech_spans([samples])), recordings))
    assert found == [list(speech_spans([samples])) for samples in recordings]


def test_memory_does_not_grow_with_the_recording(speech: np.ndarray) -> None:
    block = np.tile(speech, 20)[: 20 * RATE]

    def ten_minutes() -> Iterator[np.ndarray]:
        yield from (block.copy() for _ in range(30))

    list(speech_spans([block]))  # the weights
    tracemalloc.start()
    try:
        count = sum(1 for _ in speech_spans(ten_minutes(), max_seconds=30))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count >= 20
    assert peak < 4 * block.nbytes  # the recording has 30 times that


def test_a_click_is_no_speech() -> None:
    assert spans_of([0] * 10 + [1] * 3 + [0] * 20) == []
    assert len(spans_of([0] * 10 + [1] * 5 + [0] * 20)) == 1


def test_speech_begins_at_the_threshold_and_goes_on_a_little_below() -> None:
    likely = [0.45] * 20 + [0.55] * 10 + [0.4] * 20 + [0.3] * 20
    assert spans_of(likely) == [(20, 54)]
    assert spans_of(likely, Detection(threshold=0.6, prefix_padding_ms=0)) == []


def test_a_threshold_of_zero_calls_everything_speech() -> None:
    assert spans_of([0.0] * 50, Detection(threshold=0)) == [(0, 50)]


def test_speech_ends_whatever_the_threshold() -> None:
    likely = [0.0] * 10 + [0.9] * 10 + [0.0] * 30
    assert spans_of(likely, Detection(threshold=0.1, prefix_padding_ms=0)) == [(10, 24)]


def test_the_padding_takes_at_most_half_of_a_span() -> None:
    likely = [0.0] * 200 + [0.9] * 20 + [0.0] * 30
    assert spans_of(likely, Detection(prefix_padding_ms=5000), 2) == [(168, 224)]


def test_a_long_span_is_cut_in_its_longest_pause() -> None:
    likely = [0.9] * 40 + [0.2] * 4 + [0.9] * 5 + [0.2] * 6 + [0.9] * 30
    assert spans_of(likely, None, 2) == [(0, 52), (52, 85)]


def test_a_long_span_without_pauses_is_cut_where_speech_is_least_likely() -> None:
    likely = [0.1] * 10 + [0.9] * 100
    likely[52] = 0.6
    likely[15] = 0.55  # in the first half, where a cut would only make a snippet
    assert spans_of(likely, None, 2) == [(10, 53), (52, 110)]


def test_less_than_a_window_at_the_end_counts() -> None:
    endpoints = Endpoints(Detection(), 2)
    spans = [*endpoints.follow(np.full(62, 0.9)), *endpoints.finish(62 * WINDOW + 400)]
    assert spans == [(0, 31 * WINDOW + WINDOW // 2), (31 * WINDOW + WINDOW // 2, 62 * WINDOW + 400)]


def test_a_limit_never_loses_speech(speech: np.ndarray) -> None:
    long = np.tile(speech, 6)
    spans = list(speech_spans([long], max_seconds=2))
    assert all(0 < end - start <= 2 * RATE for start, end in spans)
    assert (spans[0][0], spans[-1][1]) == (0, len(long))
    assert all(one[1] == other[0] for one, other in pairwise(spans))


@pytest.mark.parametrize("seed", range(40))
def test_spans_are_in_order_apart_and_no_longer_than_allowed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0, 1, 100).repeat(rng.integers(1, 25, 100))
    likely = np.clip(steps + 0.1 * rng.standard_normal(len(steps)), 0, 1)
    detection = Detection(rng.uniform(0.1, 0.9), *rng.integers(0, 3000, 2).tolist())
    most = float(rng.uniform(1, 5))
    endpoints = Endpoints(detection, most)
    frames = len(likely) * WINDOW + 100  # the last window is not complete
    spans = [*endpoints.follow(likely), *endpoints.finish(frames)]
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert all(0 <= start < end <= frames for start, end in spans)
    assert all(end - start <= most * RATE for start, end in spans)


@pytest.mark.parametrize("seconds", [0.5, 0, -1, float("nan")])
def test_a_limit_below_a_second_is_refused_at_once(seconds: float) -> None:
    with pytest.raises(ValueError, match="at least 1 second"):
        speech_spans([], max_seconds=seconds)


def test_a_cut_goes_through_the_middle_of_the_longest_pause(speech: np.ndarray) -> None:
    tail = np.concatenate([speech, SECOND[:6400], speech, SECOND[:12_800], speech])
    middle = 2 * len(speech) + 6400 + 6400
    assert last_pause(tail) == pytest.approx(middle, abs=0.15 * RATE)


def test_the_later_of_two_equal_pauses_is_cut() -> None:
    likely = [0.9] * 36 + [0.2] * 6 + [0.9] * 7 + [0.2] * 6 + [0.9] * 30
    assert spans_of(likely, None, 2) == [(0, 52), (52, 85)]


def test_nobody_pauses_where_nobody_speaks() -> None:
    tone = np.sin(np.arange(3 * RATE) * (2 * np.pi * 220 / RATE)).astype(np.float32)
    assert last_pause(0.5 * tone) is None
    assert last_pause(np.zeros(3 * RATE, np.float32)) is None


def test_speech_without_a_pause_is_not_cut(speech: np.ndarray) -> None:
    for start in range(0, len(speech) - RATE, 1600):
        assert last_pause(speech[start : start + RATE]) is None


def test_what_is_too_short_has_no_pause() -> None:
    assert last_pause(np.empty(0, np.float32)) is None
    assert last_pause(np.zeros(1000, np.float32)) is None
