"""Words become sentences: punctuation, and where a sentence ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unisono import Word

from .loading import Component
from .reading import join, split

_ENDS = frozenset("。？！.?!")
_PAUSES = frozenset("，、,")
_ASCII = {"，": ",", "。": ".", "？": "?", "、": ",", "！": "!"}
_NOTHING = frozenset({"_", "<unk>"})
_SILENCE = 3.0
"""Seconds after which no sentence goes on."""
_LONGEST = 200
"""Words after which a sentence ends at a comma, as ct-punc has it."""


@dataclass(frozen=True)
class Sentence:
    """Some words, and what they are with punctuation."""

    text: str
    words: tuple[Word, ...]


class Sentences:
    """Takes the words of one piece of speech after the other and hands out sentences.

    What follows the last end of a sentence waits for more: the model wants to see what comes next.

    :param punctuation: a CT-Transformer; without one each piece is a sentence.
    """

    def __init__(self, punctuation: Component | None) -> None:
        self._punctuation = punctuation
        self._waiting: tuple[Word, ...] = ()

    def add(self, words: Sequence[Word]) -> Iterator[Sentence]:
        """Yield the sentences that end before the last of these words."""
        if self._waiting and words and words[0].start - self._waiting[-1].end > _SILENCE:
            yield from self.finish()
        self._waiting = (*self._waiting, *split(words))
        if self._punctuation is None or len(self._waiting) > 2 * _LONGEST:
            yield from self.finish()
        elif words:
            # The model ends every text; whether the sentence ends there, the next words will tell.
            marks = [*self._marks()[:-1], ""]
            yield from self._cut(marks)

    def finish(self) -> Iterator[Sentence]:
        """Yield what is left."""
        if self._waiting:
            yield from self._cut(self._marks())
        if self._waiting:
            yield _sentence(self._waiting, [""] * len(self._waiting))
            self._waiting = ()

    def _cut(self, marks: Sequence[str]) -> Iterator[Sentence]:
        words, begin = self._waiting, 0
        for end, mark in enumerate(marks, start=1):
            if mark in _ENDS or (mark in _PAUSES and end - begin > _LONGEST):
                yield _sentence(words[begin:end], marks[begin:end])
                begin = end
        self._waiting = words[begin:]

    def _marks(self) -> list[str]:
        """Return what stands after each word, mostly nothing."""
        words = self._waiting
        if self._punctuation is None:
            return [""] * len(words)
        # The space in front keeps the library from taking the text for a path or an address.
        text = " " + " ".join(word.text for word in words)
        (result,) = self._punctuation.infer([text])
        numbers = result["punc_array"]
        if numbers is None or len(numbers) != len(words):
            return [*[""] * (len(words) - 1), "。"]
        known = self._punctuation.module.punc_list
        marks = [known[int(number)] for number in numbers]
        return [
            "" if mark in _NOTHING else _ASCII.get(mark, mark) if word.text.isascii() else mark
            for word, mark in zip(words, marks, strict=True)
        ]


def _sentence(words: tuple[Word, ...], marks: Sequence[str]) -> Sentence:
    texts = [word.text + mark for word, mark in zip(words, marks, strict=True)]
    if any(marks) and texts[0].isascii():
        texts[0] = texts[0][:1].upper() + texts[0][1:]
    return Sentence(join(texts), words)
