"""One engine behind a kernel of its own, for tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from types import ModuleType
from typing import Any, ClassVar, TypeVar

import pytest

from ..config import Config
from ..kernel import Kernel
from ..plugins import PluginManager
from ..requests import AlignmentRequest, DiarizationRequest, KnownSpeaker
from ..runner import EngineRunner
from ..types import AudioChunk, ModelInfo, Segment, Task
from . import echo

T = TypeVar("T")

SHORT = "One."
LONG = "One two three four five six seven eight nine ten, and then some more words to say."


class EngineHarness:
    """Speak and listen with one model. Set `plugin` and `model`."""

    plugin: ClassVar[ModuleType]
    """The plugin's module, as its entry point names it."""
    model: ClassVar[str]
    """Id of a preset, or the id to give to `settings`."""
    engine: ClassVar[str | None] = None
    """`Engine.name` for `settings`; without it the model is a preset."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """The engine's Settings, as in a table `[models.<id>]`."""
    fields: ClassVar[Mapping[str, Any]] = {}
    """Request fields to send always, such as greedy sampling or a voice."""

    def speech_audio(self) -> AudioChunk:
        """Return some audio to listen to: mono, 16 000 hertz. Override it with real speech."""
        return AudioChunk(echo.expected(LONG, echo.EchoSettings(sample_rate=16_000)), 16_000)

    def alignment_text(self) -> str:
        """Return what is said in `speech_audio`, for aligners. Override it with that."""
        return LONG

    def _kernel(self) -> Kernel:
        plugins = PluginManager()
        plugins.add(self.plugin, self.plugin.__name__)
        models = {self.model: {"engine": self.engine, **self.settings}} if self.engine else {}
        return Kernel(Config(models=models), plugins)

    def _info(self) -> ModelInfo:
        return self._kernel().catalog.get(self.model).info

    def _speaking(self) -> ModelInfo:
        return self._only(Task.SPEECH)

    def _listening(self) -> ModelInfo:
        return self._only(Task.TRANSCRIPTION)

    def _only(self, task: Task) -> ModelInfo:
        info = self._info()
        if info.task is not task:
            pytest.skip(f"the model does not do {task.value}")
        return info

    def _run(self, work: Callable[[Kernel], Coroutine[Any, Any, T]]) -> T:
        async def main() -> T:
            async with self._kernel() as kernel:
                return await work(kernel)

        return asyncio.run(main())

    def _speak(self, text: str, **fields: Any) -> list[AudioChunk]:
        return self._run(lambda kernel: self._collect(kernel, text, **fields))

    async def _collect(self, kernel: Kernel, text: str, **fields: Any) -> list[AudioChunk]:
        stream = kernel.speech(text, model=self.model, **{**self.fields, **fields})
        return [chunk async for chunk in stream]

    async def _time_to_first_chunk(self, kernel: Kernel) -> float:
        await self._collect(kernel, SHORT)
        began = time.monotonic()
        async for _ in kernel.speech(LONG, model=self.model, **self.fields):
            break
        return time.monotonic() - began

    def _write(self, audio: AudioChunk, **fields: Any) -> tuple[Segment, ...]:
        async def write(kernel: Kernel) -> tuple[Segment, ...]:
            raw = {**self.fields, **fields}
            return (await kernel.transcribe(audio, model=self.model, **raw)).segments

        return self._run(write)

    def _alignment(self, audio: AudioChunk, text: str) -> AlignmentRequest:
        return AlignmentRequest(audio, text, self._params())

    def _diarization(self, audio: AudioChunk, *known: KnownSpeaker) -> DiarizationRequest:
        return DiarizationRequest(audio, self._params(), known)

    def _params(self) -> Any:
        return self._kernel().catalog.get(self.model).params_type(**self.fields)

    async def _hear(
        self, kernel: Kernel, request: AlignmentRequest | DiarizationRequest
    ) -> list[Any]:
        entry = kernel.catalog.get(self.model)
        async with (
            kernel.pool.lease(entry) as runner,
            aclosing(self._stream(kernel, runner, request)) as stream,
        ):
            return [item async for item in stream]

    def _stream(
        self, kernel: Kernel, runner: EngineRunner, request: AlignmentRequest | DiarizationRequest
    ) -> AsyncGenerator[Any, None]:
        hooks = kernel.plugins.hook
        ask = hooks.align if isinstance(request, AlignmentRequest) else hooks.diarize
        stream: AsyncGenerator[Any, None] = ask(engine=runner, request=request)
        return stream

    async def _use(self, kernel: Kernel) -> None:
        match kernel.catalog.get(self.model).info.task:
            case Task.SPEECH:
                assert await self._collect(kernel, SHORT)
            case Task.TRANSCRIPTION:
                await kernel.transcribe(self.speech_audio(), model=self.model, **self.fields)
            case Task.ALIGNMENT:
                text = self.alignment_text()
                assert await self._hear(kernel, self._alignment(self.speech_audio(), text))
            case Task.DIARIZATION:
                assert await self._hear(kernel, self._diarization(self.speech_audio()))


def seconds(chunks: list[AudioChunk]) -> float:
    """Return how long chunks sound."""
    return sum(chunk.seconds for chunk in chunks)
