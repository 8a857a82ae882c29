"""Channels, sample rates, integers, tempo."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest

from unisono.audio import (
    Resampler,
    Stretcher,
    finite,
    join,
    resample,
    to_channels,
    to_int16,
    to_mono,
)
from unisono.types import AudioChunk, Word


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def pitch(samples: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples)


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def in_chunks(samples: np.ndarray, size: int) -> list[np.ndarray]:
    return [samples[at : at + size] for at in range(0, len(samples), size)]


def test_mono_is_the_mean_of_the_channels() -> None:
    stereo = np.array([[1.0, 0.0], [0.5, -0.5]], np.float32)
    assert to_mono(stereo).tolist() == [0.5, 0.0]
    assert to_mono(stereo).dtype == np.float32


def test_mono_of_one_channel_is_flat() -> None:
    flat = tone(440, 8000)
    assert to_mono(flat) is flat
    assert np.array_equal(to_mono(flat[:, np.newaxis]), flat)


def test_mono_becomes_stereo_by_repetition() -> None:
    flat = tone(440, 8000)
    stereo = to_channels(flat, 2)
    assert np.array_equal(stereo[:, 0], flat)
    assert np.array_equal(stereo[:, 1], flat)
    assert to_channels(stereo, 2) is stereo


def test_surround_becomes_stereo_by_way_of_mono() -> None:
    surround = np.array([[0.8, 0.0, 0.4]], np.float32)
    assert to_channels(surround, 2).tolist() == pytest.approx(np.array([[0.4, 0.4]]))


def test_what_is_not_a_number_becomes_silence() -> None:
    samples = np.array([0.5, np.nan, np.inf, -np.inf, -0.5], np.float32)
    assert finite(samples).tolist() == [0.5, 0, 0, 0, -0.5]


def test_infinities_that_cancel_out_are_found_too() -> None:
    assert not finite(np.array([[np.inf, -np.inf]], np.float32)).any()


def test_clean_samples_are_not_copied() -> None:
    samples = tone(440, 8000)
    assert finite(samples) is samples


def test_int16_survives_the_way_through_float() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    assert np.array_equal(to_int16(every.astype(np.float32) / 32768), every)


def test_int16_rounds_and_clips_instead_of_wrapping() -> None:
    samples = np.array([1.0, 1.5, -1.5, 1e30, -1e30, 0.6 / 32768, -0.6 / 32768], np.float32)
    assert to_int16(samples).tolist() == [32767, 32767, -32768, 32767, -32768, 1, -1]


def test_int16_of_what_is_not_a_number_is_silence() -> None:
    assert to_int16(np.array([np.nan, np.inf, -np.inf, 0.5], np.float32)).tolist() == [
        0,
        0,
        0,
        16384,
    ]


def test_join_keeps_the_order_of_samples_and_words() -> None:
    first = AudioChunk(np.array([0.1, 0.2], np.float32), 8000, (Word("a", 0, 1),))
    second = AudioChunk(np.array([0.3], np.float32), 8000, (Word("b", 1, 2),))
    joined = join([first, second])
    assert joined.samples.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert [word.text for word in joined.words] == ["a", "b"]
    assert joined.sample_rate == 8000


def test_join_returns_a_single_chunk_as_it_is() -> None:
    chunk = AudioChunk(np.zeros(3, np.float32), 8000)
    assert join([chunk]) is chunk


def test_join_keeps_stereo() -> None:
    chunk = AudioChunk(np.zeros((3, 2), np.float32), 8000)
    assert join([chunk, chunk]).samples.shape == (6, 2)


def test_resampling_keeps_length_pitch_and_level() -> None:
    samples = resample(tone(440, 22050), 22050, 16000)
    assert len(samples) == 16000
    assert pitch(samples, 16000) == pytest.approx(440, abs=1)
    assert level(samples) == pytest.approx(level(tone(440, 22050)), rel=0.01)


def test_resampling_removes_what_the_lower_rate_cannot_carry() -> None:
    assert level(resample(tone(11000, 48000), 48000, 16000)[200:-200]) < 0.001


def test_resampling_to_the_same_rate_costs_nothing() -> None:
    samples = tone(440, 16000)
    resampler = Resampler(16000, 16000)
    assert resample(samples, 16000, 16000) is samples
    assert resampler.write(samples) is samples
    assert not len(resampler.finish())


@pytest.mark.parametrize("rates", [(22050, 24000), (48000, 16000), (8000, 44100), (44100, 8000)])
@pytest.mark.parametrize("size", [37, 2205, 100_000])
def test_resampled_stream_has_the_right_length(rates: tuple[int, int], size: int) -> None:
    resampler = Resampler(*rates)
    samples = tone(440, rates[0], 0.777)
    parts = [resampler.write(part) for part in in_chunks(samples, size)]
    total = sum(map(len, parts)) + len(resampler.finish())
    assert abs(total - len(samples) * rates[1] / rates[0]) <= 1


def test_resampled_stream_equals_the_recording_resampled_at_once() -> None:
    samples = tone(440, 22050) + tone(3000, 22050)
    resampler = Resampler(22050, 24000)
    parts = [resampler.write(part) for part in in_chunks(samples, 441)]
    streamed = np.concatenate([*parts, resampler.finish()])
    assert np.allclose(streamed, resample(samples, 22050, 24000), atol=1e-4)


def test_resampled_stereo_keeps_its_channels_apart() -> None:
    stereo = np.stack([tone(440, 24000), np.zeros(24000, np.float32)], axis=1)
    resampler = Resampler(24000, 16000, channels=2)
    parts = [resampler.write(part) for part in in_chunks(stereo, 2400)]
    resampled = np.concatenate([*parts, resampler.finish()])
    assert resampled.shape == (16000, 2)
    assert level(resampled[:, 0]) == pytest.approx(level(stereo[:, 0]), rel=0.01)
    assert not resampled[:, 1].any()


def test_one_bad_sample_does_not_spoil_a_resampled_stream() -> None:
    samples = tone(440, 24000)
    samples[12000] = np.nan
    resampler = Resampler(24000, 16000)
    resampled = np.concatenate([resampler.write(samples), resampler.finish()])
    assert np.isfinite(resampled).all()
    assert level(resampled) == pytest.approx(level(tone(440, 16000)), rel=0.01)


@pytest.mark.parametrize("factor", [0.25, 0.4, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0])
def test_stretching_changes_the_length_and_not_the_pitch(factor: float) -> None:
    stretcher = Stretcher(factor, 24000)
    parts = [stretcher.write(part) for part in in_chunks(tone(440, 24000, 3), 2400)]
    stretched = np.concatenate([*parts, stretcher.finish()])
    assert len(stretched) / 24000 == pytest.approx(3 / factor, rel=0.05)
    assert pitch(stretched, 24000) == pytest.approx(440, rel=0.02)
    assert level(stretched) == pytest.approx(level(tone(440, 24000)), rel=0.1)


def test_stretching_gives_something_before_the_end() -> None:
    stretcher = Stretcher(1.5, 24000)
    assert len(stretcher.write(tone(440, 24000)))


def test_stretched_stereo_keeps_its_channels_apart() -> None:
    stereo = np.stack([tone(440, 24000), np.zeros(24000, np.float32)], axis=1)
    stretcher = Stretcher(1.5, 24000, channels=2)
    stretched = np.concatenate([stretcher.write(stereo), stretcher.finish()])
    assert pitch(stretched[:, 0], 24000) == pytest.approx(440, rel=0.02)
    assert not stretched[:, 1].any()


def test_stretching_takes_nothing_and_gives_nothing() -> None:
    stretcher = Stretcher(2.0, 24000)
    assert not len(stretcher.write(np.empty(0, np.float32)))
    assert not len(stretcher.finish())


@pytest.mark.parametrize("factor", [0.2, 4.1, 0.0, -1.0, float("nan")])
def test_stretching_refuses_a_factor_out_of_range(factor: float) -> None:
    with pytest.raises(ValueError, match=r"between 0\.25 and 4"):
        Stretcher(factor, 24000)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
@pytest.mark.parametrize("finished", [True, False])
def test_a_stretcher_leaves_no_thread_behind(finished: bool) -> None:
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/task"))
        stretcher = Stretcher(0.4, 24000)
        stretcher.write(tone(440, 24000))
        if finished:
            stretcher.finish()
        else:
            del stretcher
        assert len(os.listdir("/proc/self/task")) <= before
    finally:
        gc.enable()


def test_the_stretcher_loses_no_audio_however_short() -> None:
    for frames in (1, 100, 700, 2000):
        stretcher = Stretcher(2.0, 24_000)
        samples = np.full(frames, 0.5, np.float32)
        assert len(stretcher.write(samples)) + len(stretcher.finish())
