from __future__ import annotations

import numpy as np
import pytest
from gpt_sovits_stub import sound

from unisono_gpt_sovits_bridge.wav import WavReader, wav_file

SAMPLES = np.arange(-500, 500, dtype="<i2") * 60


@pytest.mark.parametrize("size", [1, 2, 3, 7, 44, 45, 10_000])
def test_a_file_may_come_in_pieces_of_any_size(size):
    data = sound.wav(SAMPLES, 24_000)
    reader = WavReader()

    parts = [reader.feed(data[at : at + size]) for at in range(0, len(data), size)]

    assert reader.sample_rate == 24_000
    assert reader.complete
    np.testing.assert_array_equal(np.concatenate(parts), SAMPLES / np.float32(32_768))


def test_the_header_of_a_stream_says_nothing_of_its_length():
    reader = WavReader()
    reader.feed(sound.wav(SAMPLES[:0], 32_000))

    assert len(reader.feed(SAMPLES.tobytes())) == len(SAMPLES)
    assert reader.complete


def test_what_follows_the_samples_is_no_sound():
    reader = WavReader()

    samples = reader.feed(sound.wav(SAMPLES, 32_000) + b"LIST\x04\x00\x00\x00abcd")

    assert len(samples) == len(SAMPLES)
    assert reader.complete


def test_half_a_sample_is_not_complete():
    reader = WavReader()

    reader.feed(sound.wav(SAMPLES[:0], 32_000) + b"abc")

    assert not reader.complete


@pytest.mark.parametrize("data", [b"OggS....", b"RIFF....AVI ", b"RIFF...." + b"\0" * 5000])
def test_what_is_no_wav_is_refused(data):
    with pytest.raises(ValueError, match="WAV"):
        WavReader().feed(data)


def test_stereo_is_refused():
    data = bytearray(sound.wav(SAMPLES, 32_000))
    data[22] = 2

    with pytest.raises(ValueError, match="2 channels"):
        WavReader().feed(bytes(data))


def test_what_is_written_is_read_again():
    samples = np.array([0, 0.5, -1, 1, 3], np.float32)
    reader = WavReader()

    read = reader.feed(wav_file(samples, 16_000))

    np.testing.assert_allclose(read, [0, 0.5, -1, 1, 1], atol=1e-4)
