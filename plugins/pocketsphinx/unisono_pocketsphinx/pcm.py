"""From the kernel's float samples to the 16-bit samples that the decoder wants."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_FRAME = 160
"""Samples of 10 ms at 16 000 hertz."""
_SILENT = 3.0
_NOISE = 15.0


def to_pcm(samples: npt.NDArray[Any]) -> bytes:
    """Return mono float samples as native 16-bit PCM, with a noise floor where there is none.

    The decoder normalizes by the mean of the cepstrum, which digital silence drives to minus
    infinity: synthetic speech then comes out as other words. So if the quietest 5 % of the 10 ms
    frames are below 3/32768 RMS, noise of 15/32768 (-67 dBFS) is added; always the same noise,
    because equal audio must give equal text.
    """
    scaled = samples.reshape(-1).astype(np.float32) * np.float32(32767)
    if _has_no_noise_floor(scaled):
        noise = np.random.default_rng(0).standard_normal(len(scaled), dtype=np.float32)
        scaled += noise * np.float32(_NOISE)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32768, 32767, out=scaled)
    pcm: bytes = scaled.astype(np.int16).tobytes()
    return pcm


def _has_no_noise_floor(scaled: npt.NDArray[np.float32]) -> bool:
    frames = scaled[: len(scaled) // _FRAME * _FRAME].reshape(-1, _FRAME)
    if not len(frames):
        return False
    rms = np.sqrt(np.einsum("ij,ij->i", frames, frames) / _FRAME)
    return bool(np.percentile(rms, 5) < _SILENT)
