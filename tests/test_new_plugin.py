"""A plugin of 25 lines, installed by pip, is everywhere, and core knows nothing of it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

import unisono
from unisono.decoding import decode

SOURCE = Path(__file__).parent / "data" / "unisono_beep"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the plugin into a directory of its own, and return an environment that has it."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-index", "--quiet", "--target", target, SOURCE], check=True)
    core = str(Path(unisono.__file__).parents[1])
    others = (entry.name for entry in importlib.metadata.entry_points(group="unisono"))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(target), core]),
        "UNISONO_PLUGINS__DISABLED": ",".join(others),
    }


@pytest.fixture(scope="module")
def url(environment: dict[str, str]) -> Iterator[str]:
    """Serve the plugin."""
    command = [sys.executable, "-m", "unisono", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if found := re.search(r"http://[\d.]+:\d+", line):
                    yield found[0]
                    break
        finally:
            server.terminate()


def run(environment: dict[str, str], *args: str) -> bytes:
    command = [sys.executable, "-m", "unisono", *args]
    return subprocess.run(command, env=environment, check=True, capture_output=True).stdout


def pitch(audio: bytes) -> float:
    """Return the strongest frequency, in hertz."""
    samples = decode(audio, sample_rate=24_000, max_seconds=60).samples
    strongest = np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))))
    return float(strongest) * 24_000 / len(samples)


def speech_schema(document: dict[str, Any]) -> str:
    """Return all that the document says about the body of POST /v1/audio/speech."""
    body = json.dumps(document["paths"]["/v1/audio/speech"]["post"]["requestBody"])
    names: list[str] = []
    for name in re.findall(r"#/components/schemas/([^\"]+)", body):
        names += [name] if name not in names else []
    return body + json.dumps([document["components"]["schemas"][name] for name in names])


def test_the_plugin_has_25_lines() -> None:
    assert len((SOURCE / "unisono_beep.py").read_text().splitlines()) <= 25


def test_it_is_on_the_command_line(environment: dict[str, str]) -> None:
    plugins = json.loads(run(environment, "plugins", "--json"))
    ours = {"plugin": "beep", "distribution": "unisono-beep", "version": "1.0"}
    assert {**ours, "engines": ["beep"], "state": "active"} in plugins
    models = json.loads(run(environment, "models", "--json"))
    assert [model["model"] for model in models["models"]] == ["beep"]
    usage = " ".join(run(environment, "say", "--help").decode().split())
    assert "--tone NUMBER Pitch of the beeps, in hertz. [at least 20" in usage
    spoken = run(environment, "say", "one two", "--tone", "1200")
    assert pitch(spoken) == pytest.approx(1200, abs=20)


def test_it_is_in_the_listings_of_the_server(url: str) -> None:
    described = httpx.get(f"{url}/v1/models/beep").json()
    option = described["parameters"]["properties"]["tone"]
    assert described["task"] == "speech"
    assert (option["minimum"], option["maximum"], option["default"]) == (20, 8000, 880)
    (engine,) = httpx.get(f"{url}/v1/engines").json()["data"]
    assert engine["id"] == "beep"
    assert engine["description"] == "Beeps once for every word."
    assert engine["parameters"]["properties"]["tone"] == option


def test_it_is_in_the_openapi_document(url: str) -> None:
    schema = speech_schema(httpx.get(f"{url}/openapi.json").json())
    assert '"tone"' in schema
    assert "Pitch of the beeps, in hertz." in schema


def test_its_option_works_through_the_openai_sdk(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        speech = client.audio.speech.create(
            model="tts-1", voice="alloy", input="one two", extra_body={"tone": 600}
        )
        assert pitch(speech.content) == pytest.approx(600, abs=20)
        with pytest.raises(openai.BadRequestError, match="less than or equal to 8000") as caught:
            client.audio.speech.create(
                model="beep", voice="alloy", input="one", extra_body={"tone": 9000}
            )
    assert caught.value.param == "tone"
