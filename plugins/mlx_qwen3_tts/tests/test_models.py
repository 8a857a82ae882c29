"""What is said of a model before it is loaded."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

import unisono_mlx_qwen3_tts
from unisono import ConfigError, EngineUnavailable, Feature, VoiceReference, Weights
from unisono_mlx_qwen3_tts.engine import Qwen3TtsEngine
from unisono_mlx_qwen3_tts.options import Qwen3TtsParams, Qwen3TtsSettings

CLONING = {Feature.VOICE_CLONING, Feature.PROMPT_TEXT, Feature.PROMPT_TEXT_REQUIRED, Feature.SEED}
LED = {Feature.INSTRUCTIONS, Feature.SEED}
ALL_SPEAKERS = 9


def describe(model: str, **settings):
    return Qwen3TtsEngine.describe(Qwen3TtsSettings(model=str(model), **settings))


@pytest.fixture(autouse=True)
def _no_downloads_of_this_machine(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_the_presets_are_the_conversions_of_the_five_originals():
    presets = Qwen3TtsEngine.presets()

    assert {name: settings.model for name, settings in presets.items()} == {
        "qwen3-tts-0.6b-base": "mlx-community/Qwen3-TTS-12Hz-0.6B-Base-bf16",
        "qwen3-tts-0.6b-custom-voice": "mlx-community/Qwen3-TTS-12Hz-0.6B-CustomVoice-bf16",
        "qwen3-tts-1.7b-base": "mlx-community/Qwen3-TTS-12Hz-1.7B-Base-bf16",
        "qwen3-tts-1.7b-custom-voice": "mlx-community/Qwen3-TTS-12Hz-1.7B-CustomVoice-bf16",
        "qwen3-tts-1.7b-voice-design": "mlx-community/Qwen3-TTS-12Hz-1.7B-VoiceDesign-bf16",
    }


@pytest.mark.parametrize(
    ("model", "features", "voices"),
    [
        ("mlx-community/Qwen3-TTS-12Hz-0.6B-Base-bf16", CLONING, 0),
        ("mlx-community/Qwen3-TTS-12Hz-1.7B-Base-4bit", CLONING, 0),
        ("Qwen/Qwen3-TTS-12Hz-0.6B-CustomVoice", {Feature.SEED}, ALL_SPEAKERS),
        ("mlx-community/Qwen3-TTS-12Hz-1.7B-CustomVoice-8bit", LED, ALL_SPEAKERS),
        ("someone/qwen3-tts-1.7b-voicedesign-6bit", {Feature.VOICE_DESIGN, *LED}, 0),
    ],
)
def test_a_name_on_the_hub_says_what_the_model_can_do(model, features, voices):
    info = describe(model)

    assert info.features == features
    assert len(info.voices) == voices
    assert info.languages == ("zh", "en", "ja", "ko", "de", "fr", "ru", "pt", "es", "it")
    assert (info.sample_rate, info.prompt_rate) == (24_000, 24_000)


def test_the_name_says_how_much_memory_it_takes():
    small, large, quantized = (
        describe(f"mlx-community/Qwen3-TTS-12Hz-{name}").memory_bytes / 1e9
        for name in ("0.6B-Base-bf16", "1.7B-Base-bf16", "1.7B-Base-4bit")
    )

    assert small == pytest.approx(2.5, abs=0.2)  # as the downloads are
    assert large == pytest.approx(4.5, abs=0.3)
    assert 2 < quantized < small


def test_an_unknown_precision_leaves_the_memory_unknown():
    assert describe("me/Qwen3-TTS-12Hz-0.6B-Base-mxfp4").memory_bytes is None


def test_a_folder_is_described_by_its_files(checkpoint):
    folder = checkpoint("custom_voice")
    path = folder / "config.json"
    config = json.loads(path.read_text())

    info = describe(folder)

    assert [voice.name for voice in info.voices] == list(config["talker_config"]["spk_id"])
    assert info.features == LED
    assert info.memory_bytes == sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def test_the_small_model_follows_no_instructions(checkpoint):
    assert describe(checkpoint("custom_voice_0b6")).features == {Feature.SEED}


def test_speakers_of_a_finetuned_model_are_its_own(checkpoint, tmp_path):
    config = json.loads((checkpoint("custom_voice") / "config.json").read_text())
    config["talker_config"]["spk_id"] = {"me": 400}
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert [voice.name for voice in describe(tmp_path).voices] == ["me"]


def test_a_name_that_does_not_tell_needs_the_setting():
    with pytest.raises(ConfigError, match="variant"):
        describe("me/my-voice")

    assert describe("me/my-voice", variant="base").features == CLONING


def test_a_setting_that_contradicts_the_name_is_refused():
    with pytest.raises(ConfigError, match="custom_voice"):
        describe("mlx-community/Qwen3-TTS-12Hz-0.6B-CustomVoice-bf16", variant="base")


@pytest.mark.parametrize("text", ["{", '{"model_type": "whisper"}', "[]"])
def test_a_folder_with_something_else_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(ConfigError):
        describe(tmp_path)


def test_weights_of_a_repository_are_downloaded_and_a_folder_is_not(checkpoint):
    settings = Qwen3TtsSettings(model="me/Qwen3-TTS-0.6B-Base", revision="v2")

    assert Qwen3TtsEngine.weights(settings) == (
        Weights("me/Qwen3-TTS-0.6B-Base", "v2", ("*.json", "*.safetensors", "*.txt")),
    )
    assert Qwen3TtsEngine.weights(Qwen3TtsSettings(model=str(checkpoint("base")))) == ()
    assert Qwen3TtsEngine.weights(Qwen3TtsSettings(model="./not/there")) == ()


def test_a_model_that_was_not_downloaded_says_how_to_get_it():
    settings = Qwen3TtsSettings(model="mlx-community/Qwen3-TTS-12Hz-0.6B-Base-bf16")
    engine = Qwen3TtsEngine(Qwen3TtsEngine.describe(settings), settings)

    with pytest.raises(EngineUnavailable, match="unisono pull"):
        engine.load()


def test_a_folder_that_is_not_there_is_a_problem(checkpoint, make_engine, tmp_path):
    folder = tmp_path / "nothing"

    assert list(make_engine(checkpoint("base")).problems()) == []
    (problem,) = make_engine(folder, variant="base").problems()
    assert "config.json" in problem


def test_a_machine_without_mlx_is_a_problem(checkpoint, make_engine, monkeypatch):
    engine = make_engine(checkpoint("base"))
    monkeypatch.setitem(sys.modules, "mlx.core", None)

    (problem,) = engine.problems()
    assert "[cpu]" in problem
    with pytest.raises(EngineUnavailable, match="cuda"):
        engine.load()


def test_only_cloning_with_the_embedding_alone_needs_no_transcript():
    assert Qwen3TtsParams().needs_prompt_text
    assert not Qwen3TtsParams(x_vector_only_mode=True).needs_prompt_text


@pytest.mark.parametrize(
    ("name", "preset"),
    [("Vivian", "vivian"), ("Ono_Anna", "ono_anna"), ("nobody", None), (None, None)],
)
def test_the_spelling_of_the_model_cards_finds_a_speaker(name, preset):
    info = describe("mlx-community/Qwen3-TTS-12Hz-1.7B-CustomVoice-bf16")
    model = replace(info, engine="mlx_qwen3_tts")

    prompt = unisono_mlx_qwen3_tts.resolve_voice_prompt(VoiceReference(name=name), model)

    assert (prompt and prompt.preset) == preset


def test_the_hook_leaves_other_engines_alone():
    info = describe("mlx-community/Qwen3-TTS-12Hz-1.7B-CustomVoice-bf16")
    model = replace(info, engine="other")
    reference = VoiceReference(name="Vivian")

    assert unisono_mlx_qwen3_tts.resolve_voice_prompt(reference, model) is None
