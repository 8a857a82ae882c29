"""Decode any upload to mono audio within limits, or only see what it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from .audio import Resampler, finite
from .containers import Blocks, read_blocks
from .errors import AudioError
from .spool import Spool
from .types import AudioChunk

_MIN_SECONDS = 0.1
_DENSEST = 8 * 48_000
"""Samples of all channels for each second of the longest audio. Without this, some megabytes of
FLAC could be hours of eight channels at 655 kilohertz, which take minutes to decode.
"""
_FEW = 2**28
"""Samples that any file may have; they take a second."""
_MOST_CHANGES = 100
"""How often the sample rate may change: each change costs milliseconds, a resampler."""


@dataclass(frozen=True)
class Recording:
    """What an audio file turned out to be."""

    duration: float
    """Seconds."""
    sample_rate: int
    channels: int
    frames: int
    format: str
    """Of the container: "wav", "mp3", "mp4", "webm", "ogg", "flac" …"""


def decode(
    source: bytes | BinaryIO | AudioChunk, *, sample_rate: int = 16_000, max_seconds: float
) -> AudioChunk:
    """Decode an audio file, or the audio of a video, to mono.

    What the file is shows in its content; its name and the lengths that it declares count for
    nothing. Of a damaged file, what can be decoded is. Blocks: call it on a worker thread.

    :param source: the file, or a seekable reader of it, which stays open, or samples.
    :param sample_rate: hertz of the result.
    :param max_seconds: longest audio allowed; decoding stops as soon as there is more.
    :raises AudioError: naming `file`: not audio, nothing decodable, too short or too long.
    """
    # Closing the reader closes the container, also when the audio turns out too long half-way.
    with closing(read_blocks(source)) as blocks:
        parts = list(_resampled(_within(blocks, max_seconds), sample_rate))
    return AudioChunk(np.concatenate(parts), sample_rate)


def decode_long(
    source: bytes | BinaryIO | AudioChunk, *, sample_rate: int = 16_000, max_seconds: float
) -> Spool:
    """Decode likewise, but with little memory, however long the audio is.

    :return: what is to be closed when it has been read.
    """
    spool = Spool(sample_rate)
    try:
        with closing(read_blocks(source)) as blocks:
            for part in _resampled(_within(blocks, max_seconds), sample_rate):
                spool.write(part)
    except BaseException:
        spool.close()
        raise
    return spool


def examine(source: bytes | BinaryIO, *, max_seconds: float) -> Recording:
    """Decode an audio file as `decode` does, but only to see what it is.

    Memory stays small, however long the audio is. Blocks: call it on a worker thread.

    :param source: the file, or a seekable reader of it, which stays open.
    :param max_seconds: longest audio allowed; decoding stops as soon as there is more.
    :raises AudioError: naming `file`: not audio, nothing decodable, too short or too long.
    """
    with closing(read_blocks(source)) as blocks:
        sizes = [
            (len(block.samples), block.rate, block.channels, block.format)
            for block in _within(blocks, max_seconds)
        ]
    _, rate, channels, format = sizes[0]
    frames = sum(count for count, *_ in sizes)
    duration = sum(count / rate for count, rate, *_ in sizes)
    return Recording(round(duration, 6), rate, channels, frames, format)


def _within(blocks: Blocks, max_seconds: float) -> Blocks:
    """Pass the blocks on while they stay within the limits."""
    seconds, samples, rate, changes = 0.0, 0, 0, -1
    most = max(_FEW, int(max_seconds * _DENSEST))
    for block in blocks:
        seconds += len(block.samples) / block.rate
        samples += len(block.samples) * block.channels
        changes += block.rate != rate
        rate = block.rate
        if samples > most:
            raise AudioError(
                f"The audio has {block.channels} channels at {rate} hertz, and more than {most} "
                "samples in all, the most that are accepted.",
                param="file",
                code="audio_too_long",
            )
        if changes > _MOST_CHANGES:
            raise AudioError(
                f"The sample rate of the audio changes more than {_MOST_CHANGES} times.",
                param="file",
            )
        if seconds > max_seconds:
            raise AudioError(
                f"The audio is longer than {max_seconds:g} seconds, the most that is accepted.",
                param="file",
                code="audio_too_long",
            )
        yield block
    if seconds < _MIN_SECONDS:
        raise AudioError(
            f"The audio lasts {seconds:.3f} seconds; at least {_MIN_SECONDS} are needed.",
            param="file",
            code="audio_too_short",
        )


def _resampled(blocks: Blocks, sample_rate: int) -> Iterator[np.ndarray]:
    """Yield the samples of the blocks at another rate, within [-1, 1]."""
    resampler = Resampler(sample_rate, sample_rate)
    rate = sample_rate
    for block in blocks:
        if block.rate != rate:
            yield _clipped(resampler.finish())
            resampler = Resampler(block.rate, sample_rate)
            rate = block.rate
        # Floating point may hold anything, and a resampler makes NaN of the greatest numbers.
        yield _clipped(resampler.write(_clipped(finite(block.samples))))
    yield _clipped(resampler.finish())


def _clipped(samples: np.ndarray) -> np.ndarray:
    clipped: np.ndarray = np.clip(samples, np.float32(-1), np.float32(1))
    return clipped
