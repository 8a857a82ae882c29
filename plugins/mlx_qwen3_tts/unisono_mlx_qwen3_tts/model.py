"""Load a checkpoint with mlx-audio, and make sure that all of it is there.

Together with `codec`, `prompts` and `talker` this is all that knows mlx-audio (0.6.2 or later 0.6),
whose generators cannot be cancelled within a chunk, nor take features of a reference that are
computed already, nor run beside one another.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unisono import EngineUnavailable

from .codec import Codec
from .prompts import ROLE, Prompter
from .sampling import Sampling
from .talker import Talker

logger = logging.getLogger(__name__)

NO_MLX = (
    "MLX cannot be imported. Reinstall it: pip install --force-reinstall mlx on Apple Silicon, on "
    "Linux with one backend: mlx[cpu], mlx[cuda12] or mlx[cuda13]."
)


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory. Everything here runs on the thread that loaded it."""

    mlx: Any
    """mlx-audio's `Model`."""
    codec: Codec
    prompter: Prompter
    defaults: Sampling
    """What the checkpoint recommends."""

    def talker(self) -> Talker:
        """Return an empty batch."""
        return Talker(self.mlx, self.prompter)

    @property
    def groups(self) -> int:
        """Codes in a frame."""
        return int(self.mlx.config.talker_config.num_code_groups)

    @property
    def speakers(self) -> frozenset[str]:
        """Names of the model's own voices."""
        return frozenset(self.mlx.config.talker_config.spk_id or {})

    def speaker_embedding(self, samples: np.ndarray) -> np.ndarray:
        """Return what tells a voice from others: (samples,) at 24 kHz → (width,)."""
        import mlx.core as mx  # noqa: PLC0415 - imported by `load`

        embedding = self.mlx.extract_speaker_embedding(mx.array(samples))
        return np.array(embedding[0].astype(mx.float32))


def load(folder: Path, variant: str) -> LoadedModel:
    """Bring a checkpoint into memory. Downloads nothing.

    :param variant: what it must be.
    :raises EngineUnavailable: if MLX cannot run, or the checkpoint is not complete.
    """
    try:
        import mlx.core as mx  # noqa: PLC0415
        from mlx_audio.tts.utils import load_model  # noqa: PLC0415
    except ImportError as error:
        raise EngineUnavailable(NO_MLX) from error
    _clear_streams_at_the_end_of_this_thread(mx.clear_streams)
    if not any((folder / "speech_tokenizer").glob("*.safetensors")):
        # mlx-audio would leave the codec as random as it was made, and say nothing.
        raise _incomplete("speech_tokenizer/ has no weights")
    try:
        # mlx-audio prints to where `unisono say` may be writing audio. It takes a relative
        # string for a repository on the hub, and a Path never.
        with contextlib.redirect_stdout(sys.stderr):
            model = load_model(folder)
    except Exception as error:  # whatever the libraries think of the files
        logger.warning("mlx-audio cannot load %s.", folder, exc_info=True)
        raise _incomplete(f"mlx-audio says {type(error).__name__}") from error
    # Errors in loading these are only printed, and without its files a tokenizer comes empty.
    if model.tokenizer is None or len(model.tokenizer.encode(ROLE)) != 3:
        raise _incomplete("its tokenizer cannot be loaded")
    if model.speech_tokenizer is None:
        raise _incomplete("its speech tokenizer cannot be loaded")
    if model.config.tts_model_type != variant:
        raise EngineUnavailable(
            f"The checkpoint is {model.config.tts_model_type}, and not {variant} as its name or "
            "the setting `variant` says."
        )
    if variant == "base" and not model.speech_tokenizer.has_encoder:
        raise _incomplete("its speech tokenizer cannot encode recordings")
    options = model._resolve_generation_options(None, None, None, None, None)
    max_frames = options.pop("max_tokens")
    return LoadedModel(
        model,
        Codec(model.speech_tokenizer),
        Prompter(model),
        Sampling(max_frames=max_frames, **options),
    )


def _incomplete(reason: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"The checkpoint is not complete ({reason}). Download it again; the server's log may say "
        "more."
    )


class _Streams:
    """Destroys MLX's streams of the thread that drops the last reference to it."""

    def __init__(self, clear: Callable[[], None]) -> None:
        self._clear = clear

    def __del__(self) -> None:
        self._clear()


class _Thread(threading.local):
    """What each thread has of its own; it drops it just before it ends."""

    streams: _Streams | None = None


_thread = _Thread()


def _clear_streams_at_the_end_of_this_thread(clear: Callable[[], None]) -> None:
    """Avoid what MLX 0.32 does at the end of every second thread that used it: abort the process.

    `unload` would be too early: other models may be loaded on the same thread, and need its
    streams.
    """
    if _thread.streams is None:
        _thread.streams = _Streams(clear)
