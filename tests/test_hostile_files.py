"""Files made to do harm: each is refused, or heard for what it is, in bounded time and memory."""

from __future__ import annotations

import io
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from unisono.codecs import encode
from unisono.decoding import decode_long
from unisono.errors import AudioError

RATE = 16_000
MEGABYTES = 100
"""What one file may cost."""
SECONDS = 20.0
"""Of processor time, on a machine that may be very slow."""
STATM = Path("/proc/self/statm")


def resident() -> float:
    """Return the megabytes of memory in use; 0 where that cannot be told."""
    return int(STATM.read_text().split()[1]) * 4096 / 2**20 if STATM.exists() else 0.0


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Fail a test that takes much memory or time."""
    before = peak = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.process_time()
    yield
    taken = time.process_time() - began
    done.set()
    watcher.join()
    assert peak - before < MEGABYTES
    assert taken < SECONDS


def heard(data: bytes, max_seconds: float = 60) -> float:
    """Return the seconds of sound in a file."""
    spool = decode_long(data, max_seconds=max_seconds)
    spool.close()
    return spool.seconds


def refusal(data: bytes, max_seconds: float = 60) -> str:
    with pytest.raises(AudioError) as caught:
        heard(data, max_seconds)
    assert caught.value.param == "file"
    return str(caught.value)


def outcome(data: bytes, max_seconds: float = 60) -> float | None:
    """Return the seconds of sound, or None for a file that is refused rightly."""
    try:
        return heard(data, max_seconds)
    except AudioError as error:
        return None if error.param == "file" else pytest.fail(repr(error.param))


def mux(container: str, codec: str, seconds: float = 1, **options: Any) -> bytes:
    """Write a file of a tone with FFmpeg."""
    rate, layout = options.pop("rate", 48_000), options.pop("layout", "mono")
    channels = av.AudioLayout(layout).nb_channels
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout=layout)
        tone = 0.3 * np.sin(np.arange(round(rate * seconds)) * (2 * np.pi * 440 / rate))
        packed = np.repeat((tone * 32767).astype(np.int16), channels)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


# WAV


def wav(
    tag: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    align: int | None = None,
    size: int | None = None,
) -> bytes:
    """Return a WAV file with a second of 16-bit samples whose header says what it likes."""
    align = channels * bits // 8 if align is None else align
    layout = struct.pack("<HHIIHH", tag, channels, rate, rate * align % 2**32, align % 65536, bits)
    data = (3000 * np.sin(np.arange(RATE) / 6)).astype("<i2").tobytes()
    size = len(data) if size is None else size
    head = b"RIFF" + struct.pack("<I", (36 + size) % 2**32) + b"WAVEfmt \x10\0\0\0"
    return head + layout + b"data" + struct.pack("<I", size) + data


def test_a_header_that_claims_ten_hours_is_not_believed() -> None:
    assert heard(wav(size=36_000 * 2 * RATE)) == 1.0


@pytest.mark.parametrize("tag", [1, 2, 3, 7, 0x11, 0x55, 0xFF, 0x161])
@pytest.mark.parametrize("channels", [1, 64])
def test_a_header_of_768_khz_costs_nothing(tag: int, channels: int) -> None:
    seconds = outcome(wav(tag, channels, rate=768_000, bits=32 if tag == 3 else 16))
    assert seconds is None or seconds < 1


def test_768_khz_are_decoded() -> None:
    data = wav(rate=768_000)
    head, samples = data[:40], data[44:] * 24
    long = head + struct.pack("<I", len(samples)) + samples
    assert heard(long) == pytest.approx(0.5)


@pytest.mark.parametrize("tag", [1, 2, 3, 7, 0x11, 0x55, 0xFF, 0x161])
@pytest.mark.parametrize(
    "lie",
    [
        {"channels": 0},
        {"channels": 65_535},
        {"rate": 0},
        {"rate": 4_000_000_000},
        {"align": 0},
        {"align": 65_535},
        {"bits": 0},
        {"bits": 65_535},
    ],
    ids=str,
)
def test_a_header_that_lies_does_no_harm(tag: int, lie: dict[str, int]) -> None:
    seconds = outcome(wav(tag, **lie))
    assert seconds is None or seconds < 10


# MP4


def atom(name: str, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), name.encode()) + body


STBL = ("moov", "trak", "mdia", "minf", "stbl")


def replaced(data: bytes, path: tuple[str, ...], body: bytes) -> bytes:
    """Return an MP4 file with another box in the place of one; the sizes around it follow."""
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == path[0].encode():
            inside = data[at + 8 : at + size]
            if len(path) > 1:
                body = replaced(inside, path[1:], body)
            return data[:at] + atom(path[0], body) + data[at + size :]
        at += size
    return data + atom(path[0], body)


def announcing(samples: int, step: int = 1024, boxes: int = 1) -> bytes:
    """Return an MP4 file of a kilobyte with this many samples of a byte, all in one chunk."""
    data = mux("mp4", "aac")
    sizes = struct.pack(">III", 0, 1, samples)
    data = replaced(data, (*STBL, "stsz"), sizes)
    data = replaced(data, (*STBL, "stsc"), struct.pack(">IIIII", 0, 1, 1, samples, 1))
    return replaced(data, (*STBL, "stts"), struct.pack(">IIII", 0, 1, samples, step))


def test_an_mp4_that_claims_ten_hours_is_not_believed() -> None:
    data = mux("mp4", "aac")
    for path, scale in ((("moov", "mvhd"), 1000), (("moov", "trak", "mdia", "mdhd"), 48_000)):
        at = data.index(path[-1].encode()) + 4
        box = data[at : at + 100]
        lie = box[:16] + struct.pack(">I", 36_000 * scale) + box[20:24]
        data = data[:at] + lie + data[at + len(lie) :]
    assert heard(data) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("samples", [50_000_000, 170_000_000, 0xFFFFFFFF])
def test_an_mp4_of_a_kilobyte_cannot_announce_millions_of_samples(samples: int) -> None:
    assert "announces" in refusal(announcing(samples))


@pytest.mark.parametrize("place", ["mdia", "free", "udta", "trak"])
def test_nor_can_it_hide_them(place: str) -> None:
    data = announcing(100_000_000)
    moov = data[data.index(b"moov") - 4 :]
    refusal(data[: len(data) - len(moov)] + atom(place, moov))


def test_nor_can_it_by_a_size_in_eight_bytes() -> None:
    data = announcing(100_000_000)
    at = data.index(b"stsz")
    long = struct.pack(">I4sQ", 1, b"stsz", 28) + data[at + 4 : at + 16]
    inside = data[data.index(b"stbl") + 4 :]
    stbl = inside.replace(data[at - 4 : at + 16], long)
    assert "announces" in refusal(replaced(data, STBL, stbl))


def test_nor_can_it_in_many_tracks() -> None:
    data = announcing(500_000)
    moov = data[data.index(b"moov") + 4 :]
    trak = moov[moov.index(b"trak") - 4 :]
    many = replaced(data, ("moov",), moov + trak * 50)
    assert "announces" in refusal(many)


def test_nor_can_it_by_chunks_of_pcm() -> None:
    data = mux("mov", "pcm_s16le")
    rows = struct.pack(">IIIII", 0, 1, 1, 0xFFFFFFFF, 1)
    assert "announces" in refusal(replaced(data, (*STBL, "stsc"), rows))


def test_fragments_cannot_announce_millions_of_samples() -> None:
    data = bytearray(mux("mp4", "aac", movflags="frag_keyframe+empty_moov+default_base_moof"))
    at = data.index(b"trun") + 8
    data[at : at + 4] = struct.pack(">I", 100_000_000)
    assert "announces 100000000 " in refusal(bytes(data))


def test_edits_of_an_mp4_cannot_multiply_its_samples() -> None:
    edits = struct.pack(">II", 0, 1000) + struct.pack(">IiHH", 20_000_000, 0, 1, 0) * 1000
    data = replaced(announcing(100_000), ("moov", "trak", "edts"), atom("elst", edits))
    assert outcome(data) is None


def test_more_edits_than_can_be_afforded_are_not_made() -> None:
    plain = mux("mp4", "aac", seconds=20)
    edits = struct.pack(">II", 0, 3000) + struct.pack(">IiHH", 20_000, 0, 1, 0) * 3000
    data = replaced(plain, ("moov", "trak", "edts"), atom("elst", edits))
    assert heard(data) == pytest.approx(20, abs=0.2)


def test_a_compressed_header_is_refused() -> None:
    data = replaced(mux("mp4", "aac"), ("moov", "cmov"), atom("cmvd", bytes(100)))
    assert "compressed" in refusal(data)


@pytest.mark.parametrize(
    ("container", "codec"), [("mov", "pcm_s16le"), ("mp4", "aac"), ("ipod", "alac")]
)
def test_honest_files_are_not_suspected(container: str, codec: str) -> None:
    # Of PCM, each pair of bytes is a sample: two million in these 50 seconds.
    assert heard(mux(container, codec, seconds=50)) == pytest.approx(50, abs=0.1)


# More channels, samples and packets than anybody needs


@pytest.mark.parametrize(
    ("container", "codec", "layout"),
    [
        ("matroska", "aac", "5.1"),
        ("matroska", "aac", "7.1"),
        ("adts", "aac", "7.1"),
        ("ogg", "libopus", "7.1"),
        ("matroska", "wavpack", "7.1"),
        ("matroska", "wavpack", "hexadecagonal"),
    ],
)
def test_many_channels_are_mixed(container: str, codec: str, layout: str) -> None:
    assert heard(mux(container, codec, layout=layout)) == pytest.approx(1, abs=0.1)


def tracks(count: int) -> bytes:
    """Return a file of this many tracks of eight channels."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        streams = [output.add_stream("aac", rate=48_000, layout="7.1") for _ in range(count)]
        for stream in streams:
            silence = np.zeros((1, 8 * 9600), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="flt", layout="7.1")
            frame.sample_rate, frame.pts = 48_000, 0
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return file.getvalue()


def test_of_several_tracks_the_first_is_heard() -> None:
    assert heard(tracks(8)) == pytest.approx(0.2, abs=0.05)


@pytest.fixture(scope="module")
def crowd() -> bytes:
    """A file of hundreds of tracks, made before anything is measured."""
    return tracks(200)


def test_hundreds_of_tracks_are_not_opened(crowd: bytes) -> None:
    refusal(crowd)


def crc(data: bytes, polynomial: int, bits: int) -> int:
    """Return a cyclic redundancy check as FLAC has them."""
    value = 0
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
    return value


def flac(frames: int, rates: tuple[int, ...], block: int = 16, channels: int = 1) -> bytes:
    """Return a FLAC file of silence in frames of constant value, at these rates in turn."""
    ready = []
    for number, rate in zip(range(128), cycle(rates), strict=False):
        unit, code = (rate // 10, 14) if rate > 65_535 else (rate, 13)
        head = bytes([0xFF, 0xF8, 0x70 | code, (channels - 1) << 4 | 8, number])
        head += struct.pack(">HH", block - 1, unit)
        head += bytes([crc(head, 7, 8)])
        body = head + bytes(3 * channels)
        ready.append(body + struct.pack(">H", crc(body, 0x8005, 16)))
    layout = rates[0] << 44 | (channels - 1) << 41 | 15 << 36
    info = struct.pack(">HH6xQ16x", block, block, layout)
    return b"fLaC\x80\0\0\x22" + info + b"".join(islice(cycle(ready), frames))


def test_an_hour_in_a_small_file_ends_at_the_limit() -> None:
    data = flac(4000, (48_000,), block=65_535)
    assert len(data) < 70_000
    assert "longer than 60 seconds" in refusal(data)


def test_samples_in_all_channels_are_limited() -> None:
    data = flac(2000, (655_350,), block=65_535, channels=8)
    assert "8 channels at 655350 hertz" in refusal(data, max_seconds=300)


def test_a_file_of_packets_that_hold_hardly_anything_is_given_up() -> None:
    assert "next to nothing" in refusal(flac(200_000, (44_100,)), max_seconds=7200)


def test_a_sample_rate_that_changes_all_the_time_is_refused() -> None:
    assert "changes more than" in refusal(flac(10_000, (44_100, 47_999), block=4096), 7200)


def test_a_sample_rate_may_change_now_and_then() -> None:
    parts = [mux("mp3", "mp3", rate=rate, write_xing="0") for rate in (44_100, 48_000) * 3]
    assert heard(b"".join(parts)) == pytest.approx(6, abs=0.5)


@pytest.mark.parametrize("field", range(8, 42))
def test_a_lying_streaminfo_does_no_harm(field: int) -> None:
    data = bytearray(flac(50, (16_000,), block=4096))
    data[field] = 0xFF
    seconds = outcome(bytes(data))
    assert seconds is None or seconds < 300


@pytest.mark.parametrize("value", [0, 2**40, 2**63 - 1, 2**63, 2**64 - 1])
def test_positions_in_an_ogg_file_are_not_believed(value: int) -> None:
    data = bytearray(encode(np.full(3 * 24_000, 0.1, np.float32), "opus", 24_000, 24_000))
    pages = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    for at, end in zip(pages, [*pages[1:], len(data)], strict=True):
        data[at + 6 : at + 14] = struct.pack("<Q", value)
        data[at + 22 : at + 26] = bytes(4)
        data[at + 22 : at + 26] = struct.pack("<I", crc(bytes(data[at:end]), 0x04C11DB7, 32))
    seconds = outcome(bytes(data))
    assert seconds is None or seconds < 4


# Cut off, and filled with anything

FORMATS = {
    "mp3": ("mp3", "mp3"),
    "ogg": ("ogg", "libopus"),
    "flac": ("flac", "flac"),
    "m4a": ("mp4", "aac"),
    "webm": ("webm", "libopus"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_of_a_file_that_was_cut_what_is_there_is_heard(name: str) -> None:
    data = mux(*FORMATS[name], seconds=10)
    for tenth in range(10):
        seconds = outcome(data[: len(data) * tenth // 10])
        if name == "m4a":  # what is said about the samples comes after them
            assert seconds is None
        elif tenth > 1:
            assert seconds == pytest.approx(tenth, abs=1.1)


MAGIC = {
    "riff": b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0",
    "rf64": b"RF64\xff\xff\xff\xffWAVEds64",
    "id3": b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
    "mp3": b"\xff\xfb\x90\x64",
    "adts": b"\xff\xf1\x50\x80",
    "flac": b"fLaC\0\0\0\x22",
    "ogg": b"OggS\0\x02",
    "webm": b"\x1aE\xdf\xa3",
    "mp4": b"\0\0\0\x20ftypisom",
    "moov": b"\0\0\0\x18ftypisom" + bytes(12) + b"\x7f\xff\xff\xffmoov",
    "flv": b"FLV\1\5\0\0\0\x09",
    "asf": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "caf": b"caff\0\1\0\0desc",
    "aiff": b"FORM\x7f\xff\xff\xffAIFFCOMM",
    "au": b".snd\0\0\0\x18",
    "mpegts": b"G@\0\x10",
    "mpeg": b"\0\0\1\xba",
    "w64": b"riff.\x91\xcf\x11\xa5\xd6(\xdb\x04\xc1\0\0",
    "ac3": b"\x0bw",
    "playlist": b"#EXTM3U\n",
    "concat": b"ffconcat version 1.0\n",
}


@pytest.mark.parametrize("name", MAGIC)
def test_anything_after_the_first_bytes_does_no_harm(name: str) -> None:
    noise = random.Random(name).randbytes(500_000)
    for rest in (noise, bytes(500_000), b"\xff" * 500_000, (MAGIC[name] + bytes(20)) * 10_000):
        seconds = outcome(MAGIC[name] + rest)
        assert seconds is None or seconds < 2


LIES = (b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\x02\xff\xff\xff", bytes(4))


def test_numbers_in_headers_can_be_anything() -> None:
    rng = random.Random(7)
    files = [mux(*kinds) for kinds in FORMATS.values()]
    files += [mux("matroska", "wavpack"), mux("caf", "alac"), mux("mov", "pcm_s16le"), wav()]
    files.append(mux("mp4", "aac", movflags="frag_keyframe+empty_moov"))
    for data in files:
        reach = [*range(min(600, len(data) - 8)), *range(max(0, len(data) - 900), len(data) - 8)]
        for at in rng.sample(reach, 60):
            lie = rng.choice(
                [b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\x02\xff\xff\xff", bytes(4)]
            )
            outcome(data[:at] + lie + data[at + 4 :])


# Over HTTP


@pytest.fixture(scope="module")
def url(module_serve: Callable[..., Any]) -> str:
    limits = {"audio_seconds": 60}
    return f"{module_serve({'limits': limits}).url}/v1/audio/transcriptions"


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("100 MB of zeros", lambda: bytes(100 * 2**20)),
        ("an hour of FLAC", lambda: flac(4000, (48_000,), block=65_535)),
        ("samples", lambda: announcing(0xFFFFFFFF)),
        ("4 GHz", lambda: wav(rate=4_000_000_000)),
        ("65535 channels", lambda: wav(channels=65_535)),
        ("768 kHz", lambda: wav(rate=768_000)),
        ("noise", lambda: random.Random(1).randbytes(1_000_000)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hostile_upload_is_refused(url: str, name: str, make: Callable[[], bytes]) -> None:
    answer = httpx.post(url, files={"file": ("a.mp3", io.BytesIO(make()))}, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "file"


@pytest.mark.parametrize("layout", ["mono", "7.1"])
def test_a_usable_upload_is_transcribed(url: str, layout: str) -> None:
    answer = httpx.post(url, files={"file": mux("mp4", "aac", seconds=1, layout=layout)})
    assert answer.json()["text"].startswith("second 0.")
