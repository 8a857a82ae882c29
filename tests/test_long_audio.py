"""Recordings of any length: little memory, pieces that end where it is quiet, true times."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from unisono import (
    AudioChunk,
    EngineFailed,
    Segment,
    Settings,
    TranscriptionRequest,
    hookimpl,
)
from unisono.spool import IN_MEMORY_SECONDS, Spool
from unisono.testing import echo

pytestmark = pytest.mark.anyio
RATE = 16_000


def talk(seconds: int) -> np.ndarray:
    """Return sound for 0.8 seconds of every second, the middle of the pauses at full seconds."""
    one = np.zeros(RATE, np.float32)
    one[RATE // 10 : -RATE // 10] = 0.3
    return np.tile(one, seconds)


class Listener(echo.EchoTranscriber):
    """Writes down when each sound begins and ends, and remembers what it was asked."""

    name = "listener"
    asked: ClassVar[list[TranscriptionRequest]] = []

    @classmethod
    def presets(cls) -> dict[str, Settings]:
        return {}

    def transcribe(self, request: TranscriptionRequest) -> Iterator[Segment]:
        self.asked.append(request)
        loud = np.concatenate([[False], np.abs(request.audio.samples) > 0.01, [False]])
        edges = np.flatnonzero(loud[1:] != loud[:-1]) / RATE
        for start, end in edges.reshape(-1, 2):
            yield Segment("word", float(start), float(end))


@pytest.fixture
def listening(make_kernel, providing) -> Callable[..., Any]:
    Listener.asked.clear()

    def make(**settings: Any) -> Any:
        models = {"it": {"engine": "listener", **settings}}
        return make_kernel({"models": models}, {"p": providing(Listener)})

    return make


async def test_long_audio_comes_in_pieces_that_cut_no_sound_and_times_stay_true(
    listening,
) -> None:
    async with listening(max_audio_seconds=10) as kernel:
        transcript = await kernel.transcribe(AudioChunk(talk(95), RATE), model="it")
    assert len(Listener.asked) > 8
    assert all(request.audio.seconds <= 10 for request in Listener.asked)
    assert sum(len(request.audio.samples) for request in Listener.asked) == 95 * RATE
    starts = [segment.start for segment in transcript.segments]
    ends = [segment.end for segment in transcript.segments]
    assert np.allclose(starts, np.arange(95) + 0.1, atol=0.001)
    assert np.allclose(ends, np.arange(95) + 0.9, atol=0.001)


async def test_later_pieces_are_told_what_was_said_before(listening) -> None:
    async with listening(max_audio_seconds=10, features=["text_prompt"]) as kernel:
        await kernel.transcribe(AudioChunk(talk(30), RATE), model="it", prompt="Vocabulary.")
    first, second, *_ = (request.prompt for request in Listener.asked)
    assert first == "Vocabulary."
    assert second is not None
    assert second.startswith("Vocabulary. word word")
    Listener.asked.clear()
    async with listening(max_audio_seconds=10, features=[]) as kernel:
        await kernel.transcribe(AudioChunk(talk(30), RATE), model="it")
    assert {request.prompt for request in Listener.asked} == {None}


async def test_a_piece_that_fails_fails_the_transcript(make_kernel, providing) -> None:
    class Tiring(Listener):
        name = "tiring"

        def transcribe(self, request: TranscriptionRequest) -> Iterator[Segment]:
            if len(self.asked) == 2:
                raise RuntimeError("tired")
            yield from super().transcribe(request)

    Listener.asked.clear()
    models = {"it": {"engine": "tiring", "max_audio_seconds": 10}}
    async with make_kernel({"models": models}, {"p": providing(Tiring)}) as kernel:
        with pytest.raises(EngineFailed):
            await kernel.transcribe(AudioChunk(talk(60), RATE), model="it")
        assert not kernel.pool.loaded()["it"]


@pytest.mark.parametrize("seconds", [5, IN_MEMORY_SECONDS + 5])
def test_a_spool_gives_back_what_was_written(seconds: float) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32767, round(seconds * RATE), np.int16)
    floats = samples.astype(np.float32) / 32768
    spool = Spool(RATE)
    for start in range(0, len(floats), 100_000):
        spool.write(floats[start : start + 100_000])
    assert spool.seconds == seconds
    assert np.array_equal(spool.read(1234, 5678).samples, floats[1234 : 1234 + 5678])
    assert np.array_equal(spool.read(len(floats) - 10, 100).samples, floats[-10:])
    spool.close()


PROGRAM = """
import asyncio, resource, sys
from pathlib import Path
from unisono import Kernel
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono.testing import echo
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
async def main():
    plugins = PluginManager()
    plugins.add(echo, "echo")
    async with Kernel(Config(), plugins) as kernel:
        for path in sys.argv[1:]:
            with open(path, "rb") as file:
                transcript = await kernel.transcribe(file, model="echo-transcriber")
            print(len(transcript.segments), peak())
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes there")
def test_an_hour_takes_little_more_memory_than_a_minute(tmp_path: Path) -> None:
    paths = []
    for minutes in (1, 60):
        paths.append(str(tmp_path / f"{minutes}.wav"))
        with wave.open(paths[-1], "wb") as writer:
            writer.setparams((1, 2, RATE, 0, "NONE", ""))
            for _ in range(minutes):
                writer.writeframes((talk(60) * 32767).astype("<i2").tobytes())
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *paths],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    (_, minute), (count, hour) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert count >= 3600
    assert hour - minute < 150
    assert list(temporary.iterdir()) == []


async def test_a_hook_that_answers_is_asked_for_every_piece(make_kernel) -> None:
    lengths = []

    class Instead:
        @hookimpl
        def transcribe(self, request: TranscriptionRequest) -> AsyncIterator[Segment]:
            lengths.append(request.audio.seconds)
            return _one()

    async def _one() -> AsyncIterator[Segment]:
        yield Segment("said", 0.0, 1.0)

    models = {"it": {"engine": "echo_transcriber", "max_audio_seconds": 10}}
    async with make_kernel({"models": models}, {"instead": Instead()}) as kernel:
        transcript = await kernel.transcribe(AudioChunk(talk(25), RATE), model="it")
    assert len(lengths) == len(transcript.segments) == 3
    assert transcript.segments[0].start == 0.0
