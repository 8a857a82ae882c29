"""A light HTTP client: many connections on one event loop, each asking again and again.

It parses no more of HTTP than it must, so that on its core it costs less than any server on the
other one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

from formats import audio_start

WORD_SECONDS = 0.25
BYTES_PER_SECOND = 48_000
"""Of 16-bit samples at 24 kHz."""


@dataclass(frozen=True)
class Ask:
    """What every client of a run asks for."""

    model: str
    format: str
    seconds: float

    @property
    def bytes(self) -> bytes:
        """The HTTP request."""
        text = " ".join(["echo"] * round(self.seconds / WORD_SECONDS))
        fields = {"model": self.model, "input": text, "response_format": self.format}
        body = json.dumps(fields).encode()
        return (
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def plausible(self, size: int) -> bool:
        """Whether an answer of this many bytes can be all of the speech."""
        if self.format == "wav":
            return size == self.seconds * BYTES_PER_SECOND + 44
        return size > self.seconds * 3000


@dataclass
class Load:
    """What one run of clients saw."""

    began: float
    ended: float = 0.0
    firsts: list[float] = field(default_factory=list)
    """Seconds from each request to its first byte of audio."""
    stalls: int = 0
    """Answers during which a player would have run dry (known for WAV only)."""

    @property
    def requests_per_second(self) -> float:
        return len(self.firsts) / (self.ended - self.began)

    @property
    def first_ms(self) -> float:
        return 1000 * median(self.firsts)


class Failed(Exception):
    """An answer that is not the speech that was asked for."""


class Connection(asyncio.Protocol):
    """One kept-alive connection, one request at a time."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._request = ask.bytes
        self._transport: asyncio.Transport | None = None
        self._head: bytearray | None = None
        self._done: asyncio.Future[None] | None = None

    async def ask(self) -> None:
        """Send the request and wait for the whole answer.

        :raises Failed: if it is not complete speech.
        """
        self._head = bytearray()  # until the headers are complete
        self._start: bytearray | None = bytearray()  # until audio came
        self._chunked = False
        self._left = 0  # bytes of this chunk, or of the body, that have not come yet
        self._cut = b""  # a chunk's size line that has not come whole
        self._size = 0
        self.began = time.perf_counter()
        self.first = 0.0
        self.stalled = False
        self._done = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        self._transport.write(self._request)
        await self._done

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(Failed(f"the server hung up ({exc})"))

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            head, found, body = bytes(self._head).partition(b"\r\n\r\n")
            if not found:
                return
            self._head = None
            lower = head.lower()
            if not lower.startswith(b"http/1.1 200"):
                self._end(Failed(f"{head[:60]!r} {body[:300]!r}"))
                return
            self._chunked = b"transfer-encoding: chunked" in lower
            if not self._chunked:
                self._left = int(lower.partition(b"content-length:")[2].split(b"\r\n")[0])
            data = body
        if self._chunked:
            self._chunks(data)
        else:
            self._left -= len(data)
            self._body(data)
            if self._left <= 0:
                self._finish()

    def _chunks(self, data: bytes) -> None:
        if self._cut:
            data, self._cut = self._cut + data, b""
        at, end = 0, len(data)
        while at < end:
            if self._left:
                take = min(self._left, end - at)
                # The last two bytes of what is left end the chunk's line.
                payload = min(take, max(0, self._left - 2))
                if payload:
                    self._body(data[at : at + payload])
                self._left -= take
                at += take
                continue
            line = data.find(b"\r\n", at)
            if line < 0:
                self._cut = data[at:]
                return
            size = int(data[at:line], 16)
            if size == 0:
                self._finish()
                return
            self._left = size + 2
            at = line + 2

    def _body(self, data: bytes) -> None:
        if self._start is None:
            heard = time.perf_counter() - self.first
            if heard > self._size / BYTES_PER_SECOND and self._ask.format == "wav":
                self.stalled = True
        else:
            self._start += data
            if audio_start(self._ask.format, bytes(self._start)) is not None:
                self._start = None
                self.first = time.perf_counter()
        self._size += len(data)

    def _finish(self) -> None:
        whole = self.first and self._ask.plausible(self._size)
        self._end(None if whole else Failed(f"{self._ask}: an answer of {self._size} bytes"))

    def _end(self, error: Failed | None) -> None:
        done, self._done = self._done, None
        if done is None or done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


@asynccontextmanager
async def connected(port: int, ask: Ask, clients: int) -> AsyncIterator[list[Connection]]:
    """Hold connections to a server on this machine."""
    loop = asyncio.get_running_loop()
    connections = []
    try:
        for _ in range(clients):
            made = await loop.create_connection(lambda: Connection(ask), "127.0.0.1", port)
            connections.append(made[1])
        yield connections
    finally:
        for connection in connections:
            connection.close()


async def load(connections: Sequence[Connection], seconds: float) -> Load:
    """Let clients ask, all at once and each again when it has its answer, for some time.

    :param seconds: when the last requests begin; each client asks at least once.
    :raises Failed: if any answer is not complete speech.
    """
    result = Load(time.perf_counter())

    async def client(connection: Connection) -> None:
        while True:
            await connection.ask()
            result.firsts.append(connection.first - connection.began)
            result.stalls += connection.stalled
            if time.perf_counter() > result.began + seconds:
                return

    await asyncio.gather(*map(client, connections))
    result.ended = time.perf_counter()
    return result
