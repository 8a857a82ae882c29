"""A model in memory."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from unisono import CancelToken, EngineUnavailable

from .logprobs import Attentive
from .options import FasterWhisperSettings

logger = logging.getLogger(__name__)

NO_LIBRARY = "faster-whisper or CTranslate2 is missing: pip install unisono-faster-whisper"


class Cancelled(Exception):
    """Nobody waits for the transcript any more."""


class Cancellable:
    """CTranslate2's model, which asks before each step whether somebody still waits.

    The library yields only when it has text: an hour of music may pass without a segment.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.cancel = CancelToken()
        self.detected: str | None = None
        """Whisper's code of the language that was detected last."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, *args: Any, **options: Any) -> Any:
        """Encode a window, unless cancelled."""
        self._check()
        return self._model.encode(*args, **options)

    def generate(self, *args: Any, **options: Any) -> Any:
        """Decode windows at one temperature, unless cancelled."""
        self._check()
        return self._model.generate(*args, **options)

    def detect_language(self, *args: Any) -> Any:
        """Detect the language, and remember it: segments do not have it."""
        found = self._model.detect_language(*args)
        self.detected = found[0][0][0][2:-2]  # of the first window the likeliest, "<|en|>"
        return found

    def _check(self) -> None:
        if self.cancel.cancelled:
            raise Cancelled


def load(folder: Path, settings: FasterWhisperSettings) -> Any:
    """Return a `faster_whisper.WhisperModel`, made cancellable and frugal.

    :raises EngineUnavailable: if the device cannot do what the settings say, or the files are no
        model.
    """
    try:
        import ctranslate2  # noqa: PLC0415
        from faster_whisper import WhisperModel  # noqa: PLC0415
    except ImportError:
        raise EngineUnavailable(NO_LIBRARY) from None
    from .features import PiecewiseExtractor  # noqa: PLC0415 - it needs numpy

    gpus = ctranslate2.get_cuda_device_count()
    if settings.device == "cuda" and settings.device_index >= gpus:
        raise EngineUnavailable(
            f"device is cuda {settings.device_index}, and CTranslate2 finds {gpus} GPUs; change "
            "the setting, or see the README for the libraries that it needs."
        )
    device = settings.device if settings.device != "auto" else "cuda" if gpus else "cpu"
    able = ctranslate2.get_supported_compute_types(
        device, settings.device_index if device == "cuda" else 0
    )
    if settings.compute_type not in ("default", "auto", *able):
        raise EngineUnavailable(
            f"This {device} has no compute_type {settings.compute_type!r}; it has "
            f"{', '.join(sorted(able))}."
        )
    try:
        model = WhisperModel(
            str(folder),
            device=device,
            device_index=settings.device_index if device == "cuda" else 0,
            compute_type=settings.compute_type,
            cpu_threads=settings.cpu_threads,
            local_files_only=True,
        )
    except Exception as error:  # tokenizers raises no narrower class
        logger.exception("A Whisper model cannot be loaded from %s.", folder)
        raise EngineUnavailable(
            "CTranslate2 cannot load the model; the server's log says why. Is it a Whisper model "
            "that was converted for CTranslate2?"
        ) from error
    if len(model.feature_extractor.mel_filters) != model.model.n_mels:
        raise EngineUnavailable(
            "The model's preprocessor_config.json is missing or another model's. Copy it from the "
            "original model."
        )
    model.model = Cancellable(model.model)
    model.generate_with_fallback = Attentive(model.generate_with_fallback)
    model.feature_extractor = PiecewiseExtractor(model.feature_extractor)
    return model
