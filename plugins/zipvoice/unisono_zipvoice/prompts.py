"""What the model hears of a reference before it speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unisono import PromptError

from .features import SAMPLE_RATE, log_mel
from .silence import quantize, shorten_pauses, trim_edges

FEATURE_SCALE = np.float32(0.1)
_LOUDNESS = np.float32(0.1)
"""Quieter references are amplified to this root mean square, and the speech is attenuated."""
_SILENT_FRAMES = SAMPLE_RATE // 10
"""What is left of a reference in which nothing sounds."""
_TRAIL_FRAMES = 4798
"""Silence after the reference, without which its end leaks into the speech: 0.2 seconds of
pydub's, which come from 11 025 hertz."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The features of a reference."""

    features: np.ndarray
    """float32, (frames, 100 for each channel)."""
    seconds: float
    gain: float
    """Factor that gives the speech the loudness of the reference."""


def hear(samples: np.ndarray) -> Reference:
    """Compute the features of a reference.

    :param samples: float32, (frames,) or (frames, channels), at 24 kHz.
    :raises PromptError: if nothing can be heard.
    """
    sound = trim_edges(shorten_pauses(quantize(samples)))
    if len(sound) <= _SILENT_FRAMES:
        raise PromptError(
            "The recording of the voice is too quiet: nothing in it is louder than -50 dBFS.",
            param="ref_audio",
            code="audio_silent",
        )
    trail = [(0, _TRAIL_FRAMES)] + [(0, 0)] * (sound.ndim - 1)
    sound = np.pad(sound, trail)
    loudness = np.sqrt(np.mean(np.square(sound), dtype=np.float32))
    gain = 1.0
    if loudness < _LOUDNESS:
        sound = sound * _LOUDNESS / loudness
        gain = float(loudness / _LOUDNESS)
    channels = [log_mel(channel) for channel in sound.reshape(len(sound), -1).T]
    features = np.concatenate(channels, axis=1) * FEATURE_SCALE
    return Reference(features, len(sound) / SAMPLE_RATE, gain)


def side_by_side(recordings: Sequence[np.ndarray]) -> np.ndarray:
    """Put two speakers after each other, the first to the left and the second to the right."""
    frames = sum(map(len, recordings))
    stereo = np.zeros((frames, 2), np.float32)
    start = 0
    for channel, samples in enumerate(recordings):
        stereo[start : start + len(samples), channel] = samples
        start += len(samples)
    return stereo
