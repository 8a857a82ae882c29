"""One loaded model, asynchronous from outside whatever its plugin wrote."""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, TypeVar

import numpy as np

from . import audio
from .batching import Batcher
from .engine import Engine, concurrency
from .errors import EngineFailed, SpeechError
from .lanes import Lane
from .prepared import PreparedVoices
from .requests import (
    AlignmentRequest,
    CancelToken,
    DiarizationRequest,
    SpeechRequest,
    TranscriptionRequest,
)
from .types import AudioChunk, ModelInfo, Segment, SpeakerTurn, Word

T = TypeVar("T")
logger = logging.getLogger(__name__)


class EngineRunner(ABC):
    """One loaded model, wherever it runs. All methods are called on the event loop.

    Whatever an engine raises that is not a `SpeechError` is logged with its traceback and becomes
    `EngineFailed`.
    """

    ahead: asyncio.Semaphore
    """Limits how many requests hold decoded audio: those in work, and the next one."""

    @property
    @abstractmethod
    def model(self) -> ModelInfo:
        """What the model is and can do."""

    @abstractmethod
    async def load(self) -> None:
        """Bring the model into memory.

        :raises EngineUnavailable: if that is not possible now.
        """

    @abstractmethod
    async def unload(self) -> None:
        """Release the model. Nothing runs any more, and nothing will."""

    @abstractmethod
    async def forget_voices(self) -> int:
        """Drop the prepared voices; return how many there were."""

    @abstractmethod
    def synthesize(self, request: SpeechRequest) -> AsyncGenerator[AudioChunk, None]:
        """Stream the speech; chunks that wait for the reader come joined."""

    @abstractmethod
    def transcribe(self, request: TranscriptionRequest) -> AsyncGenerator[Segment, None]:
        """Stream the segments."""

    @abstractmethod
    def align(self, request: AlignmentRequest) -> AsyncGenerator[Word, None]:
        """Stream the words of a text with their times."""

    @abstractmethod
    def diarize(self, request: DiarizationRequest) -> AsyncGenerator[SpeakerTurn, None]:
        """Stream who speaks when."""


class ThreadRunner(EngineRunner):
    """A model in this process: its engine, and the lane on which its `def` methods run.

    :param plugin: the name of the plugin that provides the engine, for error messages.
    :param voice_bytes: memory for prepared voices.
    """

    def __init__(self, engine: Engine, lane: Lane, plugin: str, voice_bytes: int = 0) -> None:
        self._engine = engine
        self._lane = lane
        self._plugin = plugin
        self._voices = PreparedVoices(engine, voice_bytes)
        at_once = concurrency(type(engine), engine.model)
        batched = engine.max_batch_size > 1 and at_once > 1
        self._batcher = Batcher(engine, lane, at_once, self._complete) if batched else None
        self._turns = asyncio.Semaphore(at_once)
        self.ahead = asyncio.Semaphore(at_once + 1)

    @property
    def model(self) -> ModelInfo:
        """As the engine has it."""
        return self._engine.model

    async def load(self) -> None:
        """Call the engine's `load`."""
        await self._call(self._engine.load)

    async def unload(self) -> None:
        """Call the engine's `unload`, after the call that runs on its lane."""
        self._voices.clear()
        await self._call(self._engine.unload)

    async def forget_voices(self) -> int:
        """Drop the prepared voices; return how many there were."""
        return self._voices.clear()

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[AudioChunk, None]:
        """Stream what the engine says, on its lane, in its batch or on the event loop."""
        first: AudioChunk | None = None
        async with aclosing(self._contained(self._speak, request)) as batches:
            async for batch in batches:
                for chunk in batch:
                    self._check(_fault(chunk, first))
                    first = first or chunk
                yield audio.join(batch)

    def transcribe(self, request: TranscriptionRequest) -> AsyncGenerator[Segment, None]:
        """Stream what the engine writes, on its lane, in its batch or on the event loop."""
        return self._listen(self._write, request, Segment)

    def align(self, request: AlignmentRequest) -> AsyncGenerator[Word, None]:
        """Stream the words that the engine finds, on its lane or on the event loop."""
        return self._listen(partial(self._run, self._engine.align), request, Word)

    def diarize(self, request: DiarizationRequest) -> AsyncGenerator[SpeakerTurn, None]:
        """Stream the speakers that the engine hears, on its lane or on the event loop."""
        return self._listen(partial(self._run, self._engine.diarize), request, SpeakerTurn)

    async def _listen(
        self, start: Callable[[Any], AsyncGenerator[list[Any], None]], request: Any, kind: type[T]
    ) -> AsyncGenerator[T, None]:
        async with aclosing(self._contained(start, request)) as batches:
            async for batch in batches:
                for item in batch:
                    if not isinstance(item, kind):
                        self._check(f"yielded {type(item).__name__}, not a {kind.__name__}")
                    yield item

    async def _contained(
        self, start: Callable[[Any], AsyncGenerator[list[Any], None]], request: Any
    ) -> AsyncGenerator[list[Any], None]:
        if request.cancel.cancelled:
            return
        # A token of this stream alone: a hook may ask twice for the same request.
        cancel = CancelToken()
        try:
            async with aclosing(start(replace(request, cancel=cancel))) as batches:
                async for batch in batches:
                    yield batch
        except Exception as error:
            self._fail(error)
        finally:
            cancel.cancel()

    def _speak(self, request: SpeechRequest) -> AsyncGenerator[list[Any], None]:
        speak: Callable[..., Any] = self._engine.synthesize
        if self._batcher is not None:
            return self._batcher.stream(request, request.cancel)
        if inspect.isasyncgenfunction(speak):
            return self._on_loop(speak, request, self._voices.apply_async)
        return self._lane.stream(lambda: iter(speak(self._voices.apply(request))), request.cancel)

    def _write(self, request: TranscriptionRequest) -> AsyncGenerator[list[Any], None]:
        if self._batcher is not None:
            return self._batcher.stream(request, request.cancel)
        return self._run(self._engine.transcribe, request)

    def _run(self, method: Callable[..., Any], request: Any) -> AsyncGenerator[list[Any], None]:
        if inspect.isasyncgenfunction(method):
            return self._on_loop(method, request)
        return self._lane.stream(lambda: iter(method(request)), request.cancel)

    def _complete(self, request: Any) -> Any:
        """Add to a request what the engine prepares on its lane."""
        return self._voices.apply(request) if isinstance(request, SpeechRequest) else request

    async def _on_loop(
        self,
        method: Callable[[Any], AsyncGenerator[Any, None]],
        request: Any,
        prepare: Callable[[Any], Awaitable[Any]] | None = None,
    ) -> AsyncGenerator[list[Any], None]:
        async with self._turns:
            ready = await prepare(request) if prepare else request
            async with aclosing(method(ready)) as items:
                async for item in items:
                    yield [item]

    async def _call(self, method: Callable[[], Any]) -> None:
        try:
            if inspect.iscoroutinefunction(method):
                await method()
            else:
                await self._lane.run(method)
        except Exception as error:
            self._fail(error)

    def _check(self, fault: str | None) -> None:
        if fault:
            raise EngineFailed(f"Model {self.model.id!r} (plugin {self._plugin!r}) {fault}.")

    def _fail(self, error: Exception) -> NoReturn:
        if isinstance(error, SpeechError):
            raise error
        logger.error("Model %r failed in plugin %r.", self.model.id, self._plugin, exc_info=error)
        raise EngineFailed(
            f"Model {self.model.id!r} failed with {type(error).__name__} in plugin "
            f"{self._plugin!r}; the server's log says more."
        ) from error


def _fault(chunk: object, first: AudioChunk | None) -> str | None:
    """Say what of a chunk would break the encoders, or what they would make noise of."""
    if not isinstance(chunk, AudioChunk) or not isinstance(chunk.samples, np.ndarray):
        return f"yielded {type(chunk).__name__}; an AudioChunk of a numpy array is expected"
    samples, rate = chunk.samples, chunk.sample_rate
    shape = samples.shape
    sound = len(shape) > 0 and shape[0] > 0 and shape[1:] in ((), (1,), (2,))
    if not sound or samples.dtype != np.float32:
        return (
            f"yielded {samples.dtype} {shape}; a chunk is float32, (frames,) or (frames, 1 or 2), "
            "with at least one frame"
        )
    if not isinstance(rate, int) or rate <= 0:
        return f"yielded a sample rate of {rate!r}; a positive int is expected"
    if first is not None and (rate, shape[1:]) != (first.sample_rate, first.samples.shape[1:]):
        return (
            f"changed within a stream: from {first.sample_rate} hertz, {first.samples.shape} "
            f"to {rate} hertz, {shape}"
        )
    return None
