"""The OpenAI Python SDK, unchanged but for its base URL, finds OpenAI's API here."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from unisono.testing.echo import EchoSettings, expected

TEXT = "Many voices are sounding as one today, friends."  # 8 words, 2 seconds
FORMATS = {
    "mp3": ("audio/mpeg", 24_000),
    "opus": ("audio/ogg", 48_000),
    "aac": ("audio/aac", 24_000),
    "flac": ("audio/flac", 24_000),
    "wav": ("audio/wav", 24_000),
    "pcm": ("audio/pcm", 24_000),
}
MODELS = {
    "acme/narrator": {"engine": "echo"},
    "obedient": {"engine": "echo", "features": ["long_text", "instructions"]},
    "broken": {"engine": "echo", "fail_load": True},
    "speakers": {"engine": "echo_transcriber", "features": ["diarization", "word_timestamps"]},
    "translator": {
        "engine": "echo_transcriber",
        "features": ["translation"],
        "languages": ["de"],
    },
}


@pytest.fixture(scope="module")
def url(module_serve: Callable[..., Any]) -> str:
    defaults = {"speech": "echo", "transcription": "echo-transcriber"}
    return f"{module_serve({'models': MODELS, 'defaults': defaults}).url}/v1"


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=url,
        api_key="any",
        max_retries=0,
        _strict_response_validation=True,  # else the SDK takes bodies of any shape
    ) as client:
        yield client


def decibels(samples: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(samples))) + 1e-9))


# Speech


@pytest.mark.parametrize("format", FORMATS)
def test_speech_comes_in_every_format(
    client: openai.OpenAI, hear: Callable[..., Any], format: Any
) -> None:
    answer = client.audio.speech.create(
        model="tts-1", voice="alloy", input=TEXT, response_format=format
    )
    media_type, native = FORMATS[format]
    rate, samples = hear(answer.content, format)
    assert answer.response.headers["content-type"] == media_type
    assert rate == native
    assert len(samples) / rate == pytest.approx(2.0, abs=0.15)
    assert decibels(samples) == pytest.approx(decibels(expected(TEXT)), abs=1.5)


def test_speech_is_mp3_unless_told_otherwise(client: openai.OpenAI) -> None:
    answer = client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
    assert answer.response.headers["content-type"] == "audio/mpeg"


def test_speech_streams_to_a_file(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "speech.pcm"
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="coral", input=TEXT, response_format="pcm"
    ) as answer:
        answer.stream_to_file(path)
    samples = np.frombuffer(path.read_bytes(), "<i2") / 32768
    np.testing.assert_allclose(samples, expected(TEXT), atol=1e-4)


def test_speech_streams_as_events(client: openai.OpenAI, hear: Callable[..., Any]) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="ash", input=TEXT, stream_format="sse"
    ) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert answer.headers["content-type"].startswith("text/event-stream")
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    rate, samples = hear(b"".join(base64.b64decode(d["audio"]) for d in deltas), "mp3")
    assert len(samples) / rate == pytest.approx(2.0, abs=0.15)
    assert done["type"] == "speech.audio.done"
    assert set(done["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}


@pytest.mark.parametrize(("speed", "seconds"), [(0.25, 8.0), (0.5, 4.0), (2.0, 1.0), (4.0, 0.5)])
def test_speed_changes_the_duration(
    client: openai.OpenAI, hear: Callable[..., Any], speed: float, seconds: float
) -> None:
    answer = client.audio.speech.create(
        model="tts-1", voice="nova", input=TEXT, speed=speed, response_format="wav"
    )
    rate, samples = hear(answer.content, "wav")
    assert len(samples) / rate == pytest.approx(seconds, abs=0.1)


def test_instructions_reach_a_model_that_follows_them(client: openai.OpenAI) -> None:
    answer = client.audio.speech.with_raw_response.create(
        model="obedient", voice="alloy", input=TEXT, instructions="Whisper."
    )
    assert "x-unisono-ignored" not in answer.headers


def test_instructions_to_another_model_are_ignored_and_that_is_said(client: openai.OpenAI) -> None:
    answer = client.audio.speech.with_raw_response.create(
        model="tts-1", voice="alloy", input=TEXT, instructions="Whisper."
    )
    assert answer.headers["x-unisono-ignored"] == "instructions"


def test_extra_body_carries_an_engines_own_options(
    client: openai.OpenAI, hear: Callable[..., Any]
) -> None:
    answer = client.audio.speech.create(
        model="echo",
        voice="near",
        input=TEXT,
        response_format="wav",
        extra_body={"gain": 0.5, "sample_rate": 16_000},
    )
    rate, samples = hear(answer.content, "wav")
    assert rate == 16_000
    assert decibels(samples) == pytest.approx(decibels(expected(TEXT)) - 6.0, abs=0.3)


def test_a_custom_voice_is_named_by_its_id(client: openai.OpenAI) -> None:
    answer = client.audio.speech.create(model="echo", voice={"id": "far"}, input=TEXT)
    assert answer.content


@pytest.mark.anyio
async def test_the_asynchronous_client_streams(url: str) -> None:
    async with (
        openai.AsyncOpenAI(base_url=url, api_key="any") as client,
        client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=TEXT, response_format="pcm"
        ) as answer,
    ):
        data = b"".join([part async for part in answer.iter_bytes()])
    np.testing.assert_allclose(np.frombuffer(data, "<i2") / 32768, expected(TEXT), atol=1e-4)


# Transcription


def test_a_transcript_has_text_and_usage(client: openai.OpenAI, wav: Callable[..., bytes]) -> None:
    transcript = client.audio.transcriptions.create(model="whisper-1", file=wav(1.5))
    assert transcript.text == "second 0. second 1."
    assert transcript.usage
    assert transcript.usage.type == "duration"
    assert transcript.usage.seconds == 2


@pytest.mark.parametrize(
    ("format", "start"),
    [
        ("text", "second 0. second 1.\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,000\nsecond 0.\n\n2\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nsecond 0.\n"),
    ],
)
def test_text_formats_come_as_strings(
    client: openai.OpenAI, wav: Callable[..., bytes], format: Any, start: str
) -> None:
    transcript = client.audio.transcriptions.create(
        model="whisper-1", file=("speech.wav", wav(2)), response_format=format
    )
    assert str(transcript).startswith(start)


def test_verbose_json_has_segments(client: openai.OpenAI, wav: Callable[..., bytes]) -> None:
    transcript = client.audio.transcriptions.create(
        model="whisper-1", file=wav(2), response_format="verbose_json"
    )
    assert transcript.duration == pytest.approx(2.0)
    assert transcript.language == "english"
    assert transcript.segments
    assert [segment.text for segment in transcript.segments] == ["second 0.", "second 1."]
    first = transcript.segments[0]
    # The SDK does not validate; all ten are required, and LiteLLM reads them.
    assert set(first.model_dump()) == {
        *("id", "seek", "start", "end", "text", "tokens", "temperature"),
        *("avg_logprob", "compression_ratio", "no_speech_prob"),
    }
    assert None not in first.model_dump().values()
    assert transcript.words is None


def test_words_come_when_asked_for(client: openai.OpenAI, wav: Callable[..., bytes]) -> None:
    transcript = client.audio.transcriptions.create(
        model="whisper-1",
        file=wav(1),
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    assert transcript.words
    assert [(w.word, w.start, w.end) for w in transcript.words] == [
        ("second", 0.0, 0.5),
        ("0.", 0.5, 1.0),
    ]
    assert transcript.segments is None


def test_words_and_segments_come_together(client: openai.OpenAI, wav: Callable[..., bytes]) -> None:
    transcript = client.audio.transcriptions.create(
        model="whisper-1",
        file=wav(1),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert transcript.words
    assert transcript.segments


def test_speakers_are_told_apart(client: openai.OpenAI, wav: Callable[..., bytes]) -> None:
    transcript = client.audio.transcriptions.create(
        model="speakers", file=wav(2), response_format="diarized_json", chunking_strategy="auto"
    )
    assert [(s.speaker, s.text) for s in transcript.segments] == [
        ("S0", "second 0."),
        ("S1", "second 1."),
    ]
    assert transcript.task == "transcribe"


def test_a_transcript_streams(client: openai.OpenAI, wav: Callable[..., bytes]) -> None:
    events = list(
        client.audio.transcriptions.create(model="gpt-4o-transcribe", file=wav(2), stream=True)
    )
    *deltas, done = events
    assert [event.type for event in deltas] == ["transcript.text.delta"] * 2
    assert done.type == "transcript.text.done"
    assert done.text == "".join(delta.delta for delta in deltas) == "second 0. second 1."


def test_a_diarized_transcript_streams_the_segments_of_the_whole_one(
    client: openai.OpenAI, wav: Callable[..., bytes]
) -> None:
    common: Any = {"model": "speakers", "response_format": "diarized_json"}
    whole = client.audio.transcriptions.create(file=wav(3), **common)
    events = client.audio.transcriptions.create(file=wav(3), stream=True, **common)
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert [s.model_dump() for s in segments] == [s.model_dump() for s in whole.segments]


@pytest.mark.anyio
async def test_the_asynchronous_client_transcribes(url: str, wav: Callable[..., bytes]) -> None:
    async with openai.AsyncOpenAI(base_url=url, api_key="any") as client:
        stream = await client.audio.transcriptions.create(
            model="whisper-1", file=wav(2), stream=True
        )
        kinds = [event.type async for event in stream]
    assert kinds == ["transcript.text.delta", "transcript.text.delta", "transcript.text.done"]


def test_a_failure_while_streaming_raises(client: openai.OpenAI, wav: Callable[..., bytes]) -> None:
    stream = client.audio.transcriptions.create(
        model="whisper-1", file=wav(3), stream=True, extra_body={"fail_after": 2}
    )
    assert next(stream).type == "transcript.text.delta"
    with pytest.raises(openai.APIError, match="failed with RuntimeError"):
        list(stream)


@pytest.mark.filterwarnings("ignore:deprecated")
def test_translation_needs_a_model_that_translates(
    client: openai.OpenAI, wav: Callable[..., bytes]
) -> None:
    with pytest.raises(openai.BadRequestError, match="Models that have it: 'translator'") as caught:
        client.audio.translations.create(model="whisper-1", file=wav(1))
    assert caught.value.code == "unsupported_feature"
    assert caught.value.param == "model"


@pytest.mark.filterwarnings("ignore:deprecated")
def test_a_translation_is_english(client: openai.OpenAI, wav: Callable[..., bytes]) -> None:
    translation = client.audio.translations.create(model="translator", file=wav(1))
    assert translation.text == "second 0."


@pytest.mark.filterwarnings("ignore:deprecated")
def test_a_verbose_translation_says_that_it_is_english(
    client: openai.OpenAI, wav: Callable[..., bytes]
) -> None:
    translation = client.audio.translations.create(
        model="translator", file=wav(1), response_format="verbose_json"
    )
    assert translation.language == "english"
    assert translation.segments
    assert translation.model_extra
    assert translation.model_extra["task"] == "translate"


# Models


def test_models_are_listed(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert {"echo", "acme/narrator", "tts-1", "whisper-1", "echo-transcriber"} <= set(models)
    assert models["echo"].object == "model"
    assert models["echo"].owned_by == "echo"
    assert isinstance(models["echo"].created, int)


@pytest.mark.parametrize("name", ["echo", "tts-1", "acme/narrator"])
def test_a_model_is_retrieved(client: openai.OpenAI, name: str) -> None:
    assert client.models.retrieve(name).id == name


# Errors


def refused(action: Callable[[], Any], kind: type[openai.APIStatusError]) -> openai.APIStatusError:
    with pytest.raises(kind) as caught:
        action()
    assert type(caught.value) is kind
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    assert caught.value.request_id
    assert "Error code" in str(caught.value)
    return caught.value


def test_a_wrong_value_is_a_bad_request(client: openai.OpenAI) -> None:
    error = refused(
        lambda: client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, speed=9),
        openai.BadRequestError,
    )
    assert (error.param, error.type) == ("speed", "invalid_request_error")


def test_an_unknown_voice_is_a_bad_request(client: openai.OpenAI) -> None:
    error = refused(
        lambda: client.audio.speech.create(model="tts-1", voice="nobody", input=TEXT),
        openai.BadRequestError,
    )
    assert (error.param, error.code) == ("voice", "invalid_voice")


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    error = refused(
        lambda: client.audio.speech.create(model="nothing", voice="alloy", input=TEXT),
        openai.NotFoundError,
    )
    assert (error.param, error.code) == ("model", "model_not_found")
    refused(lambda: client.models.retrieve("nothing"), openai.NotFoundError)


def test_a_file_that_is_no_audio_is_a_bad_request(client: openai.OpenAI) -> None:
    error = refused(
        lambda: client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", b"text" * 99)),
        openai.BadRequestError,
    )
    assert (error.param, error.code) == ("file", "invalid_audio")


def test_a_file_that_is_too_short_has_openais_code(
    client: openai.OpenAI, wav: Callable[..., bytes]
) -> None:
    error = refused(
        lambda: client.audio.transcriptions.create(model="whisper-1", file=wav(0.05)),
        openai.BadRequestError,
    )
    assert (error.param, error.code) == ("file", "audio_too_short")


def test_a_route_that_does_not_exist_is_not_found(client: openai.OpenAI) -> None:
    refused(lambda: client.embeddings.create(model="x", input="y"), openai.NotFoundError)


def test_an_engine_that_breaks_is_a_server_error(client: openai.OpenAI) -> None:
    error = refused(
        lambda: client.audio.speech.create(
            model="tts-1", voice="alloy", input=TEXT, extra_body={"fail_after": 0}
        ),
        openai.InternalServerError,
    )
    assert (error.status_code, error.type, error.code) == (500, "server_error", "engine_failed")


def test_a_model_that_cannot_load_is_a_server_error(client: openai.OpenAI) -> None:
    error = refused(
        lambda: client.audio.speech.create(model="broken", voice="alloy", input=TEXT),
        openai.InternalServerError,
    )
    assert (error.status_code, error.code) == (503, "engine_unavailable")


def test_a_wrong_key_is_an_authentication_error(serve: Callable[..., Any]) -> None:
    server = serve({"server": {"api_keys": ["right"]}})
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong") as client:
        error = refused(client.models.list, openai.AuthenticationError)
        assert error.code == "invalid_api_key"
        assert client.with_options(api_key="right").models.list().data


def test_an_overloaded_server_is_tried_again_after_the_time_it_says(
    serve: Callable[..., Any],
) -> None:
    server = serve(
        {
            "limits": {"queue_length": 0},
            "models": {"slow": {"engine": "echo", "first_delay": 0.5}},
        }
    )
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any") as client:

        def speak(retries: int) -> bytes:
            return (
                client.with_options(max_retries=retries)
                .audio.speech.create(model="slow", voice="alloy", input=TEXT)
                .content
            )

        first = threading.Thread(target=speak, args=(0,))
        first.start()
        while not server.kernel.pool.loaded().get("slow"):
            time.sleep(0.005)
        error = refused(lambda: speak(0), openai.RateLimitError)
        assert int(error.response.headers["retry-after"]) >= 1
        assert error.type == "rate_limit_error"
        began = time.monotonic()
        assert speak(2)
        assert time.monotonic() - began >= 1.0
        first.join()


# A whole program


def test_a_program_written_for_openai_runs_unchanged(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-whatever")
    path = tmp_path / "speech.mp3"

    client = openai.OpenAI()
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="The quick brown fox jumped over the lazy dog."
    ) as response:
        response.stream_to_file(path)
    with path.open("rb") as file:
        transcription = client.audio.transcriptions.create(model="whisper-1", file=file)
    client.close()

    seconds = 9 * EchoSettings().seconds_per_word
    assert transcription.text.startswith("second 0.")
    assert transcription.text.count("second") == pytest.approx(seconds, abs=1)
