from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any, ClassVar

import anyio
import numpy as np
import pytest

from unisono import (
    AudioChunk,
    ConfigError,
    Engine,
    EngineFailed,
    EngineOverloaded,
    EngineUnavailable,
    Kernel,
    ModelInfo,
    Settings,
    SpeechRequest,
    Task,
    Turn,
    pool,
)
from unisono.pool import Pool

pytestmark = pytest.mark.anyio
Until = Callable[..., Awaitable[None]]


class ProbeSettings(Settings):
    size: int | None = None


class Probe(Engine):
    """Notes what happens to its models, and notices when it happens at the wrong time."""

    name = "probe"
    settings_type = ProbeSettings
    settings: ProbeSettings
    events: ClassVar[list[str]]
    errors: ClassVar[list[Exception]]
    may_load: ClassVar[threading.Event]
    may_unload: ClassVar[threading.Event]
    held: ClassVar[int] = 0
    most_held: ClassVar[int] = 0
    ready = False

    @classmethod
    def describe(cls, settings: ProbeSettings) -> ModelInfo:
        return ModelInfo(Task.SPEECH, sample_rate=16_000, memory_bytes=settings.size)

    def load(self) -> None:
        cls = type(self)
        assert not self.ready
        self.events.append(f"load {self.model.id}")
        assert self.may_load.wait(20)
        if self.errors:
            raise self.errors.pop(0)
        cls.held += self.settings.size or 0
        cls.most_held = max(cls.most_held, cls.held)
        self.ready = True

    def unload(self) -> None:
        assert self.ready
        assert self.may_unload.wait(20)
        self.ready = False
        type(self).held -= self.settings.size or 0
        self.events.append(f"unload {self.model.id}")

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        for _ in range(100):
            assert self.ready
            yield AudioChunk(np.zeros(160, np.float32), 16_000)


@pytest.fixture
def probe() -> Iterator[type[Probe]]:
    class Fresh(Probe):
        events: ClassVar[list[str]] = []
        errors: ClassVar[list[Exception]] = []
        may_load = threading.Event()
        may_unload = threading.Event()
        held = most_held = 0

    Fresh.may_load.set()
    Fresh.may_unload.set()
    yield Fresh
    Fresh.may_load.set()
    Fresh.may_unload.set()


@pytest.fixture
def start(
    make_kernel: Callable[..., Kernel], providing: Callable[..., object], probe: type[Probe]
) -> Callable[..., Kernel]:
    """Return a function that makes a kernel: start({"model": 1000}, keep_alive=0)."""

    def make(
        sizes: dict[str, int | None] | None = None, engine: type[Engine] = probe, **limits: Any
    ) -> Kernel:
        models = {
            id_: {"engine": engine.name, **({"size": size} if size else {})}
            for id_, size in (sizes or {"a": None}).items()
        }
        overrides = {"models": models, "limits": limits}
        return make_kernel(overrides, {"probe": providing(engine)})

    return make


Start = Callable[..., Kernel]


async def use(kernel: Kernel, model: str = "a") -> None:
    async with kernel.pool.lease(kernel.catalog.get(model)):
        pass


async def speak(kernel: Kernel, model: str = "a") -> int:
    return sum([len(c.samples) async for c in kernel.speech("hello", model=model)])


async def speak_slowly(kernel: Kernel, model: str = "a") -> int:
    """Speak some time after the model was leased, as the second segment of a text does."""
    async with kernel.pool.lease(kernel.catalog.get(model)) as runner:
        await asyncio.sleep(0.005)
        request = SpeechRequest((Turn("hello"),))
        return sum([len(c.samples) async for c in runner.synthesize(request)])


def lanes() -> set[str]:
    """Return the names of the lanes whose threads run."""
    names = [thread.name for thread in threading.enumerate()]
    return {name.removeprefix("unisono-") for name in names} & {"a", "b", "shared"}


async def turns(count: int) -> None:
    """Let the event loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_model_loads_on_first_use_and_stays(start: Start, probe: type[Probe]) -> None:
    async with start({"a": None, "b": None}) as kernel:
        assert probe.events == []
        await use(kernel)
        await use(kernel)
        assert probe.events == ["load a"]
        assert kernel.pool.loaded() == {"a": 0}
        async with kernel.pool.lease(kernel.catalog.get("a")):
            assert kernel.pool.loaded() == {"a": 1}


async def test_many_simultaneous_requests_load_once(start: Start, probe: type[Probe]) -> None:
    probe.may_load.clear()
    async with start() as kernel:
        tasks = [asyncio.create_task(speak(kernel)) for _ in range(20)]
        await turns(5)
        probe.may_load.set()
        assert set(await asyncio.gather(*tasks)) == {16_000}
        assert probe.events == ["load a"]


async def test_an_idle_model_leaves_after_its_time_and_comes_back(
    start: Start, probe: type[Probe], until: Until
) -> None:
    async with start(keep_alive=0.01) as kernel:
        await use(kernel)
        assert probe.events == ["load a"]
        await until(lambda: probe.events == ["load a", "unload a"])
        await until(lambda: not kernel.pool.loaded())
        await use(kernel)
        assert probe.events == ["load a", "unload a", "load a"]


async def test_the_time_counts_from_the_last_use(
    start: Start, probe: type[Probe], until: Until
) -> None:
    left = 0.0

    class Timed(probe):  # type: ignore[misc, valid-type]
        def unload(self) -> None:
            nonlocal left
            left = time.monotonic()
            super().unload()

    async with start(engine=Timed, keep_alive=0.1) as kernel:
        await use(kernel)
        await asyncio.sleep(0.05)
        used = time.monotonic()
        await use(kernel)
        await until(lambda: left > used and not kernel.pool.loaded())
        assert left - used > 0.09


async def test_a_model_s_own_time_replaces_the_general_one(
    make_kernel: Callable[..., Kernel],
    providing: Callable[..., object],
    probe: type[Probe],
    until: Until,
) -> None:
    models = {"a": {"engine": "probe", "keep_alive": 0}, "b": {"engine": "probe"}}
    async with make_kernel({"models": models}, {"probe": providing(probe)}) as kernel:
        await use(kernel, "b")
        await use(kernel, "a")
        await until(lambda: "unload a" in probe.events)
        assert "unload b" not in probe.events


async def test_a_busy_model_does_not_leave(start: Start, probe: type[Probe], until: Until) -> None:
    async with start(keep_alive=0) as kernel:
        async with kernel.pool.lease(kernel.catalog.get("a")):
            await use(kernel)
            await asyncio.sleep(0.02)
            assert probe.events == ["load a"]
        await until(lambda: probe.events == ["load a", "unload a"])


async def test_forever_is_forever(start: Start, probe: type[Probe]) -> None:
    async with start(keep_alive="forever") as kernel:
        await use(kernel)
        await asyncio.sleep(0.02)
        assert probe.events == ["load a"]
    assert probe.events == ["load a", "unload a"]


@pytest.mark.parametrize("hops", range(6))
async def test_a_request_at_the_moment_of_leaving_finds_a_loaded_model(
    start: Start, hops: int
) -> None:
    loop = asyncio.get_running_loop()
    async with start(keep_alive=0) as kernel:
        await use(kernel)
        for _ in range(hops):  # each comes through the loop at another point than a sleep would
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future
        assert await speak_slowly(kernel) == 16_000


@pytest.mark.parametrize("hops", range(6))
async def test_a_request_at_the_moment_of_eviction_finds_a_loaded_model(
    start: Start, hops: int
) -> None:
    async with start({"a": 1, "b": 1}, memory=1) as kernel:
        await use(kernel, "a")
        evicting = asyncio.create_task(use(kernel, "b"))
        await turns(hops)
        assert await speak_slowly(kernel) == 16_000
        await evicting


async def test_the_model_unused_for_longest_makes_room(start: Start, probe: type[Probe]) -> None:
    async with start({"a": 2, "b": 2, "c": 1, "free": None}, memory=4) as kernel:
        for model in ["free", "a", "b", "a", "c"]:
            await use(kernel, model)
        assert probe.events == ["load free", "load a", "load b", "unload b", "load c"]
        assert set(kernel.pool.loaded()) == {"free", "a", "c"}


async def test_as_many_leave_as_needed(start: Start, probe: type[Probe]) -> None:
    async with start({"a": 1, "b": 1, "big": 2}, memory=2) as kernel:
        for model in ["a", "b", "big"]:
            await use(kernel, model)
        assert probe.events[2:] == ["unload a", "unload b", "load big"]


async def test_room_for_two_is_made_once(start: Start, probe: type[Probe]) -> None:
    async with start({"a": 2, "b": 2, "x": 1, "y": 1}, memory=4) as kernel:
        await use(kernel, "a")
        await use(kernel, "b")
        await asyncio.gather(use(kernel, "x"), use(kernel, "y"))
        assert set(kernel.pool.loaded()) == {"b", "x", "y"}


async def test_a_request_waits_for_room_until_a_busy_model_is_idle(
    start: Start, probe: type[Probe]
) -> None:
    async with start({"a": 1, "b": 1}, memory=1) as kernel:
        async with kernel.pool.lease(kernel.catalog.get("a")):
            waiting = asyncio.create_task(use(kernel, "b"))
            await asyncio.sleep(0.02)
            assert probe.events == ["load a"]
        await waiting
        assert probe.events == ["load a", "unload a", "load b"]


async def test_a_request_gets_the_room_of_a_load_that_failed(
    start: Start, probe: type[Probe]
) -> None:
    probe.may_load.clear()
    probe.errors.append(EngineUnavailable("no weights"))
    async with start({"a": 1, "b": 1}, memory=1) as kernel:
        failing = asyncio.create_task(use(kernel, "a"))
        await turns(3)
        waiting = asyncio.create_task(use(kernel, "b"))
        await turns(3)
        probe.may_load.set()
        await waiting
        with pytest.raises(EngineUnavailable, match="no weights"):
            await failing
        assert probe.events == ["load a", "load b"]


async def test_a_model_larger_than_the_budget_is_unavailable_and_evicts_nobody(
    start: Start, probe: type[Probe]
) -> None:
    async with start({"a": 1, "huge": 1001}, memory=1000) as kernel:
        await use(kernel, "a")
        with pytest.raises(EngineUnavailable, match=r"'huge' needs 1,001 .* is 1,000"):
            await use(kernel, "huge")
        assert probe.events == ["load a"]
        assert kernel.pool.loaded() == {"a": 0}


@pytest.mark.parametrize("seed", range(3))
async def test_the_budget_holds_under_any_load(start: Start, probe: type[Probe], seed: int) -> None:
    random_ = random.Random(seed)
    sizes = {"a": 1, "b": 1, "c": 2, "d": 3, "e": None}
    async with start(sizes, memory=4, keep_alive=random_.choice([0, 0.005, 10])) as kernel:

        async def request(model: str) -> None:
            await asyncio.sleep(random_.random() * 0.1)
            async with aclosing(kernel.speech("hello", model=model)) as stream:
                heard = 0
                async for part in stream:
                    heard += len(part.samples)
                    if random_.random() < 0.02:
                        return
            assert heard == 16_000

        tasks = []
        for _ in range(100):
            tasks.append(asyncio.create_task(request(random_.choice(list(sizes)))))
            if random_.random() < 0.3:
                victim = random_.choice(tasks)
                asyncio.get_running_loop().call_later(random_.random() * 0.1, victim.cancel)
        with anyio.fail_after(60):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [r for r in results if r and not isinstance(r, asyncio.CancelledError)]
        assert set(kernel.pool.loaded().values()) <= {0}
    assert probe.most_held <= 4
    assert probe.held == 0


async def test_every_waiter_hears_of_a_failed_load(start: Start, probe: type[Probe]) -> None:
    probe.may_load.clear()
    probe.errors.append(EngineUnavailable("the weights are missing"))
    async with start() as kernel:
        tasks = [asyncio.create_task(use(kernel)) for _ in range(5)]
        await turns(5)
        probe.may_load.set()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(error) for error in errors] == ["the weights are missing"] * 5
        assert {type(error) for error in errors} == {EngineUnavailable}
        assert probe.events == ["load a"]


async def test_a_failed_load_is_not_tried_again_at_once(
    start: Start, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "FIRST_RETRY", 1000.0)
    probe.errors.append(RuntimeError("boom"))
    async with start() as kernel:
        with pytest.raises(EngineUnavailable, match="RuntimeError"):
            await use(kernel)
        with pytest.raises(EngineUnavailable, match="next attempt in 1000 s") as caught:
            await use(kernel)
        assert caught.value.retry_after == 1000
        assert probe.events == ["load a"]


async def test_a_failed_load_is_tried_again_later(
    start: Start, probe: type[Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "FIRST_RETRY", 0.01)
    probe.errors += [RuntimeError("boom"), StopIteration()]
    async with start() as kernel:
        with anyio.fail_after(20):
            while not kernel.pool.loaded():
                try:
                    assert await speak(kernel) == 16_000
                except EngineUnavailable:
                    await asyncio.sleep(0.002)
        assert probe.events == ["load a"] * 3


async def test_an_engine_that_cannot_even_be_made_is_unavailable(
    start: Start, probe: type[Probe]
) -> None:
    class Unmade(probe):  # type: ignore[misc, valid-type]
        def __init__(self, *_: object) -> None:
            raise OSError("/secret/path")

    async with start(engine=Unmade) as kernel:
        with pytest.raises(EngineUnavailable) as caught:
            await use(kernel)
        assert "secret" not in str(caught.value)
        assert "'a'" in str(caught.value)
        assert lanes() == set()


async def test_a_failed_load_leaves_no_thread(
    start: Start, probe: type[Probe], until: Until
) -> None:
    probe.errors.append(RuntimeError("boom"))
    async with start() as kernel:
        with pytest.raises(EngineUnavailable):
            await use(kernel)
        await until(lambda: lanes() == set())


async def test_requests_beyond_the_queue_are_refused_with_a_time_to_retry(start: Start) -> None:
    async with start(queue_length=2) as kernel:
        entry = kernel.catalog.get("a")
        async with (  # one that runs and two that wait
            kernel.pool.lease(entry),
            kernel.pool.lease(entry),
            kernel.pool.lease(entry),
        ):
            with pytest.raises(EngineOverloaded, match=r"3 requests.*'a'") as caught:
                await use(kernel)
            assert caught.value.retry_after
            assert 1 <= caught.value.retry_after <= 60
        await use(kernel)


async def test_a_queue_of_no_length_serves_one_at_a_time(start: Start) -> None:
    async with start(queue_length=0) as kernel:
        async with kernel.pool.lease(kernel.catalog.get("a")):
            with pytest.raises(EngineOverloaded):
                await use(kernel)
        await use(kernel)


async def test_an_async_engine_queues_beyond_what_it_serves_at_once(
    start: Start, probe: type[Probe]
) -> None:
    class Async(probe):  # type: ignore[misc, valid-type]
        max_concurrency = 3

        async def synthesize(self, request: SpeechRequest) -> AsyncIterator[AudioChunk]:
            yield AudioChunk(np.zeros(160, np.float32), 16_000)

    async with start(engine=Async, queue_length=0) as kernel:
        entry = kernel.catalog.get("a")
        async with kernel.pool.lease(entry), kernel.pool.lease(entry), kernel.pool.lease(entry):
            with pytest.raises(EngineOverloaded):
                await use(kernel)


async def test_all_models_share_one_limit(start: Start) -> None:
    async with start({"a": None, "b": None, "c": None}, concurrent_requests=2) as kernel:
        catalog = kernel.catalog
        async with kernel.pool.lease(catalog.get("a")), kernel.pool.lease(catalog.get("b")):
            with pytest.raises(EngineOverloaded, match="2 requests"):
                await use(kernel, "c")
        await use(kernel, "c")


async def test_a_failed_request_frees_its_slot(start: Start, probe: type[Probe]) -> None:
    class Failing(probe):  # type: ignore[misc, valid-type]
        def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
            raise LookupError

    async with start(engine=Failing, queue_length=0, concurrent_requests=1) as kernel:
        for _ in range(3):
            with pytest.raises(EngineFailed):
                await speak(kernel)
        assert kernel.pool.loaded() == {"a": 0}


async def test_a_request_closed_in_mid_stream_frees_its_slot(start: Start) -> None:
    async with start(queue_length=0, concurrent_requests=1) as kernel:
        for _ in range(3):
            async with aclosing(kernel.speech("hello", model="a")) as stream:
                await anext(stream)
                assert kernel.pool.loaded() == {"a": 1}
            assert kernel.pool.loaded() == {"a": 0}


async def test_a_load_goes_on_when_its_request_is_cancelled(
    start: Start, probe: type[Probe]
) -> None:
    probe.may_load.clear()
    async with start(concurrent_requests=1) as kernel:
        first = asyncio.create_task(use(kernel))
        await turns(5)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        second = asyncio.create_task(use(kernel))  # the slot is free again
        await turns(5)
        probe.may_load.set()
        await second
        assert probe.events == ["load a"]


async def test_a_model_that_nobody_wants_any_more_leaves_after_its_load(
    start: Start, probe: type[Probe], until: Until
) -> None:
    probe.may_load.clear()
    async with start(keep_alive=0.001) as kernel:
        first = asyncio.create_task(use(kernel))
        await turns(5)
        first.cancel()
        await asyncio.wait([first])
        probe.may_load.set()
        await until(lambda: probe.events == ["load a", "unload a"])


async def test_a_load_that_fails_for_nobody_raises_nothing(
    start: Start, probe: type[Probe], caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    probe.may_load.clear()
    probe.errors.append(EngineUnavailable("no weights"))
    async with start() as kernel:
        first = asyncio.create_task(use(kernel))
        await turns(5)
        first.cancel()
        await asyncio.wait([first])
        probe.may_load.set()
        await until(lambda: "no weights" in caplog.text)
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_a_load_waits_for_an_unload_in_progress(
    start: Start, probe: type[Probe], until: Until
) -> None:
    async with start(keep_alive=0) as kernel:
        await use(kernel)
        probe.may_unload.clear()
        await until(lambda: not kernel.pool.loaded())
        second = asyncio.create_task(use(kernel))
        await asyncio.sleep(0.02)
        assert probe.events == ["load a"]
        probe.may_unload.set()
        await second
        assert probe.events[:3] == ["load a", "unload a", "load a"]


async def test_unloading_by_name_spares_the_busy(start: Start, probe: type[Probe]) -> None:
    async with start() as kernel:
        assert not await kernel.pool.unload("a")
        assert not await kernel.pool.unload("nothing")
        async with kernel.pool.lease(kernel.catalog.get("a")):
            assert not await kernel.pool.unload("a")
        assert await kernel.pool.unload("a")
        assert probe.events == ["load a", "unload a"]
        assert await speak(kernel) == 16_000


async def test_an_unload_that_fails_is_logged_and_frees_the_memory(
    start: Start, probe: type[Probe], caplog: pytest.LogCaptureFixture
) -> None:
    class Sticky(probe):  # type: ignore[misc, valid-type]
        def unload(self) -> None:
            raise OSError("device busy")

    async with start({"a": 1, "b": 1}, engine=Sticky, memory=1) as kernel:
        await use(kernel, "a")
        await use(kernel, "b")
        assert "device busy" in caplog.text
        assert set(kernel.pool.loaded()) == {"b"}


@pytest.mark.parametrize("lane", [None, "shared"])
async def test_closing_unloads_everything_and_ends_the_threads(
    start: Start, probe: type[Probe], until: Until, lane: str | None
) -> None:
    probe.lane = lane
    async with start({"a": 1, "b": None}) as kernel:
        await speak(kernel, "a")
        await speak(kernel, "b")
        assert lanes() == ({"a", "b"} if lane is None else {"shared"})
    assert sorted(probe.events) == ["load a", "load b", "unload a", "unload b"]
    await until(lambda: lanes() == set())


async def test_closing_waits_for_a_load_in_progress_and_unloads_it(
    start: Start, probe: type[Probe]
) -> None:
    kernel = start()
    probe.may_load.clear()
    loading = asyncio.create_task(use(kernel))
    await turns(5)
    loading.cancel()
    await asyncio.wait([loading])
    closing = asyncio.create_task(kernel.close())
    await asyncio.sleep(0.02)
    assert not closing.done()
    probe.may_load.set()
    await closing
    assert probe.events == ["load a", "unload a"]


async def test_closing_waits_for_an_unload_in_progress(
    start: Start, probe: type[Probe], until: Until
) -> None:
    kernel = start(keep_alive=0)
    await use(kernel)
    probe.may_unload.clear()
    await until(lambda: not kernel.pool.loaded())
    closing = asyncio.create_task(kernel.close())
    await asyncio.sleep(0.02)
    assert not closing.done()
    probe.may_unload.set()
    await closing
    assert probe.events == ["load a", "unload a"]


@pytest.mark.parametrize("stuck", ["may_load", "may_unload"])
async def test_closing_does_not_wait_forever_for_an_engine_that_hangs(
    start: Start,
    probe: type[Probe],
    stuck: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pool, "CLOSE_SECONDS", 0.02)
    kernel = start({"a": None, "b": None})
    await use(kernel, "b")
    getattr(probe, stuck).clear()
    using = asyncio.create_task(use(kernel, "a"))
    await turns(5)
    if stuck == "may_load":
        using.cancel()
    await asyncio.wait([using])
    with anyio.fail_after(10):
        await kernel.close()
    assert "did not unload" in caplog.text


async def test_models_to_preload_are_loaded_and_must_exist(
    make_kernel: Callable[..., Kernel],
) -> None:
    async with make_kernel({"server": {"preload": ["async-echo", "whisper-1"]}}) as kernel:
        assert kernel.pool.loaded() == {}
        await kernel.preload()
        assert kernel.pool.loaded() == {"async-echo": 0, "echo-transcriber": 0}
    with pytest.raises(ConfigError, match=r"server\.preload: .*'nothing'"):
        make_kernel({"server": {"preload": ["echo", "nothing"]}})


async def test_closing_twice_is_once(start: Start, probe: type[Probe]) -> None:
    kernel = start()
    await use(kernel)
    await kernel.close()
    await kernel.close()
    assert probe.events == ["load a", "unload a"]


async def test_a_pool_that_nobody_used_closes(start: Start) -> None:
    await Pool(start().config.limits).close()
