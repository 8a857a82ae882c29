"""Transcripts that say who speaks."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from tiny_funasr import pause

from unisono import (
    AudioChunk,
    CancelToken,
    Feature,
    KnownSpeaker,
    RequestError,
    Segment,
    SpeakerTurn,
)
from unisono_funasr import speakers
from unisono_funasr.speakers import speaker_of, with_speakers

RATE = 16_000
ADA, BOB, EVE = "en-us+f5", "en-us+alex", "en-us+klatt"
TURNS = [SpeakerTurn("A", 0.0, 5.0), SpeakerTurn("B", 5.0, 6.0), SpeakerTurn("A", 8.0, 9.0)]


@pytest.fixture(scope="module")
def dialogue(converse) -> np.ndarray:
    return converse([ADA, BOB, ADA], pause=1.0).samples


@pytest.fixture(scope="module")
def engine(loaded, campplus):
    return loaded("sensevoice", spk_model=campplus)


@pytest.fixture(scope="module")
def heard(engine, request_of):
    """Return the speakers of the segments: heard(samples, {name: samples}, **options)."""

    def hear(samples: np.ndarray, known=(), **options) -> list[str | None]:
        voices = (KnownSpeaker(name, AudioChunk(known[name], RATE)) for name in known)
        options = {"merge_vad": False, "speakers": True, **options}
        request = request_of(samples, known_speakers=tuple(voices), **options)
        return [segment.speaker for segment in engine.transcribe(request)]

    return hear


def test_each_segment_says_who_speaks(heard, dialogue: np.ndarray) -> None:
    assert heard(dialogue) == ["A", "B", "A"]


def test_sentences_say_who_speaks(loaded, campplus, request_of, dialogue: np.ndarray) -> None:
    engine = loaded("seaco", spk_model=campplus)
    assert engine.model.features >= {Feature.DIARIZATION, Feature.KNOWN_SPEAKERS}
    segments = list(engine.transcribe(request_of(dialogue, speakers=True)))
    assert len(segments) > 3
    assert [name for name, _ in groupby(s.speaker for s in segments)] == ["A", "B", "A"]


def test_segments_come_as_they_are_read(engine, request_of, dialogue: np.ndarray) -> None:
    request = request_of(dialogue, speakers=True, merge_vad=False)
    stream = engine.transcribe(request)
    assert next(stream).speaker == "A"
    request.cancel.cancel()
    assert list(stream) == []


def test_nobody_listens_for_speakers_that_nobody_wants(
    engine, request_of, dialogue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(features: object) -> None:
        raise AssertionError("a voice was listened to")

    monkeypatch.setattr(engine._loaded.speakers._model.module, "forward", forward)
    segments = list(engine.transcribe(request_of(dialogue, merge_vad=False)))
    assert [segment.speaker for segment in segments] == [None] * 3


def test_the_same_audio_has_the_same_speakers(heard, dialogue: np.ndarray) -> None:
    assert heard(dialogue) == heard(dialogue)


@pytest.mark.parametrize(("count", "names"), [(1, ["A", "A", "A"]), (3, ["A", "B", "C"])])
def test_there_are_as_many_speakers_as_are_said_to_be(heard, converse, count, names) -> None:
    talk = converse([ADA, BOB, EVE], pause=1.0)
    assert heard(talk.samples, preset_spk_num=count) == names


def test_silence_has_no_speaker(heard) -> None:
    assert heard(pause(5)) == []


def test_what_nobody_is_heard_to_say_has_no_speaker(heard, three: np.ndarray) -> None:
    """The tiny detector takes tones for speech; whoever listens for voices does not."""
    assert heard(three) == [None, None, None]


def test_known_speakers_are_called_by_their_names(heard, say, dialogue: np.ndarray) -> None:
    assert heard(dialogue, {"Bob": say(BOB, 4)}) == ["A", "Bob", "A"]
    assert heard(dialogue, {"Eve": say(EVE, 4)}) == ["A", "B", "A"]


def test_no_stranger_has_the_name_of_a_known_speaker(heard, say, dialogue: np.ndarray) -> None:
    assert heard(dialogue, {"A": say(BOB, 4)}) == ["B", "A", "B"]


def test_a_known_speaker_who_says_nothing_is_refused(heard, dialogue: np.ndarray) -> None:
    with pytest.raises(RequestError, match="'Ada'") as caught:
        heard(dialogue, {"Ada": np.zeros(RATE, np.float32)})
    assert caught.value.param == "known_speaker_references"


def test_everybody_keeps_their_name_through_a_long_recording(
    heard, converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speakers, "_AT_ONCE", 8)
    talk = converse([ADA, BOB, BOB, EVE, ADA, EVE], pause=1.0)
    names = [name for name, _ in groupby(heard(talk.samples))]
    assert names == ["A", "B", "C", "A", "C"]
    assert len(set(heard(talk.samples, preset_spk_num=2))) == 2


def test_a_recording_is_heard_whole_so_that_names_last(engine, loaded) -> None:
    assert engine.model.max_audio_seconds >= 3600
    assert loaded("sensevoice").model.max_audio_seconds is None


def test_how_many_speak_is_only_for_models_with_speakers(write, three: np.ndarray) -> None:
    with pytest.raises(RequestError) as caught:
        write("seaco", three, preset_spk_num=2)
    assert caught.value.param == "preset_spk_num"


def test_a_cancelled_request_is_not_told_apart(heard, dialogue: np.ndarray) -> None:
    cancel = CancelToken()
    cancel.cancel()
    assert heard(dialogue, cancel=cancel) == []


@pytest.mark.parametrize(
    ("start", "end", "speaker"),
    [(0.0, 1.0, "A"), (4.9, 6.0, "B"), (4.0, 9.0, "A"), (6.1, 6.5, "B"), (20.0, 21.0, "A")],
)
def test_who_speaks_most_or_nearest_speaks(start: float, end: float, speaker: str) -> None:
    assert speaker_of(TURNS, start, end) == speaker
    assert speaker_of([], start, end) is None


def test_after_z_comes_aa() -> None:
    turns = [SpeakerTurn(str(number), number, number + 1.0) for number in range(28)]
    named = with_speakers([Segment("", turn.start, turn.end) for turn in turns], turns, ["C"])
    assert [segment.speaker for segment in named][24:] == ["Z", "AA", "AB", "AC"]
