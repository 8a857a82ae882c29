from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from unisono import CancelToken, EngineUnavailable
from unisono_funasr.families import FAMILIES, primary
from unisono_funasr.nano import NAMES


@pytest.fixture
def prompts(loaded, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the model is told."""
    module = loaded("nano")._loaded.model.module
    seen: list[str] = []
    original = module.generate_chatml

    def noted(prompt, data):
        seen.append(prompt)
        return original(prompt, data)

    monkeypatch.setattr(module, "generate_chatml", noted)
    return seen


def test_each_piece_of_speech_is_a_segment(write, three: np.ndarray) -> None:
    segments = write("nano", three, max_length=20)
    assert [round(segment.start) for segment in segments] == [1, 5, 9]
    assert all(segment.text and segment.words == () for segment in segments)


def test_keywords_language_and_itn_stand_in_the_prompt(write, three, prompts: list[str]) -> None:
    options = {"hotwords": ("开放时间", "New York"), "use_itn": False, "max_length": 5}
    (segment, *_) = write("nano", three, language="zh-CN", **options)
    assert "[开放时间, New York]" in prompts[0]
    assert prompts[0].endswith("语音转写成中文，不进行文本规整：")
    assert segment.language == "zh"
    prompts.clear()
    write("nano", three, max_length=5)
    assert set(prompts) == {"语音转写："}


def test_pieces_may_be_read_together(write, three: np.ndarray) -> None:
    assert len(write("nano", three, batch_size_s=60, max_length=5)) == 3


def test_cancelling_stops_the_language_model(loaded, request_of, three: np.ndarray) -> None:
    asked: list[None] = []

    class Impatient(CancelToken):
        @property
        def cancelled(self) -> bool:
            asked.append(None)
            return len(asked) > 5

    request = request_of(three, max_length=2000, cancel=Impatient())
    assert len(list(loaded("nano").transcribe(request))) <= 1
    assert len(asked) < 10


def test_every_language_has_a_name_in_the_prompt() -> None:
    known = {primary(tag) for tag in FAMILIES["mlt_nano"].languages}
    assert known == set(NAMES)
    assert len(known) == 31


def test_a_model_without_its_language_model_is_not_sought_elsewhere(
    make_engine, folder, tmp_path: Path
) -> None:
    shutil.copytree(folder("nano"), tmp_path / "nano")
    shutil.rmtree(tmp_path / "nano" / "Qwen3-tiny")
    with pytest.raises(EngineUnavailable, match="language model"):
        make_engine("nano", model=str(tmp_path / "nano")).load()
