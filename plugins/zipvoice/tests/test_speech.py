from __future__ import annotations

import numpy as np
import pytest

from unisono import CancelToken, PromptError, RequestError

TEXT = "Hello there."
LONG = "One, two three, and five; six! " * 8


def test_the_same_seed_gives_the_same_speech_and_another_another(engine, speech) -> None:
    one, same, other = (speech(engine(), TEXT, seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_without_a_seed_speech_differs(engine, speech) -> None:
    one, other = (speech(engine(), TEXT, seed=None)[0] for _ in range(2))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_speed_changes_the_length_of_the_speech_alone(engine, speech, speed) -> None:
    usual, changed = (sum(map(len, speech(engine(), TEXT, speed=s))) for s in (1.0, speed))
    assert changed == pytest.approx(usual / speed, rel=0.02, abs=600)


def test_shorter_stretches_are_heard_earlier(engine, speech) -> None:
    long, short = (speech(engine(), LONG, max_duration=limit) for limit in (None, 8))
    assert len(short) > len(long)
    assert len(short[0]) < len(long[0])
    assert len(short[0]) / 24_000 < 8


def test_every_option_changes_the_speech(engine, speech) -> None:
    usual = speech(engine(), TEXT)[0]
    for option in ({"num_steps": 8}, {"guidance_scale": 3.0}, {"t_shift": 1.0}):
        assert not np.array_equal(speech(engine(), TEXT, **option)[0], usual), option


def test_the_volume_multiplies_and_never_leaves_the_bounds(engine, speech) -> None:
    usual, double, most = (
        speech(engine(), TEXT, volume_multiplier=factor)[0] for factor in (1.0, 2.0, 10.0)
    )
    assert np.allclose(double, np.clip(2 * usual, -1, 1))
    assert np.abs(most).max() <= 1.0


def test_quiet_references_speak_as_quietly(engine, speech, reference, recorded) -> None:
    samples = recorded["recording"].astype(np.float32) / 32768
    usual, quiet = (
        speech(engine(), TEXT, voice=reference(engine(), samples=factor * samples))[0]
        for factor in (1.0, 0.5)
    )
    assert np.abs(quiet).max() == pytest.approx(np.abs(usual).max() / 2, rel=0.2)


def test_a_cancelled_request_stops_between_steps(engine, speech) -> None:
    token = CancelToken()
    token.cancel()
    assert speech(engine(), LONG, cancel=token) == []


@pytest.mark.parametrize("text", ["...", "😀", "?!", "Привет", "こんにちは"])
def test_what_is_neither_chinese_nor_english_is_refused(engine, speech, text) -> None:
    with pytest.raises(RequestError, match="Chinese and English") as error:
        speech(engine(), text)
    assert error.value.param == "input"


def test_a_transcript_that_cannot_be_that_of_the_recording_is_refused(
    engine, speech, reference
) -> None:
    voice = reference(engine(), text="This is much more than anybody says in that time. " * 20)
    with pytest.raises(PromptError, match="what is said in the recording") as error:
        speech(engine(), TEXT, voice=voice)
    assert error.value.param == "ref_text"


def test_a_transcript_in_another_language_is_refused(engine, speech, reference) -> None:
    with pytest.raises(PromptError, match="Chinese and English") as error:
        speech(engine(), TEXT, voice=reference(engine(), text="Привет"))
    assert error.value.param == "ref_text"


def test_a_reference_without_sound_is_refused(engine, reference) -> None:
    with pytest.raises(PromptError, match="too quiet") as error:
        reference(engine(), samples=np.full(24_000, 1e-4, np.float32))
    assert error.value.code == "audio_silent"
