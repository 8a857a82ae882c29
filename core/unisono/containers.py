"""Read any audio file, block by block, trusting nothing that it says about itself."""

from __future__ import annotations

import io
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .audio import to_mono
from .errors import AudioError
from .ffmpeg import SUPPORTED, failures, open_container, samples_of
from .types import AudioChunk

_RATES = range(1000, 768_001)
_CHANNELS = range(1, 65)
_MAX_CHUNKS = 1000
"""How many chunks of a RIFF file are looked at before its samples must have come."""
_BLOCK = 1 << 18
"""Bytes of samples to read at a time."""

_PACKETS, _PACKETS_A_SECOND = 20_000, 1000
"""How many a file may consist of, and how many more for each second; Opus has up to 400. A packet
takes 30 µs, and may have a dozen bytes.
"""
_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2": "mp4", "matroska,webm": "webm"}
"""What to call the containers that FFmpeg calls by several names."""


class Block(NamedTuple):
    """Consecutive samples, already mono, and what they were; that may change on the way."""

    samples: np.ndarray
    """float32, of shape (frames,)."""
    rate: int
    """Hertz."""
    channels: int
    """Of the file."""
    format: str
    """Name of the container; empty for what came as samples."""


Blocks = Generator[Block, None, None]


def read_blocks(source: bytes | BinaryIO | AudioChunk) -> Blocks:
    """Yield the audio of a file, or samples as they are. Closing the generator closes the file.

    :param source: the file, or a seekable reader of it, which stays open, or samples.
    :raises AudioError: naming `file`: not audio, or nothing of it decodes.
    """
    if isinstance(source, AudioChunk):
        yield Block(to_mono(source.samples), source.sample_rate, 1, "")
        return
    file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
    file.seek(0)
    if not file.read(1):
        raise AudioError(f"The file is empty. {SUPPORTED}", param="file")
    wave = _find_wave(file)
    yield from _read_any(file) if wave is None else _read_wave(file, wave)


def _check(rate: int, channels: int) -> None:
    """Refuse headers that nothing may be allocated by.

    :raises AudioError: if a resampler for this could exhaust the machine.
    """
    if rate not in _RATES or channels not in _CHANNELS:
        raise AudioError(
            f"The file claims {channels} channels at {rate} hertz. At most {_CHANNELS[-1]} "
            f"channels at {_RATES[0]} to {_RATES[-1]} hertz can be decoded.",
            param="file",
        )


def _mono(values: np.ndarray) -> np.ndarray:
    """Average samples of any type, shaped (frames, channels)."""
    with np.errstate(over="ignore", invalid="ignore"):  # floating point may hold anything
        return to_mono(_floats(values))


def _floats(values: np.ndarray) -> np.ndarray:
    """Scale samples of any type to float32 in [-1, 1]."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    floats = values.astype(np.float32)
    if values.dtype.kind == "u":
        floats -= 128
    floats /= 1 << (8 * values.dtype.itemsize - 1)
    return floats


# Plain WAV: a minute takes 1 ms, through FFmpeg it would take 17.


@dataclass(frozen=True)
class _Wave:
    """Samples that the file's position stands before."""

    rate: int
    channels: int
    type: str
    """Of numpy; "i3" stands for three bytes, the lowest first."""
    size: int | None
    """Bytes that follow; None means all."""


_TYPES = {(1, 8): "u1", (1, 16): "<i2", (1, 24): "i3", (1, 32): "<i4", (3, 32): "<f4"}
"""By format tag and bits: 1 is integers, 3 is floating point."""


def _find_wave(file: BinaryIO) -> _Wave | None:
    """Go to the samples of a plain WAV file; None for anything else, back at its start.

    Source: Microsoft, "Multiple Channel Audio Data and WAVE Files", for the extensible format.
    """
    file.seek(0)
    head = file.read(12)
    wave = None
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        wave = _walk(file)
    if wave is None:
        file.seek(0)
    return wave


def _walk(file: BinaryIO) -> _Wave | None:
    layout = b""
    for _ in range(_MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return None
        name, size = struct.unpack("<4sI", header)
        if name == b"data":
            # Who streams does not know the size, and writes 0 or the greatest number instead.
            return _wave_of(layout, None if size in (0, 0xFFFFFFFF) else size)
        body = file.read(min(size, 40)) if name == b"fmt " else b""
        layout = layout or body
        file.seek(size - len(body) + size % 2, io.SEEK_CUR)
    return None


def _wave_of(layout: bytes, size: int | None) -> _Wave | None:
    if len(layout) < 16:
        return None
    tag, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", layout)
    if tag == 0xFFFE and len(layout) >= 26:
        (tag,) = struct.unpack_from("<H", layout, 24)  # the first field of the subformat's GUID
    type = _TYPES.get((tag, bits))
    if type is None:
        return None
    _check(rate, channels)
    return _Wave(rate, channels, type, size) if align == channels * bits // 8 else None


def _read_wave(file: BinaryIO, wave: _Wave) -> Blocks:
    frame = wave.channels * int(wave.type[-1])
    left = wave.size
    while True:
        most = _BLOCK // frame * frame
        raw = file.read(most if left is None else min(most, left))
        if left is not None:
            left -= len(raw)
        raw = raw[: len(raw) // frame * frame]
        if not raw:
            return
        if wave.type == "i3":
            wide = np.zeros((len(raw) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
            values = wide.view("<i4")
        else:
            values = np.frombuffer(raw, wave.type)
        samples = _mono(values.reshape(-1, wave.channels))
        yield Block(samples, wave.rate, wave.channels, "wav")


# Everything else, by FFmpeg.


def _read_any(file: BinaryIO) -> Blocks:
    with open_container(file) as container:
        stream = next((s for s in container.streams.audio if s.codec_context is not None), None)
        if stream is None:
            raise AudioError(f"The file has no audio stream. {SUPPORTED}", param="file")
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
        if rate and channels:  # 0 is unknown yet; each frame is checked in any case
            _check(rate, channels)
        empty = True
        format = _FORMATS.get(container.format.name, container.format.name)
        packets = container.demux(stream)
        for block in _joined(_frames(packets, format)):
            empty = False
            yield block
        if empty:
            raise AudioError("The file is damaged or cut off: nothing in it decodes.", param="file")


def _frames(packets: Iterator[Any], format: str) -> Blocks:
    """Decode what can be decoded, and pass over the rest.

    :raises AudioError: if the packets that hold hardly anything are too many.
    """
    credit = float(_PACKETS)
    while True:
        credit -= 1
        if credit < 0:
            message = "The file is damaged: it consists of pieces that hold next to nothing."
            raise AudioError(message, param="file")
        try:
            packet = next(packets, None)  # None too after the demuxer itself failed
            if packet is None:
                return
            frames = [(frame, samples_of(frame)) for frame in packet.decode()]
        except failures():
            continue
        for frame, values in frames:
            channels = frame.layout.nb_channels
            _check(frame.sample_rate, channels)
            credit += _PACKETS_A_SECOND * frame.samples / frame.sample_rate
            yield Block(_mono(values), frame.sample_rate, channels, format)


def _joined(frames: Blocks) -> Blocks:
    """Collect frames of one rate, as each may hold only some milliseconds."""
    waiting: list[np.ndarray] = []
    held, last = 0, None
    for block in frames:
        if last and (block.rate != last.rate or held >= _BLOCK // 8):
            yield last._replace(samples=np.concatenate(waiting))
            waiting, held = [], 0
        waiting.append(block.samples)
        held, last = held + len(block.samples), block
    if last:
        yield last._replace(samples=np.concatenate(waiting))
