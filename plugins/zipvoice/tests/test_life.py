from __future__ import annotations

import sys
from pathlib import Path

import pytest

from unisono import EngineUnavailable, Feature, Weights
from unisono_zipvoice import phonemes
from unisono_zipvoice.engine import ZipVoiceEngine
from unisono_zipvoice.options import ZipVoiceSettings


def test_the_presets_come_whole_from_the_hub() -> None:
    presets = ZipVoiceEngine.presets()
    assert list(presets) == ["zipvoice", "zipvoice_distill"]
    files = ("text_encoder.onnx", "fm_decoder.onnx", "model.json", "tokens.txt")
    for name, settings in presets.items():
        assert ZipVoiceEngine.weights(settings) == [
            Weights("k2-fsa/ZipVoice", None, tuple(f"{name}/{file}" for file in files)),
            Weights("wetdog/vocos-mel-24khz-onnx", None, ("mel_spec_24khz.onnx",)),
        ]


def test_eight_bits_are_other_files() -> None:
    model, _ = ZipVoiceEngine.weights(ZipVoiceSettings(int8=True))
    assert "zipvoice/fm_decoder_int8.onnx" in model.files
    assert "zipvoice/text_encoder_int8.onnx" in model.files


def test_files_of_the_operators_need_no_hub(folder) -> None:
    assert ZipVoiceEngine.weights(ZipVoiceSettings(model_dir=folder("zipvoice"))) == []


def test_the_vocoder_may_lie_elsewhere(folder, make_engine, speech, tmp_path) -> None:
    source = folder("zipvoice")
    for name in ("text_encoder.onnx", "fm_decoder.onnx", "model.json", "tokens.txt"):
        (tmp_path / name).symlink_to(source / name)
    settings = {"model_dir": tmp_path, "vocoder": source / "vocos_24khz.onnx"}
    engine = make_engine(**settings)
    assert list(engine.problems()) == []
    engine.load()
    assert sum(map(len, speech(engine, "Hello."))) > 1000
    engine.unload()


def test_a_folder_without_weights_says_what_it_lacks(make_engine, tmp_path) -> None:
    engine = make_engine(model_dir=tmp_path, vocoder=tmp_path / "none.onnx")
    lacking, vocoder = engine.problems()
    assert "text_encoder.onnx, fm_decoder.onnx, model.json, tokens.txt" in lacking
    assert "'none.onnx'" in vocoder
    with pytest.raises(EngineUnavailable, match=r"text_encoder\.onnx"):
        engine.load()


def test_a_damaged_file_makes_the_model_unavailable(folder, make_engine, tmp_path) -> None:
    for path in folder("zipvoice").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "fm_decoder.onnx").write_bytes(b"no network")
    with pytest.raises(EngineUnavailable, match=r"fm_decoder\.onnx cannot be loaded"):
        make_engine(model_dir=tmp_path).load()


def test_a_graphics_card_that_is_not_there_makes_the_model_unavailable(folder, make_engine) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is one")
    with pytest.raises(EngineUnavailable, match="onnxruntime-gpu"):
        make_engine(model_dir=folder("zipvoice"), device="cuda").load()


def test_without_espeak_there_is_chinese(engine, speech, reference, monkeypatch) -> None:
    phonemes.load.cache_clear()
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    try:
        voice = reference(engine(), text="你好世界，我的朋友。")
        assert sum(map(len, speech(engine(), "你好！", voice=voice))) > 1000
        with pytest.raises(EngineUnavailable, match=r"unisono-zipvoice\[en\]"):
            speech(engine(), "Hello.", voice=voice)
        assert list(engine().problems()) == [phonemes.NO_ESPEAK]
    finally:
        phonemes.load.cache_clear()


def test_dialogue_models_say_that_they_need_upstream(make_engine, tmp_path: Path) -> None:
    engine = make_engine(model="zipvoice_dialog")
    assert Feature.DIALOGUE in engine.model.features
    assert any("source_dir" in problem for problem in engine.problems())
    with pytest.raises(EngineUnavailable, match="source_dir"):
        engine.load()
    other = make_engine(model="zipvoice_dialog", source_dir=tmp_path)
    assert any("no clone of ZipVoice" in problem for problem in other.problems())
