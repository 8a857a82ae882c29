"""Stored voices: OpenAI's custom voices, and more of them.

The contract is OpenAI's (`POST /v1/audio/voices`: a form of name, audio_sample and consent, or of
name and prompt). The transcript, language and description are unisono's.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from ..errors import RequestError, VoiceNotFound
from ..kernel import Kernel
from ..parsing import validate
from ..references import decoded_recording
from ..spellings import VOICE_SPELLINGS, respelled
from ..store import StoredVoice
from .bodies import is_form, read_form, read_json, read_uploads
from .speech import MAX_OTHER_FIELDS, without_effect

AUDIO = "audio_sample"


class VoiceFields(BaseModel):
    """The fields of POST /v1/audio/voices, beside the recording."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="What requests will say as `voice`.")
    text: str | None = Field(
        None, description="Extension. What is said in the recording, word for word."
    )
    language: str | None = Field(
        None, description="Extension. BCP 47 tag of what is said in the recording."
    )
    description: str | None = Field(
        None,
        description="Free text. For a voice without a recording, what it is to sound like.",
    )
    consent: str | None = Field(None, description="Kept, and not checked.")


def voices_router(kernel: Kernel) -> APIRouter:
    """Return the routes that store voices."""
    router = APIRouter()
    store = kernel.store

    @router.post("/v1/audio/voices", operation_id="createVoice", summary="Store a voice")
    async def create_voice(request: Request) -> Response:
        voice, ignored = await add_voice(kernel, request)
        return JSONResponse(described(voice), headers=without_effect(ignored))

    # Names are matched up to the end of the path: clients send anything in them.
    @router.get(
        "/v1/audio/voices/{voice}/audio",
        operation_id="retrieveVoiceAudio",
        summary="Return the recording of a stored voice, as it was sent",
        response_class=Response,
    )
    async def retrieve_audio(voice: str) -> Response:
        found = await find_voice(kernel, voice)
        if found.digest is None:
            raise VoiceNotFound(f"Voice {found.name!r} has no recording.", param="voice")
        data = await asyncio.to_thread(store.recording, found)
        return Response(data, media_type="application/octet-stream")

    @router.get(
        "/v1/audio/voices/{voice}", operation_id="retrieveVoice", summary="Describe a stored voice"
    )
    async def retrieve_voice(voice: str) -> dict[str, Any]:
        return described(await find_voice(kernel, voice))

    @router.delete(
        "/v1/audio/voices/{voice}", operation_id="deleteVoice", summary="Delete a stored voice"
    )
    async def delete_voice(voice: str) -> dict[str, Any]:
        removed = await remove_voice(kernel, voice)
        return {"id": removed.id, "object": "audio.voice.deleted", "deleted": True}

    return router


def described(voice: StoredVoice) -> dict[str, Any]:
    """Return a stored voice as OpenAI describes one, and what unisono knows besides."""
    return {
        "id": voice.id,
        "object": "audio.voice",
        "name": voice.name,
        "created_at": voice.created_at,
        "type": "prompt" if voice.digest is None else AUDIO,
        "text": voice.text,
        "language": voice.language,
        "description": voice.description,
        "consent": voice.consent,
        "audio_info": audio_info(voice),
    }


def audio_info(voice: StoredVoice) -> dict[str, Any] | None:
    """Say what the recording is, in the words of the ZipVoice routes; None without one."""
    if voice.digest is None:
        return None
    return {
        "duration": voice.duration,
        "samplerate": voice.sample_rate,
        "channels": voice.channels,
        "samples": voice.frames,
        "format": f".{voice.format}",
    }


async def add_voice(
    kernel: Kernel, request: Request, *, replace: bool = False
) -> tuple[StoredVoice, list[str]]:
    """Store the voice that a request brings, as a form or as JSON; return what was ignored, too.

    :raises RequestError: naming the field.
    """
    limit = kernel.config.voices.max_bytes
    if is_form(request):
        async with read_form(request, wanted=AUDIO) as form:
            raw: dict[str, Any] = {name: value for name, value in form.pairs if value}
            texts = VoiceFields.model_fields
            raw |= await read_uploads(form, AUDIO, limit, spellings=VOICE_SPELLINGS, texts=texts)
    else:
        raw = await read_json(request, limit * 4 // 3 + MAX_OTHER_FIELDS)
    raw = respelled(raw, VOICE_SPELLINGS)
    ignored = [name for name in raw if name not in VoiceFields.model_fields and name != AUDIO]
    fields = validate(VoiceFields, {n: v for n, v in raw.items() if n in VoiceFields.model_fields})
    recording = raw.get(AUDIO)
    if isinstance(recording, str):
        recording = await asyncio.to_thread(decoded_recording, recording, AUDIO)
    elif not isinstance(recording, bytes | None):
        raise RequestError(f"{AUDIO}: a recording as base64 is expected.", param=AUDIO)
    if recording is None and fields.description is None:
        raise RequestError(
            f"{AUDIO}: upload a recording of the voice, or describe it in `prompt`.", param=AUDIO
        )
    values = fields.model_dump()
    added = await asyncio.to_thread(
        kernel.store.add, values.pop("name"), recording, replace=replace, **values
    )
    return added, ignored


async def find_voice(kernel: Kernel, name: str) -> StoredVoice:
    """Return a stored voice by name or id.

    :raises VoiceNotFound: if there is none.
    """
    voice = await asyncio.to_thread(kernel.store.get, name)
    if voice is None:
        raise _not_found(name)
    return voice


async def remove_voice(kernel: Kernel, name: str) -> StoredVoice:
    """Delete a stored voice by name or id.

    :raises VoiceNotFound: if there is none.
    """
    voice = await asyncio.to_thread(kernel.store.remove, name)
    if voice is None:
        raise _not_found(name)
    return voice


def _not_found(name: str) -> VoiceNotFound:
    return VoiceNotFound(
        f"No voice {name[:99]!r} is stored here; GET /v1/audio/voices lists those that are.",
        param="voice",
    )
