"""From a word as it is written, with its punctuation, to all the ways in which it may be said."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from .jsgf import Choice, Item, Word
from .letters import PHONES, Sounds, sounds
from .numerals import readings

PHONE_WORDS = {f"_{phone}": phone for phone in PHONES}
"""Words of one sound each, of which words are made that the dictionary lacks: so it never grows,
whatever is aligned. No text says them: `_` is not among the letters of a word.
"""

_PLAIN = {
    **dict.fromkeys("‘’ʼ´`", "'"),
    **dict.fromkeys("–−‐‑", "-"),
    "æ": "ae",
    "œ": "oe",
    "ø": "o",
    "ł": "l",
    "đ": "d",
    "ð": "th",
    "þ": "th",
    "ß": "ss",
}
"""What Unicode does not decompose."""

_SIGNS = {
    "$": "dollars dollar",
    "£": "pounds pound",
    "€": "euros euro",
    "¥": "yen",
    "%": "percent",
    "&": "and",
    "+": "plus",
    "=": "equals is",
    "@": "at",
    "#": "- number hash hashtag",
    "°": "degrees degree",
    "×": "times by",
    "/": "- slash per over",
    ".": "- dot point",
    ":": "- to",
    "-": "- to minus dash through",
    "_": "- underscore",
    "*": "- star times",
}
"""What is said for a sign; "-" is nothing."""
_OF_NUMBERS = ":-"
"""Signs that are said before numbers only."""

_CENTS = {"$": "cents", "£": "pence", "€": "cents"}
_LARGE = {"k": "thousand", "m": "million", "b": "billion"}
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
"""Where words meet in "ChatGPT" and "JSONPath"."""
_PART = re.compile(
    r"""
      (?P<unit> [$£€¥] ) (?P<amount> \d [\d,]* (?: \.\d+ )? ) (?: (?P<large> [kmb] ) \b )?
    | (?P<number> (?: \d [\d,]* )? \.? \d+ ) (?P<suffix> (?: st | nd | rd | th | s ) \b )?
    | (?P<word> '? [a-z]+ (?: '[a-z]+ )* )
    | (?P<sign> [^\w\s] | _ )
    """,
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)
_ENTRY = re.compile(r"([^\w]*)([a-z](?:[a-z'.-]*[a-z])?)([^\w]*)", re.ASCII | re.IGNORECASE)
_INITIALISM = re.compile(r"[A-Z]{2,6}")
_ENDING = re.compile(r"([^']+)'s|([A-Z]+)s")
_PLURAL: list[Sounds] = [("S",), ("Z",), ("IH", "Z")]
_SHORT = 3
"""Letters of unknown words that may be spelled out though they are not in capitals."""

Knows = Callable[[str], bool]
"""Whether the dictionary has a word."""


def said(token: str, knows: Knows) -> Item | None:
    """Return what is heard for a token of a text, or None for what has no sound.

    :param token: without white space.
    """
    text = _plain(token)
    if entry := _entry(text, knows):
        return entry
    parts = list(_PART.finditer(_HUMP.sub(" ", text)))
    items = [
        item
        for before, part, after in zip([None, *parts], parts, [*parts[1:], None], strict=False)
        if (item := _part(before, part, after, knows))
    ]
    return _choice([tuple(items)]) if items else None


def _plain(token: str) -> str:
    """Return a token in ASCII as far as that goes, without accents."""
    simple = "".join(_PLAIN.get(character, character) for character in token)
    return "".join(c for c in unicodedata.normalize("NFKD", simple) if not unicodedata.combining(c))


def _entry(text: str, knows: Knows) -> Item | None:
    """Look up a whole token; "mr.", "e-mail" and "'cause" are in the dictionary as they are."""
    match = _ENTRY.fullmatch(text)
    if match is None or any("-" not in _SIGNS.get(sign, "-") for sign in match[1] + match[3]):
        return None
    before, word, after = match[1], match[2].lower(), match[3]
    forms = [
        word,
        *([f"{word}."] if after.startswith(".") else []),
        *([f"'{word}"] if before.endswith("'") else []),
        *([f"{word}'"] if after.startswith("'") else []),
    ]
    ways = [(Word(form),) for form in forms if knows(form)]
    return _choice([*ways, *_spelled(match[2], knows)]) if ways else None


def _part(
    before: re.Match[str] | None, part: re.Match[str], after: re.Match[str] | None, knows: Knows
) -> Item | None:
    if part["word"]:
        return _word(part["word"], knows)
    if part["unit"]:
        ways = _price(part["unit"], part["amount"], (part["large"] or "").lower())
    elif part["number"]:
        ways = readings(part["number"], (part["suffix"] or "").lower())
    else:
        sign = part["sign"]
        ways = [() if way == "-" else (way,) for way in _SIGNS.get(sign, "-").split()]
        if () in ways and not _is_between(before, sign, after):
            return None
    known = [tuple(map(Word, way)) for way in ways if all(map(knows, way))]
    return _choice(known) if any(known) else None


def _is_between(before: re.Match[str] | None, sign: str, after: re.Match[str] | None) -> bool:
    """Say whether a sign is more than punctuation; a hyphen is before numbers only."""
    if not before or not after or before["sign"] or after["sign"]:
        return False
    return sign not in _OF_NUMBERS or bool(after["number"])


def _price(sign: str, amount: str, large: str) -> list[tuple[str, ...]]:
    """Return the ways to say "$5.50": the dollars after the number, or after the five."""
    tail = (_LARGE[large],) if large else ()
    # "$20 million" has the dollars after the next token; some speech synthesis, before the number.
    units = [(), *((unit,) for unit in _SIGNS[sign].split())]
    numbers = [(*way, *tail) for way in readings(amount)]
    ways = [way for number in numbers for unit in units for way in (number + unit, unit + number)]
    whole, _, fraction = amount.partition(".")
    if len(fraction) == 2 and sign in _CENTS:
        ways += [
            (*way, *unit, *joint, *rest, *cents)
            for way in readings(whole)
            for unit in units
            for joint in ((), ("and",))
            for rest in readings(fraction)
            for cents in ((), (_CENTS[sign],))
        ]
    return ways


def _word(written: str, knows: Knows) -> Item | None:
    word = written.lower()
    if knows(word):
        return _choice([(Word(word),), *_spelled(written, knows)])
    if ending := _ENDING.fullmatch(written):
        stem, plural = _word(ending[1] or ending[2], knows), _sounding(_PLURAL, knows)
        return _choice([(stem, plural)]) if stem and plural else None
    letters = [_sounding(ways, knows) for ways in sounds(word)]
    known = tuple(item for item in letters if item)
    ways: list[tuple[Item, ...]] = [known] if known and len(known) == len(letters) else []
    ways += _spelled(written.upper() if len(word) <= _SHORT else written, knows)
    return _choice(ways) if ways else None


def _sounding(ways: Iterable[Sounds], knows: Knows) -> Item | None:
    """Return a choice of sounds, if the acoustic model has them: those of French are others."""
    words = [[f"_{phone}" for phone in way] for way in ways]
    known = [tuple(map(Word, way)) for way in words if all(map(knows, way))]
    return _choice(known) if known else None


def _spelled(written: str, knows: Knows) -> list[tuple[Item, ...]]:
    """Return the names of the letters of an initialism; the dictionary has "b." for "bee"."""
    names = [f"{letter.lower()}." for letter in written]
    spelled = _INITIALISM.fullmatch(written) and all(map(knows, names))
    return [tuple(map(Word, names))] if spelled else []


def _choice(ways: Iterable[Sequence[Item]]) -> Choice:
    return Choice(tuple((1.0, tuple(way)) for way in ways))
