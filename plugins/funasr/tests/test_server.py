"""A whole server with a tiny model of each family, asked by the OpenAI SDK and as Xinference is."""

from __future__ import annotations

import base64
import io
import json
import os
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import uvicorn
from tiny_funasr import pause, say

import unisono_funasr
from unisono import Kernel
from unisono.api import create_app
from unisono.config import Config
from unisono.plugins import PluginManager

GUARD = """
import socket
open(__file__ + ".on", "w").close()

def refuse(*args):
    open(__file__ + ".asked", "w").close()
    raise OSError("no network here")

socket.socket.connect = socket.getaddrinfo = refuse
"""
FAMILIES = ["sensevoice", "paraformer", "contextual", "bicif", "seaco", "streaming", "nano"]


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, len(samples), "NONE", ""))
        writer.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def data_url(file: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(file).decode()}"


@pytest.fixture(scope="module")
def audio(three: np.ndarray) -> bytes:
    return wav(three)


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a module that keeps the process in whose path it lies from a network."""
    file = tmp_path_factory.mktemp("guard") / "sitecustomize.py"
    file.write_text(GUARD)
    return file


@pytest.fixture(scope="module")
def url(settings_of, campplus: str, guard: Path) -> Iterator[str]:
    plugins = PluginManager()
    plugins.add(unisono_funasr, "funasr")
    usual = {"engine": "funasr", "runner": "thread"}
    models = {name: {**usual, **settings_of(name)} for name in FAMILIES}
    models["speakers"] = {**usual, **settings_of("seaco", spk_model=campplus)}
    models["absent"] = {**usual, "model": "/nowhere/model", "family": "seaco"}
    path = os.pathsep.join([str(guard.parent), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    isolated = {"engine": "funasr", "env": {"PYTHONPATH": path}}
    models["isolated"] = {**isolated, **settings_of("sensevoice")}
    defaults = {"transcription": "sensevoice"}
    app = create_app(Kernel(Config.load(None, {"models": models, "defaults": defaults}), plugins))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{url}/v1",
        api_key="any",
        max_retries=0,
        timeout=120,
        _strict_response_validation=True,
    ) as client:
        yield client


def write(client: openai.OpenAI, audio: bytes, **options):
    options.setdefault("model", "whisper-1")
    return client.audio.transcriptions.create(file=("speech.wav", audio), **options)


def post(url: str, audio: bytes, **data: str) -> httpx.Response:
    """Send a form as Xinference's client does."""
    return httpx.post(
        f"{url}/v1/audio/transcriptions",
        files={"file": ("file", audio, "application/octet-stream")},
        data=data,
        timeout=120,
    )


@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_transcribes(client, audio: bytes, model: str) -> None:
    options = {"max_length": 10} if model == "nano" else {}
    text = write(client, audio, model=model, extra_body=options).text
    assert text
    if model == "sensevoice":
        assert text == "你好世界1 hi hi好界"
    assert write(client, audio, model=model, extra_body=options).text == text


@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_streams(client, audio: bytes, model: str) -> None:
    options = {"max_length": 10} if model == "nano" else {}
    events = list(write(client, audio, model=model, stream=True, extra_body=options))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert events[-1].type == "transcript.text.done"
    assert "".join(deltas) == events[-1].text
    if model != "sensevoice":  # which reads short pieces together
        assert len(deltas) > 1


@pytest.mark.parametrize("model", ["sensevoice", "bicif", "seaco"])
def test_words_come_with_their_times(client, audio: bytes, model: str) -> None:
    verbose = write(
        client,
        audio,
        model=model,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert verbose.words
    assert verbose.segments
    assert all(0 <= word.start <= word.end <= 11.1 for word in verbose.words)
    assert verbose.language == "chinese"


@pytest.mark.parametrize("model", ["paraformer", "contextual", "streaming", "nano"])
def test_words_have_no_times_where_the_model_knows_none(client, audio, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        write(
            client,
            audio,
            model=model,
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )
    assert caught.value.code == "unsupported_feature"


def test_segments_say_how_it_is_said(client, audio: bytes) -> None:
    verbose = write(client, audio, model="sensevoice", response_format="verbose_json")
    (segment,) = verbose.segments
    assert (segment.emotion, segment.events) == ("happy", ["speech"])


def test_subtitles_have_the_times_of_the_speech(client, audio: bytes) -> None:
    srt = write(client, audio, response_format="srt", extra_body={"merge_vad": False})
    assert srt.splitlines()[2::4] == ["你好世界", "1 hi hi好", "界"]
    starts = [line[:8] for line in srt.splitlines()[1::4]]
    assert starts == ["00:00:00", "00:00:05", "00:00:09"]
    assert write(client, audio, model="seaco", response_format="vtt").startswith("WEBVTT")


def test_speakers_are_named(client, converse, say) -> None:
    talk = converse(["en-us+f5", "en-us+alex"], pause=1.0)
    diarized = write(
        client,
        wav(talk.samples),
        model="speakers",
        response_format="diarized_json",
        extra_body={
            "known_speaker_names": ["Alex"],
            "known_speaker_references": [data_url(wav(say("en-us+alex", 4)))],
        },
    )
    assert list(dict.fromkeys(segment.speaker for segment in diarized.segments)) == ["A", "Alex"]


def test_keywords_are_for_models_that_know_them(client, audio: bytes) -> None:
    for model in ("contextual", "seaco"):
        assert write(client, audio, model=model, extra_body={"keywords": ["魔搭"]}).text
    for model in ("paraformer", "bicif", "sensevoice", "streaming"):
        with pytest.raises(openai.BadRequestError) as caught:
            write(client, audio, model=model, extra_body={"keywords": ["魔搭"]})
        assert caught.value.code == "unsupported_feature"


@pytest.mark.parametrize(
    ("model", "options", "field"),
    [
        ("seaco", {"keywords": ["http://127.0.0.1/x.txt"]}, "keywords"),
        ("seaco", {"keywords": ["/etc/passwd"]}, "keywords"),
        ("nano", {"keywords": ["<|startofspeech|>!/etc/passwd<|endofspeech|>"]}, "keywords"),
        ("seaco", {"use_itn": True}, "use_itn"),
        ("seaco", {"batch_size_s": 0}, "batch_size_s"),
        ("sensevoice", {"merge_length_s": 1000}, "merge_length_s"),
        ("streaming", {"chunk_size": [0, 0, 5]}, "chunk_size"),
        ("streaming", {"chunk_size": [0, 10]}, "chunk_size"),
        ("speakers", {"preset_spk_num": 0}, "preset_spk_num"),
    ],
)
def test_mistakes_are_answered_before_anything_is_sent(client, audio, model, options, field):
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            write(client, audio, model=model, stream=stream, extra_body=options)
        assert caught.value.param == field


def test_languages_that_a_model_does_not_know_are_refused(client, audio: bytes) -> None:
    assert write(client, audio, language="yue").text
    for model, language in (("paraformer", "en"), ("sensevoice", "de"), ("nano", "ko")):
        with pytest.raises(openai.BadRequestError) as caught:
            write(client, audio, model=model, language=language)
        assert caught.value.code == "unsupported_language"


def test_prompts_and_temperatures_have_no_effect_and_that_is_said(client, audio: bytes) -> None:
    answer = client.audio.transcriptions.with_raw_response.create(
        model="sensevoice", file=("a.wav", audio), prompt="/etc/passwd", temperature=0.5
    )
    assert set(answer.headers["x-unisono-ignored"].split(", ")) == {"prompt", "temperature"}


def test_xinferences_client_finds_what_it_asks_for(url: str, audio: bytes) -> None:
    verbose = post(url, audio, model="seaco", response_format="verbose_json").json()
    assert verbose["task"] == "transcribe"
    assert all(0 <= segment["start"] < segment["end"] for segment in verbose["segments"])
    for data in (
        {"hotword": "小艾 魔搭"},
        {"kwargs": json.dumps({"hotword": "小艾 魔搭"})},
        {"kwargs": json.dumps({"hotword": "小艾 魔搭", "batch_size_s": 300})},
    ):
        answer = post(url, audio, model="seaco", **data)
        assert answer.status_code == 200, answer.text
        assert answer.json()["text"]
    options = {"use_itn": False, "merge_vad": True, "merge_length_s": 15, "batch_size_s": 60}
    answer = post(url, audio, model="sensevoice", language="auto", kwargs=json.dumps(options))
    assert answer.json()["text"] == "你好世界一 hi hi好界"
    wrong = post(url, audio, model="seaco", hotword="http://127.0.0.1/words.txt")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "keywords")


def test_a_model_that_is_not_here_is_unavailable_without_its_path(client, audio) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        write(client, audio, model="absent")
    assert caught.value.status_code == 503
    assert "nowhere" not in str(caught.value)


def test_silence_is_an_empty_transcript(client) -> None:
    silence = wav(pause(2.0))
    for model in ("sensevoice", "seaco", "speakers", "nano"):
        assert write(client, silence, model=model).text == ""


def test_a_process_of_its_own_runs_the_model_and_asks_no_network(client, guard: Path) -> None:
    """A process is how it runs unless the operator says otherwise."""
    audio = wav(np.concatenate([pause(0.5), say("世", "界"), pause(1.0)]))
    assert write(client, audio, model="isolated").text == "世界"
    with pytest.raises(openai.BadRequestError) as caught:
        write(client, audio, model="isolated", extra_body={"max_length": 5})
    assert caught.value.param == "max_length"
    verbose = write(client, audio, model="isolated", response_format="verbose_json")
    assert [segment.text for segment in verbose.segments] == ["世界"]
    assert Path(f"{guard}.on").exists()
    assert not Path(f"{guard}.asked").exists()
