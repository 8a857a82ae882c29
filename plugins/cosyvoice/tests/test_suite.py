from __future__ import annotations

import base64
import io
from typing import ClassVar

import pytest
import soundfile

import unisono_cosyvoice
from unisono.testing import EngineSuite


class StandInSuite(EngineSuite):
    plugin = unisono_cosyvoice
    model = "tiny"
    engine = "cosyvoice"
    version: int
    name: str = "model"

    @pytest.fixture(autouse=True)
    def _settings(self, source_dir, model_dir):
        self.settings = {
            "source_dir": str(source_dir),
            "model_dir": str(model_dir(self.version, self.name)),
            "runner": "thread",
        }


class TestSpeakersOf1(StandInSuite):
    version = 1
    name = "CosyVoice-300M-SFT"


class TestInstructionsOf1(StandInSuite):
    version = 1
    name = "CosyVoice-300M-Instruct"
    fields: ClassVar = {"instructions": "Angrily."}


class TestClonesOf3(StandInSuite):
    version = 3

    @pytest.fixture(autouse=True)
    def _reference(self, recording):
        file = io.BytesIO()
        soundfile.write(file, recording().samples, 24_000, format="WAV")
        self.fields = {
            "ref_audio": base64.b64encode(file.getvalue()).decode(),
            "ref_text": "and so on",
        }
