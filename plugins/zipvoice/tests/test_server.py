"""A whole server, asked as the ZipVoice integration guide asks: its examples, word for word."""

from __future__ import annotations

import base64
import io
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

import unisono_zipvoice
from unisono import Config, Kernel, ModelInfo, VoicePrompt, VoiceReference, hookimpl
from unisono.api import create_app
from unisono.plugins import PluginManager

TEXT = "Hello, this is generated speech!"
TRANSCRIPT = "This is a sample of my voice."
ADDRESS = "https://example.com/voice_sample.wav"


class Web:
    """Stands for the rest of the world."""

    def __init__(self, recording: bytes) -> None:
        self._recording = recording

    @hookimpl(tryfirst=True)
    def resolve_voice_prompt(
        self, reference: VoiceReference, model: ModelInfo
    ) -> VoicePrompt | None:
        return VoicePrompt(recording=self._recording) if reference.audio == ADDRESS else None


@pytest.fixture(scope="module")
def http(
    folder: Callable[[str], Path],
    my_voice: Callable[..., bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[httpx.Client]:
    plugins = PluginManager()
    plugins.add(unisono_zipvoice, "zipvoice")
    plugins.add(Web(my_voice()), "web")
    models = {
        kind: {"engine": "zipvoice", "model": kind, "model_dir": str(folder(kind)), "threads": 1}
        for kind in ("zipvoice", "zipvoice_distill")
    }
    overrides: dict[str, Any] = {
        "voices": {"directory": str(tmp_path_factory.mktemp("voices"))},
        "models": models,
    }
    app = create_app(Kernel(Config.load(None, overrides), plugins))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    with httpx.Client(base_url=url, timeout=120) as client:
        yield client
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def registered(http: httpx.Client, my_voice: Callable[..., bytes]) -> Iterator[httpx.Response]:
    yield http.post(
        "/v1/zipvoice/voices/register",
        data={"name": "my_voice", "transcription": TRANSCRIPT},
        files={"audio_file": ("my_voice.wav", my_voice())},
    )
    http.delete("/v1/zipvoice/voices/my_voice")


def ask(http: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": "zipvoice", "input": TEXT, "prompt_text": TRANSCRIPT, **fields}
    return http.post("/v1/zipvoice/audio/speech", json=body)


def frames(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    with wave.open(io.BytesIO(answer.content)) as reader:
        assert (reader.getframerate(), reader.getnchannels()) == (24_000, 1)
        return reader.readframes(10**8)


def test_the_four_ways_to_send_a_voice_give_the_same_speech(
    http: httpx.Client, my_voice: Callable[..., bytes], registered: httpx.Response
) -> None:
    assert registered.status_code == 200, registered.text
    audio = base64.b64encode(my_voice()).decode()
    exact = {"response_format": "wav", "seed": 1}
    spoken = {
        "registered": ask(http, voice="my_voice", **exact),
        "address": ask(http, voice=f"url+{ADDRESS}", **exact),
        "base64": ask(http, voice=f"base64+{audio}", **exact),
        "upload": http.post(
            "/v1/zipvoice/audio/speech",
            data={
                "model": "zipvoice",
                "input": TEXT,
                "voice": "file+voice_sample",
                "prompt_text": TRANSCRIPT,
                **exact,
            },
            files={"prompt_wav_file": ("voice_sample.wav", my_voice())},
        ),
    }
    assert len({frames(answer) for answer in spoken.values()}) == 1
    assert len(frames(spoken["upload"])) > 24_000


def test_the_guides_parameters_are_all_understood(
    http: httpx.Client, registered: httpx.Response
) -> None:
    answer = ask(
        http,
        voice="my_voice",
        response_format="mp3",
        speed=1.0,
        stream=True,
        num_steps=8,
        remove_long_silence=True,
        max_duration=None,
        volume_multiplier=1.0,
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/mpeg"
    ignored = answer.headers.get("x-unisono-ignored", "")
    assert not {"num_steps", "remove_long_silence", "max_duration", "volume_multiplier"} & set(
        ignored.replace(",", " ").split()
    )


@pytest.mark.parametrize("response_format", ["mp3", "wav", "opus", "flac", "aac", "pcm"])
def test_every_format_of_the_guide_streams(
    http: httpx.Client, registered: httpx.Response, response_format: str
) -> None:
    answer = ask(http, voice="my_voice", response_format=response_format, num_steps=1, stream=True)
    assert answer.status_code == 200, answer.text
    assert len(answer.content) > 1000


def test_voices_are_listed_described_and_deleted(
    http: httpx.Client, registered: httpx.Response
) -> None:
    listed = http.get("/v1/zipvoice/voices").json()
    assert listed["count"] == 1
    assert listed["voices"]["my_voice"]["transcription"] == TRANSCRIPT
    found = http.get("/v1/zipvoice/voices/my_voice").json()
    assert (found["name"], found["transcription"]) == ("my_voice", TRANSCRIPT)
    assert found["audio_info"]["samplerate"] == 24_000
    for kind in ("url", "base64", "all"):
        cleared = http.post(f"/v1/zipvoice/voices/cache/clear?cache_type={kind}")
        assert cleared.status_code == 200
    assert http.delete("/v1/zipvoice/voices/my_voice").status_code == 200
    assert http.get("/v1/zipvoice/voices/my_voice").status_code == 404


def test_the_distilled_model_is_chosen_per_request(
    http: httpx.Client, registered: httpx.Response
) -> None:
    one, other = (
        ask(http, model=model, voice="my_voice", response_format="wav", seed=1, num_steps=4)
        for model in ("zipvoice", "zipvoice_distill")
    )
    assert frames(one) != frames(other)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"num_steps": 33}, "num_steps"),
        ({"num_steps": 0}, "num_steps"),
        ({"speed": 5}, "speed"),
        ({"volume_multiplier": -1}, "volume_multiplier"),
        ({"input": "Привет"}, "input"),
        ({"prompt_text": "Привет"}, "ref_text"),
    ],
)
def test_a_wrong_request_names_its_field(
    http: httpx.Client, registered: httpx.Response, fields: dict[str, Any], param: str
) -> None:
    answer = ask(http, voice="my_voice", **fields)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_a_recording_of_more_than_three_seconds_is_refused(
    http: httpx.Client, my_voice: Callable[..., bytes]
) -> None:
    answer = ask(http, voice=f"base64+{base64.b64encode(my_voice(3.5)).decode()}")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "audio_too_long"
    assert "3.50 seconds" in error["message"]
    assert "0.5 to 3" in error["message"]
