"""The engine: FunASR behind unisono's interface."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from unisono import (
    Engine,
    Feature,
    ModelInfo,
    Segment,
    Settings,
    Task,
    TranscriptionRequest,
    Weights,
)

from .checkpoints import MODELS, memory_of, obstacles, parts_of, weights_of
from .options import FunASRParams, FunASRSettings

if TYPE_CHECKING:  # it needs numpy
    from .recognizer import Recognizer

WHOLE_SECONDS = 4 * 3600.0
"""Speakers are told apart within one call: longest recording in which "A" is always the same."""


class FunASREngine(Engine):
    """SenseVoice, Paraformer and Fun-ASR-Nano, with detection of speech, punctuation, speakers."""

    name = "funasr"
    runner = (
        "process"  # importing it holds the interpreter for seconds; it prints, and sets loggers
    )
    params_type = FunASRParams
    settings_type = FunASRSettings
    settings: FunASRSettings

    _loaded: Recognizer | None = None

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        """Serve the models of Xinference's table, under its names."""
        return {name: FunASRSettings(model=name) for name in MODELS}

    @classmethod
    def describe(cls, settings: FunASRSettings) -> ModelInfo:
        """Tell from the name if it is known, else from the folder, else from the repository's name.

        :raises ConfigError: if that is not enough, or the settings do not fit together.
        """
        parts = parts_of(settings)
        family = parts.family
        features = {
            Feature.WORD_TIMESTAMPS: family.words,
            Feature.HOTWORDS: family.hotwords,
            Feature.DIARIZATION: parts.speakers is not None,
            Feature.KNOWN_SPEAKERS: parts.speakers is not None,
        }
        longest = None
        if parts.speakers:
            longest = WHOLE_SECONDS
        elif not parts.vad and not family.streams:
            longest = settings.max_segment_seconds or family.longest
        return ModelInfo(
            Task.TRANSCRIPTION,
            languages=settings.languages or family.languages,
            features=frozenset(feature for feature, has in features.items() if has),
            memory_bytes=memory_of(name for _, name in parts.named()),
            max_audio_seconds=longest,
        )

    @classmethod
    def weights(cls, settings: FunASRSettings) -> Sequence[Weights]:
        named = parts_of(settings).named()
        found = (
            weights_of(name, settings.revision if field == "model" else None, field)
            for field, name in named
        )
        return [weights for weights in found if weights]

    def problems(self) -> Iterable[str]:
        return obstacles(parts_of(self.settings).named())

    def load(self) -> None:
        """Import the library and load the models; downloads nothing.

        :raises EngineUnavailable: if a library, a file or the device is missing.
        """
        from .assembly import assemble  # noqa: PLC0415

        self._loaded = assemble(self.settings, self.model.languages)

    def unload(self) -> None:
        self._loaded = None
        gc.collect()  # modules refer to each other

    def transcribe(self, request: TranscriptionRequest) -> Iterator[Segment]:
        """Yield sentences, or pieces of speech, as they are read.

        Where speakers are wanted, the whole recording is heard first.

        :raises RequestError: if an option or a keyword is not for this model, or a known speaker
            cannot be heard.
        """
        assert self._loaded is not None
        yield from self._loaded.transcribe(request)
