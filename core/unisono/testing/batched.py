"""An engine that serves many requests step by step, as a model on a GPU would, and costs nothing.

The module is a plugin: `Kernel.from_config(plugins={"batched": unisono.testing.batched})`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from pydantic import Field

from ..engine import Engine, Settings, SpeechBatch
from ..hookspecs import hookimpl
from ..requests import SpeechRequest
from ..types import AudioChunk, Feature, ModelInfo, Task
from .echo import EchoParams, EchoSettings, chunks_of


class BatchedEchoSettings(EchoSettings):
    """How a batched echo behaves."""

    step_seconds: float = Field(
        0.0, ge=0, description="Seconds that a step takes, however many requests it advances."
    )


class Steps(SpeechBatch):
    """A batch whose every step gives each request its next chunk."""

    def __init__(self, settings: BatchedEchoSettings) -> None:
        self._settings = settings
        self.texts: dict[int, Iterator[AudioChunk]] = {}
        self._gains: dict[int, float] = {}

    def accepts(self, request: SpeechRequest) -> bool:
        return all(gain == request.params.gain for gain in self._gains.values())

    def add(self, key: int, request: SpeechRequest) -> None:
        self.texts[key] = chunks_of(request, self._settings)
        self._gains[key] = request.params.gain

    def step(self) -> Iterable[tuple[int, AudioChunk | Exception | None]]:
        time.sleep(self._settings.step_seconds)
        results: list[tuple[int, AudioChunk | Exception | None]] = []
        for key, chunks in list(self.texts.items()):
            try:
                chunk = next(chunks, None)
            except RuntimeError as error:
                results.append((key, error))
            else:
                results.append((key, chunk))
                if chunk is not None:
                    continue
            self.remove(key)
        return results

    def remove(self, key: int) -> None:
        del self.texts[key], self._gains[key]


class BatchedEchoEngine(Engine):
    """Speaks up to eight texts at once; requests with different gains do not run together."""

    name = "batched_echo"
    max_batch_size = 8
    params_type = EchoParams
    settings_type = BatchedEchoSettings
    settings: BatchedEchoSettings

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {"batched-echo": BatchedEchoSettings()}

    @classmethod
    def describe(cls, settings: BatchedEchoSettings) -> ModelInfo:
        return ModelInfo(
            Task.SPEECH,
            languages=settings.languages,
            sample_rate=settings.sample_rate,
            features=settings.features | {Feature.LONG_TEXT},
        )

    def open_batch(self) -> SpeechBatch:
        return Steps(self.settings)


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Provide the batched echo."""
    return [BatchedEchoEngine]
