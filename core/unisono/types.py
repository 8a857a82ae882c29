"""Values that cross the plugin boundary. All are immutable; none does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from .voice import Voice

if TYPE_CHECKING:  # numpy only names a type here; importing it would slow `unisono --help`
    import numpy as np


class Params(BaseModel):
    """Per-request options of one engine: the single source of their REST fields, OpenAPI schema,
    CLI flags, web form and documentation.

    Give every field a default, a description with its unit, and bounds. Field names must not
    collide with the fields that the kernel itself defines (`unisono.fields`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def needs_prompt_text(self) -> bool:
        """Whether these options leave a model with PROMPT_TEXT_REQUIRED in need of it."""
        return True


class Task(str, Enum):
    """What a model does."""

    SPEECH = "speech"
    TRANSCRIPTION = "transcription"
    ALIGNMENT = "alignment"
    """Finds when each word of a text that is known is heard."""
    DIARIZATION = "diarization"
    """Finds who speaks when."""


class Feature(str, Enum):
    """What a model can do beyond its plain task.

    The kernel refuses a request that needs an undeclared feature, so engines never check.
    """

    VOICE_CLONING = "voice_cloning"
    """Speaks with `VoicePrompt.audio`."""
    PROMPT_TEXT = "prompt_text"
    """Cloning uses `VoicePrompt.text`, the transcript of the audio, if there is one."""
    PROMPT_TEXT_REQUIRED = "prompt_text_required"
    """Cloning needs `VoicePrompt.text`, unless `Params.needs_prompt_text` says otherwise."""
    VOICE_DESIGN = "voice_design"
    """Speaks with `VoicePrompt.description`."""
    INSTRUCTIONS = "instructions"
    """Follows `SpeechRequest.instructions`."""
    SPEED = "speed"
    """Honours `SpeechRequest.speed`; without it the kernel stretches the audio."""
    SEED = "seed"
    """Honours `SpeechRequest.seed`: the same request with the same seed sounds the same."""
    DIALOGUE = "dialogue"
    """Takes several turns at once."""
    LONG_TEXT = "long_text"
    """Takes a text of any length and streams it; without it the kernel sends it in segments."""
    SSML = "ssml"
    """Reads SSML: the kernel leaves a `<speak>` document whole, however long."""
    WORD_TIMESTAMPS = "word_timestamps"
    """Fills `AudioChunk.words` or `Segment.words` when asked to."""
    TRANSLATION = "translation"
    """Honours `TranscriptionRequest.translate`: the transcript comes in English."""
    DIARIZATION = "diarization"
    """Fills `Segment.speaker`."""
    KNOWN_SPEAKERS = "known_speakers"
    """Calls speakers by the names of `known_speakers` where it hears their voices."""
    LOGPROBS = "logprobs"
    """Fills `Segment.logprobs` when asked to."""
    HOTWORDS = "hotwords"
    """Honours `TranscriptionRequest.hotwords`."""
    TEXT_PROMPT = "text_prompt"
    """Honours `TranscriptionRequest.prompt`; without it the prompt is ignored, and that is said."""
    TEMPERATURE = "temperature"
    """Honours `TranscriptionRequest.temperature`; without it likewise."""


@dataclass(frozen=True)
class ModelInfo:
    """One model that an engine can load. Plain data: building it does no I/O."""

    task: Task
    id: str = ""
    """What clients send as `model`. Filled in by the catalogue."""
    engine: str = ""
    """`Engine.name`. Filled in by the catalogue."""
    languages: tuple[str, ...] = ()
    """BCP 47 tags; empty means any, or unknown."""
    sample_rate: int | None = None
    """Hertz of the synthesized audio."""
    voices: tuple[Voice, ...] = ()
    default_voice: str | None = None
    """Name of the voice for requests that name none; None means the first of `voices`."""
    features: frozenset[Feature] = frozenset()
    memory_bytes: int | None = None
    """Device memory held while loaded; None means unknown."""
    prompt_rate: int | None = None
    """Hertz of the references that VOICE_CLONING takes; None means `sample_rate`."""
    prompt_seconds: tuple[float, float] = (0.5, 60.0)
    """Shortest and longest reference, without the silence around it."""
    max_audio_seconds: float | None = None
    """Longest audio of one `transcribe` or `diarize` call; None means five minutes. The kernel
    cuts what is longer where nobody speaks.
    """
    max_concurrency: int | None = None
    """Requests that this model serves at once; None means as many as its engine says."""
    max_input_chars: int | None = None
    """Longest text of one `synthesize` call, in characters; None means the kernel's own choice."""


@dataclass(frozen=True)
class Weights:
    """Files of a model on a hub."""

    repo: str
    """For example "Qwen/Qwen3-TTS-12Hz-0.6B-Base"."""
    revision: str | None = None
    """Branch, tag or commit; None means the main branch."""
    files: tuple[str, ...] = ()
    """Patterns of the files that are needed, as `*.safetensors`; empty means all."""


@dataclass(frozen=True)
class Word:
    """A word and when it sounds."""

    text: str
    start: float
    """Seconds from the start of the stream."""
    end: float
    """Seconds from the start of the stream."""
    probability: float | None = None
    """The engine's confidence, 0 to 1."""
    estimated: bool = False
    """Whether another model than the one that wrote the word found its time. Filled in by the
    kernel.
    """


@dataclass(frozen=True, eq=False)
class AudioChunk:
    """Consecutive samples of one stream.

    Where a stream is cut into chunks carries no meaning: the kernel joins chunks that wait.
    """

    samples: np.ndarray
    """float32 in [-1, 1], shaped (frames,), or (frames, channels) with 1 or 2 channels;
    frames >= 1. The shape but for the frames never changes within a stream."""
    sample_rate: int
    """Hertz; never changes within a stream."""
    words: tuple[Word, ...] = ()
    """Words that begin within this chunk, if they were asked for."""

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples) / self.sample_rate

    @property
    def channels(self) -> int:
        """1 or 2."""
        return 1 if self.samples.ndim == 1 else int(self.samples.shape[1])


@dataclass(frozen=True)
class TokenLogprob:
    """A piece of the text as the model wrote it, and how sure it was."""

    token: str
    logprob: float
    """Natural logarithm of the probability."""
    data: bytes = b""
    """Its UTF-8, where that is no whole character; empty means that of `token`."""


@dataclass(frozen=True)
class Segment:
    """A stretch of transcribed speech. Final once yielded; later segments start later."""

    text: str
    start: float
    """Seconds from the start of the audio."""
    end: float
    """Seconds from the start of the audio."""
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    language: str | None = None
    """BCP 47 tag, where the engine found it out."""
    avg_logprob: float | None = None
    """Mean log probability of the tokens, where the engine has it."""
    no_speech_prob: float | None = None
    """Probability that this is not speech, where the engine has it."""
    compression_ratio: float | None = None
    temperature: float | None = None
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    """The tokens of the text, in order, if they were asked for."""
    emotion: str | None = None
    """How it was said, in one English word ("happy"), where the engine hears that."""
    events: tuple[str, ...] = ()
    """What else is heard, each in one English word ("applause"), where the engine hears that."""


@dataclass(frozen=True)
class SpeakerTurn:
    """A stretch in which one person speaks. Two may overlap."""

    speaker: str
    """The name of a known speaker, or else a label of its own for each person of the audio."""
    start: float
    """Seconds from the start of the audio."""
    end: float
    """Seconds from the start of the audio."""
