"""A real unisono as the upstream, another one in front of it, and a server that misbehaves."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import uvicorn

import unisono.testing.cloner
import unisono.testing.echo
import unisono_openai_bridge
from unisono import AudioChunk, Config, Kernel
from unisono.api import create_app
from unisono.plugins import PluginManager

sys.path.insert(0, str(Path(__file__).parent))
from openai_stub import Stub, openai_stub

KEY = "sk-upstream-1234567890abcdef"


@pytest.fixture(autouse=True, scope="session")
def _no_configuration_of_the_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("UNISONO_")]:
            patch.delenv(name)
        for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            patch.delenv(proxy, raising=False)
            patch.delenv(proxy.lower(), raising=False)
        empty = tmp_path_factory.mktemp("empty")
        patch.setenv("XDG_CONFIG_HOME", str(empty))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.chdir(empty)
        yield


class Server:
    """A unisono on a free port of the loopback interface, in a thread of this process."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        config = uvicorn.Config(
            create_app(kernel), port=0, log_config=None, access_log=False, ws="none"
        )
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
        self.url = f"http://127.0.0.1:{port}/v1"

    def client(self, key: str = "none") -> openai.OpenAI:
        """Return a client of OpenAI's SDK, which tries nothing twice."""
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=30)

    def stop(self) -> None:
        """Shut down and wait for it."""
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def serving(config: Mapping[str, Any], plugins: Mapping[str, object]) -> Iterator[Server]:
    manager = PluginManager()
    for name, plugin in plugins.items():
        manager.add(plugin, name)
    server = Server(Kernel(Config.load(None, config), manager))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def upstream() -> Iterator[Server]:
    """Return a server that wants KEY, with models that echo, clone and write."""
    config = {
        "server": {"api_keys": [KEY]},
        "models": {
            "slow": {"engine": "async_echo", "rtf": 1.0},
            "narrow": {"engine": "echo", "sample_rate": 16_000},
            "sure": {"engine": "echo_transcriber", "features": ["logprobs"]},
            "meeting": {
                "engine": "echo_transcriber",
                "features": ["diarization", "known_speakers"],
            },
        },
    }
    plugins = {"echo": unisono.testing.echo, "cloner": unisono.testing.cloner}
    with serving(config, plugins) as server:
        yield server


@pytest.fixture(scope="session")
def front(upstream: Server) -> Iterator[Server]:
    """Return a server that has nothing but models of `upstream`."""
    there = {"base_url": upstream.url, "api_key": KEY}
    speech = {**there, "engine": "openai_speech"}
    models = {
        "voice": {
            **speech,
            "model": "echo",
            "voices": ["near", "far"],
            "features": ["speed", "long_text", "word_timestamps"],
            "client_fields": ["gain", "fail_after"],
        },
        "slow": {**speech, "model": "slow", "features": ["long_text"]},
        "clone": {
            **speech,
            "model": "cloner",
            "features": ["voice_cloning", "prompt_text_required"],
        },
        "narrow": {**speech, "model": "echo", "sample_rate": 16_000},
        "scribe": {
            **there,
            "engine": "openai_transcription",
            "model": "echo-transcriber",
            "features": ["word_timestamps"],
        },
        "sure": {
            **there,
            "engine": "openai_transcription",
            "model": "sure",
            "features": ["logprobs"],
        },
        "meeting": {
            **there,
            "engine": "openai_transcription",
            "model": "meeting",
            "response_format": "diarized_json",
            "features": ["diarization", "known_speakers"],
        },
    }
    with serving({"models": models}, {"openai_bridge": unisono_openai_bridge}) as server:
        yield server


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Return a server that answers with a tenth of a second of audio until told otherwise."""
    with openai_stub() as told:
        yield told


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that serves models of the bridge: serve(voice={...}) → Server."""
    with ExitStack() as stack:

        def start(**models: Mapping[str, Any]) -> Server:
            plugins = {"openai_bridge": unisono_openai_bridge}
            return stack.enter_context(serving({"models": models}, plugins))

        yield start


@pytest.fixture
def kernel_of() -> Callable[..., Kernel]:
    """Return a function that makes a kernel with one model `m`: kernel_of("openai_speech", …)."""

    def make(engine: str, limits: Mapping[str, Any] | None = None, **settings: Any) -> Kernel:
        manager = PluginManager()
        manager.add(unisono_openai_bridge, "openai_bridge")
        table = {"model": "there", **settings, "engine": engine}
        return Kernel(Config.load(None, {"models": {"m": table}, "limits": limits or {}}), manager)

    return make


@pytest.fixture
def speak(kernel_of: Callable[..., Kernel], stub: Stub) -> Callable[..., np.ndarray]:
    """Return a function that speaks through the stub: speak({settings}, field=…) → samples."""

    def say(
        settings: Mapping[str, Any] | None = None, text: str = "Hello there", **fields: Any
    ) -> np.ndarray:
        async def main() -> np.ndarray:
            values = {"base_url": stub.url, "api_key": KEY, **(settings or {})}
            async with kernel_of("openai_speech", **values) as kernel:
                stream = kernel.speech(text, **fields)
                return np.concatenate([chunk.samples async for chunk in stream])

        return asyncio.run(main())

    return say


@pytest.fixture
def write(kernel_of: Callable[..., Kernel], stub: Stub) -> Callable[..., Any]:
    """Return a function that transcribes silence by the stub: write({settings}) → Transcript."""

    def transcribe(
        settings: Mapping[str, Any] | None = None, seconds: float = 3.0, **fields: Any
    ) -> Any:
        async def main() -> Any:
            values = {"base_url": stub.url, "api_key": KEY, **(settings or {})}
            audio = AudioChunk(np.zeros(round(seconds * 16_000), np.float32), 16_000)
            async with kernel_of("openai_transcription", **values) as kernel:
                return await kernel.transcribe(audio, **fields)

        return asyncio.run(main())

    return transcribe


@pytest.fixture(scope="session")
def wav() -> Callable[..., bytes]:
    """Return a function that makes WAV files of a sweep: wav(2.0, rate=24_000)."""

    def make(seconds: float = 2.0, rate: int = 24_000) -> bytes:
        time_ = np.arange(round(seconds * rate)) / rate
        sweep = np.sin(2 * np.pi * (150 + 60 * time_) * time_)
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, rate, len(sweep), "NONE", ""))
            writer.writeframes((12_000 * sweep).astype("<i2").tobytes())
        return file.getvalue()

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Return a function that waits for what has no event: until(condition)."""

    def wait(condition: Callable[[], object], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def key() -> str:
    """Return the key that the upstream wants."""
    return KEY
