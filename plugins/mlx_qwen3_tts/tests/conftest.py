from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unisono import AudioChunk, CancelToken, SpeechRequest, Turn, VoicePrompt

os.environ.setdefault("MLX_DISABLE_COMPILE", "1")  # with a compiler around it would take seconds
try:
    import mlx.core as mx
except ImportError:  # there is no MLX for this machine
    collect_ignore_glob = ["test_*.py"]
else:
    from unisono_mlx_qwen3_tts.engine import Qwen3TtsEngine
    from unisono_mlx_qwen3_tts.options import Qwen3TtsParams, Qwen3TtsSettings

sys.path.insert(0, str(Path(__file__).parent))
import tiny_qwen3_tts

RATE = 24_000
BUILDS: dict[str, dict[str, Any]] = {
    "base": {"variant": "base"},
    "base_bf16": {"variant": "base", "dtype": "bfloat16"},
    "custom_voice_0b6": {"variant": "custom_voice"},
    "custom_voice": {"variant": "custom_voice", "size": "1b7"},
    "voice_design": {"variant": "voice_design", "size": "1b7"},
    "voice_design_bf16": {"variant": "voice_design", "size": "1b7", "dtype": "bfloat16"},
    "endless": {"variant": "custom_voice", "frames_per_token": 1e6, "max_new_tokens": 20},
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a checkpoint, made when it is first asked for; "brief_…" speak fast."""
    root = tmp_path_factory.mktemp("qwen3_tts")

    def find(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            if name.endswith("_4bit"):
                _quantize(find(name.removesuffix("_4bit")), folder)
            elif name.startswith("brief_"):
                build = BUILDS[name.removeprefix("brief_")]
                tiny_qwen3_tts.build(folder, **build, frames_per_token=0.15)
            else:
                tiny_qwen3_tts.build(folder, **BUILDS[name])
        return folder

    return find


def _quantize(source: Path, folder: Path) -> None:
    """Write a checkpoint as the conversions to 4 bits are: the talker's matrices, no tables."""
    import json
    import shutil

    shutil.copytree(source, folder)
    weights = mx.load(str(source / "model.safetensors"))
    for name, weight in list(weights.items()):
        if name.startswith("talker.") and weight.ndim == 2 and "embedding" not in name:
            quantized, scales, biases = mx.quantize(weight, group_size=64, bits=4)
            stem = name.removesuffix(".weight")
            weights |= {name: quantized, f"{stem}.scales": scales, f"{stem}.biases": biases}
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    config = json.loads((folder / "config.json").read_text())
    config["quantization"] = {"group_size": 64, "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))


def _make_engine(folder: Path, **settings: Any) -> Qwen3TtsEngine:
    values = Qwen3TtsSettings(model=str(folder), **settings)
    info = replace(Qwen3TtsEngine.describe(values), id="tiny", engine="mlx_qwen3_tts")
    return Qwen3TtsEngine(info, values)


@pytest.fixture(scope="session")
def make_engine() -> Callable[..., Qwen3TtsEngine]:
    """Make an engine that is not loaded: make_engine(folder, **settings)."""
    return _make_engine


@pytest.fixture(scope="session")
def engine(checkpoint: Callable[[str], Path]) -> Iterator[Callable[[str], Qwen3TtsEngine]]:
    """Return the loaded engine of a checkpoint; all tests share it."""
    loaded: dict[str, Qwen3TtsEngine] = {}

    def find(name: str) -> Qwen3TtsEngine:
        if name not in loaded:
            loaded[name] = _make_engine(checkpoint(name))
            loaded[name].load()
        return loaded[name]

    yield find
    for engine in loaded.values():
        engine.unload()


@pytest.fixture(scope="session")
def recording() -> Callable[..., np.ndarray]:
    """Make a reference at 24 kHz: a wavering tone in noise, another one for each seed."""

    def make(seed: int = 0, seconds: float = 1.6) -> np.ndarray:
        random = np.random.default_rng(seed)
        time = np.arange(round(seconds * RATE)) / RATE
        tone = sum(np.sin(2 * np.pi * (150 + 170 * seed) * k * time) / k for k in (1, 2, 3))
        wave = np.sin(2 * np.pi * (2 + seed) * time) * tone
        return (0.1 * wave + 0.01 * random.standard_normal(len(time))).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def cloned() -> Callable[..., VoicePrompt]:
    """Prepare a reference as the kernel does: cloned(engine, samples, text)."""

    def clone(
        engine: Qwen3TtsEngine, samples: np.ndarray, text: str | None = "and so on"
    ) -> VoicePrompt:
        prompt = VoicePrompt(audio=AudioChunk(samples, RATE), text=text)
        prepared = engine.prepare_voice(prompt)
        assert prepared is not None
        return replace(prompt, prepared=prepared.features)

    return clone


@pytest.fixture(scope="session")
def request_of() -> Callable[..., SpeechRequest]:
    """Make a greedy request; options that are no fields of a request become its Params."""

    def make(
        text: str,
        voice: str | VoicePrompt | None = None,
        *,
        language: str | None = None,
        instructions: str | None = None,
        seed: int | None = None,
        cancel: CancelToken | None = None,
        **params: Any,
    ) -> SpeechRequest:
        prompt = voice if isinstance(voice, VoicePrompt) else VoicePrompt(preset=voice)
        return SpeechRequest(
            (Turn(text, prompt),),
            Qwen3TtsParams.model_validate({"temperature": 0, **params}),
            language=language,
            instructions=instructions,
            seed=seed,
            cancel=cancel or CancelToken(),
        )

    return make


@pytest.fixture(scope="session")
def speech(request_of: Callable[..., SpeechRequest]) -> Callable[..., np.ndarray]:
    """Speak, and return all samples: speech(engine, text, voice, **options)."""

    def speak(engine: Qwen3TtsEngine, *args: Any, **options: Any) -> np.ndarray:
        chunks = engine.synthesize(request_of(*args, **options))
        return np.concatenate([chunk.samples for chunk in chunks])

    return speak
