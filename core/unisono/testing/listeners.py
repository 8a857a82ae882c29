"""An aligner and a diarizer that cost nothing, to test what is composed of them.

The module is a plugin: `Kernel.from_config(plugins={"listeners": unisono.testing.listeners})`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import Field

from ..engine import Engine, Settings
from ..errors import RequestError
from ..hookspecs import hookimpl
from ..requests import AlignmentRequest, DiarizationRequest
from ..types import AudioChunk, Feature, ModelInfo, Params, SpeakerTurn, Task, Word

_LOUD = 1e-3


class EchoAlignerSettings(Settings):
    """How an echo aligner behaves."""

    languages: tuple[str, ...] = Field(("en",), description="Languages, as BCP 47 tags.")
    deaf: bool = Field(False, description="Find no text in any audio.")


class EchoAligner(Engine):
    """Shares the audio out evenly over the words."""

    name = "echo_aligner"
    settings_type = EchoAlignerSettings
    settings: EchoAlignerSettings

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {"echo-aligner": EchoAlignerSettings()}

    @classmethod
    def describe(cls, settings: EchoAlignerSettings) -> ModelInfo:
        return ModelInfo(Task.ALIGNMENT, languages=settings.languages)

    def align(self, request: AlignmentRequest) -> Iterator[Word]:
        words = request.text.split()
        if self.settings.deaf or not np.any(np.abs(request.audio.samples) > _LOUD):
            return
        each = request.audio.seconds / max(1, len(words))
        for index, word in enumerate(words):
            yield Word(word, index * each, (index + 1) * each)


class EchoDiarizerSettings(Settings):
    """How an echo diarizer behaves."""

    seconds: float = Field(2.0, gt=0, description="Seconds that each speaker speaks.")
    known: bool = Field(True, description="Whether it knows speakers again.")
    max_audio_seconds: float | None = Field(None, description="Longest audio of one call.")


class EchoDiarizerParams(Params):
    """Options of the echo diarizer."""

    speakers: int = Field(8, ge=1, le=8, description="Most speakers to be found.")


class EchoDiarizer(Engine):
    """Lets speakers A, B … take turns, each as loud as no other: loudness is their voice."""

    name = "echo_diarizer"
    params_type = EchoDiarizerParams
    settings_type = EchoDiarizerSettings
    settings: EchoDiarizerSettings

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {"echo-diarizer": EchoDiarizerSettings()}

    @classmethod
    def describe(cls, settings: EchoDiarizerSettings) -> ModelInfo:
        return ModelInfo(
            Task.DIARIZATION,
            features=frozenset({Feature.KNOWN_SPEAKERS} if settings.known else ()),
            max_audio_seconds=settings.max_audio_seconds,
        )

    def diarize(self, request: DiarizationRequest) -> Iterator[SpeakerTurn]:
        voices = [(known.name, _loudness(known.audio)) for known in request.known_speakers]
        for name, loudness in voices:
            if not loudness:
                raise RequestError(f"The recording of {name!r} is silent.")
        rate, samples = request.audio.sample_rate, request.audio.samples
        step = round(self.settings.seconds * rate)
        for start in range(0, len(samples), step):
            part = AudioChunk(samples[start : start + step], rate)
            loudness = _loudness(part)
            if not loudness:
                continue
            if len(voices) < request.params.speakers and not any(
                0.8 < loudness / other < 1.25 for _, other in voices
            ):
                voices.append((f"new {len(voices)}", loudness))
            name, _ = min(voices, key=lambda voice: abs(voice[1] - loudness))
            yield SpeakerTurn(name, start / rate, start / rate + part.seconds)


def _loudness(audio: AudioChunk) -> float:
    """Return the root mean square of what is not silent, 0 if all is."""
    loud = audio.samples[np.abs(audio.samples) > _LOUD].astype(np.float64)
    return float(np.sqrt(np.mean(loud * loud))) if len(loud) else 0.0


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Provide the listeners."""
    return [EchoAligner, EchoDiarizer]
