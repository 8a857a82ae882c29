"""Measure servers in turns, and know when other processes were in the way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median

from load import Ask, connected, load
from servers import Cores, Server

SLICE_SECONDS = 0.2
"""How long one server is asked before it is the next one's turn."""
DISTURBED = 0.15
"""Share of a core from which on a turn does not count; the clock of the core has 10 ms ticks."""


@dataclass(frozen=True)
class Cell:
    """One thing to measure."""

    server: str
    ask: Ask
    clients: int

    def __str__(self) -> str:
        return f"{self.ask.format} {self.ask.seconds:g} s × {self.clients}, {self.ask.model}"


@dataclass(frozen=True)
class Reading:
    """One round's reading of a cell, or the median of several."""

    first_ms: float
    requests_per_second: float
    cpu_ms_per_audio_second: float
    client_cpu: float
    """Share of its core that the client used; near 1 it is the client that was measured."""
    stalls: float
    disturbance: float
    """Share of the servers' core that others took, or of its time that the client waited for its
    own, whichever is larger."""


@dataclass(frozen=True)
class Group:
    """Cells that are compared, and therefore measured in turn."""

    models: Mapping[str, list[str]]
    """Server → models."""
    format: str
    seconds: float
    clients: int
    rounds: int

    @property
    def cells(self) -> list[Cell]:
        return [
            Cell(server, Ask(model, self.format, self.seconds), self.clients)
            for server, names in self.models.items()
            for model in names
        ]


async def read(cell: Cell, servers: Mapping[str, Server], cores: Cores) -> Reading:
    """Measure a cell once."""
    async with connected(servers[cell.server].port, cell.ask, cell.clients) as connections:
        before = _Clocks.of(servers, cores)
        seen = await load(connections, SLICE_SECONDS)
        after = _Clocks.of(servers, cores)
    wall = seen.ended - seen.began
    spent = {name: after.servers[name] - before.servers[name] for name in servers}
    foreign = 0.0
    if before.core is not None and after.core is not None:
        foreign = (after.core - before.core - sum(spent.values())) / wall
    return Reading(
        first_ms=seen.first_ms,
        requests_per_second=seen.requests_per_second,
        cpu_ms_per_audio_second=1000 * spent[cell.server] / (len(seen.firsts) * cell.ask.seconds),
        client_cpu=(after.client - before.client) / wall,
        stalls=seen.stalls,
        disturbance=max(foreign, (after.waited - before.waited) / wall),
    )


@dataclass(frozen=True)
class _Clocks:
    servers: dict[str, float]
    core: float | None
    client: float
    waited: float

    @classmethod
    def of(cls, servers: Mapping[str, Server], cores: Cores) -> _Clocks:
        spent = {name: server.cpu_seconds() for name, server in servers.items()}
        return cls(spent, cores.busy_seconds(), time.process_time(), cores.waited_seconds())


@dataclass
class Measured:
    """All readings that count."""

    readings: dict[Cell, list[Reading]] = field(default_factory=dict)
    """One for each turn that counts; the cells of a group have the same turns."""
    disturbed: set[Cell] = field(default_factory=set)
    """Cells without a quiet turn, so that disturbed ones had to count."""
    turns: int = 0
    left_out: int = 0


async def measure(
    servers: Mapping[str, Server], groups: list[Group], cores: Cores, patience: float
) -> Measured:
    """Measure the cells of each group in short turns, one after the other.

    Turns alone do not make it fair: a server of many threads defends its core against other
    processes better than one of few. So a turn during which others took more than `DISTURBED`
    of either core, for any of the servers, does not count for any of them, and is repeated.

    :param patience: seconds to spend on repetitions.
    """
    for cell in [cell for group in groups for cell in group.cells]:
        # Loading, imports, the first encoders.
        ask = replace(cell.ask, seconds=0.5)
        async with connected(servers[cell.server].port, ask, 4) as connections:
            await load(connections, 0)
    measured = Measured()
    for group in groups:
        turns: list[dict[Cell, Reading]] = []
        quiet: list[dict[Cell, Reading]] = []
        while len(quiet) < group.rounds and (len(turns) < group.rounds or patience > 0):
            began = time.perf_counter()
            shift = len(turns) % len(group.cells)
            order = group.cells[shift:] + group.cells[:shift]
            turns.append({cell: await read(cell, servers, cores) for cell in order})
            quiet = [turn for turn in turns if _quiet(turn)]
            if len(turns) > group.rounds:
                patience -= time.perf_counter() - began
        measured.turns += len(turns)
        measured.left_out += len(turns) - len(quiet) if quiet else 0
        if not quiet:
            measured.disturbed.update(group.cells)
        for cell in group.cells:
            measured.readings[cell] = [turn[cell] for turn in quiet or turns]
    return measured


def _quiet(turn: Mapping[Cell, Reading]) -> bool:
    return all(reading.disturbance <= DISTURBED for reading in turn.values())


def typical(readings: list[Reading]) -> Reading:
    """Return the medians; of stalls the sum."""
    columns = {name: [getattr(each, name) for each in readings] for name in vars(readings[0])}
    return Reading(**{n: sum(c) if n == "stalls" else median(c) for n, c in columns.items()})
