"""What a transcript looks like in each response format. Pure functions over segments.

The JSON shapes are those of OpenAI's API reference (`TranscriptionVerbose`,
`TranscriptionDiarized`), key by key.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from .breaks import UNSPACED
from .cues import Cue, make_cues, one_line
from .languages import language_name
from .types import Segment, Word

_QUOTES = "\"'‘’“”…—"


def separator(before: str, after: str) -> str:
    """Return what stands between two consecutive texts: a space, or nothing in CJK or at an end.

    Quotation marks, dashes and ellipses are looked through, as every script uses them.
    """
    before, after = before.strip(), after.strip()
    if not before or not after:
        return ""
    last = before.rstrip(_QUOTES)[-1:]
    first = after.lstrip(_QUOTES)[:1]
    return "" if UNSPACED.match(last) and UNSPACED.match(first) else " "


def to_text(segments: Sequence[Segment]) -> str:
    """Return the bare text in one line."""
    parts: list[str] = []
    before = ""
    for segment in segments:
        if text := one_line(segment.text):
            parts += separator(before, text), text
            before = text
    return "".join(parts)


def to_srt(
    segments: Sequence[Segment], *, duration: float = math.inf, language: str | None = None
) -> str:
    """Return SubRip subtitles. The speaker's name stands before each segment.

    :param duration: seconds of audio.
    :param language: BCP 47 tag of the text.
    """
    cues = make_cues(segments, duration=duration, language=language, labels=True)
    return "\n".join(
        # SubRip cannot escape an arrow; openai/whisper shortens it in the same way.
        f"{number}\n{_timing(cue, ',')}\n{_payload(cue).replace('-->', '->')}\n"
        for number, cue in enumerate(cues, start=1)
    )


def to_vtt(
    segments: Sequence[Segment], *, duration: float = math.inf, language: str | None = None
) -> str:
    """Return WebVTT subtitles (https://www.w3.org/TR/webvtt1/), each cue with its speaker.

    :param duration: seconds of audio.
    :param language: BCP 47 tag of the text.
    """
    cues = make_cues(segments, duration=duration, language=language)
    return "WEBVTT\n\n" + "\n".join(
        f"{_timing(cue, '.')}\n{_voice(cue)}{html.escape(_payload(cue), quote=False)}\n"
        for cue in cues
    )


def to_verbose_json(
    segments: Sequence[Segment],
    *,
    duration: float,
    language: str,
    task: str,
    granularities: frozenset[str],
) -> dict[str, Any]:
    """Return the body of `verbose_json`.

    :param duration: seconds of audio.
    :param language: BCP 47 tag; becomes an English name, as OpenAI's whisper-1 answers.
    :param granularities: "word" adds words; "segment", or nothing at all, adds segments.
    """
    body: dict[str, Any] = {
        "task": task,
        "language": language_name(language),
        "duration": round(duration, 3),
        "text": to_text(segments),
    }
    if "word" in granularities:
        body["words"] = [_word(word) for segment in segments for word in segment.words]
    if "segment" in granularities or not granularities:
        body["segments"] = [_segment(index, segment) for index, segment in enumerate(segments)]
    body["usage"] = usage(duration)
    return body


def to_diarized_json(segments: Sequence[Segment], *, duration: float) -> dict[str, Any]:
    """Return the body of `diarized_json`; the speaker is "unknown" where the engine named none.

    :param duration: seconds of audio.
    """
    return {
        "task": "transcribe",
        "duration": round(duration, 3),
        "text": to_text(segments),
        "segments": [to_diarized_segment(index, segment) for index, segment in enumerate(segments)],
        "usage": usage(duration),
    }


def to_diarized_segment(index: int, segment: Segment) -> dict[str, Any]:
    """Return one segment of `diarized_json`, which is also the event that streams it.

    :param index: counts from 0.
    """
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{index + 1:03}",
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "speaker": segment.speaker or "unknown",
    }


def _payload(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _voice(cue: Cue) -> str:
    return f"<v {html.escape(one_line(cue.speaker), quote=False)}>" if cue.speaker else ""


def _timing(cue: Cue, decimal_mark: str) -> str:
    return f"{_timestamp(cue.start, decimal_mark)} --> {_timestamp(cue.end, decimal_mark)}"


def _timestamp(milliseconds: int, decimal_mark: str) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{decimal_mark}{milliseconds:03}"


def _segment(index: int, segment: Segment) -> dict[str, Any]:
    # Not OpenAI's: only where an engine hears such things.
    heard = {"speaker": segment.speaker, "emotion": segment.emotion, "events": segment.events}
    return {
        "id": index,
        "seek": 0,
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "tokens": list(map(int, segment.tokens)),
        "temperature": _number(segment.temperature),
        "avg_logprob": _number(segment.avg_logprob),
        "compression_ratio": _number(segment.compression_ratio),
        "no_speech_prob": _number(segment.no_speech_prob),
        **{name: value for name, value in heard.items() if value},
    }


def _number(value: float | None) -> float:
    """Return what JSON can carry; engines divide by zero."""
    return float(value) if value is not None and math.isfinite(value) else 0.0


def _word(word: Word) -> dict[str, Any]:
    times = {"start": round(word.start, 3), "end": round(word.end, 3)}
    return {"word": word.text.strip(), **times, **({"estimated": True} if word.estimated else {})}


def to_logprobs(segments: Sequence[Segment], before: str = "") -> list[dict[str, Any]]:
    """Return the log probabilities of all tokens, in order: together, they are the text.

    :param before: the text that these segments continue.
    """
    tokens: list[dict[str, Any]] = []
    for segment in segments:
        space = separator(before, segment.text)
        for each in segment.logprobs:
            lead = "" if each.token[:1].isspace() else space
            data = lead.encode() + (each.data or each.token.encode())
            # OpenAI's number for what is most unlikely. In this order NaN becomes it, too.
            sure = float(min(max(-9999.0, each.logprob), 0.0))
            tokens.append({"token": lead + each.token, "logprob": sure, "bytes": list(data)})
            space = ""
        before = segment.text.strip() or before
    return tokens


def usage(duration: float) -> dict[str, Any]:
    """Return OpenAI's account of a transcription: its seconds of audio, rounded up."""
    # Rounding first: 3.0000000001 seconds are three.
    return {"type": "duration", "seconds": math.ceil(round(duration, 3))}
