"""What an operator writes, what `unisono doctor` says of it, and what the README says."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from unisono import Config, ConfigError
from unisono_openai_bridge.options import (
    OPENAI_VOICES,
    OpenaiSpeechSettings,
    OpenaiTranscriptionSettings,
    UpstreamSettings,
)

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
URL = "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    ("engine", "settings", "said"),
    [
        ("openai_speech", {"base_url": "upstream.example/v1"}, "http://"),
        ("openai_speech", {"base_url": "https://me:secret@upstream.example/v1"}, "api_key"),
        ("openai_speech", {"base_url": "https://upstream.example/v1?key=secret"}, "api_key"),
        ("openai_speech", {"api_key": "secret\nsecret"}, "printable ASCII"),
        ("openai_speech", {"api_key": ""}, "printable ASCII"),
        ("openai_speech", {"api_key": "secret", "api_key_env": "X"}, "exclude each other"),
        ("openai_speech", {"features": ["dialogue"]}, "dialogue cannot be passed on"),
        ("openai_transcription", {"features": ["speed"]}, "speed cannot be passed on"),
        (
            "openai_transcription",
            {"features": ["word_timestamps"], "response_format": "json"},
            "verbose_json",
        ),
        ("openai_transcription", {"features": ["diarization"]}, "diarized_json"),
        (
            "openai_transcription",
            {"features": ["known_speakers"], "response_format": "diarized_json"},
            "needs diarization",
        ),
        (
            "openai_transcription",
            {"features": ["diarization", "known_speakers"], "response_format": "json"},
            "diarized_json",
        ),
        ("openai_speech", {"features": ["logprobs"]}, "logprobs cannot be passed on"),
        ("openai_speech", {"concurrent_requests": 0}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_setting_is_told_when_the_server_starts(kernel_of, engine, settings, said):
    with pytest.raises(ConfigError, match=said) as caught:
        kernel_of(engine, **{"base_url": URL, **settings})
    assert "secret" not in str(caught.value)
    assert "secret" not in str(caught.value.__cause__)


def test_the_voices_of_openai_are_known_and_those_of_others_are_not():
    ours = OpenaiSpeechSettings(base_url="https://api.openai.com/v1/", model="tts-1")
    assert ours.voice_names == OPENAI_VOICES
    assert ours.base_url == "https://api.openai.com/v1"
    other = OpenaiSpeechSettings(base_url="https://api.openai.com.example/v1", model="tts-1")
    assert other.voice_names == ()


@pytest.mark.parametrize("engine", ["openai_speech", "openai_transcription"])
def test_a_model_serves_as_many_requests_at_once_as_its_upstream_gets(kernel_of, engine):
    kernel = kernel_of(engine, base_url=URL, concurrent_requests=200)
    assert kernel.catalog.get("m").concurrency == 200


def test_the_key_is_in_no_listing_of_the_configuration(tmp_path):
    path = tmp_path / "unisono.toml"
    path.write_text(
        '[models.m]\nengine = "openai_speech"\nbase_url = "http://x/v1"\nmodel = "y"\n'
        'api_key = "very-secret"\n'
    )
    rows = {name: value for name, value, _ in Config.load(path).rows()}
    assert rows["models.m.api_key"] == "**********"
    settings = OpenaiSpeechSettings(base_url=URL, model="y", api_key="very-secret")
    assert "very-secret" not in f"{settings!r} {settings}"


def problems(kernel_of, **settings):
    entry = kernel_of("openai_speech", **settings).catalog.get("m")
    return list(entry.engine(entry.info, entry.settings).problems())


def test_a_model_that_works_has_no_problems(kernel_of, upstream, key):
    assert problems(kernel_of, base_url=upstream.url, api_key=key, model="echo") == []


def test_a_model_that_the_upstream_lacks_is_a_problem(kernel_of, upstream, key):
    (problem,) = problems(kernel_of, base_url=upstream.url, api_key=key, model="ecko")
    assert "no model 'ecko'" in problem
    assert "'echo'" in problem


def test_a_key_that_the_upstream_does_not_take_is_a_problem(kernel_of, upstream):
    (problem,) = problems(kernel_of, base_url=upstream.url, api_key="wrong-key", model="echo")
    assert "set api_key" in problem
    assert "wrong-key" not in problem


def test_an_upstream_that_is_not_there_is_a_problem(kernel_of):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        (problem,) = problems(kernel_of, base_url=url)
    assert url in problem
    assert "start it, or correct base_url" in problem


def test_an_address_that_is_not_the_apis_is_a_problem(kernel_of, upstream, key):
    root = upstream.url.removesuffix("/v1")
    (problem,) = problems(kernel_of, base_url=root, api_key=key, model="echo")
    assert "ends in /v1" in problem


def test_a_page_in_place_of_the_models_is_a_problem(kernel_of, stub):
    stub.answer = lambda line, asked: line.answer(b"<html>", content_type="text/html")
    (problem,) = problems(kernel_of, base_url=stub.url)
    assert "correct base_url" in problem


def test_a_key_that_the_environment_lacks_is_a_problem(kernel_of):
    (problem,) = problems(kernel_of, base_url=URL, api_key_env="NO_SUCH_KEY")
    assert "NO_SUCH_KEY" in problem


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", README, re.S))
def test_every_example_of_the_readme_is_valid(example, tmp_path):
    path = tmp_path / "unisono.toml"
    path.write_text(example, encoding="utf-8")
    for table in Config.load(path).models.values():
        kinds = {
            "openai_speech": OpenaiSpeechSettings,
            "openai_transcription": OpenaiTranscriptionSettings,
        }
        assert kinds[table.engine].model_validate(table.settings)


def test_the_readme_has_every_setting_with_its_meaning():
    documented = dict(re.findall(r"^\| `(\w+)` \| .*? \| (.*) \|$", README, re.M))
    tables = README.split("| setting | default | meaning |")[1:]
    own = [dict(re.findall(r"^\| `(\w+)` \| .*? \| (.*) \|$", t, re.M)) for t in tables]
    both, speech, transcription = own
    assert documented.keys() == {*both, *speech, *transcription}
    for table, type_ in (
        (both, UpstreamSettings),
        (both | speech, OpenaiSpeechSettings),
        (both | transcription, OpenaiTranscriptionSettings),
    ):
        assert table == {name: field.description for name, field in type_.model_fields.items()}
