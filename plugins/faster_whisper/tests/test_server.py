"""A whole server: espeak speaks, the trained model writes, and the OpenAI SDK asks for both."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
import wave
from collections.abc import Iterator

import httpx
import numpy as np
import openai
import pytest
import uvicorn

import unisono_espeak
import unisono_faster_whisper
from unisono import Kernel
from unisono.api import create_app
from unisono.config import Config
from unisono.plugins import PluginManager

LANGUAGES = {"hello world": "english", "guten tag": "german", "bonjour": "french"}
VOICES = {"hello world": "en-us", "guten tag": "de", "bonjour": "fr"}


@pytest.fixture(scope="module")
def url(trained: str, folder) -> Iterator[str]:
    plugins = PluginManager()
    plugins.add(unisono_espeak, "espeak")
    plugins.add(unisono_faster_whisper, "faster_whisper")
    whisper = {"engine": "faster_whisper", "device": "cpu", "cpu_threads": 1}
    models = {
        "tiny": {**whisper, "model": trained},
        "batched": {**whisper, "model": trained, "batched": True},
        "english": {**whisper, "model": folder("english")},
        "absent": {**whisper, "model": "/nowhere/whisper"},
    }
    defaults = {"speech": "espeak", "transcription": "tiny"}
    app = create_app(Kernel(Config.load(None, {"models": models, "defaults": defaults}), plugins))
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
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{url}/v1", api_key="any", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture(scope="module")
def said(client: openai.OpenAI) -> dict[str, bytes]:
    """Phrase → a file in which espeak says it."""
    return {
        text: client.audio.speech.create(
            model="espeak",
            voice=voice,
            input=text,
            response_format="wav",
            extra_body={"rate": 150},
        ).content
        for text, voice in VOICES.items()
    }


@pytest.fixture(scope="module")
def long(apart: np.ndarray) -> bytes:
    """A file of two minutes with a phrase in each window of 30 seconds."""
    return wav(apart)


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, len(samples), "NONE", ""))
        writer.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def write(client: openai.OpenAI, audio: bytes, **options):
    options.setdefault("model", "whisper-1")
    return client.audio.transcriptions.create(file=("speech.wav", audio), **options)


def test_what_is_spoken_is_written_in_every_format(client, said) -> None:
    for text, audio in said.items():
        assert write(client, audio).text == text
        assert write(client, audio, response_format="text") == f"{text}\n"
        assert text in write(client, audio, response_format="srt").splitlines()
        vtt = write(client, audio, response_format="vtt")
        assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:0")
        assert text in vtt.splitlines()


def test_verbose_json_has_the_language_and_what_the_model_thinks_of_it(client, said) -> None:
    for text, audio in said.items():
        verbose = write(client, audio, response_format="verbose_json")
        assert (verbose.text, verbose.language) == (text, LANGUAGES[text])
        (segment,) = verbose.segments
        assert 0 <= segment.start < segment.end <= float(verbose.duration) + 1e-3
        assert -1 < segment.avg_logprob < 0
        assert 0 <= segment.no_speech_prob < 1
        assert segment.compression_ratio > 0
        assert segment.tokens


def test_words_come_with_their_times(client, said) -> None:
    verbose = write(
        client,
        said["hello world"],
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    assert [word.word for word in verbose.words] == ["hello", "world"]
    assert 0 <= verbose.words[0].start < verbose.words[1].start < float(verbose.duration)


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac"])
def test_the_round_trip_survives_compression(client, form: str) -> None:
    audio = client.audio.speech.create(
        model="espeak",
        voice="en-us",
        input="hello world",
        response_format=form,
        extra_body={"rate": 150},
    )
    assert write(client, audio.content).text == "hello world"


def test_a_stream_has_the_text_piece_by_piece(client, long) -> None:
    events = write(
        client,
        long,
        stream=True,
        language="en",
        extra_body={"vad_filter": False, "condition_on_previous_text": False},
    )
    deltas, done = [], None
    for event in events:
        if event.type == "transcript.text.delta":
            deltas.append(event.delta)
        elif event.type == "transcript.text.done":
            done = event.text
    assert [delta.strip() for delta in deltas[:2]] == ["hello world", "good morning"]
    assert len(deltas) == 4
    assert "".join(deltas) == done


def test_a_batched_model_streams_too(client, said) -> None:
    events = list(write(client, said["hello world"], model="batched", stream=True))
    assert events[-1].text == "hello world"


@pytest.mark.parametrize("model", ["tiny", "batched"])
def test_log_probabilities_come_with_the_text_and_with_a_stream(client, said, model: str) -> None:
    options = {
        "model": model,
        "include": ["logprobs"],
        "extra_body": {"without_timestamps": False},
    }
    written = write(client, said["hello world"], **options)
    assert written.text == "".join(piece.token for piece in written.logprobs) == "hello world"
    assert all(piece.logprob <= 0 for piece in written.logprobs)
    *_, done = write(client, said["hello world"], stream=True, **options)
    assert [piece.logprob for piece in done.logprobs] == [
        piece.logprob for piece in written.logprobs
    ]


def test_speech_is_translated_with_the_model_that_can(client, said) -> None:
    translated = client.audio.translations.create(
        model="tiny", file=("a.wav", said["hello world"]), response_format="verbose_json"
    )
    assert translated.text == "hello world"
    assert translated.language == "english"
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.translations.create(model="english", file=("a.wav", said["guten tag"]))
    assert caught.value.code == "unsupported_feature"
    assert "'tiny'" in str(caught.value)


def test_english_models_refuse_other_languages(client, said) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        write(client, said["guten tag"], model="english", language="de")
    assert caught.value.code == "unsupported_language"


def test_options_and_keywords_go_through_a_form(client, said) -> None:
    options = {
        "beam_size": 2,
        "temperature_fallback": [0.3],
        "suppress_tokens": [-1],
        "vad_filter": True,
        "vad_threshold": 0.4,
    }
    heard = write(client, said["hello world"], temperature=0.0, extra_body=options)
    assert heard.text == "hello world"
    keywords = {"keywords": ["hello", "world"], "temperature_fallback": []}
    assert write(client, said["hello world"], prompt="hello", extra_body=keywords).text


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"beam_size": 1000}, "beam_size"),
        ({"suppress_tokens": [2**31 - 1]}, "suppress_tokens"),
        ({"keywords": ["word"] * 200}, "keywords"),
        ({"keywords": ["<|translate|>"]}, "keywords"),
        ({"chunk_length": 10}, "chunk_length"),
        ({"clip_timestamps": [5, 4]}, "clip_timestamps"),
    ],
)
def test_mistakes_are_answered_before_anything_is_sent(client, said, options, field) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            write(client, said["bonjour"], stream=stream, extra_body=options)
        assert caught.value.param == field


def test_a_batched_model_says_that_it_has_no_temperature(client, said) -> None:
    answer = client.audio.transcriptions.with_raw_response.create(
        model="batched", file=("a.wav", said["hello world"]), temperature=0.5
    )
    assert answer.headers["x-unisono-ignored"] == "temperature"


def test_a_model_that_is_not_here_is_unavailable_without_its_path(client, said) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        write(client, said["bonjour"], model="absent")
    assert caught.value.status_code == 503
    assert "nowhere" not in str(caught.value)


def test_silence_is_an_empty_transcript(client) -> None:
    silence = wav(np.zeros(32_000, np.float32))
    for model in ("tiny", "batched"):
        assert write(client, silence, model=model).text == ""
        verbose = write(client, silence, model=model, response_format="verbose_json")
        assert verbose.segments == []


def test_times_lie_within_the_audio_and_every_number_is_json(url: str, said) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    audio = said["hello world"]
    answer = httpx.post(
        f"{url}/v1/audio/transcriptions",
        files={"file": ("a.wav", audio)},
        data={"model": "english", "response_format": "verbose_json", "length_penalty": "2"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    body = json.loads(answer.content, parse_constant=refuse)
    for segment in body["segments"]:
        assert 0 <= segment["start"] <= segment["end"] <= body["duration"]


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["tiny", "batched"])
async def test_requests_at_the_same_time_each_get_their_own_text(
    url: str, said, long, model: str
) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:

        async def ask(text: str) -> None:
            answer = await client.post(
                "/v1/audio/transcriptions",
                files={"file": ("a.wav", said[text])},
                data={"model": model, "without_timestamps": "false"},
            )
            assert answer.json()["text"] == text

        async def hang_up() -> None:
            async with client.stream(
                "POST",
                "/v1/audio/transcriptions",
                files={"file": ("a.wav", long)},
                data={
                    "model": model,
                    "stream": "true",
                    "clip_timestamps": "[0, 2, 30, 32, 60, 62]",
                },
            ) as answer:
                async for _ in answer.aiter_raw():
                    break

        await asyncio.gather(*map(ask, said), hang_up(), *map(ask, said))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
