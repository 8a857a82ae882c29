"""The main job on real input: espeak-ng speaks, pocketsphinx listens, through the real server."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

import unisono_espeak
import unisono_pocketsphinx
from unisono import Kernel

PHRASE = "what time is it"
COMMAND = "go forward ten meters"
"""Understood from a person; from espeak only if a grammar says what to expect."""
GRAMMAR = (
    "#JSGF V1.0; grammar robot; public <command> = (go | run | turn) (forward | backward | left) "
    "[(two | ten | twenty) (meters | miles)];"
)
HUMAN = Path(__file__).parents[1] / "plugins/pocketsphinx/tests/data/goforward.raw"
VOICE = "en-us+klatt3"
PLUGINS = {"espeak": unisono_espeak, "pocketsphinx": unisono_pocketsphinx}


@pytest.fixture(scope="module")
def server(module_serve: Callable[..., Any]) -> Any:
    overrides = {"defaults": {"speech": "espeak", "transcription": "pocketsphinx"}}
    return module_serve(overrides, PLUGINS)


def speak(server: Any, text: str, **fields: Any) -> bytes:
    body = {"model": "tts-1", "voice": VOICE, "input": text, "response_format": "wav", **fields}
    response = httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=60)
    assert response.status_code == 200, response.text
    return response.content


def seconds(wav: bytes) -> float:
    samples, rate = soundfile.read(io.BytesIO(wav))
    return len(samples) / rate


def test_what_is_spoken_is_understood(server: Any) -> None:
    files = {"file": ("speech.wav", speak(server, PHRASE))}
    url = f"{server.url}/v1/audio/transcriptions"
    response = httpx.post(url, files=files, data={"model": "whisper-1"}, timeout=60)
    assert response.json()["text"] == PHRASE


def test_a_grammar_tells_a_command_from_the_others(server: Any) -> None:
    files = {"file": ("speech.wav", speak(server, COMMAND))}
    url = f"{server.url}/v1/audio/transcriptions"
    response = httpx.post(url, files=files, data={"grammar": GRAMMAR}, timeout=60)
    assert response.json()["text"] == COMMAND


def test_a_person_is_understood(server: Any) -> None:
    wav = io.BytesIO()
    soundfile.write(wav, np.frombuffer(HUMAN.read_bytes(), "<i2"), 16_000, format="WAV")
    url = f"{server.url}/v1/audio/transcriptions"
    response = httpx.post(url, files={"file": ("a.wav", wav.getvalue())}, timeout=60)
    assert response.json()["text"] == COMMAND


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac"])
def test_the_round_trip_survives_compression(server: Any, form: str) -> None:
    audio = speak(server, PHRASE, response_format=form)
    url = f"{server.url}/v1/audio/transcriptions"
    response = httpx.post(url, files={"file": ("x", audio)}, timeout=60)
    assert set(response.json()["text"].split()) & set(PHRASE.split())


def test_the_command_line_pipes_speech_into_transcription() -> None:
    say = subprocess.Popen(
        [sys.executable, "-m", "unisono", "say", "-m", "espeak", "-v", VOICE, PHRASE],
        stdout=subprocess.PIPE,
    )
    command = [sys.executable, "-m", "unisono", "transcribe", "-m", "pocketsphinx"]
    done = subprocess.run(command, stdin=say.stdout, capture_output=True, text=True, timeout=60)
    assert say.wait(10) == 0
    assert done.stdout.strip() == PHRASE, done.stderr


def test_a_long_text_sounds_early_and_is_complete(server: Any) -> None:
    sentence = "This is sentence number {} of a rather long text. "
    text = "".join(sentence.format(n) for n in range(1000))[:20_000]
    text = text[: text.rindex(".") + 1]
    body = {"input": text, "response_format": "pcm", "voice": "en-us"}
    began = time.monotonic()
    first, received = None, 0
    with httpx.stream("POST", f"{server.url}/v1/audio/speech", json=body, timeout=120) as response:
        assert response.status_code == 200
        for part in response.iter_raw():
            first = first or time.monotonic() - began
            received += len(part)
    assert first is not None
    assert first < 0.5 * (time.monotonic() - began)
    # Each sentence alone, as often as it occurs, must add up to about the same.
    lone = [seconds(speak(server, sentence.format(n), voice="en-us")) for n in (7, 77, 377)]
    count = len(re.findall("sentence", text))
    assert received / 2 / 24_000 == pytest.approx(count * np.mean(lone), rel=0.25)


def test_sixteen_mixed_requests_at_once_all_come_back_right(server: Any) -> None:
    texts = [f"Request number {n} says {'very ' * n}much." for n in range(8)]
    alone = {text: speak(server, text) for text in texts}
    phrase = speak(server, PHRASE)

    async def everything() -> list[Any]:
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
            speeches = [
                client.post(
                    "/v1/audio/speech",
                    json={"input": text, "voice": VOICE, "response_format": "wav"},
                )
                for text in texts
            ]
            transcripts = [
                client.post("/v1/audio/transcriptions", files={"file": ("a.wav", phrase)})
                for _ in range(8)
            ]
            mixed = [call for pair in zip(speeches, transcripts, strict=True) for call in pair]
            return await asyncio.gather(*mixed)

    answers = asyncio.run(everything())
    for text, answer in zip(texts, answers[::2], strict=True):
        assert seconds(answer.content) == pytest.approx(seconds(alone[text]), abs=0.01)
    assert [answer.json()["text"] for answer in answers[1::2]] == [PHRASE] * 8


def test_the_event_loop_does_not_stall_while_speech_is_recognised(
    make_kernel: Callable[..., Kernel],
) -> None:
    async def heartbeat() -> float:
        worst = 0.0
        async with make_kernel({}, PLUGINS) as kernel:
            pcm = [c.samples async for c in kernel.speech(PHRASE, model="espeak", voice=VOICE)]
            wav = io.BytesIO()
            soundfile.write(wav, np.concatenate(pcm), 22_050, format="WAV")
            await kernel.transcribe(wav.getvalue(), model="pocketsphinx")  # loads the worker
            work = asyncio.create_task(kernel.transcribe(wav.getvalue(), model="pocketsphinx"))
            while not work.done():
                began = time.monotonic()
                await asyncio.sleep(0.002)
                worst = max(worst, time.monotonic() - began)
            assert (await work).text == PHRASE
        return worst

    assert asyncio.run(heartbeat()) < 0.25  # measured: a few milliseconds; machines are noisy
