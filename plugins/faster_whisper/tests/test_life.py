"""From the files to the end."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from unisono import CancelToken, EngineUnavailable

RATE = 16_000
OFFLINE = """
import socket, sys

def refuse(*args):
    raise OSError("no network here")

socket.socket.connect = socket.getaddrinfo = refuse
import numpy as np
from unisono import AudioChunk, TranscriptionRequest
from unisono_faster_whisper.engine import FasterWhisperEngine
from unisono_faster_whisper.options import FasterWhisperParams, FasterWhisperSettings

settings = FasterWhisperSettings(model=sys.argv[1], device="cpu")
engine = FasterWhisperEngine(FasterWhisperEngine.describe(settings), settings)
engine.load()
audio = AudioChunk(np.load(sys.argv[2]), 16000)
print(*(s.text for s in engine.transcribe(TranscriptionRequest(audio, FasterWhisperParams()))))
"""


def test_nothing_is_asked_of_a_network(tmp_path: Path, trained: str, hello) -> None:
    np.save(tmp_path / "hello.npy", hello)
    command = [sys.executable, "-c", OFFLINE, trained, str(tmp_path / "hello.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "hello world\n"), done.stderr


def test_weights_that_are_not_here_are_said_how_to_get(
    make_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    engine = make_engine("tiny")
    assert engine.weights(engine.settings)[0].repo == "Systran/faster-whisper-tiny"
    with pytest.raises(EngineUnavailable, match="unisono pull Systran/faster-whisper-tiny"):
        engine.load()


def test_weights_that_the_library_itself_downloaded_are_found(
    make_engine, request_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: str, hello
) -> None:
    from huggingface_hub import constants

    repository = tmp_path / "models--Systran--faster-whisper-tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(trained, snapshot)
    (snapshot / "preprocessor_config.json").unlink()  # the old repositories have none
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    engine = make_engine("tiny")
    engine.load()
    assert [s.text for s in engine.transcribe(request_of(hello))] == ["hello world"]
    engine.unload()


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json"])
def test_a_file_that_is_missing_is_named(
    make_engine, tmp_path: Path, trained: str, name: str
) -> None:
    shutil.copytree(trained, tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    engine = make_engine(str(tmp_path / "model"))
    with pytest.raises(EngineUnavailable, match=name) as caught:
        engine.load()
    assert str(tmp_path) not in str(caught.value)
    assert [name in problem for problem in engine.problems()] == [True]


def test_a_whole_model_has_no_problems(make_engine, trained: str) -> None:
    assert list(make_engine(trained).problems()) == []


def test_files_that_are_no_model_make_the_engine_unavailable(
    make_engine, tmp_path: Path, trained: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(trained, tmp_path / "model")
    (tmp_path / "model" / "model.bin").write_bytes(b"no model")
    with pytest.raises(EngineUnavailable, match="log") as caught:
        make_engine(str(tmp_path / "model")).load()
    assert str(tmp_path) not in str(caught.value)
    assert str(tmp_path) in caplog.text


def test_a_model_without_its_preprocessor_is_refused(
    make_engine, folder, tmp_path: Path, hello, request_of
) -> None:
    shutil.copytree(folder("large"), tmp_path / "model")
    engine = make_engine(str(tmp_path / "model"))
    engine.load()
    list(engine.transcribe(request_of(hello, temperature_fallback=[])))
    engine.unload()
    (tmp_path / "model" / "preprocessor_config.json").unlink()
    with pytest.raises(EngineUnavailable, match="preprocessor_config"):
        engine.load()


def test_a_gpu_that_is_not_there_is_named(make_engine, trained: str) -> None:
    with pytest.raises(EngineUnavailable, match="GPUs"):
        make_engine(trained, device="cuda", device_index=99).load()


def test_a_compute_type_that_the_device_lacks_is_named(make_engine, trained: str) -> None:
    with pytest.raises(EngineUnavailable, match=r"int8_float16.*float32"):
        make_engine(trained, compute_type="int8_float16").load()


def test_quantized_weights_understand_as_well(make_engine, request_of, trained: str, hello) -> None:
    engine = make_engine(trained, compute_type="int8", cpu_threads=1)
    engine.load()
    assert [s.text for s in engine.transcribe(request_of(hello))] == ["hello world"]
    engine.unload()


def test_unloading_lets_go_of_the_model(make_engine, request_of, trained: str, hello) -> None:
    engine = make_engine(trained)
    for _ in range(2):
        engine.load()
        model = weakref.ref(engine._loaded)
        list(engine.transcribe(request_of(hello)))
        engine.unload()
        assert model() is None


def test_a_cancelled_request_stops_before_the_next_window(
    loaded, request_of, trained: str, apart
) -> None:
    cancel = CancelToken()
    stream = loaded(trained).transcribe(request_of(apart, vad_filter=False, cancel=cancel))
    next(stream)
    cancel.cancel()
    assert list(stream) == []


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {"vad_filter": False}),
        ({"batched": True, "batch_size": 1}, {"clip_timestamps": [0, 2, 30, 32, 60, 62]}),
    ],
)
def test_a_request_is_cancelled_though_it_never_yields(
    loaded, request_of, trained: str, apart, settings, options
) -> None:
    """An hour of music has windows, and no segment that could be the time to look."""
    cancel = CancelToken()
    looked: list[None] = []

    class Counting:
        @property
        def cancelled(self) -> bool:
            looked.append(None)
            if len(looked) == 3:
                cancel.cancel()
            return cancel.cancelled

    request = request_of(apart, **options, cancel=Counting())
    segments = list(loaded(trained, **settings).transcribe(request))
    assert cancel.cancelled
    assert len(segments) < 3


def test_a_request_that_was_cancelled_before_it_began_yields_nothing(
    loaded, request_of, trained: str, hello
) -> None:
    cancel = CancelToken()
    cancel.cancel()
    assert list(loaded(trained).transcribe(request_of(hello, cancel=cancel))) == []
    assert list(loaded(trained).transcribe(request_of(hello)))


def test_a_stream_that_is_closed_early_leaves_the_next_request_alone(
    loaded, request_of, trained: str, apart, hello
) -> None:
    engine = loaded(trained)
    stream = engine.transcribe(request_of(apart, vad_filter=False, word_timestamps=True))
    next(stream)
    stream.close()
    assert [s.text for s in engine.transcribe(request_of(hello))] == ["hello world"]


def test_any_thread_may_use_the_model(loaded, request_of, trained: str, hello) -> None:
    heard: list[str] = []

    def work() -> None:
        heard.extend(s.text for s in loaded(trained).transcribe(request_of(hello)))

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert heard == ["hello world"] * 3
