from __future__ import annotations

import pytest

from unisono.languages import language_name, primary_subtag


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("en", "english"),
        ("EN-gb", "english"),
        ("zh-Hant-TW", "chinese"),
        ("de_DE", "german"),
        ("ht", "haitian creole"),
        ("haw", "hawaiian"),
        ("jv", "javanese"),
        ("yue", "cantonese"),
    ],
)
def test_a_tag_becomes_the_english_name_of_its_language(tag: str, name: str) -> None:
    assert language_name(tag) == name


@pytest.mark.parametrize("tag", ["und", "tlh", "x-Private", "", "english"])
def test_an_unknown_tag_stays_as_it_is(tag: str) -> None:
    assert language_name(tag) == tag


def test_the_primary_subtag_comes_first_and_in_lower_case() -> None:
    assert primary_subtag("ZH-Hant-TW") == "zh"
