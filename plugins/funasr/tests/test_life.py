"""From the files to the end."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

from unisono import CancelToken, EngineUnavailable, RequestError


def test_importing_the_library_and_loading_print_nothing(printed: str) -> None:
    """The output belongs to whoever runs a model, and a transcript may go there."""
    assert printed == ""


def test_weights_that_are_not_here_are_said_how_to_get(
    make_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="unisono pull FunAudioLLM/SenseVoiceSmall"):
        make_engine("sensevoice", model="SenseVoiceSmall").load()
    with pytest.raises(EngineUnavailable, match="unisono pull funasr/fsmn-vad"):
        make_engine("sensevoice", vad_model="fsmn-vad").load()


@pytest.mark.parametrize("missing", ["config.yaml", "model.pt"])
@pytest.mark.parametrize("part", ["model", "vad_model"])
def test_a_file_that_is_missing_makes_the_engine_unavailable(
    make_engine, settings_of, tmp_path: Path, part: str, missing: str
) -> None:
    shutil.copytree(settings_of("sensevoice")[part], tmp_path / "part")
    (tmp_path / "part" / missing).unlink()
    engine = make_engine("sensevoice", **{part: str(tmp_path / "part"), "family": "sensevoice"})
    with pytest.raises(EngineUnavailable, match=part) as caught:
        engine.load()
    assert str(tmp_path) not in str(caught.value)


def test_problems_are_told_without_loading(make_engine, tmp_path: Path) -> None:
    assert list(make_engine("seaco").problems()) == []
    (problem,) = make_engine("seaco", punc_model=str(tmp_path)).problems()
    assert "punc_model" in problem
    assert str(tmp_path) not in problem


def test_files_that_are_no_model_are_in_the_log(
    make_engine, folder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folder("seaco"), tmp_path / "seaco")
    (tmp_path / "seaco" / "model.pt").write_bytes(b"no model")
    with pytest.raises(EngineUnavailable, match="log") as caught:
        make_engine("seaco", model=str(tmp_path / "seaco")).load()
    assert str(tmp_path) not in str(caught.value)
    assert str(tmp_path) in caplog.text


def test_weights_of_another_model_are_in_the_log(
    make_engine, folder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folder("paraformer"), tmp_path / "paraformer")
    shutil.copy(folder("vad") + "/model.pt", tmp_path / "paraformer" / "model.pt")
    make_engine("paraformer", model=str(tmp_path / "paraformer")).load()
    assert "stay random" in caplog.text


@pytest.mark.parametrize(
    ("part", "other"), [("vad_model", "punc"), ("punc_model", "vad"), ("spk_model", "vad")]
)
def test_a_model_in_the_wrong_place_is_named(make_engine, folder, part: str, other: str) -> None:
    with pytest.raises(EngineUnavailable, match=part):
        make_engine("seaco", **{part: folder(other)}).load()


def test_a_model_may_do_more_than_its_settings_say_but_not_less(make_engine, folder) -> None:
    make_engine("seaco", family="paraformer").load()
    with pytest.raises(EngineUnavailable, match="SeacoParaformer"):
        make_engine("paraformer", family="seaco").load()


def test_a_gpu_that_is_not_there_is_named(make_engine) -> None:
    with pytest.raises(EngineUnavailable, match="cuda:99"):
        make_engine("seaco", device="cuda:99").load()


def test_no_code_of_a_models_folder_is_run(make_engine, folder, tmp_path: Path) -> None:
    shutil.copytree(folder("seaco"), tmp_path / "seaco")
    (tmp_path / "seaco" / "model.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "seaco" / "requirements.txt").write_text("nothing")
    with (tmp_path / "seaco" / "config.yaml").open("a") as file:
        file.write(f"trust_remote_code: true\nremote_code: {tmp_path / 'seaco' / 'model.py'}\n")
    make_engine("seaco", model=str(tmp_path / "seaco")).load()
    assert not (tmp_path / "ran").exists()


def test_unloading_lets_go_of_the_model(make_engine, write, three: np.ndarray) -> None:
    engine = make_engine("paraformer")
    for _ in range(2):
        engine.load()
        module = weakref.ref(engine._loaded.model.module)
        engine.unload()
        gc.collect()
        assert module() is None


def test_the_detector_stops_when_cancelled(loaded, request_of, three: np.ndarray) -> None:
    cancel = CancelToken()
    asked: list[None] = []
    module = loaded("sensevoice")._loaded.vad.module
    original = type(module).inference

    def noted(*args, **options):
        asked.append(None)
        cancel.cancel()
        return original(module, *args, **options)

    module.inference = noted
    try:
        hour = np.tile(three, 30)
        stream = loaded("sensevoice").transcribe(request_of(hour, cancel=cancel))
        assert list(stream) == []
    finally:
        del module.inference
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("seaco", {"use_itn": False}),
        ("seaco", {"ban_emo_unk": True}),
        ("nano", {"ban_emo_unk": True}),
        ("sensevoice", {"max_length": 5}),
        ("sensevoice", {"chunk_size": [0, 10, 5]}),
        ("seaco", {"encoder_chunk_look_back": 4}),
        ("seaco", {"decoder_chunk_look_back": 4}),
        ("streaming", {"batch_size_s": 60}),
        ("streaming", {"merge_vad": True}),
        ("seaco", {"merge_length_s": 10}),
        ("sensevoice", {"merge_vad": False, "merge_length_s": 10}),
        ("sensevoice", {"preset_spk_num": 2}),
    ],
)
def test_what_would_have_no_effect_is_refused(write, three: np.ndarray, name, options) -> None:
    with pytest.raises(RequestError) as caught:
        write(name, three, **options)
    assert caught.value.param == list(options)[-1]
