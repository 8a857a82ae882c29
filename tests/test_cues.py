from __future__ import annotations

import itertools
import random
import unicodedata
from functools import cache

import pytest

from unisono.breaks import columns
from unisono.cues import Cue, make_cues
from unisono.types import Segment, Word

FAMILY, FLAG, ACCENT, THAI = "👨‍👩‍👧", "🇩🇪", "e\u0301", "ที่"
TOKENS = {
    "en": "the of a fox jumps over it. And then, nobody (at all) said: “Why?” well-known … — 42%",
    "de": "Straße, weil z. B. für der Übermut. Was? „Nein“, sagte er; Donaudampfschifffahrt!",
    "fr": "Bonjour ! Est-ce que l'œuvre « belle » ? Oui : là, à côté.",
    "ar": "مرحبا بكم، في البرنامج. هل زرتم؟ نعم؛ أخبرونا",
    "ko": "오늘은 날씨가 좋아서, 공원에 갔습니다. 정말?",
    "zh": "今天，天气很好。 他说：“好！” 《红楼梦》、Python3 （不错）…… 你呢？",
    "ja": "今日は、 「もう帰ろう」と 言った。 スーパー ちょっと！ 待って…",
    "th": f"สวัสดีครับ {THAI}ประวัติศาสตร์ของกรุงเทพมหานครซึ่งเป็นเมืองหลวงของประเทศไทย ต่าง ๆ นี้",
    "odd": f"{FAMILY * 30} {FLAG * 30} {ACCENT * 60} {'https://a.b/' * 9} ♪ {'!' * 50} - . x",
}


def bare(text: str) -> str:
    return "".join(text.split())


def random_segment(chance: random.Random, start: float) -> Segment:
    """Return a segment that may have words, which may lack punctuation or be missing."""
    language = chance.choice([*TOKENS])
    tokens = chance.choices(TOKENS[language].split(), k=chance.choice([1, 3, 10, 60]))
    text = ("" if language in {"zh", "ja"} else " ").join(tokens)
    per_token = chance.choice([0.02, 0.3, 0.5, 3.0])
    at, words = start, []
    for token in tokens:
        at += chance.choice([0, 0, 0, 0, 0.3, 1.0])
        spelled = token.strip(",.?!") if chance.random() < 0.2 else token
        if chance.random() < 0.9:
            words.append(Word(f" {spelled}", at, at + per_token * (chance.random() > 0.1)))
        at += per_token
    speaker = chance.choice([None, "Anna", "Dr. Bob"])
    known = tuple(words) if chance.random() < 0.6 else ()
    return Segment(text, start, at, known, speaker, language)


def random_transcript(seed: int) -> tuple[list[Segment], float]:
    """Return segments that do not overlap, and how long their audio is."""
    chance = random.Random(seed)
    segments: list[Segment] = []
    at = 0.0
    for _ in range(chance.randint(1, 5)):
        segments.append(random_segment(chance, at))
        at = segments[-1].end + chance.choice([0, 0, 0.1, 2.0])
    return segments, at


@cache
def transcripts() -> list[tuple[list[Segment], float, list[Cue]]]:
    made = [random_transcript(seed) for seed in range(150)]
    return [(*one, make_cues(one[0], duration=one[1], language="en")) for one in made]


def cut(text: str, seconds: float, words: tuple[Word, ...] = (), language: str = "en") -> list[Cue]:
    return make_cues([Segment(text, 0, seconds, words)], language=language)


def spoken(text: str, pauses: dict[int, float], each: float = 0.3) -> tuple[Word, ...]:
    """Return the words of a text, with pauses before those of the given numbers."""
    words, at = [], 0.0
    for number, word in enumerate(text.split()):
        at += pauses.get(number, 0)
        words.append(Word(word, at, at + each))
        at += each
    return tuple(words)


def shown(cues: list[Cue]) -> list[str]:
    return ["/".join(cue.lines) for cue in cues]


# What holds for every transcript


def test_nothing_is_lost_and_nothing_moves() -> None:
    for segments, _, cues in transcripts():
        text = "".join(segment.text for segment in segments)
        assert bare("".join(itertools.chain(*(cue.lines for cue in cues)))) == bare(text)


def test_cues_are_at_most_two_lines_of_42_columns() -> None:
    for _, _, cues in transcripts():
        for cue in cues:
            assert len(cue.lines) in {1, 2}
            for line in cue.lines:
                assert line == line.strip() != ""
                assert columns(line) <= 42


def test_cues_do_not_overlap_and_last_at_most_seven_seconds() -> None:
    for segments, _, cues in transcripts():
        assert all(0 < cue.end - cue.start <= 7000 for cue in cues)
        assert all(one.end <= two.start for one, two in itertools.pairwise(cues))
        assert cues[0].start >= segments[0].start


def test_cues_can_be_read_where_there_is_time() -> None:
    for _, duration, cues in transcripts():
        ends = [cue.start for cue in cues[1:]] + [round(duration * 1000)]
        for cue, end in zip(cues, ends, strict=True):
            wanted = max(833, sum(map(columns, cue.lines)) * 50)
            assert cue.end - cue.start >= min(wanted, end - cue.start) - 1


def test_a_speaker_starts_a_new_cue() -> None:
    for segments, _, cues in transcripts():
        said = {(segment.speaker, char) for segment in segments for char in bare(segment.text)}
        for cue in cues:
            assert {(cue.speaker, char) for char in bare("".join(cue.lines))} <= said


def test_no_line_begins_within_a_grapheme_or_with_closing_punctuation() -> None:
    for _, _, cues in transcripts():
        for line in itertools.chain(*(cue.lines for cue in cues)):
            assert unicodedata.category(line[0]) not in {"Mn", "Mc", "Cf"}
            assert line[0] not in "、。，！？」』）》”ー"
            assert line[-1] not in "「『（《“"


def test_graphemes_stay_whole() -> None:
    for cluster in (FAMILY, FLAG, ACCENT, THAI, "กี่", "한", "👍🏽"):
        lines = itertools.chain(*(cue.lines for cue in cut(cluster * 200, 60)))
        assert {len(line) % len(cluster) for line in lines} == {0}


# Examples


@pytest.mark.parametrize(
    ("language", "seconds", "text", "expected"),
    [
        (
            "en",
            13,
            "The quick brown fox jumps over the lazy dog, and then it runs into the forest. Nobody "
            "has ever seen it again, although many people went looking for it in the following "
            "years. Dr. Smith says it is fine.",
            [
                "The quick brown fox jumps over the lazy/dog, and then it runs into the forest.",
                "Nobody has ever seen it again,",
                "although many people went looking/for it in the following years.",
                "Dr. Smith says it is fine.",
            ],
        ),
        (
            "de",
            12,
            "Der Zug nach Köln fährt heute von Gleis zwölf ab, weil auf dem gewohnten Bahnsteig "
            "gebaut wird. Bitte achten Sie auf die Durchsagen, z. B. am Bahnsteig, und steigen Sie "
            "rechtzeitig ein.",
            [
                "Der Zug nach Köln fährt/heute von Gleis zwölf ab,",
                "weil auf dem gewohnten/Bahnsteig gebaut wird.",
                "Bitte achten Sie auf die Durchsagen,",
                "z. B. am Bahnsteig,/und steigen Sie rechtzeitig ein.",
            ],
        ),
        (
            "zh",
            14,
            "今天我们来谈谈人工智能的发展，它已经改变了我们的生活方式。很多人担心机器会取代人类的工作，但是也有人认为，新的技术会带来更多的机会。",
            [
                "今天我们来谈谈人工智能的发展，/它已经改变了我们的生活方式。",
                "很多人担心机器会取代人类的工作，",
                "但是也有人认为，新的技术会带来更多的机会。",
            ],
        ),
        (
            "ja",
            14,
            "今日は天気がとても良いので、友達と一緒に公園へ行って、お弁当を食べながらゆっくり過ごしました。夕方になると少し寒くなったので、「もう帰ろう」と言って家に戻りました。",
            [
                "今日は天気がとても良いので、/友達と一緒に公園へ行って、",
                "お弁当を食べながらゆっくり過ごしました。",
                "夕方になると少し寒くなったので、/「もう帰ろう」と言って家に戻りました。",
            ],
        ),
        (
            "th",
            11,
            "สวัสดีครับ วันนี้เราจะมาพูดถึงประวัติศาสตร์ของกรุงเทพมหานครซึ่งเป็นเมืองหลวงของประเทศไทย "
            "และสถานที่ท่องเที่ยวที่น่าสนใจมากมาย",
            [
                "สวัสดีครับ/วันนี้เราจะมาพูดถึงประวัติศาสตร์ของกรุงเทพมหานครซึ่ง",
                "เป็นเมืองหลวงของประเทศไทย/และสถานที่ท่องเที่ยวที่น่าสนใจมากมาย",
            ],
        ),
        (
            "ar",
            12,
            "مرحبا بكم في هذا البرنامج الجديد، سنتحدث اليوم عن تاريخ المدينة القديمة وأسواقها. "
            "هل زرتم هذه الأماكن من قبل؟ أخبرونا عن تجاربكم في التعليقات.",
            [
                "مرحبا بكم في هذا البرنامج الجديد، سنتحدث/اليوم عن تاريخ المدينة القديمة وأسواقها.",
                "هل زرتم هذه الأماكن من قبل؟/أخبرونا عن تجاربكم في التعليقات.",
            ],
        ),
        (
            "fr",
            9,
            "Bonjour ! Est-ce que vous avez vu le film « Les Enfants du Paradis » ? C'est un "
            "chef-d'œuvre : il faut absolument le voir au cinéma.",
            [
                "Bonjour ! Est-ce que vous avez vu/le film « Les Enfants du Paradis » ?",
                "C'est un chef-d'œuvre :/il faut absolument le voir au cinéma.",
            ],
        ),
    ],
)
def test_cues_break_where_a_reader_would(
    language: str, seconds: float, text: str, expected: list[str]
) -> None:
    assert shown(cut(text, seconds, language=language)) == expected


def test_a_segment_that_fits_keeps_its_own_times() -> None:
    text = "Yes. I think so."
    words = (Word("Yes.", 1.2, 1.5), Word("I", 1.6, 1.7), Word("think", 1.7, 2), Word("so", 2, 2.2))
    (cue,) = make_cues([Segment(text, 1.0, 2.5, words)])
    assert (cue.lines, cue.start, cue.end) == ((text,), 1000, 2500)


def test_a_segment_that_is_mostly_silence_is_timed_by_its_words() -> None:
    (cue,) = cut("Hello there.", 30, (Word("Hello", 20, 20.5), Word("there.", 20.5, 21.5)))
    assert (cue.start, cue.end) == (20_000, 21_500)


def test_a_short_text_of_a_long_segment_without_words_is_shown_once() -> None:
    (cue,) = cut("Thanks for watching everyone.", 30)
    assert (cue.start, cue.end) == (0, 7000)


def test_a_pause_ends_a_cue_and_a_breath_does_not() -> None:
    text = "I said that I think so."
    assert len(cut(text, 3, spoken(text, {4: 0.4}))) == 1
    cues = cut(text, 3, spoken(text, {4: 0.6}))
    assert shown(cues) == ["I said that I", "think so."]
    assert [(cue.start, cue.end) for cue in cues] == [(0, 1200), (1800, 2633)]


def test_words_are_seams_of_scripts_that_write_none() -> None:
    parts = "สวัสดี ครับ วันนี้ เรา จะ มา พูด ถึง ประวัติศาสตร์ ของ กรุงเทพมหานคร ซึ่ง เป็น เมืองหลวง ของ ประเทศไทย"
    cues = cut(parts.replace(" ", ""), 6, spoken(parts, {8: 0.6}), "th")
    assert shown(cues) == [
        "สวัสดีครับวันนี้เราจะมาพูดถึง",
        "ประวัติศาสตร์ของกรุงเทพมหานคร/ซึ่งเป็นเมืองหลวงของประเทศไทย",
    ]


def test_a_very_short_sentence_has_company() -> None:
    text = (
        "No. I have never been to this part of the country before, said the old man, and he went "
        "on looking for his glasses."
    )
    assert shown(cut(text, 8, spoken(text, {})))[0].startswith("No. I have never")


def test_without_words_time_is_shared_out_over_letters() -> None:
    sentence = "Aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa."
    cues = cut(f"{sentence} {sentence} {sentence}", 9)
    assert [(cue.start, cue.end) for cue in cues] == [(0, 3000), (3000, 6000), (6000, 9000)]


def test_words_that_are_spelled_otherwise_are_passed_over() -> None:
    text = "The number is twenty three, he said, and I did not believe a word of it, as you know."
    heard = "the number is 23 he said and i did not believe a word of it as you know"
    cues = cut(text, 9, spoken(heard, {6: 1.2}))
    assert shown(cues)[0] == "The number is twenty three, he said,"
    assert (cues[0].end, cues[1].start) == (1800, 3000)


def test_words_without_duration_tell_nothing() -> None:
    text = "One sentence that is rather long, as it seems. And another one, no shorter than that."
    words = tuple(Word(word, 0, 0) for word in text.split())
    assert cut(text, 6, words) == cut(text, 6)


def test_a_cue_lasts_longer_for_its_reader_but_not_beyond_the_next_or_the_end() -> None:
    def ends(second: float, duration: float) -> list[int]:
        segments = [Segment("A rather long line, said fast.", 0, 0.2), Segment("No.", second, 8.2)]
        return [cue.end for cue in make_cues(segments, duration=duration)]

    assert ends(8, 20) == [1500, 8833]
    assert ends(1, 20)[0] == 1000
    assert ends(8, 8.3)[1] == 8300


def test_overlaps_of_engines_are_cut_unless_two_talk_at_once() -> None:
    def times(second: float) -> list[tuple[int, int]]:
        segments = [Segment("One.", 0, 3, speaker="A"), Segment("Two.", second, 4, speaker="B")]
        return [(cue.start, cue.end) for cue in make_cues(segments)]

    assert times(2.9) == [(0, 2900), (2900, 4000)]
    assert times(0.5) == [(0, 3000), (500, 4000)]


def test_a_name_counts_as_a_part_of_its_line() -> None:
    text = "It was a bright cold day in April, again."
    segments = [Segment(text, 0, 3, speaker="Anna")]
    assert shown(make_cues(segments)) == [text]
    assert shown(make_cues(segments, labels=True)) == [
        "Anna: It was a bright/cold day in April, again."
    ]
