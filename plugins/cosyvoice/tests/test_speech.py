"""Which of upstream's ways of speaking is taken, and with which words."""

from __future__ import annotations

import numpy as np
import pytest

from unisono import PromptError, RequestError

SYSTEM = "You are a helpful assistant."
END = "<|endofprompt|>"


@pytest.mark.parametrize(("version", "before"), [(1, ""), (2, ""), (3, SYSTEM + END)])
def test_a_speaker_of_the_model_speaks(engine, speak, journal, version, before):
    speak(engine(version), "Hello there.")

    (call,) = journal().SPOKEN
    assert (call["text"], call["prompt"], call["tokens"]) == (before + "Hello there.", "", False)
    assert call["speaker"]


@pytest.mark.parametrize(("version", "before"), [(1, ""), (2, ""), (3, SYSTEM + END)])
def test_a_recording_with_its_transcript_is_gone_on_from(
    engine, speak, journal, cloned, version, before
):
    model = engine(version)

    speak(model, "Hello there.", cloned(model, "And so on."))

    (call,) = journal().SPOKEN
    assert (call["text"], call["prompt"]) == ("Hello there.", before + "And so on.")
    assert call["tokens"]


@pytest.mark.parametrize(
    ("version", "language", "before"),
    [
        (1, None, ""),
        (1, "en-GB", "<|en|>"),
        (1, "yue", "<|yue|>"),
        (2, "en", ""),
        (3, "en", SYSTEM + END),
    ],
)
def test_a_recording_alone_speaks_any_language(
    engine, speak, journal, cloned, version, language, before
):
    model = engine(version)

    speak(model, "Hello there.", cloned(model), language=language)

    (call,) = journal().SPOKEN
    assert (call["text"], call["prompt"]) == (before + "Hello there.", "")
    assert not call["tokens"]


def test_instructions_to_a_speaker_of_the_first_version_end_with_their_mark(engine, speak, journal):
    model = engine(1, "CosyVoice-300M-Instruct")

    speak(model, "Hello there.", instructions="Angrily.")
    speak(model, "Hello there.", instructions=f"Angrily.{END}")

    for call in journal().SPOKEN:
        assert (call["text"], call["prompt"]) == ("Hello there.", f"Angrily.{END}")
        assert not call["speaker"]


@pytest.mark.parametrize("text", [None, "And so on."])
@pytest.mark.parametrize(
    ("version", "prompt"), [(2, f"用四川话说{END}"), (3, f"{SYSTEM} 用四川话说{END}")]
)
def test_instructions_take_the_place_of_the_transcript(
    engine, speak, journal, cloned, version, prompt, text
):
    model = engine(version)

    speak(model, "Hello there.", cloned(model, text), instructions="用四川话说")

    (call,) = journal().SPOKEN
    assert (call["text"], call["prompt"]) == ("Hello there.", prompt)
    assert not call["tokens"]


def test_instructions_of_one_request_are_gone_in_the_next(engine, speak, journal, cloned):
    model = engine(2)
    voice = cloned(model, "And so on.")

    speak(model, "Hello.", voice, instructions="Angrily.")
    speak(model, "Hello.", voice)

    assert [call["prompt"] for call in journal().SPOKEN] == [f"Angrily.{END}", "And so on."]


@pytest.mark.parametrize(("version", "before"), [(2, ""), (3, f"{SYSTEM} ")])
def test_instructions_lead_speakers_of_later_versions(engine, speak, journal, version, before):
    speak(engine(version), "Hello.", instructions="Angrily.")

    (call,) = journal().SPOKEN
    assert (call["text"], call["prompt"]) == ("Hello.", f"{before}Angrily.{END}")
    assert call["speaker"]
    assert not call["tokens"]


@pytest.mark.parametrize(("version", "text"), [(1, "<|ja|>Hello."), (3, f"You sing.{END}Hello.")])
def test_tags_of_the_client_are_not_given_twice(engine, speak, journal, cloned, version, text):
    model = engine(version)

    speak(model, text, cloned(model), language="en")

    assert journal().SPOKEN[0]["text"] == text


def test_a_saved_speaker_follows_instructions_in_the_first_version(engine, speak, journal):
    speak(engine(1, "CosyVoice-300M-Instruct"), "Hello.", "saved", instructions="Angrily.")

    assert journal().SPOKEN[0]["prompt"] == f"Angrily.{END}"


def test_a_speaker_saved_from_a_recording_speaks_and_follows_instructions(engine, speak, journal):
    model = engine(2)

    speak(model, "Hello.", "saved")
    speak(model, "Hello.", "saved", instructions="Angrily.")

    plain, led = journal().SPOKEN
    assert plain["tokens"]
    assert led["prompt"] == f"Angrily.{END}"


def test_a_speaker_that_is_not_in_the_files_is_refused(engine, speak):
    with pytest.raises(PromptError, match="英文女") as caught:
        speak(engine(2, voices=("Nobody",)), "Hello.", "Nobody")

    assert caught.value.param == "voice"


def test_a_language_that_the_model_does_not_speak_is_refused(engine, speak):
    with pytest.raises(RequestError, match="'de'") as caught:
        speak(engine(2), "Hallo.", language="de")

    assert caught.value.param == "language"


def test_every_sentence_gets_its_own_tag_and_is_written_out(engine, speak, journal, cloned):
    model = engine(1)

    speak(model, "I have 2. You have none!", cloned(model), language="en")

    assert [call["text"] for call in journal().SPOKEN] == [
        "<|en|>I have two.",
        "<|en|>You have none!",
    ]


def test_without_its_text_frontend_the_text_is_as_it_was(engine, speak, journal):
    speak(engine(2), "I have 2. You have none!", text_frontend=False)

    assert [call["text"] for call in journal().SPOKEN] == ["I have 2. You have none!"]


@pytest.mark.parametrize("text", ["...", "?! -", "😀", " "])
def test_a_text_without_words_is_silence(engine, speak, journal, text):
    assert speak(engine(3), text) == []
    assert journal().SPOKEN == []


def test_the_same_seed_says_the_same(engine, speak):
    model = engine(2)
    text = "Hello there, how are you today? " * 4

    first, second, other = (np.concatenate(speak(model, text, seed=seed)) for seed in (7, 7, 2**62))

    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_without_a_seed_even_the_first_speech_is_left_to_chance(engine, speak):
    heard = [np.concatenate(speak(engine(2), "Hello there.")) for _ in range(2)]

    assert not np.array_equal(*heard)


def test_without_streaming_a_sentence_is_one_chunk(engine, speak, journal):
    chunks = speak(engine(2, stream=False), "Hello there, how are you today? " * 3)

    assert len(chunks) == 3
    assert not any(call["stream"] for call in journal().SPOKEN)


def test_the_prompt_is_heard_at_the_rate_of_the_model(engine, cloned, journal):
    for version, frames in ((1, 3 * 22_050), (2, 3 * 24_000)):
        cloned(engine(version))
        assert journal().PROMPTS[-1].shape == (1, frames)


def test_the_first_and_the_second_version_clone_in_one_process(engine, speak, cloned):
    models = [engine(1), engine(2), engine(1)]

    for model in models:
        assert speak(model, "Hello.", cloned(model))


def test_a_prepared_voice_says_how_large_it_is_and_leaves_nothing_behind(engine, recording):
    from unisono import VoicePrompt

    model = engine(2)
    prepared = model.prepare_voice(VoicePrompt(audio=recording(2.0)))

    assert prepared.size > 2 * 50 * 80 * 4 * 0.9
    assert set(model._model.speakers) == {"中文女", "英文女", "saved"}
