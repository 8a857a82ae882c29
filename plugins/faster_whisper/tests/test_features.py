from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from unisono_faster_whisper.features import PiecewiseExtractor

RATE = 16_000


def noise(samples: int) -> np.ndarray:
    loudness = np.linspace(0.001, 0.3, samples)
    return (loudness * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("samples", [0, 1, 399, 30 * RATE - 1, 30 * RATE, 75 * RATE + 17])
def test_spectrograms_are_those_of_the_library(bands: int, samples: int) -> None:
    library = FeatureExtractor(feature_size=bands)
    expected = library(noise(samples))
    found = PiecewiseExtractor(library)(noise(samples))
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_long_audio_takes_little_more_memory_than_its_spectrogram() -> None:
    audio = noise(300 * RATE)
    extractor = PiecewiseExtractor(FeatureExtractor())
    tracemalloc.start()
    try:
        result = extractor(audio)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < result.nbytes + 3 * audio.nbytes + 40e6  # the library: 240 MB and more
