from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from openai.types.audio import TranscriptionDiarized, TranscriptionVerbose

from unisono.subtitles import (
    separator,
    to_diarized_json,
    to_diarized_segment,
    to_logprobs,
    to_srt,
    to_text,
    to_verbose_json,
    to_vtt,
)
from unisono.types import Segment, TokenLogprob, Word

SEGMENTS = (
    Segment("Hello there.", 0.0, 1.5, (Word(" Hello", 0.1, 0.5), Word(" there.", 0.5, 1.23456))),
    Segment("How are you?", 1.5, 3.0004, speaker="Anna"),
)


def verbose(
    segments: tuple[Segment, ...] = SEGMENTS,
    granularities: tuple[str, ...] = (),
    duration: float = 3.2,
    language: str = "en-GB",
) -> dict[str, object]:
    return to_verbose_json(
        segments,
        duration=duration,
        language=language,
        task="transcribe",
        granularities=frozenset(granularities),
    )


def test_text_is_joined_with_single_spaces() -> None:
    segments = [Segment(" Hello \n there. ", 0, 1), Segment("  ", 1, 2), Segment("Bye.", 2, 3)]
    assert to_text(segments) == "Hello there. Bye."


def test_no_segments_make_an_empty_text() -> None:
    assert to_text([]) == ""


@pytest.mark.parametrize(
    ("before", "after", "between"),
    [
        ("你好。", "今天好", ""),
        ("こんにちは", "カナ", ""),
        ("他说“好。”", "“然后呢？”", ""),
        ("안녕하세요.", "반갑습니다.", " "),
        ("สวัสดี", "ครับ", " "),
        ("Hello.", "你好。", " "),
        ("“Yes.”", "“No.”", " "),
        ("…", "…", " "),
        ("", "Hello.", ""),
        ("Hello.", " ", ""),
    ],
)
def test_only_scripts_with_spaces_get_one(before: str, after: str, between: str) -> None:
    assert separator(before, after) == between


def test_separators_make_a_stream_join_to_the_whole_text() -> None:
    texts = ["Hello.", "你好。", "再见。", "Bye."]
    streamed = [
        separator(before, after) + after for before, after in itertools.pairwise(["", *texts])
    ]
    assert "".join(streamed) == to_text([Segment(text, 0, 1) for text in texts])


def test_srt_numbers_its_cues_and_names_speakers() -> None:
    assert to_srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n"
        "\n2\n00:00:01,500 --> 00:00:03,000\nAnna: How are you?\n"
    )


def test_vtt_has_a_header_and_voices() -> None:
    assert to_vtt(SEGMENTS) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello there.\n"
        "\n00:00:01.500 --> 00:00:03.000\n<v Anna>How are you?\n"
    )


def test_no_segments_make_empty_subtitles() -> None:
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n\n"


@pytest.mark.parametrize(
    ("start", "end", "timing"),
    [
        (0.0004, 1.0006, "00:00:00,000 --> 00:00:01,001"),
        (59.9996, 61.0, "00:01:00,000 --> 00:01:01,000"),
        (3599.9999, 3601.25, "01:00:00,000 --> 01:00:01,250"),
        (3_999_999.0, 4_000_000.5, "1111:06:39,000 --> 1111:06:40,500"),
        (2.0, 2.0, "00:00:02,000 --> 00:00:02,001"),
        (2.0, 1.0, "00:00:02,000 --> 00:00:02,001"),
        (-1.0, -0.5, "00:00:00,000 --> 00:00:00,001"),
    ],
)
def test_times_are_whole_milliseconds_and_cues_last(start: float, end: float, timing: str) -> None:
    segments = [Segment("Hello.", start, end)]
    duration = max(0.0, end)  # no time after the segment to go on
    assert to_srt(segments, duration=duration).splitlines()[1] == timing
    assert to_vtt(segments, duration=duration).splitlines()[2] == timing.replace(",", ".")


def test_a_cue_of_two_lines_stays_one_cue() -> None:
    text = "It was a bright cold day in April, and the clocks were striking thirteen."
    lines = ["It was a bright cold day in April,", "and the clocks were striking thirteen."]
    segments = [Segment(text, 0, 5, speaker="Anna")]
    assert to_vtt(segments).splitlines()[3:] == [f"<v Anna>{lines[0]}", lines[1]]
    assert to_srt(segments).splitlines()[2:] == [f"Anna: {lines[0]}", lines[1]]


def test_every_cue_of_vtt_has_its_voice_and_srt_names_it_once() -> None:
    text = "One sentence that is rather long. " * 4
    segments = [Segment(text, 0, 12, speaker="Anna"), Segment("No.", 12, 13, speaker="Bob")]
    assert to_vtt(segments).count("<v Anna>") == to_vtt(segments).count("-->") - 1 > 1
    assert to_srt(segments).count("Anna: ") == to_srt(segments).count("Bob: ") == 1


def test_segments_without_text_make_no_cue_and_take_no_number() -> None:
    segments = [Segment("One.", 0, 1), Segment(" \n ", 1, 2), Segment("Two.", 2, 3)]
    assert to_srt(segments).splitlines()[::4] == ["1", "2"]
    assert to_vtt(segments).count("-->") == 2


def test_line_breaks_in_text_and_speaker_cannot_end_a_cue() -> None:
    segments = [Segment("One\n\ntwo.\r\n", 0, 1, speaker="Anna\n\nB")]
    assert to_srt(segments).endswith("\nAnna B: One two.\n")
    assert to_vtt(segments).endswith("\n<v Anna B>One two.\n")


def test_vtt_escapes_markup() -> None:
    segments = [Segment("a < b & c --> <i>d</i>", 0, 1, speaker="A>B")]
    assert to_vtt(segments).endswith("<v A&gt;B>a &lt; b &amp; c --&gt; &lt;i&gt;d&lt;/i&gt;\n")


def test_srt_text_cannot_pass_for_a_timing() -> None:
    assert to_srt([Segment("a --> b", 0, 1)]).endswith("\na -> b\n")


def test_verbose_json_is_what_the_openai_sdk_expects() -> None:
    body = verbose(granularities=("word", "segment"))
    parsed = TranscriptionVerbose.model_validate(body)
    assert parsed.language == "english"
    assert parsed.duration == 3.2
    assert parsed.text == "Hello there. How are you?"
    assert parsed.usage is not None
    assert (parsed.usage.type, parsed.usage.seconds) == ("duration", 4)


def test_verbose_json_says_what_else_an_engine_heard() -> None:
    segment = Segment("Ha!", 0, 1, speaker="Anna", emotion="happy", events=("laughter",))
    body: Any = verbose((segment,))
    heard = {name: body["segments"][0].get(name) for name in ("speaker", "emotion", "events")}
    assert heard == {"speaker": "Anna", "emotion": "happy", "events": ("laughter",)}
    TranscriptionVerbose.model_validate(body)


def test_words_that_another_model_timed_are_marked() -> None:
    words = (Word("a", 0, 1), Word("b", 1, 2, estimated=True))
    body = verbose((Segment("a b", 0, 2, words=words),), ("word",))
    assert body["words"] == [
        {"word": "a", "start": 0, "end": 1},
        {"word": "b", "start": 1, "end": 2, "estimated": True},
    ]


def test_verbose_json_segments_have_all_ten_keys() -> None:
    nobody = tuple(replace(segment, speaker=None) for segment in SEGMENTS)
    assert verbose(nobody)["segments"] == [
        {
            "id": index,
            "seek": 0,
            "start": start,
            "end": end,
            "text": text,
            "tokens": [],
            "temperature": 0.0,
            "avg_logprob": 0.0,
            "compression_ratio": 0.0,
            "no_speech_prob": 0.0,
        }
        for index, start, end, text in [
            (0, 0.0, 1.5, "Hello there."),
            (1, 1.5, 3.0, "How are you?"),
        ]
    ]


def test_verbose_json_carries_what_the_engine_knows() -> None:
    known = Segment(
        "Hi.",
        0,
        1,
        avg_logprob=-0.25,
        no_speech_prob=0.125,
        compression_ratio=1.5,
        temperature=0.2,
        tokens=(1, 2),
    )
    parsed = TranscriptionVerbose.model_validate(verbose((known,)))
    assert parsed.segments is not None
    (segment,) = parsed.segments
    assert (segment.avg_logprob, segment.no_speech_prob) == (-0.25, 0.125)
    assert (segment.compression_ratio, segment.temperature) == (1.5, 0.2)
    assert segment.tokens == [1, 2]


@pytest.mark.parametrize(
    ("granularities", "present"),
    [
        ((), {"segments"}),
        (("segment",), {"segments"}),
        (("word",), {"words"}),
        (("word", "segment"), {"words", "segments"}),
    ],
)
def test_granularities_choose_words_and_segments(
    granularities: tuple[str, ...], present: set[str]
) -> None:
    body = verbose(granularities=granularities)
    assert set(body) == {"task", "language", "duration", "text", "usage"} | present


def test_words_are_bare_and_timed_to_the_millisecond() -> None:
    assert verbose(granularities=("word",))["words"] == [
        {"word": "Hello", "start": 0.1, "end": 0.5},
        {"word": "there.", "start": 0.5, "end": 1.235},
    ]


@pytest.mark.parametrize(("duration", "seconds"), [(0, 0), (0.1, 1), (3.0000000001, 3), (3.2, 4)])
def test_usage_counts_begun_seconds(duration: float, seconds: int) -> None:
    assert verbose(duration=duration)["usage"] == {"type": "duration", "seconds": seconds}


def test_diarized_json_is_what_the_openai_sdk_expects() -> None:
    body = to_diarized_json(SEGMENTS, duration=3.2)
    parsed = TranscriptionDiarized.model_validate(body)
    assert [segment.speaker for segment in parsed.segments] == ["unknown", "Anna"]
    assert set(body) == {"task", "duration", "text", "segments", "usage"}
    assert body["segments"][1] == {
        "type": "transcript.text.segment",
        "id": "seg_002",
        "start": 1.5,
        "end": 3.0,
        "text": "How are you?",
        "speaker": "Anna",
    }


def test_a_streamed_diarized_segment_is_the_one_of_the_whole() -> None:
    body = to_diarized_json(SEGMENTS, duration=3.2)
    assert [to_diarized_segment(i, segment) for i, segment in enumerate(SEGMENTS)] == body[
        "segments"
    ]


@pytest.mark.parametrize("value", [float("-inf"), float("nan"), np.float32(-20000)])
def test_what_is_as_good_as_impossible_is_a_number_of_json(value: float) -> None:
    segment = Segment("hi", 0.0, 1.0, logprobs=(TokenLogprob("hi", value),))
    (token,) = to_logprobs([segment])
    assert json.loads(json.dumps(token, allow_nan=False))["logprob"] == -9999


def test_numbers_that_json_does_not_know_are_left_at_zero() -> None:
    segment = Segment("hi", 0.0, 1.0, avg_logprob=float("nan"), compression_ratio=float("inf"))
    text = json.dumps(verbose((segment,)), allow_nan=False)
    (body,) = json.loads(text)["segments"]
    assert (body["avg_logprob"], body["compression_ratio"]) == (0, 0)
