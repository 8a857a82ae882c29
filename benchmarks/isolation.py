"""What it costs to run a model in a process of its own.

Usage: python benchmarks/isolation.py

The engine costs nothing. Fifty requests for a second of speech, eight at a time, from speech to
MP3 or WAV, in turns: on a thread of this process, and over two replicas. Both cores are used.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import defaultdict
from contextlib import aclosing
from pathlib import Path
from statistics import median

import uvloop

from unisono import Kernel
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono.testing import echo

REQUESTS, AT_ONCE, ROUNDS = 50, 8, 15
TEXT = " ".join(["echo"] * 4)


def cpu() -> tuple[float, float]:
    """Return the CPU seconds of this process, and of its living children."""
    tick = os.sysconf("SC_CLK_TCK")
    workers = 0.0
    for task in Path("/proc/self/task").glob("*/children"):
        for pid in task.read_text().split():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            workers += (int(fields[11]) + int(fields[12])) / tick
    return time.process_time(), workers


async def first(kernel: Kernel, model: str) -> float:
    """Return the seconds to the first chunk of one request alone."""
    began = time.perf_counter()
    stream = await kernel.open_speech(kernel.prepare_speech({"input": TEXT, "model": model}))
    took = time.perf_counter() - began
    async with aclosing(stream):
        async for _ in stream:
            pass
    return took


async def crowd(kernel: Kernel, model: str, format_: str) -> tuple[float, float]:
    """Return the CPU milliseconds of a request: of the server, and of its workers."""
    waiting = iter(range(REQUESTS))

    async def client() -> None:
        for _ in waiting:
            raw = {"input": TEXT, "model": model, "response_format": format_}
            rendered = kernel.render(await kernel.open_speech(kernel.prepare_speech(raw)))
            async with aclosing(rendered):
                assert sum([len(part.data) async for part in rendered]) > 3000

    before = cpu()
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    after = cpu()
    return tuple(1000 * (b - a) / REQUESTS for a, b in zip(before, after, strict=True))  # type: ignore[return-value]


async def main() -> int:
    plugins = PluginManager()
    plugins.add(echo, "echo")
    models = {
        "thread": {"engine": "echo", "keep_alive": "forever"},
        "process": {
            "engine": "echo",
            "runner": "process",
            "replicas": 2,
            "keep_alive": "forever",
        },
    }
    firsts: dict[str, list[float]] = defaultdict(list)
    costs: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    async with Kernel(Config(models=models), plugins) as kernel:
        for model in models:
            for format_ in ("wav", "mp3"):
                await crowd(kernel, model, format_)
        for _ in range(ROUNDS):
            for model in models:
                firsts[model] += [await first(kernel, model) for _ in range(20)]
                for format_ in ("wav", "mp3"):
                    costs[model, format_].append(await crowd(kernel, model, format_))
    kept = True
    for format_ in ("wav", "mp3"):
        own = {model: median(c[0] for c in costs[model, format_]) for model in models}
        workers = sum(c[1] for c in costs["process", format_]) / ROUNDS
        ratio = own["process"] / own["thread"]
        kept &= ratio <= 1.3
        print(
            f"{format_}: CPU ms a request: thread {own['thread']:.2f}, "
            f"process {own['process']:.2f} ({ratio:.2f}×) and {workers:.2f} in the workers"
        )
    added = 1000 * (median(firsts["process"]) - median(firsts["thread"]))
    print(f"first chunk: {added:+.2f} ms")
    return 0 if kept and added <= 2 else 1


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as `unisono serve`
        sys.exit(runner.run(main()))
