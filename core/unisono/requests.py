"""What the kernel asks of an engine. All are immutable, but for the token that cancels them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .types import AudioChunk, Params
from .voice import VoicePrompt


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


@dataclass(frozen=True, eq=False)
class KnownSpeaker:
    """Somebody whose voice is known."""

    name: str
    audio: AudioChunk
    """Some seconds of that voice alone: mono, at 16 000 hertz."""


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
    logprobs: bool = False
    """Whether `Segment.logprobs` is wanted."""
    speakers: bool = False
    """Whether `Segment.speaker` is wanted; of use where that takes longer."""
    known_speakers: tuple[KnownSpeaker, ...] = ()
    """Whom to call by name."""
    cancel: CancelToken = field(default_factory=CancelToken, compare=False, repr=False)


@dataclass(frozen=True)
class AlignmentRequest:
    """A text whose words are to be found in the audio."""

    audio: AudioChunk
    """Mono, at 16 000 hertz."""
    text: str
    """What is said there."""
    params: Any = field(default_factory=Params)
    """An instance of the engine's `params_type`, with its defaults."""
    language: str | None = None
    """BCP 47 tag of the text."""
    cancel: CancelToken = field(default_factory=CancelToken, compare=False, repr=False)


@dataclass(frozen=True)
class DiarizationRequest:
    """Audio in which the speakers are to be told apart."""

    audio: AudioChunk
    """Mono, at 16 000 hertz."""
    params: Any = field(default_factory=Params)
    """An instance of the engine's `params_type`, with its defaults."""
    known_speakers: tuple[KnownSpeaker, ...] = ()
    """Whom to call by name; empty unless the model declares KNOWN_SPEAKERS."""
    cancel: CancelToken = field(default_factory=CancelToken, compare=False, repr=False)
