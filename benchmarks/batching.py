"""Many requests for one model: step by step together, or one at a time.

Usage: python benchmarks/batching.py

The engine takes as long for a step as a model on a GPU that is bound by its memory does: the same
for one request as for eight. Both ways are measured in turns, through the kernel, without HTTP.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from unisono import Kernel
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono.testing import batched, echo

STEP = 0.02
"""Seconds for a step of 0.1 s of audio."""
WORDS = 16
SECONDS = WORDS * 0.25
ARRIVALS = 0.05
"""Seconds between two requests."""
ROUNDS = 3


@dataclass(frozen=True)
class Seen:
    """One request."""

    first: float
    """Seconds to the first chunk."""
    whole: float
    gap: float
    """Longest wait between two chunks."""


async def request(kernel: Kernel, model: str, after: float) -> Seen:
    await asyncio.sleep(after)
    began = last = time.perf_counter()
    first = gap = 0.0
    heard = 0.0
    async for chunk in kernel.speech(" ".join(["echo"] * WORDS), model=model):
        now = time.perf_counter()
        first = first or now - began
        gap = max(gap, now - last) if heard else 0.0
        last = now
        heard += chunk.seconds
    assert abs(heard - SECONDS) < 0.01, "audio is missing"
    return Seen(first, time.perf_counter() - began, gap)


async def crowd(kernel: Kernel, model: str, clients: int) -> tuple[list[Seen], float]:
    """Return what clients saw that come one after the other, and the CPU seconds it took."""
    cpu = time.process_time()
    work = (request(kernel, model, index * ARRIVALS) for index in range(clients))
    return list(await asyncio.gather(*work)), time.process_time() - cpu


def row(name: str, clients: int, seen: Sequence[Seen], cpu: float) -> str:
    firsts = [each.first for each in seen]
    late = quantiles(firsts, n=20)[-1] if len(firsts) > 1 else firsts[0]
    return (
        f"{name:<16}{clients:>8}{1000 * median(firsts):>15.0f}{1000 * late:>8.0f}"
        f"{max(each.whole for each in seen):>15.2f}{max(each.gap for each in seen):>15.2f}"
        f"{1000 * cpu / (len(seen) * SECONDS):>18.2f}"
    )


async def main() -> int:
    plugins = PluginManager()
    plugins.add(echo, "echo")
    plugins.add(batched, "batched")
    models = {
        "together": {"engine": "batched_echo", "step_seconds": STEP, "keep_alive": "forever"},
        "one at a time": {"engine": "echo", "rtf": STEP / 0.1, "keep_alive": "forever"},
    }
    ratios = []
    print(
        f"{'':<16}{'clients':>8}{'first ms p50':>15}{'p95':>8}{'slowest whole s':>15}"
        f"{'longest gap s':>15}{'CPU ms/audio s':>18}"
    )
    async with Kernel(Config(models=models), plugins) as kernel:
        for name in models:
            await crowd(kernel, name, 1)  # loads it
        for clients in (1, 8, 24):
            found = {}
            for name in models:
                seen: list[Seen] = []
                cpu = 0.0
                for _ in range(ROUNDS):
                    each, spent = await crowd(kernel, name, clients)
                    seen += each
                    cpu += spent
                found[name] = seen
                print(row(name, clients, seen, cpu))
            slowest = [max(each.whole for each in seen) for seen in found.values()]
            ratios.append(slowest[1] / slowest[0])
            print(f"{'':<16}{'':>8}  one at a time ÷ together, slowest: {ratios[-1]:.1f}×")
    return 0 if ratios[0] > 0.8 and ratios[-1] > 4 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
