"""Requests that share a batch: each gets its own audio, at once, and nobody waits for the end of
anybody else's text.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from unisono import AudioChunk, EngineFailed, Kernel, RequestError, Settings, SpeechBatch
from unisono.testing import batched, echo

pytestmark = pytest.mark.anyio


@pytest.fixture
def batching(make_kernel) -> Callable[..., Kernel]:
    """Return what makes a kernel with one batched model: batching(step_seconds=0.01)."""

    def make(limits: dict[str, Any] | None = None, **settings: Any) -> Kernel:
        models = {"choir": {"engine": "batched_echo", **settings}}
        overrides = {"models": models, **({"limits": limits} if limits else {})}
        return make_kernel(overrides, {"batched": batched})

    return make


async def hear(kernel: Kernel, text: str, model: str = "choir", **fields: Any) -> np.ndarray:
    chunks = [chunk async for chunk in kernel.speech(text, model=model, **fields)]
    return np.concatenate([chunk.samples for chunk in chunks])


def words(count: int) -> str:
    return " ".join(["echo"] * count)


class Nameless(batched.BatchedEchoEngine):
    """A batched echo to derive from: it brings no model of its own."""

    name = "nameless"

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {}


async def test_everybody_in_a_batch_gets_the_audio_of_their_own_text(batching) -> None:
    texts = [words(count) for count in range(1, 25)]
    async with batching(step_seconds=0.001) as kernel:
        heard = await asyncio.gather(*(hear(kernel, text) for text in texts))
    for text, samples in zip(texts, heard, strict=True):
        assert np.array_equal(samples, echo.expected(text)), text


async def test_a_request_joins_while_others_speak(batching) -> None:
    async with batching(step_seconds=0.02) as kernel:
        long = kernel.speech(words(200), model="choir")
        await anext(long)
        began = time.monotonic()
        async for _ in kernel.speech(words(1), model="choir"):
            break
        waited = time.monotonic() - began
        # All of the long text takes 500 steps, ten seconds.
        assert waited < 2
        await long.aclose()


async def test_no_more_join_than_the_engine_takes(make_kernel, providing) -> None:
    sizes = []

    class Counted(batched.Steps):
        def step(self) -> Any:
            sizes.append(len(self.texts))
            return super().step()

    class Counting(Nameless):
        name = "counting"

        def open_batch(self) -> SpeechBatch:
            return Counted(self.settings)

    kernel = make_kernel({"models": {"choir": {"engine": "counting"}}}, {"p": providing(Counting)})
    async with kernel:
        await asyncio.gather(*(hear(kernel, words(20)) for _ in range(20)))
    assert max(sizes) == Counting.max_batch_size


async def test_who_hangs_up_leaves_and_the_others_are_not_disturbed(batching, until) -> None:
    async with batching(step_seconds=0.002) as kernel:
        leaving = [kernel.speech(words(400), model="choir") for _ in range(4)]
        for stream in leaving:
            await anext(stream)
        staying = [asyncio.create_task(hear(kernel, words(n))) for n in (8, 16, 24)]
        await asyncio.sleep(0.01)
        for stream in leaving:
            await stream.aclose()
        heard = await asyncio.gather(*staying)
        assert [len(samples) for samples in heard] == [
            len(echo.expected(words(n))) for n in (8, 16, 24)
        ]
        await until(lambda: not kernel.pool.loaded()["choir"])


async def test_one_that_fails_fails_alone(batching) -> None:
    async with batching(step_seconds=0.001) as kernel:
        good = asyncio.create_task(hear(kernel, words(12)))
        with pytest.raises(EngineFailed):
            await hear(kernel, words(12), fail_after=0.5)
        assert np.array_equal(await good, echo.expected(words(12)))


async def test_what_cannot_run_together_waits_and_is_not_forgotten(batching) -> None:
    async with batching(step_seconds=0.001) as kernel:
        loud, soft, again = await asyncio.gather(
            hear(kernel, words(8)), hear(kernel, words(8), gain=0.5), hear(kernel, words(8))
        )
    assert np.array_equal(loud, echo.expected(words(8)))
    assert np.allclose(soft, loud / 2)
    assert np.array_equal(again, loud)


class Failing(SpeechBatch):
    """Breaks down at its third step."""

    def __init__(self) -> None:
        self._keys: set[int] = set()
        self._steps = 0
        self.closed = False

    def add(self, key: int, request: Any) -> None:
        if request.text == "Nonsense.":
            raise RequestError("input: nonsense.", param="input")
        self._keys.add(key)

    def step(self) -> Iterable[tuple[int, AudioChunk | Exception | None]]:
        self._steps += 1
        if self._steps == 3:
            raise SystemExit("out of memory")
        return [(key, AudioChunk(np.full(2400, 0.1, np.float32), 24_000)) for key in self._keys]

    def remove(self, key: int) -> None:
        self._keys.remove(key)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def breaking(make_kernel, providing) -> tuple[Kernel, list[Failing]]:
    batches: list[Failing] = []

    class Breaking(Nameless):
        name = "breaking"

        def open_batch(self) -> SpeechBatch:
            batches.append(Failing())
            return batches[-1]

    kernel = make_kernel({"models": {"choir": {"engine": "breaking"}}}, {"p": providing(Breaking)})
    return kernel, batches


async def test_a_batch_that_breaks_down_ends_its_requests_and_the_next_ones_get_a_new_one(
    breaking, until
) -> None:
    kernel, batches = breaking
    async with kernel:
        ended = await asyncio.gather(
            *(hear(kernel, "One.") for _ in range(3)), return_exceptions=True
        )
        assert [type(each) for each in ended] == [EngineFailed] * 3
        stream = kernel.speech("Two.", model="choir")
        assert (await anext(stream)).seconds > 0
        await stream.aclose()
        await until(lambda: all(batch.closed for batch in batches))
        assert len(batches) > 1


async def test_a_request_that_the_batch_refuses_is_answered_with_its_reason(breaking) -> None:
    kernel, _ = breaking
    async with kernel:
        with pytest.raises(RequestError, match="nonsense") as caught:
            await hear(kernel, "Nonsense.")
        assert caught.value.param == "input"


async def test_a_batch_lets_another_model_have_the_thread_that_they_share(
    make_kernel, providing
) -> None:
    class Shared(Nameless):
        name = "shared_batch"
        lane = "shared"

    class Other(echo.EchoEngine):
        name = "shared_echo"
        lane = "shared"

        @classmethod
        def presets(cls) -> dict[str, Any]:
            return {}

    models = {
        "choir": {"engine": "shared_batch", "step_seconds": 0.002},
        "solo": {"engine": "shared_echo"},
    }
    kernel = make_kernel({"models": models}, {"p": providing(Shared, Other)})
    async with kernel:
        stop = False

        async def busy() -> None:
            while not stop:
                await hear(kernel, words(8))

        crowd = [asyncio.create_task(busy()) for _ in range(4)]
        await asyncio.sleep(0.05)
        solo = asyncio.create_task(hear(kernel, "One.", model="solo"))
        done, _ = await asyncio.wait([solo], timeout=10)
        stop = True
        await asyncio.gather(*crowd)
    assert done


async def test_everything_runs_on_one_thread(make_kernel, providing) -> None:
    threads = set()

    class Watched(Nameless):
        name = "threads"

        def load(self) -> None:
            threads.add(threading.get_ident())

        def open_batch(self) -> SpeechBatch:
            threads.add(threading.get_ident())
            return super().open_batch()

    kernel = make_kernel({"models": {"choir": {"engine": "threads"}}}, {"p": providing(Watched)})
    async with kernel:
        await asyncio.gather(*(hear(kernel, words(4)) for _ in range(10)))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
