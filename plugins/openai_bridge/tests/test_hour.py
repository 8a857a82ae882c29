"""An hour through the bridge to another unisono: true times in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

RATE = 16_000

PROGRAM = """
import asyncio, json, resource, sys
import unisono_openai_bridge
from unisono import Config, Kernel
from unisono.plugins import PluginManager

async def main():
    table, *paths = sys.argv[1:]
    plugins = PluginManager()
    plugins.add(unisono_openai_bridge, "openai_bridge")
    async with Kernel(Config.load(None, {"models": {"it": json.loads(table)}}), plugins) as kernel:
        for path in paths:
            with open(path, "rb") as file:
                transcript = await kernel.transcribe(
                    file,
                    model="it",
                    response_format="verbose_json",
                    timestamp_granularities=["word", "segment"],
                )
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            segments = transcript.segments
            spans = [(each.start, each.end) for each in segments]
            words = [word.start for each in segments for word in each.words]
            print(json.dumps([peak, spans, words]), flush=True)

asyncio.run(main())
"""


def record(path: Path, minutes: int) -> None:
    """Write a file with three seconds of sound in the middle of every minute."""
    minute = np.zeros(60 * RATE, "<i2")
    minute[30 * RATE : 33 * RATE] = 10_000
    with wave.open(str(path), "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        for _ in range(minutes):
            writer.writeframes(minute.tobytes())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes there")
def test_an_hour_takes_little_more_memory_than_a_minute_and_its_times_are_true(
    tmp_path: Path, upstream, key
) -> None:
    paths = [tmp_path / "minute.wav", tmp_path / "hour.wav"]
    record(paths[0], 1)
    record(paths[1], 60)
    table = {
        "engine": "openai_transcription",
        "base_url": upstream.url,
        "api_key": key,
        "model": "echo-transcriber",
        "features": ["word_timestamps"],
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(table), *map(str, paths)],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    (before, *_), (after, spans, words) = map(json.loads, done.stdout.splitlines())
    assert after - before < 150
    assert {start // 60 for start, _ in spans} == set(range(60))
    # Sound is from 30 to 33; echoes count whole seconds from where a piece begins.
    assert all(start % 60 > 29 and end % 60 < 34 for start, end in spans)
    assert len(words) == 2 * len(spans)
