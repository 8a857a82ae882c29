"""A stand-in for a checkout of CosyVoice, in `checkout/`, and models for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unisono import AudioChunk, CancelToken, SpeechRequest, Turn, VoicePrompt
from unisono_cosyvoice.engine import CosyVoiceEngine
from unisono_cosyvoice.options import CosyVoiceParams, CosyVoiceSettings

HERE = Path(__file__).parent
RATE = 24_000
YAML = {1: "cosyvoice.yaml", 2: "cosyvoice2.yaml", 3: "cosyvoice3.yaml"}


def forget_upstream() -> None:
    """Undo the import of any checkout."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("cosyvoice", "matcha"):
            del sys.modules[name]
    sys.path[:] = [path for path in sys.path if not (Path(path) / "cosyvoice/cli").is_dir()]
    sys.path[:] = [path for path in sys.path if not path.endswith("Matcha-TTS")]


@pytest.fixture
def source_dir() -> Iterator[Path]:
    """Return the stand-in, which is imported afresh in every test."""
    forget_upstream()
    yield HERE / "checkout"
    forget_upstream()


@pytest.fixture
def spk2info() -> Path:
    """Return what torch.save made of two trained speakers and "saved", one from a recording."""
    return HERE / "spk2info.pt"


@pytest.fixture
def model_dir(tmp_path: Path, spk2info: Path) -> Callable[..., Path]:
    """Make a model: model_dir(version, name, speakers=True)."""

    def make(version: int, name: str = "model", speakers: bool = True) -> Path:
        folder = tmp_path / f"{name}-{version}"
        folder.mkdir(exist_ok=True)
        rate = 22_050 if version == 1 else 24_000
        (folder / YAML[version]).write_text(f"# comment\nsample_rate: {rate}\nllm: x\n")
        for file in ("llm", "flow", "hift"):
            (folder / f"{file}.pt").write_bytes(file.encode())
        if speakers:
            shutil.copy(spk2info, folder / "spk2info.pt")
        return folder

    return make


@pytest.fixture
def engine(source_dir: Path, model_dir: Callable[..., Path]) -> Callable[..., CosyVoiceEngine]:
    """Make a loaded engine: engine(version, **settings)."""

    def make(version: int, name: str = "model", **settings: Any) -> CosyVoiceEngine:
        values = {"source_dir": source_dir, **settings}
        if "model_dir" not in values:
            values["model_dir"] = model_dir(version, name)
        typed = CosyVoiceSettings.model_validate(values)
        info = replace(CosyVoiceEngine.describe(typed), id="tiny", engine="cosyvoice")
        made = CosyVoiceEngine(info, typed)
        made.load()
        return made

    return make


@pytest.fixture
def recording() -> Callable[..., AudioChunk]:
    """Make a reference: recording(seconds)."""

    def make(seconds: float = 3.0) -> AudioChunk:
        time = np.arange(round(seconds * RATE)) / RATE
        return AudioChunk((0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32), RATE)

    return make


@pytest.fixture
def cloned(recording: Callable[..., AudioChunk]) -> Callable[..., VoicePrompt]:
    """Prepare a reference as the kernel does: cloned(engine, text)."""

    def clone(engine: CosyVoiceEngine, text: str | None = None) -> VoicePrompt:
        prompt = VoicePrompt(audio=recording(), text=text)
        prepared = engine.prepare_voice(prompt)
        assert prepared is not None
        return replace(prompt, prepared=prepared.features)

    return clone


@pytest.fixture
def request_of() -> Callable[..., SpeechRequest]:
    """Make a request; a voice that is text is one of the model's own."""

    def make(
        text: str,
        voice: str | VoicePrompt = "英文女",
        *,
        cancel: CancelToken | None = None,
        text_frontend: bool = True,
        **fields: Any,
    ) -> SpeechRequest:
        prompt = VoicePrompt(preset=voice) if isinstance(voice, str) else voice
        params = CosyVoiceParams(text_frontend=text_frontend)
        cancel = cancel or CancelToken()
        return SpeechRequest((Turn(text, prompt),), params, cancel=cancel, **fields)

    return make


@pytest.fixture
def speak(request_of: Callable[..., SpeechRequest]) -> Callable[..., list[np.ndarray]]:
    """Speak, and return the samples of each chunk: speak(engine, text, voice, **fields)."""

    def say(engine: CosyVoiceEngine, *args: Any, **fields: Any) -> list[np.ndarray]:
        return [chunk.samples for chunk in engine.synthesize(request_of(*args, **fields))]

    return say


@pytest.fixture
def journal(source_dir: Path) -> Callable[[], Any]:
    """Return the stand-in's journal, once it is imported: journal()."""
    return lambda: sys.modules["cosyvoice.journal"]
