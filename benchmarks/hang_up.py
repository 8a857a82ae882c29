"""Let a hundred clients hang up, and look for what they leave behind.

Usage: python benchmarks/hang_up.py [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from load import Ask, connected, load
from servers import Cores, Server

PATIENCE = 3.0
"""Seconds after which what is still there counts as left behind."""
IDLE = {"slots": 0, "streams": 0}
"""Requests that hold a model, and engines' generators that are open."""


@dataclass(frozen=True)
class Round:
    """Clients that ask at once and hang up at once."""

    model: str
    format: str
    clients: int
    amid: bool
    """Whether they hang up amid the audio, or before its first byte."""


ROUNDS = [
    Round(model, format_, clients, amid)
    for model, clients in (("counted", 5), ("counted-async", 20))
    for format_ in ("wav", "mp3")
    for amid in (False, True)
]
"""100 clients."""


@dataclass(frozen=True)
class HangUps:
    """What came of it."""

    clients: int
    slowest_ms: float
    """From hanging up until nothing of a round was left; the worst round. A blocking engine notices
    when it next yields, here after up to 75 ms."""
    left: dict[str, int]
    """What there is more of than before, by kind."""


async def _until(server: Server, reached: Callable[[dict[str, int]], bool]) -> float:
    """Wait until the server's state is as wanted; return the seconds that it took."""
    began = time.perf_counter()
    while time.perf_counter() < began + PATIENCE:
        if reached(await asyncio.to_thread(server.get, "/benchmark/state")):
            break
        await asyncio.sleep(0.002)
    return time.perf_counter() - began


async def _hang_up(server: Server, turn: Round, idle: dict[str, int]) -> float:
    """Return the seconds until everything was as when the server was idle."""
    ask = Ask(turn.model, turn.format, seconds=20)
    async with connected(server.port, ask, turn.clients) as connections:
        asking = [asyncio.ensure_future(connection.ask()) for connection in connections]
        waited = await _until(server, lambda state: state["slots"] == turn.clients)
        if waited > PATIENCE:
            raise RuntimeError(f"{turn}: the server never served them all.")
        if turn.amid:
            await asyncio.sleep(0.15)
    seconds = await _until(server, lambda state: all(state[kind] <= idle[kind] for kind in idle))
    await asyncio.wait(asking)
    for one in asking:
        one.exception()  # that it broke off is what was wanted
    return seconds


def _state(server: Server) -> dict[str, int]:
    return {**server.get("/benchmark/state?deep=true"), "processes": server.children()}


async def measure(server: Server) -> HangUps:
    """Let them hang up.

    :param server: runs `subject:create`, warm.
    """
    # Threads that stay, such as the encoders', begin with the first requests.
    for model in ("instant", "instant-async"):
        ask = Ask(model, "mp3", seconds=1)
        async with connected(server.port, ask, 8) as connections:
            await load(connections, 0)
    for turn in ROUNDS:
        await _hang_up(server, turn, IDLE)
    await asyncio.sleep(0.2)
    before = _state(server)
    if any(before[kind] != count for kind, count in IDLE.items()):
        raise RuntimeError(f"The server is not idle, so nothing can be compared: {before}")
    idle = {kind: before[kind] for kind in ("slots", "streams", "threads", "files")}
    times = [await _hang_up(server, turn, idle) for turn in ROUNDS]
    after = _state(server)
    return HangUps(
        clients=sum(turn.clients for turn in ROUNDS),
        slowest_ms=1000 * max(times),
        left={kind: after[kind] - before[kind] for kind in before if after[kind] > before[kind]},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here, too")
    arguments = parser.parse_args()
    with Server.of_app("subject:create", Cores(), "--factory") as server:
        result = asyncio.run(measure(server))
    print(
        f"{result.clients} clients hung up; the slowest was forgotten in {result.slowest_ms:.0f} ms"
    )
    print(f"left behind: {result.left or 'nothing'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(result), indent=2) + "\n")
    if result.left or result.slowest_ms > 200:
        sys.exit(1)


if __name__ == "__main__":
    main()
