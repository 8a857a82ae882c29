"""POST /v1/audio/transcriptions and translations, as clients without an SDK see them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
FORMATS = ("mp3", "opus", "aac", "flac", "wav")


def error_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


@pytest.fixture
def transcribe(http: httpx.Client, wav: Callable[..., bytes]) -> Callable[..., httpx.Response]:
    """Return a function that uploads three seconds, or a given file, with some fields."""

    def post(file: Any = None, **fields: Any) -> httpx.Response:
        return http.post(TRANSCRIPTIONS, data=fields, files={"file": file or wav(3)})

    return post


@pytest.mark.parametrize(
    ("format", "media_type", "start"),
    [
        ("json", "application/json", '{"text": "second 0. second 1. second 2."'),
        ("text", "text/plain", "second 0. second 1. second 2.\n"),
        ("srt", "text/plain", "1\n00:00:00,000 --> 00:00:01,000\nsecond 0.\n\n2\n"),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nsecond 0.\n\n"),
        ("verbose_json", "application/json", '{"task": "transcribe", "language": "english"'),
    ],
)
def test_each_format_has_its_content_type(
    transcribe: Callable[..., httpx.Response], format: str, media_type: str, start: str
) -> None:
    answer = transcribe(response_format=format)
    assert answer.headers["content-type"].split(";")[0] == media_type
    assert answer.text.startswith(start)
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_only_the_file_is_needed(transcribe: Callable[..., httpx.Response]) -> None:
    answer = transcribe()
    assert answer.json()["text"] == "second 0. second 1. second 2."
    assert answer.headers["x-unisono-model"] == "echo-transcriber"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["speech", "speech.txt", "speech.mp3"])
def test_a_file_is_known_by_its_content(
    http: httpx.Client, transcribe: Callable[..., httpx.Response], format: str, name: str
) -> None:
    fields = {"input": "one two three four five six seven eight", "response_format": format}
    spoken = http.post("/v1/audio/speech", json=fields)
    answer = transcribe((name, spoken.content, "image/png"))
    assert answer.json()["text"].startswith("second 0. second 1.")


def test_silence_has_no_text(
    transcribe: Callable[..., httpx.Response], wav: Callable[..., bytes]
) -> None:
    silence = wav(2, silent={0, 1})
    assert transcribe(silence).json()["text"] == ""
    assert transcribe(silence, response_format="verbose_json").json()["segments"] == []
    assert transcribe(silence, response_format="vtt").text.strip() == "WEBVTT"
    events = transcribe(silence, stream="true").text.strip().split("\n\n")
    assert events == ['data: {"type": "transcript.text.done", "text": ""}']


@pytest.mark.parametrize("field", ["timestamp_granularities[]", "timestamp_granularities"])
def test_lists_come_with_or_without_brackets(
    transcribe: Callable[..., httpx.Response], field: str
) -> None:
    answer = transcribe(**{"response_format": "verbose_json", field: ["word", "segment"]})
    body = answer.json()
    assert len(body["words"]) == 6
    assert len(body["segments"]) == 3


def test_an_empty_field_counts_as_left_out(transcribe: Callable[..., httpx.Response]) -> None:
    answer = transcribe(model="", language="", prompt="", temperature="", response_format="")
    assert answer.json()["text"]


@pytest.mark.parametrize("part", ["file", "file[]", "audio", "audio_file"])
def test_the_only_upload_is_the_file_whatever_its_name(
    http: httpx.Client, wav: Callable[..., bytes], part: str
) -> None:
    assert http.post(TRANSCRIPTIONS, files={part: wav(1)}).json()["text"] == "second 0."


def test_hints_that_the_model_cannot_follow_are_ignored_and_that_is_said(
    transcribe: Callable[..., httpx.Response],
) -> None:
    hints = {"prompt": "Names: Ada.", "temperature": "0.2"}
    answer = transcribe(**hints)
    assert sorted(answer.headers["x-unisono-ignored"].split(", ")) == sorted(hints)


def test_server_vad_comes_in_brackets(transcribe: Callable[..., httpx.Response]) -> None:
    fields = {
        "chunking_strategy[type]": "server_vad",
        "chunking_strategy[threshold]": "0.5",
        "chunking_strategy[prefix_padding_ms]": "300",
    }
    answer = transcribe(**fields)
    assert answer.status_code == 200
    assert "x-unisono-ignored" not in answer.headers


@pytest.mark.parametrize(
    "fields",
    [
        {"chunking_strategy": "server_vad"},
        {"chunking_strategy": '{"type": "server_vad", "threshold": 0.5}'},
    ],
)
def test_server_vad_comes_by_name_and_as_json(
    transcribe: Callable[..., httpx.Response], fields: dict[str, str]
) -> None:
    assert transcribe(**fields).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"chunking_strategy": "somehow"},
        {"chunking_strategy": "{"},
        {"chunking_strategy[type]": "client_vad"},
        {"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "2"},
        {"chunking_strategy[type]": "server_vad", "chunking_strategy[eagerness]": "high"},
    ],
)
def test_a_strategy_that_nobody_knows_is_refused(
    transcribe: Callable[..., httpx.Response], fields: dict[str, str]
) -> None:
    answer = transcribe(**fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "chunking_strategy"
    assert ".auto" not in error["message"]


def test_log_probabilities_come_with_every_delta_and_with_the_end(
    serve: Callable[..., Any], wav: Callable[..., bytes]
) -> None:
    models = {"m": {"engine": "echo_transcriber", "features": ["logprobs"]}}
    fields = {"model": "m", "stream": "true", "include[]": "logprobs"}
    server = serve({"models": models})
    with httpx.Client(base_url=server.url) as http:
        answer = http.post(TRANSCRIPTIONS, data=fields, files={"file": wav(2.0)})
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:7] == "data: {"]
    deltas = [each for event in events[:-1] for each in event["logprobs"]]
    assert len(deltas) == 4
    assert events[-1]["logprobs"] == deltas


@pytest.mark.parametrize("form", ["json", "text"])
def test_events_join_to_the_text(transcribe: Callable[..., httpx.Response], form: str) -> None:
    answer = transcribe(stream="true", response_format=form)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count("transcript.text.delta") == 3
    assert '"text": "second 0. second 1. second 2."' in answer.text


@pytest.mark.parametrize("stream", ["false", "False", "0", ""])
def test_stream_may_be_denied(transcribe: Callable[..., httpx.Response], stream: str) -> None:
    assert transcribe(stream=stream).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": "true", "response_format": "srt"}, "response_format"),
        ({"stream": "maybe"}, "stream"),
        ({"response_format": "docx"}, "response_format"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        (
            {"timestamp_granularities[]": "letter", "response_format": "verbose_json"},
            "timestamp_granularities",
        ),
        ({"include[]": "logprobs"}, "include"),
        ({"keywords[]": "Ada"}, "keywords"),
        ({"language": "tlh"}, "language"),
        ({"language": "not a language"}, "language"),
        ({"languages[]": "tlh"}, "languages"),
        ({"temperature": "2"}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"model": "echo"}, "model"),
        ({"gain": "2"}, "gain"),
        ({"gain": ["0.5", "x"]}, "gain"),
        ({"prompt": "a", "prompt[]": "b"}, "prompt"),
        ({"prompt[a]": "a", "prompt[]": "b"}, "prompt"),
        ({"prompt[a]": "a", "prompt": "b"}, "prompt"),
        ({"languages[a]": "a", "languages": "b"}, "languages"),
        ({"chunking_strategy": '{"type":' * 50_000}, "chunking_strategy"),
    ],
)
def test_a_wrong_field_is_named(
    transcribe: Callable[..., httpx.Response], fields: dict[str, str], param: str
) -> None:
    assert error_of(transcribe(**fields))["param"] == param


def test_translation_is_refused_by_a_model_that_only_transcribes(
    http: httpx.Client, wav: Callable[..., bytes]
) -> None:
    error = error_of(http.post(TRANSLATIONS, files={"file": wav(1)}))
    assert (error["param"], error["code"]) == ("model", "unsupported_feature")


@pytest.fixture
def gifted(serve: Callable[..., Any]) -> Iterator[httpx.Client]:
    """A server whose model can do everything that a transcriber may be able to do."""
    features = ["diarization", "hotwords", "temperature", "text_prompt", "translation"]
    server = serve({"models": {"gifted": {"engine": "echo_transcriber", "features": features}}})
    with httpx.Client(base_url=server.url) as client:
        yield client


def test_a_translation_comes_in_openais_formats(
    gifted: httpx.Client, wav: Callable[..., bytes]
) -> None:
    for format, start in {
        "json": '{"text": "second 0."',
        "text": "second 0.\n",
        "srt": "1\n",
        "vtt": "WEBVTT\n\n",
        "verbose_json": '{"task": "translate", "language": "english"',
    }.items():
        data = {"response_format": format}
        answer = gifted.post(TRANSLATIONS, data=data, files={"file": wav(1)})
        assert answer.text.startswith(start)


def test_a_model_that_follows_hints_ignores_none(
    gifted: httpx.Client, wav: Callable[..., bytes]
) -> None:
    hints = {"prompt": "x", "temperature": "0.2", "keywords[]": ["Ada", "Grace"]}
    answer = gifted.post(TRANSCRIPTIONS, data=hints, files={"file": wav(1)})
    assert answer.status_code == 200
    assert "x-unisono-ignored" not in answer.headers


def test_subtitles_name_the_speakers(gifted: httpx.Client, wav: Callable[..., bytes]) -> None:
    data = {"response_format": "vtt"}
    answer = gifted.post(TRANSCRIPTIONS, data=data, files={"file": wav(1)})
    assert "<v S0>second 0." in answer.text


@pytest.mark.parametrize("prefix", ["", "data:audio/wav;base64,"])
def test_a_file_may_come_in_json(
    http: httpx.Client, wav: Callable[..., bytes], prefix: str
) -> None:
    file = prefix + base64.b64encode(wav(2)).decode()
    answer = http.post(TRANSCRIPTIONS, json={"model": "echo-transcriber", "file": file})
    assert answer.json()["text"] == "second 0. second 1."


@pytest.mark.parametrize("file", [None, 5, "", "<audio bytes>", "/etc/passwd", "aGVsbG8="])
def test_what_is_no_file_in_json_is_refused(http: httpx.Client, file: Any) -> None:
    assert error_of(http.post(TRANSCRIPTIONS, json={"file": file}))["param"] == "file"


@pytest.mark.parametrize("keyword", ["a\0b", "line\nbreak", "x" * 201])
def test_a_keyword_is_a_word(transcribe: Callable[..., httpx.Response], keyword: str) -> None:
    assert error_of(transcribe(**{"keywords[]": keyword}))["param"] == "keywords"


def test_what_is_wrong_with_a_strategy_is_said(
    transcribe: Callable[..., httpx.Response],
) -> None:
    fields = {"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "2"}
    message = error_of(transcribe(**fields))["message"]
    assert "threshold" in message
    assert "auto" not in message


def test_a_strategy_of_another_name_is_told_which_there_are(
    transcribe: Callable[..., httpx.Response],
) -> None:
    message = error_of(transcribe(chunking_strategy="client_vad"))["message"]
    assert "'auto', 'server_vad'" in message
