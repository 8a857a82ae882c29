from __future__ import annotations

import gc
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unisono import (
    AudioChunk,
    CancelToken,
    Segment,
    SpeakerTurn,
    SpeechRequest,
    TranscriptionRequest,
    Turn,
    VoicePrompt,
)

if any(find_spec(name) is None for name in ("funasr", "torch", "unisono_funasr")):
    collect_ignore_glob = ["test_*.py"]  # there is no PyTorch for this machine
else:
    from unisono_funasr.diarizer import FunASRDiarizer
    from unisono_funasr.diarizer_options import FunASRDiarizerSettings
    from unisono_funasr.engine import FunASREngine
    from unisono_funasr.options import FunASRParams, FunASRSettings

sys.path.insert(0, str(Path(__file__).parent))
import tiny_funasr

RATE = 16_000
SENTENCES = (
    "the quick brown fox jumps over the lazy dog and runs home",
    "we should meet again on monday morning at the office",
    "please send me the report before the end of the week",
    "i think that this idea could work very well for all of us",
    "nobody knows how long the journey will take this time",
    "she opened the window and looked at the garden below",
)


@dataclass(frozen=True)
class Conversation:
    """Audio, and who speaks in it."""

    samples: np.ndarray
    turns: list[SpeakerTurn]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the folder of a tiny model, made when it is first asked for."""
    root = tmp_path_factory.mktemp("funasr")

    def find(name: str) -> str:
        if not (root / name).exists():
            (root / name).mkdir()
            tiny_funasr.MODELS[name](root / name)
        return str(root / name)

    return find


@pytest.fixture(scope="session")
def campplus() -> str:
    """Return the folder of a tiny CAM++ that tells eSpeak NG's voices apart."""
    return str(Path(__file__).parent / "data" / "tiny_campplus")


@pytest.fixture(scope="session")
def settings_of(folder: Callable[[str], str]) -> Callable[..., dict[str, Any]]:
    """Return the settings of a tiny model with its usual helpers: settings_of(name, **more)."""

    def make(name: str, **more: Any) -> dict[str, Any]:
        helpers = {} if name == "streaming" else {"vad_model": folder("vad")}
        if name not in ("sensevoice", "nano", "streaming"):
            helpers["punc_model"] = folder("punc")
        usual = {"model": folder(name), "device": "cpu", "threads": 1}
        return {**usual, **helpers, **more}

    return make


@pytest.fixture(scope="session")
def make_engine(settings_of: Callable[..., dict[str, Any]]) -> Callable[..., FunASREngine]:
    """Make an engine that is not loaded: make_engine(name, **settings)."""

    def make(name: str, **more: Any) -> FunASREngine:
        settings = FunASRSettings(**settings_of(name, **more))
        info = replace(FunASREngine.describe(settings), id="tiny", engine="funasr")
        return FunASREngine(info, settings)

    return make


@pytest.fixture(scope="session", autouse=True)
def printed(campplus: str) -> str:
    """Load a first model, and with it the library; return what is printed meanwhile."""
    settings = FunASRDiarizerSettings(model=campplus, device="cpu", threads=1)
    engine = FunASRDiarizer(FunASRDiarizer.describe(settings), settings)
    with redirect_stdout(io.StringIO()) as output:
        engine.load()
    # What FunASR imports stays: looking through it costs each unloading, and so most tests, 0.2 s.
    gc.collect()
    gc.freeze()
    return output.getvalue()


@pytest.fixture(scope="session")
def loaded(
    make_engine: Callable[..., FunASREngine],
) -> Callable[..., FunASREngine]:
    """Return a loaded engine, which all tests share: loaded(name, **settings)."""
    engines: dict[str, FunASREngine] = {}

    def load(name: str, **settings: Any) -> FunASREngine:
        key = repr((name, settings))
        if key not in engines:
            engines[key] = make_engine(name, **settings)
            engines[key].load()
        return engines[key]

    return load


@pytest.fixture(scope="session")
def request_of() -> Callable[..., TranscriptionRequest]:
    """Make a request; options that are no fields of a request become its Params."""
    fields = TranscriptionRequest.__dataclass_fields__

    def make(samples: np.ndarray, **options: Any) -> TranscriptionRequest:
        params = {name: options.pop(name) for name in list(options) if name not in fields}
        return TranscriptionRequest(
            AudioChunk(samples.astype(np.float32), RATE),
            params=FunASRParams.model_validate(params),
            cancel=options.pop("cancel", None) or CancelToken(),
            **options,
        )

    return make


@pytest.fixture(scope="session")
def write(
    loaded: Callable[..., FunASREngine], request_of: Callable[..., TranscriptionRequest]
) -> Callable[..., list[Segment]]:
    """Transcribe with a shared engine: write(name, samples, **options)."""
    return lambda name, samples, **options: list(
        loaded(name).transcribe(request_of(samples, **options))
    )


@pytest.fixture(scope="session")
def three() -> np.ndarray:
    """Three utterances, at 1.0 to 2.8, 5.3 to 7.1 and 9.6 to 10.05 of 11.05 seconds."""
    say, pause = tiny_funasr.say, tiny_funasr.pause
    words = (*"你好世界",), ("一", "hi", "hi", "好"), ("界",)
    parts = [part for spoken in words for part in (say(*spoken), pause(2.5))]
    return np.concatenate([pause(1.0), *parts[:-1], pause(1.0)])


@pytest.fixture(scope="session")
def say() -> Callable[[str, int], np.ndarray]:
    """Return a voice saying one of the sentences, at 16 kHz, without silence around it."""
    import soxr

    import unisono_espeak

    (espeak,) = unisono_espeak.register_engines()
    settings = espeak.settings_type()
    engine = espeak(replace(espeak.describe(settings), id="espeak", engine="espeak"), settings)
    engine.load()
    said: dict[tuple[str, int], np.ndarray] = {}

    def speak(voice: str, sentence: int) -> np.ndarray:
        if (voice, sentence) not in said:
            turn = Turn(SENTENCES[sentence % len(SENTENCES)], VoicePrompt(preset=voice))
            params = espeak.params_type(rate=150)  # type: ignore[call-arg]
            chunks = list(engine.synthesize(SpeechRequest((turn,), params=params)))
            samples = np.concatenate([chunk.samples for chunk in chunks])
            samples = soxr.resample(samples, chunks[0].sample_rate, RATE)
            (loud,) = np.nonzero(np.abs(samples) > 0.01)
            said[voice, sentence] = samples[loud[0] : loud[-1] + 1].astype(np.float32)
        return said[voice, sentence]

    return speak


@pytest.fixture(scope="session")
def converse(say: Callable[[str, int], np.ndarray]) -> Callable[..., Conversation]:
    """Let voices speak, one after the other: converse(voices, pause=seconds)."""

    def make(voices: Sequence[str], pause: float = 0.8) -> Conversation:
        silence = np.zeros(round(pause * RATE), np.float32)
        parts, turns, at = [silence], [], len(silence)
        for number, voice in enumerate(voices):
            speech = say(voice, number)
            turns.append(SpeakerTurn(voice, at / RATE, (at + len(speech)) / RATE))
            parts += [speech, silence]
            at += len(speech) + len(silence)
        samples = np.concatenate(parts)
        noise = np.random.default_rng(0).standard_normal(len(samples)) * 1e-4
        return Conversation((samples + noise).astype(np.float32), turns)

    return make
