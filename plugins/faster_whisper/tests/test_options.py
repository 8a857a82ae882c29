"""What a request can ask for, and what it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from unisono import RequestError
from unisono_faster_whisper.options import FasterWhisperParams

RATE = 16_000


def refused(write, *args, **options) -> str:
    """Transcribe, and return the field that is refused."""
    with pytest.raises(RequestError) as caught:
        write(*args, **options)
    assert caught.value.param is not None
    assert caught.value.param in str(caught.value)
    return caught.value.param


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 1},
        {"beam_size": 16, "patience": 4},
        {"length_penalty": 0},
        {"length_penalty": 2, "repetition_penalty": 1.1},
        {"no_repeat_ngram_size": 32},
        {"compression_ratio_threshold": 100, "log_prob_threshold": -100, "no_speech_threshold": 1},
        {"condition_on_previous_text": False},
        {"prompt_reset_on_temperature": 0},
        {"suppress_tokens": []},
        {"suppress_tokens": [-1, 5]},
        {"without_timestamps": True},
        {"max_initial_timestamp": 30},
        {"max_new_tokens": 220},
        {"hallucination_silence_threshold": 2},
        {"prepend_punctuations": "", "append_punctuations": "", "word_timestamps": True},
        {"multilingual": True},
        {"language_detection_threshold": 1, "language_detection_segments": 20},
        {"clip_timestamps": [0, 1.5]},
        {"clip_timestamps": [0]},
        {"vad_filter": False},
        {"vad_threshold": 0.9, "vad_neg_threshold": 0.1, "vad_min_speech_duration_ms": 200},
        {"vad_max_speech_duration_s": 5, "vad_speech_pad_ms": 2000},
        {"vad_min_silence_duration_ms": 0},
        {"temperature": 1e-30},
    ],
)
def test_options_at_their_bounds_are_taken(write, hello, options) -> None:
    assert write(hello, **options)[0].text == "hello world"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("beam_size", 0),
        ("beam_size", 17),
        ("best_of", 17),
        ("patience", 0.5),
        ("length_penalty", -1),
        ("repetition_penalty", 0),
        ("temperature_fallback", [0]),
        ("temperature_fallback", [0.5] * 11),
        ("suppress_tokens", [-2]),
        ("suppress_tokens", [1] * 1001),
        ("max_new_tokens", 449),
        ("clip_timestamps", [-1]),
        ("clip_timestamps", [float("nan")]),
        ("clip_timestamps", [float("inf")]),
        ("log_prob_threshold", float("nan")),
        ("vad_speech_pad_ms", 2001),
        ("vad_max_speech_duration_s", 4.9),
        ("chunk_length", 31),
        ("prefix", "x" * 1001),
    ],
)
def test_options_are_bounded(option, value) -> None:
    with pytest.raises(ValidationError):
        FasterWhisperParams.model_validate({option: value})


def test_a_token_that_does_not_exist_is_refused_before_it_crashes_the_process(write, hello) -> None:
    for token in (1928, 2**31 - 1, 2**40):
        assert refused(write, hello, suppress_tokens=[-1, token]) == "suppress_tokens"


def test_suppressed_tokens_are_not_written(write, hello) -> None:
    (segment,) = write(hello)
    text = next(token for token in segment.tokens if token < 300)
    for again in write(hello, suppress_tokens=[text]):
        assert text not in again.tokens


def test_the_temperatures_start_with_that_of_the_request(write, hello) -> None:
    never = {"log_prob_threshold": 0.0}  # no text is certain, so all are tried
    ends = {
        write(hello, **never)[0].temperature,
        write(hello, temperature=0.5, **never)[0].temperature,
    }
    assert ends == {1.0}
    assert write(hello, temperature_fallback=[], **never)[0].temperature == 0.0
    assert write(hello, temperature_fallback=[0.4], **never)[0].temperature == 0.4
    (segment,) = write(hello, temperature=0.7, temperature_fallback=[0.2], **never)
    assert segment.temperature == 0.7


def test_a_prompt_and_keywords_change_what_is_heard(loaded, request_of, folder, hello) -> None:
    engine = loaded(folder("random"))
    options = {"language": "en", "temperature_fallback": [], "max_new_tokens": 20}
    plain, prompted, expecting = (
        [s.tokens for s in engine.transcribe(request_of(hello, **options, **more))]
        for more in ({}, {"prompt": "Good morning."}, {"hotwords": ("unisono", "espeak")})
    )
    assert plain != prompted != expecting != plain


def test_a_transcript_begins_with_the_prefix(write, hello) -> None:
    assert write(hello, prefix="hello")[0].text == "hello world"


def test_prompts_of_any_length_with_keywords_leave_room_for_text(write, hello) -> None:
    """The library would fail in the middle of the transcript, at the 448th token."""
    prompt = "good morning " * 100_000
    for options in ({}, {"hotwords": ("guten tag",) * 8}, {"prefix": "hello"}):
        write(hello, prompt=prompt, temperature_fallback=[], **options)


def test_more_keywords_than_fit_are_refused(write, hello) -> None:
    words = tuple(f"word{number}" for number in range(1000))
    assert refused(write, hello, hotwords=words) == "keywords"
    assert refused(write, hello, hotwords=("x" * 10_000_000,)) == "keywords"
    assert refused(write, hello, prefix="hello " * 150) == "prefix"
    assert write(hello, hotwords=("", " ")) == write(hello)


def test_prompts_cannot_smuggle_in_control_tokens(write, hello) -> None:
    for token in ("<|startoftranscript|>", "a <|de|> b", "<|translate|>", "<|0.00|>"):
        assert refused(write, hello, prompt=token) == "prompt"
        assert refused(write, hello, hotwords=("ok", token)) == "keywords"
        assert refused(write, hello, prefix=token) == "prefix"


def test_odd_characters_in_prompts_break_nothing(write, hello) -> None:
    for text in ("\ud800", "a\0b", "\u202e", "<|", "|>"):
        assert write(hello, prompt=text, temperature_fallback=[])
        assert write(hello, hotwords=(text,), temperature_fallback=[])


def test_a_window_cannot_have_more_tokens_than_there_is_room_for(write, hello) -> None:
    assert refused(write, hello, max_new_tokens=221) == "max_new_tokens"
    assert refused(write, hello, max_new_tokens=220, hotwords=("hi",)) == "max_new_tokens"


def test_only_the_parts_that_are_asked_for_are_transcribed(write, apart) -> None:
    segments = write(apart, clip_timestamps=[30, 32, 60, 62], language="en")
    assert [round(segment.start) for segment in segments] == [30, 60]


def test_silence_before_made_up_text_needs_words_and_gets_them(write, hello) -> None:
    (segment,) = write(hello, hallucination_silence_threshold=1)
    assert segment.words == ()
    assert type(segment.start) is float


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"prefix": "a", "hotwords": ("b",)}, "prefix"),
        ({"prefix": "a", "clip_timestamps": [0.5, 1]}, "prefix"),
        ({"multilingual": True, "language": "de"}, "multilingual"),
        ({"vad_filter": False, "vad_threshold": 0.4}, "vad_threshold"),
        ({"clip_timestamps": [0, 1], "vad_speech_pad_ms": 10}, "vad_speech_pad_ms"),
        ({"clip_timestamps": [1, 0.5]}, "clip_timestamps"),
        ({"clip_timestamps": [0, 0]}, "clip_timestamps"),
        ({"clip_timestamps": [9]}, "clip_timestamps"),
        ({"chunk_length": 10}, "chunk_length"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(write, hello, options, field) -> None:
    assert refused(write, hello, **options) == field


@pytest.mark.parametrize(
    "option",
    [
        {"best_of": 3},
        {"temperature_fallback": [0.5]},
        {"condition_on_previous_text": True},
        {"prefix": "a"},
        {"no_speech_threshold": 0.5},
        {"hallucination_silence_threshold": 1.0},
        {"vad_max_speech_duration_s": 10},
    ],
)
def test_options_that_batches_ignore_are_refused(write_batched, hello, option) -> None:
    assert refused(write_batched, hello, **option) == next(iter(option))


def test_options_of_batches_are_taken(write_batched, hello) -> None:
    options = {"beam_size": 2, "chunk_length": 5, "vad_threshold": 0.4}
    assert write_batched(hello, without_timestamps=False, **options)[0].text == "hello world"
    assert write_batched(hello, clip_timestamps=[0])[0].text == "hello world"


def test_a_batched_model_needs_to_know_where_to_cut_long_audio(write_batched, apart) -> None:
    assert refused(write_batched, apart, vad_filter=False) == "vad_filter"
    assert refused(write_batched, apart, clip_timestamps=[0]) == "clip_timestamps"
    assert refused(write_batched, apart, clip_timestamps=[0, 31]) == "clip_timestamps"


def test_batches_are_cut_at_short_pauses_though_another_option_of_the_detector_is_set(
    write_batched, hello
) -> None:
    every = 2.0
    audio = np.tile(np.pad(hello, (0, int(every * RATE) - len(hello))), 8)
    pieces = write_batched(audio, chunk_length=5, vad_threshold=0.45, vad_speech_pad_ms=30)
    assert len(pieces) > 1
    for piece in pieces:
        assert abs(piece.start - every * round(piece.start / every)) < 0.2
