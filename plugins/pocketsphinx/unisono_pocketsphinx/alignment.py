"""The engine that finds the times of words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from unisono import AlignmentRequest, Engine, ModelInfo, Settings, Task, Word

from .loading import ModelSettings, load

if TYPE_CHECKING:
    from .aligner import Aligner


class PocketsphinxAlignerSettings(ModelSettings):
    """Where the model lies; the wheel of PocketSphinx carries one for American English."""


class PocketsphinxAligner(Engine):
    """Forced alignment with CMU PocketSphinx: all words of a text, or none."""

    name = "pocketsphinx_aligner"
    runner = "process"  # it holds the interpreter while it looks for a text
    settings_type = PocketsphinxAlignerSettings

    def __init__(self, model: ModelInfo, settings: PocketsphinxAlignerSettings) -> None:
        super().__init__(model, settings)
        self._aligner: Aligner | None = None

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {"pocketsphinx-aligner": PocketsphinxAlignerSettings()}

    @classmethod
    def describe(cls, settings: PocketsphinxAlignerSettings) -> ModelInfo:
        return ModelInfo(Task.ALIGNMENT, languages=(settings.language,))

    def load(self) -> None:
        from .aligner import Aligner  # noqa: PLC0415 - it needs the library

        self._aligner = load(Aligner, self.settings, self.model.id)

    def unload(self) -> None:
        self._aligner = None

    def align(self, request: AlignmentRequest) -> Iterator[Word]:
        assert self._aligner is not None
        yield from self._aligner.align(request)
