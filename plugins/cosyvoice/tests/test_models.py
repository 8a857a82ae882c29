"""What a model is, before it is loaded."""

from __future__ import annotations

import pickle
import shutil
import zipfile

import pytest

from unisono import ConfigError, EngineUnavailable, Feature
from unisono_cosyvoice.engine import CosyVoiceEngine
from unisono_cosyvoice.options import CosyVoiceSettings
from unisono_cosyvoice.speakers import STANDARD, read_names

CLONING = {Feature.VOICE_CLONING, Feature.PROMPT_TEXT}


def describe(model_dir, **settings):
    values = CosyVoiceSettings(source_dir="/nowhere", model_dir=model_dir, **settings)
    return CosyVoiceEngine.describe(values)


def problems(source_dir, model_dir, **settings) -> str:
    values = CosyVoiceSettings(source_dir=source_dir, model_dir=model_dir, **settings)
    return " ".join(CosyVoiceEngine(CosyVoiceEngine.describe(values), values).problems())


@pytest.mark.parametrize(
    ("version", "name", "rate", "features"),
    [
        (1, "CosyVoice-300M", 22_050, CLONING),
        (1, "CosyVoice-300M-SFT", 22_050, set()),
        (1, "CosyVoice-300M-Instruct", 22_050, {Feature.INSTRUCTIONS}),
        (2, "anything", 24_000, {*CLONING, Feature.INSTRUCTIONS}),
        (3, "anything-sft", 24_000, {*CLONING, Feature.INSTRUCTIONS}),
    ],
)
def test_a_model_says_what_it_can_do(model_dir, version, name, rate, features):
    folder = model_dir(version)
    folder = folder.rename(folder.parent / name)

    info = describe(folder)

    assert info.sample_rate == rate
    assert info.features == {*features, Feature.SEED}
    assert info.prompt_seconds == (1.0, 30.0)


@pytest.mark.parametrize(
    ("name", "rate", "clones", "voices"),
    [
        ("CosyVoice-300M-SFT", 22_050, False, STANDARD),
        ("CosyVoice-300M-Instruct", 22_050, False, STANDARD),
        ("CosyVoice-300M", 22_050, True, ()),
        ("CosyVoice2-0.5B", 24_000, True, ()),
        ("Fun-CosyVoice3-0.5B-2512", 24_000, True, ()),
    ],
)
def test_a_folder_that_is_not_there_yet_is_known_by_its_name(tmp_path, name, rate, clones, voices):
    info = describe(tmp_path / name)

    assert (info.sample_rate, Feature.VOICE_CLONING in info.features) == (rate, clones)
    assert tuple(voice.name for voice in info.voices) == voices


def test_a_folder_that_nothing_is_known_of_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cosyvoice3\.yaml"):
        describe(tmp_path)


def test_only_the_first_version_has_kinds(model_dir):
    assert Feature.INSTRUCTIONS in describe(model_dir(1), kind="instruct").features
    with pytest.raises(ConfigError, match="kind"):
        describe(model_dir(2), kind="sft")


def test_settings_that_the_model_has_no_files_for_are_refused(model_dir):
    with pytest.raises(ConfigError, match="load_jit"):
        describe(model_dir(3), load_jit=True)


def test_the_voices_are_read_from_the_files_without_torch(model_dir):
    info = describe(model_dir(2))

    assert [voice.name for voice in info.voices] == ["中文女", "英文女", "saved"]
    assert info.voices[1].languages == ("en",)


def test_settings_choose_the_voices(model_dir):
    info = describe(model_dir(2), voices=("英文女",))

    assert [voice.name for voice in info.voices] == ["英文女"]


def test_speakers_of_another_model_are_voices_too(engine, model_dir, speak, spk2info, tmp_path):
    other = tmp_path / "spk2info.pt"
    shutil.copy(spk2info, other)
    folder = model_dir(2, speakers=False)
    assert describe(folder).voices == ()

    model = engine(2, speakers=other, model_dir=folder)

    assert [voice.name for voice in model.model.voices][:2] == ["中文女", "英文女"]
    assert speak(model, "Hello.", "英文女")


class _Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_reading_names_runs_nothing_that_a_file_names(tmp_path, capsys):
    file = tmp_path / "spk2info.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"英文女": _Evil()}))

    assert read_names(file) == ("英文女",)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04"])
def test_damaged_speakers_are_no_voices(model_dir, content):
    folder = model_dir(2)
    (folder / "spk2info.pt").write_bytes(content)

    assert describe(folder).voices == ()


def test_nothing_is_served_without_configuration():
    assert CosyVoiceEngine.presets() == {}


def test_the_doctor_names_every_setting_that_is_wrong(source_dir, model_dir, tmp_path):
    folder = model_dir(2)
    assert "source_dir" in problems(tmp_path, folder)
    (folder / "flow.pt").unlink()
    assert "flow.pt" in problems(source_dir, folder)
    assert "speakers" in problems(source_dir, folder, speakers=tmp_path / "none.pt")


def test_the_doctor_finds_a_submodule_missing(source_dir, model_dir, tmp_path):
    copy = tmp_path / "checkout"
    shutil.copytree(source_dir, copy)
    assert "git submodule" not in problems(copy, model_dir(2))
    shutil.rmtree(copy / "third_party")
    assert "git submodule" in problems(copy, model_dir(2))


def test_the_doctor_names_packages_that_are_missing(source_dir, model_dir, monkeypatch):
    monkeypatch.setattr("unisono_cosyvoice.checkout.REQUIRED", ("numpy", "not_a_package"))

    assert "lacks not_a_package." in problems(source_dir, model_dir(2))


def test_weights_that_upstream_cannot_load_are_said_to_be_so_without_paths(engine, model_dir):
    folder = model_dir(2)
    (folder / "llm.pt").write_bytes(b"half")

    with pytest.raises(EngineUnavailable, match="RuntimeError") as caught:
        engine(2, model_dir=folder)

    assert str(folder) not in str(caught.value)


def test_a_folder_that_is_not_there_is_not_looked_for_on_a_hub(engine, tmp_path):
    with pytest.raises(EngineUnavailable, match="model_dir"):
        engine(2, model_dir=tmp_path / "CosyVoice2-0.5B")
