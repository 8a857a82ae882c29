"""Importing upstream."""

from __future__ import annotations

import logging
import shutil
import sys
from types import ModuleType

import pytest

from unisono import EngineUnavailable


def test_what_only_training_needs_is_not_imported(engine):
    engine(2)

    assert not {"lightning", "pyarrow", "matplotlib"} & sys.modules.keys()
    assert sys.modules["cosyvoice.cli.cosyvoice"].TRAINING


def test_modelscope_is_hidden_only_from_upstream(engine, monkeypatch):
    engine(2)
    assert "modelscope" not in sys.modules
    mine = ModuleType("modelscope")
    monkeypatch.setitem(sys.modules, "modelscope", mine)
    for name in [name for name in sys.modules if name.startswith("cosyvoice.cli")]:
        del sys.modules[name]

    engine(2)

    assert sys.modules["modelscope"] is mine


def test_the_root_logger_stays_as_it_is(engine, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    root.setLevel(logging.WARNING)

    engine(2)

    assert (root.handlers, root.level) == ([], logging.WARNING)


def test_two_checkouts_do_not_fit_into_one_process(engine, source_dir, tmp_path):
    copy = tmp_path / "checkout"
    shutil.copytree(source_dir, copy)
    engine(2)

    with pytest.raises(EngineUnavailable, match="process"):
        engine(2, source_dir=copy)


@pytest.mark.parametrize(
    ("code", "message"),
    [("import not_a_package", "'not_a_package'"), ("import os; os.nothing", "AttributeError")],
)
def test_what_cannot_be_imported_is_named(engine, source_dir, tmp_path, code, message):
    copy = tmp_path / "checkout"
    shutil.copytree(source_dir, copy)
    (copy / "cosyvoice/llm/llm.py").write_text(f"{code}\n")

    with pytest.raises(EngineUnavailable, match=message):
        engine(2, source_dir=copy)


def test_a_checkout_older_than_the_model_is_said_to_be(engine, source_dir, tmp_path):
    copy = tmp_path / "checkout"
    shutil.copytree(source_dir, copy)
    file = copy / "cosyvoice/cli/cosyvoice.py"
    file.write_text(file.read_text().replace("class CosyVoice3", "class Nothing"))

    with pytest.raises(EngineUnavailable, match="too old"):
        engine(3, source_dir=copy)


def test_an_older_checkout_gets_its_prompt_as_a_tensor(
    engine, source_dir, tmp_path, cloned, speak, journal
):
    copy = tmp_path / "checkout"
    shutil.copytree(source_dir, copy)
    for name in ("cosyvoice", "frontend"):
        file = copy / f"cosyvoice/cli/{name}.py"
        text = file.read_text().replace("prompt_wav", "prompt_speech_16k")
        file.write_text(text.replace("load_wav(prompt_speech_16k, rate)", "prompt_speech_16k"))
    model = engine(2, source_dir=copy)

    assert speak(model, "Hello.", cloned(model, "And so on."))
    assert journal().PROMPTS[-1].shape == (1, 3 * 16_000)


def test_upstream_has_one_thread_where_there_is_no_gpu(engine, journal):
    engine(2)
    engine(2, cpu_threads=3)

    assert journal().THREADS == [1, 3]


def test_an_unloaded_model_can_be_loaded_again(engine, speak):
    model = engine(2)
    model.unload()
    model.load()

    assert speak(model, "Hello.")
