"""Models in processes of their own: the same answers, and their accidents stay there."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest

from unisono import (
    AudioChunk,
    ConfigError,
    EngineFailed,
    EngineUnavailable,
    Kernel,
    PromptError,
    RequestError,
    SpeechRequest,
    Turn,
    VoicePrompt,
    hookimpl,
)
from unisono.testing import batched, cloner, echo
from unisono.wire import pack, reader

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes and signals"),
]

TROUBLE = '''
"""A plugin that does what it is told, bad things too."""

import ctypes
import logging
import os
import re
import subprocess
import sys
import time
from asyncio import CancelledError

import numpy as np
from pydantic import Field

from unisono import AudioChunk, Engine, EngineUnavailable, ModelInfo, Params, Settings, Task
from unisono import hookimpl


class TroubleParams(Params):
    then: str = Field("end", description="What to do after the first chunk.")
    times: list[int] = Field([], description="Any numbers.")


class TroubleSettings(Settings):
    at_load: str = Field("nothing", description="What to do while loading.")
    secret: str = Field("none", description="Anything.")


class TroubleEngine(Engine):
    """Causes trouble."""

    name = "trouble"
    params_type = TroubleParams
    settings_type = TroubleSettings

    @classmethod
    def describe(cls, settings):
        return ModelInfo(Task.SPEECH, sample_rate=8000, languages=("en",))

    def load(self):
        if self.settings.at_load == "exit":
            os._exit(3)
        if self.settings.at_load == "refuse":
            raise EngineUnavailable("There are no weights; run: get-weights")
        if self.settings.at_load == "raise":
            raise KeyError("weights")

    def synthesize(self, request):
        number = float(os.environ.get("TROUBLE_NUMBER", os.getpid()))
        yield AudioChunk(np.full(800, 0.25, np.float32), 8000)
        match request.params.then:
            case "number":
                yield AudioChunk(np.full(800, number / 2**24, np.float32), 8000)
            case "exit":
                os._exit(3)
            case "segfault":
                ctypes.string_at(0)
            case "raise":
                raise RuntimeError("trouble")
            case "print":
                print("printed by Python", flush=True)
                os.write(1, b"printed by C\\n")
                logging.getLogger("trouble").warning("logged")
                time.sleep(0.1)
            case "hold":  # a regular expression that takes minutes, and the interpreter with it
                time.sleep(0.1)  # so that the first chunk is sent before
                re.match("(a|a?)+$", "a" * 40 + "b")
            case "long":
                for _ in range(1000):
                    time.sleep(0.005)
                    yield AudioChunk(np.full(800, 0.25, np.float32), 8000)
            case "read":  # as ffmpeg does, of which one forgot to say that it should not
                subprocess.run(["cat"], check=True, timeout=5)
            case "quote":
                raise EngineUnavailable(f"There is no {os.fsdecode(bytes([255]))!s}.")
            case "leave":
                child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
                yield AudioChunk(np.full(800, child.pid / 2**24, np.float32), 8000)


class CancelledEngine(TroubleEngine):
    """Ends as a client's timeout sometimes does that an engine did not catch."""

    name = "cancelled"

    async def synthesize(self, request):
        yield AudioChunk(np.full(800, 0.25, np.float32), 8000)
        raise CancelledError


@hookimpl
def register_engines():
    return [TroubleEngine, CancelledEngine]
'''


@pytest.fixture(scope="module")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A plugin that a worker process finds where this one does."""
    folder = tmp_path_factory.mktemp("trouble")
    (folder / "unisono_trouble.py").write_text(TROUBLE)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("unisono_trouble")
    sys.path.remove(str(folder))


@pytest.fixture
def isolated(make_kernel, trouble: ModuleType) -> Callable[..., Kernel]:
    """Return what makes a kernel with one isolated model: isolated("echo", replicas=2)."""

    def make(engine: str = "trouble", limits: Any = None, **table: Any) -> Kernel:
        overrides = {
            "models": {"it": {"engine": engine, "runner": "process", **table}},
            "limits": limits or {},
        }
        plugins = {"trouble": trouble, "cloner": cloner, "batched": batched}
        return make_kernel(overrides, plugins)

    return make


async def hear(kernel: Kernel, text: str = "One.", **fields: Any) -> np.ndarray:
    chunks = [chunk async for chunk in kernel.speech(text, model="it", **fields)]
    return np.concatenate([chunk.samples for chunk in chunks])


def workers(server: int = os.getpid()) -> set[int]:
    """Return the pids of a process's children that live."""
    lists = Path(f"/proc/{server}/task").glob("*/children")
    pids = [pid for each in lists for pid in each.read_text().split()]
    return {int(pid) for pid in pids if "\nState:\tZ" not in _status(pid)}


def _status(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "\nState:\tZ"


# The same answers


@pytest.mark.parametrize("engine", ["echo", "async_echo", "batched_echo"])
async def test_an_isolated_model_says_the_same(isolated, engine: str) -> None:
    texts = [" ".join(["word"] * count) for count in range(1, 12)]
    async with isolated(engine) as kernel:
        heard = await asyncio.gather(*(hear(kernel, text) for text in texts))
    for text, samples in zip(texts, heard, strict=True):
        assert np.array_equal(samples, echo.expected(text))


async def test_words_options_and_errors_of_options_come_through(isolated) -> None:
    async with isolated("echo") as kernel:
        stream = kernel.speech("One two.", model="it", word_timestamps=True, gain=0.5)
        chunks = [chunk async for chunk in stream]
        words = [word.text for chunk in chunks for word in chunk.words]
        assert words == ["One", "two."]
        samples = np.concatenate([chunk.samples for chunk in chunks])
        assert np.allclose(samples, echo.expected("One two.") / 2)
        with pytest.raises(RequestError) as caught:
            await hear(kernel, gain=-1)
        assert caught.value.param == "gain"


async def test_a_number_of_any_size_is_for_the_engine_to_judge(isolated) -> None:
    async with isolated() as kernel:
        assert len(await hear(kernel, times=[2**70])) == 800


async def test_a_voice_is_sent_once_however_many_turns_it_has() -> None:
    recording = AudioChunk(np.zeros(24_000, np.float32), 24_000)
    near = VoicePrompt(audio=recording, path=Path("near.wav"))
    turns = (Turn("One.", near), Turn("Two.", VoicePrompt("far"))) * 20
    message = pack("speak", 1, SpeechRequest(turns))
    assert len(message) < 2 * recording.samples.nbytes
    messages = reader()
    messages.feed(message)
    ((_, _, request),) = messages
    assert [turn.text for turn in request.turns] == ["One.", "Two."] * 20
    assert [turn.voice.preset for turn in request.turns] == [None, "far"] * 20
    assert np.array_equal(request.turns[2].voice.audio.samples, recording.samples)
    assert request.turns[2].voice.path == Path("near.wav")
    assert request.turns[0].voice is request.turns[2].voice


async def test_an_isolated_model_clones_and_keeps_what_it_prepared(isolated, speech_wav) -> None:
    async with isolated("cloner", prepare_seconds=0.3) as kernel:
        fields = {"ref_audio": speech_wav(), "ref_text": "What it says."}
        first = await hear(kernel, **fields)
        began = time.monotonic()
        assert np.array_equal(await hear(kernel, **fields), first)
        assert time.monotonic() - began < 0.25
        assert await kernel.forget_voices() == 2
        with pytest.raises(PromptError) as caught:
            await hear(kernel, ref_audio=speech_wav())
        assert caught.value.param == "ref_text"


async def test_a_long_recording_reaches_an_isolated_transcriber(isolated) -> None:
    seconds = 600  # 38 MB, in many blocks
    audio = AudioChunk(np.full(seconds * 16_000, 0.1, np.float32), 16_000)
    async with isolated("echo_transcriber", max_audio_seconds=3600) as kernel:
        transcript = await kernel.transcribe(audio, model="it")
    assert len(transcript.segments) == seconds
    assert transcript.segments[-1].text == f"second {seconds - 1}."


async def test_a_slow_reader_holds_back_only_its_own_stream(isolated) -> None:
    async with isolated("async_echo") as kernel:
        slow = kernel.speech(" ".join(["word"] * 4000), model="it")
        await anext(slow)
        await asyncio.sleep(0.2)
        assert np.array_equal(await hear(kernel, "One two."), echo.expected("One two."))
        rest = [chunk async for chunk in slow]
        assert sum(chunk.seconds for chunk in rest) > 990


# Trouble


@pytest.mark.parametrize("then", ["exit", "segfault"])
async def test_a_crash_fails_its_request_and_the_next_one_succeeds(
    isolated, then: str, until
) -> None:
    before = workers()
    async with isolated() as kernel:
        fate = r"(died of SIGSEGV|ended with status 3)"
        with pytest.raises(EngineUnavailable, match=fate) as caught:
            await hear(kernel, then=then)
        assert caught.value.retry_after
        assert len(await hear(kernel)) == 800
    await until(lambda: workers() <= before)


async def test_an_error_that_quotes_a_path_of_any_bytes_arrives(isolated) -> None:
    async with isolated() as kernel:
        with pytest.raises(EngineUnavailable, match="There is no"):
            await asyncio.wait_for(hear(kernel, then="quote"), 20)


async def test_an_exception_there_is_an_engines_failure_here(isolated) -> None:
    async with isolated() as kernel:
        with pytest.raises(EngineFailed, match="RuntimeError"):
            await hear(kernel, then="raise")
        assert len(await hear(kernel)) == 800


async def test_what_is_printed_and_logged_there_is_logged_here_under_the_models_name(
    isolated, caplog: pytest.LogCaptureFixture, until
) -> None:
    caplog.set_level(logging.INFO, "unisono.worker.it")
    async with isolated() as kernel:
        assert len(await hear(kernel, then="print")) == 800
        wanted = {"printed by Python", "printed by C", "trouble: logged"}
        await until(lambda: wanted <= {record.getMessage() for record in caplog.records})
    assert {record.name for record in caplog.records if "printed" in record.getMessage()} == {
        "unisono.worker.it"
    }


async def test_killing_the_worker_again_and_again_hurts_only_who_is_served_by_it(
    isolated, until, monkeypatch
) -> None:
    monkeypatch.setattr("unisono.replicas.HEALTHY_SECONDS", 0.0)  # the pauses have their own test
    before = workers()
    text = " ".join(["word"] * 40)
    expected = echo.expected(text)
    counts = {"chunks": 0, "heard": 0, "refused": 0}
    stop = False

    async def client(kernel: Kernel) -> None:
        while not stop:
            parts = []
            try:
                async for chunk in kernel.speech(text, model="it"):
                    counts["chunks"] += 1
                    parts.append(chunk.samples)
            except EngineUnavailable:
                counts["refused"] += 1
            else:
                assert np.array_equal(np.concatenate(parts), expected), "wrong audio"
                counts["heard"] += 1

    async def next_(count: str) -> None:
        now = counts[count]
        await until(lambda: counts[count] > now)

    async with isolated("async_echo", rtf=0.02) as kernel:
        clients = [asyncio.create_task(client(kernel)) for _ in range(8)]
        for _ in range(20):
            await next_("chunks")
            for pid in workers() - before:
                os.kill(pid, signal.SIGKILL)
            await next_("refused")
        stop = True
        done, waiting = await asyncio.wait(clients, timeout=30)
        assert not waiting, "a client hangs"
        for task in done:
            task.result()
        assert np.array_equal(await hear(kernel, text), expected)
    assert counts["refused"] >= 20
    assert counts["heard"] >= 8
    await until(lambda: workers() <= before)


async def test_a_model_that_keeps_dying_is_started_after_longer_and_longer_pauses(
    isolated,
) -> None:
    async with isolated() as kernel:
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(EngineUnavailable):
                await hear(kernel, then="exit")
        assert len(await hear(kernel)) == 800
        # At once, after half a second, after a second.
        assert time.monotonic() - began > 1.5


async def test_an_engine_that_is_slow_to_notice_who_left_goes_on_for_the_others(
    isolated, until
) -> None:
    before = workers()
    text = " ".join(["word"] * 20)
    async with isolated("batched_echo", step_seconds=0.01) as kernel:
        await hear(kernel)
        (first,) = workers() - before
        staying = asyncio.create_task(hear(kernel, text))
        leaving = kernel.speech(text, model="it")
        await anext(leaving)
        os.kill(first, signal.SIGSTOP)  # as if it held the interpreter
        await leaving.aclose()
        await asyncio.sleep(1.5)
        os.kill(first, signal.SIGCONT)
        assert np.array_equal(await staying, echo.expected(text))
        assert first in workers()


async def test_who_waits_for_a_model_that_cannot_start_again_is_told(
    isolated, monkeypatch, until
) -> None:
    before = workers()

    async def exhausted(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async with isolated() as kernel:
        await hear(kernel)
        with monkeypatch.context() as patch:
            patch.setattr("unisono.process.Child.start", exhausted)
            for pid in workers() - before:
                os.kill(pid, signal.SIGKILL)
            await until(lambda: not workers() - before)
            with pytest.raises(EngineUnavailable):
                await asyncio.wait_for(hear(kernel), 10)
        for _ in range(100):
            try:
                assert len(await asyncio.wait_for(hear(kernel), 10)) == 800
                break
            except EngineUnavailable:
                await asyncio.sleep(0.1)
        else:
            pytest.fail("it never started again")


async def test_an_engine_that_does_not_stop_is_stopped_with_its_process(isolated, until) -> None:
    before = workers()
    async with isolated() as kernel:
        await hear(kernel)
        (first,) = workers() - before
        stream = kernel.speech("One.", model="it", then="hold")
        await anext(stream)
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await stream.aclose()
        assert time.monotonic() - began < 0.2, "the slot is free at once"
        assert len(await hear(kernel)) == 800
        await until(lambda: first not in workers())


async def test_who_leaves_at_once_disturbs_nobody(isolated, until) -> None:
    before = workers()
    text = " ".join(["word"] * 40)
    async with isolated("batched_echo", step_seconds=0.02) as kernel:
        await hear(kernel)
        (first,) = workers() - before
        staying = asyncio.create_task(hear(kernel, text))
        await asyncio.sleep(0.1)
        for _ in range(20):  # question and cancellation arrive together
            leaving = asyncio.create_task(hear(kernel, text))
            await until(lambda: kernel.pool.loaded()["it"] == 2)
            leaving.cancel()
            await asyncio.wait([leaving])
        assert np.array_equal(await staying, echo.expected(text))
        await asyncio.sleep(1.2)  # longer than an engine may take to stop
        assert first in workers()


async def test_what_an_engine_starts_cannot_read_what_the_server_says(isolated) -> None:
    async with isolated() as kernel:
        assert len(await hear(kernel, then="read")) == 800


async def test_what_an_engine_started_ends_with_its_model(isolated, until) -> None:
    async with isolated() as kernel:
        samples = await hear(kernel, then="leave")
        child = round(float(samples[-1]) * 2**24)
        assert "sleep" in _status(str(child))
        await kernel.pool.unload("it")
    await until(lambda: "\nState:\tZ" in _status(str(child)))


async def test_an_engine_that_cancels_itself_does_not_pass_for_one_that_ended(isolated) -> None:
    async with isolated("cancelled") as kernel:
        with pytest.raises(EngineFailed, match="CancelledError"):
            await hear(kernel)


async def test_leaving_stops_the_engine_there(isolated, until) -> None:
    async with isolated() as kernel:
        stream = kernel.speech("One.", model="it", then="long")
        await anext(stream)
        await stream.aclose()
        began = time.monotonic()
        assert len(await hear(kernel)) == 800
        assert time.monotonic() - began < 2, "it waited for five seconds of speech"


async def test_unloading_ends_the_process(isolated, until) -> None:
    before = workers()
    async with isolated() as kernel:
        await hear(kernel)
        assert workers() > before
        assert await kernel.pool.unload("it")
        assert workers() == before
        assert len(await hear(kernel)) == 800


SERVER = """
import asyncio, sys
from unisono import Kernel
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono.testing import echo
async def main():
    plugins = PluginManager()
    plugins.add(echo, "echo")
    models = {"it": {"engine": "echo", "runner": "process", "replicas": 2}}
    async with Kernel(Config(models=models), plugins) as kernel:
        async for _ in kernel.speech("One.", model="it"):
            pass
        print("ready", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_worker_never_outlives_its_server() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE) as server:
        assert server.stdout
        assert server.stdout.readline() == b"ready\n"
        children = workers(server.pid)
        assert len(children) == 2
        server.kill()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Replicas


async def test_replicas_share_the_requests_and_have_variables_of_their_own(isolated) -> None:
    env = {"TROUBLE_NUMBER": ["3", "5"], "OTHER": "1"}
    async with isolated(replicas=2, env=env) as kernel:
        heard = await asyncio.gather(*(hear(kernel, then="number") for _ in range(8)))
    numbers = [round(float(samples[-1]) * 2**24) for samples in heard]
    assert set(numbers) == {3, 5}


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"runner": "thread", "replicas": 2}, "replicas"),
        ({"replicas": 2, "env": {"A": ["1"]}}, "env.A"),
        ({"replicas": 0}, "replicas"),
        ({"runner": "rocket"}, "runner"),
    ],
)
def test_a_wrong_deployment_is_a_mistake_in_the_configuration(
    isolated, table: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        isolated(**table)


@pytest.mark.parametrize("table", [{"replicas": 2}, {"env": {"A": "1"}}])
def test_what_has_no_effect_on_a_thread_is_a_mistake(make_kernel, table: dict[str, Any]) -> None:
    (key,) = table
    with pytest.raises(ConfigError, match=rf"models\.it\.{key}"):
        make_kernel({"models": {"it": {"engine": "echo", **table}}})


def test_where_processes_cannot_be_talked_to_models_run_on_threads(
    isolated, make_kernel, monkeypatch
) -> None:
    monkeypatch.setattr("unisono.entries._PROCESSES", False)
    with pytest.raises(ConfigError, match="need Linux or macOS"):
        isolated("echo")

    class Shy(echo.EchoEngine):
        name = "shy"
        runner = "process"

        @classmethod
        def presets(cls) -> dict[str, Any]:
            return {"shy": echo.EchoSettings()}

    class Plugin:
        @hookimpl
        def register_engines(self) -> list[type[echo.EchoEngine]]:
            return [Shy]

    assert make_kernel(None, {"shy": Plugin()}).catalog.get("shy").isolation is None


# What does not start


@pytest.mark.parametrize(
    ("at_load", "message"),
    [("exit", "status 3"), ("refuse", "run: get-weights"), ("raise", "KeyError")],
)
async def test_a_model_that_does_not_load_says_why(
    isolated, at_load: str, message: str, until
) -> None:
    before = workers()
    async with isolated(at_load=at_load) as kernel:
        with pytest.raises(EngineUnavailable, match=message):
            await hear(kernel)
    await until(lambda: workers() <= before)


async def test_an_interpreter_that_is_none_is_named(isolated, tmp_path: Path) -> None:
    async with isolated(python=str(tmp_path / "python")) as kernel:
        with pytest.raises(EngineUnavailable, match="python"):
            await hear(kernel)


@pytest.fixture(scope="module")
def other_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return what makes a virtualenv that sees some of this one's packages, and others."""

    def make(name: str, *, core: bool = True, plugin: bool = True) -> Path:
        folder = tmp_path_factory.mktemp(name)
        venv.create(folder, symlinks=True, with_pip=False)
        (site,) = folder.glob("lib/python*/site-packages")
        if core:
            here = [path for path in sys.path if path.endswith("site-packages")]
            source = Path(importlib.import_module("unisono").__file__ or "").parents[1]
            (site / "here.pth").write_text("\n".join([str(source), *here]))
        if plugin:
            (site / "unisono_elsewhere.py").write_text(
                TROUBLE.replace('"trouble"', '"elsewhere"', 1)
            )
            info = site / "unisono_elsewhere-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text("[unisono]\nelsewhere = unisono_elsewhere\n")
        return folder / "bin" / "python"

    return make


def test_an_environment_is_asked_with_the_variables_of_its_processes(
    make_kernel, other_environment, trouble
) -> None:
    (site,) = other_environment("full").parents[1].glob("lib/python*/site-packages")
    table = {"engine": "elsewhere", "python": str(other_environment("bare", plugin=False))}
    with pytest.raises(ConfigError, match="elsewhere"):
        make_kernel({"models": {"it": table}})
    kernel = make_kernel({"models": {"it": {**table, "env": {"PYTHONPATH": str(site)}}}})
    assert kernel.catalog.get("it").info.sample_rate == 8000


def test_an_engine_that_only_another_environment_knows_is_served(
    serve, other_environment, trouble
) -> None:
    python = other_environment("complete")
    table = {"engine": "elsewhere", "python": str(python), "secret": "hush"}
    server = serve({"models": {"it": table}, "defaults": {"speech": "it"}})
    with httpx.Client(base_url=server.url, timeout=60) as http:
        body = {"model": "it", "input": "One.", "response_format": "pcm", "sample_rate": 8000}
        answer = http.post("/v1/audio/speech", json={**body, "then": "end", "times": [1]})
        assert answer.status_code == 200
        assert len(answer.content) == 1600
        form = {**body, "times[]": "7"}
        answer = http.post("/v1/audio/speech", data=form, files={"x": b"x"})
        assert answer.status_code == 200
        wrong = http.post("/v1/audio/speech", json={**body, "times": ["x"]})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "times")
        schema = http.get("/openapi.json").json()["components"]["schemas"]
        assert schema["ElsewhereSpeechRequest"]["properties"]["times"]["type"] == "array"
        model = http.get("/v1/models/it").json()
        assert (model["engine"], model["sample_rate"]) == ("elsewhere", 8000)


@pytest.mark.parametrize(
    ("without", "message"),
    [({"core": False}, "pip install unisono=="), ({"plugin": False}, "No plugin in this")],
)
def test_an_environment_that_lacks_something_says_how_to_mend_it(
    isolated, other_environment, without: dict[str, bool], message: str
) -> None:
    python = other_environment("lacking", **without)
    with pytest.raises(ConfigError, match=message):
        isolated("elsewhere", python=str(python))


async def test_a_plugin_that_is_here_and_not_there_says_how_to_mend_it(
    isolated, other_environment
) -> None:
    python = other_environment("bare", core=False, plugin=False)
    async with isolated("trouble", python=str(python)) as kernel:
        with pytest.raises(EngineUnavailable, match="pip install unisono=="):
            await hear(kernel)


async def test_another_protocol_is_refused(isolated, other_environment) -> None:
    python = other_environment("old", plugin=False)
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    (site / "sitecustomize.py").write_text("import unisono.wire\nunisono.wire.PROTOCOL = 0\n")
    async with isolated("echo", python=str(python)) as kernel:
        with pytest.raises(EngineUnavailable, match="does not understand this server"):
            await hear(kernel)


def test_a_worker_loads_neither_server_nor_codecs() -> None:
    code = "import json, sys, unisono.worker; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    heavy = {"fastapi", "starlette", "uvicorn", "av", "lameenc", "pydantic_settings", "httpx2"}
    assert not heavy & set(json.loads(done.stdout))
