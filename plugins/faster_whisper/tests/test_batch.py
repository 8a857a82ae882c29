"""Requests that are decoded together get what each gets alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import unisono_faster_whisper
from unisono import AudioChunk, Kernel, RequestError, Segment, TranscriptionRequest
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono_faster_whisper.batch import WindowBatch

RATE = 16_000
PHRASES = ("hello world", "good morning", "guten tag", "bonjour")
# The tiny model was trained with them.
TIMESTAMPS = {"without_timestamps": False}


@pytest.fixture(scope="module")
def record(spoken) -> Callable[..., np.ndarray]:
    """Return so many seconds with these phrases at these times: record(10, {2.5: "bonjour"})."""

    def make(seconds: float, said: dict[float, str]) -> np.ndarray:
        samples = np.zeros(int(seconds * RATE), np.float32)
        for second, phrase in said.items():
            start = int(second * RATE)
            samples[start : start + len(spoken[phrase])] += spoken[phrase]
        return samples

    return make


@pytest.fixture(scope="module")
def recordings(record) -> list[np.ndarray]:
    """Recordings of 1.5 to 65 seconds."""
    return [
        record(1.5, {0: "hello world"}),
        record(10, {1: "guten tag", 6: "bonjour"}),
        record(29, {20: "good morning"}),
        record(30, {4.0 * k: PHRASES[k % 4] for k in range(7)}),
        record(65, {20.0 * k + 3: PHRASES[k] for k in range(4)}),
        record(3, {}),
    ]


@pytest.fixture
def open_batch(loaded, trained) -> Iterator[Callable[..., WindowBatch]]:
    """Open a batch of so many windows at once of the model that understands the phrases."""
    engines = []

    def make(size: int = 8) -> WindowBatch:
        engines.append(loaded(trained, batched=True, batch_size=size))
        return engines[-1].open_batch()

    yield make
    for engine in engines:
        vars(engine._loaded.model).pop("generate", None)


def parts(count: int) -> dict[str, Any]:
    """Make windows of the first two of every six seconds."""
    times = [float(second) for k in range(count) for second in (6 * k, 6 * k + 2)]
    return {"clip_timestamps": times, "multilingual": True, **TIMESTAMPS}


def run(batch: WindowBatch, requests: list[TranscriptionRequest]) -> list[Any]:
    """Let all join at once, and return the segments of each, or the exception that ended it."""
    for key, request in enumerate(requests):
        batch.add(key, request)
    found: list[Any] = [[] for _ in requests]
    waiting = set(range(len(requests)))
    while waiting:
        for key, item in batch.step():
            if isinstance(item, Segment):
                found[key].append(item)
                continue
            waiting.remove(key)
            if item is not None:
                found[key] = item
    batch.close()
    return found


def watch(batch: WindowBatch, fails: Callable[[list[list[int]]], bool] = lambda _: False) -> Any:
    """Count the windows of each call, and let some calls fail."""
    calls: list[int] = []
    model = batch._model.model
    original = type(model).generate

    def generate(encoded: Any, prompts: list[list[int]], **options: Any) -> Any:
        calls.append(len(prompts))
        if fails(prompts):
            raise RuntimeError("out of memory")
        return original(model, encoded, prompts, **options)

    model.generate = generate
    return calls


def by_library(model: Any, samples: np.ndarray, **options: Any) -> list[tuple[Any, ...]]:
    from faster_whisper import BatchedInferencePipeline

    segments, info = BatchedInferencePipeline(model).transcribe(samples, **options)
    return [
        (
            segment.text.strip(),
            tuple(segment.tokens),
            pytest.approx((segment.start, segment.end), abs=0.006),
            [(word.word.strip(), word.start, word.end) for word in segment.words or ()],
            None if options.get("multilingual") else info.language,
        )
        for segment in segments
        if segment.text.strip()
    ]


def ours(segments: list[Segment], options: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (
            segment.text,
            segment.tokens,
            (segment.start, segment.end),
            [(word.text, word.start, word.end) for word in segment.words],
            None if options.get("multilingual") else segment.language,
        )
        for segment in segments
    ]


OPTIONS: list[dict[str, Any]] = [
    {},
    {"beam_size": 1, "word_timestamps": True},
    {"chunk_length": 5, "word_timestamps": True},
    {"chunk_length": 6, "multilingual": True, "without_timestamps": False},
    {"chunk_length": 5, "language": "de", "prompt": "hello"},
    {"hotwords": ("guten tag",), "language_detection_segments": 2, "chunk_length": 5},
    {"translate": True, "max_new_tokens": 7},
]


def test_each_of_many_gets_what_the_library_gives_to_one(
    open_batch, request_of, recordings
) -> None:
    batch = open_batch(8)
    cases = [
        (samples, options)
        for number, samples in enumerate(recordings)
        for options in OPTIONS[number % 2 :: 2]
    ]
    found = run(batch, [request_of(samples, **options) for samples, options in cases])
    spelled = {"prompt": "initial_prompt"}
    for (samples, options), segments in zip(cases, found, strict=True):
        arguments = {spelled.get(name, name): value for name, value in options.items()}
        if arguments.pop("translate", False):
            arguments["task"] = "translate"
        if "hotwords" in arguments:
            arguments["hotwords"] = ", ".join(arguments["hotwords"])
        assert ours(segments, options) == by_library(batch._model, samples, **arguments), options


def test_phrases_in_several_languages_are_decoded_in_one_call(
    open_batch, request_of, spoken
) -> None:
    batch = open_batch(8)
    calls = watch(batch)
    options: list[dict[str, Any]] = [{}, {"language": "en"}, {"word_timestamps": True}, {}]
    requests = [
        request_of(samples, **more, **TIMESTAMPS)
        for samples, more in zip(spoken.values(), options, strict=True)
    ]
    found = run(batch, requests)
    assert calls == [4]
    assert [[segment.text for segment in segments] for segments in found] == [
        [phrase] for phrase in PHRASES
    ]
    assert [segments[0].language for segments in found] == ["en", "en", "de", "fr"]
    assert [len(segments[0].words) for segments in found] == [0, 0, 2, 0]


def test_words_in_several_languages_have_the_times_that_they_have_alone(
    open_batch, request_of, spoken
) -> None:
    batch = open_batch(8)
    calls = watch(batch)
    options = {"word_timestamps": True, **TIMESTAMPS}
    requests = [request_of(samples, **options) for samples in spoken.values()]
    together = run(batch, requests)
    assert calls == [4]
    alone = [run(open_batch(8), [request])[0] for request in requests]
    assert [ours(found, {}) for found in together] == [ours(found, {}) for found in alone]
    assert [[word.text for word in found[0].words] for found in together] == [
        phrase.split() for phrase in PHRASES
    ]


def test_words_of_windows_that_follow_each_other_are_as_the_library_has_them(
    loaded, request_of, folder, record
) -> None:
    """Random weights write words of odd lengths, which the library then corrects."""
    batch = loaded(folder("talkative"), batched=True).open_batch()
    samples = record(16, {0.8 * k: PHRASES[k % 4] for k in range(18)})
    options = {"word_timestamps": True, "max_new_tokens": 20, "language": "en", **TIMESTAMPS}
    times = [(2.0 * k, 2.0 * k + 1.9) for k in range(8)]
    clips = [{"start": start, "end": end} for start, end in times]
    expected = [
        words
        for *_, words, _ in by_library(batch._model, samples, clip_timestamps=clips, **options)
    ]
    flat = [second for pair in times for second in pair]
    (found,) = run(batch, [request_of(samples, clip_timestamps=flat, **options)])
    assert len(expected) > 1
    assert [words for *_, words, _ in ours(found, options)] == [
        [word for word in words if word[0]] for words in expected
    ]


def test_requests_whose_options_differ_are_decoded_in_calls_of_their_own(
    open_batch, request_of, hello
) -> None:
    batch = open_batch(8)
    calls = watch(batch)
    several = [{}, {"beam_size": 1}, {}, {"prompt": "hello"}, {"beam_size": 1}]
    found = run(batch, [request_of(hello, **options) for options in several])
    assert calls == [2, 2, 1]
    assert [segments[0].text for segments in found[:3]] == ["hello world"] * 3


def said(items: list[tuple[int, Any]], of: int) -> list[str | None]:
    """Return what a step brought one request; None is its end."""
    return [item and item.text for key, item in items if key == of]


def test_a_short_recording_does_not_wait_for_a_long_one(
    open_batch, request_of, record, spoken
) -> None:
    batch = open_batch(2)
    long = record(60, {6.0 * k: PHRASES[k % 4] for k in range(10)})
    batch.add(0, request_of(long, **parts(10)))
    assert said(list(batch.step()), of=0) == ["hello world", "good morning"]
    batch.add(1, request_of(spoken["bonjour"], **TIMESTAMPS))
    step = list(batch.step())
    assert said(step, of=0) == ["guten tag"]
    assert said(step, of=1) == ["bonjour", None]


def test_who_waits_longest_is_served_first(open_batch, request_of, record) -> None:
    batch = open_batch(2)
    long = record(18, {6.0 * k: PHRASES[k] for k in range(3)})
    for key in range(3):
        batch.add(key, request_of(long, **parts(3)))
    steps = [[(key, item.text) for key, item in batch.step() if item] for _ in range(3)]
    first, second, _ = PHRASES[:3]
    assert steps == [
        [(0, first), (1, first)],
        [(2, first), (0, second)],
        [(1, second), (2, second)],
    ]


def test_a_full_call_is_made_of_one_long_recording(open_batch, request_of, record) -> None:
    batch = open_batch(4)
    calls = watch(batch)
    long = record(36, {6.0 * k: PHRASES[k % 4] for k in range(6)})
    (found,) = run(batch, [request_of(long, **parts(6))])
    assert calls == [4, 2]
    assert [segment.text for segment in found] == [PHRASES[k % 4] for k in range(6)]
    assert [segment.start for segment in found] == pytest.approx([0, 6, 12, 18, 24, 30], abs=0.1)


def test_who_hangs_up_is_forgotten_and_the_others_go_on(open_batch, request_of, record) -> None:
    batch = open_batch(2)
    calls = watch(batch)
    long = record(60, {6.0 * k: "hello world" for k in range(10)})
    batch.add(0, request_of(long, **parts(10)))
    batch.add(1, request_of(record(12, {0: "bonjour", 6: "guten tag"}), **parts(2)))
    assert said(list(batch.step()), of=1) == ["bonjour"]
    batch.remove(0)
    step = list(batch.step())
    assert {key for key, _ in step} == {1}
    assert said(step, of=1) == ["guten tag", None]
    assert calls == [2, 1]


def test_what_fails_together_is_tried_alone_and_fails_alone(
    open_batch, request_of, hello, spoken, caplog
) -> None:
    batch = open_batch(8)
    german = batch._model.hf_tokenizer.token_to_id("<|de|>")
    calls = watch(batch, lambda prompts: any(german in prompt for prompt in prompts))
    found = run(batch, [request_of(hello), request_of(hello, language="de"), request_of(hello)])
    assert calls == [3, 1, 1, 1]
    assert [found[0][0].text, found[2][0].text] == ["hello world"] * 2
    assert str(found[1]) == "out of memory"
    assert "3 requests" in caplog.text


def test_audio_that_cannot_be_cut_fails_alone(open_batch, request_of, hello) -> None:
    batch = open_batch(8)
    broken = replace(request_of(hello), audio=AudioChunk(np.zeros(9, np.complex64), RATE))
    found = run(batch, [request_of(hello), broken, request_of(hello)])
    assert isinstance(found[1], Exception)
    assert [found[0][0].text, found[2][0].text] == ["hello world"] * 2


def test_a_window_that_cannot_be_made_ends_its_request_alone(
    open_batch, request_of, record, hello, monkeypatch
) -> None:
    batch = open_batch(8)
    extract = batch._model.feature_extractor

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(extract, name)

        def __call__(self, samples: np.ndarray) -> Any:
            if np.abs(samples).max() > 2:
                raise MemoryError
            return extract(samples)

    monkeypatch.setattr(batch._model, "feature_extractor", Failing())
    broken = record(12, {0: "hello world", 6: "hello world"})
    broken[7 * RATE] = 3
    found = run(batch, [request_of(broken, **parts(2)), request_of(hello, **parts(1))])
    assert isinstance(found[0], MemoryError)
    assert [segment.text for segment in found[1]] == ["hello world"]


def test_a_request_that_is_wrong_does_not_join(open_batch, request_of, hello) -> None:
    batch = open_batch(8)
    batch.add(0, request_of(hello))
    with pytest.raises(RequestError, match="best_of"):
        batch.add(1, request_of(hello, best_of=2))
    assert {key for key, _ in batch.step()} == {0}


def test_through_the_kernel_all_of_a_crowd_get_their_own_text(trained, record, spoken) -> None:
    plugins = PluginManager()
    plugins.add(unisono_faster_whisper, "faster_whisper")
    model = {"engine": "faster_whisper", "model": trained, "device": "cpu", "cpu_threads": 1}
    config = Config(models={"it": {**model, "batched": True, "batch_size": 4}})
    long = AudioChunk(record(30, {6.0 * k: PHRASES[k % 4] for k in range(5)}), RATE)

    async def main() -> None:
        async with Kernel(config, plugins) as kernel:

            async def ask(phrase: str, **options: Any) -> None:
                audio = AudioChunk(spoken[phrase], RATE)
                raw = {**options, **TIMESTAMPS}
                transcript = await kernel.transcribe(audio, model="it", **raw)
                assert transcript.text == phrase

            async def hang_up() -> None:
                raw = {"model": "it", "stream": True, **parts(5)}
                stream = await kernel.open_transcription(kernel.prepare_transcription(raw), long)
                await anext(stream)
                await stream.aclose()

            async def mistaken() -> None:
                with pytest.raises(RequestError):
                    await kernel.transcribe(long, model="it", clip_timestamps=[99])

            crowd = [ask(phrase, beam_size=beams) for beams in (5, 2) for phrase in PHRASES]
            await asyncio.gather(hang_up(), *crowd, mistaken(), hang_up(), ask("bonjour"))
            assert not kernel.pool.loaded()["it"]

    asyncio.run(main())
