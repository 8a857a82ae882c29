"""What the index of an MP4 file would cost: one number in it may announce a billion samples.

FFmpeg makes some 36 bytes for each sample that is announced, even if all have one size and the
file is a kilobyte, and makes them again for each edit. Of samples that last one tick (PCM), it
makes one entry for 1024.
Source: ISO/IEC 14496-12, sections 8.4.3, 8.6, 8.7 and 8.8.8; FFmpeg, `mov_build_index`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from .errors import AudioError

_SAMPLES = 1_000_000
"""How many any file may announce: two hours of AAC are 340 000."""
_BYTES = 32
"""Size of a sample, on average, in a file that announces more."""
_EDITED = 2_500_000
"""Entries of the index that edits may lead to."""
_BOXES = 200_000
"""How many one after the other are looked at."""
_CHUNK = 1 << 20
_NAMES = re.compile(rb"cmvd|co64|elst|hdlr|stco|stsc|stsz|stts|trak|trun")


class _Box(NamedTuple):
    name: bytes
    numbers: tuple[int, int, int]
    """The first ones after version and flags."""
    content: int
    """Where they are in the file."""


def check_index(file: BinaryIO) -> bool:
    """Refuse a file whose index would not fit into memory.

    :return: whether its edits can be afforded, too.
    :raises AudioError: naming `file`.
    """
    size = file.seek(0, 2)
    samples = chunks = longest = edits = 0
    track = _Track()
    for start, end in _outermost(file, size):
        for name, (first, second, third), content in _inside(file, start, end):
            if name == b"cmvd":  # compressed: there might be anything in it
                raise AudioError("The header of the file is compressed.", param="file")
            if name == b"trak":
                samples += track.entries
                track = _Track()
            elif name == b"stsz":
                track.samples += second
            elif name == b"stts":
                track.single &= (first, third) == (1, 1)
            elif name == b"hdlr":
                track.kinds.add(second.to_bytes(4, "big"))
            elif name == b"trun":
                samples += first
            elif name == b"elst":
                edits += first
            elif name == b"stsc":
                rows = content + 4
                longest = max(longest, _longest(file, rows, min(end, rows + 12 * first)))
            else:
                chunks += first
    samples += track.entries + chunks * (longest // 1024)
    if samples > max(_SAMPLES, size // _BYTES):
        raise AudioError(
            f"The file has {size} bytes and announces {samples} pieces of sound.", param="file"
        )
    return samples * edits <= _EDITED


class _Track:
    """What comes between two boxes `trak`."""

    def __init__(self) -> None:
        self.samples = 0
        self.single = True
        """Whether each lasts one tick."""
        self.kinds: set[bytes] = set()

    @property
    def entries(self) -> int:
        """How many entries of the index are one sample each."""
        sound = b"soun" in self.kinds and b"vide" not in self.kinds
        return 0 if sound and self.single else self.samples


def _outermost(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield where boxes begin and end, but for those of samples."""
    at = 0
    for _ in range(_BOXES):
        file.seek(at)
        header = file.read(16)
        if len(header) < 8:
            return
        length, name = struct.unpack_from(">I4s", header)
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack_from(">Q", header, 8)
        end = min(size, at + length) if length else size
        if end < at + 8:
            return
        if name != b"mdat":
            yield at, end
        at = end
    raise AudioError(f"The file has more than {_BOXES} boxes.", param="file")


def _inside(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """Yield what has the name of a box, wherever it is: FFmpeg is generous about that."""
    for at in range(start, end, _CHUNK):
        file.seek(at)
        data = file.read(min(_CHUNK + 40, end - at)) + bytes(32)
        for match in _NAMES.finditer(data, 4, _CHUNK + 7):
            # A size of 1 means that the size comes after the name, in eight bytes.
            long = data[match.start() - 4 : match.start()] == b"\0\0\0\1"
            content = match.end() + (12 if long else 4)
            numbers = struct.unpack_from(">III", data, content)
            yield _Box(match[0], numbers, at + content)


def _longest(file: BinaryIO, start: int, end: int) -> int:
    """Return the most samples that a row of `stsc` has in a chunk."""
    longest = 0
    for at in range(start, end, 12 << 16):
        file.seek(at)
        data = file.read(min(12 << 16, end - at))
        rows = np.frombuffer(data[: len(data) // 12 * 12], ">u4").reshape(-1, 3)
        longest = max(longest, int(rows[:, 1].max(initial=0)))
    return longest
