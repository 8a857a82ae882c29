"""From the files to the end of the process."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest

from unisono import EngineUnavailable

EXIT = """
import asyncio, socket, sys, threading

def refuse(*args):
    raise OSError("no network here")

socket.socket.connect = socket.getaddrinfo = refuse
import unisono_mlx_qwen3_tts
from unisono import Config, Kernel, SpeechRequest, Turn, VoicePrompt
from unisono_mlx_qwen3_tts.engine import Qwen3TtsEngine
from unisono_mlx_qwen3_tts.options import Qwen3TtsParams, Qwen3TtsSettings

settings = Qwen3TtsSettings(model=sys.argv[1])
request = SpeechRequest((Turn("Hi.", VoicePrompt(preset="ryan")),), Qwen3TtsParams())
spoken = []

def work():
    engines = [Qwen3TtsEngine(Qwen3TtsEngine.describe(settings), settings) for _ in range(2)]
    for engine in engines:
        engine.load()
    engines[0].unload()
    spoken.append(sum(len(chunk.samples) for chunk in engines[1].synthesize(request)))

for _ in range(8):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
assert len(spoken) == 8, spoken

async def serve():
    from unisono.plugins import PluginManager

    plugins = PluginManager()
    plugins.add(unisono_mlx_qwen3_tts, "mlx_qwen3_tts")
    model = {"engine": "mlx_qwen3_tts", "model": sys.argv[1]}
    async with Kernel(Config(models={"tiny": model}), plugins) as kernel:
        assert [chunk async for chunk in kernel.speech("Hi.", model="tiny")]

asyncio.run(serve())
assert "mlx_audio.tts.generate" not in sys.modules
assert not [name for name in sys.modules if name.partition(".")[0] == "sounddevice"]
"""


def test_threads_and_the_process_end_well_without_a_network(checkpoint):
    command = [sys.executable, "-c", EXIT, str(checkpoint("custom_voice"))]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_unloading_gives_the_memory_back(checkpoint, make_engine, speech):
    gc.collect()
    before = mx.get_active_memory()
    engine = make_engine(checkpoint("custom_voice"))
    engine.load()
    speech(engine, "Hello", "ryan")
    loaded = mx.get_active_memory()

    engine.unload()

    assert loaded - before > 1e6
    assert mx.get_active_memory() - before < 1e5


def test_an_unloaded_model_can_be_loaded_again(checkpoint, make_engine, speech):
    engine = make_engine(checkpoint("custom_voice"))
    heard = []
    for _ in range(2):
        engine.load()
        heard.append(speech(engine, "Hello", "ryan"))
        engine.unload()

    np.testing.assert_array_equal(*heard)


def test_loading_prints_nothing_where_audio_may_be_written(checkpoint, make_engine, capfd):
    engine = make_engine(checkpoint("base"))

    engine.load()
    engine.unload()

    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "missing",
    [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "speech_tokenizer",
        "speech_tokenizer/config.json",
        "speech_tokenizer/model.safetensors",
    ],
)
def test_a_checkpoint_that_is_not_complete_is_not_loaded(
    checkpoint, make_engine, tmp_path, missing
):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint("base"), folder)
    engine = make_engine(folder)
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    with pytest.raises(EngineUnavailable) as caught:
        engine.load()

    assert str(tmp_path) not in str(caught.value)


def test_weights_that_do_not_fit_the_configuration_are_not_loaded(
    checkpoint, make_engine, tmp_path
):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint("base"), folder)
    engine = make_engine(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["talker_config"]["intermediate_size"] = 256
    path.write_text(json.dumps(config))

    with pytest.raises(EngineUnavailable, match="ValueError"):
        engine.load()


def test_a_checkpoint_of_another_kind_than_described_is_not_loaded(
    checkpoint, make_engine, tmp_path
):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint("base"), folder)
    engine = make_engine(folder)
    shutil.copytree(checkpoint("custom_voice"), folder, dirs_exist_ok=True)

    with pytest.raises(EngineUnavailable, match="custom_voice"):
        engine.load()
