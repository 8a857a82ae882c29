"""Cut a text into segments that an engine can speak one after the other.

Four generators, each feeding the next: sentences, utterances (sentences that have something to
say), pieces (utterances that are short enough) and segments (pieces merged). All of them deal in
offsets, so every character of the text lands in exactly one segment.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, repeat, takewhile
from typing import NamedTuple

from .languages import primary_subtag

_WINDOW = 1024
"""Characters given to sentencex at once: its time grows with the square of unpaired quotes."""

_SHORT = 6
"""A first sentence of fewer characters is not worth a segment: "Hi.", "1."."""

_BLANK = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
_PRONOUNCED = re.compile(r"[^\W_]")  # a letter or a digit of any script
_VISIBLE = re.compile(r"\S")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PARAGRAPH_BREAK = re.compile(r"\n\s*\n|\u2029")
_SSML = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<speak[\s/>]")

# Where to cut a sentence that is too long, best first. A match starts where the cut goes. Every
# alternative looks at one character on each side, so no input makes the search slow.
_CLAUSE_END = re.compile(
    r"(?<=[,;:.!?…—–،؛؟۔।॥።፣។)\]}\"”»])\s"
    r"|(?<=[、，；：。！？…—」』）】》])(?![、，；：。！？…—」』）】》”’\s])"
)
_LINE_END = re.compile(r"\n")
_WORD_END = re.compile(r"\s|(?<=\u200b)")
_PAUSES = (_CLAUSE_END, _LINE_END)


class _Span(NamedTuple):
    start: int
    end: int
    opens: bool
    """Whether a paragraph starts here."""


def is_speakable(text: str) -> bool:
    """Whether there is anything but whitespace, control and format characters.

    Deliberately lenient: engines read out "%", "€", "+" and emoji, and some even "…".
    """
    return any(unicodedata.category(char) not in _BLANK for char in text.strip())


def is_ssml(text: str) -> bool:
    """Whether this is an SSML document, which must not be cut."""
    return _SSML.match(text) is not None


def split_text(
    text: str, *, language: str | None = None, max_chars: int = 400, first_chars: int = 160
) -> Iterator[str]:
    """Yield consecutive segments of `text`, each worth speaking on its own, lazily.

    The first segment is the first sentence, so that sound starts early. Later segments are whole
    sentences of one paragraph, as many as fit; how many fit grows with each segment, so that
    speaking one lasts as long as computing the next. Whitespace around segments is dropped, and
    nothing else. Only runs of symbols about as long as `max_chars` make a segment without a
    letter or digit.

    Sentences are found by sentencex (https://github.com/wikimedia/sentencex), which knows the
    abbreviations of `language` and the full stops of all scripts. One that is too long is cut
    after a clause, else at a line's end, between words, or between graphemes.

    :param language: BCP 47 tag; None and unknown languages are treated as English.
    :param max_chars: longest segment.
    :param first_chars: longest first segment, unless no clause of it is that short.
    :raises ValueError: if `max_chars` is less than 1.
    """
    if max_chars < 1:
        raise ValueError(f"max_chars must be at least 1, not {max_chars!r}")
    if not _PRONOUNCED.search(text):
        starts = range(0, max(len(text), 1), max_chars)
        return (text[start : start + max_chars] for start in starts)
    first_chars = min(first_chars, max_chars)
    utterances = _utterances(text, sentences(text, language))
    pieces = _pieces(text, utterances, max_chars, first_chars)
    return (text[span.start : span.end] for span in _merged(pieces, max_chars, first_chars))


def sentences(text: str, language: str | None) -> Iterator[_Span]:
    """Yield the sentences of a text, without the whitespace around them, lazily.

    :param language: BCP 47 tag; None and unknown languages are treated as English.
    """
    import sentencex  # noqa: PLC0415 - not needed to start a server

    code = primary_subtag(language or "en")
    for paragraph_start, end in _paragraphs(text):
        start, opens = paragraph_start, True
        while start < end:
            window = text[start : min(start + _WINDOW, end)]
            # A lone surrogate cannot be encoded for sentencex, which is written in Rust.
            found = sentencex.segment(code, _SURROGATE.sub("\ufffd", window))
            stops = [start + length for length in accumulate(map(len, found))][:-1]
            if start + len(window) == end:
                stops.append(end)
            elif not stops:  # else the last sentence, which may go on, opens the next window
                high = start + len(window)
                stops.append(_pause(text, start + 1, high) or _gap(text, start + 1, high))
            for stop in stops:
                if span := _trimmed(text, start, stop, opens):
                    yield span
                    opens = False
                start = stop


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _PARAGRAPH_BREAK.finditer(text):
        yield start, match.start()
        start = match.end()
    yield start, len(text)


def _trimmed(text: str, start: int, end: int, opens: bool) -> _Span | None:
    content = _VISIBLE.search(text, start, end)
    if content is None:
        return None
    start = content.start()
    return _Span(start, start + len(text[start:end].rstrip()), opens)


def _utterances(text: str, sentences: Iterable[_Span]) -> Iterator[_Span]:
    """Join what has nothing to say, and a very short beginning, to a neighbour."""
    pending: _Span | None = None
    pending_says = False
    short = _SHORT
    for span in sentences:
        says = _PRONOUNCED.search(text, span.start, span.end) is not None
        if pending is None:
            pending, pending_says = span, says
        elif not (says and pending_says) or (
            pending.end - pending.start < short and not span.opens
        ):
            pending, pending_says = pending._replace(end=span.end), says or pending_says
        else:
            yield pending
            pending, short = span, 0
    if pending is not None:
        yield pending


def _pieces(
    text: str, utterances: Iterable[_Span], max_chars: int, first_chars: int
) -> Iterator[_Span]:
    limits = [first_chars, max_chars]
    for span in utterances:
        yield from _cut_up(text, span, limits)
        limits = [max_chars]


def _cut_up(text: str, span: _Span, limits: Sequence[int]) -> Iterator[_Span]:
    """Cut a span into pieces that each have something to say.

    :param limits: lengths of the pieces; the last one holds for all further pieces and is
        enforced, the others yield to it where the speaker does not pause.
    """
    start, end, opens = span
    # Walking to the end at most once per span keeps a long run of symbols linear.
    last = next(i for i in range(end - 1, start - 1, -1) if text[i].isalnum())
    if end - last > limits[-1]:
        last = end  # more symbols than any word could take along
    for limit in chain(limits[:-1], repeat(limits[-1])):
        if end - start <= limit:
            break
        high = min(start + limit, last)
        said = _PRONOUNCED.search(text, start, high)
        stop = _pause(text, said.end(), high) if said else None
        if stop is None and limit == limits[-1]:
            # Without `said` there are only symbols, for longer than a segment may be.
            stop = _gap(text, said.end(), high) if said else _gap(text, start + 1, start + limit)
        if stop is None:
            continue
        yield _Span(start, start + len(text[start:stop].rstrip()), opens)
        start, opens = stop, False
        while text[start].isspace():
            start += 1
    yield _Span(start, end, opens)


def _merged(pieces: Iterable[_Span], max_chars: int, first_chars: int) -> Iterator[_Span]:
    pending: _Span | None = None
    limit = 0
    for piece in pieces:
        if pending is None:
            pending = piece
        elif not piece.opens and piece.end - pending.start <= limit:
            pending = pending._replace(end=piece.end)
        else:
            yield pending
            # Twice its length keeps the sound going if the engine takes half of real time.
            limit = min(max_chars, max(limit, first_chars, 2 * (pending.end - pending.start)))
            pending = piece
    if pending is not None:
        yield pending


def _pause(text: str, low: int, high: int) -> int | None:
    """Return the last place in low..high where a speaker would pause."""
    return _last_match(_PAUSES, text, low, high)


def _gap(text: str, low: int, high: int) -> int:
    """Return the last place in low..high between words, else between graphemes, else `high`."""
    gap = _last_match((_WORD_END,), text, low, high)
    if gap is not None:
        return gap
    return next((i for i in range(high, low - 1, -1) if not joined(text, low, i)), high)


def _last_match(patterns: Sequence[re.Pattern[str]], text: str, low: int, high: int) -> int | None:
    for pattern in patterns:
        # One more character is searched as context; a match there is no place to cut.
        places = [match.start() for match in pattern.finditer(text, low, high + 1)]
        if places and places[-1] > high:
            places.pop()
        if places:
            return places[-1]
    return None


def joined(text: str, low: int, position: int) -> bool:
    """Whether a cut here would split what readers see as one character.

    The rules of Unicode Standard Annex #29 that can be had from `unicodedata`. Flags are pairs of
    letters, so these are counted, back to `low`.
    """
    before, after = text[position - 1], text[position]
    return (
        unicodedata.category(after) in {"Mn", "Mc", "Me", "Cf"}
        or before == "\u200d"  # zero-width joiner
        or unicodedata.combining(before) == 9  # virama: joins consonants
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tone
        or "\u1160" <= after <= "\u11ff"  # Hangul vowel or final
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")
        or (_is_flag_letter(after) and _flag_letters(text, low, position) % 2 == 1)
    )


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _flag_letters(text: str, low: int, position: int) -> int:
    before = (text[i] for i in range(position - 1, low - 2, -1))
    return sum(1 for _ in takewhile(_is_flag_letter, before))
