"""The networks of the tests are upstream's own, tiny and with random weights: see record.py."""

from __future__ import annotations

import io
import json
import lzma
import shutil
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unisono import AudioChunk, CancelToken, SpeechRequest, Turn, VoicePrompt
from unisono_zipvoice.engine import ZipVoiceEngine
from unisono_zipvoice.options import ZipVoiceParams, ZipVoiceSettings
from unisono_zipvoice.tokens import Tokenizer

DATA = Path(__file__).parent / "data"
RATE = 24_000


@pytest.fixture(scope="session")
def recorded() -> dict[str, np.ndarray]:
    """What upstream made of the same."""
    with np.load(DATA / "recorded.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def tokens() -> dict[str, list[str]]:
    """Upstream's tokens of three texts: one to speak, one of the reference, a long one."""
    found: dict[str, list[str]] = json.loads((DATA / "tokens.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(DATA / "tokens.txt")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpack a model: folder("zipvoice")."""
    root = tmp_path_factory.mktemp("models")

    def unpack(kind: str) -> Path:
        path = root / kind
        if not path.exists():
            path.mkdir()
            packed = {
                "text_encoder.onnx": "text_encoder.onnx",
                "fm_decoder.onnx": f"{kind}_fm_decoder.onnx",
                "vocos_24khz.onnx": "vocos_24khz.onnx",
            }
            for name, source in packed.items():
                (path / name).write_bytes(lzma.decompress((DATA / f"{source}.xz").read_bytes()))
            (path / "model.json").write_text("{}")
            shutil.copy(DATA / "tokens.txt", path)
        return path

    return unpack


@pytest.fixture(scope="session")
def make_engine() -> Callable[..., ZipVoiceEngine]:
    """Make an engine that is not loaded: make_engine(model_dir=…, **settings)."""

    def make(**settings: Any) -> ZipVoiceEngine:
        values = ZipVoiceSettings(**settings)
        info = replace(ZipVoiceEngine.describe(values), id="tiny", engine="zipvoice")
        return ZipVoiceEngine(info, values)

    return make


@pytest.fixture(scope="session")
def engine(
    folder: Callable[[str], Path], make_engine: Callable[..., ZipVoiceEngine]
) -> Iterator[Callable[[str], ZipVoiceEngine]]:
    """Return a loaded engine; all tests share it: engine("zipvoice_distill")."""
    loaded: dict[str, ZipVoiceEngine] = {}

    def find(kind: str = "zipvoice") -> ZipVoiceEngine:
        if kind not in loaded:
            loaded[kind] = make_engine(model=kind, model_dir=folder(kind), threads=1)
            loaded[kind].load()
        return loaded[kind]

    yield find
    for engine in loaded.values():
        engine.unload()


@pytest.fixture(scope="session")
def reference(
    recorded: dict[str, np.ndarray], tokens: dict[str, list[str]]
) -> Callable[..., VoicePrompt]:
    """Prepare the recorded reference as the kernel does: reference(engine)."""
    samples = recorded["recording"].astype(np.float32) / 32768

    def prepare(
        engine: ZipVoiceEngine, text: str | None = list(tokens)[1], samples: np.ndarray = samples
    ) -> VoicePrompt:
        prompt = VoicePrompt(audio=AudioChunk(samples, RATE), text=text)
        prepared = engine.prepare_voice(prompt)
        return replace(prompt, prepared=None if prepared is None else prepared.features)

    return prepare


@pytest.fixture(scope="session")
def speech(reference: Callable[..., VoicePrompt]) -> Callable[..., list[np.ndarray]]:
    """Speak, and return the chunks: speech(engine, text, **options and Params)."""

    def speak(
        engine: ZipVoiceEngine,
        text: str,
        *,
        voice: VoicePrompt | None = None,
        speed: float = 1.0,
        seed: int | None = 7,
        language: str | None = None,
        cancel: CancelToken | None = None,
        **params: Any,
    ) -> list[np.ndarray]:
        request = SpeechRequest(
            (Turn(text, voice or reference(engine)),),
            ZipVoiceParams.model_validate({"num_steps": 4, **params}),
            language=language,
            speed=speed,
            seed=seed,
            cancel=cancel or CancelToken(),
        )
        return [chunk.samples for chunk in engine.synthesize(request)]

    return speak


@pytest.fixture(scope="session")
def my_voice() -> Callable[..., bytes]:
    """Make a WAV file of a wavering tone: my_voice(seconds, seed)."""

    def make(seconds: float = 1.2, seed: int = 0, rate: int = RATE) -> bytes:
        time = np.arange(round(seconds * rate)) / rate
        sweep = np.sin(2 * np.pi * (120 + 60 * seed + 90 * time) * time)
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, rate, len(sweep), "NONE", ""))
            writer.writeframes((9000 * sweep).astype("<i2").tobytes())
        return file.getvalue()

    return make
