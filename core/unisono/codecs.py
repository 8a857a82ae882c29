"""Encode speech while it is made: samples in, bytes of a finished format out.

No temporary file, no subprocess: MP3 by LAME; Opus, AAC and FLAC by FFmpeg; WAV and PCM by hand.
Importing this module loads none of the libraries; `warm_up` does.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from .audio import Resampler, resample, to_channels, to_int16
from .errors import RequestError

_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)
_UNKNOWN = 0xFFFFFFFF
"""The size in the header of a WAV stream whose end nobody knows yet; OpenAI sends it too."""


@dataclass(frozen=True)
class Format:
    """One value of `response_format`."""

    name: str
    media_type: str
    rates: tuple[int, ...] = _RATES
    """Sample rates that it can carry, in hertz, ascending."""
    assumed_rate: int | None = None
    """Hertz that clients take for granted; None means that the payload says its rate."""
    whole: bool = False
    """Whether encoding complete audio in one go gains anything, such as a true header."""


_KBITS = {
    "mp3": ((12_000, 32), (16_000, 48), (24_000, 64), (32_000, 96), (48_000, 128)),
    "opus": ((12_000, 32), (24_000, 48), (48_000, 64)),
}
"""Bit rates that suit speech: kbit/s per channel, up to each sample rate."""

FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format("mp3", "audio/mpeg", rates=_RATES[:9]),
        Format("opus", "audio/ogg", rates=(8000, 12000, 16000, 24000, 48000)),
        Format("aac", "audio/aac"),
        Format("flac", "audio/flac", whole=True),
        Format("wav", "audio/wav", assumed_rate=24000, whole=True),
        Format("pcm", "audio/pcm", assumed_rate=24000, whole=True),
    )
}
"""Every format by its name. AAC comes in ADTS frames, PCM is s16le without a header."""


def output_rate(format: str, native_rate: int, requested: int | None = None) -> int:
    """Choose the sample rate to encode at, in hertz.

    :param native_rate: the engine's own rate: kept if the format can carry it, else the next
        higher one that it can, so that nothing audible is lost. WAV and PCM are 24 000 instead.
    :param requested: what the client asked for.
    :raises RequestError: if the format cannot carry `requested`.
    """
    carried = FORMATS[format]
    if requested is not None:
        if requested not in carried.rates:
            allowed = ", ".join(map(str, carried.rates))
            raise RequestError(
                f"The format {format!r} cannot carry {requested} hertz. Choose one of {allowed}.",
                param="sample_rate",
            )
        return requested
    if carried.assumed_rate is not None:
        return carried.assumed_rate
    return carried.rates[min(bisect_left(carried.rates, native_rate), len(carried.rates) - 1)]


def is_cheap(format: str, rate_in: int, rate_out: int) -> bool:
    """Say whether encoding costs so little that it may run on the event loop."""
    return rate_in == rate_out and format in ("wav", "pcm")


class Encoder:
    """Encode one stream incrementally.

    The first bytes come after 100 ms of audio, except that AAC needs 2048 samples and that
    resampling adds 40 to 80 ms. One thread at a time, not always the same. Samples with other
    channels than the stream's are mixed or repeated.

    :param format: a key of `FORMATS`.
    :param rate_in: hertz of the samples.
    :param rate_out: hertz of the result; see `output_rate`.
    :param channels: of the result: 1 or 2.
    """

    def __init__(self, format: str, rate_in: int, rate_out: int, channels: int = 1) -> None:
        self.frames = 0
        """Frames encoded so far, which a file's header may state in the end."""
        self._channels = channels
        self._resampler = Resampler(rate_in, rate_out, channels)
        self._coder: _Coder | None = _coder(format, rate_out, channels)

    def write(self, samples: np.ndarray) -> bytes:
        """Return the bytes that are ready, maybe none; ValueError after `finish` or `close`."""
        if self._coder is None:
            raise ValueError("The encoder is closed.")
        ready = self._resampler.write(to_channels(samples, self._channels))
        self.frames += len(ready)
        return self._coder.write(to_int16(ready))

    def finish(self) -> bytes:
        """Return the last bytes, and close.

        :raises ValueError: after `finish` or `close`.
        """
        if self._coder is None:
            raise ValueError("The encoder is closed.")
        try:
            ready = self._resampler.finish()
            self.frames += len(ready)
            return self._coder.write(to_int16(ready)) + self._coder.finish()
        finally:
            self.close()

    def close(self) -> None:
        """Release the codec and its threads at once. May be called at any time, repeatedly."""
        coder, self._coder = self._coder, None
        if coder is not None:
            coder.close()


def encode(samples: np.ndarray, format: str, rate_in: int, rate_out: int) -> bytes:
    """Encode a whole recording. Unlike a stream, WAV and FLAC then state their true length.

    :param samples: one or two channels stay so; more are mixed to one.
    """
    channels = 2 if samples.ndim == 2 and samples.shape[1] == 2 else 1
    ready = resample(to_channels(samples, channels), rate_in, rate_out)
    coder = _coder(format, rate_out, channels, frames=len(ready))
    try:
        return coder.write(to_int16(ready)) + coder.finish()
    finally:
        coder.close()


def warm_up() -> None:
    """Load the codecs' libraries and use each once, so that no request has to wait for that."""
    for name in FORMATS:
        encode(np.zeros(2400, np.float32), name, 22050, 24000)


def _kbits(format: str, rate: int, channels: int) -> int:
    return channels * next(kbits for top, kbits in _KBITS[format] if rate <= top)


_Coder: TypeAlias = "_Raw | _Lame | _Ffmpeg"
"""Turns int16, shaped as the stream, into bytes; `finish` comes last, `close` in any case."""


def _coder(format: str, rate: int, channels: int, frames: int | None = None) -> _Coder:
    if format in ("wav", "pcm"):
        return _Raw(_wav_header(rate, channels, frames) if format == "wav" else b"")
    if format == "mp3":
        return _Lame(rate, channels)
    return _Ffmpeg(format, rate, channels, whole=frames is not None)


def _wav_header(rate: int, channels: int, frames: int | None) -> bytes:
    """Make the RIFF header (Microsoft, "Multimedia Data Standards Update", 1994)."""
    width = 2 * channels
    size = _UNKNOWN if frames is None else min(frames * width, _UNKNOWN)
    riff = min(size + 36, _UNKNOWN)
    layout = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * width, width, 16)
    return b"RIFF%bWAVEfmt %bdata%b" % (struct.pack("<I", riff), layout, struct.pack("<I", size))


class _Raw:
    """PCM as it is, after a header."""

    def __init__(self, header: bytes) -> None:
        self._header = header

    def write(self, pcm: np.ndarray) -> bytes:
        header, self._header = self._header, b""
        return header + pcm.tobytes()

    def finish(self) -> bytes:
        return self._header

    def close(self) -> None:
        pass


class _Lame:
    """MP3 of a constant bit rate, at a quarter of what FFmpeg's own wrapper of LAME costs."""

    def __init__(self, rate: int, channels: int) -> None:
        import lameenc  # noqa: PLC0415 - loaded by `warm_up`

        self._lame: Any = lameenc.Encoder()
        self._lame.silence()
        self._lame.set_bit_rate(_kbits("mp3", rate, channels))
        self._lame.set_in_sample_rate(rate)
        self._lame.set_out_sample_rate(rate)
        self._lame.set_channels(channels)
        self._lame.set_quality(7)  # 1.5 ms per second of speech; 5 costs twice that
        self._lame.encode(b"")  # else it refuses to end a stream of no samples

    def write(self, pcm: np.ndarray) -> bytes:
        return bytes(self._lame.encode(pcm.tobytes()))

    def finish(self) -> bytes:
        return bytes(self._lame.flush())

    def close(self) -> None:
        self._lame = None


class _Sink:
    """Where FFmpeg writes a stream. It cannot seek, so no muxer goes back to its header."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken


class _Ffmpeg:
    """Opus, AAC and FLAC through PyAV.

    :param whole: the recording comes in one write: larger pages, and a header with the length.
    """

    _CODECS: ClassVar = {"opus": ("ogg", "libopus"), "aac": ("adts", "aac"), "flac": ("flac",) * 2}

    def __init__(self, format: str, rate: int, channels: int, *, whole: bool) -> None:
        import av  # noqa: PLC0415 - loaded by `warm_up`

        self._frame_type = av.AudioFrame
        self._layout = "mono" if channels == 1 else "stereo"
        self._rate = rate
        self._written = 0
        self._whole = whole
        self._sink: Any = io.BytesIO() if whole else _Sink()
        container, codec = self._CODECS[format]
        muxing = {"metadata_header_padding": "0"} if format == "flac" else {}  # it pads with 8 KB
        if format == "opus" and not whole:
            muxing["page_duration"] = "20000"  # µs; else Ogg lets nothing go for two seconds
        self._container: Any = av.open(self._sink, "w", format=container, container_options=muxing)
        coding = _coding(format, rate, channels, whole=whole)
        self._stream: Any = self._container.add_stream(
            codec, rate, options=coding, layout=self._layout
        )

    def write(self, pcm: np.ndarray) -> bytes:
        if len(pcm):
            frame = self._frame_type(format="s16", layout=self._layout, samples=len(pcm))
            frame.planes[0].update(pcm.tobytes())
            frame.sample_rate = self._rate
            frame.pts = self._written
            self._written += len(pcm)
            self._container.mux(self._stream.encode(frame))
        return b"" if self._whole else self._sink.take()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        rest: bytes = self._sink.getvalue() if self._whole else self._sink.take()
        return rest

    def close(self) -> None:
        # Container and stream refer to each other. Only once the container is closed do the
        # encoder's threads end with the last reference instead of at some later collection.
        self._container.close()
        self._container = self._stream = None


def _coding(format: str, rate: int, channels: int, *, whole: bool) -> dict[str, str]:
    """Choose the encoder's options: https://ffmpeg.org/ffmpeg-codecs.html."""
    if format == "opus":
        return {
            "b": f"{_kbits(format, rate, channels)}k",
            "vbr": "constrained",  # else half as much again goes into voiced speech
            "application": "audio",
            "compression_level": "5",
        }
    if format == "aac":
        # A constant quality, about 64 kbit/s a channel, spares the rate control's second tries.
        return {"aac_coder": "fast", "flags": "+qscale", "global_quality": "118"}
    return {} if whole else {"frame_size": str(rate // 25)}
