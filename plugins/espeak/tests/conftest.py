from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from unisono import AudioChunk, SpeechRequest, Turn, VoicePrompt
from unisono_espeak.engine import EspeakEngine, EspeakParams, EspeakSettings

Say = Callable[..., list[AudioChunk]]


@pytest.fixture
def make_engine() -> Iterator[Callable[..., EspeakEngine]]:
    """Make loaded engines, and unload them after the test."""
    loaded: list[EspeakEngine] = []

    def make(**settings: str) -> EspeakEngine:
        values = EspeakSettings(**settings)
        info = EspeakEngine.describe(values)
        engine = EspeakEngine(dataclasses.replace(info, id="espeak", engine="espeak"), values)
        engine.load()
        loaded.append(engine)
        return engine

    yield make
    for engine in loaded:
        engine.unload()


@pytest.fixture
def engine(make_engine: Callable[..., EspeakEngine]) -> EspeakEngine:
    return make_engine()


@pytest.fixture
def request_of() -> Callable[..., SpeechRequest]:
    """Make a request; options that are no fields of a request become its Params."""

    def make(text: str, voice: str | None = None, words: bool = False, **params: object):
        turn = Turn(text, VoicePrompt(preset=voice))
        return SpeechRequest((turn,), EspeakParams.model_validate(params), word_timestamps=words)

    return make


@pytest.fixture
def say(engine: EspeakEngine, request_of: Callable[..., SpeechRequest]) -> Say:
    return lambda *args, **options: list(engine.synthesize(request_of(*args, **options)))


@pytest.fixture
def audio(say: Say) -> Callable[..., np.ndarray]:
    """Speak, and return all samples."""

    def speak(*args: object, **options: object) -> np.ndarray:
        return np.concatenate([chunk.samples for chunk in say(*args, **options)])

    return speak


@pytest.fixture
def pitch_of() -> Callable[[np.ndarray], float]:
    """Estimate the fundamental frequency in hertz: the median over voiced frames."""

    def estimate(samples: np.ndarray) -> float:
        found = []
        for start in range(0, len(samples) - 1024, 512):
            frame = samples[start : start + 1024]
            frame = frame - frame.mean()
            correlation = np.correlate(frame, frame, "full")[1023:]
            low, high = 22050 // 500, 22050 // 60
            peak = low + int(correlation[low:high].argmax())
            if np.sqrt(np.mean(frame**2)) > 0.03 and correlation[peak] > 0.5 * correlation[0]:
                found.append(22050 / peak)
        return float(np.median(found))

    return estimate
