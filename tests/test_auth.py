"""Keys, origins and request ids: what surrounds every request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from unisono import Kernel, hookimpl

SPEECH = "/v1/audio/speech"
DISCOVERY = ["/v1/models", "/v1/models/echo", "/v1/audio/models", "/v1/audio/voices", "/v1/engines"]
PUBLIC = ["/health", "/ready", "/openapi.json", "/docs"]


class Defective:
    """A plugin whose route breaks down."""

    @hookimpl
    def register_routes(self, app: FastAPI, kernel: Kernel) -> None:
        @app.get("/defective")
        async def defective() -> None:
            raise ZeroDivisionError("a secret detail")


@pytest.fixture(scope="module")
def guarded_url(module_serve: Callable[..., Any]) -> str:
    server = {
        "api_keys": ["first-key", "second-key", "schlüssel"],
        "cors_origins": ["https://app.example"],
    }
    return str(module_serve({"server": server}, {"defective": Defective()}).url)


@pytest.fixture
def guarded(guarded_url: str) -> Iterator[httpx.Client]:
    """A client of a server that wants a key."""
    with httpx.Client(base_url=guarded_url) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


# Keys


@pytest.mark.parametrize(
    "authorization",
    [
        b"Bearer first-key",
        b"Bearer second-key",
        b"bearer first-key",
        b"BEARER first-key",
        b"Bearer   first-key",
        "Bearer schlüssel".encode(),
    ],
)
def test_every_key_opens_the_door(guarded: httpx.Client, authorization: bytes) -> None:
    headers = {b"authorization": authorization}
    assert guarded.get("/v1/models", headers=headers).status_code == 200
    assert guarded.post(SPEECH, json={"input": "x"}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer wrong",
        b"Bearer first-ke",
        b"Bearer first-keyx",
        b"Bearer FIRST-KEY",
        b"Bearer first-key second-key",
        b"Bearer first-key,second-key",
        b"first-key",
        b"Basic first-key",
        b"Bearerfirst-key",
        b"Bearer \xff\xfe",
        b"Bearer " + b"x" * 10_000,
    ],
)
def test_nothing_else_does(guarded: httpx.Client, authorization: bytes | None) -> None:
    headers = {} if authorization is None else {b"authorization": authorization}
    for answer in (
        guarded.post(SPEECH, json={"input": "x"}, headers=headers),
        guarded.post("/v1/audio/transcriptions", headers=headers),
        guarded.get("/v1/models", headers=headers),
        guarded.get("/v1/nothing", headers=headers),
        guarded.get("/defective", headers=headers),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
        assert set(error) == {"message", "type", "param", "code"}
        assert "key" not in answer.text.replace("API key", "").replace("<key>", "").replace(
            "invalid_api_key", ""
        )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer anything"},
        {"authorization": "Basic eDp5"},
        {"authorization": "nonsense"},
    ],
)
def test_a_server_without_keys_takes_everybody(http: httpx.Client, headers: dict[str, str]) -> None:
    assert http.get("/v1/models", headers=headers).status_code == 200
    assert http.post(SPEECH, json={"input": "x"}, headers=headers).status_code == 200


@pytest.mark.parametrize("path", PUBLIC)
def test_some_addresses_need_no_key(guarded: httpx.Client, path: str) -> None:
    assert guarded.get(path).status_code in (200, 503)


@pytest.mark.parametrize(
    "path", ["/healthy", "/health/../v1/models", "//health", "/v1/models?/health", "/docsx"]
)
def test_nothing_that_only_looks_like_them_does(guarded: httpx.Client, path: str) -> None:
    assert guarded.get(path).status_code == 401


@pytest.mark.parametrize("path", DISCOVERY)
def test_discovery_needs_a_key_unless_the_operator_opens_it(
    guarded: httpx.Client, path: str
) -> None:
    answer = guarded.get(path)
    assert answer.status_code == 401
    assert "server.public_discovery" in answer.json()["error"]["message"]


def test_open_discovery_opens_nothing_else(serve: Callable[..., Any]) -> None:
    server = serve({"server": {"api_keys": ["secret"], "public_discovery": True}})
    with httpx.Client(base_url=server.url) as client:
        for path in DISCOVERY:
            assert client.get(path).status_code == 200
        for answer in (
            client.post(SPEECH, json={"input": "x"}),
            client.post("/v1/audio/voices"),
            client.delete("/v1/models/echo"),
            client.get("/v1/models-secret"),
        ):
            assert answer.status_code == 401


def test_a_body_without_a_key_is_not_read(guarded: httpx.Client) -> None:
    read = 0

    def parts() -> Iterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield bytes(1 << 20)

    try:
        answer = guarded.post("/v1/audio/transcriptions", content=parts())
    except httpx.WriteError:  # or the server hung up on the rest of it
        return
    assert answer.status_code == 401


# Origins


def preflight(client: httpx.Client, origin: str) -> httpx.Response:
    asked = "authorization,content-type,x-stainless-lang,x-stainless-retry-count"
    return client.options(
        SPEECH,
        headers={
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": asked,
        },
    )


def test_a_browser_may_ask_before_it_sends_what_the_sdk_sends(guarded: httpx.Client) -> None:
    answer = preflight(guarded, "https://app.example")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    allowed = answer.headers["access-control-allow-headers"].lower()
    for name in ("authorization", "content-type", "x-stainless-lang", "x-stainless-retry-count"):
        assert name in allowed
    assert "POST" in answer.headers["access-control-allow-methods"]


def test_a_foreign_origin_is_not_allowed(guarded: httpx.Client) -> None:
    assert "access-control-allow-origin" not in preflight(guarded, "https://evil.example").headers
    answer = guarded.get("/health", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/v1/models", "first-key", 200),
        ("/v1/models", "wrong", 401),
        ("/v1/nothing", "first-key", 404),
        ("/v1/models/nothing", "first-key", 404),
        (SPEECH, "first-key", 405),
        ("/defective", "first-key", 500),
    ],
)
def test_a_browser_may_read_every_answer_and_its_request_id(
    guarded: httpx.Client, path: str, key: str, status: int
) -> None:
    answer = guarded.get(path, headers={"origin": "https://app.example", **bearer(key)})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-request-id" in answer.headers["access-control-expose-headers"]


def test_no_origin_is_allowed_unless_configured(http: httpx.Client) -> None:
    answer = http.get("/health", headers={"origin": "https://app.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_every_origin_can_be_allowed(serve: Callable[..., Any]) -> None:
    server = serve({"server": {"cors_origins": "*"}})
    with httpx.Client(base_url=server.url) as client:
        assert preflight(client, "null").headers["access-control-allow-origin"] == "*"


# Request ids


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", 200),
        ("/docs", 200),
        ("/v1/models", 200),
        ("/v1/nothing", 404),
        (SPEECH, 405),
        ("/v1/audio/voices?limit=x", 400),
        ("/defective", 500),
    ],
)
def test_every_answer_has_an_id_of_its_own(guarded: httpx.Client, path: str, status: int) -> None:
    answers = [guarded.get(path, headers=bearer("first-key")) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [status, status]
    first, second = (answer.headers["x-request-id"] for answer in answers)
    assert re.fullmatch(r"req_[0-9a-f]{32}", first)
    assert first != second


def test_an_answer_without_a_key_has_an_id_too(guarded: httpx.Client) -> None:
    assert guarded.get("/v1/models").headers["x-request-id"].startswith("req_")


def test_a_stream_has_an_id_too(guarded: httpx.Client) -> None:
    fields = {"input": "one two three", "stream_format": "sse"}
    answer = guarded.post(SPEECH, json=fields, headers=bearer("first-key"))
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("given", ["abc", "req_1", "trace:1/2;x=(y)", "x" * 200])
def test_a_presentable_id_of_the_client_is_kept(http: httpx.Client, given: str) -> None:
    assert http.get("/health", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", [b"", b"a b", b"x" * 201, b"\xc3\xa9", b"a\tb"], ids=repr)
def test_any_other_is_replaced(http: httpx.Client, given: bytes) -> None:
    answer = http.get("/health", headers={b"x-request-id": given})
    assert answer.headers["x-request-id"].startswith("req_")


def test_a_defect_is_answered_without_its_details(
    guarded: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = guarded.get("/defective", headers={**bearer("first-key"), "x-request-id": "find-me"})
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == (
        "server_error",
        "internal_error",
        None,
    )
    assert "secret detail" not in answer.text
    assert "find-me" in error["message"]
    assert "find-me" in caplog.text
    assert "a secret detail" in caplog.text


@pytest.mark.anyio
async def test_many_requests_at_once_have_different_ids(guarded_url: str) -> None:
    async with httpx.AsyncClient(base_url=guarded_url) as client:
        answers = await asyncio.gather(*[client.get("/health") for _ in range(50)])
    assert len({answer.headers["x-request-id"] for answer in answers}) == 50
