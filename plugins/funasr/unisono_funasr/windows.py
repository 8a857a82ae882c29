"""Speech in overlapping windows, and what was found in each window as turns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from .loading import RATE
from .speech import Piece

WINDOW, STEP = 24_000, 12_000
"""1.5 seconds every 0.75 seconds, in samples: long enough to know a voice (3D-Speaker's recipe)."""


@dataclass(frozen=True)
class Spoken:
    """A stretch in which one person speaks."""

    who: str
    piece: Piece


def windows_of(speech: Piece) -> Iterator[Piece]:
    """Divide a stretch of speech into windows, which cover it evenly."""
    length = speech.end - speech.start
    count = 1 + max(0, round((length - WINDOW) / STEP))
    if count == 1:
        yield speech
        return
    for number in range(count):
        start = speech.start + (length - WINDOW) * number // (count - 1)
        yield Piece(start, start + WINDOW)


def shares_of(windows: Sequence[Piece]) -> list[Piece]:
    """Return what each window has for itself: overlaps are halved."""
    shares = list(windows)
    for number, (one, other) in enumerate(pairwise(windows)):
        if one.end > other.start:
            middle = (one.end + other.start) // 2
            shares[number] = replace(shares[number], end=middle)
            shares[number + 1] = replace(other, start=middle)
    return shares


def turns_of(
    shares: Iterable[Piece], who: Iterable[str], *, min_seconds: float, max_pause: float
) -> Iterator[Spoken]:
    """Yield who speaks when, in order of time.

    :param shares: of windows, in order of time.
    :param who: speaks in each.
    :param min_seconds: shorter turns go to the nearest neighbour, if it is near.
    :param max_pause: seconds of silence within a turn, and up to a neighbour that is near.
    """
    found = (Spoken(*pair) for pair in zip(who, shares, strict=True))
    turns = list(_joined(found, 0))
    pause = round(max_pause * RATE)
    for number, turn in enumerate(turns):
        if turn.piece.seconds >= min_seconds:
            continue
        around = [*turns[max(0, number - 1) : number], *turns[number + 1 : number + 2]]
        nearest = min(around, key=lambda other: _gap(turn, other), default=turn)
        if _gap(turn, nearest) <= pause:
            turns[number] = replace(turn, who=nearest.who)
    yield from _joined(turns, pause)


def _gap(one: Spoken, other: Spoken) -> int:
    return max(other.piece.start - one.piece.end, one.piece.start - other.piece.end)


def _joined(turns: Iterable[Spoken], pause: int) -> Iterator[Spoken]:
    """Join neighbours of the same person."""
    last: Spoken | None = None
    for turn in turns:
        if last and last.who == turn.who and _gap(last, turn) <= pause:
            last = replace(last, piece=Piece(last.piece.start, turn.piece.end))
            continue
        if last:
            yield last
        last = turn
    if last:
        yield last
