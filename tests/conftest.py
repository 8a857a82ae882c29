"""Servers and kernels over engines that cost nothing."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
import wave
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
import uvicorn

from unisono import Engine, Kernel, hookimpl
from unisono.api import create_app
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono.testing import echo


@pytest.fixture(autouse=True, scope="session")
def _no_configuration_of_the_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests from reading a unisono.toml or UNISONO_ variables of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("UNISONO_")]:
            patch.delenv(name)
        empty = tmp_path_factory.mktemp("empty")
        patch.setenv("XDG_CONFIG_HOME", str(empty))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.chdir(empty)
        yield


@pytest.fixture
def anyio_backend() -> str:
    """Run `@pytest.mark.anyio` tests on asyncio."""
    return "asyncio"


def make_kernel(
    overrides: Mapping[str, Any] | None = None, plugins: Mapping[str, object] | None = None
) -> Kernel:
    """Return a kernel over the echo engines and further plugins, whatever else is installed."""
    manager = PluginManager()
    for name, plugin in {"echo": echo, **(plugins or {})}.items():
        manager.add(plugin, name)
    return Kernel(Config.load(None, overrides), manager)


class Server:
    """A real server on a free port of the loopback interface, in a thread of this process."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        config = uvicorn.Config(
            create_app(kernel),
            port=0,
            log_config=None,
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="test-server")
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            assert self._thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.port: int = port

    def stop(self) -> None:
        """Shut down and wait for it."""
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def serving(kernel: Kernel) -> Iterator[Server]:
    """Serve a kernel."""
    server = Server(kernel)
    try:
        yield server
    finally:
        server.stop()


class Provider:
    """A plugin that provides engines."""

    def __init__(self, *engines: type[Engine]) -> None:
        self._engines = engines

    @hookimpl
    def register_engines(self) -> tuple[type[Engine], ...]:
        """Provide them."""
        return self._engines


@pytest.fixture
def providing() -> type[Provider]:
    """Return what makes a plugin of engine classes: providing(FirstEngine, SecondEngine)."""
    return Provider


@pytest.fixture(name="make_kernel")
def make_kernel_fixture() -> Callable[..., Kernel]:
    """Return the function that makes kernels: make_kernel(overrides, plugins)."""
    return make_kernel


def _serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts servers: serve(overrides, plugins) or serve(kernel=...)."""
    with ExitStack() as stack:

        def start(
            overrides: Mapping[str, Any] | None = None,
            plugins: Mapping[str, object] | None = None,
            kernel: Kernel | None = None,
        ) -> Server:
            return stack.enter_context(serving(kernel or make_kernel(overrides, plugins)))

        yield start


serve = pytest.fixture(_serve, name="serve")
module_serve = pytest.fixture(_serve, name="module_serve", scope="module")


@pytest.fixture(scope="session")
def echo_server() -> Iterator[Server]:
    """One server with the default configuration for all tests that only talk to it."""
    with serving(make_kernel()) as server:
        yield server


@pytest.fixture
def http(echo_server: Server) -> Iterator[httpx.Client]:
    """Return an HTTP client of `echo_server`."""
    with httpx.Client(base_url=echo_server.url, timeout=30) as client:
        yield client


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a configuration file."""

    def write(text: str) -> Path:
        path = tmp_path / "unisono.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def wav() -> Callable[..., bytes]:
    """Return a function that makes WAV files of a tone: wav(seconds, silent={1, 3})."""

    def make(seconds: float = 1.0, silent: Collection[int] = (), rate: int = 16_000) -> bytes:
        time_ = np.arange(round(seconds * rate))
        tone = (8000 * np.sin(time_ * (2 * np.pi * 220 / rate))).astype("<i2")
        for second in silent:
            tone[second * rate : (second + 1) * rate] = 0
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, rate, len(tone), "NONE", ""))
            writer.writeframes(tone.tobytes())
        return file.getvalue()

    return make


@pytest.fixture(scope="session")
def speech_wav() -> Callable[..., bytes]:
    """Return a function that makes WAV files of chirps: speech_wav(3, seed=1)."""

    def make(seconds: float = 2.0, seed: int = 0, rate: int = 24_000) -> bytes:
        time_ = np.arange(round(seconds * rate)) / rate
        sweep = np.sin(2 * np.pi * (150 + 40 * seed + 60 * time_) * time_)
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, rate, len(sweep), "NONE", ""))
            writer.writeframes((12_000 * sweep).astype("<i2").tobytes())
        return file.getvalue()

    return make


@pytest.fixture(scope="session")
def hear() -> Callable[[bytes, str], tuple[int, np.ndarray]]:
    """Return a function that decodes speech with FFmpeg: hear(data, format) → rate, samples."""

    def decode(data: bytes, format: str) -> tuple[int, np.ndarray]:
        if format == "pcm":
            return 24_000, np.frombuffer(data, "<i2") / np.float32(32768)
        with av.open(io.BytesIO(data)) as container:
            resampler = av.AudioResampler("flt", "mono")
            frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
            rate = container.streams.audio[0].rate
        return rate, np.concatenate([frame.to_ndarray()[0] for frame in frames])

    return decode


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Return a function that waits for what has no event: await until(condition)."""

    async def wait(condition: Callable[[], object], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            await asyncio.sleep(0.001)

    return wait
