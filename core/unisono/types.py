"""Values that cross the plugin boundary. All are immutable; none does I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from .voice import Voice, VoicePrompt

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
    """Longest audio of one `transcribe` call; None means five minutes. The kernel cuts what is
    longer where it is quiet.
    """
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
class Turn:
    """One speaker's line of a dialogue; plain speech is a dialogue of one turn."""

    text: str
    voice: VoicePrompt = field(default_factory=VoicePrompt)


class CancelToken:
    """Set when nobody waits for the answer any more. Poll it in loops that yield rarely."""

    __slots__ = ("_cancelled",)

    def __init__(self) -> None:
        self._cancelled = False  # polled, never waited for, so a flag does

    def cancel(self) -> None:
        """Set the token. Any thread may call this."""
        self._cancelled = True

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled


@dataclass(frozen=True)
class SpeechRequest:
    """What to say. Validated: every feature that it uses is declared by the model."""

    turns: tuple[Turn, ...]
    """Exactly one unless the model declares DIALOGUE."""
    # `Any`: an engine reads the fields of its own type.
    params: Any = field(default_factory=Params)
    """An instance of the engine's `params_type`."""
    language: str | None = None
    """BCP 47 tag of the text; None leaves it to the voice or the engine."""
    instructions: str | None = None
    """How to say it, in words."""
    speed: float = 1.0
    """Factor on the speaking rate."""
    word_timestamps: bool = False
    """Whether `AudioChunk.words` is wanted."""
    seed: int | None = None
    """Start of the random numbers; None leaves it to chance."""
    cancel: CancelToken = field(default_factory=CancelToken, compare=False, repr=False)

    @property
    def text(self) -> str:
        """The text of a request of one turn."""
        (turn,) = self.turns
        return turn.text

    @property
    def voice(self) -> VoicePrompt:
        """The voice of a request of one turn."""
        (turn,) = self.turns
        return turn.voice


@dataclass(frozen=True)
class TranscriptionRequest:
    """What to write down. Validated as a `SpeechRequest` is."""

    audio: AudioChunk
    """Mono, at 16 000 hertz."""
    params: Any = field(default_factory=Params)
    """An instance of the engine's `params_type`."""
    language: str | None = None
    """BCP 47 tag of the speech; None asks the engine to find out."""
    prompt: str | None = None
    """Preceding text or vocabulary that guides the engine."""
    hotwords: tuple[str, ...] = ()
    """Words to expect."""
    temperature: float | None = None
    """Sampling temperature, 0 to 1; None leaves it to the engine."""
    translate: bool = False
    """Whether the transcript is wanted in English."""
    word_timestamps: bool = False
    """Whether `Segment.words` is wanted."""
    cancel: CancelToken = field(default_factory=CancelToken, compare=False, repr=False)


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
