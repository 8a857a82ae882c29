"""An engine that clones voices in the simplest way: it answers with the recording itself.

The module is a plugin: `Kernel.from_config(plugins={"cloner": unisono.testing.cloner})`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import Field

from ..engine import Engine, Settings
from ..hookspecs import hookimpl
from ..requests import SpeechRequest
from ..types import AudioChunk, Feature, ModelInfo, Params, Task
from ..voice import PreparedVoice, Voice, VoicePrompt

WORD_SECONDS = 0.25


class ClonerSettings(Settings):
    """How a cloner behaves."""

    sample_rate: int = Field(24_000, description="Hertz of the audio, and of references.")
    prepare_seconds: float = Field(
        0.0, ge=0, description="Seconds that the features of a reference take."
    )
    text_required: bool = Field(True, description="Whether it wants the reference's transcript.")
    preset: bool = Field(False, description="Whether it has a voice of its own, `plain`.")


class ClonerParams(Params):
    """Options of one request to a cloner."""

    without_text: bool = Field(False, description="Clone without the transcript.")

    @property
    def needs_prompt_text(self) -> bool:
        return not self.without_text


class ClonerEngine(Engine):
    """Speaks a quarter of a second of the reference for each word; a description sounds as 440 Hz,
    its own voice as 220.
    """

    name = "cloner"
    params_type = ClonerParams
    settings_type = ClonerSettings
    settings: ClonerSettings

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {"cloner": ClonerSettings()}

    @classmethod
    def describe(cls, settings: ClonerSettings) -> ModelInfo:
        text = Feature.PROMPT_TEXT_REQUIRED if settings.text_required else Feature.PROMPT_TEXT
        return ModelInfo(
            Task.SPEECH,
            sample_rate=settings.sample_rate,
            voices=(Voice("plain"),) if settings.preset else (),
            features=frozenset({Feature.VOICE_CLONING, Feature.VOICE_DESIGN, text}),
        )

    def prepare_voice(self, prompt: VoicePrompt) -> PreparedVoice:
        time.sleep(self.settings.prepare_seconds)
        assert prompt.audio is not None
        return PreparedVoice(prompt.audio.samples, prompt.audio.samples.nbytes)

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        rate, voice = self.settings.sample_rate, request.voice
        sound = voice.prepared
        if sound is None:
            time_ = np.arange(rate) / rate
            pitch = 440 if voice.description else 220
            sound = np.sin(2 * np.pi * pitch * time_).astype(np.float32) / 2
        words = len(request.text.split())
        speech = np.resize(sound, round(words * WORD_SECONDS * rate))
        for start in range(0, len(speech), rate // 10):
            yield AudioChunk(speech[start : start + rate // 10], rate)


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Provide the cloner."""
    return [ClonerEngine]
