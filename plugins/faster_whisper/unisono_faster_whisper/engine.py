"""The engine: faster-whisper behind unisono's interface."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from unisono import (
    ConfigError,
    Engine,
    EngineUnavailable,
    Feature,
    ModelInfo,
    Segment,
    Settings,
    Task,
    TranscriptionRequest,
    Weights,
    Word,
)

from .checkpoints import REPOSITORIES, find_folder, inspect, weights_of
from .languages import CODES, code_of, tag_of
from .model import NO_LIBRARY, Cancelled, load
from .options import ComputeType, FasterWhisperParams, FasterWhisperSettings
from .requests import arguments

_SYNONYMS = {"large", "turbo"}
_SHARE: Mapping[ComputeType, float] = {
    "int8": 0.5,
    "int8_float16": 0.5,
    "int8_float32": 0.5,
    "int8_bfloat16": 0.5,
    "float32": 2.0,
}
"""Memory of a compute type, as a factor on that of 16 bits."""


class FasterWhisperEngine(Engine):
    """Whisper through CTranslate2. Segments are sent as their windows are decoded."""

    name = "faster_whisper"
    params_type = FasterWhisperParams
    settings_type = FasterWhisperSettings
    settings: FasterWhisperSettings

    _loaded: Any = None

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        """Serve every size, from small to large, first those for all languages."""
        sizes = sorted(
            (name for name in REPOSITORIES if name not in _SYNONYMS),
            key=lambda name: (name.startswith("distil-"), name.endswith(".en")),
        )
        return {
            name if name.startswith("distil-") else f"whisper-{name}": FasterWhisperSettings(
                model=name
            )
            for name in sizes
        }

    @classmethod
    def describe(cls, settings: FasterWhisperSettings) -> ModelInfo:
        """Tell from the name if it is known, else from the files if they are here.

        :raises ConfigError: if the setting `model` can be no model.
        """
        checkpoint = inspect(settings.model, settings.revision)
        for tag in settings.languages or ():
            if code_of(tag) not in CODES:
                raise ConfigError(f"languages: Whisper knows no {tag!r}.")
        features = {Feature.WORD_TIMESTAMPS, Feature.HOTWORDS, Feature.TEXT_PROMPT}
        if checkpoint.translates:
            features.add(Feature.TRANSLATION)
        if not settings.batched:  # batches are decoded at temperature 0
            features.add(Feature.TEMPERATURE)
        size = checkpoint.bytes_16_bit
        default = 2.0 if settings.device == "cpu" else 1.0
        share = _SHARE.get(
            settings.compute_type, default if settings.compute_type == "default" else 1.0
        )
        return ModelInfo(
            Task.TRANSCRIPTION,
            languages=settings.languages or checkpoint.languages,
            features=frozenset(features),
            memory_bytes=None if size is None else int(size * share),
        )

    @classmethod
    def weights(cls, settings: FasterWhisperSettings) -> Sequence[Weights]:
        weights = weights_of(settings.model, settings.revision)
        return () if weights is None else (weights,)

    def problems(self) -> Iterable[str]:
        if find_spec("faster_whisper") is None or find_spec("ctranslate2") is None:
            yield NO_LIBRARY
        if not self.weights(self.settings):
            try:
                find_folder(self.settings.model, None)
            except EngineUnavailable as error:
                yield str(error)

    def load(self) -> None:
        """Load the model; downloads nothing.

        :raises EngineUnavailable: if the library or a file is missing, or the device cannot do it.
        """
        folder = find_folder(self.settings.model, self.settings.revision)
        self._loaded = load(folder, self.settings)

    def unload(self) -> None:
        self._loaded = None
        gc.collect()  # a failed request's traceback may hold the model

    def transcribe(self, request: TranscriptionRequest) -> Iterator[Segment]:
        """Yield the segments of each window, or batch of windows, when it is decoded.

        :raises RequestError: if options exclude each other, or are too much for the model.
        """
        model, languages = self._loaded, self.model.languages
        options = arguments(request, model, languages=languages, batched=self.settings.batched)
        model.model.cancel, model.model.detected = request.cancel, None
        samples = request.audio.samples.reshape(-1)
        try:
            segments, info = self._pipeline().transcribe(samples, **options)
            for segment in segments:
                if request.cancel.cancelled:
                    return
                if segment.text.strip():
                    language = self._language(request, info)
                    yield _segment(segment, language, with_words=request.word_timestamps)
        except Cancelled:
            return

    def _pipeline(self) -> Any:
        if not self.settings.batched:
            return self._loaded
        from faster_whisper import BatchedInferencePipeline  # noqa: PLC0415

        # One for each request: what is left of one that was cancelled would shift the next words.
        return BatchedInferencePipeline(self._loaded)

    def _language(self, request: TranscriptionRequest, info: Any) -> str | None:
        if not request.params.multilingual:
            return tag_of(info.language)
        detected = self._loaded.model.detected
        # Of a batch only the first window's language is known.
        return None if self.settings.batched or detected is None else tag_of(detected)


def _segment(found: Any, language: str | None, *, with_words: bool) -> Segment:
    words = tuple(_word(word) for word in found.words or () if word.word.strip())
    # The library corrects words at the edges and leaves the segment as it was.
    return Segment(
        text=found.text.strip(),
        start=min([float(found.start), *(word.start for word in words)]),
        end=max([float(found.end), *(word.end for word in words)]),
        words=words if with_words else (),
        language=language,
        avg_logprob=_finite(found.avg_logprob),
        no_speech_prob=_finite(found.no_speech_prob),
        compression_ratio=_finite(found.compression_ratio),
        temperature=_finite(found.temperature),
        tokens=tuple(found.tokens),
    )


def _word(found: Any) -> Word:
    return Word(
        found.word.strip(), float(found.start), float(found.end), _finite(found.probability)
    )


def _finite(value: float | None) -> float | None:
    """Return a Python float; JSON knows neither infinity nor numpy's numbers."""
    return float(value) if value is not None and math.isfinite(value) else None
