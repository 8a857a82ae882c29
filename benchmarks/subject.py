"""The server under test: unisono over echo engines, with a route that says what it holds."""

from __future__ import annotations

import gc
import os
import threading
import types
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager

from fastapi import FastAPI
from models import MODELS

from unisono import AudioChunk, Engine, Kernel, Settings, SpeechRequest, hookimpl
from unisono.api import create_app
from unisono.cli.serve import collect_rarely
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono.testing import echo

_open = 0
_counting = threading.Lock()


@contextmanager
def _counted() -> Iterator[None]:
    global _open  # noqa: PLW0603 - one process, one count
    with _counting:
        _open += 1
    try:
        yield
    finally:
        with _counting:
            _open -= 1


class CountedEcho(echo.EchoEngine):
    """An echo that counts the streams that it has not yet closed."""

    name = "counted_echo"

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {}

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        with _counted():
            yield from super().synthesize(request)


class CountedAsyncEcho(echo.AsyncEchoEngine):
    """The same on the event loop."""

    name = "counted_async_echo"

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {}

    async def synthesize(self, request: SpeechRequest) -> AsyncIterator[AudioChunk]:  # type: ignore[override]
        with _counted():
            async with aclosing(super().synthesize(request)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    yield chunk


class Probe:
    """The plugin that brings the counting engines and `GET /benchmark/state`."""

    @hookimpl
    def register_engines(self) -> list[type[Engine]]:
        return [CountedEcho, CountedAsyncEcho]

    @hookimpl
    def register_routes(self, app: FastAPI, kernel: Kernel) -> None:
        @app.get("/benchmark/state", include_in_schema=False)
        async def state(deep: bool = False) -> dict[str, int]:
            """`deep` also counts what the interpreter holds, which takes a while."""
            held = {
                "slots": sum(kernel.pool.loaded().values()),
                "streams": _open,
                "threads": _entries("/proc/self/task", threading.active_count()),
                "files": _entries("/dev/fd", 0),
            }
            return held | (_suspended() if deep else {})


def _entries(path: str, otherwise: int) -> int:
    return len(os.listdir(path)) if os.path.isdir(path) else otherwise


def _suspended() -> dict[str, int]:
    gc.collect()
    counted = (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType)
    found = Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, counted))
    return {f"suspended {kind.__name__}": found[kind.__name__] for kind in counted}


def create() -> FastAPI:
    plugins = PluginManager()  # only these, whatever else is installed
    plugins.add(echo, "echo")
    plugins.add(Probe(), "probe")
    models = {name: {"engine": engine, **settings} for name, (engine, settings) in MODELS.items()}
    app = create_app(Kernel(Config(models=models), plugins))
    collect_rarely()  # as `unisono serve` does
    return app
