"""Servers, and whose turn it is with each.

A GPT-SoVITS server keeps its weights and the voice in work in one place for all its clients: a
second request makes the first one go on with another voice. So each has one request at a time,
over all models of this process that use it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from .generations import Generation

REST_SECONDS = 5.0
"""How long a server that did not answer is left alone, if there are others."""


@dataclass(eq=False)
class Server:
    """What is known of one server."""

    url: str
    generation: Generation | None = None
    fields: frozenset[str] | None = None
    """That it takes, if it says so."""
    weights: tuple[str, str] | None = None
    """Set last, by this process; None means unknown."""
    switched: bool = False
    """Whether this process has changed its weights since, so that its own are gone."""
    reference: str | None = None
    """Path of the reference that it has in work."""
    busy: bool = False
    served: int = 0
    rest_until: float = 0.0

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc

    def lost(self) -> None:
        """Forget what may no longer hold: it did not answer, and may come back as another."""
        self.generation = self.fields = self.weights = self.reference = None
        self.rest_until = time.monotonic() + REST_SECONDS


@dataclass(eq=False)
class Crew:
    """All servers that are used from one event loop, and those who wait for them, in order."""

    _servers: dict[str, Server] = field(default_factory=dict)
    _waiting: list[tuple[Sequence[Server], asyncio.Future[Server]]] = field(default_factory=list)

    def server(self, url: str) -> Server:
        """Return the one server of an address."""
        return self._servers.setdefault(url, Server(url))

    @asynccontextmanager
    async def turn(
        self, servers: Sequence[Server], weights: tuple[str, str] | None
    ) -> AsyncIterator[Server]:
        """Have one of some servers to oneself; the one with these weights if several are free."""
        now = time.monotonic()
        awake = [server for server in servers if server.rest_until <= now] or servers
        free = [server for server in awake if not server.busy]
        if free:
            server = min(free, key=lambda each: (each.weights != weights, each.served))
            server.busy = True
        else:
            server = await self._wait(awake)
        server.served += 1
        try:
            yield server
        finally:
            self._release(server)

    async def _wait(self, servers: Sequence[Server]) -> Server:
        future: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        place = servers, future
        self._waiting.append(place)
        try:
            return await future
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
            elif not future.cancelled():  # it was handed over, and nobody takes it
                self._release(future.result())
            raise

    def _release(self, server: Server) -> None:
        """Hand a server to whoever has waited longest for it."""
        for place in self._waiting:
            if server in place[0] and not place[1].done():
                self._waiting.remove(place)
                place[1].set_result(server)
                return
        server.busy = False


_CREWS: WeakKeyDictionary[asyncio.AbstractEventLoop, Crew] = WeakKeyDictionary()


def crew() -> Crew:
    """Return the servers of the running event loop."""
    return _CREWS.setdefault(asyncio.get_running_loop(), Crew())
