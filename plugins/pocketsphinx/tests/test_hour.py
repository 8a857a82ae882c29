"""An hour through the kernel and the model's process: true times, and little memory in both."""

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
import asyncio, json, os, sys
from pathlib import Path
import unisono_pocketsphinx
from unisono import Config, Kernel
from unisono.plugins import PluginManager

def status(pid, name):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

def megabytes():
    numbers = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    pids = [os.getpid()]
    for pid in numbers:
        try:
            if status(pid, "PPid") == pids[0]:
                pids.append(pid)
        except OSError:  # it has ended meanwhile
            pass
    return [status(pid, "VmHWM") // 1024 for pid in pids]

async def main():
    plugins = PluginManager()
    plugins.add(unisono_pocketsphinx, "pocketsphinx")
    async with Kernel(Config(), plugins) as kernel:
        for path in sys.argv[1:]:
            with open(path, "rb") as file:
                transcript = await kernel.transcribe(file, model="pocketsphinx")
            heard = [(each.start, each.end, each.text) for each in transcript.segments]
            print(json.dumps([megabytes(), heard]), flush=True)

asyncio.run(main())
"""


def record(path: Path, minutes: int, phrase: np.ndarray) -> None:
    """Write a file with the phrase ten seconds into every minute, and noise all the time."""
    random = np.random.default_rng(0)
    with wave.open(str(path), "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        for _ in range(minutes):
            samples = random.normal(0, 0.0005, 60 * RATE)
            samples[10 * RATE : 10 * RATE + len(phrase)] += phrase
            writer.writeframes((samples * 32767).astype("<i2").tobytes())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_hour_takes_little_more_memory_than_a_minute_and_its_times_are_true(
    tmp_path: Path, goforward: np.ndarray
) -> None:
    paths = [tmp_path / "minute.wav", tmp_path / "hour.wav"]
    record(paths[0], 1, goforward)
    record(paths[1], 60, goforward)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, paths)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    (before, _), (after, heard) = map(json.loads, done.stdout.splitlines())
    assert [text for *_, text in heard] == ["go forward ten meters"] * 60
    began = 60 * np.arange(60) + 10
    assert [start for start, *_ in heard] == pytest.approx(began + 0.46, abs=0.1)
    assert [end for _, end, _ in heard] == pytest.approx(began + 2.12, abs=0.1)
    assert len(before) == len(after) == 2, "the server and the model's process"
    assert all(late - early < 150 for early, late in zip(before, after, strict=True))
