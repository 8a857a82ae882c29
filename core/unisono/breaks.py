"""Where a line of subtitles may end, and how much a reader minds it.

What may not begin or end a line in scripts without spaces is a selection of Unicode Standard
Annex #14 (line breaking), told by general categories as far as they go.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from itertools import accumulate, chain, pairwise
from typing import NamedTuple

from .text import joined, sentences

# Han, kana, bopomofo, their punctuation and full-width forms: scripts that write no spaces.
# Hangul is not among them.
UNSPACED = re.compile(
    "[\u2e80-\u30ff\u3100-\u312f\u3190-\u321f\u3220-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\ufe30-\ufe4f\uff00-\uff9f\U00020000-\U0003ffff]"
)
# Thai, Lao, Burmese and Khmer put spaces between phrases, and nothing between words.
PHRASED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_HIRAGANA = re.compile("[\u3041-\u309f]")
_CLAUSE_ENDS = frozenset(",;:—–…،؛、，；：")
_CLOSING = "\"'’”»)]}」』）】》"
_NEVER_FIRST = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ～ะาำๅະາຳ")
_NEVER_LAST = frozenset("เแโใไເແໂໃໄ")  # vowels written before their consonants: a syllable begins
_NEVER_FIRST_KINDS = frozenset({"Pe", "Pf", "Po", "Pd", "Lm"})
_NEVER_LAST_KINDS = frozenset({"Ps", "Pi", "Sc"})

# Articles, prepositions and conjunctions that lean on the word after them.
_LEANING = """
a an the of to in on at by for from with and or but as if than that
der die das den dem des ein eine einen einem einer und oder aber von zu zum zur im am mit für auf
le la les un une des du de et ou à au aux dans pour par sur avec que il lo gli di da nel della che
el los las una y o del al en con por para os um uma dos em na het een van te voor op met
"""
_LEANS = frozenset(_LEANING.split())

SENTENCE, CLAUSE, PAUSE, WORD, CHARACTER = 0.0, 3.0, 4.0, 7.0, 12.0
"""What it costs to break at the end of each. Only their order and rough distances matter."""
_DANGLING = 4.0
_INSIDE = 20.0
_FORBIDDEN = 40.0


class Break(NamedTuple):
    """A place between two characters."""

    at: int
    """How many characters are before it; a space before it belongs to none of its sides."""
    cost: float


def columns(text: str) -> int:
    """Return how wide a text is, counting full-width characters twice."""
    return sum(map(column, text))


def column(char: str) -> int:
    """Return the columns of one character: 0, 1 or 2."""
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def find_breaks(
    text: str,
    line: int,
    *,
    language: str | None = None,
    seams: Collection[int] = frozenset(),
) -> list[Break]:
    """Return where `text` may be broken, in order.

    Every part between two of them fits on a line, unless one grapheme does not.

    :param text: one line, words separated by single spaces.
    :param line: columns.
    :param language: BCP 47 tag.
    :param seams: offsets where words are known to end.
    """
    ends = {span.end for span in sentences(text, language)}
    regular = list(_regular(text, ends, seams))
    around = [0, *(place.at for place in regular), len(text)]
    forced = (
        place
        for low, high in pairwise(around)
        if high - low > line // 2 and columns(text[low:high].rstrip()) > line
        for place in _forced(text, low, high, seams)
    )
    return sorted(chain(regular, forced))


def _regular(text: str, ends: Collection[int], seams: Collection[int]) -> Iterator[Break]:
    """Yield the breaks between words, and between the characters of unspaced scripts.

    On both sides of each is a letter or a digit, so that what is without sound has company.
    """
    letters = [0, *accumulate(map(str.isalnum, text))]
    low = 0
    for at in range(1, len(text)):
        if not letters[low] < letters[at] < letters[-1] or not _opens(text, at, letters, seams):
            continue
        end = at - (text[at - 1] == " ")
        if _leans_right(text[end - 1]) or joined(text, low + 1, at):
            continue
        yield Break(at, _cost(text, end, at, ends, seams))
        low = at


def _opens(text: str, at: int, letters: list[int], seams: Collection[int]) -> bool:
    """Whether a line may begin here, with regard to what comes after."""
    before, after = text[at - 1], text[at]
    if before in " \u200b":
        end = text.find(" ", at)
        sounds = letters[end] > letters[at]  # find's -1 is the end, too
        return (sounds or _leans_right(after)) and after != "ๆ"
    if after == " " or _leans_left(after):
        return False
    if at in seams and PHRASED.match(after):
        return True
    return any(UNSPACED.match(char) for char in (before, after))


def _forced(text: str, low: int, high: int, seams: Collection[int]) -> Iterator[Break]:
    """Yield the breaks between the graphemes of what is too long for a line."""
    for at in range(low + 1, high):
        if text[at] != " " and not joined(text, low + 1, at):
            bad = _leans_right(text[at - 1]) or _leans_left(text[at])
            good = at in seams or text[at - 1] in " -/" or text[at] in _NEVER_LAST
            yield Break(at, _FORBIDDEN if bad else WORD if good else _INSIDE)


def _cost(text: str, end: int, at: int, ends: Collection[int], seams: Collection[int]) -> float:
    if end in ends:
        return SENTENCE
    if text[max(0, end - 4) : end].rstrip(_CLOSING)[-1:] in _CLAUSE_ENDS:
        return CLAUSE
    if end < at:
        if PHRASED.match(text[end - 1]):
            return CLAUSE
        last = text[text.rfind(" ", 0, end) + 1 : end]
        return WORD + _DANGLING * (last.lower() in _LEANS)
    # Particles and endings of Japanese are hiragana, and most words begin with something else.
    phrase = _HIRAGANA.match(text[at - 1]) and not _HIRAGANA.match(text[at])
    return WORD if phrase or at in seams else CHARACTER


def _leans_left(char: str) -> bool:
    return char in _NEVER_FIRST or unicodedata.category(char) in _NEVER_FIRST_KINDS


def _leans_right(char: str) -> bool:
    return char in _NEVER_LAST or unicodedata.category(char) in _NEVER_LAST_KINDS
