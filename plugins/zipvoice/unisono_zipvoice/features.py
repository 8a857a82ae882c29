"""Spectra: the features that ZipVoice takes, and the audio that Vocos means.

The numbers are those of upstream's `VocosFbank` (torchaudio's `MelSpectrogram` with power 1, in
frames of 256 samples) and of Vocos' `ISTFTHead` with padding "center".
"""

from __future__ import annotations

import functools

import numpy as np

SAMPLE_RATE = 24_000
N_FFT = 1024
HOP = 256
N_MELS = 100


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Return the logarithmic mel spectrogram, shaped (frames, 100).

    :param samples: float32, (samples,), at 24 kHz, more than 512 of them.
    """
    padded = np.pad(samples, N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    spectrum = np.abs(np.fft.rfft(frames * _window(), axis=1)).astype(np.float32)
    mels = np.log(np.maximum(spectrum @ _filters(), np.float32(1e-7)))
    # Upstream rounds the number of frames half up, and repeats the last if there are too few.
    count = (2 * len(samples) + HOP) // (2 * HOP)
    return np.pad(mels[:count], ((0, max(0, count - len(mels))), (0, 0)), mode="edge")


def inverse_stft(spectrum: np.ndarray) -> np.ndarray:
    """Return the samples of a complex spectrogram shaped (513, frames)."""
    frames = np.fft.irfft(spectrum.T, n=N_FFT, axis=1).astype(np.float32) * _window()
    count = len(frames)
    overlaps = N_FFT // HOP
    signal = np.zeros((count + overlaps - 1, HOP), np.float32)
    weight = np.zeros_like(signal)
    squares = (_window() ** 2).reshape(overlaps, HOP)
    pieces = frames.reshape(count, overlaps, HOP)
    for shift in range(overlaps):
        signal[shift : shift + count] += pieces[:, shift]
        weight[shift : shift + count] += squares[shift]
    inside = slice(N_FFT // 2, -(N_FFT // 2))
    samples: np.ndarray = signal.reshape(-1)[inside] / np.maximum(weight.reshape(-1)[inside], 1e-11)
    return samples


@functools.cache
def _window() -> np.ndarray:
    """Return a periodic Hann window."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)


@functools.cache
def _filters() -> np.ndarray:
    """Return triangles on HTK's mel scale, of height 1, shaped (513, 100)."""
    hertz = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    points = 700 * (10 ** (np.linspace(0, top, N_MELS + 2) / 2595) - 1)
    rising = (hertz[:, None] - points[None, :-2]) / np.diff(points)[:-1]
    falling = (points[None, 2:] - hertz[:, None]) / np.diff(points)[1:]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
