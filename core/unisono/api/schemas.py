"""The OpenAPI document, generated from the installed engines.

The bodies of the audio routes are a choice (`oneOf`), one alternative for each engine, told apart
by `model`: the fields that every model shares, and the engine's own Params beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from ..codecs import FORMATS
from ..engine import Engine
from ..entries import Entry
from ..fields import Fields, SpeechFields, TranscriptionFields
from ..kernel import Kernel
from ..types import Task
from .engines import speech_engines
from .middleware import is_public
from .voices import VoiceFields

REF = "#/components/schemas/{model}"
_ERRORS = {
    "400": "Something in the request is wrong; `error.param` names the field.",
    "401": "The API key is missing or wrong.",
    "404": "There is no such model or address.",
    "413": "The body is larger than allowed.",
    "429": "Too many requests are waiting; try again after `Retry-After` seconds.",
    "500": "An engine failed.",
    "503": "The engine cannot serve now.",
}
_ERROR: dict[str, Any] = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_BINARY = {"type": "string", "format": "binary"}


def document(app: FastAPI, kernel: Kernel) -> None:
    """Make `app.openapi()` describe what the kernel serves. Made once, when first asked for."""
    routes = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(routes(), kernel)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(schema: dict[str, Any], kernel: Kernel) -> dict[str, Any]:
    speaking: dict[str, dict[str, Any]] = {
        "/v1/audio/speech": {"operationId": "createSpeech", "summary": "Speak a text"}
    }
    for engine in speech_engines(kernel):
        speaking[f"/v1/{engine}/audio/speech"] = {
            "operationId": f"{engine}_createSpeech",
            "summary": f"Speak a text with a model of engine {engine}",
            "tags": [engine],
        }
    speak = {path: {"post": {**what, "responses": {}}} for path, what in speaking.items()}
    schema["paths"] = {**speak, **schema["paths"]}
    _secure(schema, kernel)
    components: dict[str, Any] = schema.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own shape is never sent
        components.pop(name, None)
    components["Error"] = _ERROR
    error = {"application/json": {"schema": {"$ref": REF.format(model="Error")}}}
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            for status, description in _ERRORS.items():
                operation["responses"][status] = {"description": description, "content": error}

    everyone = _body(kernel, Task.SPEECH, SpeechFields, components)
    for path in speaking:
        engine = path.split("/")[2]
        ref = REF.format(model=_title(engine, Task.SPEECH))
        body = everyone if path == "/v1/audio/speech" else {"$ref": ref}
        operation = schema["paths"][path]["post"]
        # A form brings the recording of a voice as a file.
        content: dict[str, Any] = {"application/json": {"schema": body}}
        content["multipart/form-data"] = {"schema": body}
        operation["requestBody"] = {"required": True, "content": content}
        content = {kind.media_type: {"schema": _BINARY} for kind in FORMATS.values()}
        content["text/event-stream"] = {"schema": {"type": "string"}}
        operation["responses"]["200"] = {
            "description": "The audio, or events of it.",
            "content": content,
        }
        store = schema["paths"].get(f"/v1/{engine}/voices/register")
        if store:
            store["post"]["requestBody"] = _voice_body(components)
    schema["paths"]["/v1/audio/voices"]["post"]["requestBody"] = _voice_body(components)

    body = _body(kernel, Task.TRANSCRIPTION, TranscriptionFields, components)
    text = {"schema": {"type": "string"}}
    content = {"application/json": {"schema": {"type": "object"}}}
    content |= dict.fromkeys(("text/plain", "text/vtt", "text/event-stream"), text)
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        write = schema["paths"][path]["post"]
        write["requestBody"] = {
            "required": True,
            "content": {"multipart/form-data": {"schema": body}},
        }
        write["responses"]["200"] = {"description": "The transcript.", "content": content}
    return schema


def _voice_body(components: dict[str, Any]) -> dict[str, Any]:
    title = "VoiceRequest"
    if title not in components:
        body = dict(_hoisted(VoiceFields, "", components))
        sample = {**_BINARY, "description": "Recording of the voice, in any common form."}
        body["properties"] = {**body["properties"], "audio_sample": sample}
        components[title] = {**body, "title": title}
    ref = {"$ref": REF.format(model=title)}
    return {"required": True, "content": {"multipart/form-data": {"schema": ref}}}


def _secure(schema: dict[str, Any], kernel: Kernel) -> None:
    """Say which operations want a key, so that the page at /docs can ask for it."""
    server = kernel.config.server
    if not server.api_keys:
        return
    schemes = {"ApiKey": {"type": "http", "scheme": "bearer"}}
    schema.setdefault("components", {})["securitySchemes"] = schemes
    schema["security"] = [{"ApiKey": []}]
    for path, operations in schema["paths"].items():
        if "get" in operations and is_public(path, server.public_discovery):
            operations["get"]["security"] = []


def _body(
    kernel: Kernel, task: Task, fields: type[Fields], components: dict[str, Any]
) -> dict[str, Any]:
    """Add one schema for each engine to the components; return the choice between them."""
    names = {entry.id: entry for entry in kernel.catalog.entries if entry.info.task is task}
    names |= {n: e for n, e in kernel.catalog.aliases.items() if e.info.task is task}
    by_engine: dict[type[Engine], list[str]] = {}
    for name, entry in names.items():
        by_engine.setdefault(entry.engine, []).append(name)
    mapping: dict[str, str] = {}
    for engine, models in by_engine.items():
        title = _title(engine.name, task)
        components[title] = _engine_body(engine, models, title, fields, components)
        _add_helper(kernel, [names[model] for model in models], components, title)
        mapping |= dict.fromkeys(models, REF.format(model=title))
    refs = [{"$ref": ref} for ref in dict.fromkeys(mapping.values())]
    if not refs:  # nothing is installed; the shared fields still say what the route is for
        title = f"{task.value.title()}Request"
        components[title] = _engine_body(Engine, [], title, fields, components)
        return {"$ref": REF.format(model=title)}
    return {"oneOf": refs, "discriminator": {"propertyName": "model", "mapping": mapping}}


def _add_helper(
    kernel: Kernel, entries: list[Entry], components: dict[str, Any], title: str
) -> None:
    """Add the options of the model that tells speakers apart, where these models need it."""
    helper = next(filter(None, map(kernel.catalog.diarizer, entries)), None)
    if helper is not None:
        own = _hoisted(helper.params_type, title, components).get("properties", {})
        components[title]["properties"] = {**own, **components[title]["properties"]}


def _title(engine: str, task: Task) -> str:
    return f"{engine.title().replace('_', '')}{task.value.title()}Request"


def _engine_body(
    engine: type[Engine],
    models: list[str],
    title: str,
    fields: type[Fields],
    components: dict[str, Any],
) -> dict[str, Any]:
    shared = _hoisted(fields, "", components)
    own = _hoisted(engine.params_type, title, components)
    properties = {**shared["properties"], **own.get("properties", {})}
    model: dict[str, Any] = {"type": "string", "description": "Model id or alias."}
    if models:
        model["enum"] = models
    properties["model"] = model
    required = ["model", *shared.get("required", [])]
    if fields is TranscriptionFields:
        properties = {"file": {**_BINARY, "description": "Audio in any common form."}, **properties}
        required = ["file", *required]
    return {"title": title, "type": "object", "properties": properties, "required": required}


def _hoisted(type_: type[BaseModel], prefix: str, components: dict[str, Any]) -> Mapping[str, Any]:
    """Return a model's schema; the types that it refers to become components.

    :param prefix: for their names, as two plugins may each have a `Style`.
    """
    schema = type_.model_json_schema(ref_template=REF.format(model=prefix + "{model}"))
    components.update({prefix + name: part for name, part in schema.pop("$defs", {}).items()})
    return schema
