"""What people say for digits: 1905 is "nineteen oh five", "one thousand nine hundred (and) five"
and more. All of it, for the audio to decide; libraries that spell numbers out know one way each.
"""

from __future__ import annotations

_TEENS = ["thir", "four", "fif", "six", "seven", "eigh", "nine"]
_SMALL = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_SMALL += ["ten", "eleven", "twelve", *(f"{stem}teen" for stem in _TEENS)]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ["", "thousand", "million", "billion", "trillion"]
_LONGEST = 3 * len(_SCALES)
"""Digits of the largest number that has a name."""
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}

Words = tuple[str, ...]


def readings(number: str, suffix: str = "") -> list[Words]:
    """Return the ways to say a number.

    :param number: ASCII digits, perhaps with commas between them and a point: "1,000", "3.5".
    :param suffix: "st", "nd", "rd" or "th" of an ordinal, "s" of a plural, or nothing.
    """
    whole, point, fraction = number.replace(",", "").partition(".")
    ways = _integer(whole) if whole else [()]
    if point:
        tails = _integer(fraction)
        ways = [way + dot + tail for way in ways for dot in (("point",), ()) for tail in tails]
    if suffix:
        inflected = _plural if suffix == "s" else _ordinal
        ways = [(*way[:-1], inflected(way[-1])) for way in ways if way]
    return list(dict.fromkeys(ways))


def _integer(digits: str) -> list[Words]:
    one_by_one = tuple(_SMALL[int(digit)] for digit in digits)
    ways = [one_by_one, tuple("oh" if word == "zero" else word for word in one_by_one)]
    if digits[0] != "0" and len(digits) <= _LONGEST:
        ways += [_cardinal(int(digits), joint) for joint in ((), ("and",))]
        if len(digits) in (3, 4):  # years, prices, rooms
            ways.append(_below_hundred(int(digits[:-2])) + _hundredths(digits[-2:]))
    elif digits == "00":  # of an hour, of a price
        ways += [(), ("o'clock",), ("hundred",)]
    return ways


def _cardinal(number: int, joint: Words) -> Words:
    """:param joint: what stands before the tens and ones: nothing in America, else "and"."""
    words: Words = ()
    for power in reversed(range(len(_SCALES))):
        rest = number // 1000**power % 1000
        if not rest:
            continue
        hundreds, rest_below = divmod(rest, 100)
        if hundreds:
            words += (_SMALL[hundreds], "hundred")
        if rest_below:
            last = power == 0 and bool(words)
            words += (joint if hundreds or last else ()) + _below_hundred(rest_below)
        words += (_SCALES[power],) if power else ()
    return words


def _below_hundred(number: int) -> Words:
    if number < len(_SMALL):
        return (_SMALL[number],)
    tens, ones = divmod(number, 10)
    return (_TENS[tens - 2], *((_SMALL[ones],) if ones else ()))


def _hundredths(digits: str) -> Words:
    if digits == "00":
        return ("hundred",)
    return ("oh", _SMALL[int(digits[1])]) if digits[0] == "0" else _below_hundred(int(digits))


def _ordinal(word: str) -> str:
    if word in _ORDINALS:
        return _ORDINALS[word]
    return f"{word[:-1]}ieth" if word.endswith("y") else f"{word}th"


def _plural(word: str) -> str:
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith("x") else f"{word}s"
