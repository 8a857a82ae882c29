"""Word timestamps from espeak's events."""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from unisono import AudioChunk, Word

from .library import WordStart

if TYPE_CHECKING:
    import numpy as np


def attach_words(
    pieces: Iterable[tuple[np.ndarray, tuple[WordStart, ...]]], spoken: str, sample_rate: int
) -> Iterator[AudioChunk]:
    """Yield the pieces as chunks, each with the words that begin in it.

    A word reaches to where the next one begins, in the text as in the audio, so nothing that is
    heard goes missing: espeak's own lengths leave out the second half of "don't" and of "of a".
    A piece is held back until the words in it have ended.

    :param spoken: the text, as long as what the library was given, with spaces for markup.
    """
    held: deque[tuple[np.ndarray, list[Word]]] = deque()
    words: list[Word] = []  # those of the piece in which the last word began
    began: tuple[int, float] | None = None
    covered = elapsed = 0

    def end(position: int, time: float) -> None:
        if began is not None:
            words.append(Word(_trimmed(spoken[began[0] : position]), began[1], time))

    for samples, starts in pieces:
        here: list[Word] = []
        for start in starts:
            # Of a number, espeak reports every word, at places within it or just behind.
            if start.position < covered or not spoken[start.position : start.position + 1].strip():
                continue
            earliest = 0.0 if began is None else began[1]
            sample = min(max(start.sample, elapsed), elapsed + len(samples) - 1)
            time = max(sample / sample_rate, earliest)
            end(start.position, time)
            words, began = here, (start.position, time)
            covered = start.position + max(start.length, 1)
        held.append((samples, here))
        elapsed += len(samples)
        while held and (began is None or held[0][1] is not words):
            yield _chunk(*held.popleft(), sample_rate)
    end(len(spoken), elapsed / sample_rate)
    while held:
        yield _chunk(*held.popleft(), sample_rate)


def _chunk(samples: np.ndarray, words: list[Word], sample_rate: int) -> AudioChunk:
    return AudioChunk(samples, sample_rate, tuple(words))


def _trimmed(text: str) -> str:
    """Drop white space and the punctuation around a word, unless there is nothing else."""
    text = " ".join(text.split())
    inner = [i for i, char in enumerate(text) if unicodedata.category(char)[0] not in "PZC"]
    return text[inner[0] : inner[-1] + 1] if inner else text
