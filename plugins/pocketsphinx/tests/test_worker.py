from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unisono import CancelToken, EngineUnavailable, Segment, TranscriptionRequest
from unisono_pocketsphinx.engine import PocketsphinxEngine

Children = Callable[..., set[int]]
MakeEngine = Callable[..., PocketsphinxEngine]
MakeRequest = Callable[..., TranscriptionRequest]
Write = Callable[..., list[Segment]]


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_gone(pid: int) -> bool:
    """Whether a process has ended; init may be slow to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_cancelling_stops_the_decoding_and_the_next_request_works(
    engine: PocketsphinxEngine,
    make_request: MakeRequest,
    write: Write,
    goforward: np.ndarray,
    babble: np.ndarray,
) -> None:
    cancel = CancelToken()
    began: list[float] = []
    timer = threading.Timer(0.3, lambda: (began.append(time.monotonic()), cancel.cancel()))
    timer.start()
    segments = list(engine.transcribe(make_request(babble, cancel=cancel)))
    assert time.monotonic() - began[0] < 1.0  # the decoding would have gone on for 3 to 9
    assert segments == []
    assert [segment.text for segment in write(goforward)] == ["go forward ten meters"]


def test_a_request_cancelled_before_it_began_does_not_reach_the_worker(
    write: Write, children: Children, goforward: np.ndarray
) -> None:
    before = write(goforward), children()
    cancel = CancelToken()
    cancel.cancel()
    assert write(goforward, cancel=cancel) == []
    assert (write(goforward), children()) == before


def test_closing_the_stream_stops_the_decoding(
    engine: PocketsphinxEngine,
    make_request: MakeRequest,
    write: Write,
    goforward: np.ndarray,
    babble: np.ndarray,
) -> None:
    pause = np.zeros(16_000, np.float32)
    stream = engine.transcribe(make_request(np.concatenate([goforward, pause, babble])))
    assert next(stream).text == "go forward ten meters"
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 1.0
    assert [segment.text for segment in write(goforward)] == ["go forward ten meters"]


def test_a_dead_worker_fails_its_request_only(
    make_engine: MakeEngine,
    make_request: MakeRequest,
    children: Children,
    goforward: np.ndarray,
    babble: np.ndarray,
) -> None:
    others = children()
    engine = make_engine()
    engine.load()
    (worker,) = children() - others
    timer = threading.Timer(0.3, os.kill, [worker, signal.SIGKILL])
    timer.start()
    with pytest.raises(EngineUnavailable, match="Send the request again"):
        list(engine.transcribe(make_request(babble)))
    assert worker not in children()
    (segment,) = engine.transcribe(make_request(goforward))
    assert segment.text == "go forward ten meters"
    engine.unload()


def test_a_worker_that_died_between_requests_is_replaced_after_one_error(
    make_engine: MakeEngine, make_request: MakeRequest, children: Children, goforward: np.ndarray
) -> None:
    others = children()
    engine = make_engine()
    engine.load()
    (worker,) = children() - others
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(EngineUnavailable):
        list(engine.transcribe(make_request(goforward)))
    (segment,) = engine.transcribe(make_request(goforward))
    assert segment.text == "go forward ten meters"
    engine.unload()


def test_unloading_leaves_no_process_and_no_thread(
    make_engine: MakeEngine, children: Children
) -> None:
    others, threads = children(), threading.active_count()
    engine = make_engine()
    engine.load()
    assert len(children() - others) == 1
    engine.unload()
    assert children() == others
    assert wait_for(lambda: threading.active_count() == threads, seconds=5)


def test_an_engine_can_be_loaded_again(
    make_engine: MakeEngine, make_request: MakeRequest, goforward: np.ndarray
) -> None:
    engine = make_engine()
    for _ in range(2):
        engine.load()
        assert list(engine.transcribe(make_request(goforward)))
        engine.unload()


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it finishes its utterance first")
def test_the_worker_dies_with_its_parent(
    tmp_path: Path, children: Children, babble: np.ndarray, busy: bool
) -> None:
    np.save(tmp_path / "babble.npy", babble)
    script = tmp_path / "script.py"  # it has no `if __name__ == "__main__"`, as scripts have none
    script.write_text(
        "import sys, threading, time\n"
        "import numpy as np\n"
        "from unisono import AudioChunk, TranscriptionRequest\n"
        "from unisono_pocketsphinx.engine import *\n"
        "settings = PocketsphinxSettings()\n"
        "engine = PocketsphinxEngine(PocketsphinxEngine.describe(settings), settings)\n"
        "engine.load()\n"
        f"audio = AudioChunk(np.load({str(tmp_path / 'babble.npy')!r}), 16000)\n"
        "request = TranscriptionRequest(audio, params=PocketsphinxParams())\n"
        "threading.Timer(0.3, print, ['ready'], {'flush': True}).start()\n"
        f"{'list(engine.transcribe(request))' if busy else ''}\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        (worker,) = children(parent.pid)
        assert not is_gone(worker)
        parent.kill()
    assert wait_for(lambda: is_gone(worker), seconds=2)


def test_the_interpreter_runs_on_while_the_worker_decodes(write: Write, babble: np.ndarray) -> None:
    gaps: list[float] = []
    done = threading.Event()

    def tick() -> None:
        last = time.monotonic()
        while not done.is_set():
            time.sleep(0.01)
            gaps.append(time.monotonic() - last)
            last += gaps[-1]

    ticker = threading.Thread(target=tick)
    ticker.start()
    write(babble[: 8 * 16_000])
    done.set()
    ticker.join()
    assert len(gaps) > 20
    assert max(gaps) < 0.5  # in this process the gap would be the decoding, 1 to 3 seconds


@pytest.mark.parametrize("setting", ["acoustic_model", "language_model", "dictionary"])
def test_a_missing_model_file_is_named_by_its_setting(
    make_engine: MakeEngine, tmp_path: Path, setting: str
) -> None:
    with pytest.raises(EngineUnavailable, match=setting) as caught:
        make_engine(**{setting: tmp_path / "nowhere"}).load()
    assert "nowhere" not in str(caught.value)


def test_a_model_that_cannot_be_loaded_makes_the_engine_unavailable(
    make_engine: MakeEngine,
    children: Children,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    others = children()
    with pytest.raises(EngineUnavailable, match="log"):
        make_engine(acoustic_model=tmp_path).load()
    assert children() == others
    assert str(tmp_path) in capfd.readouterr().err
