"""Whose voice is to speak: a model's own voices, what a client sends, what an engine gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .types import AudioChunk


@dataclass(frozen=True)
class Voice:
    """A voice that a model has of its own."""

    name: str
    languages: tuple[str, ...] = ()
    """BCP 47 tags, the best first; empty means any language of the model."""
    gender: str | None = None
    description: str | None = None


@dataclass(frozen=True, eq=False)
class VoiceReference:
    """What the client sent to say whose voice it wants."""

    name: str | None = None
    """The `voice` field; None when it was left out."""
    language: str | None = None
    """BCP 47 tag of the text to be spoken, if the client said."""
    audio: bytes | str | None = None
    """A recording of the voice: an uploaded file, or text that carries or names one (base64, a
    `data:` URL, another URL). None when the client sent only a name.
    """
    text: str | None = None
    """What is said in `audio`, if the client said."""


@dataclass(frozen=True, eq=False)
class VoicePrompt:
    """The voice to speak with.

    A plugin that resolves a reference sets one of `preset`, `recording`, `audio` and
    `description`. An engine gets `preset`, `audio` or `description`, or none of them if its model
    has no voices.
    """

    preset: str | None = None
    """Name of one of the model's own voices."""
    recording: bytes | None = None
    """An audio file of any format, which the kernel decodes into `audio`; no engine sees it."""
    audio: AudioChunk | None = None
    """Reference to clone: mono, at the model's `prompt_rate`, without the silence around it,
    within the model's limits of length. From a plugin: any channels, rate and length.
    """
    text: str | None = None
    """Transcript of the reference. From a plugin: for clients that send none."""
    language: str | None = None
    """BCP 47 tag of the reference."""
    description: str | None = None
    """For example "a calm, low female voice"."""
    path: Path | None = None
    """Where the recording lies on disk, if it does."""
    digest: str = ""
    """Equal for equal `audio`. Filled in by the kernel."""
    prepared: Any = None
    """`PreparedVoice.features` of what `Engine.prepare_voice` returned for this voice. Filled in
    by the kernel.
    """


@dataclass(frozen=True, eq=False)
class PreparedVoice:
    """What an engine computes from a reference once, and uses for every text."""

    features: Any
    size: int
    """Bytes of memory that `features` hold, for the budget of the cache."""
