"""Recordings that wait for one Whisper: decoded together, or one after the other.

Usage: python benchmarks/transcription.py [--device cuda] [--threads 2]

Needs unisono-faster-whisper. The model is as large as OpenAI's tiny and has random weights, so that
nothing is downloaded; what it writes is nonsense of a given length. All ways are measured in turns,
through the kernel, without HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins/faster_whisper/tests"))

import tiny_whisper  # noqa: E402

import unisono_faster_whisper  # noqa: E402
from unisono import AudioChunk, Kernel  # noqa: E402
from unisono.config import Config  # noqa: E402
from unisono.plugins import PluginManager  # noqa: E402

SECONDS = (10, 12, 15, 18, 20, 23, 26, 29)
TOKENS = 60
"""Of each window; some 30 seconds of speech."""
ROUNDS = 3
RATE = 16_000

Work = Callable[[AudioChunk], Coroutine[Any, Any, Any]]


def now() -> np.ndarray:
    """Return the time, and how much of it was the CPU's."""
    return np.array([time.perf_counter(), time.process_time()])


async def together(work: Work, recordings: list[AudioChunk]) -> np.ndarray:
    began = now()
    await asyncio.gather(*map(work, recordings))
    return now() - began


async def in_turn(work: Work, recordings: list[AudioChunk]) -> np.ndarray:
    began = now()
    for recording in recordings:
        await work(recording)
    return now() - began


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    noise = np.random.default_rng(0).standard_normal(RATE * max(SECONDS)).astype(np.float32) / 20
    recordings = [AudioChunk(noise[: RATE * seconds], RATE) for seconds in SECONDS]
    plugins = PluginManager()
    plugins.add(unisono_faster_whisper, "faster_whisper")
    with tempfile.TemporaryDirectory() as temporary:
        folder = tiny_whisper.build(Path(temporary) / "tiny", width=384, heads=6, layers=4)
        plain = {
            "engine": "faster_whisper",
            "model": str(folder),
            "device": arguments.device,
            "cpu_threads": arguments.threads,
        }
        models = {"plain": plain, "batched": {**plain, "batched": True}}
        options = {"vad_filter": False, "max_new_tokens": TOKENS}
        async with Kernel(Config(models=models), plugins) as kernel:

            async def plainly(recording: AudioChunk) -> None:
                await kernel.transcribe(
                    recording, model="plain", temperature_fallback=[], **options
                )

            async def batched(recording: AudioChunk) -> None:
                await kernel.transcribe(recording, model="batched", **options)

            ways = {
                "batched, together": (together, batched),
                "batched, one after the other": (in_turn, batched),
                "not batched": (together, plainly),
            }
            taken: dict[str, list[np.ndarray]] = {name: [] for name in ways}
            await plainly(recordings[0])
            await batched(recordings[0])  # both are loaded now
            for _ in range(ROUNDS):
                for name, (how, work) in ways.items():
                    taken[name].append(await how(work, recordings))
    first = np.array(taken["batched, together"])
    print(f"{'':<30}{'seconds':>16}{'CPU seconds':>16}")
    for name, times in taken.items():
        whole, ratio = np.median(times, axis=0), np.median(np.array(times) / first, axis=0)
        cells = [f"{each:>9.2f}{other:>6.2f}×" for each, other in zip(whole, ratio, strict=True)]
        print(f"{name:<30}{''.join(cells)}")


if __name__ == "__main__":
    asyncio.run(main())
