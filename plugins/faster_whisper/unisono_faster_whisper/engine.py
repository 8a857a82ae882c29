"""The engine: faster-whisper behind unisono's interface."""

from __future__ import annotations

import gc
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
    TranscriptionBatch,
    TranscriptionRequest,
    Weights,
)

from .checkpoints import REPOSITORIES, find_folder, inspect, weights_of
from .languages import CODES, code_of, tag_of
from .logprobs import Reader
from .model import NO_LIBRARY, Cancelled, load
from .options import ComputeType, FasterWhisperParams, FasterWhisperSettings
from .requests import arguments
from .segments import segment_of

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
    """Whisper through CTranslate2. Segments are sent as their windows are decoded.

    A model that is `batched` decodes windows of several requests at once.
    """

    name = "faster_whisper"
    max_batch_size = 8
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
        features = {
            Feature.WORD_TIMESTAMPS,
            Feature.HOTWORDS,
            Feature.TEXT_PROMPT,
            Feature.LOGPROBS,
        }
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
            max_concurrency=settings.batch_size if settings.batched else 1,
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
        """Yield the segments of each window when it is decoded.

        :raises RequestError: if options exclude each other, or are too much for the model.
        """
        return self._alone(request) if self.settings.batched else self._in_sequence(request)

    def open_batch(self) -> TranscriptionBatch:
        from .batch import WindowBatch  # noqa: PLC0415 - it needs numpy

        return WindowBatch(self._loaded, self.model.languages, self.settings.batch_size)

    def _alone(self, request: TranscriptionRequest) -> Iterator[Segment]:
        batch = self.open_batch()
        batch.add(0, request)
        while not request.cancel.cancelled:
            for _, item in batch.step():
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                yield item

    def _in_sequence(self, request: TranscriptionRequest) -> Iterator[Segment]:
        model = self._loaded
        options = arguments(request, model, self.model.languages)
        model.model.cancel, model.model.detected = request.cancel, None
        samples = request.audio.samples.reshape(-1)
        reader = Reader(model)
        try:
            segments, info = model.transcribe(samples, **options)
            for segment in segments:
                if request.cancel.cancelled:
                    return
                if not segment.text.strip():
                    continue
                code = model.model.detected if request.params.multilingual else info.language
                yield segment_of(
                    segment,
                    tag_of(code),
                    with_words=request.word_timestamps,
                    logprobs=reader.read(segment.tokens) if request.logprobs else (),
                )
        except Cancelled:
            return
