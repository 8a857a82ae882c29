from unisono.testing import EngineSuite, echo


class TestEcho(EngineSuite):
    plugin = echo
    model = "echo"


class TestAsyncEcho(EngineSuite):
    plugin = echo
    model = "async-echo"


class TestEchoTranscriber(EngineSuite):
    plugin = echo
    model = "echo-transcriber"
