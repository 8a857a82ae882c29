"""The engine: eSpeak NG behind unisono's interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing

from pydantic import Field

from unisono import (
    AudioChunk,
    ConfigError,
    Engine,
    EngineUnavailable,
    Feature,
    ModelInfo,
    Params,
    PromptError,
    Settings,
    SpeechRequest,
    Task,
    Voice,
)

from . import library, ssml
from .library import Utterance
from .voices import VoiceName, bcp47, find_voice, gender, languages, steady_range
from .words import attach_words

SAMPLE_RATE = 22050


class EspeakSettings(Settings):
    """How a model of espeak-ng is deployed."""

    voice: str = Field(
        "en-us",
        description="Default voice: a language such as `de`, perhaps with a variant, `de+klatt3`.",
    )


class EspeakParams(Params):
    """Per-request options of espeak-ng."""

    rate: int = Field(
        175,
        ge=80,
        le=1000,
        description="Speaking rate, in words per minute; from 450 on, espeak compresses the "
        "audio. Sounds better than the speed factor, which stretches, and multiplies with it.",
    )
    pitch: int = Field(
        50, ge=0, le=99, description="Base pitch, from 0 (about 0.7 times the default) to 99 (1.6)."
    )
    pitch_range: int = Field(
        50,
        ge=0,
        le=99,
        description="Liveliness of the melody, from 0 (monotone) to 99; low voices reach less.",
    )
    volume: int = Field(
        100,
        ge=0,
        le=200,
        description="Loudness, in percent of the default; beyond 150 it distorts.",
    )
    word_gap: int = Field(
        0, ge=0, le=100, description="Additional pause between words, in units of 10 milliseconds."
    )
    ssml: bool = Field(False, description="The input is an SSML document, one `<speak>` element.")


class EspeakEngine(Engine):
    """eSpeak NG: formant synthesis, a thousand times faster than real time on one core."""

    name = "espeak"
    lane = "espeak"  # the library is one per process
    params_type = EspeakParams
    settings_type = EspeakSettings

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        """Serve one model with every voice."""
        return {"espeak": EspeakSettings()}

    @classmethod
    def describe(cls, settings: EspeakSettings) -> ModelInfo:
        """List the voices. Speed is left to the kernel, whose stretching is exact everywhere.

        :raises ConfigError: if there is no such default voice.
        """
        default = find_voice(settings.voice)
        if default is None:
            raise ConfigError(f"voice: espeak-ng has no voice {settings.voice!r}.")
        voices = [_voice(VoiceName(language)) for language in languages()]
        if default.variant is not None:
            voices.insert(0, _voice(default))
        tags = dict.fromkeys(tag for voice in voices for tag in voice.languages)
        return ModelInfo(
            Task.SPEECH,
            languages=tuple(tags),
            sample_rate=SAMPLE_RATE,
            voices=tuple(voices),
            default_voice=str(default),
            features=frozenset({Feature.SSML, Feature.WORD_TIMESTAMPS}),
        )

    def load(self) -> None:
        """Initialize the library.

        :raises EngineUnavailable: if it is not there, or not usable.
        """
        try:
            rate = library.acquire()
        except (OSError, RuntimeError, AttributeError) as error:
            raise EngineUnavailable(
                "espeak-ng cannot be started. Reinstall the package espeakng-loader, below a "
                "directory whose path has fewer than 100 characters."
            ) from error
        if rate != SAMPLE_RATE:
            library.release()
            raise EngineUnavailable(f"espeak-ng has a sample rate of {rate} Hz.")

    def unload(self) -> None:
        """Free the library's memory, unless another model uses it."""
        library.release()

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        """Yield 60 ms, then chunks that grow to a second; nothing if a plain text has no sound.

        :raises PromptError: if there is no such voice.
        :raises RequestError: if the input should be SSML and is not, or has what espeak lacks.
        """
        params: EspeakParams = request.params
        voice = find_voice(request.voice.preset or self.settings.voice)
        if voice is None:
            raise PromptError(f"There is no voice {request.voice.preset!r}.", param="voice")
        pitch_range = steady_range(voice, params.pitch, params.pitch_range, any_voice=params.ssml)
        if params.ssml:
            document = ssml.clean(request.text, voice, params.pitch, pitch_range)
            text, spoken = document.markup, document.spoken
        else:
            text = spoken = library.harmless(request.text)
        utterance = Utterance(
            text,
            voice.path,
            ssml=params.ssml,
            rate=params.rate,
            pitch=params.pitch,
            pitch_range=pitch_range,
            volume=params.volume,
            word_gap=params.word_gap,
        )
        with closing(library.speak(utterance, lambda: request.cancel.cancelled)) as pieces:
            chunks = _chunks(pieces, spoken if request.word_timestamps else None)
            # A pause that SSML asks for is worth sending even alone; "..." is not.
            yield from chunks if params.ssml else _unless_silent(chunks)


def _voice(voice: VoiceName) -> Voice:
    tags = tuple(bcp47(tag) for tag, _ in voice.language.tags)
    title = voice.language.title
    if voice.variant is not None:
        title = f"{title}, variant {voice.variant}"
    return Voice(str(voice), tags, gender(voice), title)


def _chunks(pieces: Iterable[library.Piece], spoken: str | None) -> Iterator[AudioChunk]:
    """Convert to floating point, and attach the words of `spoken` unless it is None."""
    import numpy as np  # noqa: PLC0415 - not needed to start a server

    scale = np.float32(1 / 32768)
    converted = ((np.frombuffer(piece.pcm, np.int16) * scale, piece.words) for piece in pieces)
    if spoken is not None:
        return attach_words(converted, spoken, SAMPLE_RATE)
    return (AudioChunk(samples, SAMPLE_RATE) for samples, _ in converted)


def _unless_silent(chunks: Iterator[AudioChunk]) -> Iterator[AudioChunk]:
    """Yield everything, but only once there is sound: of "...", espeak makes a pause."""
    held = []
    for chunk in chunks:
        held.append(chunk)
        if chunk.samples.any():
            yield from held
            break
    yield from chunks
