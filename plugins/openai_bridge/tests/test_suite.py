from __future__ import annotations

import pytest

import unisono_openai_bridge
from unisono.testing import EngineSuite


class TestSpeech(EngineSuite):
    plugin = unisono_openai_bridge
    model = "voice"
    engine = "openai_speech"

    @pytest.fixture(autouse=True)
    def _settings(self, upstream, key):
        self.settings = {
            "base_url": upstream.url,
            "api_key": key,
            "model": "echo",
            "voices": ["near", "far"],
            "features": ["speed", "long_text", "word_timestamps"],
        }


class TestTranscription(EngineSuite):
    plugin = unisono_openai_bridge
    model = "scribe"
    engine = "openai_transcription"

    @pytest.fixture(autouse=True)
    def _settings(self, upstream, key):
        self.settings = {
            "base_url": upstream.url,
            "api_key": key,
            "model": "echo-transcriber",
            "features": ["word_timestamps"],
        }
