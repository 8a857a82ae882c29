from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import unisono_pocketsphinx
from unisono import Feature, Task
from unisono.fields import RESERVED
from unisono_pocketsphinx.alignment import PocketsphinxAlignerSettings
from unisono_pocketsphinx.engine import PocketsphinxParams, PocketsphinxSettings


def modules_after(code: str) -> set[str]:
    program = f"import sys; sys.path[:] = {sys.path!r}; {code}; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_plugin_imports_neither_numpy_nor_the_recognizer() -> None:
    modules = modules_after("import unisono_pocketsphinx")
    assert "unisono_pocketsphinx" in modules
    assert not modules & {"numpy", "pocketsphinx"}


def test_describing_the_model_does_not_import_the_recognizer() -> None:
    modules = modules_after(
        "import unisono_pocketsphinx as plugin; "
        "[e.describe(s) for e in plugin.register_engines() for s in e.presets().values()]"
    )
    assert "unisono_pocketsphinx.engine" in modules
    assert "pocketsphinx" not in modules


def test_the_engine_describes_an_english_transcriber() -> None:
    engine, _ = unisono_pocketsphinx.register_engines()
    assert list(engine.presets()) == [engine.name] == ["pocketsphinx"]
    info = engine.describe(PocketsphinxSettings())
    assert info.task is Task.TRANSCRIPTION
    assert info.languages == ("en",)
    assert info.features == {Feature.WORD_TIMESTAMPS, Feature.LOGPROBS}
    assert engine.describe(PocketsphinxSettings(language="fr")).languages == ("fr",)


def test_the_other_engine_describes_an_english_aligner() -> None:
    _, engine = unisono_pocketsphinx.register_engines()
    assert list(engine.presets()) == ["pocketsphinx-aligner"]
    info = engine.describe(PocketsphinxAlignerSettings())
    assert (info.task, info.languages) == (Task.ALIGNMENT, ("en",))
    assert engine.describe(PocketsphinxAlignerSettings(language="fr")).languages == ("fr",)


def test_no_option_has_the_name_of_a_field_of_the_kernel() -> None:
    assert not RESERVED[Task.TRANSCRIPTION] & set(PocketsphinxParams.model_fields)


def test_the_readme_has_every_option_and_setting() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    documented = re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)
    assert documented == [*PocketsphinxParams.model_fields, *PocketsphinxSettings.model_fields]
    assert set(PocketsphinxAlignerSettings.model_fields) < set(documented)
