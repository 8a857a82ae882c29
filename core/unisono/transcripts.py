"""A finished transcript, and what it looks like in each response format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from . import subtitles
from .fields import TranscriptionFields
from .types import Segment


@dataclass(frozen=True)
class Transcript:
    """What was said."""

    segments: tuple[Segment, ...]
    duration: float
    """Seconds of audio."""
    language: str
    """BCP 47 tag: what the engine found, or else what the client said, or "und"."""
    translated: bool = False
    """Whether this is a translation into English."""

    @property
    def text(self) -> str:
        """The bare text."""
        return subtitles.to_text(self.segments)


def render_transcript(transcript: Transcript, fields: TranscriptionFields) -> str:
    """Return a transcript in the response format that a request asks for."""
    segments, duration = transcript.segments, transcript.duration
    language = "en" if transcript.translated else transcript.language
    form = fields.response_format
    if form == "text":
        return transcript.text + "\n"
    if form == "srt":
        return subtitles.to_srt(segments, duration=duration, language=language)
    if form == "vtt":
        return subtitles.to_vtt(segments, duration=duration, language=language)
    body: dict[str, Any]
    if form == "verbose_json":
        body = subtitles.to_verbose_json(
            segments,
            duration=duration,
            language=language,
            task="translate" if transcript.translated else "transcribe",
            granularities=frozenset(fields.timestamp_granularities),
        )
    elif form == "diarized_json":
        body = subtitles.to_diarized_json(segments, duration=duration)
    else:
        body = {"text": transcript.text, "usage": subtitles.usage(duration)}
        if "logprobs" in fields.include:
            body["logprobs"] = subtitles.to_logprobs(segments)
    return json.dumps(body, ensure_ascii=False)
