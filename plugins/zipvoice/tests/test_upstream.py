"""Number by number the same as upstream's torch code (k2-fsa/ZipVoice 2f7326f)."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from unisono_zipvoice.prompts import hear
from unisono_zipvoice.silence import quantize, shorten_pauses, trim_edges

STRIDE = 37


def test_tokens_are_upstreams(tokenizer, tokens) -> None:
    for text, expected in tokens.items():
        assert tokenizer.tokenize(text) == expected


def test_silence_of_a_reference_is_removed_to_the_sample(recorded) -> None:
    samples = recorded["recording"].astype(np.float32) / 32768
    sound = np.pad(trim_edges(shorten_pauses(quantize(samples))), (0, 4798))
    pcm = np.round(sound * 32768).astype("<i2").tobytes()
    assert zlib.crc32(pcm) == recorded["cleaned_crc32"]


def test_features_are_upstreams(recorded) -> None:
    features = hear(recorded["recording"].astype(np.float32) / 32768).features
    assert len(features) == recorded["features_length"]
    assert np.abs(features[::STRIDE] - recorded["features"]).max() < 1e-5


@pytest.mark.parametrize("model", ["zipvoice", "zipvoice_distill"])
@pytest.mark.parametrize(("case", "speed", "guidance"), [("", 1.0, 1.0), ("_fast", 1.7, 2.0)])
def test_the_waveform_is_upstreams(
    engine, speech, recorded, tokens, model, case, speed, guidance
) -> None:
    chunks = speech(engine(model), next(iter(tokens)), speed=speed, guidance_scale=guidance)
    samples = np.concatenate(chunks)
    assert len(samples) == recorded[f"{model}{case}_length"]
    assert np.abs(samples[:: 10 * STRIDE] - recorded[model + case]).max() < 1e-5


def test_a_text_of_several_stretches_is_cut_and_cross_faded_as_upstream_does(
    engine, speech, recorded, tokens
) -> None:
    chunks = speech(engine(), list(tokens)[2], guidance_scale=1.0, remove_long_silence=False)
    samples = np.concatenate(chunks)
    assert len(chunks) == 2
    assert len(samples) == recorded["zipvoice_long_length"]
    assert np.abs(samples[:: 10 * STRIDE] - recorded["zipvoice_long"]).max() < 1e-5
