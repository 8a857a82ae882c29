"""Every answer and event is what OpenAI's own types say, read strictly.

The SDK itself takes bodies of any shape. Here its models read them as pydantic does when it is
strict: required keys are there, types are exact, nothing that may be left out is null.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest
from openai.types import ErrorObject, Model
from openai.types.audio import (
    Transcription,
    TranscriptionDiarized,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionTextSegmentEvent,
    TranscriptionVerbose,
    Translation,
    TranslationVerbose,
)
from pydantic import BaseModel

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
FEATURES = ["diarization", "translation", "word_timestamps"]
EVENTS: dict[str, type[BaseModel]] = {
    "transcript.text.delta": TranscriptionTextDeltaEvent,
    "transcript.text.done": TranscriptionTextDoneEvent,
    "transcript.text.segment": TranscriptionTextSegmentEvent,
}


@pytest.fixture(scope="module")
def url(module_serve: Callable[..., Any]) -> str:
    models = {
        "able": {"engine": "echo_transcriber", "features": FEATURES, "languages": ["de", "en"]},
        "plain": {"engine": "echo_transcriber", "features": []},
    }
    defaults = {"transcription": "able"}
    return str(module_serve({"models": models, "defaults": defaults}).url)


@pytest.fixture
def post(url: str, wav: Callable[..., bytes]) -> Callable[..., httpx.Response]:
    """Return what asks for a transcript of three seconds, the second of which is silent."""

    def send(path: str = TRANSCRIPTIONS, **fields: Any) -> httpx.Response:
        answer = httpx.post(url + path, data=fields, files={"file": wav(3, silent={1})})
        assert answer.status_code == 200, answer.text
        return answer

    return send


def nulls(value: object, path: str = "") -> Iterator[str]:
    """Yield where there is null: the schemas know keys that are left out, but none."""
    if value is None:
        yield path
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from nulls(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from nulls(inner, f"{path}[]")


def read(type_: type[BaseModel], text: str) -> Any:
    """Return a body as OpenAI's type reads it.

    :raises ValidationError: if it is none.
    """
    assert not list(nulls(json.loads(text)))
    return type_.model_validate_json(text, strict=True)


def events(answer: httpx.Response) -> list[Any]:
    """Return the events of a stream, each as its type reads it."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.split("\n\n")
    assert blocks.pop() == ""  # each of them ends with an empty line
    data = [block.removeprefix("data: ") for block in blocks]
    return [read(EVENTS[json.loads(text)["type"]], text) for text in data]


@pytest.mark.parametrize(
    ("model", "path"), [("able", TRANSCRIPTIONS), ("able", TRANSLATIONS), ("plain", TRANSCRIPTIONS)]
)
@pytest.mark.parametrize("format", ["json", "verbose_json"])
def test_json_is_of_openais_type(
    post: Callable[..., httpx.Response], model: str, path: str, format: str
) -> None:
    plain, verbose = (
        (Transcription, TranscriptionVerbose)
        if path == TRANSCRIPTIONS
        else (Translation, TranslationVerbose)
    )
    answer = post(path, model=model, response_format=format)
    assert answer.headers["content-type"] == "application/json"
    body = read(plain if format == "json" else verbose, answer.text)
    assert body.text == "second 0. second 2."
    if format == "verbose_json":
        assert [segment.id for segment in body.segments] == [0, 1]
        assert body.duration == 3


def test_json_says_how_much_was_heard(post: Callable[..., httpx.Response]) -> None:
    usage = read(Transcription, post().text).usage
    assert (usage.type, usage.seconds) == ("duration", 3)


@pytest.mark.parametrize(
    ("granularities", "words", "segments"),
    [(["word"], 4, 0), (["segment"], 0, 2), (["word", "segment"], 4, 2), ([], 0, 2)],
)
def test_verbose_json_carries_the_granularities_that_were_asked_for(
    post: Callable[..., httpx.Response], granularities: list[str], words: int, segments: int
) -> None:
    fields = {"timestamp_granularities[]": granularities}
    body = read(TranscriptionVerbose, post(response_format="verbose_json", **fields).text)
    assert len(body.words or []) == words
    assert len(body.segments or []) == segments


def test_diarized_json_is_of_openais_type(post: Callable[..., httpx.Response]) -> None:
    body = read(TranscriptionDiarized, post(response_format="diarized_json").text)
    assert [segment.type for segment in body.segments] == ["transcript.text.segment"] * 2
    assert len({segment.id for segment in body.segments}) == 2


@pytest.mark.parametrize(
    ("model", "path", "format"),
    [
        ("able", TRANSCRIPTIONS, "json"),
        ("able", TRANSCRIPTIONS, "text"),
        ("able", TRANSCRIPTIONS, "diarized_json"),
        ("able", TRANSLATIONS, "json"),
        ("plain", TRANSCRIPTIONS, "json"),
    ],
)
def test_events_are_of_openais_types(
    post: Callable[..., httpx.Response], model: str, path: str, format: str
) -> None:
    *before, done = events(post(path, model=model, response_format=format, stream="true"))
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert not any(isinstance(event, TranscriptionTextDoneEvent) for event in before)
    deltas = [event for event in before if isinstance(event, TranscriptionTextDeltaEvent)]
    assert "".join(event.delta for event in deltas) == done.text == "second 0. second 2."
    segments = [event for event in before if isinstance(event, TranscriptionTextSegmentEvent)]
    assert len(segments) == (2 if format == "diarized_json" else 0)


@pytest.mark.parametrize("format", ["text", "srt", "vtt"])
@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
def test_what_is_no_json_is_text(
    post: Callable[..., httpx.Response], path: str, format: str
) -> None:
    answer = post(path, response_format=format)
    assert answer.headers["content-type"].startswith("text/")
    assert answer.text.startswith({"text": "second 0.", "srt": "1\n", "vtt": "WEBVTT\n\n"}[format])


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": "nan"},
        {"temperature": "inf"},
        {"temperature": "1" + "0" * 5000},
        {"stream": "maybe"},
        {"language": "x" * 2**20},
        {"language": "e\u0000n"},
        {"response_format": "\u0000"},
        {"timestamp_granularities[]": ["syllable"] * 400},
        {"chunking_strategy[type]": ["a", "b"], "chunking_strategy": "auto"},
        {"include[]": ["everything"]},
        {"keywords[]": ["x"] * 10_000},
        {"known_speaker_names[]": ["x"] * 5},
    ],
    ids=lambda fields: next(iter(fields)) + repr(next(iter(fields.values())))[:20],
)
def test_an_extreme_value_is_an_error_of_openais_type(
    url: str, wav: Callable[..., bytes], fields: dict[str, Any]
) -> None:
    answer = httpx.post(url + TRANSCRIPTIONS, data=fields, files={"file": wav(1)}, timeout=30)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    ErrorObject.model_validate(answer.json()["error"], strict=True)
    assert len(answer.content) < 2000


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x" * 100_000},
        {"prompt": "\u0000\u0001 \ufeff"},
        {"timestamp_granularities[]": ["word"] * 400, "response_format": "verbose_json"},
        {"chunking_strategy": "auto"},
        {"temperature": "1e-300"},
    ],
    ids=lambda fields: next(iter(fields)) + repr(next(iter(fields.values())))[:20],
)
def test_an_extreme_value_that_means_something_does_no_harm(
    post: Callable[..., httpx.Response], fields: dict[str, Any]
) -> None:
    assert "second 0." in post(**fields).text


def test_models_are_of_openais_type(url: str) -> None:
    listed = httpx.get(f"{url}/v1/models").json()
    assert listed["object"] == "list"
    for model in listed["data"]:
        Model.model_validate(model, strict=True)
