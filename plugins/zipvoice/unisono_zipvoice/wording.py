"""Numbers and abbreviations as words, as ZipVoice's training texts had them.

Follows upstream's `zipvoice/tokenizer/normalizer.py`, itself after the cleaners of ESPnet and
Tacotron: what the phonemizer gets must not differ from what the model learned.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from typing import Any

_ABBREVIATIONS = {
    "mrs": "misess",  # as upstream spells it
    "mr": "mister",
    "dr": "doctor",
    "st": "saint",
    "co": "company",
    "jr": "junior",
    "maj": "major",
    "gen": "general",
    "drs": "doctors",
    "rev": "reverend",
    "lt": "lieutenant",
    "hon": "honorable",
    "sgt": "sergeant",
    "capt": "captain",
    "esq": "esquire",
    "ltd": "limited",
    "col": "colonel",
    "ft": "fort",
    "etc": "et cetera",
    "btw": "by the way",
}
_ABBREVIATION = re.compile(rf"\b({'|'.join(_ABBREVIATIONS)})\b", re.IGNORECASE)
_lock = threading.Lock()  # inflect keeps its place in its own attributes
_MAX_DIGITS = 15
"""Longer numbers are read digit by digit, which is also why the patterns below end in time."""
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def spell_english(text: str) -> str:
    """Write abbreviations, amounts, fractions, percentages, ordinals and numbers as words."""
    text = _ABBREVIATION.sub(lambda found: _ABBREVIATIONS[found[1].lower()], text)
    with _lock:
        for pattern, replace in _RULES:
            text = pattern.sub(replace, text)
    return text


def spell_chinese(text: str) -> str:
    """Write Arabic numerals in Chinese."""
    import cn2an  # noqa: PLC0415 - takes a second

    try:
        spelled: str = cn2an.transform(text, "an2cn")
    except (ValueError, KeyError, IndexError):  # a number that it cannot read stays as it is
        return text
    return spelled


@functools.cache
def _inflect() -> Any:
    import inflect  # noqa: PLC0415 - takes a second

    return inflect.engine()


def _words(number: str | int, **options: Any) -> str:
    return str(_inflect().number_to_words(number, **options))


def _digit_by_digit(found: re.Match[str]) -> str:
    return f" {' '.join(_DIGITS[int(digit)] for digit in found[0])} "


def _dollars(found: re.Match[str]) -> str:
    whole, *rest = found[1].replace(",", "").split(".")
    if len(rest) > 1:
        return f" {found[1]} dollars "
    dollars, cents = int(whole or 0), int((rest or ["0"])[0] or 0)
    amounts = [f"{dollars} {'dollar' if dollars == 1 else 'dollars'}"] if dollars else []
    if cents:
        amounts.append(f"{cents} {'cent' if cents == 1 else 'cents'}")
    return f" {', '.join(amounts) or 'zero dollars'} "


def _fraction(found: re.Match[str]) -> str:
    above, below = found[1].lstrip("0") or "0", found[2].lstrip("0") or "0"
    if below in ("2", "4"):
        name = "half" if below == "2" else "quarter"
        plural = {"half": "halves", "quarter": "quarters"}[name]
        return f" one {name} " if above == "1" else f" {_words(above)} {plural} "
    return f" {_words(above)} {_inflect().ordinal(_words(below))} "


def _number(found: re.Match[str]) -> str:
    number = int(found[0])
    if not 1000 < number < 3000:
        return f" {_words(number, andword='')} "
    if number == 2000:
        return " two thousand "
    if 2000 < number < 2010:
        return f" two thousand {_words(number % 100)} "
    if number % 100 == 0:
        return f" {_words(number // 100)} hundred "
    return f" {_words(number, andword='', zero='oh', group=2).replace(', ', ' ')} "


_RULES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"[0-9][0-9,]+[0-9]"), lambda found: found[0].replace(",", "")),
    (re.compile(rf"[0-9]{{{_MAX_DIGITS + 1},}}"), _digit_by_digit),
    (re.compile(r"£([0-9,]*[0-9]+)"), r"\1 pounds"),
    (re.compile(r"\$([0-9.,]*[0-9]+)"), _dollars),
    (re.compile(r"([0-9]+)/([0-9]+)"), _fraction),
    (re.compile(r"[0-9]+\.[0-9]+"), lambda found: found[0].replace(".", " point ")),
    (re.compile(r"[0-9.,]*[0-9]+%"), lambda found: found[0].replace("%", " percent ")),
    (re.compile(r"[0-9]+(?:st|nd|rd|th)"), lambda found: f" {_words(found[0])} "),
    (re.compile(r"[0-9]+"), _number),
]
