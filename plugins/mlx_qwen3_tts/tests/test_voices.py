"""What changes how it sounds, and what a voice needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unisono import AudioChunk, PromptError, RequestError, VoicePrompt

TEXT = "Hello, a test."


@pytest.mark.parametrize(
    "other",
    [
        {"voice": "vivian"},
        {"language": "de"},
        {"instructions": "Very sadly."},
        {"repetition_penalty": 1.8},
    ],
    ids=lambda other: next(iter(other)),
)
def test_the_request_changes_the_speech(engine, speech, other):
    model = engine("custom_voice")
    plain = speech(model, TEXT, "ryan", language="en")

    changed = speech(model, TEXT, **{"voice": "ryan", "language": "en", **other})

    assert not np.array_equal(plain, changed)


def test_a_region_does_not_change_the_language(engine, speech):
    model = engine("custom_voice")

    plain, regional = (speech(model, TEXT, "ryan", language=tag) for tag in ("pt", "pt_BR"))

    np.testing.assert_array_equal(plain, regional)


def test_a_language_that_the_model_does_not_speak_is_refused(engine, speech):
    with pytest.raises(RequestError, match="sw") as caught:
        speech(engine("custom_voice"), TEXT, "ryan", language="sw")

    assert caught.value.param == "language"


@pytest.mark.parametrize("alone", [True, False])
def test_another_reference_is_another_voice(engine, speech, cloned, recording, alone):
    model = engine("base")
    one = recording()
    # The same number of samples and the same sum, which is all that mlx-audio's cache looks at.
    other = recording(1)
    other[-1] += one.sum() - other.sum()

    first, second, again = (
        speech(model, TEXT, cloned(model, samples), x_vector_only_mode=alone)
        for samples in (one, other, one)
    )

    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, again)
    assert model._loaded.mlx._icl_cache == {}


def test_a_transcript_changes_the_speech(engine, speech, cloned, recording):
    model = engine("base")

    first, second = (
        speech(model, TEXT, cloned(model, recording(), text)) for text in ("and so on", "or else")
    )

    assert not np.array_equal(first, second)


def test_a_prepared_voice_needs_its_recording_no_more(engine, speech, cloned, recording):
    model = engine("base")
    voice = cloned(model, recording())
    gone = replace(voice, audio=AudioChunk(np.zeros(24_000, np.float32), 24_000))

    np.testing.assert_array_equal(speech(model, TEXT, voice), speech(model, TEXT, gone))


def test_a_prepared_voice_says_how_large_it_is_and_belongs_to_no_thread(engine, recording):
    prompt = VoicePrompt(audio=AudioChunk(recording(), 24_000))

    prepared = engine("base").prepare_voice(prompt)

    reference, heard = prepared.features.reference, prepared.features.heard
    arrays = [reference.speaker, reference.codes, *heard.layers]
    arrays += [array for pair in heard.attention for array in pair]
    arrays = [array for array in arrays if array is not None]
    assert {type(array) for array in arrays} == {np.ndarray}
    assert prepared.size == sum(array.nbytes for array in arrays)


def test_a_model_that_clones_needs_a_recording(engine, speech):
    with pytest.raises(PromptError, match="ref_audio") as caught:
        speech(engine("base"), TEXT)

    assert caught.value.param == "voice"


def test_cloning_needs_a_transcript(engine, speech, cloned, recording):
    model = engine("base")

    with pytest.raises(PromptError, match="x_vector_only_mode") as caught:
        speech(model, TEXT, cloned(model, recording(), "  "))

    assert caught.value.param == "ref_text"


def test_a_model_that_makes_voices_needs_a_description(engine, speech):
    with pytest.raises(RequestError) as caught:
        speech(engine("voice_design"), TEXT)

    assert caught.value.param == "instructions"


def test_a_model_that_does_not_clone_refuses_the_option_for_it(engine, speech):
    with pytest.raises(RequestError) as caught:
        speech(engine("custom_voice"), TEXT, "ryan", x_vector_only_mode=True)

    assert caught.value.param == "x_vector_only_mode"


def test_a_speaker_that_the_checkpoint_lacks_is_refused(engine, speech):
    with pytest.raises(PromptError, match="vivian"):
        speech(engine("custom_voice"), TEXT, "nobody")
