import numpy as np
from pydantic import Field

from unisono import AudioChunk, Engine, ModelInfo, Params, Settings, Task, hookimpl


class BeepParams(Params):
    tone: float = Field(880, ge=20, le=8000, description="Pitch of the beeps, in hertz.")


class BeepEngine(Engine):
    """Beeps once for every word."""

    name, params_type = "beep", BeepParams
    presets = classmethod(lambda cls: {"beep": Settings()})
    describe = classmethod(lambda cls, settings: ModelInfo(Task.SPEECH, sample_rate=24_000))

    def synthesize(self, request):
        beep = np.sin(np.arange(6_000, dtype=np.float32) * request.params.tone * np.pi / 12_000)
        yield from (AudioChunk(beep / 3, 24_000) for _ in request.text.split())


@hookimpl
def register_engines():
    return [BeepEngine]
