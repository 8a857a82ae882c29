from __future__ import annotations

import inspect
import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

import numpy as np
import pytest

from unisono import (
    AudioChunk,
    EngineFailed,
    EngineRunner,
    Kernel,
    ModelInfo,
    PromptError,
    Segment,
    SpeechRequest,
    TranscriptionRequest,
    VoicePrompt,
    VoiceReference,
    hookimpl,
    hookspecs,
)
from unisono.plugins import PluginManager
from unisono.testing import echo

MakeKernel = Callable[..., Kernel]
HOOKS = {
    name: function
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction)
    if function.__module__ == hookspecs.__name__
}
SILENCE = AudioChunk(np.zeros(16_000, np.float32), 16_000)


def samples(chunks: list[AudioChunk]) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in chunks])


def test_these_are_the_hooks() -> None:
    assert set(HOOKS) == {
        *["register_engines", "register_routes", "register_commands"],
        *["resolve_voice_prompt", "synthesize", "transcribe", "align", "diarize"],
    }


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_exactly_its_arguments(name: str) -> None:
    text = HOOKS[name].__doc__ or ""
    assert re.match(r"[A-Z][^\n]+[.:]", text), "begin with a sentence"
    documented = re.findall(r"^ *:param (\w+):", text, re.M)
    assert documented == list(inspect.signature(HOOKS[name]).parameters)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_typed(name: str) -> None:
    signature = inspect.signature(HOOKS[name])
    annotations = [p.annotation for p in signature.parameters.values()]
    assert inspect.Signature.empty not in [*annotations, signature.return_annotation]


@pytest.mark.parametrize("name", ["synthesize", "transcribe", "resolve_voice_prompt"])
def test_the_kernel_s_own_implementation_comes_last(name: str) -> None:
    def answer(self: object) -> None:
        return None

    plugins = PluginManager()
    for mark, label in [
        (hookimpl, "plain"),
        (hookimpl(trylast=True), "last"),
        (hookimpl(tryfirst=True), "first"),
    ]:
        plugin = type("Plugin", (), {name: mark(lambda self: None)})()
        plugins.add(plugin, label)
    # pluggy calls them from the end of this list to its beginning.
    order = [impl.plugin_name for impl in getattr(plugins.hook, name).get_hookimpls()]
    assert order[::-1] == ["first", "plain", "last", "unisono"]


@pytest.mark.anyio
async def test_a_wrapper_sees_and_changes_what_any_engine_says(make_kernel: MakeKernel) -> None:
    class Quieter:
        def __init__(self) -> None:
            self.heard: list[tuple[str, str]] = []
            self.closed = 0

        @hookimpl(wrapper=True)
        def synthesize(self, engine: EngineRunner, request: SpeechRequest) -> Iterator[None]:
            stream = yield
            self.heard.append((engine.model.id, request.text))
            return self.quieter(stream)

        async def quieter(
            self, stream: AsyncGenerator[AudioChunk, None]
        ) -> AsyncGenerator[AudioChunk, None]:
            async with aclosing(stream):
                try:
                    async for chunk in stream:
                        yield AudioChunk(chunk.samples / 2, chunk.sample_rate, chunk.words)
                finally:
                    self.closed += 1

    wrapper = Quieter()
    async with make_kernel(None, {"quieter": wrapper}) as kernel:
        for model in ("echo", "async-echo"):
            chunks = [c async for c in kernel.speech("How loud is it?", model=model)]
            np.testing.assert_array_equal(samples(chunks), echo.expected("How loud is it?") / 2)
        async with aclosing(kernel.speech("Never mind.", model="echo")) as stream:
            await anext(stream)
    assert [model for model, _ in wrapper.heard] == ["echo", "async-echo", "echo"]
    assert wrapper.closed == 3


@pytest.mark.anyio
async def test_a_wrapper_is_asked_for_each_segment_of_a_long_text(make_kernel: MakeKernel) -> None:
    texts: list[str] = []

    class Listening:
        @hookimpl(wrapper=True)
        def synthesize(self, request: SpeechRequest) -> Iterator[None]:
            texts.append(request.text)
            return (yield)

    models = {"short": {"engine": "echo", "features": []}}
    async with make_kernel({"models": models}, {"listening": Listening()}) as kernel:
        text = "This is one sentence. This is another sentence."
        chunks = [c async for c in kernel.speech(text, model="short")]
    assert texts == text.replace(". ", ".|").split("|")
    expected = [echo.expected(text) for text in texts]
    np.testing.assert_array_equal(samples(chunks), np.concatenate(expected))


@pytest.mark.anyio
async def test_a_plugin_can_answer_instead_of_the_engine(make_kernel: MakeKernel) -> None:
    class Cache:
        @hookimpl
        def synthesize(
            self, engine: EngineRunner, request: SpeechRequest
        ) -> AsyncGenerator[AudioChunk, None] | None:
            return self.stored() if request.text == "known" else None

        async def stored(self) -> AsyncGenerator[AudioChunk, None]:
            yield SILENCE

    async with make_kernel(None, {"cache": Cache()}) as kernel:
        known = [c async for c in kernel.speech("known", model="echo")]
        unknown = [c async for c in kernel.speech("unknown", model="echo")]
    assert known == [SILENCE]
    np.testing.assert_array_equal(samples(unknown), echo.expected("unknown"))


@pytest.mark.anyio
async def test_a_plugin_can_transcribe_or_leave_it_to_the_model(make_kernel: MakeKernel) -> None:
    class Music:
        @hookimpl
        def transcribe(
            self, engine: EngineRunner, request: TranscriptionRequest
        ) -> AsyncGenerator[Segment, None] | None:
            return None if request.audio.samples.any() else self.rest(request)

        async def rest(self, request: TranscriptionRequest) -> AsyncGenerator[Segment, None]:
            yield Segment("(silence)", 0, request.audio.seconds)

    loud = AudioChunk(np.full(16_000, 0.5, np.float32), 16_000)
    async with make_kernel(None, {"music": Music()}) as kernel:
        assert (await kernel.transcribe(SILENCE)).text == "(silence)"
        assert (await kernel.transcribe(loud)).text == "second 0."


class Shouting:
    """A scheme of voices: `shout:near` is the voice `near`, prepared off the event loop."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.seen: list[tuple[str | None, str | None, str]] = []

    @hookimpl
    def resolve_voice_prompt(
        self, reference: VoiceReference, model: ModelInfo
    ) -> VoicePrompt | None:
        self.threads.append(threading.current_thread())
        self.seen.append((reference.name, reference.language, model.id))
        scheme, _, name = (reference.name or "").partition(":")
        if scheme != "shout":
            return None
        if name not in [voice.name for voice in model.voices]:
            raise PromptError(f"Nobody called {name!r} can shout.", param="voice")
        return VoicePrompt(preset=name)


@pytest.mark.anyio
async def test_a_plugin_can_add_a_scheme_of_voices(make_kernel: MakeKernel) -> None:
    got = []

    class Watching:
        @hookimpl(wrapper=True)
        def synthesize(self, request: SpeechRequest) -> Iterator[None]:
            got.append(request.voice.preset)
            return (yield)

    shouting = Shouting()
    plugins = {"shouting": shouting, "watching": Watching()}
    async with make_kernel(None, plugins) as kernel:
        for voice in ("shout:far", "far", None, "alloy"):
            assert [c async for c in kernel.speech("Hey!", voice=voice, language="en")]
        with pytest.raises(PromptError, match="Nobody called 'cat' can shout") as caught:
            await anext(kernel.speech("Hey!", voice="shout:cat"))
        assert caught.value.param == "voice"
        with pytest.raises(PromptError, match="no voice 'whisper:far'"):
            await anext(kernel.speech("Hey!", voice="whisper:far"))
    assert got == ["far", "far", "near", "near"]
    assert shouting.seen[0] == ("shout:far", "en", "echo")
    assert threading.current_thread() not in shouting.threads


@pytest.mark.anyio
async def test_without_such_a_plugin_no_thread_is_spent_on_voices(make_kernel: MakeKernel) -> None:
    before = set(threading.enumerate())
    async with make_kernel() as kernel:
        assert [c async for c in kernel.speech("Hey!", model="async-echo", voice="far")]
        assert {t.name for t in set(threading.enumerate()) - before} <= {"unisono-async-echo"}


@pytest.mark.anyio
async def test_a_hook_that_raises_is_a_failure_before_the_first_chunk_that_frees_the_slot(
    make_kernel: MakeKernel,
) -> None:
    class Broken:
        @hookimpl
        def synthesize(self, engine: EngineRunner) -> None:
            raise ZeroDivisionError

    async with make_kernel(None, {"broken": Broken()}) as kernel:
        call = kernel.prepare_speech({"input": "Hey!"})
        with pytest.raises(EngineFailed, match="ZeroDivisionError"):
            await kernel.open_speech(call)
        assert set(kernel.pool.loaded().values()) == {0}


@pytest.mark.anyio
@pytest.mark.parametrize("where", ["resolve_voice_prompt", "transcribe"])
async def test_what_hooks_raise_is_contained(make_kernel: MakeKernel, where: str) -> None:
    def fail(self: object) -> None:
        raise ZeroDivisionError

    plugin = type("Broken", (), {where: hookimpl(fail)})()
    async with make_kernel(None, {"broken": plugin}) as kernel:
        job = kernel.transcribe(SILENCE) if where == "transcribe" else anext(kernel.speech("Hey!"))
        with pytest.raises(EngineFailed, match="ZeroDivisionError"):
            await job


class Twice:
    """Listens to the whole answer, and asks again, as a verification that fails once would."""

    @hookimpl(wrapper=True)
    def synthesize(
        self, engine: EngineRunner, request: SpeechRequest
    ) -> Iterator[AsyncGenerator[AudioChunk, None]]:
        first = yield

        async def again() -> AsyncGenerator[AudioChunk, None]:
            async with aclosing(first):
                assert [chunk async for chunk in first]
            async with aclosing(engine.synthesize(request)) as second:
                async for chunk in second:
                    yield chunk

        return again()


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["echo", "async-echo"])
async def test_a_wrapper_may_ask_the_engine_again(make_kernel: MakeKernel, model: str) -> None:
    async with make_kernel(plugins={"twice": Twice()}) as kernel:
        chunks = [chunk async for chunk in kernel.speech("One two.", model=model)]
    assert np.array_equal(samples(chunks), echo.expected("One two."))
