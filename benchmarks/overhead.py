"""What the server itself costs, beside a server written by hand and beside no server at all.

Usage: python benchmarks/overhead.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import hang_up
from models import PACE
from servers import Cores, Server, cpu_of
from turns import Cell, Group, Measured, Reading, measure, typical

SERVERS: Mapping[str, tuple[str, ...]] = {
    "raw": ("raw:app",),
    "baseline": ("baseline:app",),
    "unisono": ("subject:create", "--factory"),
}
FLOOR_MS = 1000 * (PACE["first_delay"] + 0.1 * PACE["rtf"])
"""When the paced engine's first chunk, of 0.1 s, exists."""


@dataclass(frozen=True)
class Line:
    """One promise, and what was found."""

    what: str
    measured: float
    compare: str
    target: float
    unit: str = ""
    disturbed: bool = False
    """Whether other processes were in the way, so that it should be measured again."""

    @property
    def kept(self) -> bool:
        if self.compare == "≤":
            return self.measured <= self.target
        return self.measured >= self.target

    def __str__(self) -> str:
        verdict = ("pass" if self.kept else "MISS") + ("?" if self.disturbed else " ")
        goal = f"{self.compare} {self.target:g}"
        return f"{verdict}  {self.what:<66} {self.measured:>8.2f}  {goal:>7} {self.unit}".rstrip()


INSTANT = {"raw": ["instant"], "baseline": ["instant"], "unisono": ["instant", "instant-async"]}
PACED = {"baseline": ["paced"], "unisono": ["paced-async"]}


def grid(quick: bool) -> list[Group]:
    """Return what to measure; what takes long is measured less often."""
    many, few = (4, 1) if quick else (9, 3)
    groups = []
    for format_ in ("wav", "mp3"):
        for clients in (1, 32) if quick else (1, 8, 32):
            groups.append(Group(INSTANT, format_, 1.0, clients, many))
    for clients in (8,) if quick else (1, 8, 32):
        groups.append(Group(INSTANT, "wav", 10.0, clients, many))
        groups.append(Group(INSTANT, "mp3", 10.0, clients, few))
    for clients in (1, 8, 64):
        groups.append(Group(PACED, "wav", 2.0, clients, few))
    groups.append(Group({"unisono": ["paced"]}, "wav", 2.0, 1, few))
    groups.append(Group({"unisono": ["clock"]}, "opus", 0.5, 1, few))
    return groups


def start_up(cores: Cores, rounds: int) -> dict[str, float]:
    """Start the real command with no engine loaded."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        with Server(["-m", "unisono", "serve"], cores) as server:
            found["start_seconds"].append(server.start_seconds)
            time.sleep(1.0)  # it warms its codecs up meanwhile
            found["resident_mb"].append(server.resident_mb())
        with Server.of_app("baseline:app", cores) as server:
            found["baseline_start_seconds"].append(server.start_seconds)
            found["baseline_resident_mb"].append(server.resident_mb())
        found["help_cpu_seconds"].append(cpu_of([sys.executable, "-m", "unisono", "--help"]))
    return {name: median(values) for name, values in found.items()}


def verdicts(
    measured: Measured, starting: Mapping[str, float], hung_up: hang_up.HangUps
) -> list[Line]:
    """Compare with the promises; a ratio is the median over the turns of each turn's ratio."""
    readings = measured.readings
    doubtful = {(c.ask.model, c.ask.format, c.ask.seconds, c.clients) for c in measured.disturbed}
    found = {
        (cell.server, cell.ask.model, cell.ask.format, cell.ask.seconds, cell.clients): each
        for cell, each in readings.items()
    }

    def ratio(model: str, format_: str, clients: int, value: Callable[[Reading], float]) -> float:
        ours = found["unisono", model, format_, 1.0, clients]
        theirs = found["baseline", "instant", format_, 1.0, clients]
        return median(value(a) / value(b) for a, b in zip(ours, theirs, strict=True))

    lines = []
    for cell, each in readings.items():
        if cell.server == "unisono" and cell.ask.model in ("paced", "paced-async"):
            added = typical(each).first_ms - FLOOR_MS
            most = {1: 3, 8: 6, 64: 20}[cell.clients]
            lines.append(
                Line(
                    f"{cell}: added to first audio",
                    added,
                    "≤",
                    most,
                    "ms",
                    cell in measured.disturbed,
                )
            )
            lines.append(Line(f"{cell}: stalls", typical(each).stalls, "≤", 0))
    for model in ("instant", "instant-async"):
        for format_, least in (("wav", 2.5), ("mp3", 5.0)):
            rate = ratio(model, format_, 32, lambda reading: reading.requests_per_second)
            what = f"{format_} 1 s × 32, {model}: requests/s ÷ baseline's"
            doubt = (model, format_, 1.0, 32) in doubtful
            lines.append(Line(what, rate, "≥", least, "×", doubt))
            for clients in (1, 32):
                first = ratio(model, format_, clients, lambda reading: reading.first_ms)
                what = f"{format_} 1 s × {clients}, {model}: first audio ÷ baseline's"
                doubt = (model, format_, 1.0, clients) in doubtful
                lines.append(Line(what, first, "≤", 0.7, "×", doubt))
        for format_, most_ in (("wav", 0.3), ("mp3", 2.5)):
            cpu = typical(found["unisono", model, format_, 10.0, 8]).cpu_ms_per_audio_second
            what = f"{format_} 10 s × 8, {model}: CPU per second of audio"
            lines.append(Line(what, cpu, "≤", most_, "ms"))
    opus = typical(found["unisono", "clock", "opus", 0.5, 1]).first_ms
    lines += [
        Line("opus: audio before the first byte", opus, "≤", 100, "ms"),
        Line("resident, no engine loaded", starting["resident_mb"], "≤", 80, "MB"),
        Line("start to /health", starting["start_seconds"], "≤", 0.6, "s"),
        Line("unisono --help, CPU", starting["help_cpu_seconds"], "≤", 0.25, "s"),
        Line(f"{hung_up.clients} hang-ups: forgotten within", hung_up.slowest_ms, "≤", 200, "ms"),
        Line("hang-ups: things left behind", sum(hung_up.left.values()), "≤", 0),
    ]
    return lines


def table(readings: Mapping[Cell, list[Reading]]) -> str:
    """Return the medians, one line for each cell."""
    rows = [
        f"{'':<34}{'server':<10}{'first audio ms':>15}{'requests/s':>12}"
        f"{'CPU ms/audio s':>16}{'client CPU':>12}"
    ]
    for cell, each in readings.items():
        row = typical(each)
        rows.append(
            f"{cell!s:<34}{cell.server:<10}{row.first_ms:>15.2f}{row.requests_per_second:>12.1f}"
            f"{row.cpu_ms_per_audio_second:>16.3f}{row.client_cpu:>12.0%}"
        )
    return "\n".join(rows)


def run(quick: bool) -> dict[str, Any]:
    """Measure everything, print it, and return it."""
    cores = Cores()
    starting = start_up(cores, 1 if quick else 3)
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(Server.of_app(app, cores, *arguments))
            for name, (app, *arguments) in SERVERS.items()
        }
        patience = 5.0 if quick else 60.0
        measured = asyncio.run(measure(servers, grid(quick), cores, patience))
        hung_up = asyncio.run(hang_up.measure(servers["unisono"]))
    lines = verdicts(measured, starting, hung_up)
    print(table(measured.readings), "", *lines, "", sep="\n")
    print(f"{measured.left_out} of {measured.turns} turns left out: others used the cores.")
    if measured.disturbed:
        print(f"{len(measured.disturbed)} cells had no quiet turn (?): measure them again.")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "pinned": cores.pinned,
        "readings": [
            {
                **asdict(cell),
                "turns": [asdict(one) for one in each],
                "disturbed": cell in measured.disturbed,
            }
            for cell, each in measured.readings.items()
        ],
        "turns": measured.turns,
        "left_out": measured.left_out,
        "start_up": starting,
        "hang_up": asdict(hung_up),
        "promises": [{**asdict(line), "kept": line.kept} for line in lines],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here, too")
    arguments = parser.parse_args()
    result = run(arguments.quick)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    if not all(promise["kept"] for promise in result["promises"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
