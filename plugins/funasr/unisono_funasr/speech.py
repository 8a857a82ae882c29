"""Where speech lies in the audio, and in which pieces it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from unisono import CancelToken

from .loading import RATE, Component, Samples

_STRIDE_MS = 60_000
_STRIDE = _STRIDE_MS * RATE // 1000
"""What the library itself detects at once; the results are the same piece by piece."""
_PER_MS = RATE // 1000


@dataclass(frozen=True)
class Piece:
    """A stretch of audio, in samples."""

    start: int
    end: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return (self.end - self.start) / RATE


def detect(detector: Component, samples: Samples, cancel: CancelToken) -> Iterator[Piece]:
    """Yield where somebody speaks, a minute of audio at a time, until cancelled.

    :param detector: an FSMN-VAD.
    """
    cache: dict[str, object] = {}
    for start in range(0, len(samples), _STRIDE):
        if cancel.cancelled:
            return
        end = start + _STRIDE
        found = detector.infer(
            [samples[start:end]],
            cache=cache,
            chunk_size=_STRIDE_MS,
            is_streaming_input=False,
            # New in 1.4: in every minute but the first, pauses of 0.1 seconds may end a piece.
            dynamic_silence=False,
            is_final=end >= len(samples),
        )
        for result in found:
            for first, last in result["value"]:
                piece = Piece(max(0, first * _PER_MS), min(last * _PER_MS, len(samples)))
                if piece.end > piece.start:
                    yield piece


def merged(pieces: Iterable[Piece], most: float) -> Iterator[Piece]:
    """Join neighbours, with the pauses between them, as long as they stay within some seconds."""
    last: Piece | None = None
    for piece in pieces:
        if last and (piece.end - last.start) / RATE <= most:
            last = Piece(last.start, piece.end)
            continue
        if last:
            yield last
        last = piece
    if last:
        yield last


def batches(pieces: Iterable[Piece], seconds: float | None) -> Iterator[list[Piece]]:
    """Gather pieces to be read at once: padded to the longest they last some seconds at most.

    :param seconds: None puts each into a batch of its own.
    """
    batch: list[Piece] = []
    for piece in pieces:
        longest = max([piece.seconds, *(other.seconds for other in batch)])
        if batch and (seconds is None or longest * (len(batch) + 1) > seconds):
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch
