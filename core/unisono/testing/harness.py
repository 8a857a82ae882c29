"""One engine behind a kernel of its own, for tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from types import ModuleType
from typing import Any, ClassVar, TypeVar

import pytest

from ..config import Config
from ..kernel import Kernel
from ..plugins import PluginManager
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
        """Return some audio to transcribe: mono, 16 000 hertz. Override it with real speech."""
        return AudioChunk(echo.expected(LONG, echo.EchoSettings(sample_rate=16_000)), 16_000)

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

    async def _use(self, kernel: Kernel) -> None:
        if kernel.catalog.get(self.model).info.task is Task.SPEECH:
            assert await self._collect(kernel, SHORT)
        else:
            await kernel.transcribe(self.speech_audio(), model=self.model, **self.fields)


def seconds(chunks: list[AudioChunk]) -> float:
    """Return how long chunks sound."""
    return sum(chunk.seconds for chunk in chunks)
