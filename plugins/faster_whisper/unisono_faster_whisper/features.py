"""Log-mel spectrograms of long audio in little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_PIECE = 3000
"""Frames of 10 ms that are transformed at once."""


class PiecewiseExtractor:
    """The library's feature extractor, which transforms piece by piece what that does at once.

    The library holds every frame in four copies of 400 samples: 3 GB for an hour.

    :param extractor: a `faster_whisper.feature_extractor.FeatureExtractor`.
    """

    def __init__(self, extractor: Any) -> None:
        self._extractor = extractor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)

    def __call__(
        self, waveform: npt.NDArray[Any], padding: int = 160, chunk_length: None = None
    ) -> npt.NDArray[np.float32]:
        """Return the spectrogram of mono audio at 16 kHz, (bands, frames).

        :param padding: samples of silence to append.
        :param chunk_length: what the library would change for good; never used.
        """
        inner = self._extractor
        size, hop = inner.n_fft, inner.hop_length
        window = np.hanning(size + 1)[:-1].astype(np.float32)
        audio = np.pad(waveform.astype(np.float32), (0, padding))
        audio = np.pad(audio, size // 2, mode="reflect")
        frames = (len(audio) - size) // hop  # all but the last, as Whisper has it
        bands = np.empty((len(inner.mel_filters), frames), np.float32)
        for start in range(0, frames, _PIECE):
            end = min(start + _PIECE, frames)
            spectrum = inner.stft(
                audio[start * hop : (end - 1) * hop + size],
                size,
                hop,
                window=window,
                center=False,
                return_complex=True,
            )
            bands[:, start:end] = inner.mel_filters @ np.abs(spectrum).astype(np.float32) ** 2
        np.log10(np.maximum(bands, 1e-10, out=bands), out=bands)
        if frames:
            np.maximum(bands, bands.max() - 8.0, out=bands)
        bands += 4.0
        bands /= 4.0
        return bands
