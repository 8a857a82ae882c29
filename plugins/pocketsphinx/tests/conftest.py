from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unisono import AudioChunk, CancelToken, Segment, TranscriptionRequest
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
        cancel: CancelToken | None = None,
        **params: Any,
    ) -> TranscriptionRequest:
        return TranscriptionRequest(
            AudioChunk(samples.astype(np.float32), RATE),
            params=PocketsphinxParams(**params),
            word_timestamps=words,
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


@pytest.fixture(scope="session")
def children() -> Callable[..., set[int]]:
    """List the processes that a process has started and not waited for."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")

    def list_children(parent: int | None = None) -> set[int]:
        parent = parent or os.getpid()
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            if int(fields[1]) == parent:
                found.add(int(stat.parent.name))
        return found

    return list_children
