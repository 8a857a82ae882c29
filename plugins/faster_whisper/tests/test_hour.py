"""An hour of speech, through the kernel: true times in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RATE = 16_000
EVERY = 270
"""Seconds from one phrase to the next. The kernel hands out pieces of at most five minutes, and
of two phrases in a window the tiny model has learnt nothing.
"""
PHRASES = ("hello world", "good morning", "bonjour")

PROGRAM = """
import asyncio, json, resource, sys
from dataclasses import replace
from unisono import Feature, Kernel, hookimpl
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono_faster_whisper.engine import FasterWhisperEngine

class Unprompted(FasterWhisperEngine):
    # Of text before it the tiny model has learnt nothing.
    @classmethod
    def describe(cls, settings):
        info = super().describe(settings)
        return replace(info, features=info.features - {Feature.TEXT_PROMPT})

class Plugin:
    @hookimpl
    def register_engines(self):
        return [Unprompted]

async def main():
    settings, options, *paths = sys.argv[1:]
    plugins = PluginManager()
    plugins.add(Plugin(), "unprompted")
    model = {"engine": "faster_whisper", "device": "cpu", "cpu_threads": 1, **json.loads(settings)}
    async with Kernel(Config(models={"it": model}), plugins) as kernel:
        for path in paths:
            with open(path, "rb") as file:
                transcript = await kernel.transcribe(file, model="it", **json.loads(options))
            heard = [(segment.start, segment.text) for segment in transcript.segments]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(json.dumps([peak, heard]), flush=True)

asyncio.run(main())
"""


def record(path: Path, minutes: int, spoken: dict[str, np.ndarray]) -> list[str]:
    """Write a file with a phrase now and then, and noise after each; return the phrases."""
    random = np.random.default_rng(0)
    said = []
    with wave.open(str(path), "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        for start in range(0, minutes * 60, EVERY):
            said.append(PHRASES[len(said) % len(PHRASES)])
            samples = random.normal(0, 0.01, min(EVERY, minutes * 60 - start) * RATE)
            samples[: 2 * RATE] = samples[-RATE:] = 0
            samples[: len(spoken[said[-1]])] = spoken[said[-1]]
            writer.writeframes((samples * 32767).astype("<i2").tobytes())
    return said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes there")
@pytest.mark.parametrize(
    ("settings", "options"),
    [({}, {}), ({"batched": True}, {"without_timestamps": False, "chunk_length": 10})],
)
def test_an_hour_takes_little_more_memory_than_half_of_one_and_its_times_are_true(
    tmp_path: Path, spoken, trained, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    paths = [tmp_path / "half.wav", tmp_path / "hour.wav"]
    record(paths[0], 30, spoken)
    said = record(paths[1], 60, spoken)
    arguments = [
        json.dumps({**settings, "model": trained}),
        json.dumps({**options, "multilingual": True, "vad_speech_pad_ms": 100}),
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, *map(str, paths)],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    (before, _), (after, heard) = map(json.loads, done.stdout.splitlines())
    assert [text for _, text in heard] == said
    assert [start for start, _ in heard] == pytest.approx(
        [number * EVERY for number in range(len(said))], abs=0.3
    )
    assert after - before < 150
