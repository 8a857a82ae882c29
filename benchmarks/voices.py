"""What a voice costs: found by name, sent along, prepared for the first time and again.

Usage: python benchmarks/voices.py

The engine clones and takes 0.2 s to prepare a voice, as the speaker encoder and codec of a small
model do on a GPU. Measured through the kernel, without HTTP; the ways take turns.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from unisono import Kernel, codecs
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono.testing import cloner

PREPARE = 0.2
ROUNDS = 40
TEXT = "What is said in the recording."


def recording(seed: int) -> bytes:
    """Return ten seconds of WAV."""
    time_ = np.arange(240_000) / 24_000
    sweep = np.sin(2 * np.pi * (100 + 0.01 * seed + 40 * time_) * time_).astype(np.float32)
    return codecs.encode(sweep * 0.5, "wav", 24_000, 24_000)


async def first_ms(kernel: Kernel, fields: dict[str, Any]) -> float:
    began = time.perf_counter()
    stream = await kernel.open_speech(kernel.prepare_speech({"input": "One two.", **fields}))
    took = time.perf_counter() - began
    await stream.aclose()
    return 1000 * took


async def main() -> int:
    plugins = PluginManager()
    plugins.add(cloner, "cloner")
    data = recording(0)
    text = base64.b64encode(data).decode()
    seeds = iter(range(1, 10_000))
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "own voice": lambda: {"model": "plain", "voice": "plain"},
        "stored": lambda: {"voice": "anna"},
        "base64, 10 s, again": lambda: {"ref_audio": text, "ref_text": TEXT},
        "base64, 10 s, new": lambda: {
            "ref_audio": base64.b64encode(recording(next(seeds))).decode(),
            "ref_text": TEXT,
        },
    }
    with tempfile.TemporaryDirectory() as directory:
        config = Config(
            voices={"directory": directory},
            models={
                "clone": {"engine": "cloner", "prepare_seconds": PREPARE},
                "plain": {"engine": "cloner", "preset": True},
            },
            defaults={"speech": "clone"},
        )
        found: dict[str, list[float]] = defaultdict(list)
        async with Kernel(config, plugins) as kernel:
            kernel.store.add("anna", data, text=TEXT)
            for way in ways.values():
                await first_ms(kernel, way())
            for _ in range(ROUNDS):
                for name, way in ways.items():
                    found[name].append(await first_ms(kernel, way()))
    print(f"{'':<24}{'first chunk ms':>16}{'slowest':>10}")
    for name, times in found.items():
        print(f"{name:<24}{median(times):>16.2f}{max(times):>10.2f}")
    again, new = median(found["base64, 10 s, again"]), median(found["base64, 10 s, new"])
    print(f"A voice that was sent before: {new / again:.0f}× sooner.")
    return 0 if again < new - 1000 * PREPARE * 0.9 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
