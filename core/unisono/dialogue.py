"""Dialogues: several turns in one request, whole for an engine that can, else one after the other.

A request has them as a list, `[{"voice": …, "text": …}, …]`, or as one text with the marks of
ZipVoice's and VibeVoice's dialogue models, `[S1] … [S2] …`, and the speakers' `voices`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from . import text as texts
from .errors import RequestError
from .fields import SpeechFields, TurnFields
from .requests import SpeechRequest, Turn
from .types import Feature, ModelInfo

PAUSE_BETWEEN_SPEAKERS = 0.4
PAUSE_OF_ONE_SPEAKER = 0.25
"""Seconds. People leave each other about 0.2 (Stivers et al., PNAS 2009); models end tightly."""
_VOICES = 99
"""Different voices of one request; as many as marks can tell apart."""
_MARK = re.compile(r"\[S(\d{1,2})\]")


@dataclass(frozen=True)
class Part:
    """What an engine is asked for in one call."""

    request: SpeechRequest
    pause: float
    """Seconds of silence before it."""


def turns_of(fields: SpeechFields, info: ModelInfo) -> list[TurnFields]:
    """Return the turns of a request; plain speech is one.

    :raises RequestError: naming the field, if marks and voices do not fit.
    """
    if isinstance(fields.input, list):
        if fields.voices:
            raise RequestError("voices: the turns in input have voices already.", param="voices")
        return fields.input
    marked = Feature.DIALOGUE in info.features or bool(fields.voices)
    if not marked or not _MARK.search(fields.input):
        if fields.voices:
            raise RequestError("voices: input has no marks, [S1] and so on.", param="voices")
        return [TurnFields(text=fields.input, voice=None)]
    before, *rest = _MARK.split(fields.input)
    if before.strip():
        raise RequestError(f"input: nobody says {before.strip()[:60]!r}.", param="input")
    speakers = zip(map(int, rest[::2]), rest[1::2], strict=True)
    return [
        TurnFields(text=text.strip(), voice=_voice(fields, speaker))
        for speaker, text in speakers
        if text.strip()
    ]


def check_turns(turns: Iterable[TurnFields], limit: int) -> None:
    """Refuse turns that say nothing, or too much, or with too many voices.

    :param limit: characters of all turns together.
    :raises RequestError: naming `input`.
    """
    turns = list(turns)
    length = sum(len(turn.text) for turn in turns)
    if length > limit:
        raise RequestError(
            f"input: {length:,} characters; at most {limit:,} are allowed.",
            param="input",
            code="string_too_long",
        )
    voices = len({turn.voice for turn in turns})
    if voices > _VOICES:
        raise RequestError(f"input: {voices} voices; at most {_VOICES} may speak.", param="input")
    for index, turn in enumerate(turns):
        if not texts.is_speakable(turn.text):
            where = f" in turn {index + 1}" if len(turns) > 1 else ""
            message = f"input: there is nothing to speak{where}."
            raise RequestError(message, param="input", code="empty_input")


def parts_of(request: SpeechRequest, info: ModelInfo) -> Iterator[Part]:
    """Yield what to ask the engine for, in this order."""
    if len(request.turns) > 1 and Feature.DIALOGUE in info.features:
        yield Part(request, 0.0)
        return
    before: Turn | None = None
    for turn in request.turns:
        pause = 0.0
        if before is not None:
            other = before.voice is not turn.voice
            pause = PAUSE_BETWEEN_SPEAKERS if other else PAUSE_OF_ONE_SPEAKER
        for segment in _split(turn.text, request.language, info):
            yield Part(replace(request, turns=(replace(turn, text=segment),)), pause)
            pause = 0.0
        before = turn


def _voice(fields: SpeechFields, speaker: int) -> str:
    voices = fields.voices or []
    if not 1 <= speaker <= len(voices):
        raise RequestError(
            f"voices: there is none for [S{speaker}]; the first is for [S1].", param="voices"
        )
    return voices[speaker - 1]


def _split(text: str, language: str | None, info: ModelInfo) -> Iterable[str]:
    whole = Feature.SSML in info.features and texts.is_ssml(text)
    if whole or Feature.LONG_TEXT in info.features:
        return [text]
    if info.max_input_chars is None:
        return texts.split_text(text, language=language)
    return texts.split_text(text, language=language, max_chars=info.max_input_chars)
