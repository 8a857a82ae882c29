"""What is there: models, voices, engines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from ..entries import Entry
from ..errors import RequestError
from ..kernel import Kernel
from ..store import StoredVoice
from ..types import Feature, Task
from ..voice import Voice
from .voices import described

ABILITIES = {Task.SPEECH: ["text2audio"], Task.TRANSCRIPTION: ["audio2text"]}


def models_router(kernel: Kernel) -> APIRouter:
    """Return the routes that list models, voices and engines."""
    router = APIRouter()
    catalog = kernel.catalog
    created = int(time.time())

    def model(entry: Entry, name: str) -> dict[str, Any]:
        info = entry.info
        described = {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": entry.plugin,
            "engine": info.engine,
            "task": info.task.value,
            # What Xinference's client asks before it talks to a model.
            "model_type": "audio",
            "model_ability": ABILITIES.get(info.task, []),
            "features": sorted(feature.value for feature in info.features),
            "languages": list(info.languages),
            "sample_rate": info.sample_rate,
            "voices": [voice.name for voice in info.voices],
            "parameters": _schema(entry.params_type),
        }
        if name != entry.id:
            described["alias_of"] = entry.id
        return described

    @router.get("/v1/models", operation_id="listModels", summary="List the models")
    async def list_models() -> dict[str, Any]:
        data = [model(entry, entry.id) for entry in catalog.entries]
        data += [model(entry, name) for name, entry in catalog.aliases.items()]
        return {"object": "list", "data": data}

    # Ids may contain slashes, as hub ids do; the SDKs send them as %2F.
    @router.get(
        "/v1/models/{model_id:path}", operation_id="retrieveModel", summary="Describe a model"
    )
    async def retrieve_model(model_id: str) -> dict[str, Any]:
        return model(catalog.get(model_id), model_id)

    @router.get(
        "/v1/cluster/auth",
        operation_id="wantsKeys",
        summary="Say whether a key is wanted, as Xinference's client asks first",
    )
    async def wants_keys() -> dict[str, bool]:
        return {"auth": bool(kernel.config.server.api_keys)}

    @router.get(
        "/v1/audio/models",
        operation_id="listSpeechModels",
        summary="List the models that speak, as Open WebUI asks for them",
    )
    async def list_speech_models() -> dict[str, Any]:
        names = [entry.id for entry in catalog.entries if entry.info.task is Task.SPEECH]
        names += [n for n, entry in catalog.aliases.items() if entry.info.task is Task.SPEECH]
        return {"models": [{"id": name, "name": name} for name in names]}

    @router.get("/v1/audio/voices", operation_id="listVoices", summary="List the voices")
    async def list_voices(
        model: str | None = Query(None, description="Only the voices of this model."),
        limit: int | None = Query(None, ge=1, description="At most this many."),
        after: str | None = Query(None, description="Only those after the voice of this id."),
        legacy: bool = Query(False, description="Bare names, as Kokoro-FastAPI once sent them."),
    ) -> dict[str, Any]:
        voices = _voices(kernel, model, await kernel.stored_voices())
        if after is not None:
            ids = [voice["id"] for voice in voices]
            if after not in ids:
                raise RequestError(f"after: there is no voice {after!r}.", param="after")
            voices = voices[ids.index(after) + 1 :]
        page = voices if limit is None else voices[:limit]
        if legacy:
            return {"voices": [voice["name"] for voice in page]}
        return {
            "object": "list",
            "voices": page,
            "data": page,
            "has_more": len(page) < len(voices),
        }

    @router.get(
        "/v1/engines", operation_id="listEngines", summary="Say what every installed engine can do"
    )
    async def list_engines() -> dict[str, Any]:
        return {
            "object": "list",
            "data": [_engine(kernel, name) for name in kernel.plugins.engines],
            "plugins": [
                {
                    "name": status.name,
                    "distribution": status.distribution,
                    "version": status.version,
                    # The reason of a failure may name paths; `unisono plugins` shows it.
                    "state": status.state.split(":")[0],
                }
                for status in kernel.plugins.statuses
            ],
        }

    return router


def _voices(
    kernel: Kernel, name: str | None, stored: Sequence[StoredVoice]
) -> list[dict[str, Any]]:
    """Return each voice once, with the models that have it; the default model's come first."""
    catalog = kernel.catalog
    if name is not None:
        entries = [catalog.resolve(name, Task.SPEECH)]
    else:
        default = catalog.default(Task.SPEECH)
        speaking = [entry for entry in catalog.entries if entry.info.task is Task.SPEECH]
        entries = sorted(speaking, key=lambda entry: entry is not default)
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        for voice in entry.info.voices:
            known = found.setdefault(voice.name, _voice(voice))
            known["models"].append(entry.id)
    server = kernel.config.server
    # To those without a key, what somebody said and signed is nothing to discover.
    private = ("text", "consent") if server.api_keys and server.public_discovery else ()
    for each in stored:
        needed = Feature.VOICE_CLONING if each.digest else Feature.VOICE_DESIGN
        able = [entry.id for entry in entries if needed in entry.info.features]
        if able:
            row = {name: value for name, value in described(each).items() if name not in private}
            found.setdefault(each.name, {**row, "models": able})
    return list(found.values())


def _voice(voice: Voice) -> dict[str, Any]:
    return {
        "id": voice.name,
        "object": "audio.voice",
        "name": voice.name,
        "languages": list(voice.languages),
        "gender": voice.gender,
        "description": voice.description,
        "models": [],
    }


def _engine(kernel: Kernel, name: str) -> dict[str, Any]:
    engine, plugin = kernel.plugins.engines[name]
    entries = [entry for entry in kernel.catalog.entries if entry.engine is engine]
    features = {feature.value for entry in entries for feature in entry.info.features}
    return {
        "id": name,
        "object": "engine",
        "plugin": plugin,
        "description": (engine.__doc__ or "").strip().split("\n")[0],
        "tasks": sorted({entry.info.task.value for entry in entries}),
        "models": [entry.id for entry in entries],
        "features": sorted(features),
        "parameters": _schema(engine.params_type),
        "settings": _schema(engine.settings_type),
    }


@cache  # it never changes, and making it for each model of a list would hold up the event loop
def _schema(type_: type[BaseModel]) -> dict[str, Any]:
    return type_.model_json_schema()
