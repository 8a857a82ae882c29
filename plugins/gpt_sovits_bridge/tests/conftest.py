"""Stubs of GPT-SoVITS servers, and unisono in front of them."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

import unisono.testing.cloner
import unisono.testing.echo
import unisono_gpt_sovits_bridge
from unisono import AudioChunk, Config, Kernel
from unisono.api import create_app
from unisono.plugins import PluginManager

sys.path.insert(0, str(Path(__file__).parent))
import gpt_sovits_stub

ENGINE = "gpt_sovits_bridge"
RATE = 32_000


@pytest.fixture(autouse=True, scope="session")
def _no_configuration_of_the_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("UNISONO_") or name.lower().endswith("_proxy"):
                patch.delenv(name)
        empty = tmp_path_factory.mktemp("empty")
        patch.setenv("XDG_CONFIG_HOME", str(empty))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.setattr("tempfile.tempdir", None)
        patch.chdir(empty)
        yield


@pytest.fixture(scope="session")
def ending() -> Iterator[list[Callable[[], None]]]:
    """Hold what waits for the servers that were told to end: each takes a tenth of a second."""
    waits: list[Callable[[], None]] = []
    yield waits
    for wait in waits:
        wait()


@pytest.fixture
def stub(
    ending: list[Callable[[], None]],
) -> Iterator[Callable[..., gpt_sovits_stub.StubServer]]:
    """Start stubs: stub(api="v1", version="v3", …)."""
    with ExitStack() as stack:

        def start(**options: Any) -> gpt_sovits_stub.StubServer:
            server = gpt_sovits_stub.StubServer(**options)
            stack.callback(server.end)
            ending.append(server.stop)
            return server

        yield start


@pytest.fixture
def closed_port() -> int:
    """Return a port that nobody listens at."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def wav() -> Callable[..., bytes]:
    """Make a recording: wav(seed, seconds); each seed is another voice."""

    def make(seed: int = 0, seconds: float = 4.0, rate: int = RATE) -> bytes:
        time_ = np.arange(round(seconds * rate)) / rate
        tone = np.cos(2 * np.pi * (200 + 30 * seed) * time_)
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, rate, len(tone), "NONE", ""))
            writer.writeframes((12_000 * tone).astype("<i2").tobytes())
        return file.getvalue()

    return make


def make_kernel(models: Mapping[str, Any], *plugins: str, **tables: Any) -> Kernel:
    """Make a kernel over the plugin, and others of unisono.testing: echo, cloner."""
    manager = PluginManager()
    for name in plugins:
        manager.add(getattr(unisono.testing, name), name)
    manager.add(unisono_gpt_sovits_bridge, ENGINE)
    configured = {name: {"engine": ENGINE, **table} for name, table in models.items()}
    return Kernel(Config.load(None, {"models": configured, **tables}), manager)


@pytest.fixture(name="make_kernel")
def make_kernel_fixture() -> Callable[..., Kernel]:
    return make_kernel


Say = Callable[..., np.ndarray]


@pytest.fixture
def run() -> Callable[..., Any]:
    """Do something with a kernel: run(settings or models, work)."""

    def run_(settings: Mapping[str, Any], work: Callable[[Kernel], Awaitable[Any]]) -> Any:
        models = {"clone": settings} if "urls" in settings else settings

        async def main() -> Any:
            async with make_kernel(models) as kernel:
                return await work(kernel)

        return asyncio.run(main())

    return run_


@pytest.fixture(scope="session")
def spoken(wav: Callable[..., bytes]) -> Callable[..., Awaitable[np.ndarray]]:
    """Speak with a kernel, and return all samples: await spoken(kernel, text, **fields)."""

    async def speak(
        kernel: Kernel, text: str = "Hello there.", *, seed_of_voice: int = 0, **fields: Any
    ) -> np.ndarray:
        if "voice" not in fields:
            voice = {"ref_audio": wav(seed_of_voice), "ref_text": "And so on."}
            fields = {**voice, "ref_language": "en", "language": "en", **fields}
        fields = {name: value for name, value in fields.items() if value is not None}
        fields.setdefault("model", "clone")
        chunks: AsyncIterator[AudioChunk] = kernel.speech(text, **fields)
        return np.concatenate([chunk.samples async for chunk in chunks])

    return speak


@pytest.fixture
def say(run: Callable[..., Any], spoken: Callable[..., Awaitable[np.ndarray]]) -> Say:
    """Speak with a kernel of its own, and return all samples: say(settings, text, **fields)."""

    def say_(settings: Mapping[str, Any], text: str = "Hello there.", **fields: Any) -> np.ndarray:
        samples: np.ndarray = run(settings, lambda kernel: spoken(kernel, text, **fields))
        return samples

    return say_


@pytest.fixture(scope="session")
def pitch_of() -> Callable[..., float]:
    """Return the strongest frequency, in hertz."""

    def estimate(samples: np.ndarray, rate: int = RATE) -> float:
        spectrum = np.abs(np.fft.rfft(samples, 2**18))
        return float(np.argmax(spectrum)) * rate / 2**18

    return estimate


class Server:
    """A unisono on a free port of the loopback interface, in a thread of this process."""

    def __init__(self, kernel: Kernel) -> None:
        config = uvicorn.Config(create_app(kernel), port=0, log_config=None, ws="none")
        config.timeout_graceful_shutdown = 2
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="test-server")
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert self._thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def end(self) -> None:
        """Begin to shut down."""
        self.http.close()
        self._server.should_exit = True

    def stop(self) -> None:
        """Shut down and wait for it."""
        self.end()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def serve(ending: list[Callable[[], None]]) -> Iterator[Callable[..., Server]]:
    """Start unisono: serve(models, *plugins, **tables)."""
    with ExitStack() as stack:

        def start(models: Mapping[str, Any], *plugins: str, **tables: Any) -> Server:
            server = Server(make_kernel(models, *plugins, **tables))
            stack.callback(server.end)
            ending.append(server.stop)
            return server

        yield start


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for what has no event: until(condition)."""

    def wait(condition: Callable[[], object], seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.005)

    return wait
