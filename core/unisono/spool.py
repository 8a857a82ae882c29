"""Long recordings: in memory while they are short, else in a file that has no name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from .audio import to_int16
from .types import AudioChunk
from .vad import last_pause

IN_MEMORY_SECONDS = 600.0
_QUIET_SECONDS = 0.2
"""Length of the moment to look for where nobody pauses."""
_BLOCK_SECONDS = 30


class Spool:
    """Mono samples of a recording. One thread at a time.

    In the file they are 16-bit integers, 115 MB for an hour at 16 000 hertz. The system deletes
    the file with the process, however that ends.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.frames = 0
        self._parts: list[np.ndarray] = []
        self._file: BinaryIO | None = None

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.frames / self.sample_rate

    def write(self, samples: np.ndarray) -> None:
        """Append samples: float32, (frames,)."""
        self._parts.append(samples)
        self.frames += len(samples)
        if self._file is None and self.seconds > IN_MEMORY_SECONDS:
            self._file = tempfile.TemporaryFile(prefix="unisono-")  # noqa: SIM115 - closed below
        if self._file is not None:
            for part in self._parts:
                self._file.write(to_int16(part).tobytes())
            self._parts.clear()

    def read(self, start: int, count: int) -> AudioChunk:
        """Return some frames, or as many as there are."""
        if self._file is not None:
            self._file.seek(2 * start)
            data = self._file.read(2 * count)
            samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
        else:
            self._parts = [np.concatenate(self._parts)] if len(self._parts) > 1 else self._parts
            samples = self._parts[0][start : start + count]
        return AudioChunk(samples, self.sample_rate)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all samples, some seconds at a time."""
        size = _BLOCK_SECONDS * self.sample_rate
        for start in range(0, self.frames, size):
            yield self.read(start, size).samples

    def cut(self, start: int, end: int, most: float) -> int:
        """Return where a piece that begins at `start` ends: at `end`, or before that in a pause.

        :param most: seconds; longest piece.
        """
        limit = round(most * self.sample_rate)
        left = end - start
        if left <= limit:
            return end
        # What remains should be long enough for an engine to hear anything in it.
        size = max(1, min(limit, left - self.sample_rate))
        first = size * 4 // 5
        tail = self.read(start + first, size - first).samples
        pause = last_pause(tail)
        return start + first + (_quietest(tail, self.sample_rate) if pause is None else pause)

    def close(self) -> None:
        """Forget everything."""
        self._parts.clear()
        if self._file is not None:
            self._file.close()


def _quietest(samples: np.ndarray, rate: int) -> int:
    """Return the middle of the quietest moment."""
    width = max(1, round(_QUIET_SECONDS * rate))
    tail = samples.astype(np.float64)
    if len(tail) <= width:
        return len(samples)
    energy = np.concatenate([[0.0], np.cumsum(tail * tail)])
    windows = energy[width:] - energy[:-width]
    # The last of several that are as quiet: the longer the piece, the fewer the cuts.
    at = len(windows) - 1 - int(np.argmin(windows[::-1]))
    return at + width // 2
