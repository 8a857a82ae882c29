"""Voiceprints: what CAM++ makes of windows of speech."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from unisono import CancelToken, Detection, speech_spans

from .clustering import Prints
from .loading import RATE, Component, Samples
from .speech import Piece
from .windows import WINDOW, windows_of

DETECTION = Detection(prefix_padding_ms=30, silence_duration_ms=200)
"""Somebody else may go on after a short pause; what is kept around speech is no speech."""
_BLOCK = 10 * RATE
_BATCH = 16
_BANDS = 80
_SHORTEST = RATE // 40
"""Samples of one frame of features."""
_FRAMES = 1 + (WINDOW - _SHORTEST) // (RATE // 100)


class Listener:
    """Hears speech, and makes prints of it.

    :param model: a CAM++.
    """

    def __init__(self, model: Component) -> None:
        self._model = model

    def hear(self, samples: Samples, cancel: CancelToken) -> tuple[list[Piece], Prints]:
        """Return windows of the speech, in order of time, with their prints; none if cancelled."""
        spans = speech_spans(_blocks(samples, cancel), DETECTION)
        windows = [window for span in spans for window in windows_of(Piece(*span))]
        prints = [
            self._prints([_features(samples, window) for window in windows[first : first + _BATCH]])
            for first in range(0, len(windows), _BATCH)
            if not cancel.cancelled
        ]
        if cancel.cancelled or not prints:
            return [], np.zeros((0, 0), np.float32)
        return windows, np.concatenate(prints)

    def _prints(self, features: Sequence[Any]) -> Prints:
        import torch  # noqa: PLC0415

        device = self._model.configuration["device"]
        with torch.inference_mode():
            made = self._model.module(torch.stack(list(features)).to(device))
            prints: Prints = torch.nn.functional.normalize(made).float().cpu().numpy()
        return prints


def _blocks(samples: Samples, cancel: CancelToken) -> Iterator[Samples]:
    for start in range(0, len(samples), _BLOCK):
        if cancel.cancelled:
            return
        yield samples[start : start + _BLOCK]


def _features(samples: Samples, window: Piece) -> Any:
    """Return (frames, bands), as many for every window: short ones are repeated."""
    import torch  # noqa: PLC0415
    from funasr.utils.fbank import fbank  # noqa: PLC0415

    speech = torch.from_numpy(np.array(samples[window.start : window.end], np.float32))
    features = fbank(speech[None], num_mel_bins=_BANDS)
    features = features[torch.arange(_FRAMES) % len(features)]
    return features - features.mean(dim=0)
