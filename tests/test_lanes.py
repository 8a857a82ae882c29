from __future__ import annotations

import asyncio
import gc
import logging
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

import anyio
import pytest

from unisono import lanes
from unisono.lanes import LEAD, Lane
from unisono.requests import CancelToken

pytestmark = pytest.mark.anyio
Until = Callable[..., object]


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane("test")
    yield lane
    lane.close()
    assert lane.join(10)


@pytest.fixture
def blocked(lane: Lane) -> Iterator[Callable[[], None]]:
    """Keep the lane busy until the test calls what this returns, or ends."""
    release = threading.Event()
    lane.submit(release.wait)
    yield release.set
    release.set()


async def read(stream: AsyncGenerator[list[int], None], into: list[int] | None = None) -> list[int]:
    found = [] if into is None else into
    async with aclosing(stream):
        async for items in stream:
            found += items
    return found


async def test_items_arrive_complete_and_in_order(lane: Lane) -> None:
    assert await read(lane.stream(lambda: iter(range(1000)), CancelToken())) == list(range(1000))


async def test_an_empty_stream_ends(lane: Lane) -> None:
    assert await read(lane.stream(lambda: iter(()), CancelToken())) == []


async def test_a_whole_stream_runs_on_the_thread_of_the_lane(lane: Lane) -> None:
    threads = []

    def start() -> Iterator[int]:
        threads.append(threading.current_thread())
        return numbers()

    def numbers() -> Iterator[int]:
        try:
            for number in range(3 * LEAD):
                threads.append(threading.current_thread())
                yield number
        finally:
            threads.append(threading.current_thread())

    await read(lane.stream(start, CancelToken()))
    threads.append(await lane.run(threading.current_thread))
    assert len(threads) == 3 * LEAD + 3
    assert {thread.name for thread in threads} == {"unisono-test"}
    assert len(set(threads)) == 1
    assert threads[0].daemon


async def test_no_thread_starts_before_the_first_job() -> None:
    lane = Lane("idle")
    stream = lane.stream(lambda: iter([1]), CancelToken())
    await stream.aclose()
    assert "unisono-idle" not in [thread.name for thread in threading.enumerate()]
    lane.close()
    assert lane.join(0)


async def test_streams_do_not_interleave(lane: Lane) -> None:
    ran: list[str] = []

    def letters(letter: str) -> Iterator[int]:
        for number in range(5 * LEAD):
            ran.append(letter)
            yield number

    async with anyio.create_task_group() as group:
        for letter in "abcd":
            group.start_soon(read, lane.stream(lambda s=letter: letters(s), CancelToken()))
    assert ran == sorted(ran)
    assert len(ran) == 4 * 5 * LEAD


async def test_a_slow_reader_holds_back_its_own_engine(lane: Lane, until: Until) -> None:
    made = 0

    def numbers() -> Iterator[int]:
        nonlocal made
        for number in range(20 * LEAD):
            made = number + 1
            yield number

    got = 0
    async with aclosing(lane.stream(numbers, CancelToken())) as stream:
        async for items in stream:
            got += len(items)
            limit = got + LEAD
            await until(lambda limit=limit: made >= min(limit, 20 * LEAD))
            await asyncio.sleep(0.001)  # an engine that nothing holds back would run away
            assert made <= limit
    assert got == 20 * LEAD


async def test_a_slow_reader_does_not_hold_up_the_next_request(lane: Lane, until: Until) -> None:
    slow = lane.stream(lambda: iter(range(10 * LEAD)), CancelToken())
    first = await anext(slow)
    assert await read(lane.stream(lambda: iter([7]), CancelToken())) == [7]
    assert first + await read(slow) == list(range(10 * LEAD))


async def test_a_slow_reader_does_not_hold_up_a_call(lane: Lane) -> None:
    slow = lane.stream(lambda: iter(range(10 * LEAD)), CancelToken())
    await anext(slow)
    assert await lane.run(lambda: 7) == 7
    await slow.aclose()


async def test_a_reader_interrupted_between_any_two_looks_still_wakes_the_lane(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = threading.current_thread()

    class Interrupted(deque[int]):
        def __len__(self) -> int:
            length = super().__len__()
            if threading.current_thread() is reader:
                time.sleep(0.0005)  # here the lane may add items, fill the mailbox, and wait
            return length

    def numbers() -> Iterator[int]:
        for number in range(300):
            time.sleep(0.0001)
            yield number

    monkeypatch.setattr(lanes, "deque", Interrupted)
    with anyio.fail_after(20):
        assert await read(lane.stream(numbers, CancelToken())) == list(range(300))


async def test_a_stream_cancelled_in_the_queue_never_starts(
    lane: Lane, blocked: Callable[[], None]
) -> None:
    started = []

    def start() -> Iterator[int]:
        started.append(True)
        return iter([1])

    cancel = CancelToken()
    reading = asyncio.create_task(read(lane.stream(start, cancel)))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    assert cancel.cancelled
    blocked()
    await lane.run(lambda: None)
    assert not started


async def test_a_call_cancelled_in_the_queue_never_starts(
    lane: Lane, blocked: Callable[[], None]
) -> None:
    called = []
    calling = asyncio.create_task(lane.run(called.append, 1))
    await asyncio.sleep(0)
    calling.cancel()
    await asyncio.wait([calling])
    blocked()
    await lane.run(lambda: None)
    assert not called


async def test_a_cancelled_request_leaves_nothing_in_the_queue(
    lane: Lane, blocked: Callable[[], None]
) -> None:
    class Audio:
        """An hour of it, say."""

    audio = Audio()
    gone = weakref.ref(audio)
    reading = asyncio.create_task(
        read(lane.stream(lambda audio=audio: iter([audio]), CancelToken()))
    )
    calling = asyncio.create_task(lane.run(id, audio))
    del audio
    await asyncio.sleep(0)
    reading.cancel()
    calling.cancel()
    await asyncio.wait([reading, calling])
    del reading, calling
    gc.collect()
    assert gone() is None  # although the job before it still runs


@pytest.mark.parametrize("held_back", [False, True])
async def test_a_reader_that_leaves_ends_the_iterator_at_its_next_item(
    lane: Lane, until: Until, held_back: bool
) -> None:
    closed = threading.Event()
    thread = None
    made = 0

    def numbers() -> Iterator[int]:
        nonlocal thread, made
        try:
            while True:
                made += 1
                yield 1
        finally:
            thread = threading.current_thread()
            closed.set()

    stream = lane.stream(numbers, CancelToken())
    got = len(await anext(stream))
    if held_back:
        await until(lambda: made == got + LEAD)
    await stream.aclose()
    assert await asyncio.to_thread(closed.wait, 10)
    assert thread is await lane.run(threading.current_thread)


async def test_an_engine_can_poll_whether_anybody_waits(lane: Lane) -> None:
    cancel = CancelToken()
    polling, ended = threading.Event(), threading.Event()

    def numbers() -> Iterator[int]:
        polling.set()
        while not cancel.cancelled:
            pass
        ended.set()
        yield from ()

    reading = asyncio.create_task(read(lane.stream(numbers, cancel)))
    await asyncio.to_thread(polling.wait, 10)
    reading.cancel()
    assert await asyncio.to_thread(ended.wait, 10)
    await asyncio.wait([reading])
    assert reading.cancelled()


async def test_a_stream_that_was_never_read_never_starts(lane: Lane) -> None:
    started = []
    stream = lane.stream(lambda: iter(started.append(1) or ()), CancelToken())
    await stream.aclose()
    await lane.run(lambda: None)
    assert not started


async def test_an_error_comes_after_the_items_before_it(lane: Lane) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("three")

    got: list[int] = []
    with pytest.raises(LookupError, match="three"):
        await read(lane.stream(numbers, CancelToken()), got)
    assert got == [1, 2]


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit])
async def test_an_error_that_would_confuse_asyncio_arrives_as_an_ordinary_one(
    lane: Lane, error: type[BaseException]
) -> None:
    def fail() -> Iterator[int]:
        raise error("of a library")

    with anyio.fail_after(10):
        with pytest.raises(RuntimeError, match=error.__name__):
            await lane.run(fail)
        with pytest.raises(RuntimeError, match=error.__name__):
            await read(lane.stream(fail, CancelToken()))
        assert await lane.run(lambda: "alive") == "alive"


async def test_a_cancellation_that_an_engine_raises_is_not_the_reader_s(lane: Lane) -> None:
    def fail() -> Iterator[int]:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="CancelledError"):
        await lane.run(fail)
    with pytest.raises(RuntimeError, match="CancelledError"):
        await read(lane.stream(fail, CancelToken()))


async def test_an_error_that_nobody_waits_for_is_logged(
    lane: Lane, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def numbers() -> Iterator[int]:
        try:
            begun.set()
            go_on.wait(10)
            yield 1
        finally:
            raise LookupError("while cleaning up")

    def call() -> None:
        begun.set()
        go_on.wait(10)
        raise LookupError("while calling")

    for job in (read(lane.stream(numbers, CancelToken())), lane.run(call)):
        begun.clear()
        go_on.clear()
        waiting = asyncio.create_task(job)
        await asyncio.to_thread(begun.wait, 10)
        waiting.cancel()
        await asyncio.wait([waiting])
        go_on.set()
        await until(lambda: caplog.records)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.exc_info
        assert isinstance(record.exc_info[1], LookupError)
        caplog.clear()


async def test_a_closed_lane_lets_its_jobs_run_and_takes_no_more(
    lane: Lane, blocked: Callable[[], None]
) -> None:
    waiting = asyncio.create_task(lane.run(lambda: 1))
    await asyncio.sleep(0)
    lane.close()
    with pytest.raises(RuntimeError, match="closed"):
        await lane.run(lambda: 2)
    blocked()
    assert await waiting == 1
    assert await asyncio.to_thread(lane.join, 10)


def test_a_loop_that_closes_first_raises_nothing_in_the_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lane = Lane("orphan")
    begun, go_on = threading.Event(), threading.Event()

    def numbers() -> Iterator[int]:
        begun.set()
        go_on.wait(10)
        yield from range(10 * LEAD)

    async def leave() -> None:
        task = asyncio.create_task(read(lane.stream(numbers, CancelToken())))
        call = asyncio.create_task(lane.run(lambda: 1))
        await asyncio.to_thread(begun.wait, 10)
        assert not task.done()
        assert not call.done()

    asyncio.run(leave())
    go_on.set()
    lane.close()
    assert lane.join(10)  # a thread's exception would fail the test too
    assert not caplog.records


async def test_two_hundred_streams_with_random_departures(lane: Lane) -> None:
    random_ = random.Random(3)
    all_lanes = [lane, Lane("second"), Lane("third")]
    open_ = 0

    def numbers(first: int, count: int) -> Iterator[int]:
        nonlocal open_
        open_ += 1
        try:
            yield from range(first, first + count)
        finally:
            open_ -= 1

    async def request(number: int, leave_after: int | None) -> None:
        mine = all_lanes[number % 3]
        got: list[int] = []
        stream = mine.stream(lambda: numbers(number * 1000, 100), CancelToken())
        async with aclosing(stream):
            async for items in stream:
                got += items
                if leave_after is not None and len(got) >= leave_after:
                    break
                await asyncio.sleep(0)
        assert got == list(range(number * 1000, number * 1000 + len(got)))
        assert leave_after is not None or len(got) == 100

    tasks = []
    for number in range(200):
        leave_after = random_.choice([None, None, 0, 1, 40])
        tasks.append(asyncio.create_task(request(number, leave_after)))
        if random_.random() < 0.3:
            victim = random_.choice(tasks)
            asyncio.get_running_loop().call_later(random_.random() * 0.05, victim.cancel)
    with anyio.fail_after(60):
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [r for r in results if r and not isinstance(r, asyncio.CancelledError)]
        for each in all_lanes:
            await each.run(lambda: None)
    assert open_ == 0
    for each in all_lanes[1:]:
        each.close()
        assert await asyncio.to_thread(each.join, 10)
