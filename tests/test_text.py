from __future__ import annotations

import itertools
import random
import re
import time

import pytest

from unisono.text import is_speakable, is_ssml, split_text

DIALOGUE = "She paid $3.14 to Dr. Smith at 5 p.m. today. Why? Nobody knows, e.g. not even me."
FRAGMENTS = [
    *"abc zéß.!?,;:…—–-*()[]\"'“”‘’«»¿\t\n\r%€+_#<&",
    *"你好世界。！？，、「」こんにちはカナ한국어",
    *"مرحبا؟،สวัสดีนะनमस्ते।\u0301\u200b\u200d\u00a0\u2029\ud800",
    *["\n\n", "  ", "Dr. ", "e.g. ", "3.14", "1. ", "...", "https://a.b/c.d?e=1.2 ", "It's "],
    *["👨‍👩‍👧", "🇩🇪", "👍🏽", "é", "Hello world. ", "今天天气很好。", "😀"],
]


def squeezed(text: str) -> str:
    return "".join(text.split())


def says_something(text: str) -> bool:
    return any(map(str.isalnum, text))


def random_texts(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(FRAGMENTS, k=rng.randint(1, 300))) for _ in range(count)]


@pytest.mark.parametrize("language", [None, "en-GB", "zh", "ja", "hi", "ar", "th", "tlh"])
def test_nothing_but_whitespace_is_lost(language: str | None) -> None:
    for index, text in enumerate(random_texts(1, 100)):
        segments = split_text(text, language=language, max_chars=1 + index)
        assert squeezed("".join(segments)) == squeezed(text)


def test_no_segment_is_longer_than_allowed() -> None:
    for index, text in enumerate(random_texts(2, 300)):
        if says_something(text):
            assert max(map(len, split_text(text, max_chars=1 + index))) <= 1 + index


def test_every_segment_says_something() -> None:
    for text in random_texts(3, 500):
        runs = [len(run) for run in re.findall(r"[\W_]+", text)]
        limit = 2 * max([20, *runs])
        segments = list(split_text(text, max_chars=limit))
        assert all(map(says_something, segments)) or segments == [text]


def test_first_sentence_stands_alone_and_later_ones_are_merged() -> None:
    segments = list(split_text("First one. Second one. Third one."))
    assert segments == ["First one.", "Second one. Third one."]


def test_a_very_short_first_sentence_is_joined_to_the_next() -> None:
    assert next(split_text("Hi. This is a test. And more.")) == "Hi. This is a test."


def test_a_long_first_sentence_is_cut_after_a_clause() -> None:
    text = "Well, this is a clause, and here the sentence goes on for quite a while without an end."
    assert next(split_text(text, first_chars=40)) == "Well, this is a clause,"


def test_a_long_first_sentence_without_a_clause_is_not_torn() -> None:
    text = "This sentence has no clause at all and is somewhat long. Another one."
    assert next(split_text(text, first_chars=20)).endswith("somewhat long.")


def test_segments_grow_up_to_the_longest() -> None:
    lengths = [len(segment) for segment in split_text("This is a fine sentence. " * 100)]
    assert lengths[0] < lengths[1] < lengths[2] < lengths[3]
    assert all(350 < length <= 400 for length in lengths[3:-1])


def test_paragraphs_are_never_merged() -> None:
    assert list(split_text("One is here.\n\nTwo.\r\n \r\nThree.\u2029Four.")) == [
        "One is here.",
        "Two.",
        "Three.",
        "Four.",
    ]


def test_a_line_break_does_not_end_a_paragraph() -> None:
    text = "Start here. A line that is\nwrapped. The end."
    assert list(split_text(text))[1] == "A line that is\nwrapped. The end."


def test_abbreviations_decimals_and_urls_do_not_end_sentences() -> None:
    assert next(split_text(DIALOGUE)) == "She paid $3.14 to Dr. Smith at 5 p.m. today."
    assert next(split_text("See https://a.b/c.d?x=1.5 now. Bye.")) == (
        "See https://a.b/c.d?x=1.5 now."
    )


@pytest.mark.parametrize("language", [None, "zh", "en"])
def test_chinese_sentences_end_without_spaces(language: str | None) -> None:
    segments = list(split_text("今天天气很好！他说：“是的。”我们走吧。", language=language))
    assert segments[0] == "今天天气很好！"


@pytest.mark.parametrize(
    ("language", "text", "first"),
    [
        ("ar", "كيف حالك اليوم؟ أنا بخير.", "كيف حالك اليوم؟"),
        ("hi", "आप कैसे हैं आज। मैं ठीक हूँ।", "आप कैसे हैं आज।"),
        ("ja-JP", "今日はいい天気です。明日は？", "今日はいい天気です。"),
        ("el", "Πώς είσαι σήμερα; Καλά.", "Πώς είσαι σήμερα;"),
        ("de_DE", "Das ist z. B. am 3. Mai gut. Ja.", "Das ist z. B. am 3. Mai gut."),
    ],
)
def test_sentences_end_as_their_language_has_it(language: str, text: str, first: str) -> None:
    assert next(split_text(text, language=language)) == first


def test_a_long_sentence_is_cut_after_a_clause_then_a_line_then_a_word() -> None:
    assert next(split_text("one two, three four", max_chars=17)) == "one two,"
    assert next(split_text("one two\nthree four", max_chars=17)) == "one two"
    assert next(split_text("one two three four", max_chars=17)) == "one two three"


def test_no_clause_ends_within_a_number_or_before_a_closing_quote() -> None:
    assert next(split_text("about 3,141,592 of them", max_chars=10)) == "about"
    assert next(split_text("他说「好的，」然后走了很远", max_chars=8)) == "他说「好的，」"


def test_a_long_word_is_cut_into_full_segments() -> None:
    assert [len(part) for part in split_text("a" * 1000)] == [400, 400, 200]


@pytest.mark.parametrize(
    "character",
    ["e\u0301\u0323", "👨‍👩‍👧", "🇩🇪", "👍🏽", "❤️", "क्षि", "\u1100\u1161\u11a8", "\ud83d\ude00"],
)
@pytest.mark.parametrize("letters", ["x", "xy", "xyz"])
def test_no_cut_falls_within_a_character_as_readers_see_it(character: str, letters: str) -> None:
    whole = re.compile(f"(?:[xyz]|{character})+")
    for segment in split_text((letters + character * 2) * 30, max_chars=len(character) + 2):
        assert whole.fullmatch(segment)


def test_a_character_longer_than_a_segment_is_cut_anyway() -> None:
    assert next(split_text("e" + "\u0301" * 5, max_chars=3)) == "e\u0301\u0301"


@pytest.mark.parametrize("symbols", ["***", "--- !!!", "😀😀", "(…)"])
def test_symbols_alone_go_with_a_neighbour(symbols: str) -> None:
    text = f"Before it.\n\n{symbols}\n\nAfter it."
    assert list(split_text(text)) == [f"Before it.\n\n{symbols}", "After it."]
    assert list(split_text(f"{symbols}\n\nAfter it.")) == [f"{symbols}\n\nAfter it."]


def test_closing_symbols_never_stand_alone_even_when_the_segment_is_full() -> None:
    *_, last = split_text("word " * 79 + "end. 😀😀😀")
    assert last.endswith("end. 😀😀😀")


@pytest.mark.parametrize("text", ["", "  \n", "...", "😀", "?!" * 200])
def test_a_text_with_nothing_to_say_stays_whole(text: str) -> None:
    assert list(split_text(text)) == [text]


@pytest.mark.parametrize("prolog", ["", "\n ", '<?xml version="1.0"?>\n'])
def test_an_ssml_document_is_known_by_its_root(prolog: str) -> None:
    assert is_ssml(prolog + "<speak>One sentence. Another one.</speak>")


def test_a_speaker_tag_is_not_ssml() -> None:
    assert not is_ssml("<speaker1> Good morning. Good evening.")


def test_symbols_without_end_are_cut_too() -> None:
    segments = list(split_text("!" * 99_000, max_chars=200))
    assert "".join(segments) == "!" * 99_000
    assert max(map(len, segments)) <= 200


def test_a_limit_below_one_character_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="max_chars"):
        split_text("Hello.", max_chars=0)


def test_the_first_segment_of_an_endless_paragraph_comes_before_the_rest_is_read() -> None:
    text = "This is a fine sentence, is it not? " * 300_000
    list(split_text("Warm up."))
    began = time.perf_counter()
    first = next(split_text(text))
    # Reading all of it takes seconds; a thousandth of it must not.
    assert time.perf_counter() - began < 1
    assert first == "This is a fine sentence, is it not?"


@pytest.mark.parametrize("noise", [".", "a", " ", "(", ")", '"', "“", "'", "\n", "🇩🇪", "\u0301"])
def test_a_million_equal_characters_take_linear_time(noise: str) -> None:
    text = "Hello. " + noise * (1_000_000 // len(noise)) + " Goodbye."
    began = time.perf_counter()
    segments = list(split_text(text))
    # A step that grows with the square of the length takes minutes here.
    assert time.perf_counter() - began < 30
    assert squeezed("".join(segments)) == squeezed(text)


def test_segments_come_lazily() -> None:
    assert len(list(itertools.islice(split_text("A line of text.\n\n" * 100_000), 3))) == 3


@pytest.mark.parametrize("text", ["a", "1", "%", "€", "+", "...", "😀", "你", " ๑ ", "\u0301"])
def test_what_an_engine_may_read_out_is_speakable(text: str) -> None:
    assert is_speakable(text)


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t\r\u00a0\u2029\u3000", "\x00\x1b", "\u200b\ufeff\u200d"]
)
def test_whitespace_and_invisible_characters_are_not_speakable(text: str) -> None:
    assert not is_speakable(text)
