"""One loaded model, asynchronous from outside whatever its plugin wrote."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

import numpy as np

from . import audio
from .engine import Engine
from .errors import EngineFailed, SpeechError
from .lanes import Lane
from .types import AudioChunk, CancelToken, ModelInfo, Segment, SpeechRequest, TranscriptionRequest

T = TypeVar("T")
logger = logging.getLogger(__name__)


def concurrency(engine: type[Engine]) -> int:
    """Return how many requests one model of this engine serves at once."""
    methods = (engine.synthesize, engine.transcribe)
    return engine.max_concurrency if any(map(inspect.isasyncgenfunction, methods)) else 1


class EngineRunner:
    """A model in this process: its engine, and the lane on which its `def` methods run.

    All methods are called on the event loop. Whatever an engine raises that is not a
    `SpeechError` is logged with its traceback and becomes `EngineFailed`.

    :param plugin: the name of the plugin that provides the engine, for error messages.
    """

    def __init__(self, engine: Engine, lane: Lane, plugin: str) -> None:
        self._engine = engine
        self._lane = lane
        self._plugin = plugin
        self._turns = asyncio.Semaphore(engine.max_concurrency)
        self.ahead = asyncio.Semaphore(concurrency(type(engine)) + 1)
        """Limits how many requests hold decoded audio: those in work, and the next one."""

    @property
    def model(self) -> ModelInfo:
        """What the model is and can do."""
        return self._engine.model

    async def load(self) -> None:
        """Bring the model into memory."""
        await self._call(self._engine.load)

    async def unload(self) -> None:
        """Release the model, after the call that runs on its lane."""
        await self._call(self._engine.unload)

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[AudioChunk, None]:
        """Stream the speech; chunks that wait for the reader come joined."""
        first: AudioChunk | None = None
        async with aclosing(self._stream(self._engine.synthesize, request)) as batches:
            async for batch in batches:
                for chunk in batch:
                    self._check(_fault(chunk, first))
                    first = first or chunk
                yield audio.join(batch)

    async def transcribe(self, request: TranscriptionRequest) -> AsyncGenerator[Segment, None]:
        """Stream the segments."""
        async with aclosing(self._stream(self._engine.transcribe, request)) as batches:
            async for batch in batches:
                for segment in batch:
                    if not isinstance(segment, Segment):
                        self._check(f"yielded {type(segment).__name__}, not a Segment")
                    yield segment

    async def _stream(
        self, method: Callable[[Any], Any], request: Any
    ) -> AsyncGenerator[list[Any], None]:
        if request.cancel.cancelled:
            return
        # A token of this stream alone: a hook may ask twice for the same request.
        cancel = CancelToken()
        request = replace(request, cancel=cancel)
        try:
            if inspect.isasyncgenfunction(method):
                async with self._turns, aclosing(method(request)) as items:
                    async for item in items:
                        yield [item]
            else:
                stream = self._lane.stream(lambda: iter(method(request)), cancel)
                async with aclosing(stream) as batches:
                    async for batch in batches:
                        yield batch
        except Exception as error:
            self._fail(error)
        finally:
            cancel.cancel()

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
