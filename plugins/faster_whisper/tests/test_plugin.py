from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path

import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.tokenizer import _LANGUAGE_CODES
from faster_whisper.utils import _MODELS
from faster_whisper.vad import VadOptions

from unisono import ConfigError, Feature, Task
from unisono.fields import RESERVED
from unisono_faster_whisper.checkpoints import REPOSITORIES
from unisono_faster_whisper.engine import FasterWhisperEngine
from unisono_faster_whisper.languages import CODES
from unisono_faster_whisper.options import FasterWhisperParams, FasterWhisperSettings

OWN = {"temperature_fallback", "chunk_length"}
FIELDS = {"language", "task", "temperature", "initial_prompt", "hotwords", "word_timestamps"}


def describe(model: str, **settings: object):
    return FasterWhisperEngine.describe(FasterWhisperSettings(model=model, **settings))


def defaults(function) -> dict[str, object]:
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def test_sizes_and_languages_are_those_of_the_library() -> None:
    assert REPOSITORIES == _MODELS
    assert set(CODES) == set(_LANGUAGE_CODES)


def test_every_option_of_the_library_can_be_set() -> None:
    options = set(defaults(WhisperModel.transcribe))
    options |= {f"vad_{field.name}" for field in dataclasses.fields(VadOptions)}
    options -= {"self", "audio", "log_progress", "vad_parameters", *FIELDS}
    assert set(FasterWhisperParams.model_fields) == options | OWN


def test_defaults_are_those_of_the_library() -> None:
    ours = {name: field.default for name, field in FasterWhisperParams.model_fields.items()}
    for name, default in defaults(WhisperModel.transcribe).items():
        if name in ours and ours[name] is not None and name not in OWN:
            expected = {"vad_filter": True, "clip_timestamps": []}.get(name, default)
            assert ours[name] == expected, name
    assert [0.0, *ours["temperature_fallback"]] == defaults(WhisperModel.transcribe)["temperature"]
    batch_size = FasterWhisperSettings.model_fields["batch_size"].default
    assert batch_size == defaults(BatchedInferencePipeline.transcribe)["batch_size"]
    for field in dataclasses.fields(VadOptions):
        assert ours[f"vad_{field.name}"] in (field.default, None), field.name


def test_no_option_has_the_name_of_a_field_of_the_kernel() -> None:
    assert not RESERVED[Task.TRANSCRIPTION] & set(FasterWhisperParams.model_fields)


def test_the_readme_has_every_option_and_setting() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", readme, re.MULTILINE)
    documented = [name.strip("`") for row in rows for name in row.split(", ")]
    known = {*FasterWhisperParams.model_fields, *FasterWhisperSettings.model_fields}
    assert sorted(documented) == sorted(known)


def test_every_size_is_a_preset_and_wants_its_weights() -> None:
    presets = FasterWhisperEngine.presets()
    assert {"whisper-tiny", "whisper-large-v3-turbo", "distil-large-v3"} < set(presets)
    wanted = {FasterWhisperEngine.weights(settings)[0].repo for settings in presets.values()}
    assert wanted == set(REPOSITORIES.values())


@pytest.mark.parametrize(
    "model", ["tiny.en", "Systran/faster-whisper-base.en", "distil-large-v3", "distil-small.en"]
)
def test_models_for_english_know_english_only_and_do_not_translate(model: str) -> None:
    info = describe(model)
    assert info.languages == ("en",)
    assert Feature.TRANSLATION not in info.features


def test_models_for_all_languages_translate() -> None:
    info = describe("small")
    assert Feature.TRANSLATION in info.features
    assert {"en", "de", "jw", "jv", "nb", "cmn"} < set(info.languages)
    assert len(info.languages) == len(set(info.languages)) > 100


def test_turbo_was_not_trained_to_translate() -> None:
    info = describe("large-v3-turbo")
    assert "de" in info.languages
    assert Feature.TRANSLATION not in info.features


def test_only_newer_models_know_cantonese() -> None:
    assert "yue" in describe("large-v3").languages
    assert "yue" not in describe("large-v2").languages


def test_only_a_batched_model_serves_several_requests_at_once() -> None:
    assert describe("tiny").max_concurrency == 1
    assert describe("tiny", batched=True).max_concurrency == 8
    assert describe("tiny", batched=True, batch_size=24).max_concurrency == 24


def test_a_batched_model_has_no_temperature() -> None:
    assert Feature.TEMPERATURE in describe("tiny").features
    assert Feature.TEMPERATURE not in describe("tiny", batched=True).features


def test_the_files_of_a_folder_tell_what_is_in_it(folder, trained: str) -> None:
    assert describe(folder("english")).languages == ("en",)
    assert Feature.TRANSLATION not in describe(folder("english")).features
    info = describe(trained)
    assert {"de", "yue"} < set(info.languages)
    assert info.memory_bytes == (Path(trained) / "model.bin").stat().st_size


def test_an_old_vocabulary_of_lines_is_read_too(tmp_path: Path, trained: str) -> None:
    for name in ("model.bin", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"")
    tokens = json.loads((Path(trained) / "vocabulary.json").read_text("utf-8"))
    lines = [token for token in tokens if token != "<|yue|>"]
    (tmp_path / "vocabulary.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    languages = describe(str(tmp_path)).languages
    assert "de" in languages
    assert "yue" not in languages


def test_a_repository_that_is_not_here_is_judged_by_its_name() -> None:
    assert describe("someone/whisper-small.en-ct2").languages[0] == "en"
    assert "de" in describe("someone/my-finetuned-whisper").languages


def test_the_operator_may_say_which_languages_a_model_knows(trained: str) -> None:
    assert describe(trained, languages=["de"]).languages == ("de",)
    with pytest.raises(ConfigError, match="'tlh'"):
        describe(trained, languages=["tlh"])


def test_an_unknown_size_is_a_mistake_at_the_start() -> None:
    with pytest.raises(ConfigError, match="large-v3-turbo"):
        describe("gigantic")


def test_fewer_bits_need_less_memory() -> None:
    sizes = [
        describe("small", compute_type=kind).memory_bytes for kind in ("int8", "float16", "float32")
    ]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3
