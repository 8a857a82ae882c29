"""What a client can find out: models, voices, engines, health."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from unisono import ConfigError, EngineUnavailable, hookimpl
from unisono.testing import EchoEngine


def test_models_are_described(http: httpx.Client) -> None:
    body = http.get("/v1/models").json()
    assert body["object"] == "list"
    models = {model["id"]: model for model in body["data"]}
    assert len(models) == len(body["data"])
    echo = models["echo"]
    assert (echo["object"], echo["owned_by"], echo["task"]) == ("model", "echo", "speech")
    assert abs(echo["created"] - time.time()) < 3600
    assert echo["voices"] == ["near", "far"]
    assert "gain" in echo["parameters"]["properties"]
    assert models["echo-transcriber"]["task"] == "transcription"
    assert models["tts-1"]["alias_of"] == "echo"
    assert models["whisper-1"]["alias_of"] == "echo-transcriber"


@pytest.mark.parametrize("name", ["echo", "whisper-1", "gpt-4o-mini-tts-2025-12-15"])
def test_a_model_is_described_under_the_name_it_was_asked_for(
    http: httpx.Client, name: str
) -> None:
    assert http.get(f"/v1/models/{name}").json()["id"] == name


@pytest.mark.parametrize("path", ["acme/narrator", "acme%2Fnarrator"])
def test_a_models_id_may_have_slashes(serve: Callable[..., Any], path: str) -> None:
    server = serve({"models": {"acme/narrator": {"engine": "echo"}}})
    assert httpx.get(f"{server.url}/v1/models/{path}").json()["id"] == "acme/narrator"


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "%ED%A0%80", "%00", ".."])
def test_an_unknown_model_is_not_found(http: httpx.Client, name: str) -> None:
    answer = http.get(f"/v1/models/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_open_webui_finds_models_that_speak(http: httpx.Client) -> None:
    names = [model["id"] for model in http.get("/v1/audio/models").json()["models"]]
    assert names[0] == "echo"
    assert "tts-1" in names
    assert "whisper-1" not in names


def test_voices_are_listed_once_with_their_models(http: httpx.Client) -> None:
    body = http.get("/v1/audio/voices").json()
    assert body["data"] == body["voices"]
    near, far = body["voices"]
    assert (near["id"], near["name"], near["models"]) == ("near", "near", ["echo", "async-echo"])
    assert far["languages"] == ["en-GB"]
    assert body["has_more"] is False


def test_voices_come_in_pages(http: httpx.Client) -> None:
    first = http.get("/v1/audio/voices", params={"limit": "1"}).json()
    assert [voice["id"] for voice in first["voices"]] == ["near"]
    assert first["has_more"] is True
    rest = http.get("/v1/audio/voices", params={"limit": "100", "after": "near"}).json()
    assert [voice["id"] for voice in rest["voices"]] == ["far"]
    assert rest["has_more"] is False


def test_voices_come_as_bare_names_for_older_clients(http: httpx.Client) -> None:
    assert http.get("/v1/audio/voices?legacy=true").json() == {"voices": ["near", "far"]}


def test_voices_of_one_model(http: httpx.Client) -> None:
    voices = http.get("/v1/audio/voices?model=tts-1").json()["voices"]
    assert [voice["models"] for voice in voices] == [["echo"], ["echo"]]


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("limit=0", 400, "limit"),
        ("limit=many", 400, "limit"),
        ("limit=1e9", 400, "limit"),
        ("limit=99999999999999999999999", 200, None),
        ("legacy=perhaps", 400, "legacy"),
        ("after=nobody", 400, "after"),
        ("model=nothing", 404, "model"),
        ("model=whisper-1", 400, "model"),
        ("model=%ff%00", 404, "model"),
    ],
)
def test_a_wrong_question_about_voices_is_named(
    http: httpx.Client, query: str, status: int, param: str | None
) -> None:
    answer = http.get(f"/v1/audio/voices?{query}")
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["param"] == param


def test_engines_are_described_with_their_plugins(http: httpx.Client) -> None:
    body = http.get("/v1/engines").json()
    engines = {engine["id"]: engine for engine in body["data"]}
    assert engines["echo"]["plugin"] == "echo"
    assert engines["echo"]["tasks"] == ["speech"]
    assert engines["echo"]["models"] == ["echo"]
    assert "sample_rate" in engines["echo"]["settings"]["properties"]
    assert "gain" in engines["echo"]["parameters"]["properties"]


def test_health_says_that_the_server_lives(http: httpx.Client) -> None:
    body = http.get("/health").json()
    assert body["status"] == "ok"
    assert body["version"]


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_watchers_may_ask_for_the_head_only(http: httpx.Client, path: str) -> None:
    answer = http.head(path)
    assert answer.status_code == http.get(path).status_code
    assert answer.content == b""


def test_a_server_without_engines_still_answers(serve: Callable[..., Any]) -> None:
    from unisono import Kernel
    from unisono.config import Config
    from unisono.plugins import PluginManager

    server = serve(kernel=Kernel(Config.load(None), PluginManager()))
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/v1/models").json()["data"] == []
        assert client.get("/v1/audio/voices").json()["voices"] == []
        assert client.get("/openapi.json").status_code == 200
        answer = client.post("/v1/audio/speech", json={"input": "x"})
        assert answer.status_code == 404
        assert "install a plugin" in answer.json()["error"]["message"]


def test_ready_lists_what_is_loaded(serve: Callable[..., Any]) -> None:
    server = serve({"server": {"preload": ["whisper-1"]}})
    answer = eventually_ready(server)
    assert answer.json() == {"status": "ready", "loaded": {"echo-transcriber": 0}}


def test_a_server_is_not_ready_until_its_models_are_loaded(serve: Callable[..., Any]) -> None:
    models = {"heavy": {"engine": "echo", "load_seconds": 0.5}}
    server = serve({"server": {"preload": ["heavy"]}, "models": models})
    answer = httpx.get(f"{server.url}/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "loading")
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert eventually_ready(server).json()["loaded"] == {"heavy": 0}


def test_a_server_whose_model_cannot_be_loaded_lives_but_is_not_ready(
    serve: Callable[..., Any],
) -> None:
    models = {"broken": {"engine": "echo", "fail_load": True}}
    server = serve({"server": {"preload": ["broken"]}, "models": models})
    deadline = time.monotonic() + 10
    while (answer := httpx.get(f"{server.url}/ready")).json()["status"] == "loading":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert answer.status_code == 503
    assert "told not to load" in answer.json()["status"]
    assert httpx.get(f"{server.url}/health").status_code == 200


class Recovering(EchoEngine):
    """Fails to load once."""

    name = "recovering"
    attempts = 0

    def load(self) -> None:
        type(self).attempts += 1
        if type(self).attempts == 1:
            raise EngineUnavailable("Not yet.")


def test_a_server_becomes_ready_when_its_model_recovers(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unisono.api.app.RETRY_SECONDS", 0.05)
    monkeypatch.setattr("unisono.pool.FIRST_RETRY", 0.01)
    plugin = SimpleNamespace(register_engines=hookimpl(lambda: [Recovering]))
    server = serve({"server": {"preload": ["recovering"]}}, {"recovering": plugin})
    assert eventually_ready(server).json()["loaded"] == {"recovering": 0}


def test_preloading_a_model_that_does_not_exist_keeps_the_server_from_starting(
    make_kernel: Callable[..., Any],
) -> None:
    with pytest.raises(ConfigError, match=r"server\.preload: There is no model 'nothing'"):
        make_kernel({"server": {"preload": ["nothing"]}})


def eventually_ready(server: Any) -> httpx.Response:
    deadline = time.monotonic() + 10
    while (answer := httpx.get(f"{server.url}/ready")).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return answer
