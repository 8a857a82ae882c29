from __future__ import annotations

import base64
from typing import ClassVar

import pytest

import unisono_gpt_sovits_bridge
from unisono.testing import EngineSuite


class BridgeSuite(EngineSuite):
    plugin = unisono_gpt_sovits_bridge
    model = "clone"
    engine = "gpt_sovits_bridge"
    options: ClassVar = {}

    @pytest.fixture(autouse=True)
    def _upstream(self, stub, wav):
        server = stub(**self.options)
        self.settings = {"urls": [server.url]}
        self.fields = {
            "ref_audio": base64.b64encode(wav()).decode(),
            "ref_text": "And so on.",
        }
        self._speak(
            "One."
        )  # the stub's own threads, in this process, begin before they are counted


class TestV2(BridgeSuite):
    pass


class TestV1(BridgeSuite):
    options: ClassVar = {"api": "v1"}


class TestVoicesOfItsOwn(BridgeSuite):
    @pytest.fixture(autouse=True)
    def _voice(self, tmp_path, wav):
        (tmp_path / "anna.wav").write_bytes(wav(1))
        self.settings = {
            **self.settings,
            "voices": {"anna": {"path": str(tmp_path / "anna.wav"), "text": "And so on."}},
        }
        self.fields = {}
