"""Any upload to mono audio, however it is made or damaged."""

from __future__ import annotations

import gc
import io
import os
import random
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from unisono.codecs import Encoder, encode
from unisono.decoding import decode
from unisono.errors import AudioError
from unisono.types import AudioChunk

RATE = 24000
PROC = Path("/proc/self")


def tone(rate: int, seconds: float = 1.0, hertz: float = 440) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return (0.4 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def amplitude(samples: np.ndarray, hertz: float, rate: int = 16000) -> float:
    wave = np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / rate)
    return float(2 * np.abs(np.mean(samples * wave)))


def riff(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4 if size is None else size) + b"WAVE" + body


def layout(tag: int, channels: int, rate: int, bits: int, extra: bytes = b"") -> bytes:
    align = channels * bits // 8
    speed = rate * align & 0xFFFFFFFF
    return struct.pack("<HHIIHH", tag, channels, rate, speed, align & 0xFFFF, bits) + extra


def wav(rate: int = 16000, seconds: float = 1.0, channels: int = 1) -> bytes:
    pcm = np.repeat((tone(rate, seconds) * 32768).astype("<i2")[:, np.newaxis], channels, axis=1)
    return riff((b"fmt ", layout(1, channels, rate, 16)), (b"data", pcm.tobytes()))


def stream(format: str, seconds: float = 1.0) -> bytes:
    encoder = Encoder(format, RATE, RATE)
    return encoder.write(tone(RATE, seconds)) + encoder.finish()


def mux(
    container: str, codec: str, *, rate: int = RATE, video: bool = False, audio: bool = True
) -> bytes:
    """Write a file with FFmpeg that this project's own encoders do not make."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        if video:
            pictures: Any = output.add_stream("mpeg4", rate=10)
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        if audio:
            sound: Any = output.add_stream(codec, rate=rate, layout="mono")
        if video:
            for at in range(10):
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), at * 9, np.uint8))
                picture.pts = at
                output.mux(pictures.encode(picture))
            output.mux(pictures.encode(None))
        if audio:
            pcm = (tone(rate) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm[np.newaxis], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, 0
            output.mux(sound.encode(frame))
            output.mux(sound.encode(None))
    return file.getvalue()


def vorbis() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(RATE), RATE, format="OGG", subtype="VORBIS")
    return file.getvalue()


MAKERS: dict[str, Callable[[], bytes]] = {
    "wav": lambda: encode(tone(RATE), "wav", RATE, RATE),
    "wav stream": lambda: stream("wav"),
    "mp3": lambda: encode(tone(RATE), "mp3", RATE, RATE),
    "mp3 stream": lambda: stream("mp3"),
    "opus": lambda: encode(tone(RATE), "opus", RATE, RATE),
    "opus stream": lambda: stream("opus"),
    "adts": lambda: encode(tone(RATE), "aac", RATE, RATE),
    "flac": lambda: encode(tone(RATE), "flac", RATE, RATE),
    "flac stream": lambda: stream("flac"),
    "vorbis": vorbis,
    "webm": lambda: mux("webm", "libopus"),
    "m4a": lambda: mux("mp4", "aac"),
    "mp4 with video": lambda: mux("mp4", "aac", video=True),
    "mkv": lambda: mux("matroska", "flac", video=True),
    "mp2": lambda: mux("mp2", "mp2"),
    "mpegts": lambda: mux("mpegts", "mp2", video=True),
    "mu-law wav": lambda: mux("wav", "pcm_mulaw", rate=8000),
    "adpcm wav": lambda: mux("wav", "adpcm_ima_wav"),
    "aiff": lambda: mux("aiff", "pcm_s16be"),
    "alac": lambda: mux("ipod", "alac"),
}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: make() for name, make in MAKERS.items()}


def refusal(source: Any, max_seconds: float = 60) -> AudioError:
    with pytest.raises(AudioError) as caught:
        decode(source, max_seconds=max_seconds)
    assert caught.value.param == "file"
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("name", MAKERS)
def test_format_is_decoded_to_16_khz_mono(name: str, files: dict[str, bytes]) -> None:
    audio = decode(files[name], max_seconds=60)
    assert audio.sample_rate == 16000
    assert audio.samples.dtype == np.float32
    assert audio.samples.ndim == 1
    assert 1.0 <= audio.seconds < 1.2
    assert amplitude(audio.samples[3200:12800], 440) == pytest.approx(0.4, rel=0.08)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 96000])
def test_rate_of_the_source_does_not_matter(rate: int) -> None:
    audio = decode(wav(rate), max_seconds=60)
    assert abs(len(audio.samples) - 16000) <= 1
    assert amplitude(audio.samples, 440) == pytest.approx(0.4, rel=0.01)


def test_other_rates_than_16_khz_can_be_had() -> None:
    audio = decode(wav(16000), sample_rate=24000, max_seconds=60)
    assert audio.sample_rate == 24000
    assert len(audio.samples) == 24000
    assert amplitude(audio.samples, 440, 24000) == pytest.approx(0.4, rel=0.01)


@pytest.mark.parametrize("name", ["wav", "mp3", "opus", "m4a"])
def test_a_reader_serves_as_well_as_bytes_and_stays_open(
    name: str, files: dict[str, bytes]
) -> None:
    with tempfile.SpooledTemporaryFile(100) as reader:
        reader.write(files[name])
        audio = decode(reader, max_seconds=60)
        assert not reader.closed
    assert np.array_equal(audio.samples, decode(files[name], max_seconds=60).samples)


def test_content_decides_and_not_the_name(tmp_path: Path, files: dict[str, bytes]) -> None:
    for name, lie in [("mp3", "a.wav"), ("wav", "a.mp3"), ("flac", "a.m3u8"), ("opus", "a.txt")]:
        path = tmp_path / lie
        path.write_bytes(files[name])
        with path.open("rb") as reader:
            assert decode(reader, max_seconds=60).seconds >= 1


def test_a_name_does_not_make_text_audio(tmp_path: Path) -> None:
    for name in ["a.mp3", "a.ac3", "a.aac"]:
        path = tmp_path / name
        path.write_bytes(b"Dear Sir or Madam,\n" * 200)
        with path.open("rb") as reader:
            assert "could not be decoded" in str(refusal(reader))


# Plain WAV


def test_16_bit_wav_is_exact() -> None:
    integers = np.random.default_rng(0).integers(-32768, 32768, 16000).astype("<i2")
    data = riff((b"fmt ", layout(1, 1, 16000, 16)), (b"data", integers.tobytes()))
    assert np.array_equal(decode(data, max_seconds=60).samples * 32768, integers)


def as_24_bit(samples: np.ndarray) -> bytes:
    return (samples * (1 << 23)).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


@pytest.mark.parametrize(
    ("tag", "bits", "convert"),
    [
        (1, 8, lambda x: (x * 128 + 128).astype(np.uint8).tobytes()),
        (1, 16, lambda x: (x * 32768).astype("<i2").tobytes()),
        (1, 24, as_24_bit),
        (1, 32, lambda x: (x * (1 << 31)).astype("<i4").tobytes()),
        (3, 32, lambda x: x.astype("<f4").tobytes()),
        (3, 64, lambda x: x.astype("<f8").tobytes()),
    ],
)
@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_sample_type_of_wav_is_read(
    tag: int, bits: int, convert: Callable[[np.ndarray], bytes], extensible: bool, channels: int
) -> None:
    said = np.repeat(tone(16000)[:, np.newaxis], channels, axis=1)
    guid = struct.pack("<H", tag) + bytes.fromhex("0000 0000 1000 8000 00aa 0038 9b71")
    mask = (1 << channels) - 1
    extra = struct.pack("<HHI", 22, bits, mask) + guid if extensible else b""
    head = layout(0xFFFE if extensible else tag, channels, 16000, bits, extra)
    audio = decode(riff((b"fmt ", head), (b"data", convert(said.ravel()))), max_seconds=60)
    assert np.allclose(audio.samples, tone(16000), atol=1.1 / (1 << (min(bits, 16) - 1)))


def test_channels_are_mixed() -> None:
    stereo = np.stack([tone(16000, hertz=440), tone(16000, hertz=1000)], axis=1)
    audio = decode(encode(stereo, "wav", 16000, 16000), max_seconds=60)
    assert amplitude(audio.samples, 440) == pytest.approx(0.2, rel=0.01)
    assert amplitude(audio.samples, 1000) == pytest.approx(0.2, rel=0.01)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 1_000_000])
def test_wav_of_unknown_or_wrong_size_is_read_to_its_end(size: int) -> None:
    data = bytearray(wav())
    data[4:8] = data[40:44] = struct.pack("<I", size)
    assert decode(bytes(data), max_seconds=60).seconds == 1.0


def test_odd_chunks_around_the_samples_are_passed_over() -> None:
    pcm = (tone(16000) * 32768).astype("<i2")
    data = riff(
        (b"JUNK", b"odd"),
        (b"fmt ", layout(1, 1, 16000, 16, b"\0\0")),
        (b"LIST", b"INFOISFT" + b"x" * 51),
        (b"data", pcm.tobytes()),
        (b"LIST", bytes(7777)),
    )
    assert np.array_equal(decode(data, max_seconds=60).samples * 32768, pcm)


def test_wav_cut_within_a_frame_is_read_to_the_frame_before() -> None:
    audio = decode(wav(channels=2)[:-3], max_seconds=60)
    assert len(audio.samples) == 15999


def test_samples_that_are_not_numbers_become_silence() -> None:
    said = tone(22050)
    said[100:200] = [np.nan, np.inf, -np.inf, 3e38] * 25
    said[300] = 7
    data = riff((b"fmt ", layout(3, 1, 22050, 32)), (b"data", said.astype("<f4").tobytes()))
    samples = decode(data, max_seconds=60).samples
    assert np.isfinite(samples).all()
    assert np.max(np.abs(samples)) <= 1
    assert amplitude(samples, 440) == pytest.approx(0.4, rel=0.05)


# What is refused


def test_empty_upload_is_named_as_such() -> None:
    assert "empty" in str(refusal(b""))
    assert "empty" in str(refusal(io.BytesIO()))


@pytest.mark.parametrize(
    "junk",
    [
        b"Dear Sir or Madam,\n" * 200,
        b"x",
        bytes(50_000),
        b"%PDF-1.7\n" + bytes(range(256)) * 100,
        b"RIFF\x24\x00\x00\x00WAVE",
        b"<!DOCTYPE html><html></html>",
        random.Random(1).randbytes(50_000),
    ],
    ids=["text", "x", "zeros", "pdf", "riff", "html", "noise"],
)
def test_what_is_not_audio_is_refused_with_what_would_be(junk: bytes) -> None:
    message = str(refusal(junk))
    assert "could not be decoded" in message
    assert "mp3" in message
    assert "webm" in message


def test_video_without_sound_is_refused() -> None:
    assert "no audio stream" in str(refusal(mux("mp4", "aac", video=True, audio=False)))


@pytest.mark.parametrize("name", ["flac", "opus", "m4a", "webm", "mp3", "vorbis"])
def test_file_cut_before_its_first_sound_is_refused(name: str, files: dict[str, bytes]) -> None:
    refusal(files[name][:60])


def test_wav_without_samples_is_too_short() -> None:
    error = refusal(riff((b"fmt ", layout(1, 1, 16000, 16)), (b"data", b"")))
    assert error.code == "audio_too_short"
    assert "0.000 seconds" in str(error)


def test_audio_under_a_tenth_of_a_second_is_too_short() -> None:
    error = refusal(wav(seconds=0.05))
    assert error.code == "audio_too_short"
    assert "0.050 seconds" in str(error)
    assert "0.1" in str(error)
    assert decode(wav(seconds=0.1), max_seconds=60).seconds == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["wav", "mp3", "opus", "flac", "m4a"])
def test_audio_over_the_limit_is_too_long(name: str, files: dict[str, bytes]) -> None:
    error = refusal(files[name], max_seconds=0.5)
    assert error.code == "audio_too_long"
    assert "longer than 0.5 seconds" in str(error)
    assert decode(files[name], max_seconds=1.2).seconds >= 1


class Counted(io.BytesIO):
    """Counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


@pytest.mark.parametrize("name", ["wav", "mp3"])
def test_decoding_stops_at_the_limit(name: str) -> None:
    reader = Counted(encode(np.tile(tone(RATE), 200), name, RATE, RATE))
    refusal(reader, max_seconds=2)
    assert reader.taken < len(reader.getvalue()) / 4


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 4_000_000_000, 0xFFFFFFFF])
@pytest.mark.parametrize("tag", [1, 7])
def test_absurd_rates_are_refused(rate: int, tag: int) -> None:
    bits = 16 if tag == 1 else 8
    refusal(riff((b"fmt ", layout(tag, 1, rate, bits)), (b"data", bytes(64_000))))


@pytest.mark.parametrize("channels", [0, 65, 65535])
@pytest.mark.parametrize("tag", [1, 7])
def test_absurd_numbers_of_channels_are_refused(channels: int, tag: int) -> None:
    bits = 16 if tag == 1 else 8
    refusal(riff((b"fmt ", layout(tag, channels, 16000, bits)), (b"data", bytes(64_000))))


def test_absurd_header_is_quoted() -> None:
    error = refusal(riff((b"fmt ", layout(1, 1, 4_000_000_000, 16)), (b"data", bytes(64_000))))
    assert "4000000000 hertz" in str(error)


def test_64_channels_are_not_absurd() -> None:
    assert decode(wav(channels=64), max_seconds=60).seconds == 1


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile secret.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    ],
    ids=["concat", "hls", "sdp"],
)
def test_playlists_open_no_other_file(
    playlist: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.wav").write_bytes(wav())
    monkeypatch.chdir(tmp_path)
    refusal(playlist.encode())


# Damage


@pytest.mark.parametrize("name", ["mp3", "adts", "flac", "wav", "mp3 stream", "opus stream"])
def test_what_came_before_a_cut_is_kept(name: str, files: dict[str, bytes]) -> None:
    data = files[name]
    assert 0.4 < decode(data[: len(data) // 2 + 100], max_seconds=60).seconds < 0.75


@pytest.mark.parametrize("name", ["mp3", "adts", "flac stream", "webm", "opus stream"])
def test_damage_in_the_middle_costs_little(name: str, files: dict[str, bytes]) -> None:
    data = bytearray(files[name])
    middle = len(data) // 2
    data[middle : middle + 40] = random.Random(2).randbytes(40)
    audio = decode(bytes(data), max_seconds=60)
    assert audio.seconds > 0.5
    assert amplitude(audio.samples[1600:4800], 440) == pytest.approx(0.4, rel=0.1)


def damaged(data: bytes, rng: random.Random) -> bytes:
    broken = bytearray(data)
    kind = rng.randrange(4)
    at = rng.randrange(len(broken))
    if kind == 0:
        del broken[at:]
    elif kind == 1:
        del broken[at : at + rng.randrange(1, 2000)]
    else:
        # Headers are where lies do harm, so half of the flips go there.
        reach = len(broken) if kind == 2 else min(200, len(broken))
        for _ in range(rng.choice((1, 3, 10, 50))):
            broken[rng.randrange(reach)] = rng.choice((0, 255, rng.randrange(256)))
    return bytes(broken)


def outcome(data: bytes) -> AudioChunk | AudioError:
    try:
        return decode(data, max_seconds=60)
    except AudioError as error:
        return error


@pytest.mark.parametrize("name", MAKERS)
def test_damage_raises_nothing_but_audio_errors(name: str, files: dict[str, bytes]) -> None:
    rng = random.Random(name)
    outcomes = [outcome(damaged(files[name], rng)) for _ in range(25)]
    heard = [each.samples for each in outcomes if isinstance(each, AudioChunk)]
    assert all(each.param == "file" for each in outcomes if isinstance(each, AudioError))
    assert all(np.isfinite(samples).all() for samples in heard)
    assert all(np.max(np.abs(samples)) <= 1 for samples in heard)


def test_packets_of_a_stream_that_was_never_announced_cost_little() -> None:
    data = bytearray(mux("mpegts", "mp2"))
    starts = [at for at in range(0, len(data), 188) if data[at + 1 : at + 3] == b"\x41\x00"]
    data[starts[-1] + 2] = 0x44
    assert decode(bytes(data), max_seconds=60).seconds > 0.5


# Leftovers


@pytest.fixture
def resources() -> Iterator[Callable[[], tuple[int, int]]]:
    """Count open files and native threads, with cyclic collection off."""
    gc.collect()
    gc.disable()
    yield lambda: (len(os.listdir(PROC / "fd")), len(os.listdir(PROC / "task")))
    gc.enable()


@pytest.mark.skipif(not PROC.is_dir(), reason="needs /proc")
@pytest.mark.parametrize("name", ["wav", "mp3", "opus", "flac", "mp4 with video"])
def test_nothing_is_left_behind(
    name: str, files: dict[str, bytes], resources: Callable[[], tuple[int, int]]
) -> None:
    decode(files[name], max_seconds=60)
    opened, threads = resources()
    decode(files[name], max_seconds=60)
    refusal(files[name], max_seconds=0.5)
    refusal(files[name][:40])
    now_opened, now_threads = resources()
    assert now_opened <= opened
    assert now_threads <= threads
