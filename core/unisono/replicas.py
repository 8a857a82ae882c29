"""A model in processes of its own: as many as configured, started again when they die."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np

from . import audio
from .engine import METHODS
from .errors import EngineUnavailable, SpeechError
from .process import WorkerProcess
from .requests import AlignmentRequest, DiarizationRequest, SpeechRequest, TranscriptionRequest
from .runner import EngineRunner
from .spawn import WorkerSpec
from .types import AudioChunk, ModelInfo, Segment, SpeakerTurn, Task, Word

FIRST_PAUSE = 0.5
"""Seconds before the second start in a row; the first is at once. Doubled with each failure."""
LONGEST_PAUSE = 30.0
HEALTHY_SECONDS = 30.0
"""A process that lived that long may be started again at once."""

logger = logging.getLogger(__name__)


class ProcessRunner(EngineRunner):
    """Distributes requests over the replicas, each time to the one with the least to do.

    :param specs: one for each replica.
    :param concurrency: requests that a replica works on at once; more wait here.
    """

    def __init__(self, specs: Sequence[WorkerSpec], concurrency: int) -> None:
        self._specs = specs
        self._concurrency = concurrency
        self._workers: dict[int, WorkerProcess] = {}
        self._failures = [0] * len(specs)
        self._problem: SpeechError | None = None
        """Why no replica runs, if none does and none is about to."""
        self._watching: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self.ahead = asyncio.Semaphore(len(specs) * concurrency + 1)

    @property
    def model(self) -> ModelInfo:
        """As the configuration describes it."""
        return self._specs[0].model

    async def load(self) -> None:
        """Start every replica; all of them must come up."""
        starts = (self._start(index) for index in range(len(self._specs)))
        results = await asyncio.gather(*starts, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                await self.unload()
                raise result

    async def unload(self) -> None:
        """End the processes, and with them whatever memory they held."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))
        self._workers.clear()

    async def forget_voices(self) -> int:
        """Drop the prepared voices of every replica; return how many there were."""
        counts = (worker.call("forget") for worker in self._workers.values() if worker.alive)
        return sum(await asyncio.gather(*counts))

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[AudioChunk, None]:
        """Stream the speech from the replica that has the least to do."""
        async with aclosing(self._stream(Task.SPEECH, request)) as batches:
            async for batch in batches:
                yield audio.join(batch)

    def transcribe(self, request: TranscriptionRequest) -> AsyncGenerator[Segment, None]:
        """Stream the segments, likewise."""
        return self._listen(Task.TRANSCRIPTION, request)

    def align(self, request: AlignmentRequest) -> AsyncGenerator[Word, None]:
        """Stream the words, likewise."""
        return self._listen(Task.ALIGNMENT, request)

    def diarize(self, request: DiarizationRequest) -> AsyncGenerator[SpeakerTurn, None]:
        """Stream the speakers, likewise."""
        return self._listen(Task.DIARIZATION, request)

    async def _listen(self, task: Task, request: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(self._stream(task, request)) as batches:
            async for batch in batches:
                for item in batch:
                    yield item

    async def _stream(self, task: Task, request: Any) -> AsyncGenerator[list[Any], None]:
        if request.cancel.cancelled:
            return
        async with self._turn:  # who waits first is served first
            worker = await self._free()
            # Nothing waits from here to the first step of the stream, which takes the room.
            stream = worker.stream(METHODS[task], *_parts(request))
        async with aclosing(stream) as batches:
            async for batch in batches:
                yield batch

    async def _free(self) -> WorkerProcess:
        """Wait for a replica that has room; of several, return the one with the least to do."""
        while True:
            if self._problem is not None:
                raise self._problem.with_traceback(None)  # or it would keep every request's
            running = [worker for worker in self._workers.values() if worker.alive]
            free = [worker for worker in running if worker.streams < self._concurrency]
            if free:
                return min(free, key=lambda worker: worker.streams)
            self._changed.clear()
            await self._changed.wait()

    async def _start(self, index: int) -> None:
        worker = WorkerProcess(self._specs[index], self._changed.set)
        await worker.start()
        self._workers[index] = worker
        self._problem = None
        self._changed.set()
        task = asyncio.create_task(self._watch(index, worker))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _watch(self, index: int, worker: WorkerProcess) -> None:
        """Start another process when this one ends: at once, or after a pause if that was quick."""
        began = time.monotonic()
        await worker.ended()
        logger.warning("The process of model %r %s.", self.model.id, worker.fate)
        failures = 0 if time.monotonic() - began > HEALTHY_SECONDS else self._failures[index] + 1
        while True:
            self._failures[index] = failures
            if failures > 1:
                await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 2)))
            try:
                return await self._start(index)
            # Of whatever kind: with this task would end the last hope of those who wait.
            except Exception as error:
                failures += 1
                known = isinstance(error, SpeechError)
                logger.warning("%s", error, exc_info=None if known else error)
                if not any(each.alive for each in self._workers.values()):
                    self._problem = error if isinstance(error, SpeechError) else self._no_start()
                    self._changed.set()

    def _no_start(self) -> EngineUnavailable:
        return EngineUnavailable(f"Model {self.model.id!r}: no process starts; see the log.")


def _parts(request: Any) -> tuple[Any, ...]:
    """Take a long recording out of a request, to send it in blocks."""
    if isinstance(request, SpeechRequest):
        return (request,)
    samples = np.ascontiguousarray(request.audio.samples)
    empty = AudioChunk(samples[:0], request.audio.sample_rate)
    return replace(request, audio=empty), samples
