"""One spelling inside, every spelling outside: how other servers' clients name the same things.

Sources: Xinference's REST client (`prompt_speech`, `prompt_text`, `instruct_text`, and further
options as JSON in `kwargs`), the ZipVoice routes of Kokoro-FastAPI's fork (`prompt_wav_file`),
vLLM-Omni and omlx (`ref_audio`, `ref_text`), mlx-audio (`instruct`), GPT-SoVITS (`prompt_lang`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .errors import RequestError


def _owners(spellings: Mapping[str, tuple[str, ...]]) -> Mapping[str, str]:
    return {other: own for own, others in spellings.items() for other in others}


_RECORDING = ("prompt_speech", "prompt_audio", "prompt_wav", "prompt_wav_file", "reference_audio")
_TRANSCRIPT = ("prompt_text", "reference_text", "prompt_transcript")

SPEECH_SPELLINGS = _owners(
    {
        "ref_audio": _RECORDING,
        "ref_text": _TRANSCRIPT,
        "ref_language": ("prompt_lang", "prompt_language"),
        "instructions": ("instruct", "instruct_text"),
    }
)
"""A name elsewhere → the field of a speech request."""
TRANSCRIPTION_SPELLINGS = _owners({"keywords": ("hotword", "hotwords")})
"""A name elsewhere → the field of a transcription request."""
VOICE_SPELLINGS = _owners(
    {
        "audio_sample": ("audio_file", "audio", "file", "ref_audio", *_RECORDING),
        "text": ("transcription", "transcript", "ref_text", *_TRANSCRIPT),
        "description": ("prompt",),
    }
)
"""A name elsewhere → the field of a voice to be stored."""
KWARGS = "kwargs"
"""Where Xinference's client sends what it has no argument for, as JSON."""


def respelled(
    raw: Mapping[str, Any], spellings: Mapping[str, str] = SPEECH_SPELLINGS
) -> dict[str, Any]:
    """Return a request in which everything goes by its own name.

    :raises RequestError: if a field is given under two names, or `kwargs` is not JSON.
    """
    request: dict[str, Any] = {}
    came_as: dict[str, str] = {}
    if spellings.keys().isdisjoint(raw) and KWARGS not in raw:
        return dict(raw)
    for name, value in (*raw.items(), *_unpacked(raw.get(KWARGS)).items()):
        if value is None or name == KWARGS:
            continue
        own = spellings.get(name, name)
        if own in request and request[own] != value:
            raise RequestError(
                f"{name}: this request has {came_as[own]!r} already, which means the same.",
                param=name,
            )
        request[own] = value
        came_as[own] = name
    return request


def _unpacked(kwargs: object) -> Mapping[str, Any]:
    if not kwargs:
        return {}
    try:
        value = json.loads(kwargs) if isinstance(kwargs, str) else kwargs
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{KWARGS}: not valid JSON: {error}.", param=KWARGS) from error
    if not isinstance(value, Mapping):
        raise RequestError(f"{KWARGS}: a JSON object is expected.", param=KWARGS)
    return value
