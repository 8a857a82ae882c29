from __future__ import annotations

import re
from pathlib import Path

import pytest

from unisono import ConfigError, Feature, ModelInfo, Task
from unisono.fields import RESERVED
from unisono_funasr.checkpoints import MODELS
from unisono_funasr.engine import FunASREngine
from unisono_funasr.options import FunASRParams, FunASRSettings

WORDS, HOTWORDS, SPEAKERS = Feature.WORD_TIMESTAMPS, Feature.HOTWORDS, Feature.DIARIZATION
KNOWN = Feature.KNOWN_SPEAKERS
# Xinference's documentation; SenseVoice learnt to time words since.
TABLE = {
    "SenseVoiceSmall": {WORDS},
    "paraformer-zh": set(),
    "paraformer-zh-hotword": {HOTWORDS},
    "paraformer-zh-long": {WORDS},
    "paraformer-zh-spk": {WORDS, SPEAKERS, KNOWN},
    "seaco-paraformer-zh": {WORDS, HOTWORDS},
    "paraformer-zh-streaming": set(),
    "Fun-ASR-Nano-2512": {HOTWORDS},
    "Fun-ASR-MLT-Nano-2512": {HOTWORDS},
}


def describe(model: str, **settings: object) -> ModelInfo:
    return FunASREngine.describe(FunASRSettings(model=model, **settings))


def repositories(model: str, **settings: object) -> list[str]:
    wanted = FunASREngine.weights(FunASRSettings(model=model, **settings))
    return [weights.repo for weights in wanted]


@pytest.mark.parametrize(("name", "features"), TABLE.items())
def test_presets_do_what_the_table_says(name: str, features: set[Feature]) -> None:
    info = FunASREngine.describe(FunASREngine.presets()[name])
    assert info.features == features
    assert info.memory_bytes > 500e6


def test_every_model_of_the_table_is_a_preset() -> None:
    assert set(FunASREngine.presets()) == set(TABLE) == set(MODELS)


def test_a_preset_wants_its_weights_and_those_of_its_helpers() -> None:
    assert repositories("SenseVoiceSmall") == ["FunAudioLLM/SenseVoiceSmall", "funasr/fsmn-vad"]
    helpers = ["funasr/fsmn-vad", "funasr/ct-punc", "funasr/campplus"]
    assert repositories("paraformer-zh-spk")[1:] == helpers
    assert repositories("seaco-paraformer-zh")[1:] == helpers[:2]
    assert repositories("seaco-paraformer-zh", spk_model="cam++")[1:] == helpers
    assert repositories("paraformer-zh-streaming") == ["funasr/paraformer-zh-streaming"]


def test_weights_that_others_copied_are_pinned() -> None:
    for checkpoint in MODELS.values():
        if checkpoint.weights.repo.startswith("JunHowie/"):
            assert re.fullmatch(r"[0-9a-f]{40}", checkpoint.weights.revision or "")
    (weights, *_) = FunASREngine.weights(FunASRSettings(model="paraformer-zh", revision="main"))
    assert weights.revision == "main"


def test_helpers_may_be_folders_or_left_out(tmp_path: Path) -> None:
    assert repositories("SenseVoiceSmall", vad_model=str(tmp_path)) == [
        "FunAudioLLM/SenseVoiceSmall"
    ]
    assert repositories("paraformer-zh", vad_model="none", punc_model="none") == [
        "funasr/paraformer-zh"
    ]


def test_speakers_are_the_operators_choice() -> None:
    assert SPEAKERS in describe("seaco-paraformer-zh", spk_model="cam++").features
    assert SPEAKERS not in describe("paraformer-zh-spk", spk_model="none").features


def test_without_a_detector_audio_is_cut_to_what_the_model_reads_at_once() -> None:
    assert describe("SenseVoiceSmall").max_audio_seconds is None
    assert describe("SenseVoiceSmall", vad_model="none").max_audio_seconds == 30
    assert describe("paraformer-zh", vad_model="none").max_audio_seconds == 60
    longer = describe("paraformer-zh", vad_model="none", max_segment_seconds=20)
    assert longer.max_audio_seconds == 20


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("someone/SenseVoice-finetuned", {WORDS}),
        ("someone/speech_seaco_paraformer_large", {WORDS, HOTWORDS}),
        ("iic/speech_paraformer-large-vad-punc_asr_nat-en", {WORDS}),
        ("someone/paraformer-online", set()),
        ("someone/paraformer", set()),
        ("FunAudioLLM/Fun-ASR-Nano-2512", {HOTWORDS}),
    ],
)
def test_the_name_of_a_repository_tells_what_it_is(name: str, features: set[Feature]) -> None:
    assert describe(name).features == features


@pytest.mark.parametrize(
    "name", ["sensevoice", "contextual", "bicif", "seaco", "streaming", "nano"]
)
def test_the_files_of_a_folder_tell_what_it_is(folder, name: str) -> None:
    path = folder(name)
    assert describe(path).features == describe("x/y", family=name).features
    assert describe(path, punc_model="none", vad_model="none").memory_bytes == pytest.approx(
        (Path(path) / "model.pt").stat().st_size
    )


def test_languages_are_the_models_unless_the_operator_knows_better() -> None:
    assert {"zh", "en", "yue", "ja", "ko"} < set(describe("SenseVoiceSmall").languages)
    assert set(describe("paraformer-zh").languages) == {"zh", "cmn"}
    assert len(describe("Fun-ASR-MLT-Nano-2512").languages) > 30
    assert describe("funasr/paraformer-en", languages=["en"]).languages == ("en",)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"model": "paraformer-xx"}, "family|neither"),
        ({"model": "gigantic"}, "family"),
        ({"model": "gigantic", "family": "seaco"}, "seaco-paraformer-zh"),
        ({"model": "SenseVoiceSmall", "vad_model": "silero"}, "vad_model.*fsmn-vad"),
        ({"model": "SenseVoiceSmall", "vad_model": "http://x/y"}, "vad_model"),
        ({"model": "SenseVoiceSmall", "punc_model": "ct-punc"}, "punctuation itself"),
        ({"model": "paraformer-zh-spk", "vad_model": "none"}, "spk_model needs"),
        ({"model": "paraformer-zh-streaming", "vad_model": "fsmn-vad"}, "streaming"),
        ({"model": "/nowhere/at/all"}, "family"),
    ],
)
def test_settings_that_cannot_be_are_mistakes_at_the_start(settings, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        FunASREngine.describe(FunASRSettings(**settings))


def test_no_option_has_the_name_of_a_field_of_the_kernel() -> None:
    assert not RESERVED[Task.TRANSCRIPTION] & set(FunASRParams.model_fields)


def test_the_readme_has_every_option_and_setting_and_model() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    own, _, _ = readme.partition("## Speakers for any model")
    rows = re.findall(r"^\| (`[\w.-]+`(?:, `[\w.-]+`)*) \|", own, re.MULTILINE)
    documented = [name.strip("`") for row in rows for name in row.split(", ")]
    known = {*FunASRParams.model_fields, *FunASRSettings.model_fields, *MODELS}
    assert sorted(documented) == sorted(known)
