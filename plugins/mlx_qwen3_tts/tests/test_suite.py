from __future__ import annotations

import base64
import io
from typing import ClassVar

import pytest
import soundfile

import unisono_mlx_qwen3_tts
from unisono.testing import EngineSuite


class TinySuite(EngineSuite):
    plugin = unisono_mlx_qwen3_tts
    model = "tiny"
    engine = "mlx_qwen3_tts"
    checkpoint: str

    @pytest.fixture(autouse=True)
    def _settings(self, checkpoint):
        self.settings = {"model": str(checkpoint(self.checkpoint))}


class TestCustomVoice(TinySuite):
    checkpoint = "brief_custom_voice"
    fields: ClassVar = {"temperature": 0}


class TestVoiceDesign(TinySuite):
    checkpoint = "brief_voice_design_bf16"
    fields: ClassVar = {"instructions": "A calm old man."}


class TestBase(TinySuite):
    checkpoint = "brief_base_4bit"

    @pytest.fixture(autouse=True)
    def _reference(self, recording):
        file = io.BytesIO()
        soundfile.write(file, recording(), 24_000, format="WAV")
        self.fields = {
            "ref_audio": base64.b64encode(file.getvalue()).decode(),
            "ref_text": "and so on",
            "temperature": 0,
        }
