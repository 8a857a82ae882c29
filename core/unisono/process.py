"""The server's side of a model in a process of its own: questions, and streams of answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from itertools import count
from typing import Any

import numpy as np

from . import __version__
from .answers import Answers
from .errors import EngineUnavailable, SpeechError
from .lanes import LEAD
from .pipes import Child
from .spawn import WorkerSpec, program
from .types import AudioChunk
from .wire import BLOCK, PROTOCOL, pack_info, unpack_error

START_SECONDS = 60.0
"""Longest wait for a process to import the core."""
CANCEL_SECONDS = 1.0
"""How long a process may take to notice that nobody waits for an answer, before it is ended."""
STUCK_SECONDS = 30.0
"""The same where others are still served by the process, and would be ended with it."""
UNLOAD_SECONDS = 5.0
"""Longest wait for a model to be unloaded, before its process is ended all the same."""


class WorkerProcess:
    """One process with one model. All methods run on the event loop.

    :param changed: called when a stream is over, and when the process is.
    """

    def __init__(self, spec: WorkerSpec, changed: Callable[[], object]) -> None:
        self._spec = spec
        self._changed = changed
        self._log = logging.getLogger(f"unisono.worker.{spec.model.id}")
        self._child = Child(self._hear, self._overhear, self._mourn)
        self._hello: asyncio.Future[tuple[Any, ...]] | None = None
        self._ids = count(1)
        self._answers: dict[int, Answers] = {}
        self._waits: set[asyncio.Task[None]] = set()
        self.streams = 0
        """Requests that it works on, or has not yet noticed to be over."""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child.alive

    @property
    def fate(self) -> str:
        """How the process ended."""
        return self._child.fate

    async def ended(self) -> None:
        """Wait until the process has ended."""
        await self._child.ended()

    async def start(self) -> None:
        """Start the process and load the model.

        :raises EngineUnavailable: if either fails; the message says what to do.
        """
        spec = self._spec
        self._hello = asyncio.get_running_loop().create_future()
        python = spec.python or sys.executable
        try:
            command = [python, *program(spec.python), str(os.getpid())]
            await self._child.start(command, spec.environment)
        except OSError as error:
            raise self._unavailable(
                f"its Python interpreter does not run ({error.strerror}); correct `python` in its "
                "configuration."
            ) from error
        try:
            protocol, version, _ = await asyncio.wait_for(self._hello, START_SECONDS)
            if protocol != PROTOCOL:
                raise self._unavailable(
                    f"its environment has unisono {version}, which does not understand this "
                    f"server ({__version__}). {self._remedy()}"
                )
            what = spec.engine, spec.module, pack_info(spec.model), dict(spec.settings)
            await self.call("load", *what, spec.voice_bytes)
        except BaseException as error:
            await self._child.bury()
            for line in self._child.said:  # logged as information before, which few look at
                self._log.warning("%s", line)
            if isinstance(error, asyncio.TimeoutError):
                silence = f"its process said nothing for {START_SECONDS:g} s."
                raise self._unavailable(silence) from None
            raise

    async def close(self) -> None:
        """Unload the model and end the process."""
        if self.alive:
            with contextlib.suppress(SpeechError, asyncio.TimeoutError):
                await asyncio.wait_for(self.call("unload"), UNLOAD_SECONDS)
        await self._child.bury()

    async def call(self, kind: str, *rest: Any) -> Any:
        """Ask for one value.

        :raises SpeechError: whatever the process answers instead.
        """
        answers = Answers()
        id_ = self._ask(kind, rest, answers)
        try:
            return (await answers.take())[0]
        finally:
            self._answers.pop(id_, None)

    async def stream(
        self, kind: str, request: Any, samples: np.ndarray | None = None
    ) -> AsyncGenerator[list[Any], None]:
        """Yield what the process answers to one request, all that has come at a time.

        Closing the generator cancels the request there.

        :param samples: a long recording that belongs to the request and is sent in blocks.
        """
        answers = Answers()
        self.streams += 1
        id_ = next(self._ids)
        try:
            data = b"" if samples is None else samples.data.cast("B")
            for start in range(0, len(data), BLOCK):
                self._child.send("samples", id_, data[start : start + BLOCK])
                await self._child.writable()
            self._ask(kind, (request,), answers, id_)
            while items := await answers.take():
                if answers.paused:
                    answers.paused = False
                    self._child.send("resume", id_)
                yield items
        finally:
            if answers.ended or not self.alive:
                self._forget(id_)
            else:
                self._child.send("cancel", id_)
                self._wait_for_the_end(id_, answers)

    def _ask(self, kind: str, rest: Any, answers: Answers, id_: int | None = None) -> int:
        if not self.alive:
            raise self._death()
        id_ = next(self._ids) if id_ is None else id_
        self._answers[id_] = answers
        self._child.send(kind, id_, *rest)
        return id_

    def _forget(self, id_: int) -> None:
        self._answers.pop(id_, None)
        self.streams -= 1
        self._changed()

    def _wait_for_the_end(self, id_: int, answers: Answers) -> None:
        """Wait in the background for a cancelled request to end; end the process if it does not.

        Meanwhile the request still takes its room here: the engine is not free.
        """
        self._answers.setdefault(id_, answers)

        async def wait() -> None:
            deadline = time.monotonic() + STUCK_SECONDS
            try:
                while not await _within(CANCEL_SECONDS, answers.over()):
                    served = self.streams - len(self._waits)
                    if not served or time.monotonic() > deadline:
                        self._log.warning("Ended the process: it did not stop a cancelled request.")
                        self._child.kill()
                        await self._child.ended()
            finally:
                self._forget(id_)

        task = asyncio.ensure_future(wait())
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)

    def _hear(self, message: tuple[Any, ...]) -> None:
        kind, id_, *rest = message
        if kind == "log":
            level, name, text = rest
            self._log.log(level, "%s: %s", name, text)
        elif kind == "hello":
            if self._hello is not None and not self._hello.done():
                self._hello.set_result(tuple(rest))
        elif (answers := self._answers.get(id_)) is not None:
            if kind == "error":
                answers.end(unpack_error(*rest))
            elif kind == "end":
                answers.end()
            else:
                answers.add(_chunk(*rest) if kind == "chunk" else rest[0])
            if len(answers.items) >= LEAD and not answers.paused:
                answers.paused = True
                self._child.send("pause", id_)

    def _overhear(self, line: str) -> None:
        self._log.info("%s", line)

    def _mourn(self) -> None:
        if self._hello is not None and not self._hello.done():
            self._hello.set_exception(self._unstartable())
        for answers in self._answers.values():
            answers.end(self._death())
        self._changed()

    def _death(self) -> EngineUnavailable:
        error = EngineUnavailable(
            f"The process of model {self._spec.model.id!r} {self.fate}. Send the request again.",
            code="worker_died",
        )
        error.retry_after = 1
        return error

    def _unstartable(self) -> EngineUnavailable:
        """Explain why the process ended before it said a word, from what it printed."""
        said = " ".join(self._child.said)
        if "No module named" in said and "unisono" in said:
            return self._unavailable(f"its environment has no unisono. {self._remedy()}")
        last = self._child.said[-1] if self._child.said else self.fate
        return self._unavailable(f"its process did not start: {last}")

    def _unavailable(self, reason: str) -> EngineUnavailable:
        return EngineUnavailable(f"Model {self._spec.model.id!r}: {reason}")

    def _remedy(self) -> str:
        return f"Run: <its python> -m pip install unisono=={__version__} {self._spec.distribution}"


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    """Do something; say whether there was time for it."""
    try:
        await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        return False
    return True


def _chunk(rate: int, channels: int, dimensions: int, data: bytes, words: Any) -> AudioChunk:
    samples = np.frombuffer(data, np.float32)
    return AudioChunk(samples.reshape(-1, channels) if dimensions == 2 else samples, rate, words)
