"""Incremental encoders of every format."""

from __future__ import annotations

import gc
import io
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile

from unisono.codecs import FORMATS, Encoder, encode, is_cheap, output_rate, warm_up
from unisono.errors import RequestError

ALL = sorted(FORMATS)
LOSSLESS = ("flac", "pcm", "wav")
PRIMING = 0.11
"""Seconds by which MP3 and AAC may be longer: neither can say where its first frame begins."""

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")


def speech(rate: int, seconds: float = 1.5) -> np.ndarray:
    """Make a gliding voiced sound with pauses, which is not periodic and so has one best lag."""
    time = np.arange(round(rate * seconds)) / rate
    phase = 2 * np.pi * np.cumsum(130 + 40 * np.sin(2 * np.pi * 0.9 * time)) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 12))
    return (0.2 * voice * np.clip(np.sin(2 * np.pi * 2.5 * time) + 0.7, 0, 1)).astype(np.float32)


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return (0.4 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def stream(
    samples: np.ndarray, format: str, rate_in: int, rate_out: int, channels: int = 1, ms: int = 20
) -> list[bytes]:
    encoder = Encoder(format, rate_in, rate_out, channels)
    step = rate_in * ms // 1000
    parts = [encoder.write(samples[at : at + step]) for at in range(0, len(samples), step)]
    return [*parts, encoder.finish()]


def read(data: bytes, format: str, rate: int, channels: int = 1) -> np.ndarray:
    """Decode with FFmpeg, and check what it says about the stream."""
    if format == "pcm":
        return np.frombuffer(data, "<i2").reshape(-1, channels).astype(np.float32) / 32768
    with av.open(io.BytesIO(data)) as container:
        audio = container.streams.audio[0]
        assert len(audio.layout.channels) == channels
        resampler = av.AudioResampler(format="flt", layout=audio.layout, rate=rate)
        frames = [*container.decode(audio), None]
        if format != "opus":  # always decoded at 48 000
            assert audio.sample_rate == rate
        parts = [
            part.to_ndarray().reshape(-1, channels)
            for frame in frames
            for part in resampler.resample(frame)
        ]
    return np.concatenate(parts)


def likeness(heard: np.ndarray, said: np.ndarray) -> float:
    """Correlate at the best lag: 1 means the same but for delay and loudness."""
    size = len(heard) + len(said)
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size))
    norm = np.sqrt(np.sum(np.square(heard)) * np.sum(np.square(said)))
    return float(np.max(np.fft.irfft(product, size)) / norm)


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def share(samples: np.ndarray, hertz: float, rate: int) -> float:
    """Measure the amplitude of one frequency."""
    wave = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / rate)
    return float(2 * np.abs(np.mean(samples * wave)))


@pytest.fixture
def native_threads() -> Iterator[int]:
    """Count the process's threads, FFmpeg's own among them, with cyclic collection off."""
    gc.collect()
    gc.disable()
    yield len(os.listdir("/proc/self/task"))
    gc.enable()


def test_media_types_are_what_players_expect() -> None:
    assert {name: each.media_type for name, each in FORMATS.items()} == {
        "mp3": "audio/mpeg",
        "opus": "audio/ogg",
        "aac": "audio/aac",
        "flac": "audio/flac",
        "wav": "audio/wav",
        "pcm": "audio/pcm",
    }


@pytest.mark.parametrize("format", ["wav", "pcm"])
@pytest.mark.parametrize("native", [16000, 24000, 48000])
def test_wav_and_pcm_come_at_the_rate_that_clients_assume(format: str, native: int) -> None:
    assert output_rate(format, native) == 24000


@pytest.mark.parametrize(
    ("format", "native", "expected"),
    [
        ("mp3", 22050, 22050),
        ("flac", 22050, 22050),
        ("aac", 16000, 16000),
        ("opus", 24000, 24000),
        ("opus", 22050, 24000),
        ("opus", 44100, 48000),
        ("opus", 96000, 48000),
        ("mp3", 20000, 22050),
        ("mp3", 96000, 48000),
        ("flac", 7000, 8000),
    ],
)
def test_other_formats_keep_the_native_rate_or_the_next_higher(
    format: str, native: int, expected: int
) -> None:
    assert output_rate(format, native, None) == expected


def test_requested_rate_wins() -> None:
    assert output_rate("wav", 24000, 16000) == 16000
    assert output_rate("mp3", 24000, 44100) == 44100


def test_requested_rate_that_the_codec_lacks_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(RequestError, match="8000, 12000, 16000, 24000, 48000") as caught:
        output_rate("opus", 24000, 44100)
    assert caught.value.param == "sample_rate"


@pytest.mark.parametrize("format", ALL)
@pytest.mark.parametrize("rates", [(24000, 24000), (22050, 24000), (24000, 48000), (16000, 16000)])
def test_stream_decodes_to_what_was_said(format: str, rates: tuple[int, int]) -> None:
    said = speech(rates[0])
    heard = read(b"".join(stream(said, format, *rates)), format, rates[1])[:, 0]
    likest = 0.9999 if format in LOSSLESS else 0.97
    assert likeness(heard, read_at(said, *rates)) > likest
    loudness = level(heard) * np.sqrt(len(heard) / len(said))
    # LAME turns everything down by 5 percent, so that nothing clips.
    assert loudness == pytest.approx(level(said) * np.sqrt(rates[1] / rates[0]), rel=0.06)


def read_at(samples: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    times = np.arange(round(len(samples) * rate_out / rate_in)) / rate_out
    return np.interp(times, np.arange(len(samples)) / rate_in, samples).astype(np.float32)


@pytest.mark.parametrize("format", ALL)
def test_stream_has_the_right_duration(format: str) -> None:
    heard = read(b"".join(stream(speech(24000), format, 24000, 24000)), format, 24000)
    longest = 1.5 if format in (*LOSSLESS, "opus") else 1.5 + PRIMING
    assert 1.5 <= len(heard) / 24000 <= longest


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_formats_give_back_every_sample(format: str) -> None:
    integers = np.random.default_rng(1).integers(-32768, 32768, 5000)
    samples = (integers / 32768).astype(np.float32)
    heard = read(b"".join(stream(samples, format, 24000, 24000)), format, 24000)
    assert np.array_equal(heard[:, 0] * 32768, integers)


@pytest.mark.parametrize("format", ALL)
@pytest.mark.parametrize("rate", [22050, 24000, 48000])
def test_first_audio_is_out_within_100_ms(format: str, rate: int) -> None:
    encoder = Encoder(format, rate, rate if rate in FORMATS[format].rates else 24000)
    samples = speech(rate)[: rate // 10]
    header = len(encoder.write(samples[:1]))
    audio = sum(len(encoder.write(part)) for part in np.array_split(samples[1:], 10))
    encoder.close()
    assert header < 200
    assert audio > 50


@pytest.mark.parametrize("format", ALL)
def test_bytes_keep_coming(format: str) -> None:
    parts = stream(speech(24000), format, 24000, 24000, ms=100)
    assert all(len(part) > 100 for part in parts[:-1])


@pytest.mark.parametrize("format", ALL)
@pytest.mark.parametrize("rates", [(24000, 24000), (22050, 48000)])
def test_stereo_keeps_its_channels_apart(format: str, rates: tuple[int, int]) -> None:
    said = np.stack([tone(440, rates[0]), tone(1000, rates[0])], axis=1)
    data = b"".join(stream(said, format, *rates, channels=2))
    heard = read(data, format, rates[1], channels=2)[4800:-4800]
    for channel, (own, other) in enumerate([(440, 1000), (1000, 440)]):
        assert share(heard[:, channel], own, rates[1]) == pytest.approx(0.4, rel=0.1)
        assert share(heard[:, channel], other, rates[1]) < 0.01


def test_stereo_samples_are_mixed_for_a_mono_stream() -> None:
    said = np.stack([tone(440, 24000), tone(1000, 24000)], axis=1)
    heard = read(b"".join(stream(said, "wav", 24000, 24000)), "wav", 24000)
    assert np.allclose(heard[:, 0], said.mean(axis=1), atol=1e-4)


def test_mono_samples_are_repeated_for_a_stereo_stream() -> None:
    said = tone(440, 24000)
    heard = read(b"".join(stream(said, "wav", 24000, 24000, channels=2)), "wav", 24000, 2)
    assert np.allclose(heard, np.stack([said, said], axis=1), atol=1e-4)


@pytest.mark.parametrize("format", ALL)
@pytest.mark.parametrize("rate_in", [24000, 22050])
def test_recording_encoded_at_once_sounds_like_the_stream(format: str, rate_in: int) -> None:
    said = speech(rate_in)
    streamed = read(b"".join(stream(said, format, rate_in, 24000)), format, 24000)
    whole = read(encode(said, format, rate_in, 24000), format, 24000)
    assert len(whole) == len(streamed)
    assert np.allclose(whole, streamed, atol=2 / 32768 if rate_in == 24000 else 0.02)


@pytest.mark.parametrize("format", ALL)
def test_stereo_recording_stays_stereo(format: str) -> None:
    said = np.stack([tone(440, 24000), tone(1000, 24000)], axis=1)
    heard = read(encode(said, format, 24000, 24000), format, 24000, channels=2)[4800:-4800]
    assert share(heard[:, 0], 440, 24000) > 20 * share(heard[:, 0], 1000, 24000)
    assert share(heard[:, 1], 1000, 24000) > 20 * share(heard[:, 1], 440, 24000)


def wav_fields(data: bytes) -> tuple[object, ...]:
    return struct.unpack("<4sI4s4sIHHIIHH4sI", data[:44])


def test_streamed_wav_has_one_header_without_sizes() -> None:
    data = b"".join(stream(tone(440, 24000), "wav", 24000, 24000))
    layout = (16, 1, 1, 24000, 48000, 2, 16)
    assert wav_fields(data) == (
        *(b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", *layout),
        *(b"data", 0xFFFFFFFF),
    )
    assert data.count(b"RIFF") == 1
    assert len(data) == 44 + 48000


def test_whole_wav_has_true_sizes() -> None:
    said = np.zeros((24000, 2), np.float32)
    data = encode(said, "wav", 24000, 24000)
    layout = (16, 1, 2, 24000, 96000, 4, 16)
    assert wav_fields(data) == (
        *(b"RIFF", 96036, b"WAVE", b"fmt ", *layout),
        *(b"data", 96000),
    )
    assert len(data) == 44 + 96000


def test_pcm_has_no_header() -> None:
    assert encode(np.array([0.5], np.float32), "pcm", 24000, 24000) == b"\x00\x40"


@pytest.mark.parametrize("format", ["flac", "wav"])
def test_libsndfile_reads_a_whole_recording(format: str) -> None:
    said = speech(24000)
    heard, rate = soundfile.read(io.BytesIO(encode(said, format, 24000, 24000)))
    assert rate == 24000
    assert np.allclose(heard, said, atol=1 / 32768)


@pytest.mark.parametrize("format", ["mp3", "opus", "aac"])
@pytest.mark.parametrize(("rate", "most"), [(16000, 80), (24000, 85), (48000, 140)])
def test_bit_rates_suit_speech(format: str, rate: int, most: int) -> None:
    mono, stereo = speech(rate), np.stack([speech(rate), speech(rate)[::-1]], axis=1)
    kbits = len(encode(mono, format, rate, rate)) * 8 / 1.5 / 1000
    assert 24 < kbits < most
    assert 1.2 * kbits < len(encode(stereo, format, rate, rate)) * 8 / 1.5 / 1000 < 2.5 * kbits


@pytest.mark.parametrize("format", ALL)
def test_bad_samples_do_not_end_a_stream(format: str) -> None:
    said = speech(24000)
    said[12000:12100] = np.nan
    said[13000] = np.inf
    said[14000] = 100
    heard = read(b"".join(stream(said, format, 24000, 24000)), format, 24000)[:, 0]
    assert len(heard) >= 36000
    assert level(heard[24000:]) == pytest.approx(level(speech(24000)[24000:]), rel=0.1)


@pytest.mark.parametrize("format", ALL)
def test_chunks_of_any_size_are_taken(format: str) -> None:
    said = speech(24000)
    encoder = Encoder(format, 24000, 24000)
    sizes = [1, 0, 2, 5000, 333, 1, 20000]
    bounds = np.cumsum([0, *sizes])
    parts = [encoder.write(said[a:b]) for a, b in pairwise(bounds)]
    heard = read(b"".join([*parts, encoder.finish()]), format, 24000)[:, 0]
    assert likeness(heard, said[: sum(sizes)]) > 0.97


@pytest.mark.parametrize("format", ALL)
def test_one_encoder_may_move_between_threads(format: str) -> None:
    said = speech(24000)
    encoder = Encoder(format, 24000, 24000)
    parts = []
    for part in np.array_split(said, 6):
        with ThreadPoolExecutor(1) as thread:
            parts.append(thread.submit(encoder.write, part).result())
    heard = read(b"".join([*parts, encoder.finish()]), format, 24000)[:, 0]
    assert likeness(heard, said) > 0.97


@pytest.mark.parametrize("format", ALL)
def test_stream_without_samples_ends_in_peace(format: str) -> None:
    encoder = Encoder(format, 24000, 24000)
    assert len(encoder.finish()) < 500


@needs_proc
@pytest.mark.parametrize("format", ALL)
@pytest.mark.parametrize("writes", [0, 1, 5])
def test_closing_in_the_middle_leaves_no_thread(
    format: str, writes: int, native_threads: int
) -> None:
    encoder = Encoder(format, 22050, 24000)
    for _ in range(writes):
        encoder.write(speech(22050, 0.1))
    encoder.close()
    encoder.close()
    assert len(os.listdir("/proc/self/task")) <= native_threads


@needs_proc
@pytest.mark.parametrize("format", ALL)
def test_finishing_leaves_no_thread(format: str, native_threads: int) -> None:
    encoder = Encoder(format, 24000, 24000)
    encoder.write(speech(24000))
    encoder.finish()
    encoder.close()
    encode(speech(24000), format, 24000, 24000)
    assert len(os.listdir("/proc/self/task")) <= native_threads


@pytest.mark.parametrize("format", ALL)
def test_closed_encoder_refuses_more(format: str) -> None:
    encoder = Encoder(format, 24000, 24000)
    encoder.finish()
    with pytest.raises(ValueError, match="closed"):
        encoder.write(np.zeros(10, np.float32))
    with pytest.raises(ValueError, match="closed"):
        encoder.finish()


@pytest.mark.parametrize(
    ("format", "rate_in", "cheap"),
    [
        ("wav", 24000, True),
        ("pcm", 24000, True),
        ("wav", 22050, False),
        ("flac", 24000, False),
        ("mp3", 24000, False),
    ],
)
def test_only_unresampled_integers_are_cheap(format: str, rate_in: int, cheap: bool) -> None:
    assert is_cheap(format, rate_in, 24000) is cheap


def test_importing_the_module_loads_no_codec() -> None:
    script = (
        "import sys, unisono.codecs, unisono.decoding;"
        "print({'av', 'lameenc', 'soundfile', 'soxr'} & set(sys.modules));"
        "unisono.codecs.warm_up();"
        "print(sorted({'av', 'lameenc', 'soxr'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert run.stdout.split("\n")[:2] == ["set()", "['av', 'lameenc', 'soxr']"]


@pytest.mark.parametrize("format", ALL)
@pytest.mark.parametrize("rate_in", [24000, 22050])
def test_encoder_counts_the_frames_that_it_encoded(format: str, rate_in: int) -> None:
    encoder = Encoder(format, rate_in, 24000)
    for part in np.array_split(speech(rate_in), 7):
        encoder.write(part)
    encoder.finish()
    assert abs(encoder.frames - 36000) <= 1


def test_warming_up_twice_is_harmless() -> None:
    warm_up()
    warm_up()
