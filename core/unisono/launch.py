"""Where a model runs: on a thread of this process, or in processes of its own."""

from __future__ import annotations

from .engine import concurrency
from .entries import Entry
from .lanes import Lane
from .replicas import ProcessRunner
from .runner import EngineRunner, ThreadRunner
from .spawn import WorkerSpec


class Launcher:
    """Makes runners, and ends their threads. All methods run on the event loop.

    :param voice_bytes: memory for the prepared voices of each model.
    """

    def __init__(self, voice_bytes: int = 0) -> None:
        self._voice_bytes = voice_bytes
        self._own: dict[str, Lane] = {}
        self._shared: dict[str, Lane] = {}

    def launch(self, entry: Entry) -> EngineRunner:
        """Return a runner of a model that is not loaded yet."""
        if entry.isolation is not None:
            return ProcessRunner(
                _specs(entry, self._voice_bytes), concurrency(entry.engine, entry.info)
            )
        engine = entry.engine(entry.info, entry.settings)
        return ThreadRunner(engine, self._lane(entry), entry.plugin, self._voice_bytes)

    async def retire(self, entry: Entry) -> None:
        """End the thread of a model that is not loaded any more, if it was its own."""
        lane = self._own.pop(entry.id, None)
        if lane is not None:
            await lane.finish()

    async def close(self) -> None:
        """End every thread."""
        lanes = [*self._own.values(), *self._shared.values()]
        self._own.clear()
        self._shared.clear()
        for lane in lanes:
            await lane.finish()

    def _lane(self, entry: Entry) -> Lane:
        name = entry.engine.lane
        if name is not None:
            return self._shared.setdefault(name, Lane(name))
        lane = self._own[entry.id] = Lane(entry.id)
        return lane


def _specs(entry: Entry, voice_bytes: int) -> list[WorkerSpec]:
    isolation = entry.isolation
    assert isolation is not None
    return [
        WorkerSpec(
            model=entry.info,
            python=str(isolation.python) if isolation.python else None,
            engine=entry.info.engine,
            module=entry.module,
            distribution=entry.distribution,
            settings=entry.values,
            environment=isolation.environment(index),
            voice_bytes=voice_bytes,
        )
        for index in range(isolation.replicas)
    ]
