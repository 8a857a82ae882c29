"""WAV: read while it arrives, and written as a whole."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np

_HEADER_BYTES = 4096
"""Longest header worth waiting for."""
_PCM = (1, 0xFFFE)
_TYPES = {16: "<i2", 32: "<i4"}


class WavReader:
    """Takes apart a mono WAV that comes in pieces, cut anywhere.

    :raises ValueError: from `feed`, if it is no such file.
    """

    def __init__(self) -> None:
        self.sample_rate = 0
        """Hertz; 0 as long as the header is not there."""
        self._type = np.dtype("<i2")
        self._rest = b""
        self._left: int | None = None
        """Bytes that are still to come, if the header says it: that of a stream says 0."""

    def feed(self, data: bytes) -> np.ndarray:
        """Return the samples that are complete, float32 in [-1, 1], maybe none."""
        self._rest += data
        if not self.sample_rate and not self._read_header():
            return np.empty(0, np.float32)
        width = self._type.itemsize
        usable = len(self._rest) if self._left is None else min(len(self._rest), self._left)
        usable -= usable % width
        samples = np.frombuffer(self._rest, self._type, usable // width)
        self._rest = self._rest[usable:]
        if self._left is not None:
            self._left -= usable
        scaled: np.ndarray = samples.astype(np.float32) / np.float32(2.0 ** (8 * width - 1))
        return scaled

    @property
    def complete(self) -> bool:
        """Whether all that the header announced has come, in whole samples."""
        if self._left is None:
            return bool(self.sample_rate) and not self._rest
        return self._left == 0

    def _read_header(self) -> bool:
        """Read up to the samples; say whether it is all there."""
        data, at = self._rest, 12
        if data[:4] != b"RIFF"[: len(data)] or data[8:12] != b"WAVE"[: max(0, len(data) - 8)]:
            raise ValueError("it is no WAV")
        rate = 0
        while len(data) >= at + 8:
            name, size = struct.unpack_from("<4sI", data, at)
            at += 8
            if name == b"data":
                if not rate:
                    raise ValueError("it is a WAV without a format")
                self.sample_rate = rate
                self._left = None if size in (0, 0xFFFFFFFF) else size
                self._rest = data[at:]
                return True
            if name == b"fmt " and len(data) >= at + 16:
                rate = self._read_format(data, at)
            at += size + size % 2
        if len(data) > _HEADER_BYTES:
            raise ValueError("it is a WAV whose header has no end")
        return False

    def _read_format(self, data: bytes, at: int) -> int:
        kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, at)
        if kind not in _PCM or channels != 1 or bits not in _TYPES or not rate:
            raise ValueError(f"it is a WAV of kind {kind}, {channels} channels, {bits} bits")
        self._type = np.dtype(_TYPES[bits])
        return int(rate)


def wav_file(samples: np.ndarray, sample_rate: int) -> bytes:
    """Return a WAV of 16 bits.

    :param samples: float, (frames,) or (frames, channels).
    """
    scaled = np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        writer.setparams((channels, 2, sample_rate, len(scaled), "NONE", ""))
        writer.writeframes(scaled.tobytes())
    return file.getvalue()
