from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
from pydantic import Field

from unisono import (
    AudioChunk,
    Engine,
    EngineFailed,
    EngineUnavailable,
    Kernel,
    ModelInfo,
    ModelNotFound,
    Params,
    PromptError,
    RequestError,
    Settings,
    SpeechRequest,
    Task,
    UnsupportedFeature,
    Voice,
    VoicePrompt,
    VoiceReference,
    Word,
    hookimpl,
)
from unisono.testing import echo

MakeKernel = Callable[..., Kernel]
Providing = Callable[..., object]
RATE = 24_000
SENTENCES = [f"This is sentence number {number} of a rather long text." for number in range(1, 21)]
LONG = " ".join(SENTENCES)

pytestmark = pytest.mark.anyio


class Watching:
    """A plugin that keeps what reaches the engine."""

    def __init__(self) -> None:
        self.requests: list[SpeechRequest] = []

    @hookimpl(wrapper=True)
    def synthesize(self, request: SpeechRequest) -> Iterator[None]:
        self.requests.append(request)
        return (yield)

    @property
    def texts(self) -> list[str]:
        return [request.text for request in self.requests]


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
def echoing(make_kernel: MakeKernel, watching: Watching) -> Callable[..., Kernel]:
    """Return a function that makes a kernel of one echo model: echoing(features=["speed"])."""

    def make(
        overrides: dict[str, Any] | None = None,
        plugins: dict[str, object] | None = None,
        **settings: Any,
    ) -> Kernel:
        overrides = {"models": {"model": {"engine": "echo", **settings}}, **(overrides or {})}
        return make_kernel(overrides, {"watching": watching, **(plugins or {})})

    return make


Echoing = Callable[..., Kernel]


async def read(stream: AsyncIterator[AudioChunk], into: list[AudioChunk]) -> None:
    async for chunk in stream:
        into.append(chunk)


async def hear(kernel: Kernel, text: str = "Hello.", **fields: Any) -> np.ndarray:
    fields = {"model": "model", **fields}
    return np.concatenate([chunk.samples async for chunk in kernel.speech(text, **fields)])


async def words_of(kernel: Kernel, text: str, **fields: Any) -> list[Word]:
    fields = {"model": "model", "word_timestamps": True, **fields}
    return [word async for chunk in kernel.speech(text, **fields) for word in chunk.words]


async def refused(kernel: Kernel, text: Any = "Hello.", **fields: Any) -> RequestError:
    """Return the error of a request that is refused before any engine is asked."""
    with pytest.raises(RequestError) as caught:
        kernel.prepare_speech({"input": text, "model": "model", **fields})
    with pytest.raises(type(caught.value)):
        await anext(kernel.speech(text, **{"model": "model", **fields}))
    assert kernel.pool.loaded() == {}
    return caught.value


@pytest.mark.parametrize("model", ["echo", "async-echo", None])
async def test_it_says_what_it_should(make_kernel: MakeKernel, model: str | None) -> None:
    async with make_kernel() as kernel:
        heard = await hear(kernel, "How are you today?", model=model)
    np.testing.assert_array_equal(heard, echo.expected("How are you today?"))


async def test_options_reach_the_engine(echoing: Echoing) -> None:
    async with echoing() as kernel:
        np.testing.assert_array_equal(
            await hear(kernel, gain=0.5), echo.expected("Hello.") * np.float32(0.5)
        )


# Long texts


async def test_a_long_text_comes_complete_and_in_order(
    echoing: Echoing, watching: Watching
) -> None:
    async with echoing(features=[]) as kernel:
        heard = await hear(kernel, LONG)
    assert len(watching.texts) > 3
    assert " ".join(watching.texts) == LONG
    expected = [echo.expected(text) for text in watching.texts]
    np.testing.assert_array_equal(heard, np.concatenate(expected))


async def test_words_of_a_long_text_are_timed_from_its_beginning(echoing: Echoing) -> None:
    async with echoing(features=["word_timestamps"], max_input_chars=80) as kernel:
        words = await words_of(kernel, LONG)
    assert [word.text for word in words] == LONG.split()
    starts = np.arange(len(words)) * 0.25
    np.testing.assert_allclose([word.start for word in words], starts, atol=1e-6)
    np.testing.assert_allclose([word.end for word in words], starts + 0.25, atol=1e-6)


async def test_a_model_that_takes_long_texts_gets_them_whole(
    echoing: Echoing, watching: Watching
) -> None:
    async with echoing(features=["long_text"], max_input_chars=50) as kernel:
        await hear(kernel, LONG)
    assert watching.texts == [LONG]


async def test_ssml_is_split_only_for_a_model_that_does_not_read_it(
    echoing: Echoing, watching: Watching
) -> None:
    document = f"<speak>{LONG}</speak>"
    async with echoing(features=["ssml"], max_input_chars=50) as kernel:
        await hear(kernel, document)
    assert watching.texts == [document]
    async with echoing(features=[], max_input_chars=50) as kernel:
        await hear(kernel, document)
    assert max(map(len, watching.texts[1:])) <= 50


@pytest.mark.parametrize("name", ["response_format", "sample_rate", "stream_format"])
async def test_what_is_about_bytes_is_refused_for_samples(echoing: Echoing, name: str) -> None:
    async with echoing() as kernel:
        with pytest.raises(RequestError) as caught:
            await hear(kernel, "Hello.", **{name: "wav"})
    assert caught.value.param == name


@pytest.mark.parametrize("limit", [20, 60, 200])
async def test_no_segment_is_longer_than_the_model_allows(
    echoing: Echoing, watching: Watching, limit: int
) -> None:
    async with echoing(features=[], max_input_chars=limit) as kernel:
        await hear(kernel, LONG)
    assert max(map(len, watching.texts)) <= limit
    assert " ".join(watching.texts) == LONG


async def test_every_segment_is_asked_for_with_the_same_wishes(
    echoing: Echoing, watching: Watching
) -> None:
    async with echoing(features=["instructions", "speed"], languages=["en", "de"]) as kernel:
        await hear(
            kernel, LONG, voice="far", language="de", instructions="Sing!", speed=1.5, gain=0.5
        )
    assert len(watching.requests) > 3
    for request in watching.requests:
        assert request.voice == watching.requests[0].voice
        assert request.voice.preset == "far"
        assert (request.language, request.instructions, request.speed) == ("de", "Sing!", 1.5)
        assert request.params == echo.EchoParams(gain=0.5)


async def test_leaving_a_long_text_asks_for_no_further_segment(
    echoing: Echoing, watching: Watching
) -> None:
    async with echoing(features=[]) as kernel:
        async with aclosing(kernel.speech(LONG, model="model")) as stream:
            await anext(stream)
        assert kernel.pool.loaded() == {"model": 0}
        assert len(watching.texts) == 1
        assert watching.requests[0].cancel.cancelled
        assert len(await hear(kernel))


# Speed


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.8, 1.25, 2.0, 4.0])
async def test_the_kernel_stretches_for_models_without_speed(
    echoing: Echoing, watching: Watching, speed: float
) -> None:
    async with echoing() as kernel:
        heard = await hear(kernel, "One two three four five six seven eight.", speed=speed)
    assert [request.speed for request in watching.requests] == [1.0]
    assert len(heard) == pytest.approx(2 * RATE / speed, rel=0.06)
    assert 0.05 < np.abs(heard).max() <= 1


async def test_models_with_speed_do_it_themselves(echoing: Echoing, watching: Watching) -> None:
    async with echoing(features=["speed"]) as kernel:
        heard = await hear(kernel, speed=2.0)
    assert watching.requests[0].speed == 2.0
    np.testing.assert_array_equal(heard, echo.expected("Hello."))


async def test_words_move_with_the_speed(echoing: Echoing) -> None:
    async with echoing() as kernel:
        words = await words_of(kernel, "one two three four", speed=2.0)
    assert [word.text for word in words] == ["one", "two", "three", "four"]
    assert [word.start for word in words] == [0, 0.125, 0.25, 0.375]


@pytest.mark.parametrize("speed", [0.2, 4.5, "fast", -1])
async def test_an_impossible_speed_is_refused(echoing: Echoing, speed: object) -> None:
    async with echoing() as kernel:
        error = await refused(kernel, speed=speed)
    assert error.param == "speed"
    assert repr(speed) in str(error)


# Instructions, languages, voices


async def test_instructions_are_followed_or_it_is_said_that_they_are_not(
    make_kernel: MakeKernel, watching: Watching
) -> None:
    models = {
        "able": {"engine": "echo", "features": ["instructions"]},
        "unable": {"engine": "echo", "features": []},
    }
    async with make_kernel({"models": models}, {"watching": watching}) as kernel:
        for model, followed in {"able": True, "unable": False}.items():
            fields = {"input": "Hi.", "model": model, "instructions": "Whisper."}
            call = kernel.prepare_speech(fields)
            assert call.ignored == (() if followed else ("instructions",))
            async with aclosing(await kernel.open_speech(call)):
                wish = watching.requests[-1].instructions
                assert wish == ("Whisper." if followed else None)
        assert kernel.prepare_speech({"input": "Hi.", "instructions": ""}).ignored == ()


@pytest.mark.parametrize(
    ("known", "asked", "accepted"),
    [
        (["en"], "en", True),
        (["en"], "en-GB", True),
        (["en-GB"], "EN_us", True),
        (["zh-Hant", "de"], "zh", True),
        (["en", "de"], "fr", False),
        (["en"], "eng", False),
        ([], "tlh", True),
    ],
)
async def test_only_languages_of_the_model_are_accepted(
    echoing: Echoing, known: list[str], asked: str, accepted: bool
) -> None:
    async with echoing(languages=known) as kernel:
        if accepted:
            assert len(await hear(kernel, language=asked))
        else:
            error = await refused(kernel, language=asked)
            assert (error.param, error.code) == ("language", "unsupported_language")
            assert f"It knows: {', '.join(sorted(known))}" in str(error)


@pytest.mark.parametrize("tag", ["e", "english please", "en-", "en\n", "x" * 100])
async def test_a_language_is_a_tag(echoing: Echoing, tag: str) -> None:
    async with echoing(languages=[]) as kernel:
        assert (await refused(kernel, language=tag)).param == "language"


@pytest.mark.parametrize(
    ("voice", "language", "preset"),
    [
        (None, None, "near"),
        (None, "en", "near"),
        (None, "en-GB", "far"),
        (None, "en_gb", "far"),
        (None, "en-AU", "near"),
        ("far", "en", "far"),
        ("near", "en-GB", "near"),
        ("alloy", None, "near"),
        ("alloy", "en-GB", "far"),
        ({"id": "far"}, None, "far"),
    ],
)
async def test_the_voice_is_the_one_named_or_suits_the_language(
    echoing: Echoing, watching: Watching, voice: object, language: str | None, preset: str
) -> None:
    async with echoing() as kernel:
        await hear(kernel, voice=voice, language=language)
    assert watching.requests[0].voice.preset == preset


def choir(*voices: Voice, default: str | None = None) -> type[Engine]:
    class Choir(echo.EchoEngine):
        name = "choir"

        @classmethod
        def describe(cls, settings: echo.EchoSettings) -> ModelInfo:
            return ModelInfo(Task.SPEECH, voices=voices, default_voice=default)

    return Choir


@pytest.fixture
def singing(
    make_kernel: MakeKernel, providing: Providing, watching: Watching
) -> Callable[..., Kernel]:
    """Return a function that makes a kernel of a model with these voices."""

    def make(*voices: Voice, default: str | None = None) -> Kernel:
        plugins = {"choir": providing(choir(*voices, default=default)), "watching": watching}
        return make_kernel({"models": {"model": {"engine": "choir"}}}, plugins)

    return make


@pytest.mark.parametrize(
    ("language", "preset"),
    [(None, "c"), ("en", "a"), ("en-GB", "c"), ("de", "b"), ("de-AT", "d"), ("fr", "c")],
)
async def test_the_default_voice_wins_among_equals(
    singing: Callable[..., Kernel], watching: Watching, language: str | None, preset: str
) -> None:
    voices = [
        *[Voice("a", ("en",)), Voice("b", ("de-DE", "en")), Voice("c", ("en-US",))],
        *[Voice("d", ("de-AT",)), Voice("e")],
    ]
    async with singing(*voices, default="c") as kernel:
        await hear(kernel, language=language)
    assert watching.requests[0].voice.preset == preset


async def test_a_voice_that_has_one_of_openai_s_names_is_itself(
    singing: Callable[..., Kernel], watching: Watching
) -> None:
    async with singing(Voice("first"), Voice("nova")) as kernel:
        await hear(kernel, voice="nova")
        await hear(kernel, voice="shimmer")
    assert [request.voice.preset for request in watching.requests] == ["nova", "first"]


async def test_an_unknown_voice_lists_the_voices(echoing: Echoing) -> None:
    async with echoing() as kernel:
        with pytest.raises(PromptError) as caught:
            await hear(kernel, voice="nobody")
        assert str(caught.value) == "Model 'model' has no voice 'nobody'. Its voices: near, far."
        assert caught.value.param == "voice"
        assert kernel.pool.loaded() == {}


async def test_a_list_of_many_voices_is_cut_off(singing: Callable[..., Kernel]) -> None:
    async with singing(*(Voice(f"voice{number}") for number in range(100))) as kernel:
        with pytest.raises(PromptError, match=r"voice29 and 70 more \(GET /v1/audio/voices\)\."):
            await hear(kernel, voice="nobody")


async def test_a_model_without_voices_takes_openai_s_and_none_of_its_own(
    singing: Callable[..., Kernel], watching: Watching
) -> None:
    async with singing() as kernel:
        await hear(kernel, voice="alloy")
        assert watching.requests[0].voice.preset is None
        with pytest.raises(PromptError, match="'nobody'"):
            await hear(kernel, voice="nobody")


async def test_a_recording_is_only_for_models_that_clone(
    echoing: Echoing, watching: Watching
) -> None:
    tone = np.sin(np.arange(24_000) / 20).astype(np.float32)
    recording = AudioChunk(tone, 24_000)

    class Store:
        @hookimpl
        def resolve_voice_prompt(self, reference: VoiceReference) -> VoicePrompt | None:
            text = "What was said." if reference.name == "told" else None
            return VoicePrompt(audio=recording, text=text)

    store = {"store": Store()}
    async with echoing(plugins=store) as kernel:
        with pytest.raises(UnsupportedFeature, match="voice cloning") as caught:
            await hear(kernel, voice="mine")
        assert caught.value.param == "voice"
    async with echoing(plugins=store, features=["voice_cloning"]) as kernel:
        assert len(await hear(kernel, voice="mine"))
    async with echoing(plugins=store, features=["voice_cloning", "prompt_text_required"]) as kernel:
        with pytest.raises(PromptError, match="word for word") as refused:
            await hear(kernel, voice="mine")
        assert refused.value.param == "ref_text"
        assert len(await hear(kernel, voice="told"))
    first, second = (request.voice for request in watching.requests)
    assert np.array_equal(first.audio.samples, tone)
    assert (first.digest, first.text, second.text) == (second.digest, None, "What was said.")


# What is refused


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u200b", "\ufeff"])
async def test_a_blank_text_is_refused(echoing: Echoing, text: str) -> None:
    async with echoing() as kernel:
        error = await refused(kernel, text)
    assert error.param == "input"


@pytest.mark.parametrize("text", [3, ["Hello"], None])
async def test_a_text_is_a_string(echoing: Echoing, text: object) -> None:
    async with echoing() as kernel:
        assert (await refused(kernel, text)).param == "input"


async def test_a_text_that_is_too_long_is_refused(echoing: Echoing) -> None:
    async with echoing({"limits": {"text_chars": 10}}) as kernel:
        assert len(await hear(kernel, "x" * 10))
        with pytest.raises(RequestError) as caught:
            kernel.prepare_speech({"input": "x" * 11, "model": "model"})
        assert "11 characters; at most 10" in str(caught.value)
        assert (caught.value.param, caught.value.code) == ("input", "string_too_long")


async def test_an_unknown_model_is_not_found(echoing: Echoing) -> None:
    async with echoing() as kernel:
        assert isinstance(await refused(kernel, model="nothing"), ModelNotFound)
        assert (await refused(kernel, model=3)).param == "model"
        assert (await refused(kernel, model="echo-transcriber")).code == "wrong_task"


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": "midi"},
        {"sample_rate": 7999},
        {"stream_format": "smoke signals"},
        {"voice": 3},
        {"voice": {"id": "near", "name": "x"}},
        {"word_timestamps": "perhaps"},
        {"gain": 2},
        {"gain": "loud"},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_a_wrong_value_is_named(echoing: Echoing, fields: dict[str, object]) -> None:
    async with echoing() as kernel:
        ((name, value),) = fields.items()
        error = await refused(kernel, **fields)
    assert error.param == name
    assert repr(value) in str(error)


async def test_word_timestamps_need_a_model_that_has_them(echoing: Echoing) -> None:
    async with echoing(features=[]) as kernel:
        error = await refused(kernel, word_timestamps=True)
        assert isinstance(error, UnsupportedFeature)
        assert error.param == "word_timestamps"
        assert "Models that have it: 'echo', 'async-echo'." in str(error)


class BreathParams(Params):
    breath: float = Field(0.0, ge=0, le=1, description="Loudness of the breath, 0 to 1.")


class Breathing(echo.EchoEngine):
    name = "breathing"
    params_type = BreathParams


async def test_an_option_of_another_engine_names_the_models_that_have_it(
    echoing: Echoing, providing: Providing
) -> None:
    async with echoing(plugins={"breathing": providing(Breathing)}) as kernel:
        error = await refused(kernel, breath=0.5)
    assert str(error) == "Model 'model' has no option 'breath'. Models that have it: breathing."
    assert (error.param, error.code) == ("breath", "unsupported_option")


async def test_what_nobody_knows_is_ignored_and_said_and_null_is_left_out(
    echoing: Echoing,
) -> None:
    async with echoing() as kernel:
        raw = {"input": "Hi.", "model": "model", "wibble": 1, "wobble": None, "gain": None}
        assert kernel.prepare_speech(raw).ignored == ("wibble",)


async def test_a_strict_server_refuses_what_has_no_effect(echoing: Echoing) -> None:
    async with echoing({"server": {"strict": True}}) as kernel:
        for name in ("wibble", "instructions"):
            error = await refused(kernel, **{name: "x"})
            assert (error.param, error.code) == (name, "unknown_field")
        assert len(await hear(kernel, gain=0.5, voice="far", instructions=None))


# What fails


class Moody(Engine):
    """Does what its text says."""

    name = "moody"

    @classmethod
    def presets(cls) -> dict[str, Settings]:
        return {"moody": Settings()}

    @classmethod
    def describe(cls, settings: Settings) -> ModelInfo:
        return ModelInfo(Task.SPEECH, sample_rate=RATE, max_input_chars=30)

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        text = request.text
        if "refuse" in text:
            raise RequestError("not this text", param="input")
        if "fail" in text:
            raise LookupError
        if "silence" in text or not any(map(str.isalnum, text)):
            return
        channels = (2,) if "stereo" in text else ()
        yield AudioChunk(np.zeros((2400, *channels), np.float32), 8000 if "slow" in text else RATE)


@pytest.fixture
def moody(make_kernel: MakeKernel, providing: Providing) -> Kernel:
    return make_kernel({"defaults": {"speech": "moody"}}, {"moody": providing(Moody)})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Please refuse.", RequestError),
        ("Please fail.", EngineFailed),
        ("Only silence.", EngineFailed),
        ("%%%", RequestError),
    ],
)
async def test_errors_come_before_the_stream(
    moody: Kernel, text: str, error: type[Exception]
) -> None:
    async with moody as kernel:
        call = kernel.prepare_speech({"input": text})
        with pytest.raises(error) as caught:
            await kernel.open_speech(call)
        assert type(caught.value) is error
        assert kernel.pool.loaded() == {"moody": 0}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("Then please fail at it.", "LookupError"),
        ("Then there is silence.", "no audio for 'Then there is silence.'"),
        ("Then it is slow.", "changed"),
        ("Then it is in stereo.", "changed"),
    ],
)
async def test_a_later_segment_that_fails_breaks_the_stream(
    moody: Kernel, second: str, message: str
) -> None:
    async with moody as kernel:
        call = kernel.prepare_speech({"input": f"This is still fine. {second}"})
        async with aclosing(await kernel.open_speech(call)) as stream:
            assert len((await anext(stream)).samples) == 2400
            with pytest.raises(EngineFailed, match=message):
                await anext(stream)
        assert kernel.pool.loaded() == {"moody": 0}


async def test_symbols_between_sentences_may_be_silent(moody: Kernel) -> None:
    async with moody as kernel:
        text = f"This is fine.\n\n{'* ' * 40}\n\nThis is fine too."
        assert len(await hear(kernel, text, model="moody")) >= 4800


async def test_a_model_that_cannot_load_is_an_error_before_the_stream(echoing: Echoing) -> None:
    async with echoing(fail_load=True) as kernel:
        call = kernel.prepare_speech({"input": "Hi.", "model": "model"})
        with pytest.raises(EngineUnavailable, match="told not to load"):
            await kernel.open_speech(call)


async def test_an_error_after_the_first_chunk_is_raised_by_the_stream(echoing: Echoing) -> None:
    async with echoing() as kernel:
        heard: list[AudioChunk] = []
        with pytest.raises(EngineFailed, match="RuntimeError"):
            await read(kernel.speech("one two three", model="model", fail_after=0.3), heard)
    assert sum(len(chunk.samples) for chunk in heard) == int(0.3 * RATE)


# The stream


async def test_a_stream_tells_its_rate_and_channels_at_once(echoing: Echoing) -> None:
    async with echoing(sample_rate=16_000) as kernel:
        call = kernel.prepare_speech({"input": "Hi.", "model": "model"})
        async with aclosing(await kernel.open_speech(call)) as stream:
            assert (stream.sample_rate, stream.channels) == (16_000, 1)


async def test_a_stream_closed_before_it_was_read_frees_its_slot(echoing: Echoing) -> None:
    async with echoing() as kernel:
        call = kernel.prepare_speech({"input": LONG, "model": "model"})
        stream = await kernel.open_speech(call)
        assert kernel.pool.loaded() == {"model": 1}
        await stream.aclose()
        await stream.aclose()
        assert kernel.pool.loaded() == {"model": 0}


async def test_a_request_cancelled_before_its_first_chunk_frees_its_slot(
    make_kernel: MakeKernel,
) -> None:
    class Hanging:
        begun = asyncio.Event()

        @hookimpl
        def synthesize(self) -> AsyncGenerator[AudioChunk, None]:
            return self.hang()

        async def hang(self) -> AsyncGenerator[AudioChunk, None]:
            self.begun.set()
            await asyncio.Event().wait()
            yield  # type: ignore[misc]

    async with make_kernel(None, {"hanging": Hanging()}) as kernel:
        call = kernel.prepare_speech({"input": "Hi."})
        opening = asyncio.create_task(kernel.open_speech(call))
        await Hanging.begun.wait()
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
        assert kernel.pool.loaded() == {"echo": 0}


async def test_many_speak_at_once_and_each_gets_its_own(make_kernel: MakeKernel) -> None:
    texts = [f"This is text number {number}, and no other." for number in range(50)]
    async with make_kernel() as kernel:
        heard = await asyncio.gather(
            *(
                hear(kernel, text, model=["echo", "async-echo"][i % 2])
                for i, text in enumerate(texts)
            )
        )
    for text, samples in zip(texts, heard, strict=True):
        np.testing.assert_array_equal(samples, echo.expected(text))
