from __future__ import annotations

import random
import re
from itertools import product
from pathlib import Path

import pytest
from pocketsphinx import get_model_path

from unisono_pocketsphinx.jsgf import Choice, Item, Word
from unisono_pocketsphinx.letters import sounds
from unisono_pocketsphinx.numerals import readings
from unisono_pocketsphinx.spoken import PHONE_WORDS, said

DICTIONARY = Path(get_model_path("en-us/cmudict-en-us.dict")).read_text("utf-8").splitlines()
KNOWN = {line.split()[0] for line in DICTIONARY} | set(PHONE_WORDS)


def sentences(item: Item | None) -> set[str]:
    """Return everything that may be heard."""
    match item:
        case Word(text):
            return {text}
        case Choice(alternatives):
            found = (product(*map(sentences, items)) for _, items in alternatives)
            return {" ".join(filter(None, words)) for ways in found for words in ways}
    return set()


def heard(token: str) -> set[str]:
    return sentences(said(token, KNOWN.__contains__))


@pytest.mark.parametrize(
    ("token", "ways"),
    [
        ("Dog", {"dog"}),
        ("“Dog,”", {"dog"}),
        ("(dog).", {"dog"}),
        ("don’t", {"don't"}),
        ("'cause", {"cause", "'cause"}),
        ("Mr.", {"mr", "mr."}),
        ("café", {"cafe"}),
        ("e-mail", {"e-mail"}),
        ("state-of-the-dog", {"state of the dog"}),
        ("dog—cat", {"dog cat"}),
        ("US", {"us", "u. s."}),
        ("and/or", {"and or", "and slash or", "and per or", "and over or"}),
        ("example.com", {"example com", "example dot com", "example point com"}),
        ("&", {"and"}),
        ("R&D", {"r and d"}),
        ("C++", {"c plus plus"}),
        ("23", {"twenty three", "two three"}),
        ("3.5%", {"three point five percent", "three five percent"}),
        ("1st", {"first"}),
        ("£3m", {"three million", "three million pounds", "three million pound"}),
    ],
)
def test_a_word_is_said_in_these_ways(token: str, ways: set[str]) -> None:
    assert {way for way in heard(token) if not way.startswith("pound")} == ways


@pytest.mark.parametrize(
    ("token", "way"),
    [
        ("$5", "five dollars"),
        ("$5", "dollars five"),
        ("$5.50", "five dollars and fifty cents"),
        ("$5.50", "five fifty"),
        ("$1,000", "one thousand dollars"),
        ("10:00", "ten o'clock"),
        ("10:05", "ten oh five"),
        ("1990s", "nineteen nineties"),
        ("1984", "nineteen eighty four"),
        ("2010–2015", "twenty ten to twenty fifteen"),
        ("007", "oh oh seven"),
        ("5km", "five k. m."),
        ("GPT-4", "g. p. t. four"),
        ("GPUs", "g. p. u. _Z"),
        ("ChatGPT", "chat g. p. t."),
        ("JSONPath", "j. s. o. n. path"),
        ("unisono", "_Y _UW _N _IH _S _OW _N _OW"),
        ("Zorblatt's", "_Z _AO _R _B _L _AE _T _S"),
        ("@dog", "at dog"),
    ],
)
def test_a_word_may_be_said_like_this(token: str, way: str) -> None:
    assert way in heard(token)


@pytest.mark.parametrize("token", ["—", "…", "...", "-", "/", "😀", "你好", "«", "***", "''"])
def test_punctuation_and_other_scripts_have_no_sound(token: str) -> None:
    assert said(token, KNOWN.__contains__) is None


@pytest.mark.parametrize("token", ["<sil>", "[NOISE]", "go(2)", "_AA", "</s>", "+SPN+"])
def test_nothing_is_heard_but_words_and_sounds(token: str) -> None:
    spoken = {word for way in heard(token) for word in way.split()}
    assert all(word in PHONE_WORDS or re.fullmatch("[a-z'.-]+", word) for word in spoken)


def test_without_the_sounds_of_english_only_the_dictionary_counts() -> None:
    french = {"bonjour", "café"}.__contains__
    assert sentences(said("Bonjour!", french)) == {"bonjour"}
    assert said("Zorblatt", french) is None
    assert said("23", french) is None


@pytest.mark.parametrize(
    ("number", "suffix", "way"),
    [
        ("0", "", "zero"),
        ("13", "", "thirteen"),
        ("40", "", "forty"),
        ("105", "", "one hundred five"),
        ("105", "", "one hundred and five"),
        ("105", "", "one oh five"),
        ("1905", "", "nineteen oh five"),
        ("1900", "", "nineteen hundred"),
        ("2001", "", "two thousand and one"),
        ("1,000,001", "", "one million one"),
        ("1,234,567", "", "one million two hundred thirty four thousand five hundred sixty seven"),
        ("3.14", "", "three point one four"),
        (".5", "", "point five"),
        ("555", "", "five five five"),
        ("12", "th", "twelfth"),
        ("20", "th", "twentieth"),
        ("103", "rd", "one hundred third"),
        ("80", "s", "eighties"),
        ("6", "s", "sixes"),
    ],
)
def test_a_number_may_be_read_like_this(number: str, suffix: str, way: str) -> None:
    assert tuple(way.split()) in readings(number, suffix)


def test_a_number_of_any_length_has_few_readings() -> None:
    assert all(len(readings("9" * length)) <= 6 for length in range(1, 400))


def test_letters_sound_as_the_dictionary_says_for_most_words() -> None:
    entries = [line.split() for line in DICTIONARY if re.match("[a-z]+ ", line)]
    sample = random.Random(1).sample(entries, 2_000)
    assert sum(may_sound(word, phones) for word, *phones in sample) > 0.8 * len(sample)


def may_sound(word: str, phones: list[str]) -> bool:
    reached = {0}
    for ways in sounds(word):
        reached = {
            at + len(way) for at in reached for way in ways if phones[at:][: len(way)] == [*way]
        }
    return len(phones) in reached
