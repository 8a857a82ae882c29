from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import numpy as np
import pytest

from unisono import (
    AudioChunk,
    CancelToken,
    Engine,
    EngineFailed,
    EngineRunner,
    EngineUnavailable,
    Kernel,
    ModelInfo,
    RequestError,
    Segment,
    Settings,
    SpeechRequest,
    Task,
    TranscriptionRequest,
    Turn,
)
from unisono.lanes import LEAD, Lane
from unisono.runner import ThreadRunner
from unisono.testing import echo

pytestmark = pytest.mark.anyio
Until = Callable[..., Any]
RATE = 16_000
INFO = ModelInfo(Task.SPEECH, id="model", sample_rate=RATE)


def request(text: str = "hello") -> SpeechRequest:
    return SpeechRequest((Turn(text),))


def listening() -> TranscriptionRequest:
    return TranscriptionRequest(AudioChunk(np.zeros(RATE, np.float32), RATE))


def chunk(frames: int = 160, value: float = 0.0, rate: int = RATE) -> AudioChunk:
    return AudioChunk(np.full(frames, value, np.float32), rate)


@pytest.fixture
def run() -> Iterator[Callable[[type[Engine]], EngineRunner]]:
    """Return a function that makes a runner of an engine class, on a lane of its own."""
    lanes = []

    def make(engine: type[Engine]) -> EngineRunner:
        lanes.append(Lane(engine.__name__))
        return ThreadRunner(engine(INFO, Settings()), lanes[-1], "some-plugin")

    yield make
    for lane in lanes:
        lane.close()
    for lane in lanes:
        assert lane.join(10)


Run = Callable[[type[Engine]], EngineRunner]


async def read(stream: AsyncIterator[AudioChunk], into: list[AudioChunk]) -> None:
    async for part in stream:
        into.append(part)


async def test_everything_of_a_def_engine_runs_on_one_thread_that_is_not_the_loop_s(
    run: Run,
) -> None:
    threads = []

    class Noting(Engine):
        def load(self) -> None:
            threads.append(threading.current_thread())

        def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
            threads.append(threading.current_thread())
            try:
                for _ in range(3 * LEAD):
                    threads.append(threading.current_thread())
                    yield chunk()
            finally:
                threads.append(threading.current_thread())

        def transcribe(self, request: TranscriptionRequest) -> Iterator[Segment]:
            threads.append(threading.current_thread())
            yield Segment("a", 0, 1)

        def unload(self) -> None:
            threads.append(threading.current_thread())

    runner = run(Noting)
    await runner.load()
    assert [c async for c in runner.synthesize(request())]
    assert [s async for s in runner.transcribe(listening())]
    await runner.unload()
    assert len(threads) == 3 * LEAD + 5
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


async def test_even_a_method_that_returns_a_list_runs_off_the_loop(run: Run) -> None:
    class Listing(Engine):
        def synthesize(self, request: SpeechRequest) -> Any:
            assert threading.current_thread() is not loop_thread
            return [chunk(), chunk()]

    loop_thread = threading.current_thread()
    assert sum([len(c.samples) async for c in run(Listing).synthesize(request())]) == 320


async def test_chunks_that_wait_come_joined_and_complete(run: Run) -> None:
    class Quick(Engine):
        def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
            for number in range(100):
                yield AudioChunk(np.full(10, number / 100, np.float32), RATE)

    chunks = [c async for c in run(Quick).synthesize(request())]
    assert len(chunks) < 100
    expected = np.repeat(np.arange(100, dtype=np.float32) / 100, 10)
    np.testing.assert_allclose(np.concatenate([c.samples for c in chunks]), expected)


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_an_exception_names_model_and_plugin_after_the_chunks_before_it(
    run: Run, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Engine):
        def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
            yield chunk()
            raise OSError("/secret/path")

    class AsyncFailing(Engine):
        async def synthesize(self, request: SpeechRequest) -> AsyncIterator[AudioChunk]:
            yield chunk()
            raise OSError("/secret/path")

    heard: list[AudioChunk] = []
    asked = request()
    with pytest.raises(EngineFailed) as caught:
        await read(run(Failing if kind == "def" else AsyncFailing).synthesize(asked), heard)
    assert [len(part.samples) for part in heard] == [160]
    assert "'model'" in str(caught.value)
    assert "'some-plugin'" in str(caught.value)
    assert "OSError" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert "/secret/path" in caplog.text  # the operator sees the traceback


@pytest.mark.parametrize("method", ["load", "unload", "synthesize", "transcribe"])
@pytest.mark.parametrize("error", [ValueError("x"), StopIteration("x"), SystemExit(2)])
async def test_whatever_a_def_engine_raises_is_contained(
    run: Run, method: str, error: BaseException
) -> None:
    def fail(*_: object) -> Any:
        raise error

    engine = type("Failing", (Engine,), {method: fail})
    runner = run(engine)
    jobs: dict[str, Callable[[], Awaitable[object]]] = {
        "load": runner.load,
        "unload": runner.unload,
        "synthesize": lambda: anext(runner.synthesize(request())),
        "transcribe": lambda: anext(runner.transcribe(listening())),
    }
    with anyio.fail_after(10), pytest.raises(EngineFailed, match="some-plugin"):
        await jobs[method]()


async def test_a_speech_error_passes_as_it_is(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    error = RequestError("this voice is hoarse", param="voice")
    unavailable = EngineUnavailable("no weights")

    class Picky(Engine):
        def load(self) -> None:
            raise unavailable

        def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
            raise error
            yield

    with pytest.raises(RequestError) as caught:
        await anext(run(Picky).synthesize(request()))
    assert caught.value is error
    with pytest.raises(EngineUnavailable) as failed:
        await run(Picky).load()
    assert failed.value is unavailable
    assert not caplog.records


BAD = {
    "float64": AudioChunk(np.zeros(160), RATE),
    "int16": AudioChunk(np.zeros(160, np.int16), RATE),
    "empty": chunk(0),
    "three dimensions": AudioChunk(np.zeros((2, 2, 2), np.float32), RATE),
    "no dimension": AudioChunk(np.array(0.5, np.float32), RATE),
    "no channels": AudioChunk(np.zeros((160, 0), np.float32), RATE),
    "channels first": AudioChunk(np.zeros((2, 16_000), np.float32), RATE),
    "a list": AudioChunk([0.0, 0.5], RATE),  # type: ignore[arg-type]
    "no chunk": np.zeros(160, np.float32),
    "None": None,
    "no rate": chunk(rate=0),
    "a fractional rate": chunk(rate=16_000.5),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_bad_chunk_is_the_engine_s_failure(run: Run, bad: Any, kind: str) -> None:
    class Bad(Engine):
        def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
            yield bad

    class AsyncBad(Engine):
        async def synthesize(self, request: SpeechRequest) -> AsyncIterator[AudioChunk]:
            yield bad

    with pytest.raises(EngineFailed, match="some-plugin"):
        await anext(run(Bad if kind == "def" else AsyncBad).synthesize(request()))


@pytest.mark.parametrize(
    "second",
    [chunk(rate=8000), AudioChunk(np.zeros((160, 2), np.float32), RATE)],
    ids=["rate", "channels"],
)
@pytest.mark.parametrize("together", [True, False])
async def test_a_stream_that_changes_is_the_engine_s_failure(
    run: Run, second: AudioChunk, together: bool
) -> None:
    heard = threading.Event()
    if together:
        heard.set()

    class Changing(Engine):
        def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
            yield chunk()
            assert heard.wait(10)
            yield second

    async def read_on() -> None:
        async for _ in run(Changing).synthesize(request()):
            heard.set()

    with pytest.raises(EngineFailed, match="changed"):
        await read_on()


async def test_what_is_no_segment_is_the_engine_s_failure(run: Run) -> None:
    class Bad(Engine):
        def transcribe(self, request: TranscriptionRequest) -> Iterator[Any]:
            yield "just text"

    with pytest.raises(EngineFailed, match="some-plugin"):
        await anext(run(Bad).transcribe(listening()))


async def test_an_async_engine_runs_on_the_loop_and_serves_as_many_as_it_says(run: Run) -> None:
    running = most = 0

    class Async(Engine):
        max_concurrency = 3

        async def synthesize(self, request: SpeechRequest) -> AsyncIterator[AudioChunk]:
            nonlocal running, most
            assert threading.current_thread() is loop_thread
            running += 1
            most = max(most, running)
            for _ in range(5):
                await asyncio.sleep(0)
            yield chunk()
            running -= 1

    async def read() -> int:
        return sum([len(c.samples) async for c in runner.synthesize(request())])

    loop_thread = threading.current_thread()
    runner = run(Async)
    assert await asyncio.gather(*(read() for _ in range(10))) == [160] * 10
    assert most == 3
    assert running == 0


async def test_an_async_engine_is_closed_when_its_reader_is_cancelled_or_leaves(run: Run) -> None:
    closed = []

    class Async(Engine):
        max_concurrency = 1

        async def synthesize(self, request: SpeechRequest) -> AsyncIterator[AudioChunk]:
            try:
                yield chunk()
                if request.text == "wait":
                    await asyncio.Event().wait()
                yield chunk()
            finally:
                closed.append(request.text)

    async def read(text: str) -> None:
        async for _ in runner.synthesize(request(text)):
            first.set()

    runner = run(Async)
    first = asyncio.Event()
    reading = asyncio.create_task(read("wait"))
    await first.wait()
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    assert closed == ["wait"]
    async with aclosing(runner.synthesize(request("leave"))) as stream:
        await anext(stream)
    assert closed == ["wait", "leave"]
    await read("again")  # nobody holds the only turn
    assert closed[-1] == "again"


async def test_an_async_engine_s_waiting_request_can_leave(run: Run) -> None:
    started = []

    class Async(Engine):
        max_concurrency = 1

        async def synthesize(self, request: SpeechRequest) -> AsyncIterator[AudioChunk]:
            started.append(request.text)
            yield chunk()

    runner = run(Async)
    async with aclosing(runner.synthesize(request("first"))) as first:
        await anext(first)
        waiting = asyncio.ensure_future(anext(runner.synthesize(request("second"))))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    assert [c async for c in runner.synthesize(request("third"))]
    assert started == ["first", "third"]


async def test_async_load_and_unload_run_on_the_loop(run: Run) -> None:
    threads = []

    class Bridge(Engine):
        async def load(self) -> None:  # type: ignore[override]
            threads.append(threading.current_thread())

        async def unload(self) -> None:  # type: ignore[override]
            threads.append(threading.current_thread())

    runner = run(Bridge)
    await runner.load()
    await runner.unload()
    assert threads == [threading.current_thread()] * 2


class Meeting(Engine):
    """Two of its models meet in the middle of a request, if they run at the same time."""

    barrier: threading.Barrier
    running = 0
    most = 0

    @classmethod
    def describe(cls, settings: Settings) -> ModelInfo:
        return INFO

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        cls = type(self)
        cls.running += 1
        cls.most = max(cls.most, cls.running)
        if cls.lane is None:
            cls.barrier.wait(10)
        yield chunk()
        cls.running -= 1


@pytest.mark.parametrize("lane", [None, "shared"])
async def test_models_run_side_by_side_unless_they_share_a_lane(
    lane: str | None,
    make_kernel: Callable[..., Kernel],
    providing: Callable[..., object],
) -> None:
    class Here(Meeting):
        name = "meeting"
        running = 0
        most = 0
        barrier = threading.Barrier(2)

    Here.lane = lane
    models = {"one": {"engine": "meeting"}, "two": {"engine": "meeting"}}
    kernel: Kernel
    async with make_kernel({"models": models}, {"meeting": providing(Here)}) as kernel:

        async def speak(model: str) -> int:
            return sum([len(c.samples) async for c in kernel.speech("Hello.", model=model)])

        jobs = [speak(model) for model in ["one", "two"] * (1 if lane is None else 10)]
        assert set(await asyncio.gather(*jobs)) == {160}
    assert Here.most == (2 if lane is None else 1)


async def test_two_hundred_requests_with_random_departures_get_their_own_speech(
    make_kernel: Callable[..., Kernel], until: Until
) -> None:
    random_ = random.Random(11)
    limits = {"queue_length": 500}
    settings = echo.EchoSettings(seconds_per_word=0.5, chunk_seconds=0.02)
    shape = settings.model_dump(include={"seconds_per_word", "chunk_seconds"})
    models = {
        "a": {"engine": "echo", **shape},
        "b": {"engine": "async_echo", **shape},
        "c": {"engine": "echo", **shape},
    }
    before = set(threading.enumerate())
    kernel: Kernel
    async with make_kernel({"models": models, "limits": limits}) as kernel:

        async def speak(number: int, leave_after: int | None) -> None:
            text = f"Request number {number}."
            expected = echo.expected(text, settings)
            heard = 0
            async with aclosing(kernel.speech(text, model="abc"[number % 3])) as stream:
                async for part in stream:
                    samples = part.samples
                    assert np.array_equal(samples, expected[heard : heard + len(samples)])
                    heard += len(samples)
                    if leave_after is not None and heard >= leave_after:
                        return
            assert heard == len(expected)

        tasks = []
        for number in range(200):
            leave_after = random_.choice([None, None, None, 1, 10_000])
            tasks.append(asyncio.create_task(speak(number, leave_after)))
            if random_.random() < 0.3:
                victim = random_.choice(tasks)
                asyncio.get_running_loop().call_later(random_.random() * 0.2, victim.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [r for r in results if r and not isinstance(r, asyncio.CancelledError)]
        assert set(kernel.pool.loaded().values()) == {0}
    await until(
        lambda: (
            not [t for t in set(threading.enumerate()) - before if t.name.startswith("unisono-")]
        )
    )


async def test_a_request_that_was_cancelled_before_it_began_never_reaches_the_engine(
    run: Run,
) -> None:
    class Never(Engine):
        def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
            raise AssertionError

    cancel = CancelToken()
    cancel.cancel()
    stream = run(Never).synthesize(SpeechRequest((Turn("x"),), cancel=cancel))
    assert [c async for c in stream] == []


async def test_leaving_is_not_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    class Endless(Engine):
        def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
            while True:
                yield chunk()

    runner = run(Endless)
    async with aclosing(runner.synthesize(request())) as stream:
        await anext(stream)
    await runner.unload()
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
