"""Configuration, and what is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import unisono_gpt_sovits_bridge
from unisono import Config, Feature
from unisono_gpt_sovits_bridge.engine import GptSovitsBridge
from unisono_gpt_sovits_bridge.options import GptSovitsParams, GptSovitsSettings

ROOT = Path(unisono_gpt_sovits_bridge.__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REMOTE = "http://10.0.0.5:9880"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"urls": []}, "at least 1"),
        ({"urls": ["127.0.0.1:9880"]}, "no address"),
        ({"urls": ["ftp://127.0.0.1"]}, "no address"),
        ({"urls": ["http://me:secret@127.0.0.1"]}, "no user name"),
        ({"urls": ["http://localhost:9880", "http://127.0.0.1:9880/"]}, "twice"),
        ({"gpt_weights": "a.ckpt"}, "both"),
        ({"refs_remote_dir": "/refs"}, "refs_local_dir"),
        ({"urls": [REMOTE]}, "refs_local_dir and refs_remote_dir"),
        ({"voices": {"anna": {"path": "a.wav", "language": "sw"}}}, "voices.anna.language"),
        ({"voices": {"anna": {"path": "a.wav"}}, "model_version": "v3"}, "voices.anna"),
        ({"voices": {"anna": {"path": "a.wav"}}, "api": "v1"}, "voices.anna"),
        ({"model_version": "v5"}, "v2ProPlus"),
    ],
)
def test_mistakes_are_found_at_the_start(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GptSovitsSettings.model_validate(settings)


def test_without_any_setting_it_is_the_server_of_gpt_sovits_documentation():
    assert GptSovitsSettings().urls == ("http://127.0.0.1:9880",)


def test_there_is_no_model_that_nobody_configured(make_kernel):
    assert not make_kernel({}).catalog.entries


def test_the_environment_can_list_addresses(make_kernel):
    kernel = make_kernel({"clone": {"urls": "http://127.0.0.1:1,http://127.0.0.1:2"}})

    settings = kernel.catalog.get("clone").settings
    assert settings.urls == ("http://127.0.0.1:1", "http://127.0.0.1:2")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, Feature.PROMPT_TEXT),
        ({"model_version": "v4"}, Feature.PROMPT_TEXT_REQUIRED),
        ({"api": "v1"}, Feature.PROMPT_TEXT_REQUIRED),
    ],
)
def test_the_description_says_whether_the_transcript_is_needed(settings, text):
    info = GptSovitsBridge.describe(GptSovitsSettings(**settings))

    both = {Feature.PROMPT_TEXT, Feature.PROMPT_TEXT_REQUIRED}
    assert info.features & both == {text}


def test_a_model_without_a_way_for_recordings_does_not_clone(make_kernel, run, spoken):
    voices = {"anna": {"path": "/data/anna.wav", "language": "en"}}
    settings = {"urls": [REMOTE], "voices": voices}

    info = make_kernel({"clone": settings}).catalog.get("clone").info

    assert Feature.VOICE_CLONING not in info.features
    assert [(voice.name, voice.languages) for voice in info.voices] == [("anna", ("en",))]


@pytest.mark.parametrize(
    ("settings", "rate", "korean"),
    [
        ({"model_version": "v1"}, 32_000, False),
        ({"model_version": "v2Pro"}, 32_000, True),
        ({"model_version": "v3"}, 24_000, True),
        ({"model_version": "v4"}, 48_000, True),
        ({"sample_rate": 44_100}, 44_100, True),
    ],
)
def test_the_version_decides_rate_and_languages(settings, rate, korean):
    info = GptSovitsBridge.describe(GptSovitsSettings(**settings))

    assert info.sample_rate == rate
    assert ("ko" in info.languages) is korean


def test_a_model_serves_as_many_requests_at_once_as_it_has_servers(make_kernel):
    urls = [f"http://127.0.0.1:{port}" for port in range(9880, 9900)]

    kernel = make_kernel({"few": {"urls": urls[:2]}, "many": {"urls": urls}})

    assert [kernel.catalog.get(name).concurrency for name in ("few", "many")] == [2, 20]


# unisono doctor


def problems(**settings):
    values = GptSovitsSettings(**settings)
    return list(GptSovitsBridge(GptSovitsBridge.describe(values), values).problems())


@pytest.mark.parametrize("options", [{}, {"api": "v1"}, {"openapi": False}])
def test_a_server_that_answers_is_no_problem(stub, tmp_path, options):
    assert problems(urls=[stub(**options).url], refs_local_dir=tmp_path) == []


def test_a_server_that_is_not_there_is_a_problem(stub, closed_port):
    (problem,) = problems(urls=[stub().url, f"http://127.0.0.1:{closed_port}"])

    assert f"python api_v2.py -a 127.0.0.1 -p {closed_port}" in problem


def test_another_program_than_configured_is_a_problem(stub):
    (problem,) = problems(urls=[stub(api="v1").url], api="v2")

    assert "api should be 'v1'" in problem


def test_two_kinds_of_servers_for_a_model_are_a_problem(stub):
    (problem,) = problems(urls=[stub(api="v1").url, stub(api="v2").url])

    assert "of one kind" in problem


def test_a_directory_that_is_not_there_is_a_problem(stub, tmp_path):
    (problem,) = problems(urls=[stub().url], refs_local_dir=tmp_path / "gone")

    assert "refs_local_dir" in problem


# The documentation


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", README, re.S))
def test_the_examples_of_the_readme_are_valid(example, tmp_path, make_kernel):
    path = tmp_path / "unisono.toml"
    path.write_text(example, encoding="utf-8")
    models = Config.load(path).models

    assert make_kernel({name: table.settings for name, table in models.items()}).catalog.entries


def test_the_readme_names_every_setting_and_option():
    for name in (*GptSovitsSettings.model_fields, *GptSovitsParams.model_fields):
        assert f"`{name}`" in README, name


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.name)
def test_modules_are_short_and_import_unisono_alone(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 300
    if "tests" not in path.parts:
        assert not re.search(r"(from|import) unisono\.(?!testing)", source)
