"""Continuous batching: requests for one model join and leave between the steps of one loop.

The loop is a job on the model's lane that runs as long as there are requests. Waiting requests
join in the order in which they came. The design follows Orca's iteration-level scheduling
(Yu et al., OSDI 2022): nobody waits for the end of anybody else's text.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from .engine import Batch, Engine
from .lanes import Lane, Mailbox
from .requests import CancelToken

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Member:
    """One request, waiting or in the batch."""

    request: Any
    mailbox: Mailbox[Any]


class Batcher:
    """The requests of one model that share its batch.

    A slow reader cannot hold the others back, so what it has not read waits in memory.

    :param most: requests that share the batch.
    :param prepare: completes a request on the lane, before it joins.
    """

    def __init__(
        self, engine: Engine, lane: Lane, most: int, prepare: Callable[[Any], Any]
    ) -> None:
        self._engine = engine
        self._lane = lane
        self._most = most
        self._prepare = prepare
        self._waiting: deque[_Member] = deque()
        self._changing = threading.Lock()
        self._running = False
        self._keys = count()

    async def stream(self, request: Any, cancel: CancelToken) -> AsyncGenerator[list[Any], None]:
        """Yield the chunks or segments of one request, all that wait at a time.

        Closing this generator sets `cancel`; the request leaves the batch before its next step.
        """
        member = _Member(request, Mailbox(self._lane, cancel))
        with self._changing:
            self._waiting.append(member)
            start, self._running = not self._running, True
        if start:
            self._lane.submit(self._run)
        try:
            while items := await member.mailbox.take():
                yield items
        finally:
            member.mailbox.close()

    def _run(self) -> None:
        """Serve until nobody is left, or, if another job waits for the lane, until those are
        served who have joined.
        """
        members: dict[int, _Member] = {}
        try:
            batch = self._engine.open_batch()
            try:
                self._join(batch, members)
                while members:
                    self._step(batch, members)
                    self._part(batch, members)
                    if not self._lane.wanted:
                        self._join(batch, members)
            finally:
                batch.close()
        except BaseException as error:  # it must reach those who wait, whatever it is
            for member in members.values() or self._next():
                member.mailbox.end(error)
        with self._changing:
            self._running = bool(self._waiting)
            if not self._running:
                return
        self._lane.submit(self._run)

    def _join(self, batch: Batch[Any, Any], members: dict[int, _Member]) -> None:
        while len(members) < self._most:
            with self._changing:
                member = self._waiting[0] if self._waiting else None
            if member is None:
                return
            try:
                if not member.mailbox.abandoned:
                    request = self._prepare(member.request)
                    if members and not batch.accepts(request):
                        return
                    key = next(self._keys)
                    batch.add(key, request)
                    members[key] = member
            except Exception as error:
                member.mailbox.end(error)
            self._next()

    def _step(self, batch: Batch[Any, Any], members: dict[int, _Member]) -> None:
        for key, item in batch.step():
            if item is None:
                members.pop(key).mailbox.end()
            elif isinstance(item, Exception):
                members.pop(key).mailbox.end(item)
            else:
                members[key].mailbox.add(item)

    def _part(self, batch: Batch[Any, Any], members: dict[int, _Member]) -> None:
        for key in [key for key, member in members.items() if member.mailbox.abandoned]:
            del members[key]
            batch.remove(key)

    def _next(self) -> list[_Member]:
        """Take the first of those who wait, if anybody does."""
        with self._changing:
            return [self._waiting.popleft()] if self._waiting else []
