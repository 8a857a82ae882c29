"""Engines that cost nothing, take as long as they are told, and fail on demand.

They serve tests and benchmarks of everything around an engine. The module is a plugin:
`Kernel.from_config(plugins={"echo": unisono.testing.echo})`.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import lru_cache

import numpy as np
from pydantic import Field

from ..engine import Engine, Settings
from ..errors import EngineUnavailable
from ..hookspecs import hookimpl
from ..requests import SpeechRequest, TranscriptionRequest
from ..types import AudioChunk, Feature, ModelInfo, Params, Segment, Task, TokenLogprob, Word
from ..voice import Voice

_BUFFER_SECONDS = 64


class EchoSettings(Settings):
    """How an echo model behaves."""

    sample_rate: int = Field(24_000, description="Hertz of the audio.")
    seconds_per_word: float = Field(0.25, gt=0, description="Seconds of audio for each word.")
    chunk_seconds: float = Field(0.1, gt=0, description="Seconds of audio in each chunk.")
    first_delay: float = Field(0.0, ge=0, description="Seconds before the first chunk.")
    rtf: float = Field(0.0, ge=0, description="Seconds spent on each second of audio.")
    load_seconds: float = Field(0.0, ge=0, description="Seconds that loading takes.")
    fail_load: bool = Field(False, description="Fail to load.")
    memory_bytes: int | None = Field(None, description="Memory that the model says it holds.")
    features: frozenset[Feature] = Field(
        frozenset({Feature.LONG_TEXT, Feature.WORD_TIMESTAMPS}),
        description="Features that the model says it has.",
    )
    languages: tuple[str, ...] = Field(("en",), description="Languages, as BCP 47 tags.")
    max_audio_seconds: float | None = Field(None, description="Longest audio of one call.")
    max_input_chars: int | None = Field(None, description="Longest text of one call.")


class EchoParams(Params):
    """Options of the echo engines."""

    gain: float = Field(1.0, ge=0, le=1, description="Factor on the samples.")
    fail_after: float | None = Field(
        None, ge=0, description="Raise an exception after this many seconds of audio."
    )


@lru_cache(maxsize=4)
def _voice(sample_rate: int) -> np.ndarray:
    """Return 64 seconds of something speech-like: harmonics, syllables, some hiss. Read-only."""
    random = np.random.default_rng(7)
    time_ = np.arange(sample_rate * _BUFFER_SECONDS, dtype=np.float32) / sample_rate
    pitch = 120 + 25 * np.sin(2 * np.pi * 0.7 * time_)
    phase = np.cumsum(pitch, dtype=np.float64) * (2 * np.pi / sample_rate)
    tone = sum(np.sin(k * phase) / k for k in range(1, 9))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_) ** 2
    samples = 0.15 * tone * syllables + 0.01 * random.standard_normal(len(time_))
    samples = np.clip(samples, -0.95, 0.95).astype(np.float32)
    samples.setflags(write=False)
    return samples


def seconds_for(text: str, settings: EchoSettings) -> float:
    """Return how long an echo model speaks a text."""
    return max(1, len(text.split())) * settings.seconds_per_word


def expected(text: str, settings: EchoSettings | None = None) -> np.ndarray:
    """Return the samples of an echo model for a text; each text has its own, but they are cut
    from one recording, so there is nothing to compute.
    """
    settings = settings or EchoSettings()
    voice = _voice(settings.sample_rate)
    frames = int(seconds_for(text, settings) * settings.sample_rate)
    start = zlib.crc32(text.encode("utf-8", "replace")) % (len(voice) // 2)
    loops = -(-(start + frames) // len(voice))
    return (voice if loops == 1 else np.tile(voice, loops))[start : start + frames]


class EchoEngine(Engine):
    """Speaks one text at a time, on its own thread."""

    name = "echo"
    params_type = EchoParams
    settings_type = EchoSettings
    settings: EchoSettings

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {cls.name.replace("_", "-"): EchoSettings()}

    @classmethod
    def describe(cls, settings: EchoSettings) -> ModelInfo:
        return ModelInfo(
            Task.SPEECH,
            languages=settings.languages,
            sample_rate=settings.sample_rate,
            voices=(Voice("near", ("en",)), Voice("far", ("en-GB",))),
            features=settings.features,
            memory_bytes=settings.memory_bytes,
            max_input_chars=settings.max_input_chars,
        )

    def load(self) -> None:
        time.sleep(self.settings.load_seconds)
        if self.settings.fail_load:
            raise EngineUnavailable(f"Model {self.model.id!r} was told not to load.")
        _voice(self.settings.sample_rate)

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        if self.settings.first_delay:  # even a sleep of 0 s lets go of the interpreter
            time.sleep(self.settings.first_delay)
        for chunk in chunks_of(request, self.settings):
            if self.settings.rtf:
                time.sleep(chunk.seconds * self.settings.rtf)
            yield chunk


class AsyncEchoEngine(EchoEngine):
    """Speaks many texts at once, on the event loop, as a bridge to another server would."""

    name = "async_echo"
    max_concurrency = 1024

    async def synthesize(  # type: ignore[override]
        self, request: SpeechRequest
    ) -> AsyncIterator[AudioChunk]:
        settings = self.settings
        began = time.monotonic() + settings.first_delay
        spent = 0.0
        for chunk in chunks_of(request, settings):
            spent += chunk.seconds * settings.rtf
            pause = began + spent - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            yield chunk


class EchoTranscriber(Engine):
    """Writes one segment, "second 0.", "second 1." …, for each second that is not silent."""

    name = "echo_transcriber"
    params_type = EchoParams
    settings_type = EchoSettings
    settings: EchoSettings

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {"echo-transcriber": EchoSettings()}

    @classmethod
    def describe(cls, settings: EchoSettings) -> ModelInfo:
        return ModelInfo(
            Task.TRANSCRIPTION,
            languages=settings.languages,
            features=settings.features - {Feature.LONG_TEXT},
            memory_bytes=settings.memory_bytes,
            max_audio_seconds=settings.max_audio_seconds,
        )

    def transcribe(self, request: TranscriptionRequest) -> Iterator[Segment]:
        time.sleep(self.settings.first_delay)
        params: EchoParams = request.params
        rate = request.audio.sample_rate
        for second in range(-(-len(request.audio.samples) // rate)):
            if params.fail_after is not None and second >= params.fail_after:
                raise RuntimeError("The echo was told to fail.")
            part = request.audio.samples[second * rate : (second + 1) * rate]
            time.sleep(len(part) / rate * self.settings.rtf)
            if not np.any(np.abs(part) > 1e-3):
                continue
            words = (
                Word("second", second, second + 0.5, 0.9),
                Word(f"{second}.", second + 0.5, second + 1.0, 0.8),
            )
            yield Segment(
                f"second {second}.",
                second,
                second + 1.0,
                words=words if request.word_timestamps else (),
                speaker=self._speaker(second, request),
                logprobs=(TokenLogprob("second", -0.1), TokenLogprob(f" {second}.", -0.2))
                if request.logprobs
                else (),
            )

    def _speaker(self, second: int, request: TranscriptionRequest) -> str | None:
        if Feature.DIARIZATION not in self.model.features:
            return None
        known = [speaker.name for speaker in request.known_speakers]
        return [*known, "S0", "S1"][second % 2]


def chunks_of(request: SpeechRequest, settings: EchoSettings) -> Iterator[AudioChunk]:
    """Yield the speech of a request without any delay.

    :raises RuntimeError: where the request says so (`fail_after`).
    """
    params: EchoParams = request.params
    samples = expected(request.text, settings)
    if params.gain != 1.0:
        samples = samples * np.float32(params.gain)
    rate = settings.sample_rate
    size = max(1, int(settings.chunk_seconds * rate))
    words = list(_words(request, settings)) if request.word_timestamps else []
    for start in range(0, len(samples), size):
        if params.fail_after is not None and start / rate >= params.fail_after:
            raise RuntimeError("The echo was told to fail.")
        end = (start + size) / rate
        now = tuple(word for word in words if start / rate <= word.start < end)
        yield AudioChunk(samples[start : start + size], rate, now)


def _words(request: SpeechRequest, settings: EchoSettings) -> Iterator[Word]:
    for index, word in enumerate(request.text.split()):
        start = index * settings.seconds_per_word
        yield Word(word, start, start + settings.seconds_per_word)


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Provide the echo engines."""
    return [EchoEngine, AsyncEchoEngine, EchoTranscriber]
