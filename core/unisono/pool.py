"""Loaded models: load on demand, unload when idle or when memory is needed, and limit the queue."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from .downloads import pull_missing
from .entries import Entry
from .errors import EngineOverloaded, EngineUnavailable, SpeechError
from .launch import Launcher
from .runner import EngineRunner
from .sections import Limits

logger = logging.getLogger(__name__)

FIRST_RETRY = 2.0
"""Seconds before a failed load is tried again; doubled with each failure."""
LAST_RETRY = 60.0
CLOSE_SECONDS = 10.0
"""Longest wait for engines when the pool closes."""


@dataclass(eq=False)
class _Place:
    """What the pool knows of one model."""

    entry: Entry
    concurrency: int
    """Requests that it serves at once."""
    users: int = 0
    runner: EngineRunner | None = None
    loading: asyncio.Task[EngineRunner] | None = None
    leaving: asyncio.Task[None] | None = None
    holds_memory: bool = False
    """From before the load until after the unload."""
    error: SpeechError | None = None
    retry_at: float = 0.0
    retry_in: float = field(default_factory=lambda: FIRST_RETRY)
    used_at: float = 0.0
    seconds: float = 1.0
    """A moving average of how long a request takes."""
    timer: asyncio.TimerHandle | None = None


@dataclass
class Pool:
    """The models in memory. All methods run on the event loop.

    A busy model is never unloaded; two requests never load the same model twice; a load goes on
    when the request that began it is cancelled, for the next one will want it.
    """

    limits: Limits
    voice_bytes: int = 0
    """Memory for the prepared voices of each model."""
    auto_pull: bool = False
    """Whether weights that a model lacks are downloaded before it is loaded."""
    _places: dict[str, _Place] = field(default_factory=dict)
    _making_room: asyncio.Lock = field(default_factory=asyncio.Lock)
    _freed: asyncio.Event = field(default_factory=asyncio.Event)
    _users: int = 0

    def __post_init__(self) -> None:
        self._launcher = Launcher(self.voice_bytes)

    @asynccontextmanager
    async def lease(self, entry: Entry) -> AsyncIterator[EngineRunner]:
        """Hold the loaded model for one request.

        :raises EngineOverloaded: if too many requests wait for it already.
        :raises EngineUnavailable: if it cannot be loaded now.
        """
        self.check(entry)
        place = self._places.get(entry.id)
        if place is None:
            place = self._places[entry.id] = _Place(entry, entry.concurrency)
        began = time.monotonic()
        place.users += 1
        self._users += 1
        if place.timer is not None:
            place.timer.cancel()
            place.timer = None
        try:
            yield await self._loaded(place)
        finally:
            place.users -= 1
            self._users -= 1
            place.used_at = time.monotonic()
            place.seconds += 0.2 * (place.used_at - began - place.seconds)
            if not place.users:
                self._idle(place)

    def loaded(self) -> dict[str, int]:
        """Return the ids of the loaded models, each with its number of requests in progress."""
        return {id_: place.users for id_, place in self._places.items() if place.runner}

    async def forget_voices(self, engine: str | None = None) -> int:
        """Drop the prepared voices of every model, or of one engine's; return how many."""
        runners = [
            place.runner
            for place in self._places.values()
            if place.runner and engine in (None, place.entry.info.engine)
        ]
        return sum([await runner.forget_voices() for runner in runners])

    async def unload(self, model_id: str) -> bool:
        """Unload a model now if it is loaded and idle; say whether it was."""
        place = self._places.get(model_id)
        if place is None or place.runner is None or place.users:
            return False
        await self._leave(place)
        return True

    async def close(self) -> None:
        """Unload everything. Requests in progress must have ended.

        Engines that do not come back are left to their threads, which end with the process.
        """
        leaving = [asyncio.create_task(self._close(place)) for place in self._places.values()]
        if leaving:
            _, stuck = await asyncio.wait(leaving, timeout=CLOSE_SECONDS)
            for task in stuck:
                task.cancel()
            if stuck:
                logger.warning("%d models did not unload in %g s.", len(stuck), CLOSE_SECONDS)
        await self._launcher.close()

    async def _close(self, place: _Place) -> None:
        if place.timer is not None:
            place.timer.cancel()
        if place.loading is not None:
            await asyncio.wait([place.loading])
        await self._leave(place)

    @contextmanager
    def admitted(self, entry: Entry) -> Iterator[None]:
        """Count a request among those in progress while it is not yet for the model to answer.

        :raises EngineOverloaded: as `check`.
        """
        self.check(entry)
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    def check(self, entry: Entry) -> None:
        """Refuse a request that would have to be refused anyhow, before it costs anything.

        :raises EngineOverloaded: if too many requests wait already.
        """
        if self._users >= self.limits.concurrent_requests:
            raise EngineOverloaded(
                f"The server is answering {self._users} requests, as many as it may; try again."
            )
        place = self._places.get(entry.id)
        if place is None:
            return
        waiting = place.users - place.concurrency
        if waiting >= self.limits.queue_length:
            raise EngineOverloaded(
                f"{place.users} requests are using or waiting for model {entry.id!r}; try again.",
                retry_after=min(60, math.ceil(place.seconds)),
            )

    async def _loaded(self, place: _Place) -> EngineRunner:
        if place.runner is not None:
            return place.runner
        if place.loading is None:
            wait = place.retry_at - time.monotonic()
            if place.error is not None and wait > 0:
                raise _again(place.error, wait)
            place.loading = asyncio.create_task(self._load(place))
            place.loading.add_done_callback(_look)
        return await asyncio.shield(place.loading)

    async def _load(self, place: _Place) -> EngineRunner:
        entry = place.entry
        try:
            if place.leaving is not None:
                await asyncio.wait([place.leaving])
            if self.auto_pull:
                await pull_missing(entry.weights)
            await self._make_room(place)
            runner = self._launcher.launch(entry)
            began = time.monotonic()
            await runner.load()
            place.runner = runner
            logger.info("Loaded %r in %.2f s.", entry.id, time.monotonic() - began)
            place.error, place.retry_in = None, FIRST_RETRY
            return runner
        except Exception as error:
            await self._launcher.retire(entry)
            self._release(place)
            failure = error if isinstance(error, EngineUnavailable) else _unloadable(entry, error)
            place.error = failure
            place.retry_at = time.monotonic() + place.retry_in
            place.retry_in = min(LAST_RETRY, place.retry_in * 2)
            logger.warning("Model %r could not be loaded: %s", entry.id, failure)
            if failure is error:
                raise
            raise failure from error
        finally:
            place.loading = None
            if not place.users:  # whoever wanted it has gone
                self._idle(place)

    async def _make_room(self, place: _Place) -> None:
        budget, needed = self.limits.memory, place.entry.info.memory_bytes
        if budget is not None and needed:
            if needed > budget:
                raise EngineUnavailable(
                    f"Model {place.entry.id!r} needs {needed:,} bytes; limits.memory is {budget:,}."
                )
            async with self._making_room:  # one at a time, or two would take the same room
                while self._held() + needed > budget:
                    await self._evict()
                place.holds_memory = True

    def _held(self) -> int:
        places = self._places.values()
        return sum(place.entry.info.memory_bytes or 0 for place in places if place.holds_memory)

    async def _evict(self) -> None:
        """Unload the idle model that was used longest ago, or wait until one is idle or gone."""
        loaded = [p for p in self._places.values() if p.runner and p.entry.info.memory_bytes]
        idle = [place for place in loaded if not place.users]
        if idle:
            await self._leave(min(idle, key=lambda place: place.used_at))
        else:
            self._freed.clear()
            await self._freed.wait()

    def _idle(self, place: _Place) -> None:
        self._freed.set()
        if place.runner is None or math.isinf(place.entry.keep_alive):
            return
        place.timer = asyncio.get_running_loop().call_later(
            place.entry.keep_alive, self._expire, place
        )

    def _expire(self, place: _Place) -> None:
        place.timer = None
        if not place.users:
            self._dismiss(place)

    async def _leave(self, place: _Place) -> None:
        self._dismiss(place)
        if place.leaving is not None:
            await asyncio.wait([place.leaving])

    def _dismiss(self, place: _Place) -> None:
        """Begin to unload. At once, before the task runs: no request may find this runner now."""
        runner, place.runner = place.runner, None
        if runner is not None:
            place.leaving = asyncio.create_task(self._unload(place, runner))

    async def _unload(self, place: _Place, runner: EngineRunner) -> None:
        try:
            await runner.unload()
        except SpeechError as error:
            logger.warning("Model %r did not unload cleanly: %s", place.entry.id, error)
        finally:
            await self._launcher.retire(place.entry)
            self._release(place)
            place.leaving = None
        logger.info("Unloaded %r.", place.entry.id)

    def _release(self, place: _Place) -> None:
        place.holds_memory = False
        self._freed.set()


def _unloadable(entry: Entry, error: Exception) -> EngineUnavailable:
    logger.error("Model %r could not be loaded.", entry.id, exc_info=error)
    # What happened in another process has no cause here.
    known = isinstance(error, SpeechError) and error.__cause__ is None
    reason = str(error) if known else type(error.__cause__ or error).__name__
    return EngineUnavailable(f"Model {entry.id!r} could not be loaded ({reason}); see the log.")


def _again(error: SpeechError, wait: float) -> EngineUnavailable:
    text = f"{error} (next attempt in {math.ceil(wait)} s)"
    unavailable = EngineUnavailable(text, code=error.code)
    unavailable.retry_after = math.ceil(wait)
    return unavailable


def _look(task: asyncio.Task[EngineRunner]) -> None:
    """Retrieve the error, so that asyncio does not complain when every waiter has gone."""
    if not task.cancelled():
        task.exception()
