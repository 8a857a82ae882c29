from __future__ import annotations

import numpy as np
import pytest
from tiny_funasr import pause, say

from unisono_funasr.sensevoice import parse


def test_each_utterance_is_a_segment_with_its_times(write, three: np.ndarray) -> None:
    segments = write("sensevoice", three, merge_vad=False)
    assert [segment.text for segment in segments] == ["你好世界", "1 hi hi好", "界"]
    for segment, start in zip(segments, (1.0, 5.3, 9.6), strict=True):
        assert start - 0.5 < segment.start < start
        assert segment.words == ()


def test_words_come_with_their_times_when_asked_for(write, three: np.ndarray) -> None:
    segments = write("sensevoice", three, merge_vad=False, word_timestamps=True)
    words = [word for segment in segments for word in segment.words]
    assert [word.text for word in words] == [*"你好世界", "1", "hi", "hi", "好", "界"]
    starts = [1.0, 1.45, 1.9, 2.35, 5.3, 5.75, 6.2, 6.65, 9.6]
    for word, start in zip(words, starts, strict=True):
        assert word.start == pytest.approx(start, abs=0.1)
        assert word.end == pytest.approx(start + 0.3, abs=0.1)


def test_short_pieces_are_read_together_unless_told_otherwise(write, three: np.ndarray) -> None:
    (segment,) = write("sensevoice", three)
    assert segment.text == "你好世界1 hi hi好界"
    assert len(write("sensevoice", three, merge_length_s=7)) == 2


def test_numbers_are_digits_unless_told_otherwise(write) -> None:
    audio = np.concatenate([say("你", "一"), pause(1)])
    assert [s.text for s in write("sensevoice", audio)] == ["你1"]
    assert [s.text for s in write("sensevoice", audio, use_itn=False)] == ["你一"]


@pytest.mark.parametrize(
    ("tag", "answer"),
    [(None, "zh"), ("yue", "yue"), ("ja-JP", "ja"), ("cmn-Hans", "zh"), ("en_GB", "en")],
)
def test_the_model_is_told_the_language(write, three: np.ndarray, tag, answer) -> None:
    assert {s.language for s in write("sensevoice", three, language=tag)} == {answer}


def test_segments_say_how_it_is_said_and_what_else_is_heard(write, three: np.ndarray) -> None:
    for segment in write("sensevoice", three):
        assert (segment.emotion, segment.events) == ("happy", ("speech",))


@pytest.mark.parametrize(
    ("line", "text", "language", "emotion", "events"),
    [
        ("<|zh|><|NEUTRAL|><|Speech|><|withitn|>你好。", "你好。", "zh", "neutral", ("speech",)),
        ("<|en|><|SAD|><|BGM|><|woitn|>hello there", "hello there", "en", "sad", ("bgm",)),
        (
            "<|yue|><|HAPPY|><|Applause|><|Laughter|>好<|zh|>呀",
            "好 呀",
            "yue",
            "happy",
            ("applause", "laughter"),
        ),
        ("<|nospeech|><|EMO_UNKNOWN|><|Event_UNK|><|woitn|>", "", None, None, ()),
        ("no tags < at | all >", "no tags < at | all >", None, None, ()),
    ],
)
def test_tags_are_no_text(line, text, language, emotion, events) -> None:
    reading = parse(line)
    found = (reading.text, reading.language, reading.emotion, reading.events)
    assert found == (text, language, emotion, events)


def test_pieces_may_be_read_together_with_the_same_result(write, three: np.ndarray) -> None:
    options = {"merge_vad": False, "word_timestamps": True}
    alone = write("sensevoice", three, **options)
    together = write("sensevoice", three, batch_size_s=60, **options)
    assert [s.text for s in together] == [s.text for s in alone]
    assert [(s.start, s.end) for s in together] == [(s.start, s.end) for s in alone]


def test_words_get_estimates_where_the_library_fails_to_time_them(
    write, loaded, three: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = loaded("sensevoice")._loaded.model.module
    original = module.inference

    def failing(*args, **options):
        if options["output_timestamp"]:
            raise IndexError("list index out of range")  # it counts a token twice
        return original(*args, **options)

    monkeypatch.setattr(module, "inference", failing)
    first, *_ = write("sensevoice", three, merge_vad=False, word_timestamps=True)
    assert [word.text for word in first.words] == [*"你好世界"]
    assert first.start == first.words[0].start < first.words[-1].end == first.end


def test_without_a_detector_all_audio_is_one_piece(loaded, request_of) -> None:
    engine = loaded("sensevoice", vad_model="none")
    assert engine.model.max_audio_seconds == 30
    audio = np.concatenate([pause(0.3), say("你", "好")])
    (segment,) = engine.transcribe(request_of(audio))
    assert (segment.text, segment.start, segment.end) == ("你好", 0.0, len(audio) / 16_000)
    list(engine.transcribe(request_of(audio[:100])))  # too short for any feature
