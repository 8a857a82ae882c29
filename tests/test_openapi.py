"""The OpenAPI document says what the server does, for whatever is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, Field

from unisono import Engine, Params, hookimpl
from unisono.testing import EchoEngine, EchoTranscriber

validator = pytest.importorskip("openapi_spec_validator")

SPEECH, TRANSCRIPTIONS = "/v1/audio/speech", "/v1/audio/transcriptions"


def plugin_of(*engines: type[Engine]) -> object:
    class Plugin:
        @hookimpl
        def register_engines(self) -> list[type[Engine]]:
            return list(engines)

    return Plugin()


def ornate() -> type[Engine]:
    """An engine with every kind of option."""

    class Style(str, Enum):
        CALM = "calm"
        WILD = "wild"

    class Range(BaseModel):
        low: float = Field(0.0, description="Hertz.")
        high: float = Field(1.0, description="Hertz.")

    class OrnateParams(Params):
        style: Style = Field(Style.CALM, description="How it sounds.")
        pitch: Range = Field(Range(), description="Limits of the pitch.")
        seeds: list[int] = Field([], description="Seeds.")
        depth: int | None = Field(None, ge=1, le=5, description="Depth.")

    class Ornate(EchoEngine):
        name = "ornate"
        params_type = OrnateParams

    return Ornate


def plain() -> type[Engine]:
    """Another one, whose types have the same names and other values."""

    class Style(str, Enum):
        LOUD = "loud"

    class PlainParams(Params):
        manner: Style = Field(Style.LOUD, description="How it sounds.")

    class Plain(EchoTranscriber):
        name = "plain"
        params_type = PlainParams

        @classmethod
        def presets(cls) -> Any:
            return {"plain": cls.settings_type()}

    return Plain


@pytest.fixture(scope="module")
def document(module_serve: Callable[..., Any]) -> dict[str, Any]:
    plugins = {"ornate": plugin_of(ornate()), "plain": plugin_of(plain())}
    server = module_serve({"models": {"acme/one": {"engine": "echo"}}}, plugins)
    answer = httpx.get(f"{server.url}/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        found: Any = document
        for key in schema["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        schema = found
    return schema


def body(document: dict[str, Any], path: str) -> dict[str, Any]:
    (content,) = document["paths"][path]["post"]["requestBody"]["content"].values()
    schema: dict[str, Any] = content["schema"]
    return schema


def alternative(document: dict[str, Any], path: str, model: str) -> dict[str, Any]:
    reference = body(document, path)["discriminator"]["mapping"][model]
    return resolve(document, {"$ref": reference})


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validator.validate(document)


def test_a_server_without_engines_has_a_valid_document_too() -> None:
    from unisono import Kernel
    from unisono.api import create_app
    from unisono.config import Config
    from unisono.plugins import PluginManager

    validator.validate(create_app(Kernel(Config.load(None), PluginManager())).openapi())


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        assert resolve(document, {"$ref": reference})


@pytest.mark.parametrize("path", [SPEECH, TRANSCRIPTIONS, "/v1/audio/translations"])
def test_a_body_is_a_choice_by_model(document: dict[str, Any], path: str) -> None:
    schema = body(document, path)
    assert schema["discriminator"]["propertyName"] == "model"
    mapping = schema["discriminator"]["mapping"]
    assert {choice["$ref"] for choice in schema["oneOf"]} == set(mapping.values())
    seen: list[str] = []
    for choice in schema["oneOf"]:
        alternative = resolve(document, choice)
        assert alternative["type"] == "object"
        assert "model" in alternative["required"]
        seen += alternative["properties"]["model"]["enum"]
    assert sorted(seen) == sorted(mapping)  # so exactly one alternative fits a body


def test_models_and_aliases_lead_to_their_engine(document: dict[str, Any]) -> None:
    speech = body(document, SPEECH)["discriminator"]["mapping"]
    assert speech["tts-1"] == speech["acme/one"] == speech["echo"]
    assert speech["ornate"] != speech["echo"]
    assert "whisper-1" not in speech
    assert "whisper-1" in body(document, TRANSCRIPTIONS)["discriminator"]["mapping"]


def test_an_engines_own_options_stand_beside_openais_fields(document: dict[str, Any]) -> None:
    echo = alternative(document, SPEECH, "tts-1")["properties"]
    assert {"input", "voice", "speed", "response_format", "gain"} <= set(echo)
    assert "style" not in echo
    assert echo["gain"]["maximum"] == 1
    assert echo["speed"]["minimum"] == 0.25
    assert echo["response_format"]["enum"] == ["mp3", "opus", "aac", "flac", "wav", "pcm"]
    ornate = alternative(document, SPEECH, "ornate")["properties"]
    assert "gain" not in ornate
    pitch = resolve(document, ornate["pitch"])
    assert set(pitch["properties"]) == {"low", "high"}


def test_types_of_the_same_name_in_two_plugins_stay_apart(document: dict[str, Any]) -> None:
    style = alternative(document, SPEECH, "ornate")["properties"]["style"]
    manner = alternative(document, TRANSCRIPTIONS, "plain")["properties"]["manner"]
    assert resolve(document, style)["enum"] == ["calm", "wild"]
    manners = resolve(document, manner)
    assert manners.get("enum", [manners.get("const")]) == ["loud"]


@pytest.mark.parametrize("path", [SPEECH, TRANSCRIPTIONS])
def test_every_field_says_what_it_is_for(document: dict[str, Any], path: str) -> None:
    for choice in body(document, path)["oneOf"]:
        for name, field in resolve(document, choice)["properties"].items():
            assert field.get("description"), name


def test_a_transcription_is_a_form_with_a_file(document: dict[str, Any]) -> None:
    content = document["paths"][TRANSCRIPTIONS]["post"]["requestBody"]["content"]
    assert list(content) == ["multipart/form-data"]
    fields = alternative(document, TRANSCRIPTIONS, "whisper-1")
    assert fields["properties"]["file"]["format"] == "binary"
    assert "file" in fields["required"]


def test_speech_answers_in_every_format(document: dict[str, Any]) -> None:
    content = document["paths"][SPEECH]["post"]["responses"]["200"]["content"]
    assert set(content) == {
        *("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm"),
        "text/event-stream",
    }


def test_every_route_documents_its_errors(document: dict[str, Any]) -> None:
    operations = [
        operation for methods in document["paths"].values() for operation in methods.values()
    ]
    assert len(operations) >= 9
    for operation in operations:
        assert operation["operationId"]
        assert operation["summary"]
        for status in ("400", "401", "404", "413", "429", "500", "503"):
            response = operation["responses"][status]
            error = resolve(document, response["content"]["application/json"]["schema"])
            keys = error["properties"]["error"]["required"]
            assert set(keys) == {"message", "type", "param", "code"}
        assert "422" not in operation["responses"]


def test_operations_have_different_ids(document: dict[str, Any]) -> None:
    ids = [o["operationId"] for methods in document["paths"].values() for o in methods.values()]
    assert len(set(ids)) == len(ids)


def test_a_key_is_documented_as_bearer_token(serve: Callable[..., Any]) -> None:
    server = serve({"server": {"api_keys": ["secret"]}})
    document = httpx.get(f"{server.url}/openapi.json").json()
    validator.validate(document)
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert document["security"]


def test_people_can_read_it(http: httpx.Client) -> None:
    answer = http.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "openapi.json" in answer.text
