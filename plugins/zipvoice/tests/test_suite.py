from __future__ import annotations

import base64

import pytest

import unisono_zipvoice
from unisono.testing import EngineSuite


class TestZipVoice(EngineSuite):
    plugin = unisono_zipvoice
    model = "tiny"
    engine = "zipvoice"

    @pytest.fixture(autouse=True)
    def _model(self, folder, my_voice):
        self.settings = {"model_dir": str(folder("zipvoice")), "num_steps": 2, "threads": 1}
        self.fields = {
            "ref_audio": base64.b64encode(my_voice()).decode(),
            "ref_text": "This is a sample of my voice, and so on.",
        }
