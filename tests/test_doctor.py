"""`unisono doctor`: every model, what keeps it from working, and what to do."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unisono

PLUGIN = '''
from pydantic import Field
from unisono import Engine, Feature, ModelInfo, Settings, Task, Weights, hookimpl

class PatientSettings(Settings):
    url: str = Field("", description="Where its server is.")
    repo: str = Field("", description="Where its weights are.")

class PatientEngine(Engine):
    """Needs this and that."""

    name = "patient"
    settings_type = PatientSettings

    @classmethod
    def presets(cls):
        return {"preset": PatientSettings(repo="somebody/something")}

    @classmethod
    def describe(cls, settings):
        return ModelInfo(Task.SPEECH, sample_rate=8000)

    @classmethod
    def weights(cls, settings):
        return [Weights(settings.repo)] if settings.repo else []

    def problems(self):
        if self.settings.url:
            yield f"Nobody answers at {self.settings.url}; start it."

    def synthesize(self, request):
        yield

@hookimpl
def register_engines():
    return [PatientEngine]
'''


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., tuple[int, dict[str, list[str]]]]:
    """Return what runs the command: doctor(toml) → its status, and the problems of each thing."""
    site = tmp_path / "site"
    info = site / "unisono_patient-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "unisono_patient.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unisono-patient\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[unisono]\npatient = unisono_patient\n")
    core = str(Path(unisono.__file__).parents[1])
    others = {entry.name for entry in importlib.metadata.entry_points(group="unisono")}
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), core]),
        "UNISONO_PLUGINS__DISABLED": ",".join(others),
        "HF_HUB_CACHE": str(tmp_path / "cache"),
    }

    def run(toml: str) -> tuple[int, Any]:
        (tmp_path / "unisono.toml").write_text(toml)
        done = subprocess.run(
            [sys.executable, "-m", "unisono", "doctor", "--json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        found = json.loads(done.stdout)["findings"]
        return done.returncode, {row["what"]: row["problems"] for row in found}

    return run


def test_what_works_is_well_and_a_preset_without_weights_is_only_mentioned(doctor) -> None:
    status, found = doctor('[models.it]\nengine = "patient"\n')
    assert status == 0
    assert found["model 'it'"] == []
    assert found["plugin 'patient'"] == []
    (missing,) = found["model 'preset'"]
    assert "unisono pull somebody/something" in missing


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('engine = "patient"\nrepo = "a/b"', "unisono pull a/b"),
        ('engine = "patient"\nurl = "http://x"', "Nobody answers at http://x; start it."),
        ('engine = "patient"\nurl = 5', "models.it.url"),
        ('engine = "nobody"', "no installed plugin has an engine 'nobody'"),
        ('engine = "patient"\npython = "/nowhere/python"', "does not run"),
        ('engine = "nobody"\npython = "/nowhere/python"', "does not run"),
    ],
)
def test_what_keeps_a_model_from_working_is_said(doctor, table: str, said: str) -> None:
    status, found = doctor(f"[models.it]\n{table}\n")
    assert status == 1
    (problem,) = found["model 'it'"]
    assert said in problem


def test_a_model_of_another_interpreter_is_asked_there(doctor) -> None:
    table = f'engine = "patient"\npython = "{sys.executable}"\nurl = "http://x"'
    status, found = doctor(f"[models.it]\n{table}\n")
    assert status == 1
    assert found["model 'it'"] == ["Nobody answers at http://x; start it."]
