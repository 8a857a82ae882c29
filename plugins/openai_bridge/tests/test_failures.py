"""What goes wrong at the upstream, and what the client hears of it."""

from __future__ import annotations

import asyncio
import logging
import socket
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import httpx
import numpy as np
import pytest

from unisono import (
    EngineOverloaded,
    EngineUnavailable,
    RequestError,
    SpeechError,
    UploadTooLarge,
)


def complaint(message="It is wrong.", **fields):
    return {"error": {"message": message, "type": "x", "param": None, "code": None, **fields}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "param", "code", "said"),
    [
        (400, complaint(param="speed", code="bad"), RequestError, "speed", "bad", "It is wrong."),
        (400, complaint(code=400), RequestError, None, "400", "It is wrong."),
        (404, complaint(param="voice", code="voice_not_found"), RequestError, "voice", None, ""),
        (413, complaint("Too large"), UploadTooLarge, None, "request_too_large", "Too large."),
        (415, complaint(), RequestError, None, "invalid_request", ""),
        (
            422,
            {"detail": [{"loc": ["body", "speed"], "msg": "not a number"}]},
            RequestError,
            "speed",
            "invalid_request",
            "not a number",
        ),
        (400, {"message": "bare", "object": "error"}, RequestError, None, None, "bare"),
        (400, {"error": "just words"}, RequestError, None, None, "just words"),
        (400, b"<html>nginx</html>", RequestError, None, None, "does not say why"),
        (400, [1], RequestError, None, None, "does not say why"),
    ],
)
def test_what_the_client_can_mend_is_said_in_the_upstreams_words(
    speak, stub, status, body, kind, param, code, said
):
    stub.answer = lambda line, asked: line.answer(body, status)
    with pytest.raises(kind) as caught:
        speak()
    error = caught.value
    assert error.param == param
    assert code is None or error.code == code
    assert said in str(error)
    assert "upstream server of model 'm'" in str(error)
    assert error.status in (400, 413)
    assert "nginx" not in str(error)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, complaint("Incorrect API key provided: sk-up***cdef"), "api_key"),
        (403, complaint(code="unsupported_country"), "403, unsupported_country"),
        (402, complaint("No credit"), "No credit"),
        (429, complaint("Pay", code="insufficient_quota"), "paid"),
        (404, complaint("The model does not exist", code="model_not_found"), "setting `model`"),
        (400, complaint("wrong task", param="model"), "setting `model`"),
        (404, {"detail": "Not Found"}, "base_url"),
        (405, b"", "base_url"),
        (307, b"", "base_url"),
        (408, complaint(), "408"),
        (500, complaint("CUDA out of memory"), "CUDA out of memory"),
        (502, b"<html>Bad Gateway</html>", "502"),
        (503, complaint(), "It is wrong."),
    ],
)
def test_what_only_the_operator_can_mend_is_no_fault_of_the_client(speak, stub, status, body, said):
    stub.answer = lambda line, asked: line.answer(body, status, location="http://127.0.0.1:9/")
    with pytest.raises(EngineUnavailable) as caught:
        speak()
    assert said in str(caught.value)
    assert "***cdef" not in str(caught.value)
    assert stub.url not in str(caught.value)
    assert len(stub.asked) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "17"}, 17),
        ({"retry_after": "0"}, 1),
        ({"retry_after_ms": "2500", "retry_after": "9"}, 3),
        ({"retry_after": "soon"}, 1),
        ({}, 1),
    ],
)
def test_an_overloaded_upstream_says_when_to_come_back(speak, stub, headers, seconds):
    stub.answer = lambda line, asked: line.answer(complaint("Slow down"), 429, **headers)
    with pytest.raises(EngineOverloaded, match="Slow down") as caught:
        speak()
    assert caught.value.retry_after == seconds


def test_retry_after_may_be_a_date(speak, stub):
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=100), usegmt=True)
    stub.answer = lambda line, asked: line.answer(complaint(), 503, retry_after=date)
    with pytest.raises(EngineUnavailable) as caught:
        speak()
    assert 90 <= caught.value.retry_after <= 101


def test_the_client_hears_retry_after_over_http(serve, stub):
    stub.answer = lambda line, asked: line.answer(complaint("Busy"), 429, retry_after="7")
    server = serve(m={"engine": "openai_speech", "base_url": stub.url, "model": "there"})
    response = httpx.post(f"{server.url}/audio/speech", json={"input": "Hello"})
    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"
    assert "Busy" in response.json()["error"]["message"]


def test_a_long_complaint_is_cut(speak, stub):
    stub.answer = lambda line, asked: line.answer(complaint("word\n" * 100_000), 400)
    with pytest.raises(RequestError) as caught:
        speak()
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


def test_nobody_at_the_address_is_said_with_what_to_do(speak):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(EngineUnavailable, match="cannot be reached: the operator has to"):
            speak({"base_url": url})


def test_a_silent_upstream_is_given_up(speak, stub):
    stub.answer = lambda line, asked: line.wait_for_hang_up()
    with pytest.raises(EngineUnavailable, match=r"silent for 0\.2 seconds.*`timeout`"):
        speak({"timeout": 0.2})
    assert len(stub.asked) == 1


def test_something_that_is_not_http_is_no_upstream(speak, stub):
    def answer(line, asked):
        line.send(b"220 mail.example.com ESMTP\r\n")
        line.hang_up()

    stub.answer = answer
    with pytest.raises(EngineUnavailable, match="upstream server"):
        speak()


def twice(kernel_of, stub, **settings):
    """Speak twice over one connection."""

    async def main():
        settings_ = {"base_url": stub.url, **settings}
        async with kernel_of("openai_speech", **settings_) as kernel:
            for _ in range(2):
                assert [chunk async for chunk in kernel.speech("Hello")]

    asyncio.run(main())


def test_a_kept_connection_that_is_closed_meanwhile_costs_nothing(kernel_of, stub):
    def answer(line, asked):
        if line.number == 2:
            line.hang_up()
        line.answer(np.ones(2400, "<i2").tobytes())

    stub.answer = answer
    twice(kernel_of, stub)
    assert len(stub.asked) == 3


def test_a_kept_connection_is_replaced_only_once(kernel_of, stub):
    def answer(line, asked):
        if line.number >= 2:
            line.hang_up()
        line.answer(np.ones(2400, "<i2").tobytes())

    stub.answer = answer
    with pytest.raises(EngineUnavailable, match="broke off"):
        twice(kernel_of, stub)
    assert len(stub.asked) == 3


def test_an_upstream_that_hangs_up_on_a_new_connection_is_not_asked_again(speak, stub):
    stub.answer = lambda line, asked: line.hang_up()
    with pytest.raises(EngineUnavailable, match="broke off"):
        speak()
    assert len(stub.asked) == 1


def test_a_refused_request_leaves_the_connection_and_the_turn_usable(kernel_of, stub):
    def answer(line, asked):
        line.answer(complaint(), 400) if line.number == 1 else line.answer(b"\1\0" * 2400)

    stub.answer = answer

    async def main():
        settings = {"base_url": stub.url, "concurrent_requests": 1}
        async with kernel_of("openai_speech", **settings) as kernel:
            with pytest.raises(RequestError):
                await anext(kernel.speech("Hello"))
            assert [chunk async for chunk in kernel.speech("Hello")]

    asyncio.run(main())


@pytest.mark.parametrize("status", [400, 401, 404, 413, 429, 500])
def test_the_key_is_in_no_message_and_no_log(speak, stub, key, caplog, status):
    caplog.set_level(logging.DEBUG)
    stub.answer = lambda line, asked: line.answer(
        complaint(f"Your key {key} is bad", code=key, param=key), status
    )
    with pytest.raises(SpeechError) as caught:
        speak()
    error = caught.value
    assert key not in f"{error} {error.param} {error.code} {error.body()}"
    assert stub.asked[0].headers["authorization"] == f"Bearer {key}"
    assert key not in caplog.text


def test_the_proxy_of_the_environment_serves_others_but_not_this_machine(speak, stub, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", stub.url.removesuffix("/v1"))
    away = "http://upstream.example/v1"
    everywhere = stub.url.replace("127.0.0.1", "0.0.0.0")
    speak({"base_url": away})
    speak()
    speak({"use_proxy": True})
    speak({"base_url": everywhere})
    speak({"base_url": everywhere, "use_proxy": False})
    assert [asked.path.removesuffix("/audio/speech") for asked in stub.asked] == [
        *(away, "/v1", stub.url, everywhere, "/v1")
    ]
