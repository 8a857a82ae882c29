from __future__ import annotations

import pytest

from unisono_zipvoice.phonemes import phonemize
from unisono_zipvoice.tokens import chunk, punctuated
from unisono_zipvoice.wording import spell_chinese, spell_english


# What piper_phonemize 1.1.0 returns for "en-us", its sentences joined.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello world. How are you? Fine!", "həlˈoʊ wˈɜːld.hˈaʊ ɑːɹ juː?fˈaɪn!"),
        ("a, b, c, d; e: f", "ˈeɪ, bˈiː, sˈiː, dˈiː; ˈiː: ˈɛf"),
        ("A... b?! c", "ˈeɪbˈiː?sˈiː"),
        ('"Stop!" he said, "or else..." and left', "stˈɑːp!hiː sˈɛd, ɔːɹ ˈɛlsænd lˈɛft"),
        ("non–breaking — dash", "nˈɑːn bɹˈeɪkɪŋ; dˈæʃ"),
        ("He said: 'hi'. Then (she left).", "hiː sˈɛd: hˈaɪ.ðˈɛn ʃiː lˈɛft."),
        ("What?? Really!!! ok.", "wˌʌt?ɹˈiəli!ˌoʊkˈeɪ."),
        ("Bonjour, naïve café", "bɔːnʒˈʊɹ, naɪˈiːv kæfˈeɪ"),
        ("Laura was bored.", "lˈɔːɹə wʌz bˈoːɹd."),
        ("north or force, before war", "nˈɔːɹθ ɔːɹ fˈoːɹs, bᵻfˌoːɹ wˈɔːɹ"),
        ("paragraph\n\nand more", "pˈæɹəɡɹˌæfænd mˈoːɹ"),
        ("?!", ""),
    ],
)
def test_phonemes_are_those_of_piper(text, expected) -> None:
    assert "".join(phonemize(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mr. Smith owes $3.50", "mister. Smith owes three dollars, fifty cents"),
        ("in 1984, 2000, 2005, 1900", "in nineteen eighty-four, two thousand, two thousand five"),
        ("the 3rd of 1,234,567", "the third of one million, two hundred"),
        ("1/2, 3/4 and 2/3", "one half, three quarters and two third"),  # as upstream says it
        ("3.14 is 50%", "three point fourteen is fifty percent"),
        ("9" * 5000, "nine nine nine nine nine"),
        ("1.1" * 2000, "one point eleven"),
    ],
)
def test_numbers_become_words(text, expected) -> None:
    spelled = " ".join(spell_english(text).split()).replace(" ,", ",")
    assert spelled.startswith(expected)


def test_chinese_numerals_are_spelled(tokenizer) -> None:
    assert spell_chinese("我有5个") == "我有五个"
    assert tokenizer.tokenize("我有5个") == tokenizer.tokenize("我有五个")


def test_digits_alone_are_read_in_the_language_of_the_request(tokenizer) -> None:
    assert tokenizer.tokenize("7", "zh-CN") == tokenizer.tokenize("七")
    assert tokenizer.tokenize("7", "en") == tokenizer.tokenize("7") == phonemize(" seven ")


def test_pinyin_in_angle_brackets_and_tags_are_taken_as_they_are(tokenizer) -> None:
    assert tokenizer.tokenize("<hao3>") == ["h0", "ao3"]
    assert tokenizer.tokenize("[S1] 好 [S2] 好") == ["[S1]", "h0", "ao3", "[S2]", "h0", "ao3"]
    assert tokenizer.tokenize("好<nonsense>") == ["h0", "ao3"]


def test_unknown_tokens_are_left_out(tokenizer) -> None:
    assert tokenizer.encode(["h0", "☃", "ao3"]) == tokenizer.encode(["h0", "ao3"])


def test_texts_end_with_punctuation() -> None:
    assert punctuated(" Hello ") == "Hello."
    assert punctuated("好！") == "好！"
    assert punctuated("") == ""


def test_chunks_end_after_punctuation_and_keep_every_token() -> None:
    tokens = list("one, two. three four; five")
    chunks = chunk(tokens, 12)
    assert ["".join(part) for part in chunks] == ["one, two. ", "three four; ", "five"]


def test_a_sentence_without_punctuation_is_cut_between_words_and_syllables() -> None:
    chunks = chunk(list("aaaa bbbb cccc dddd"), 11)
    assert ["".join(part) for part in chunks] == ["aaaa bbbb ", "cccc dddd"]
    syllables = ["h0", "ao3"] * 5
    assert chunk(syllables, 3) == [["h0", "ao3"]] * 5


def test_dialogues_are_cut_where_the_first_speaker_begins() -> None:
    tokens = ["[S1]", "a", "[S2]", "b", "[S1]", "c", "[S2]", "d"]
    assert chunk(tokens, 5, turns=True) == [tokens[:4], tokens[4:]]
