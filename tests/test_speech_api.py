"""POST /v1/audio/speech, as clients without an SDK see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from unisono.builtin import DEFAULT_NAMES
from unisono.testing.echo import expected

SPEECH = "/v1/audio/speech"
TEXT = "Hello there, good people."  # 4 words, 1 second


def samples_of(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content, "<i2") / np.float32(32768)


def pcm(**fields: Any) -> dict[str, Any]:
    return {"input": TEXT, "response_format": "pcm", **fields}


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


@pytest.mark.parametrize(
    ("format", "media_type", "start"),
    [
        ("mp3", "audio/mpeg", b"\xff"),
        ("opus", "audio/ogg", b"OggS"),
        ("aac", "audio/aac", b"\xff\xf1"),
        ("flac", "audio/flac", b"fLaC"),
        ("wav", "audio/wav", b"RIFF"),
        ("pcm", "audio/pcm", b""),
    ],
)
def test_each_format_has_its_content_type(
    http: httpx.Client, format: str, media_type: str, start: bytes
) -> None:
    answer = http.post(SPEECH, json={"input": TEXT, "response_format": format})
    assert answer.headers["content-type"] == media_type
    assert answer.content.startswith(start)


def test_only_the_input_is_needed(http: httpx.Client) -> None:
    answer = http.post(SPEECH, json={"input": TEXT})
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["x-unisono-model"] == "echo"


def test_pcm_is_what_the_engine_made(http: httpx.Client) -> None:
    answer = http.post(SPEECH, json=pcm())
    np.testing.assert_allclose(samples_of(answer), expected(TEXT), atol=1e-4)


@pytest.mark.parametrize("voice", [*sorted(DEFAULT_NAMES), "near", "far", {"id": "near"}])
def test_openais_voices_and_the_models_own_are_known(http: httpx.Client, voice: object) -> None:
    assert http.post(SPEECH, json=pcm(voice=voice)).status_code == 200


@pytest.mark.parametrize(
    "model", ["echo", "tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15", ""]
)
def test_openais_models_are_answered_by_the_default(http: httpx.Client, model: str) -> None:
    answer = http.post(SPEECH, json=pcm(model=model))
    assert answer.headers["x-unisono-model"] == "echo"


def test_aliases_name_models(serve: Callable[..., Any]) -> None:
    server = serve({"aliases": {"kokoro": "async-echo"}, "models": {"a/b": {"engine": "echo"}}})
    for name, model in {"kokoro": "async-echo", "a/b": "a/b"}.items():
        answer = httpx.post(server.url + SPEECH, json=pcm(model=name))
        assert answer.headers["x-unisono-model"] == model


@pytest.mark.parametrize(
    ("format", "rate"), [("wav", 8000), ("wav", 48_000), ("flac", 16_000), ("mp3", 44_100)]
)
def test_the_sample_rate_can_be_chosen(
    http: httpx.Client, hear: Callable[..., Any], format: str, rate: int
) -> None:
    fields = {"input": TEXT, "response_format": format, "sample_rate": rate}
    found, samples = hear(http.post(SPEECH, json=fields).content, format)
    assert found == rate
    assert len(samples) / rate == pytest.approx(1.0, abs=0.1)


def test_an_engine_of_another_rate_is_resampled_to_what_clients_assume(
    serve: Callable[..., Any], hear: Callable[..., Any]
) -> None:
    server = serve({"models": {"low": {"engine": "echo", "sample_rate": 16_000}}})
    with httpx.Client(base_url=server.url) as client:
        assert len(samples_of(client.post(SPEECH, json=pcm(model="low")))) == 24_000
        fields = {"input": TEXT, "model": "low", "response_format": "wav"}
        rate, samples = hear(client.post(SPEECH, json=fields).content, "wav")
    assert (rate, len(samples)) == (24_000, 24_000)


def test_a_rate_that_the_format_cannot_carry_is_refused_before_the_engine_is_asked(
    serve: Callable[..., Any],
) -> None:
    server = serve()
    fields = {"input": TEXT, "response_format": "opus", "sample_rate": 44_100}
    answer = httpx.post(server.url + SPEECH, json=fields)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == "sample_rate"
    assert not server.kernel.pool.loaded()


def test_fields_that_nobody_knows_are_ignored_and_that_is_said(http: httpx.Client) -> None:
    # As Kokoro-FastAPI's, Open WebUI's and LiteLLM's clients send them.
    known_elsewhere = {"lang_code": "a", "user": "u", "metadata": {"a": [1]}}
    answer = http.post(SPEECH, json=pcm(**known_elsewhere, stream=True))  # which it does anyhow
    assert answer.status_code == 200
    assert answer.headers["x-unisono-ignored"].split(", ") == list(known_elsewhere)


def test_null_means_left_out(http: httpx.Client) -> None:
    nothing = dict.fromkeys(("model", "voice", "speed", "instructions", "gain", "sample_rate"))
    answer = http.post(SPEECH, json=pcm(**nothing))
    assert answer.status_code == 200
    assert "x-unisono-ignored" not in answer.headers


def test_a_strict_server_refuses_what_it_would_ignore(serve: Callable[..., Any]) -> None:
    server = serve({"server": {"strict": True}})
    with httpx.Client(base_url=server.url) as client:
        for field in ("unheard_of", "instructions", "\ud800"):
            body = json.dumps(pcm(**{field: "x"}))
            answer = client.post(SPEECH, content=body)
            assert answer.status_code == 400
            assert error_of(answer)["param"] == field
            assert error_of(answer)["code"] == "unknown_field"
        assert client.post(SPEECH, json=pcm()).status_code == 200


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json"]
)
def test_the_body_is_json_whatever_its_type_says(
    http: httpx.Client, content_type: str | None
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = http.post(SPEECH, content=json.dumps(pcm()), headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_may_be_in_any_unicode_encoding(http: httpx.Client, encoding: str) -> None:
    text = "Größe naïve 語 🎉"
    answer = http.post(
        SPEECH, content=json.dumps(pcm(input=text), ensure_ascii=False).encode(encoding)
    )
    np.testing.assert_allclose(samples_of(answer), expected(text), atol=1e-4)


@pytest.mark.parametrize("accept", ["application/octet-stream", "application/json", "text/html"])
def test_accept_is_never_an_obstacle(http: httpx.Client, accept: str) -> None:
    assert http.post(SPEECH, json=pcm(), headers={"accept": accept}).status_code == 200


def test_a_text_of_the_greatest_length_is_spoken_and_a_longer_one_is_not(
    serve: Callable[..., Any],
) -> None:
    server = serve({"limits": {"text_chars": 50}})
    with httpx.Client(base_url=server.url) as client:
        assert client.post(SPEECH, json=pcm(input="x" * 50)).status_code == 200
        answer = client.post(SPEECH, json=pcm(input="x" * 51))
        assert answer.status_code == 400
        assert (error_of(answer)["param"], error_of(answer)["code"]) == (
            "input",
            "string_too_long",
        )


def test_an_engine_without_long_text_speaks_it_in_segments(serve: Callable[..., Any]) -> None:
    models = {"short": {"engine": "echo", "features": [], "max_input_chars": 30}}
    server = serve({"models": models})
    sentences = ["This is the first sentence.", "This is the second one.", "And a third."]
    answer = httpx.post(server.url + SPEECH, json=pcm(model="short", input=" ".join(sentences)))
    spoken = np.concatenate([expected(sentence) for sentence in sentences])
    np.testing.assert_allclose(samples_of(answer), spoken, atol=1e-4)


def test_an_option_of_the_engine_changes_what_it_makes(http: httpx.Client) -> None:
    answer = http.post(SPEECH, json=pcm(gain=0.25))
    np.testing.assert_allclose(samples_of(answer), expected(TEXT) * 0.25, atol=1e-4)


def test_more_requests_than_may_wait_are_told_to_come_back(serve: Callable[..., Any]) -> None:
    models = {"slow": {"engine": "async_echo", "rtf": 1.0}}
    server = serve({"limits": {"concurrent_requests": 1}, "models": models})
    with httpx.Client(base_url=server.url) as client:
        with client.stream("POST", SPEECH, json=pcm(model="slow", input="word " * 99)) as first:
            parts = first.iter_raw()  # httpx hangs up when this is forgotten
            next(parts)
            answer = client.post(SPEECH, json=pcm())
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert error_of(answer)["type"] == "rate_limit_error"
