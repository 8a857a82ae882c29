"""The promises of the model's process, through the kernel that runs it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unisono import AudioChunk, EngineUnavailable, Kernel, RequestError

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes and signals"),
]

Children = Callable[..., set[int]]
MakeKernel = Callable[..., Kernel]
Until = Callable[..., Awaitable[None]]
SENTENCE = "go forward ten meters"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def listen(kernel: Kernel, samples: np.ndarray, **fields: Any) -> str:
    audio = AudioChunk(samples, 16_000)
    transcript = await kernel.transcribe(audio, model="pocketsphinx", **fields)
    return " ".join(segment.text for segment in transcript.segments)


async def test_the_event_loop_runs_on_while_the_model_loads_and_decodes(
    make_kernel: MakeKernel, babble: np.ndarray
) -> None:
    async with make_kernel() as kernel:
        work = asyncio.create_task(listen(kernel, babble[: 8 * 16_000]))
        gaps = []
        while not work.done():
            began = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - began)
        assert await work
    assert len(gaps) > 20
    assert max(gaps) < 0.5  # in this process the gap would be the decoding, 1 to 3 seconds


async def test_closing_the_stream_ends_the_decoding_and_frees_the_model(
    make_kernel: MakeKernel,
    children: Children,
    until: Until,
    goforward: np.ndarray,
    babble: np.ndarray,
) -> None:
    samples = np.concatenate([goforward, np.zeros(16_000, np.float32), np.tile(babble, 4)])
    async with make_kernel() as kernel:
        assert await listen(kernel, goforward) == SENTENCE
        call = kernel.prepare_transcription({"model": "pocketsphinx"})
        stream = await kernel.open_transcription(call, AudioChunk(samples, 16_000))
        assert (await anext(stream)).text == SENTENCE
        (worker,) = children()
        await asyncio.sleep(0.1)  # the second utterance, which takes many seconds, has begun
        await stream.aclose()
        assert not kernel.pool.loaded()["pocketsphinx"], "the slot is still taken"
        assert await listen(kernel, goforward) == SENTENCE
        await until(lambda: worker not in children(), seconds=1)


async def test_a_dead_worker_fails_its_request_only(
    make_kernel: MakeKernel, children: Children, goforward: np.ndarray, babble: np.ndarray
) -> None:
    async with make_kernel() as kernel:
        assert await listen(kernel, goforward) == SENTENCE
        (worker,) = children()
        work = asyncio.create_task(listen(kernel, babble))
        await asyncio.sleep(0.2)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(EngineUnavailable, match="Send the request again"):
            await work
        assert await listen(kernel, goforward) == SENTENCE


async def test_a_worker_that_died_between_requests_is_replaced_unnoticed(
    make_kernel: MakeKernel, children: Children, until: Until, goforward: np.ndarray
) -> None:
    async with make_kernel() as kernel:
        assert await listen(kernel, goforward) == SENTENCE
        (worker,) = children()
        os.kill(worker, signal.SIGKILL)
        await until(lambda: children() - {worker})
        assert await listen(kernel, goforward) == SENTENCE


async def test_unloading_leaves_no_process_and_closing_no_thread(
    make_kernel: MakeKernel, children: Children, until: Until, goforward: np.ndarray
) -> None:
    threads = threading.active_count()
    async with make_kernel() as kernel:
        for _ in range(2):
            assert await listen(kernel, goforward) == SENTENCE
            assert len(children()) == 1
            assert await kernel.pool.unload("pocketsphinx")
            assert children() == set()
    await until(lambda: threading.active_count() <= threads)


async def test_options_and_errors_come_through(
    make_kernel: MakeKernel, goforward: np.ndarray
) -> None:
    head = "#JSGF V1.0; grammar robot; public <move> = "
    async with make_kernel() as kernel:
        grammar = head + "go (forward | backward) (two | ten) meters;"
        assert await listen(kernel, goforward, grammar=grammar) == SENTENCE
        assert await listen(kernel, goforward, keyphrases=["meters"]) == "meters"
        for wrong in ("go <nowhere>;", "frobnicate;", "go (;"):
            with pytest.raises(RequestError) as caught:
                await listen(kernel, goforward, grammar=head + wrong)
            assert caught.value.param == "grammar"
        assert await listen(kernel, goforward) == SENTENCE


async def test_utterances_arrive_one_by_one(
    make_kernel: MakeKernel, goforward: np.ndarray, babble: np.ndarray
) -> None:
    samples = np.concatenate([goforward, np.zeros(16_000, np.float32), babble[: 8 * 16_000]])
    async with make_kernel() as kernel:
        call = kernel.prepare_transcription({"model": "pocketsphinx"})
        stream = await kernel.open_transcription(call, AudioChunk(goforward, 16_000))
        async for segment in stream:
            assert segment.text == SENTENCE
        stream = await kernel.open_transcription(call, AudioChunk(samples, 16_000))
        began = time.monotonic()
        assert (await anext(stream)).text == SENTENCE
        waited = time.monotonic() - began
        async for _ in stream:
            pass
        assert waited < (time.monotonic() - began) / 2


async def test_the_operator_may_run_it_on_a_thread(
    make_kernel: MakeKernel, children: Children, goforward: np.ndarray
) -> None:
    async with make_kernel(runner="thread") as kernel:
        assert await listen(kernel, goforward) == SENTENCE
        assert children() == set()


async def test_a_model_that_cannot_be_loaded_makes_the_engine_unavailable(
    make_kernel: MakeKernel,
    children: Children,
    until: Until,
    tmp_path: Path,
    goforward: np.ndarray,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "unisono.worker.pocketsphinx")
    async with make_kernel(acoustic_model=str(tmp_path)) as kernel:
        with pytest.raises(EngineUnavailable, match="server's log") as caught:
            await listen(kernel, goforward)
        assert str(tmp_path) not in str(caught.value)
        await until(lambda: any(str(tmp_path) in record.message for record in caplog.records))
    assert children() == set()


SERVER = """
import asyncio, sys
import numpy as np
import unisono_pocketsphinx
from unisono import AudioChunk, Config, Kernel
from unisono.plugins import PluginManager
async def main():
    plugins = PluginManager()
    plugins.add(unisono_pocketsphinx, "pocketsphinx")
    babble = np.load(sys.argv[1])
    async with Kernel(Config(), plugins) as kernel:
        short, long = AudioChunk(babble[:8000], 16000), AudioChunk(babble, 16000)
        await kernel.transcribe(short, model="pocketsphinx")
        asyncio.get_running_loop().call_later(0.3, lambda: print("busy", flush=True))
        await kernel.transcribe(long, model="pocketsphinx")
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it finishes its utterance first")
def test_a_busy_worker_dies_with_its_server(
    tmp_path: Path, children: Children, babble: np.ndarray
) -> None:
    np.save(tmp_path / "babble.npy", babble)
    command = [sys.executable, "-c", SERVER, str(tmp_path / "babble.npy")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"busy\n"
        (worker,) = children(server.pid)
        server.kill()
    deadline = time.monotonic() + 2
    while not is_gone(worker):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; init may be slow to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
