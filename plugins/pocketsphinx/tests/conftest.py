from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unisono_pocketsphinx
from unisono import AudioChunk, CancelToken, Config, Kernel, Segment, TranscriptionRequest
from unisono.plugins import PluginManager
from unisono_pocketsphinx.engine import (
    PocketsphinxEngine,
    PocketsphinxParams,
    PocketsphinxSettings,
)

RATE = 16_000


@pytest.fixture(scope="session")
def goforward() -> np.ndarray:
    """A man says "go forward ten meters" from 0.46 to 2.12 of 2.79 seconds."""
    pcm = np.fromfile(Path(__file__).parent / "data" / "goforward.raw", "<i2")
    return pcm.astype(np.float32) / 32768


@pytest.fixture(scope="session")
def babble(goforward: np.ndarray) -> np.ndarray:
    """28 seconds of speech without a pause: seconds of work for the decoder in one call."""
    return np.tile(goforward[int(0.46 * RATE) : int(2.12 * RATE)], 17)


@pytest.fixture(scope="session")
def make_engine() -> Callable[..., PocketsphinxEngine]:
    def make(**settings: Any) -> PocketsphinxEngine:
        validated = PocketsphinxSettings(**settings)
        return PocketsphinxEngine(PocketsphinxEngine.describe(validated), validated)

    return make


@pytest.fixture(scope="module")
def engine(make_engine: Callable[..., PocketsphinxEngine]) -> Iterator[PocketsphinxEngine]:
    engine = make_engine()
    engine.load()
    yield engine
    engine.unload()


@pytest.fixture(scope="session")
def make_request() -> Callable[..., TranscriptionRequest]:
    def make(
        samples: np.ndarray,
        *,
        words: bool = False,
        logprobs: bool = False,
        cancel: CancelToken | None = None,
        **params: Any,
    ) -> TranscriptionRequest:
        return TranscriptionRequest(
            AudioChunk(samples.astype(np.float32), RATE),
            params=PocketsphinxParams(**params),
            word_timestamps=words,
            logprobs=logprobs,
            cancel=cancel or CancelToken(),
        )

    return make


@pytest.fixture
def write(
    engine: PocketsphinxEngine, make_request: Callable[..., TranscriptionRequest]
) -> Callable[..., list[Segment]]:
    """Transcribe samples with the module's engine."""

    def transcribe(samples: np.ndarray, **options: Any) -> list[Segment]:
        return list(engine.transcribe(make_request(samples, **options)))

    return transcribe


@pytest.fixture
def make_kernel() -> Callable[..., Kernel]:
    """Make kernels with the plugin and nothing else: make_kernel(runner="thread")."""

    def make(**table: Any) -> Kernel:
        plugins = PluginManager()
        plugins.add(unisono_pocketsphinx, "pocketsphinx")
        models = {"pocketsphinx": {"engine": "pocketsphinx", **table}} if table else {}
        return Kernel(Config(models=models), plugins)

    return make


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Wait for what has no event: await until(condition)."""

    async def wait(condition: Callable[[], object], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def children() -> Callable[..., set[int]]:
    """List the processes that a process has started and that still run."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")

    def list_children(parent: int | None = None) -> set[int]:
        parent = parent or os.getpid()
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, its_parent, *_ = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            if int(its_parent) == parent and state not in "ZX":
                found.add(int(stat.parent.name))
        return found

    return list_children
