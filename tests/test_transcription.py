from __future__ import annotations

import asyncio
import io
import json
import math
import threading
import wave
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from unisono import (
    AudioChunk,
    AudioError,
    Engine,
    EngineFailed,
    Feature,
    Kernel,
    ModelInfo,
    RequestError,
    Segment,
    Settings,
    Task,
    TranscriptionRequest,
    UnsupportedFeature,
    Word,
    hookimpl,
)
from unisono.testing import echo
from unisono.transcripts import render_transcript

MakeKernel = Callable[..., Kernel]
Providing = Callable[..., object]
Wav = Callable[..., bytes]
RATE = 16_000

pytestmark = pytest.mark.anyio


def audio(seconds: float = 3.0, rate: int = RATE, channels: int | None = None) -> AudioChunk:
    shape = round(seconds * rate) if channels is None else (round(seconds * rate), channels)
    return AudioChunk(np.full(shape, 0.5, np.float32), rate)


class Watching:
    """A plugin that keeps what reaches the engine."""

    def __init__(self) -> None:
        self.requests: list[TranscriptionRequest] = []

    @hookimpl(wrapper=True)
    def transcribe(self, request: TranscriptionRequest) -> Iterator[None]:
        self.requests.append(request)
        return (yield)

    @property
    def request(self) -> TranscriptionRequest:
        return self.requests[-1]


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
def echoing(make_kernel: MakeKernel, watching: Watching) -> Callable[..., Kernel]:
    """Return a function that makes a kernel of one echo model: echoing(features=["hotwords"])."""

    def make(overrides: dict[str, Any] | None = None, **settings: Any) -> Kernel:
        model = {"engine": "echo_transcriber", **settings}
        able = {"engine": "echo_transcriber", "features": [*Feature]}
        overrides = {"models": {"model": model, "able": able}, **(overrides or {})}
        return make_kernel(overrides, {"watching": watching})

    return make


Echoing = Callable[..., Kernel]
Until = Callable[..., Awaitable[None]]


def refused(kernel: Kernel, **fields: Any) -> RequestError:
    translate = fields.pop("translate", False)
    with pytest.raises(RequestError) as caught:
        kernel.prepare_transcription({"model": "model", **fields}, translate=translate)
    return caught.value


def ignored(kernel: Kernel, **fields: Any) -> tuple[str, ...]:
    return kernel.prepare_transcription({"model": "model", **fields}).ignored


# Audio


async def test_a_file_is_written_down(echoing: Echoing, wav: Wav, watching: Watching) -> None:
    async with echoing() as kernel:
        for source in (wav(3, silent=[1]), io.BytesIO(wav(3, silent=[1]))):
            transcript = await kernel.transcribe(source, model="model")
            assert transcript.text == "second 0. second 2."
            assert transcript.duration == 3
            assert transcript.language == "en"
    assert watching.request.audio.sample_rate == RATE
    assert watching.request.audio.samples.shape == (3 * RATE,)


async def test_audio_that_is_ready_is_written_down(echoing: Echoing, watching: Watching) -> None:
    async with echoing() as kernel:
        transcript = await kernel.transcribe(audio(2), model="model")
    assert transcript.text == "second 0. second 1."
    np.testing.assert_array_equal(watching.request.audio.samples, audio(2).samples)


async def test_what_was_spoken_can_be_written_down_again(echoing: Echoing) -> None:
    async with echoing() as kernel:
        spoken = [chunk async for chunk in kernel.speech("one two three four", model="echo")]
        whole = AudioChunk(np.concatenate([c.samples for c in spoken]), spoken[0].sample_rate)
        assert whole.sample_rate == 24_000
        assert (await kernel.transcribe(whole, model="model")).duration == 1


@pytest.mark.parametrize(("rate", "channels"), [(48_000, None), (8000, 1), (RATE, 2), (44_100, 2)])
async def test_audio_of_any_form_becomes_mono_at_16_kilohertz(
    echoing: Echoing, watching: Watching, rate: int, channels: int | None
) -> None:
    async with echoing() as kernel:
        await kernel.transcribe(audio(2, rate, channels), model="model")
    assert watching.request.audio.sample_rate == RATE
    assert watching.request.audio.samples.shape == (2 * RATE,)
    assert np.median(watching.request.audio.samples) == pytest.approx(0.5, abs=0.01)


async def test_audio_that_is_too_short_or_too_long_is_refused(echoing: Echoing, wav: Wav) -> None:
    async with echoing({"limits": {"audio_seconds": 5}}) as kernel:
        for make in (wav, audio):
            with pytest.raises(AudioError) as short:
                await kernel.transcribe(make(0.05), model="model")
            assert short.value.code == "audio_too_short"
            with pytest.raises(AudioError) as long:
                await kernel.transcribe(make(5.1), model="model")
            assert long.value.code == "audio_too_long"
            assert (await kernel.transcribe(make(5), model="model")).duration == 5
        with pytest.raises(AudioError):
            await kernel.transcribe(b"no audio at all", model="model")
        with pytest.raises(AudioError, match="empty"):
            await kernel.transcribe(b"", model="model")


async def test_files_are_decoded_off_the_event_loop(echoing: Echoing, wav: Wav) -> None:
    threads = []

    class Reader(io.BytesIO):
        def read(self, *args: Any) -> bytes:
            threads.append(threading.current_thread())
            return super().read(*args)

    async with echoing() as kernel:
        await kernel.transcribe(Reader(wav(1)), model="model")
    assert threads
    assert threading.current_thread() not in threads


async def test_a_wrong_request_is_refused_before_its_audio_is_looked_at(echoing: Echoing) -> None:
    async with echoing() as kernel:
        with pytest.raises(RequestError, match="language"):
            await kernel.transcribe(b"no audio at all", model="model", language="fr")


# Segments


class WildSettings(Settings):
    segments: tuple[dict[str, Any], ...] = ()


class Wild(Engine):
    """Says what its settings say."""

    name = "wild"
    settings_type = WildSettings
    settings: WildSettings

    @classmethod
    def describe(cls, settings: WildSettings) -> ModelInfo:
        return ModelInfo(Task.TRANSCRIPTION, features=frozenset({Feature.WORD_TIMESTAMPS}))

    def transcribe(self, request: TranscriptionRequest) -> Iterator[Segment]:
        for number, values in enumerate(self.settings.segments):
            words = tuple(Word(**word) for word in values.get("words", []))
            yield Segment(**{"text": str(number), **values, "words": words})


@pytest.fixture
def wild(make_kernel: MakeKernel, providing: Providing) -> Callable[..., Any]:
    """Return a function that transcribes three seconds to these segments."""

    async def transcribe(*segments: dict[str, Any], **fields: Any) -> Any:
        models = {"model": {"engine": "wild", "segments": list(segments)}}
        async with make_kernel({"models": models}, {"wild": providing(Wild)}) as kernel:
            return await kernel.transcribe(audio(3), model="model", **fields)

    return transcribe


NAN = math.nan


async def test_times_are_within_the_audio_and_in_order(wild: Callable[..., Any]) -> None:
    transcript = await wild(
        {"start": -5, "end": 0.5},
        {"start": 2, "end": 1},
        {"start": 1.5, "end": 2.5},
        {"start": 2.9, "end": 30},
        {"start": 29.98, "end": math.inf},
    )
    found = [(segment.start, segment.end) for segment in transcript.segments]
    assert found == [(0, 0.5), (2, 2), (2, 2.5), (2.9, 3), (3, 3)]
    assert transcript.text == "0 1 2 3 4"


async def test_times_of_words_are_in_order_too(wild: Callable[..., Any]) -> None:
    words = [
        {"text": "a", "start": -1, "end": 1},
        {"text": "b", "start": 0.5, "end": 0.2, "probability": 0.5},
        {"text": "c", "start": 0.4, "end": 9},
    ]
    transcript = await wild({"start": 0.25, "end": 2, "words": words})
    assert transcript.segments[0].words == (
        Word("a", 0.25, 1),
        Word("b", 0.5, 0.5, 0.5),
        Word("c", 0.5, 3),
    )


@pytest.mark.parametrize("odd", [NAN, np.float32(NAN), -math.inf, np.float32(0.5), np.int64(0)])
async def test_times_are_always_plain_numbers(wild: Callable[..., Any], odd: Any) -> None:
    word = {"text": "a", "start": odd, "end": odd}
    transcript = await wild(
        {"start": odd, "end": odd, "words": [word]},
        {"start": 1, "end": 2},
        response_format="verbose_json",
    )
    times = [t for s in transcript.segments for t in (s.start, s.end)]
    times += [t for s in transcript.segments for w in s.words for t in (w.start, w.end)]
    assert {type(time) for time in times} == {float}
    assert all(0 <= time <= 3 for time in times)
    for form in ("verbose_json", "srt", "vtt"):
        fields = type("Fields", (), {"response_format": form, "timestamp_granularities": ["word"]})
        text = render_transcript(transcript, fields)  # type: ignore[arg-type]
        assert "NaN" not in text
        if form == "verbose_json":
            assert json.loads(text)["words"][0]["start"] >= 0


async def test_a_transcript_may_be_empty(wild: Callable[..., Any]) -> None:
    transcript = await wild()
    assert (transcript.text, transcript.segments) == ("", ())
    assert transcript.language == "und"


async def test_the_language_is_what_the_engine_found(wild: Callable[..., Any]) -> None:
    segments = [{"start": 0, "end": 1}, {"start": 1, "end": 2, "language": "de"}]
    assert (await wild(*segments)).language == "de"
    assert (await wild(*segments, language="en")).language == "de"
    assert (await wild({"start": 0, "end": 1}, language="en-GB")).language == "en-GB"


async def test_segments_come_while_the_engine_still_listens(
    make_kernel: MakeKernel, providing: Providing
) -> None:
    go_on = threading.Event()

    class Slow(Wild):
        name = "slow"

        def transcribe(self, request: TranscriptionRequest) -> Iterator[Segment]:
            yield Segment("first", 0, 1)
            assert go_on.wait(10)
            yield Segment("second", 1, 2)

    models = {"model": {"engine": "slow"}}
    async with make_kernel({"models": models}, {"slow": providing(Slow)}) as kernel:
        call = kernel.prepare_transcription({"model": "model"})
        stream = await kernel.open_transcription(call, audio())
        async with aclosing(stream):
            assert stream.duration == 3
            assert (await anext(stream)).text == "first"
            go_on.set()
            assert (await anext(stream)).text == "second"
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        assert kernel.pool.loaded() == {"model": 0}


async def test_leaving_frees_the_slot_and_stops_the_engine(
    echoing: Echoing, watching: Watching
) -> None:
    async with echoing() as kernel:
        call = kernel.prepare_transcription({"model": "model"})
        stream = await kernel.open_transcription(call, audio(60))
        assert kernel.pool.loaded() == {"model": 1}
        await stream.aclose()
        assert kernel.pool.loaded() == {"model": 0}
        assert watching.request.cancel.cancelled


async def test_a_request_cancelled_while_it_decodes_frees_its_slot(echoing: Echoing) -> None:
    reading, go_on = threading.Event(), threading.Event()

    class Reader(io.BytesIO):
        def seek(self, *args: Any) -> int:
            reading.set()
            assert go_on.wait(10)
            return super().seek(*args)

    async with echoing() as kernel:
        task = asyncio.create_task(kernel.transcribe(Reader(b"RIFF"), model="model"))
        await asyncio.to_thread(reading.wait, 10)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        go_on.set()
        assert kernel.pool.loaded() == {"model": 0}


async def test_errors_come_before_the_first_segment(echoing: Echoing) -> None:
    async with echoing() as kernel:
        call = kernel.prepare_transcription({"model": "model", "fail_after": 0})
        with pytest.raises(EngineFailed, match="RuntimeError"):
            await kernel.open_transcription(call, audio())
        call = kernel.prepare_transcription({"model": "model", "fail_after": 1})
        async with aclosing(await kernel.open_transcription(call, audio())) as stream:
            assert (await anext(stream)).text == "second 0."
            with pytest.raises(EngineFailed):
                await anext(stream)
        assert kernel.pool.loaded() == {"model": 0}


# Features


@pytest.mark.parametrize(
    ("fields", "param", "feature"),
    [
        (
            {"response_format": "verbose_json", "timestamp_granularities": ["word"]},
            "timestamp_granularities",
            "word timestamps",
        ),
        ({"response_format": "diarized_json"}, "response_format", "diarization"),
        ({"translate": True}, "model", "translation"),
        ({"keywords": ["unisono"]}, "keywords", "hotwords"),
        ({"include": ["logprobs"]}, "include", "logprobs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_the_model_lacks_is_refused_and_models_that_have_it_are_named(
    echoing: Echoing, fields: dict[str, Any], param: str, feature: str
) -> None:
    async with echoing(features=[]) as kernel:
        error = refused(kernel, **fields)
        assert isinstance(error, UnsupportedFeature)
        assert error.param == param
        assert f"'model' has no {feature}. Models that have it: 'able'" in str(error)
        translate = fields.pop("translate", False)
        kernel.prepare_transcription({"model": "able", **fields}, translate=translate)


async def test_what_the_model_has_reaches_it(echoing: Echoing, watching: Watching) -> None:
    features = ["word_timestamps", "translation", "hotwords", "text_prompt", "temperature"]
    async with echoing(features=features) as kernel:
        transcript = await kernel.transcribe(
            audio(),
            model="model",
            translate=True,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
            keywords=["unisono", "kernel"],
            prompt="Before that.",
            temperature=0.25,
            language="en-GB",
            gain=0.5,
        )
    request = watching.request
    assert request.translate
    assert request.word_timestamps
    assert request.hotwords == ("unisono", "kernel")
    assert (request.prompt, request.temperature) == ("Before that.", 0.25)
    assert request.language == "en-GB"
    assert request.params == echo.EchoParams(gain=0.5)
    assert transcript.translated
    assert [word.text for word in transcript.segments[0].words] == ["second", "0."]


async def test_the_engine_gets_only_what_was_asked_for(
    echoing: Echoing, watching: Watching
) -> None:
    async with echoing(features=[*Feature]) as kernel:
        await kernel.transcribe(audio(), model="model")
    request = watching.request
    assert not request.translate
    assert not request.word_timestamps
    assert (request.hotwords, request.prompt, request.temperature) == ((), None, None)
    assert request.language is None


async def test_hints_that_a_model_cannot_follow_are_ignored_and_said(
    echoing: Echoing, watching: Watching
) -> None:
    hints = {"prompt": "x", "temperature": 0.5}
    async with echoing(features=[]) as kernel:
        assert ignored(kernel, **hints) == ("prompt", "temperature")
        assert ignored(kernel, prompt="", temperature=None) == ()
        await kernel.transcribe(audio(), model="model", **hints)
        assert (watching.request.prompt, watching.request.temperature) == (None, None)
        await kernel.transcribe(audio(), model="model", temperature=0)
        assert watching.request.temperature is None
    async with echoing(features=["text_prompt", "temperature"]) as kernel:
        assert ignored(kernel, **hints) == ()
        await kernel.transcribe(audio(), model="model", temperature=0)
        assert watching.request.temperature == 0


async def test_a_strict_server_refuses_hints_without_effect(echoing: Echoing) -> None:
    async with echoing({"server": {"strict": True}}, features=[]) as kernel:
        assert refused(kernel, prompt="x").param == "prompt"
        assert refused(kernel, wibble="x").param == "wibble"


async def test_what_to_include_is_known(echoing: Echoing) -> None:
    async with echoing() as kernel:
        assert refused(kernel, include=["gossip"]).param == "include"


async def test_log_probabilities_come_with_json_alone(echoing: Echoing) -> None:
    async with echoing(features=["logprobs"]) as kernel:
        fields = {"model": "model", "include": ["logprobs"]}
        assert refused(kernel, **fields, response_format="text").param == "include"
        transcript = await kernel.transcribe(audio(2), **fields)
        call = kernel.prepare_transcription(fields)
    body = json.loads(render_transcript(transcript, call.fields))
    assert [each["token"] for each in body["logprobs"]] == ["second", " 0.", " second", " 1."]
    assert body["logprobs"][1] == {"token": " 0.", "logprob": -0.2, "bytes": [32, 48, 46]}


async def test_granularities_need_a_format_that_carries_them(echoing: Echoing) -> None:
    async with echoing() as kernel:
        for granularity in ("word", "segment"):
            error = refused(kernel, timestamp_granularities=[granularity])
            assert error.param == "timestamp_granularities"
            assert "verbose_json" in str(error)


@pytest.mark.parametrize("form", ["srt", "vtt"])
async def test_subtitles_are_timed_by_words_if_the_model_has_them(
    echoing: Echoing, watching: Watching, form: str
) -> None:
    async with echoing(features=[]) as kernel:
        await kernel.transcribe(audio(), model="model", response_format=form)
        assert not watching.request.word_timestamps
        await kernel.transcribe(audio(), model="able", response_format=form)
        assert watching.request.word_timestamps


@pytest.mark.parametrize("form", ["json", "text", "verbose_json", "diarized_json"])
async def test_other_formats_have_words_only_on_demand(
    echoing: Echoing, watching: Watching, form: str
) -> None:
    async with echoing() as kernel:
        transcript = await kernel.transcribe(audio(), model="able", response_format=form)
    assert not watching.request.word_timestamps
    assert not any(segment.words for segment in transcript.segments)


@pytest.mark.parametrize("form", ["srt", "vtt", "verbose_json"])
async def test_what_cannot_be_streamed_is_refused(echoing: Echoing, form: str) -> None:
    async with echoing() as kernel:
        assert refused(kernel, response_format=form, stream=True).param == "response_format"


async def test_an_unknown_language_is_refused(echoing: Echoing) -> None:
    async with echoing(languages=["en", "de"]) as kernel:
        for fields in ({"language": "fr"}, {"languages": ["fr"]}, {"languages": ["fr", "it"]}):
            error = refused(kernel, **fields)
            assert error.code == "unsupported_language"
            assert error.param == next(iter(fields))
            assert "It knows: de, en." in str(error)
        assert refused(kernel, language="no such language").param == "language"


async def test_one_of_languages_is_the_language(echoing: Echoing, watching: Watching) -> None:
    async with echoing(languages=["en", "de"]) as kernel:
        transcript = await kernel.transcribe(audio(), model="model", languages=["de"])
        assert watching.request.language == "de"
        assert transcript.language == "de"
        assert ignored(kernel, languages=["de"]) == ()


async def test_several_languages_are_a_hint_that_no_engine_takes(
    echoing: Echoing, watching: Watching
) -> None:
    async with echoing(languages=["en", "de"]) as kernel:
        assert ignored(kernel, languages=["de", "en"]) == ("languages",)
        await kernel.transcribe(audio(), model="model", languages=["de", "fr"])
        assert watching.request.language is None
        assert ignored(kernel, languages=["de", "en"], language="de") == ("languages",)


async def test_a_model_of_one_language_answers_in_it(echoing: Echoing) -> None:
    async with echoing(languages=["de"]) as kernel:
        assert (await kernel.transcribe(audio(), model="model")).language == "de"
    async with echoing(languages=["en", "de"]) as kernel:
        assert (await kernel.transcribe(audio(), model="model")).language == "und"


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 2},
        {"response_format": "pdf"},
        {"timestamp_granularities": ["sentence"]},
        {"stream": "perhaps"},
        {"languages": "en"},
        {"known_speaker_names": ["a"] * 5},
        {"gain": "loud"},
        {"model": 3},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_a_wrong_value_is_named(echoing: Echoing, fields: dict[str, Any]) -> None:
    async with echoing() as kernel:
        assert refused(kernel, **fields).param == next(iter(fields))


async def test_a_model_that_speaks_does_not_write(echoing: Echoing) -> None:
    async with echoing() as kernel:
        assert refused(kernel, model="echo").code == "wrong_task"


async def test_who_waits_for_the_engine_waits_without_decoded_audio(
    echoing: Echoing, until: Until
) -> None:
    decoded: list[int] = []

    class Reader(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            decoded.append(id(self))
            return super().read(size)

    wav = io.BytesIO()
    with wave.open(wav, "wb") as writer:
        writer.setparams((1, 2, 16_000, 16_000, "NONE", ""))
        writer.writeframes(bytes(32_000))

    async with echoing(first_delay=1.0) as kernel:
        readers = [Reader(wav.getvalue()) for _ in range(3)]
        work = [asyncio.create_task(kernel.transcribe(r, model="model")) for r in readers]
        await until(lambda: decoded)
        await asyncio.sleep(0.2)
        assert len(set(decoded)) <= 2  # the one that the engine works on, and the next
        await asyncio.gather(*work)
        assert len(set(decoded)) == 3


async def test_long_audio_is_cut_anyhow_so_auto_is_not_ignored(echoing: Echoing) -> None:
    async with echoing() as kernel:
        assert kernel.prepare_transcription({"chunking_strategy": "auto"}).ignored == ()


@pytest.mark.parametrize(
    "given",
    [
        {"keywords": ["小艾", "魔搭"]},
        {"hotword": "小艾 魔搭"},
        {"kwargs": '{"hotword": "小艾 魔搭"}'},
        {"hotwords": "小艾 魔搭"},
    ],
)
async def test_hotwords_are_keywords_by_another_name(echoing: Echoing, given: Any) -> None:
    async with echoing(features=["hotwords"]) as kernel:
        assert kernel.prepare_transcription(given).fields.keywords == ["小艾", "魔搭"]


async def test_a_keyword_of_two_words_stays_one(echoing: Echoing) -> None:
    async with echoing(features=["hotwords"]) as kernel:
        call = kernel.prepare_transcription({"keywords": ["Ada Lovelace"]})
    assert call.fields.keywords == ["Ada Lovelace"]
