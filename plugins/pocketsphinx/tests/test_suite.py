from pathlib import Path

import numpy as np

import unisono_pocketsphinx
from unisono import AudioChunk
from unisono.testing import EngineSuite

GO_FORWARD = Path(__file__).parent / "data" / "goforward.raw"


class TestPocketsphinx(EngineSuite):
    plugin = unisono_pocketsphinx
    model = "pocketsphinx"

    def speech_audio(self) -> AudioChunk:
        samples = np.frombuffer(GO_FORWARD.read_bytes(), "<i2").astype(np.float32) / 32768
        return AudioChunk(samples, 16_000)

    def alignment_text(self) -> str:
        return "Go forward — ten METERS!"


class TestPocketsphinxAligner(TestPocketsphinx):
    model = "pocketsphinx-aligner"
