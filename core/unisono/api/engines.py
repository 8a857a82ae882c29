"""The same routes for every speech engine: /v1/{engine}/audio/speech and /v1/{engine}/voices.

The shapes are those of the ZipVoice integration of Kokoro-FastAPI ("ZipVoice Integration Guide"),
whose clients work with any engine here. The voices are those of the one store.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from ..errors import UnsupportedFeature
from ..kernel import Kernel
from ..store import StoredVoice
from ..types import Feature, Task
from .speech import without_effect
from .voices import add_voice, audio_info, find_voice, remove_voice


def speech_engines(kernel: Kernel) -> list[str]:
    """Return the names of the engines that speak, in the order of the catalogue."""
    speaking = (entry for entry in kernel.catalog.entries if entry.info.task is Task.SPEECH)
    return list(dict.fromkeys(entry.info.engine for entry in speaking))


def engine_router(kernel: Kernel, engine: str) -> APIRouter:
    """Return the routes of one engine but for the one that speaks (`speech_route`)."""
    router = APIRouter(prefix=f"/v1/{engine}/voices", tags=[engine])
    models = [entry.info for entry in kernel.catalog.entries if entry.info.engine == engine]
    clones = any(Feature.VOICE_CLONING in model.features for model in models)

    @router.post("/register", operation_id=f"{engine}_registerVoice", summary="Store a voice")
    async def register(request: Request) -> Response:
        if not clones:
            raise UnsupportedFeature(f"Engine {engine!r} cannot clone voices.", param="audio_file")
        voice, ignored = await add_voice(kernel, request, replace=True)
        body = {"message": f"Voice {voice.name!r} is registered.", **_described(voice)}
        return JSONResponse(body, headers=without_effect(ignored))

    @router.get("", operation_id=f"{engine}_listVoices", summary="List the voices")
    async def list_voices() -> dict[str, Any]:
        own = dict.fromkeys(voice.name for model in models for voice in model.voices)
        voices: dict[str, Any] = {name: {"audio_path": None, "transcription": None} for name in own}
        for voice in await kernel.stored_voices() if clones else ():
            path = f"/v1/audio/voices/{voice.id}/audio" if voice.digest else None
            voices[voice.name] = {"audio_path": path, "transcription": voice.text}
        return {"voices": voices, "count": len(voices)}

    @router.post(
        "/cache/clear",
        operation_id=f"{engine}_clearVoiceCache",
        summary="Forget what was computed of recordings",
    )
    async def clear_cache(
        cache_type: Literal["url", "base64", "all"] = Query(
            "all", description="Accepted as it is sent; recordings share one cache."
        ),
    ) -> dict[str, Any]:
        cleared = await kernel.forget_voices(engine)
        return {
            "message": f"The cache is empty ({cache_type}).",
            "cache_type": cache_type,
            "cleared": cleared,
        }

    @router.get("/{name}", operation_id=f"{engine}_retrieveVoice", summary="Describe a voice")
    async def retrieve(name: str) -> dict[str, Any]:
        return _described(await find_voice(kernel, name))

    @router.delete("/{name}", operation_id=f"{engine}_deleteVoice", summary="Delete a voice")
    async def delete(name: str) -> dict[str, Any]:
        voice = await remove_voice(kernel, name)
        return {"message": f"Voice {voice.name!r} is deleted.", "name": voice.name}

    return router


def _described(voice: StoredVoice) -> dict[str, Any]:
    return {"name": voice.name, "transcription": voice.text, "audio_info": audio_info(voice)}
