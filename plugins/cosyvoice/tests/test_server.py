"""A whole server: the requests of Xinference's documentation, and bad ones."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import wave
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import uvicorn

import unisono_cosyvoice
from unisono import Config, Kernel
from unisono.api import create_app
from unisono.plugins import PluginManager

TEXT = "Hello there, this is speech that was generated."
TRANSCRIPT = "And so on."


def recording(seconds: float = 3.0, rate: int = 16_000) -> bytes:
    count = np.arange(round(seconds * rate))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, rate, len(count), "NONE", ""))
        writer.writeframes((9000 * np.sin(count * 1400 / rate)).astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture
def http(source_dir, model_dir, tmp_path) -> Iterator[httpx.Client]:
    names = {
        "CosyVoice-300M-SFT": 1,
        "CosyVoice-300M": 1,
        "CosyVoice-300M-Instruct": 1,
        "CosyVoice2-0.5B": 2,
        "Fun-CosyVoice3-0.5B": 3,
    }
    models = {
        name: {
            "engine": "cosyvoice",
            "source_dir": str(source_dir),
            "model_dir": str(model_dir(version, name)),
            "runner": "thread",
        }
        for name, version in names.items()
    }
    plugins = PluginManager()
    plugins.add(unisono_cosyvoice, "cosyvoice")
    config = Config.load(None, {"models": models, "voices": {"directory": str(tmp_path / "v")}})
    app = create_app(Kernel(config, plugins))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def speech(http: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"input": TEXT, "response_format": "wav", **fields}
    return http.post("/v1/audio/speech", json=body)


def upload(http: httpx.Client, data: bytes, model: str, **kwargs: str) -> httpx.Response:
    """Send a recording as Xinference's client does."""
    return http.post(
        "/v1/audio/speech",
        data={
            "model": model,
            "input": TEXT,
            "voice": "",
            "response_format": "wav",
            "kwargs": json.dumps(kwargs),
        },
        files=[("prompt_speech", ("prompt_speech", data, "application/octet-stream"))],
    )


def said(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    with wave.open(io.BytesIO(answer.content)) as reader:
        return reader.getnframes()


def test_the_examples_of_xinference_work(http, journal):
    assert said(speech(http, model="CosyVoice-300M-SFT", voice="中文女"))
    assert said(upload(http, recording(), "CosyVoice-300M", prompt_text=TRANSCRIPT))
    assert said(upload(http, recording(), "CosyVoice-300M"))
    instruct = {"voice": "英文女", "instruct_text": "A fiery, passionate rebel leader."}
    assert said(speech(http, model="CosyVoice-300M-Instruct", **instruct))
    url = str(http.base_url).rstrip("/")
    client = openai.Client(api_key="not empty", base_url=f"{url}/v1")
    with client.audio.speech.with_streaming_response.create(
        model="CosyVoice2-0.5B", input=TEXT, voice="英文女"
    ) as response:
        assert len(response.read()) > 1000
    assert said(speech(http, model="CosyVoice2-0.5B", stream=True))
    assert said(speech(http, model="CosyVoice2-0.5B", **instruct))

    calls = journal().SPOKEN
    assert [call["prompt"] for call in calls] == [
        "",
        TRANSCRIPT,
        "",
        "A fiery, passionate rebel leader.<|endofprompt|>",
        "",
        "",
        "A fiery, passionate rebel leader.<|endofprompt|>",
    ]
    assert [call["tokens"] for call in calls] == [False, True, *[False] * 5]


def test_a_recording_is_analysed_once(http, journal):
    audio = base64.b64encode(recording()).decode()
    for _ in range(3):
        assert said(speech(http, model="Fun-CosyVoice3-0.5B", ref_audio=audio, ref_text="Yes."))

    assert len(journal().PROMPTS) == 1


@pytest.mark.parametrize(
    ("seconds", "rate", "code"), [(31, 16_000, "audio_too_long"), (0.5, 8_000, "audio_too_short")]
)
def test_a_prompt_that_upstream_would_hang_on_is_refused(http, seconds, rate, code):
    answer = upload(http, recording(seconds, rate), "CosyVoice2-0.5B", prompt_text=TRANSCRIPT)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "ref_audio", code)


def test_a_prompt_of_a_telephone_is_good_enough(http):
    assert said(upload(http, recording(3, 8_000), "CosyVoice2-0.5B", prompt_text=TRANSCRIPT))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "CosyVoice-300M-SFT", "voice": "Nobody"}, "voice"),
        ({"model": "CosyVoice2-0.5B", "voice": "英文女", "language": "de"}, "language"),
        ({"model": "CosyVoice-300M-SFT", "ref_audio": "UklGRg=="}, "ref_audio"),
    ],
)
def test_what_a_mode_lacks_is_said_before_any_audio(http, fields, param):
    answer = speech(http, **fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_failing_model_is_an_error_and_the_next_request_speaks(http):
    failed = speech(http, model="CosyVoice2-0.5B", voice="英文女", input="A broken model.")

    assert failed.status_code == 500
    assert "device-side" not in failed.text
    assert said(speech(http, model="CosyVoice2-0.5B", voice="英文女"))


def test_a_model_runs_in_a_process_of_its_own_unless_told_otherwise(source_dir, model_dir):
    import asyncio
    import sys

    plugins = PluginManager()
    plugins.add(unisono_cosyvoice, "cosyvoice")
    table = {
        "engine": "cosyvoice",
        "source_dir": str(source_dir),
        "model_dir": str(model_dir(3)),
        "python": sys.executable,
    }

    async def speak() -> float:
        async with Kernel(Config(models={"narrator": table}), plugins) as kernel:
            stream = kernel.speech(TEXT, model="narrator", ref_audio=recording(), ref_text="Yes.")
            return sum([chunk.seconds async for chunk in stream])

    assert asyncio.run(speak()) > 1.5
    assert "cosyvoice.cli" not in sys.modules
