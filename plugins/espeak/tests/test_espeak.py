from __future__ import annotations

import ctypes
import dataclasses
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import unisono_espeak
from unisono import ConfigError, Feature, PromptError, VoiceReference
from unisono_espeak import binding, library, voices
from unisono_espeak.engine import EspeakEngine, EspeakSettings

SENTENCE = "The birch canoe slid on the smooth planks."
LONG_SENTENCE = (
    "The birch canoe slid on the smooth planks, glue the sheet to the dark blue background, it is "
    "easy to tell the depth of a well, these days a chicken leg is a rare dish, rice is often "
    "served in round bowls, and the juice of lemons makes fine punch"
)
HOSTILE = [
    "a\x00b",
    "\x01+99S\x01-50P commands",
    "\ud800 lone \udfff",
    "...",
    "?!?!?!",
    "\u200b\u200d\ufeff",
    "<speak>not <asked> for & so on",
    "[[h@l'oU]]",
    "'-h (-a) \"-b",
    "\U0001f600\U0001f389 \u2764\ufe0f",
    "a" * 5000,
    "1" * 2000,
    "\u0301" * 500,
    "x" + "\n" * 1000 + "y",
    "\U0010ffff\ue000\uf8ff",
    "% $ \\ / %s %n {} \" ' `",
]


class ListedVoice(ctypes.Structure):
    """`espeak_VOICE` of speak_lib.h."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


def seconds(samples: np.ndarray) -> float:
    return len(samples) / 22050


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def words_of(chunks) -> list:
    return [word for chunk in chunks for word in chunk.words]


# Voices


def test_the_voices_read_from_files_are_those_that_the_library_lists(engine):
    list_voices = binding.load().espeak_ListVoices
    list_voices.restype = ctypes.POINTER(ctypes.POINTER(ListedVoice))
    listed = {}
    for entry in list_voices(None):
        if not entry:
            break
        tags, address = [], entry.contents.languages
        while priority := ctypes.string_at(address, 1)[0]:
            tag = ctypes.string_at(address + 1)
            tags.append((tag.decode().lower(), priority))
            address += len(tag) + 2
        path = entry.contents.identifier.decode().replace("\\", "/")
        listed[path] = (entry.contents.name.decode().strip(), tuple(tags), entry.contents.gender)

    # Faroese, Karakalpak and Xextan have no dictionary and are silent; Burmese crashes.
    unusable = {"gmq/fo", "trk/kaa", "art/xex", "sit/my"}
    male = 1
    assert {path: entry for path, entry in listed.items() if path not in unusable} == {
        language.path: (language.title, language.tags, male) for language in voices.languages()
    }


def test_every_listed_voice_has_a_name_of_its_own_and_speaks(engine, audio):
    names = [voice.name for voice in engine.model.voices]

    assert len(names) == len(set(names)) > 130
    for name in names:
        assert str(voices.find_voice(name)) == name
        assert loudness(audio("1 a ma", name)) > 0.01, name


def test_every_variant_speaks(audio):
    assert len(voices.variants()) > 100
    for variant in voices.variants().values():
        assert loudness(audio("hello", f"en-us+{variant}")) > 0.001, variant


def test_a_female_variant_raises_the_pitch(audio, pitch_of):
    assert pitch_of(audio(SENTENCE, "en-us+f3")) > 1.4 * pitch_of(audio(SENTENCE, "en-us"))


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("en-us", "en-us"),
        ("EN_US", "en-us"),
        ("en", "en-gb"),
        ("zh", "cmn"),
        ("zh-CN", "cmn"),
        ("de-AT", "de"),
        ("no", "nb"),
        ("yue", "yue"),
        ("yue-latn-jyutping", "yue-latn-jyutping"),
        ("en-us+f3", "en-us+f3"),
        ("en_us+KLATT3", "en-us+klatt3"),
        ("de+mr serious", "de+Mr serious"),
    ],
)
def test_the_hook_resolves_variants_and_common_spellings(engine, name, preset):
    reference = VoiceReference(name=name)

    prompt = unisono_espeak.resolve_voice_prompt(reference, engine.model)

    assert prompt is not None
    assert prompt.preset == preset


@pytest.mark.parametrize(
    "name", [None, "", "alloy", "en-uss", "en-us+", "en-us+nope", "+f3", "../x"]
)
def test_the_hook_leaves_other_names_to_the_kernel(engine, name):
    reference = VoiceReference(name=name)

    assert unisono_espeak.resolve_voice_prompt(reference, engine.model) is None


def test_the_hook_leaves_other_engines_alone(engine):
    model = dataclasses.replace(engine.model, engine="other")

    assert unisono_espeak.resolve_voice_prompt(VoiceReference(name="en-us"), model) is None


def test_the_description_names_languages_in_customary_case(engine):
    described = {voice.name: voice for voice in engine.model.voices}

    assert described["en-us"].languages == ("en-US", "en")
    assert described["fa-latn"].languages == ("fa-Latn",)
    assert described["en-gb-x-rp"].languages == ("en-GB-x-rp", "en-GB", "en")
    assert engine.model.features == {Feature.SSML, Feature.WORD_TIMESTAMPS}


def test_the_default_voice_is_a_setting_and_may_have_a_variant(make_engine, request_of):
    engine = make_engine(voice="DE+f3")

    assert engine.model.default_voice == "de+f3"
    assert engine.model.voices[0].name == "de+f3"
    assert engine.model.voices[0].gender == "female"
    assert list(engine.synthesize(request_of("Guten Tag")))


def test_an_unknown_default_voice_is_a_mistake_in_the_configuration():
    with pytest.raises(ConfigError, match="nope"):
        EspeakEngine.describe(EspeakSettings(voice="nope"))


def test_an_unknown_voice_is_refused(say):
    with pytest.raises(PromptError):
        say("hello", "nope")


def test_the_readme_lists_every_variant():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")

    missing = [name for name in voices.variants().values() if f"`{name}`" not in readme]
    assert missing == []


# Parameters


def test_rate_changes_the_duration(audio):
    normal = seconds(audio(SENTENCE))

    for rate in (100, 250, 700):
        assert seconds(audio(SENTENCE, rate=rate)) == pytest.approx(normal * 175 / rate, rel=0.15)


def test_pitch_changes_the_fundamental_frequency(audio, pitch_of):
    low, middle, high = (pitch_of(audio(SENTENCE, pitch=pitch)) for pitch in (0, 50, 99))

    assert low < 0.85 * middle
    assert high > 1.4 * middle


def test_pitch_range_widens_the_melody(audio, pitch_of):
    flat, lively = audio(SENTENCE, pitch_range=0), audio(SENTENCE, pitch_range=99)

    assert pitch_of(lively) > 1.15 * pitch_of(flat)


def test_a_deep_voice_is_not_pushed_below_hearing(audio):
    deep = voices.find_voice("en-us+rob")

    assert deep is not None
    assert voices.steady_range(deep, 50, 50) == 50
    assert voices.steady_range(deep, 0, 99) < 60
    assert loudness(audio(SENTENCE, "en-us+rob", pitch=0, pitch_range=99)) > 0.01


def test_volume_changes_the_loudness_and_never_leaves_the_range(audio):
    normal = loudness(audio(SENTENCE))

    assert loudness(audio(SENTENCE, volume=50)) == pytest.approx(normal / 2, rel=0.1)
    loud = audio(SENTENCE, volume=200)
    assert loudness(loud) > 1.7 * normal
    assert np.abs(loud).max() <= 1


def test_word_gap_adds_a_pause_between_words(audio):
    added = seconds(audio("one two three four", word_gap=50)) - seconds(audio("one two three four"))

    assert 3 * 0.5 * 0.9 < added < 4 * 0.5 * 1.5


def test_parameters_of_one_request_do_not_linger(audio):
    before = audio(SENTENCE)
    audio(SENTENCE, "de+f3", rate=400, pitch=90, volume=30, word_gap=20)
    after = audio(SENTENCE)

    assert seconds(after) == pytest.approx(seconds(before), rel=0.02)
    assert loudness(after) == pytest.approx(loudness(before), rel=0.1)


# Words


@pytest.mark.parametrize(
    ("text", "voice", "expected"),
    [
        ("größer Straße über", "de", ["größer", "Straße", "über"]),
        ("It's 1234567, don't you see?", None, ["It's", "1234567", "don't", "you", "see"]),
        ("a \U0001f600 near one café", None, ["a", "\U0001f600", "near", "one", "café"]),
        ("नमस्ते दुनिया", "hi", ["नमस्ते", "दुनिया"]),
        (f"Donau{'dampf' * 9} ist lang", "de", ["Donau" + "dampf" * 9, "ist", "lang"]),
    ],
)
def test_words_have_the_texts_of_the_input(say, text, voice, expected):
    assert [word.text for word in words_of(say(text, voice, words=True))] == expected


def test_words_of_a_script_without_spaces_cover_the_text(say):
    found = words_of(say("你好世界，今天天气很好。", "cmn", words=True))

    assert "".join(word.text for word in found) == "你好世界今天天气很好"


def test_words_lie_in_the_chunk_in_which_they_begin_and_reach_to_the_next(say):
    chunks = say(LONG_SENTENCE, words=True)

    frames = 0
    for chunk in chunks:
        begin, frames = frames, frames + len(chunk.samples)
        for word in chunk.words:
            assert begin / 22050 <= word.start < frames / 22050
    found = words_of(chunks)
    assert len(found) > 40
    assert [word.end for word in found] == [*(word.start for word in found[1:]), frames / 22050]
    assert all(word.start <= word.end for word in found)


def test_words_are_sent_only_when_asked_for(say):
    assert words_of(say(SENTENCE)) == []


# Streaming


def test_the_first_chunk_of_a_long_sentence_is_short(say):
    chunks = say(LONG_SENTENCE)

    assert chunks[0].seconds < 0.1
    assert sum(chunk.seconds for chunk in chunks) > 10
    assert len(chunks) > 5
    assert all(chunk.samples.dtype == np.float32 for chunk in chunks)


def test_closing_the_stream_ends_the_synthesis_and_its_thread(engine, request_of, audio):
    hours = f"{LONG_SENTENCE}. " * 500
    stream = engine.synthesize(request_of(hours))
    next(stream)
    assert any(thread.name == "espeak-ng" for thread in threading.enumerate())

    stream.close()

    assert not any(thread.name == "espeak-ng" for thread in threading.enumerate())
    assert seconds(audio("Hello")) < 2


def test_a_cancelled_request_ends_early(engine, request_of):
    request = request_of(f"{LONG_SENTENCE}. " * 500)
    stream = engine.synthesize(request)
    spoken = next(stream).seconds

    request.cancel.cancel()

    spoken += sum(chunk.seconds for chunk in stream)
    assert spoken < 300  # of more than an hour


def test_a_slow_reader_does_not_hold_up_the_others(make_engine, request_of):
    one, two = make_engine(), make_engine()
    slow = one.synthesize(request_of(LONG_SENTENCE))
    begun = next(slow).seconds

    assert list(two.synthesize(request_of("Hello", "de")))
    assert begun + sum(chunk.seconds for chunk in slow) > 10


def test_an_error_on_the_other_thread_reaches_the_reader(engine, audio):
    def fail() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(library.speak(library.Utterance(SENTENCE, "gmw/en-US"), fail))
    with pytest.raises(OSError, match="espeak-ng"):
        list(library.speak(library.Utterance(SENTENCE, "no/where"), lambda: False))
    assert seconds(audio("Hello")) < 2


# One library for all


def test_engines_that_speak_at_once_do_not_disturb_each_other(make_engine, request_of):
    requests = [
        request_of(LONG_SENTENCE, "en-us", words=True),
        request_of(SENTENCE, "de+f3", words=True, rate=300),
        request_of("你好世界，今天天气很好。", "cmn", words=True, pitch=80),
        request_of("Straße", "de", words=True, volume=20),
    ]
    engines = [make_engine() for _ in requests]

    def speak(number: int) -> tuple[float, list[str]]:
        chunks = list(engines[number].synthesize(requests[number]))
        duration = sum(chunk.seconds for chunk in chunks)
        return duration, [word.text for word in words_of(chunks)]

    alone = [speak(number) for number in range(4)]
    together: dict[int, list[tuple[float, list[str]]]] = {number: [] for number in range(4)}

    def work(number: int) -> None:
        together[number] += [speak(number) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number, (duration, texts) in enumerate(alone):
        assert [found for _, found in together[number]] == [texts] * 5
        for length, _ in together[number]:
            # Not to the bit: espeak's flutter of the pitch goes on from one call to the next.
            assert length == pytest.approx(duration, rel=0.02)


def test_unloading_one_engine_leaves_the_other_working(make_engine, request_of):
    one = make_engine()
    other = EspeakEngine(one.model, one.settings)
    other.load()
    other.unload()

    assert list(one.synthesize(request_of("Hello")))


def test_an_engine_can_be_loaded_again_and_again(make_engine, request_of):
    engine = make_engine()
    for voice in ("en-us", "de+f3", "cmn", "ru") * 5:
        engine.unload()
        engine.load()
        assert list(engine.synthesize(request_of("Hello 1", voice)))


# Texts that are none


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("voice", ["en-us", "de", "vi", "da", "cmn", "ja"])
def test_a_hostile_text_is_spoken_or_passed_over(say, text, voice):
    for chunk in say(text, voice, words=True):
        assert len(chunk.samples) > 0
        assert np.abs(chunk.samples).max() <= 1
        assert all(word.text for word in chunk.words)


@pytest.mark.parametrize("text", ["", " ", "...", "\u2014", "\x00", "\ud800", "\u200b"])
def test_a_text_without_sound_yields_nothing(say, text):
    assert say(text) == []


def test_control_characters_do_not_command_espeak(audio):
    assert seconds(audio("hello \x01+400S world")) > seconds(audio("hello world"))


def test_importing_the_plugin_loads_neither_the_library_nor_numpy():
    code = (
        "import sys, unisono_espeak\n"
        "from unisono_espeak.engine import EspeakEngine\n"
        "assert not {'numpy', 'espeakng_loader'} & set(sys.modules), sorted(sys.modules)\n"
        "from unisono_espeak import binding\n"
        "EspeakEngine.describe(EspeakEngine.presets()['espeak'])\n"
        "assert binding.load.cache_info().misses == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
