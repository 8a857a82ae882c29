"""OpenAI's SDK for JavaScript finds OpenAI's API here too.

It sends other requests than the Python SDK: chunked, without a length, and with the file first.
`npm install --prefix tests/npm` brings it; without it these tests are skipped.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "npm"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (HERE / "node_modules" / "openai").is_dir(),
        reason="the npm SDK is not installed: npm install --prefix tests/npm",
    ),
]

MODELS = {
    "acme/narrator": {"engine": "echo"},
    "speakers": {"engine": "echo_transcriber", "features": ["diarization"]},
}
DEFAULTS = {"speech": "echo", "transcription": "echo-transcriber"}


@pytest.fixture(scope="module")
def results(
    module_serve: Callable[..., Any],
    wav: Callable[..., bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What the SDK got, by scenario; node takes a second to start, so one run does them all."""
    server = module_serve({"models": MODELS, "defaults": DEFAULTS})
    path = tmp_path_factory.mktemp("npm") / "speech.wav"
    path.write_bytes(wav(2))
    done = subprocess.run(
        ["node", str(HERE / "client.mjs"), f"{server.url}/v1", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("format", "media_type"),
    [
        ("mp3", "audio/mpeg"),
        ("opus", "audio/ogg"),
        ("aac", "audio/aac"),
        ("flac", "audio/flac"),
        ("wav", "audio/wav"),
        ("pcm", "audio/pcm"),
    ],
)
def test_speech_comes_in_every_format(
    results: dict[str, Any], hear: Callable[..., Any], format: str, media_type: str
) -> None:
    answer = results[f"speech {format}"]
    rate, samples = hear(base64.b64decode(answer["audio"]), format)
    assert answer["type"] == media_type
    assert len(samples) / rate == pytest.approx(2.0, abs=0.15)


def test_speech_streams_as_events(results: dict[str, Any]) -> None:
    *deltas, done = results["speech sse"]
    assert done["type"] == "speech.audio.done"
    data = b"".join(base64.b64decode(delta["audio"]) for delta in deltas)
    assert len(data) == 2 * 2 * 24_000


def test_speech_streams_in_parts(results: dict[str, Any]) -> None:
    assert results["speech in parts"] == 2 * 2 * 24_000


def test_transcripts_come_as_json(results: dict[str, Any]) -> None:
    assert results["transcript json"]["text"] == "second 0. second 1."
    assert results["transcript of a buffer"]["text"] == "second 0. second 1."


def test_server_vad_hears_that_nobody_speaks(results: dict[str, Any]) -> None:
    assert results["transcript with server_vad"]["text"] == ""  # it is a tone


def test_transcripts_come_as_text(results: dict[str, Any]) -> None:
    assert results["transcript text"] == "second 0. second 1.\n"
    assert results["transcript srt"].startswith("1\n00:00:00,000 --> ")
    assert results["transcript vtt"].startswith("WEBVTT\n\n")


def test_transcripts_come_with_segments_words_and_speakers(results: dict[str, Any]) -> None:
    verbose = results["transcript verbose_json"]
    assert [segment["text"] for segment in verbose["segments"]] == ["second 0.", "second 1."]
    words = results["transcript words"]["words"]
    assert [word["word"] for word in words] == ["second", "0.", "second", "1."]
    segments = results["transcript diarized_json"]["segments"]
    assert [segment["speaker"] for segment in segments] == ["S0", "S1"]


def test_a_transcript_streams(results: dict[str, Any]) -> None:
    *deltas, done = results["transcript sse"]
    assert [delta["type"] for delta in deltas] == ["transcript.text.delta"] * 2
    assert done["text"] == "".join(delta["delta"] for delta in deltas) == "second 0. second 1."


def test_a_failure_while_streaming_is_raised(results: dict[str, Any]) -> None:
    error = results["transcript sse failing"]
    assert error["class"] == "APIError"
    assert error["code"] == "engine_failed"


def test_models_are_listed_and_retrieved(results: dict[str, Any]) -> None:
    assert {"tts-1", "whisper-1", "acme/narrator"} <= set(results["models"])
    assert results["model with a slash"] == "acme/narrator"


@pytest.mark.parametrize(
    ("scenario", "kind", "status", "code", "param"),
    [
        ("wrong speed", "BadRequestError", 400, "invalid_request", "speed"),
        ("unknown voice", "BadRequestError", 400, "invalid_voice", "voice"),
        ("unknown model", "NotFoundError", 404, "model_not_found", "model"),
        ("no audio", "BadRequestError", 400, "invalid_audio", "file"),
        ("broken engine", "InternalServerError", 500, "engine_failed", None),
    ],
)
def test_errors_have_the_right_class_and_say_why(
    results: dict[str, Any], scenario: str, kind: str, status: int, code: str, param: str | None
) -> None:
    error = results[scenario]
    assert (error["class"], error["status"], error["code"]) == (kind, status, code)
    assert error.get("param") == param
    assert "no body" not in error["message"]
    assert error["requestID"]
