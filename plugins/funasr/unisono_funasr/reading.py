"""What a model wrote for one piece of speech, and how its words are joined."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from unisono import Word

_ATOMS = re.compile(r"[\x21-\x7e]+|[^\x00-\x20\s]")
"""A run of ASCII, or one other character: so ct-punc counts words, too."""


@dataclass(frozen=True)
class Reading:
    """What is said in a piece of speech."""

    text: str
    words: tuple[Word, ...] = ()
    """With seconds from the start of the piece."""
    language: str | None = None
    emotion: str | None = None
    events: tuple[str, ...] = ()


def atoms(text: str) -> list[str]:
    """Split a text into words, which in Chinese are characters."""
    return _ATOMS.findall(text)


def spread(text: str, start: float, end: float) -> tuple[Word, ...]:
    """Spread the words of a text evenly over a time: an estimate, where nothing better is known."""
    found = atoms(text)
    step = (end - start) / max(1, len(found))
    return tuple(
        Word(word, start + step * index, start + step * (index + 1))
        for index, word in enumerate(found)
    )


def timed(words: Sequence[str], times: Sequence[Sequence[int]], seconds: float) -> tuple[Word, ...]:
    """Return words with their times; evenly spread if the library lost count.

    :param times: milliseconds, [start, end] for each word.
    :param seconds: duration of the piece.
    """
    if len(words) != len(times):  # upstream drops unknown words and keeps their times
        bounds = [time / 1000 for pair in times for time in pair] or [0.0, seconds]
        return spread(" ".join(words), bounds[0], max(bounds))
    return tuple(
        Word(word, start / 1000, max(start, end) / 1000)
        for word, (start, end) in zip(words, times, strict=True)
    )


def split(words: Iterable[Word]) -> tuple[Word, ...]:
    """Split words as `atoms` does, where a word is more than one."""
    found: list[Word] = []
    for word in words:
        parts = spread(word.text, word.start, word.end)
        found.extend(parts if len(parts) > 1 else [word])
    return tuple(found)


def shifted(words: Iterable[Word], seconds: float) -> tuple[Word, ...]:
    """Count times from another start."""
    return tuple(
        replace(word, start=word.start + seconds, end=word.end + seconds) for word in words
    )


def join(texts: Sequence[str]) -> str:
    """Join words, with spaces between those of alphabets only."""
    spaces = [_spaced(before, after) for before, after in pairwise(texts)]
    return "".join(
        text + (" " if space else "") for text, space in zip(texts, [*spaces, False], strict=True)
    )


def _spaced(before: str, after: str) -> bool:
    if not (before.isascii() and after.isascii()):
        return False
    return not (before.isdigit() and after.isdigit())
