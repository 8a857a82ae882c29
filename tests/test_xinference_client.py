"""The requests of Xinference's Python client (xinference-client 4.1), byte for byte.

Its examples run unchanged: `client.get_model(uid)`, then `model.transcriptions(audio, …)` or
`model.translations(audio, …)`. What it has no argument for goes as JSON in the part `kwargs`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from unisono import Engine, Segment, hookimpl
from unisono.testing.echo import EchoTranscriber

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
MODEL = "seaco-paraformer-zh"
FEATURES = ["diarization", "hotwords", "temperature", "text_prompt", "translation"]


class Told(EchoTranscriber):
    """Writes what it was told."""

    name = "told"

    @classmethod
    def presets(cls) -> dict[str, Any]:
        return {}

    def transcribe(self, request: Any) -> Iterator[Segment]:
        told = [request.language, request.prompt, request.temperature, list(request.hotwords)]
        yield Segment(json.dumps(told, ensure_ascii=False), 0.0, request.audio.seconds)


class Plugin:
    @hookimpl
    def register_engines(self) -> list[type[Engine]]:
        return [Told]


@pytest.fixture(scope="module")
def url(module_serve: Callable[..., Any]) -> str:
    models = {
        MODEL: {"engine": "told", "features": FEATURES, "languages": ["zh", "en"]},
        "timed": {"engine": "echo_transcriber", "features": ["word_timestamps", "text_prompt"]},
    }
    return str(module_serve({"models": models}, {"told": Plugin()}).url)


@pytest.fixture(params=["requests", "aiohttp"])
def post(url: str, request: pytest.FixtureRequest) -> Callable[..., httpx.Response]:
    """Return what posts as the client does, which leaves out arguments that are None."""
    typed = request.param == "aiohttp"  # the asynchronous client gives texts a type, too
    boundary = "4a0bc1c0e43bccff9eac65dc3aa43872"

    def part(disposition: str, content_type: str, content: bytes) -> bytes:
        lines = [f"Content-Disposition: form-data; {disposition}"]
        if content_type:
            lines.insert(0 if typed else 1, f"Content-Type: {content_type}")
        head = "\r\n".join([f"--{boundary}", *lines, "", ""])
        return head.encode() + content + b"\r\n"

    def send(path: str, audio: bytes, fields: dict[str, Any]) -> httpx.Response:
        plain = "text/plain; charset=utf-8" if typed else ""
        body = b"".join(
            part(f'name="{name}"', plain, str(item).encode())
            for name, value in fields.items()
            if value is not None
            for item in (value if isinstance(value, list) else [value])
        )
        body += part('name="file"; filename="file"', "application/octet-stream", audio)
        kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
        return httpx.post(url + path, content=body + f"--{boundary}--\r\n".encode(), headers=kind)

    return send


def arguments(
    model: str = MODEL,
    language: str | None = None,
    prompt: str | None = None,
    response_format: str = "json",
    temperature: float = 0,
    timestamp_granularities: list[str] | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Return the parts that the client makes of its arguments."""
    return {
        "model": model,
        "language": language,
        "prompt": prompt,
        "response_format": response_format,
        "temperature": temperature,
        "timestamp_granularities[]": timestamp_granularities,
        "kwargs": json.dumps(kwargs),
    }


def translating(**kwargs: Any) -> dict[str, Any]:
    fields = arguments(**kwargs)
    del fields["kwargs"]
    return fields


def told(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    found: list[Any] = json.loads(answer.json()["text"])
    return found


def test_the_client_learns_that_no_key_is_wanted(url: str) -> None:
    assert httpx.get(f"{url}/v1/cluster/auth").json() == {"auth": False}


def test_the_client_learns_that_a_model_hears(url: str) -> None:
    description = httpx.get(f"{url}/v1/models/{MODEL}").json()
    assert description["model_type"] == "audio"
    assert "audio2text" in description["model_ability"]


def test_the_client_lists_models_by_their_ids(url: str) -> None:
    answer = httpx.get(f"{url}/v1/models").json()
    assert MODEL in {model.pop("id") for model in answer["data"]}


def test_audio_alone_is_transcribed(
    post: Callable[..., httpx.Response], wav: Callable[..., bytes]
) -> None:
    assert told(post(TRANSCRIPTIONS, wav(1), arguments())) == [None, None, 0.0, []]


def test_hotwords_come_in_one_text(
    post: Callable[..., httpx.Response], wav: Callable[..., bytes]
) -> None:
    answer = post(TRANSCRIPTIONS, wav(1), arguments(hotword="小艾 魔搭"))
    assert told(answer)[3] == ["小艾", "魔搭"]


def test_every_argument_reaches_the_model(
    post: Callable[..., httpx.Response], wav: Callable[..., bytes]
) -> None:
    fields = arguments(language="zh", prompt="你好", temperature=0.5)
    assert told(post(TRANSCRIPTIONS, wav(1), fields)) == ["zh", "你好", 0.5, []]


def test_verbose_json_has_segments(
    post: Callable[..., httpx.Response], wav: Callable[..., bytes]
) -> None:
    fields = arguments(response_format="verbose_json")
    answer = post(TRANSCRIPTIONS, wav(1), fields).json()
    assert answer["duration"] == 1
    assert len(answer["segments"]) == 1


def test_both_granularities_come(
    post: Callable[..., httpx.Response], wav: Callable[..., bytes]
) -> None:
    fields = arguments(
        "timed", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    answer = post(TRANSCRIPTIONS, wav(1), fields).json()
    assert [word["word"] for word in answer["words"]] == ["second", "0."]
    assert [segment["text"] for segment in answer["segments"]] == ["second 0."]


def test_options_that_nobody_knows_are_ignored_and_named(
    post: Callable[..., httpx.Response], wav: Callable[..., bytes]
) -> None:
    fields = arguments(batch_size_s=300, deep={"a": [1, 2]})
    answer = post(TRANSCRIPTIONS, wav(1), fields)
    assert answer.status_code == 200
    assert answer.headers["x-unisono-ignored"] == "batch_size_s, deep"


def test_options_of_the_engine_come_in_kwargs(
    post: Callable[..., httpx.Response], wav: Callable[..., bytes]
) -> None:
    answer = post(TRANSCRIPTIONS, wav(2), arguments("timed", fail_after=0))
    assert answer.json()["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("format", ["json", "verbose_json"])
def test_a_translation_is_asked_for_alike(
    post: Callable[..., httpx.Response], wav: Callable[..., bytes], format: str
) -> None:
    fields = translating(prompt="Names: Ada", response_format=format)
    assert told(post(TRANSLATIONS, wav(1), fields))[1] == "Names: Ada"


def test_what_is_refused_has_a_status_that_the_client_sees(
    post: Callable[..., httpx.Response], wav: Callable[..., bytes]
) -> None:
    assert post(TRANSCRIPTIONS, b"junk", arguments()).status_code == 400
    assert post(TRANSCRIPTIONS, wav(1), arguments("nothing")).status_code == 404
    assert post(TRANSCRIPTIONS, wav(1), arguments(temperature=7)).status_code == 400
