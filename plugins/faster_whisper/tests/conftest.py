from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

import unisono_espeak
from unisono import AudioChunk, CancelToken, Kernel, Segment, TranscriptionRequest
from unisono.config import Config
from unisono.plugins import PluginManager

try:
    import ctranslate2  # noqa: F401
    import faster_whisper  # noqa: F401
except ImportError:  # there is no CTranslate2 for this machine
    collect_ignore_glob = ["test_*.py"]
else:
    from unisono_faster_whisper.engine import FasterWhisperEngine
    from unisono_faster_whisper.options import FasterWhisperParams, FasterWhisperSettings

sys.path.insert(0, str(Path(__file__).parent))
import tiny_whisper

RATE = 16_000
PHRASES = {"hello world": "en-us", "good morning": "en-us", "guten tag": "de", "bonjour": "fr"}


@pytest.fixture(scope="session")
def trained() -> str:
    """The folder of the model that understands the four phrases."""
    return str(tiny_whisper.TRAINED)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the folder of a model with random weights, made when it is first asked for."""
    root = tmp_path_factory.mktemp("whisper")
    builds: dict[str, dict[str, Any]] = {
        "random": {},
        "talkative": {"seed": 2},
        "english": {"english": True},
        "large": {"mels": 128},
    }

    def find(name: str) -> str:
        if not (root / name).exists():
            tiny_whisper.build(root / name, **builds[name])
        return str(root / name)

    return find


@pytest.fixture(scope="session")
def spoken() -> dict[str, np.ndarray]:
    """Phrase → espeak saying it, at 16 kHz."""

    async def speak() -> dict[str, np.ndarray]:
        plugins = PluginManager()
        plugins.add(unisono_espeak, "espeak")
        found = {}
        async with Kernel(Config(), plugins) as kernel:
            for text, voice in PHRASES.items():
                said = kernel.speech(text, model="espeak", voice=voice, rate=150)
                chunks = [chunk async for chunk in said]
                samples = np.concatenate([chunk.samples for chunk in chunks])
                found[text] = soxr.resample(samples, chunks[0].sample_rate, RATE)
        return found

    return asyncio.run(speak())


@pytest.fixture(scope="session")
def hello(spoken: dict[str, np.ndarray]) -> np.ndarray:
    return spoken["hello world"]


@pytest.fixture(scope="session")
def apart(spoken: dict[str, np.ndarray]) -> np.ndarray:
    """The four phrases, each at the start of its 30 seconds: one in each window."""
    window = 30 * RATE
    return np.concatenate([np.pad(audio, (0, window - len(audio))) for audio in spoken.values()])


@pytest.fixture(scope="session")
def make_engine() -> Callable[..., FasterWhisperEngine]:
    """Make an engine that is not loaded: make_engine(model, **settings)."""

    def make(model: str, **settings: Any) -> FasterWhisperEngine:
        values = FasterWhisperSettings(
            model=model, **{"device": "cpu", "cpu_threads": 1, **settings}
        )
        info = replace(FasterWhisperEngine.describe(values), id="tiny", engine="faster_whisper")
        return FasterWhisperEngine(info, values)

    return make


@pytest.fixture(scope="session")
def loaded(
    make_engine: Callable[..., FasterWhisperEngine],
) -> Iterator[Callable[..., FasterWhisperEngine]]:
    """Return a loaded engine, which all tests share: loaded(model, **settings)."""
    engines: dict[str, FasterWhisperEngine] = {}

    def load(model: str, **settings: Any) -> FasterWhisperEngine:
        key = repr((model, settings))
        if key not in engines:
            engines[key] = make_engine(model, **settings)
            engines[key].load()
        return engines[key]

    yield load
    for engine in engines.values():
        engine.unload()


@pytest.fixture(scope="session")
def request_of() -> Callable[..., TranscriptionRequest]:
    """Make a request; options that are no fields of a request become its Params."""
    fields = TranscriptionRequest.__dataclass_fields__

    def make(samples: np.ndarray, **options: Any) -> TranscriptionRequest:
        params = {name: options.pop(name) for name in list(options) if name not in fields}
        return TranscriptionRequest(
            AudioChunk(samples.astype(np.float32), RATE),
            params=FasterWhisperParams.model_validate(params),
            cancel=options.pop("cancel", None) or CancelToken(),
            **options,
        )

    return make


@pytest.fixture(scope="session")
def write(
    loaded: Callable[..., FasterWhisperEngine],
    request_of: Callable[..., TranscriptionRequest],
    trained: str,
) -> Callable[..., list[Segment]]:
    """Transcribe with the trained model: write(samples, **options)."""
    return lambda samples, **options: list(
        loaded(trained).transcribe(request_of(samples, **options))
    )


@pytest.fixture(scope="session")
def write_batched(
    loaded: Callable[..., FasterWhisperEngine],
    request_of: Callable[..., TranscriptionRequest],
    trained: str,
) -> Callable[..., list[Segment]]:
    """Transcribe with the trained model in batches."""
    return lambda samples, **options: list(
        loaded(trained, batched=True).transcribe(request_of(samples, **options))
    )
