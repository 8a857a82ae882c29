"""A child process that speaks in messages: its start, its pipes, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from .wire import pack, reader

LAST_WORDS_SECONDS = 0.5
"""How long the pipes of a process that has ended are read."""
_STDOUT, _STDERR = 1, 2


class Child(asyncio.SubprocessProtocol):
    """A process. Messages go to its standard input and come from its standard output.

    All methods run on the event loop.

    :param hear: gets every message.
    :param overhear: gets every line of the standard error.
    :param mourn: called once the process has ended and all that it said was read.
    """

    def __init__(
        self,
        hear: Callable[[tuple[Any, ...]], None],
        overhear: Callable[[str], None],
        mourn: Callable[[], None],
    ) -> None:
        self._hear = hear
        self._overhear = overhear
        self._mourn = mourn
        self._messages = reader()
        self._line = b""
        self._transport: asyncio.SubprocessTransport | None = None
        self._input: Any = None
        self._open = {_STDOUT, _STDERR}
        self._exited = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = asyncio.Event()
        self._gone = asyncio.Event()
        self.said: deque[str] = deque(maxlen=20)
        """The last lines of the standard error."""

    async def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the process.

        :raises OSError: if there is no such program.
        """
        await asyncio.get_running_loop().subprocess_exec(
            lambda: self,
            *command,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C is for this process, which ends that one
        )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._transport is not None and not self._exited

    @property
    def fate(self) -> str:
        """How the process ended."""
        code = self._transport.get_returncode() if self._transport else None
        if code is None:
            return "is ending"
        return f"ended with status {code}" if code >= 0 else f"died of {_name(-code)}"

    def send(self, *message: Any) -> None:
        """Say something, if anybody is there to hear it."""
        if self.alive:
            self._input.write(pack(*message))

    async def writable(self) -> None:
        """Wait until the process has read enough for more to be sent."""
        await self._writable.wait()

    async def ended(self) -> None:
        """Wait until the process has ended."""
        await self._ended.wait()

    def kill(self) -> None:
        """End the process now, and what it has started that is in its session."""
        if self._transport is None or self._transport.get_returncode() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if sys.platform == "win32":
                self._transport.kill()
            else:
                os.killpg(self._transport.get_pid(), signal.SIGKILL)

    async def bury(self) -> None:
        """End the process, and wait until nothing is left of it and its pipes."""
        self.kill()
        if self._transport is not None:
            await self._gone.wait()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the process."""
        self._transport = cast("asyncio.SubprocessTransport", transport)  # uvloop's is none
        self._input = self._transport.get_pipe_transport(0)

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        """Take messages apart, and lines."""
        assert isinstance(data, bytes)
        if fd == _STDOUT:
            self._messages.feed(data)
            for message in self._messages:
                self._hear(message)
            return
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            if text:
                self.said.append(text)
                self._overhear(text)

    def pause_writing(self) -> None:
        """Hold back what need not be sent at once."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Take the end of what the process says."""
        self._open.discard(fd)
        if self._exited and not self._open:
            self._end()

    def process_exited(self) -> None:
        """Wait for its last words, but not for children that it may have left with its pipes."""
        self._exited = True
        if self._open:
            asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._end)
        else:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left."""
        self._gone.set()

    def _end(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._writable.set()
            if self._transport is not None:
                self._transport.close()
            self._mourn()


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
