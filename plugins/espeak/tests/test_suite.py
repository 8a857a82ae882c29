import unisono_espeak
from unisono.testing import EngineSuite


class TestEspeak(EngineSuite):
    plugin = unisono_espeak
    model = "espeak"
