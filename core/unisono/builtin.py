"""The kernel's own hook implementations. They run last, after every plugin's."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from .hookspecs import hookimpl
from .languages import primary_subtag
from .requests import AlignmentRequest, DiarizationRequest, SpeechRequest, TranscriptionRequest
from .types import AudioChunk, ModelInfo, Segment, SpeakerTurn, Word
from .voice import VoicePrompt, VoiceReference

if TYPE_CHECKING:
    from .runner import EngineRunner

OPENAI_VOICES = frozenset(
    [
        "alloy",
        "ash",
        "ballad",
        "cedar",
        "coral",
        "echo",
        "fable",
        "marin",
        "nova",
        "onyx",
        "sage",
        "shimmer",
        "verse",
    ]
)
"""The voice names of OpenAI's API. Clients send them to every server (pipecat refuses others)."""
DEFAULT_NAMES = OPENAI_VOICES | {"default"}
"""What stands for a model's default voice; clients that have no name to send, send `default`."""


@hookimpl(trylast=True)
def synthesize(engine: EngineRunner, request: SpeechRequest) -> AsyncGenerator[AudioChunk, None]:
    """Let the model speak."""
    return engine.synthesize(request)


@hookimpl(trylast=True)
def transcribe(
    engine: EngineRunner, request: TranscriptionRequest
) -> AsyncGenerator[Segment, None]:
    """Let the model write."""
    return engine.transcribe(request)


@hookimpl(trylast=True)
def align(engine: EngineRunner, request: AlignmentRequest) -> AsyncGenerator[Word, None]:
    """Let the model align."""
    return engine.align(request)


@hookimpl(trylast=True)
def diarize(engine: EngineRunner, request: DiarizationRequest) -> AsyncGenerator[SpeakerTurn, None]:
    """Let the model tell the speakers apart."""
    return engine.diarize(request)


@hookimpl(trylast=True)
def resolve_voice_prompt(reference: VoiceReference, model: ModelInfo) -> VoicePrompt | None:
    """Resolve the model's own voices; no name, or one of DEFAULT_NAMES, means the default."""
    if reference.audio is not None:
        return None
    name = reference.name
    if name is not None:
        if any(voice.name == name for voice in model.voices):
            return VoicePrompt(preset=name)
        if name not in DEFAULT_NAMES:
            return None
    return VoicePrompt(preset=_default_voice(model, reference.language))


def _default_voice(model: ModelInfo, language: str | None) -> str | None:
    names = [voice.name for voice in model.voices]
    default = model.default_voice or (names[0] if names else None)
    if language is None:
        return default
    # The default voice first: it wins where it speaks the language as well as another does.
    voices = sorted(model.voices, key=lambda voice: voice.name != default)
    for matches in (_same_tag, _same_language):
        for voice in voices:
            if any(matches(tag, language) for tag in voice.languages):
                return voice.name
    return default


def _same_tag(one: str, other: str) -> bool:
    return one.replace("_", "-").lower() == other.replace("_", "-").lower()


def _same_language(one: str, other: str) -> bool:
    return primary_subtag(one) == primary_subtag(other)
