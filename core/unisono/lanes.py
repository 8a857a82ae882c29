"""Worker threads for engines that block: a lane is one thread, a whole stream is one job on it.

The bridge back to the event loop is a mailbox with one wake-up for all items that came together,
which costs a quarter of a hand-over per item (`benchmarks/` measures the server that results).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Generic, TypeVar

from .requests import CancelToken

T = TypeVar("T")
logger = logging.getLogger(__name__)

JOIN_SECONDS = 2.0
"""Longest wait for a thread that should have nothing left to do."""
LEAD = 16
"""Items that a stream may be ahead of its reader while nobody else waits for the lane."""


class Lane:
    """One thread. Jobs run there in the order in which they were submitted, one at a time.

    The thread starts with the first job. It is a daemon, so an engine that hangs cannot keep
    the process from exiting.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._jobs: deque[Callable[[], None] | None] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function` on the lane's thread and return its result.

        A cancelled caller does not wait; a call that has begun runs to its end.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            if done.cancelled():
                return
            try:
                result = function(*args)
            except BaseException as error:
                _call_soon(loop, _settle, done, None, _ordinary(error))
            else:
                _call_soon(loop, _settle, done, result, None)

        self.submit(job)
        try:
            return await done
        except asyncio.CancelledError:
            self._withdraw(job)
            raise

    async def stream(
        self, start: Callable[[], Iterator[T]], cancel: CancelToken
    ) -> AsyncGenerator[list[T], None]:
        """Run a whole iterator as one job; yield the items, all that wait at a time.

        Closing this generator sets `cancel`; the iterator is then closed at its next item, on
        the lane's thread, and a job that has not begun never does.
        """
        mailbox: Mailbox[T] = Mailbox(self, cancel)

        def job() -> None:
            try:
                if not cancel.cancelled:
                    _pump(start(), mailbox)
            except BaseException as error:
                mailbox.end(error)
            else:
                mailbox.end()

        self.submit(job)
        try:
            while items := await mailbox.take():
                yield items
        finally:
            mailbox.close()
            self._withdraw(job)

    def close(self) -> None:
        """Let the jobs that wait run, then end the thread. Does not wait for it."""
        with self._changed:
            self._closed = True
            self._jobs.append(None)
            self._changed.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end after `close`; say whether it did."""
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    async def finish(self) -> None:
        """Close, and wait for the thread, unless an engine keeps it: at the interpreter's end,
        libraries hang or abort over a thread that is just ending.
        """
        self.close()
        if not await asyncio.to_thread(self.join, JOIN_SECONDS):
            logger.debug("Thread %r did not end in %g s.", self.name, JOIN_SECONDS)

    def wait_while(self, full: Callable[[], bool]) -> None:
        """Block the job on this lane while `full()`, unless another job waits for its turn.

        So a slow reader holds back its own engine, and nobody else's.
        """
        with self._changed:
            while full() and not self._jobs:
                self._changed.wait()

    def wake(self) -> None:
        """Make `wait_while` look again."""
        with self._changed:
            self._changed.notify_all()

    @property
    def wanted(self) -> bool:
        """Whether a job waits for the one that runs."""
        return bool(self._jobs)

    def submit(self, job: Callable[[], None]) -> None:
        """Add a job, which must not raise.

        :raises RuntimeError: if the lane is closed.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError(f"Lane {self.name!r} is closed.")
            self._jobs.append(job)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name=f"unisono-{self.name}", daemon=True
                )
                self._thread.start()

    def _withdraw(self, job: Callable[[], None]) -> None:
        """Forget a job if it has not begun, and with it the request that it holds."""
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                job = self._jobs.popleft()
            if job is None:
                return
            job()
            del job  # a closure would keep the last request's audio alive until the next one


class Mailbox(Generic[T]):
    """Items on their way from a lane's thread to one coroutine."""

    def __init__(self, lane: Lane, cancel: CancelToken) -> None:
        self._lane = lane
        self._cancel = cancel
        self._loop = asyncio.get_running_loop()
        self._items: deque[T] = deque()
        self._ready = asyncio.Event()
        self._armed = False
        self._ended = False
        self._errors: list[Exception] = []

    @property
    def abandoned(self) -> bool:
        """Whether nobody reads any more."""
        return self._cancel.cancelled

    def add(self, item: T) -> None:
        """Add an item, on the lane's thread, however far behind the reader is."""
        self._items.append(item)
        self._arm()

    def put(self, item: T) -> bool:
        """Add an item, on the lane's thread, and wait while the reader is far behind.

        :return: False when nobody reads any more.
        """
        self.add(item)
        if len(self._items) >= LEAD:
            self._lane.wait_while(lambda: len(self._items) >= LEAD and not self._cancel.cancelled)
        return not self._cancel.cancelled

    def end(self, *causes: BaseException) -> None:
        """Say, on the lane's thread, that no item follows, but perhaps an error."""
        errors = [_ordinary(cause) for cause in causes]
        if errors and self._cancel.cancelled:
            logger.warning("A stream that nobody reads any more failed.", exc_info=errors[0])
        self._errors.extend(errors)
        self._ended = True
        self._arm()

    async def take(self) -> list[T]:
        """Wait for items and return all that are there; an empty list is the end.

        :raises Exception: whatever the iterator raised, after the items before it.
        """
        while not self._items:
            if self._ended:
                if self._items:  # added between the two looks
                    break
                if self._errors:
                    raise self._errors.pop()
                return []
            self._ready.clear()
            # Between the look above and `clear` nothing is lost: `_arm` schedules `set` on this
            # loop, so it runs after this coroutine has begun to wait.
            await self._ready.wait()
        items: list[T] = []
        while self._items:
            items.append(self._items.popleft())
        # Not how many there were before: the lane may have added one, and wait for this, since.
        if len(items) >= LEAD:
            self._lane.wake()
        return items

    def close(self) -> None:
        """Say, on the loop, that nobody reads any more."""
        self._cancel.cancel()
        self._items.clear()
        self._lane.wake()

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            _call_soon(self._loop, self._wake)

    def _wake(self) -> None:
        self._armed = False
        self._ready.set()


def _pump(items: Iterator[T], mailbox: Mailbox[T]) -> None:
    try:
        for item in items:
            if not mailbox.put(item):
                return
    finally:
        close = getattr(items, "close", None)  # a plain iterator, such as iter([...]), has none
        if close is not None:
            close()


def _ordinary(error: BaseException) -> Exception:
    """Replace what would end the event loop, pass for a cancellation, or never arrive."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    ordinary = RuntimeError(f"{type(error).__name__} on a worker thread: {error}")
    ordinary.__cause__ = error
    return ordinary


def _settle(done: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if done.cancelled():
        if error is not None:
            logger.warning("A call that nobody waited for failed.", exc_info=error)
    elif error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:  # the loop closed first: nobody is left to tell
        logger.debug("The event loop closed before %r could be called.", callback)
