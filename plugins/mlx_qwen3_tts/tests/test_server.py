"""A whole server over a tiny model: the ways in which people clone voices, many of them at once.

The requests are those of the projects' own documentation: omlx and mlx-audio, Xinference's client,
the ZipVoice guide, vLLM-Omni, and the OpenAI SDK.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import uvicorn

import unisono_mlx_qwen3_tts
from unisono import Config, Kernel
from unisono.api import create_app
from unisono.plugins import PluginManager

TEXT = "Hello, this is generated speech!"
TRANSCRIPT = "This is a sample of my voice."


def recording(seed: int = 0, seconds: float = 2.0) -> bytes:
    """Return a WAV file of a sweep; each seed sounds different."""
    time_ = np.arange(round(seconds * 24_000)) / 24_000
    sweep = np.sin(2 * np.pi * (120 + 60 * seed + 90 * time_) * time_)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 24_000, len(sweep), "NONE", ""))
        writer.writeframes((9000 * sweep).astype("<i2").tobytes())
    return file.getvalue()


def overrides(checkpoint: Callable[[str], Path], directory: Path) -> dict[str, Any]:
    return {
        "voices": {"directory": str(directory)},
        "models": {
            "base": {"engine": "mlx_qwen3_tts", "model": str(checkpoint("brief_base"))},
            "design": {"engine": "mlx_qwen3_tts", "model": str(checkpoint("brief_voice_design"))},
        },
        "defaults": {"speech": "base"},
    }


@pytest.fixture(scope="module", autouse=True)
def _temporary_files_of_their_own(tmp_path_factory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
        yield


@pytest.fixture(scope="module")
def url(checkpoint, tmp_path_factory) -> Iterator[str]:
    plugins = PluginManager()
    plugins.add(unisono_mlx_qwen3_tts, "mlx_qwen3_tts")
    config = Config.load(None, overrides(checkpoint, tmp_path_factory.mktemp("voices")))
    app = create_app(Kernel(config, plugins))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=120) as client:
        yield client


def greedy(**fields: Any) -> dict[str, Any]:
    return {
        "model": "base",
        "input": TEXT,
        "response_format": "wav",
        "temperature": 0,
        "max_new_tokens": 200,
        **fields,
    }


def spoken(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    with wave.open(io.BytesIO(answer.content)) as reader:
        assert (reader.getframerate(), reader.getnchannels()) == (24_000, 1)
        frames = reader.readframes(10**8)
    assert np.abs(np.frombuffer(frames, "<i2")).max() > 100, "silence"
    return frames


def in_every_form(http: httpx.Client, data: bytes) -> dict[str, httpx.Response]:
    """Ask for the same speech in every way in which a voice can be sent."""
    text = base64.b64encode(data).decode()
    speech = "/v1/audio/speech"
    engine = "/v1/mlx_qwen3_tts"
    http.post(
        f"{engine}/voices/register",
        files={"audio_file": ("my_voice.wav", data, "audio/wav")},
        data={"name": "my_voice", "transcription": TRANSCRIPT},
    ).raise_for_status()
    form = {"kwargs": json.dumps({"prompt_text": TRANSCRIPT}), "voice": "", "stream": False}
    xinference = [("prompt_speech", ("prompt_speech", data, "application/octet-stream"))]
    prompt = {"prompt_text": TRANSCRIPT}
    return {
        "omlx": http.post(speech, json=greedy(ref_audio=text, ref_text=TRANSCRIPT)),
        "vllm-omni": http.post(
            speech,
            json=greedy(
                ref_audio=f"data:audio/wav;base64,{text}",
                ref_text=TRANSCRIPT,
                language="Auto",
                x_vector_only_mode=False,
            ),
        ),
        "xinference": http.post(speech, data={**greedy(), **form}, files=xinference),
        "guide, registered": http.post(
            f"{engine}/audio/speech", json=greedy(voice="my_voice", stream=True, **prompt)
        ),
        "guide, base64": http.post(
            f"{engine}/audio/speech", json=greedy(voice=f"base64+{text}", **prompt)
        ),
        "guide, upload": http.post(
            f"{engine}/audio/speech",
            data={**greedy(voice="file+voice_sample"), **prompt},
            files={"prompt_wav_file": ("voice_sample.wav", data, "audio/wav")},
        ),
        "stored": http.post(speech, json=greedy(voice="my_voice")),
    }


def test_the_same_voice_in_every_form_gives_the_same_audio_bit_by_bit(http) -> None:
    first = {name: spoken(answer) for name, answer in in_every_form(http, recording(0)).items()}
    assert len(set(first.values())) == 1, [len(audio) for audio in first.values()]
    other = {spoken(answer) for answer in in_every_form(http, recording(1)).values()}
    assert len(other) == 1
    assert other.isdisjoint(first.values())


def test_the_openai_sdk_clones_with_extra_body(url: str, http: httpx.Client) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="not-needed")
    audio = base64.b64encode(recording()).decode()
    extra = {"ref_audio": audio, "ref_text": TRANSCRIPT, "temperature": 0, "max_new_tokens": 200}
    with client.audio.speech.with_streaming_response.create(
        model="base", voice="default", input=TEXT, response_format="wav", extra_body=extra
    ) as response:
        streamed = b"".join(response.iter_bytes())
    whole = http.post("/v1/audio/speech", json=greedy(ref_audio=audio, ref_text=TRANSCRIPT))
    assert streamed[-1000:] == spoken(whole)[-1000:]


def test_the_speaker_alone_needs_no_transcript(http) -> None:
    audio = base64.b64encode(recording()).decode()
    refused = http.post("/v1/audio/speech", json=greedy(ref_audio=audio))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "ref_text")
    assert "garbles" in refused.json()["error"]["message"]
    speaker = http.post("/v1/audio/speech", json=greedy(ref_audio=audio, x_vector_only_mode=True))
    assert spoken(speaker)


def test_a_described_voice_speaks_with_the_model_that_designs(http) -> None:
    http.post(
        "/v1/audio/voices", json={"name": "calm", "prompt": "A calm, low voice."}
    ).raise_for_status()
    stored = http.post("/v1/audio/speech", json=greedy(model="design", voice="calm"))
    asked = greedy(model="design", instructions="A calm, low voice.")
    assert spoken(stored) == spoken(http.post("/v1/audio/speech", json=asked))
    refused = http.post("/v1/audio/speech", json=greedy(voice="calm"))
    assert "'design'" in refused.json()["error"]["message"]


def temporary() -> list[str]:
    return os.listdir(tempfile.gettempdir())


@pytest.mark.anyio
async def test_eight_at_once_with_some_that_hang_up_each_get_their_own_voice(
    url: str,
) -> None:
    voices = [base64.b64encode(recording(seed)).decode() for seed in range(4)]
    bodies = [greedy(ref_audio=voice, ref_text=TRANSCRIPT) for voice in voices]
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        alone = [await client.post("/v1/audio/speech", json=body) for body in bodies]
        expected = [spoken(answer) for answer in alone]

        async def listen(index: int) -> None:
            answer = await client.post("/v1/audio/speech", json=bodies[index % 4])
            assert spoken(answer) == expected[index % 4]

        async def hang_up(index: int) -> None:
            body = {**bodies[index % 4], "input": TEXT * 5}
            async with client.stream("POST", "/v1/audio/speech", json=body) as answer:
                async for _ in answer.aiter_raw():
                    break

        for _ in range(3):
            work = [hang_up(index) if index % 3 == 1 else listen(index) for index in range(8)]
            await asyncio.gather(*work)
        assert temporary() == []


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_hundred_clones_leave_nothing_behind(http: httpx.Client) -> None:
    def ask(seed: int) -> None:
        audio = base64.b64encode(recording(seed)).decode()
        spoken(http.post("/v1/audio/speech", json=greedy(ref_audio=audio, ref_text=TRANSCRIPT)))

    for seed in range(20):
        ask(seed)
    memory = resident()
    for seed in range(200):
        ask(seed % 50)
    assert temporary() == []
    assert resident() - memory < 64 * 2**20


def test_the_command_line_clones_and_ends_with_status_0(checkpoint, tmp_path: Path) -> None:
    (tmp_path / "me.wav").write_bytes(recording())
    arguments = [
        *["say", "Hello there.", "--model", "base", "-o", "out.wav"],
        *["--ref-audio", "me.wav", "--ref-text", TRANSCRIPT, "--max-new-tokens", "100"],
        *["--set", "models.base.engine=mlx_qwen3_tts"],
        *["--set", f"models.base.model={checkpoint('brief_base')}"],
    ]
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-m", "unisono", *arguments],
            cwd=tmp_path,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert (tmp_path / "out.wav").stat().st_size > 10_000
