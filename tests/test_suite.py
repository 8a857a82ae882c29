from typing import ClassVar

from unisono.testing import EngineSuite, echo, listeners


class TestEcho(EngineSuite):
    plugin = echo
    model = "echo"


class TestAsyncEcho(EngineSuite):
    plugin = echo
    model = "async-echo"


class TestEchoTranscriber(EngineSuite):
    plugin = echo
    model = "echo-transcriber"


class TestEchoAligner(EngineSuite):
    plugin = listeners
    model = "echo-aligner"


class TestEchoDiarizer(EngineSuite):
    plugin = listeners
    model = "echo-diarizer"


class TestEchoDiarizerThatKnowsNobody(EngineSuite):
    plugin = listeners
    model = "strangers"
    engine = "echo_diarizer"
    settings: ClassVar[dict[str, object]] = {"known": False}
