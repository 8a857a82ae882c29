from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soxr

from unisono import (
    AlignmentRequest,
    AudioChunk,
    CancelToken,
    EngineUnavailable,
    SpeechRequest,
    Turn,
    VoicePrompt,
    Word,
)
from unisono_pocketsphinx.alignment import PocketsphinxAligner, PocketsphinxAlignerSettings

RATE = 16_000
TEXT = "go forward ten meters"
STARTS = [0.46, 0.64, 1.2, 1.53]
SPOKEN = "The quick brown fox jumps over the lazy dog and then it runs away from all of us."
Align = Callable[..., list[Word]]
Say = Callable[..., tuple[np.ndarray, tuple[Word, ...]]]


def make(**settings: object) -> PocketsphinxAligner:
    validated = PocketsphinxAlignerSettings.model_validate(settings)
    return PocketsphinxAligner(PocketsphinxAligner.describe(validated), validated)


@pytest.fixture(scope="module")
def align() -> Iterator[Align]:
    engine = make()
    engine.load()

    def find(samples: np.ndarray, text: str, cancel: CancelToken | None = None) -> list[Word]:
        audio = AudioChunk(samples.astype(np.float32), RATE)
        return list(engine.align(AlignmentRequest(audio, text, cancel=cancel or CancelToken())))

    yield find
    engine.unload()


@pytest.fixture(scope="module")
def say() -> Say:
    """Speak with espeak, which tells when each word begins."""
    espeak = pytest.importorskip("unisono_espeak.engine")
    settings = espeak.EspeakSettings()
    engine = espeak.EspeakEngine(espeak.EspeakEngine.describe(settings), settings)
    engine.load()

    def speak(text: str, voice: str = "en-us+klatt3") -> tuple[np.ndarray, tuple[Word, ...]]:
        turn = Turn(text, VoicePrompt(preset=voice))
        request = SpeechRequest((turn,), espeak.EspeakParams(), word_timestamps=True)
        chunks = list(engine.synthesize(request))
        samples = np.concatenate([chunk.samples for chunk in chunks])
        words = tuple(word for chunk in chunks for word in chunk.words)
        return soxr.resample(samples, chunks[0].sample_rate, RATE), words

    return speak


def texts(words: list[Word]) -> list[str]:
    return [word.text for word in words]


def starts(words: list[Word]) -> list[float]:
    return [word.start for word in words]


def test_the_words_of_a_recording_are_found_where_they_are_said(
    align: Align, goforward: np.ndarray
) -> None:
    words = align(goforward, TEXT)
    assert texts(words) == TEXT.split()
    assert starts(words) == pytest.approx(STARTS, abs=0.1)
    assert words[-1].end == pytest.approx(2.05, abs=0.15)
    assert all(a.end <= b.start for a, b in pairwise(words))


@pytest.mark.parametrize("voice", ["en-us+klatt3", "en-us", "en-gb+f3"])
def test_words_of_espeak_begin_when_espeak_says(align: Align, say: Say, voice: str) -> None:
    samples, said = say(SPOKEN, voice)
    words = align(samples, SPOKEN)
    assert texts(words) == SPOKEN.split()
    errors = [abs(a.start - b.start) for a, b in zip(words, said, strict=True)]
    assert max(errors) < 0.15
    assert np.mean(errors) < 0.03


def test_numbers_signs_names_and_abbreviations_are_found_as_they_are_said(
    align: Align, say: Say
) -> None:
    text = (
        "Mr. Smith’s café in New York sold 23% more in 1984 — by e-mail — than Zorblatt & "
        "Kubernetes, don't you think?"
    )
    samples, said = say(text)
    words = align(samples, text)
    assert texts(words) == text.split()
    begin = {word.text: word.start for word in said}
    for word in words:
        heard = word.text.strip(".,?%—")
        if heard in begin and texts(words).count(word.text) == 1 and heard != "in":
            assert word.start == pytest.approx(begin[heard], abs=0.15), word
    assert {"Zorblatt", "Kubernetes", "1984", "café", "23"} <= begin.keys()


def test_what_has_no_sound_takes_no_time(align: Align, goforward: np.ndarray) -> None:
    text = "— “Go” forward, … (ten) - METERS! 😀"
    words = align(goforward, text)
    assert texts(words) == text.split()
    assert starts(words) == pytest.approx(
        [0.46, 0.46, 0.64, words[2].end, 1.2, words[4].end, 1.53, words[6].end], abs=0.1
    )
    for index in (0, 3, 5, 7):
        assert words[index].start == words[index].end
    assert all(a.end <= b.start for a, b in pairwise(words))


@pytest.mark.parametrize(
    "text", ["go forward 10 meters", "Gow phorwerd tenn meeturz", "GO FORWARD 10m"]
)
def test_other_spellings_are_found_at_the_same_times(
    align: Align, goforward: np.ndarray, text: str
) -> None:
    words = align(goforward, text)
    assert texts(words) == text.split()
    assert words[1].start == pytest.approx(STARTS[1], abs=0.15)
    assert words[2].start == pytest.approx(STARTS[2], abs=0.15)


def test_words_around_the_text_are_not_taken_for_it(align: Align, goforward: np.ndarray) -> None:
    cut = 0.8
    words = align(goforward[int(cut * RATE) : int(1.75 * RATE)], "ten")
    assert starts(words) == pytest.approx([1.2 - cut], abs=0.1)
    assert words[0].end == pytest.approx(1.53 - cut, abs=0.1)


def test_half_a_minute_without_a_pause_is_aligned(align: Align, babble: np.ndarray) -> None:
    once = int(2.12 * RATE) - int(0.46 * RATE)
    words = align(babble, " ".join([TEXT] * 17))
    assert len(words) == 17 * 4
    expected = [n * once / RATE + start - 0.46 for n in range(17) for start in STARTS]
    assert starts(words) == pytest.approx(expected, abs=0.15)
    assert words[-1].end <= len(babble) / RATE


@pytest.mark.parametrize("before", [0.0, 1.5])
def test_digital_silence_around_speech_shifts_no_word(
    align: Align, goforward: np.ndarray, before: float
) -> None:
    silence = np.zeros(int(before * RATE))
    words = align(np.concatenate([silence, goforward, np.zeros(RATE)]), TEXT)
    assert starts(words) == pytest.approx([before + start for start in STARTS], abs=0.1)


@pytest.mark.parametrize(
    "text",
    [
        "she sells sea shells by the sea shore",
        "peter piper picked a peck of pickled peppers",
        "meters ten forward go",
        "…",
        "你好 世界",
        " ",
    ],
)
def test_a_text_that_nobody_says_is_not_found(
    align: Align, goforward: np.ndarray, text: str
) -> None:
    assert align(goforward, text) == []


@pytest.mark.parametrize("length", [1, 100, 5_000, 48_000])
@pytest.mark.parametrize("level", [0.0, 0.05])
def test_nothing_is_found_in_silence_or_noise(align: Align, length: int, level: float) -> None:
    assert align(np.random.default_rng(1).normal(0, level, length), TEXT) == []


@pytest.mark.parametrize(
    "text",
    [
        "word " * 100_000,
        "gh" * 100_000,
        "e" * 100_000,
        "9" * 100_000,
        "a" + "'s" * 10_000,
        "x" + "-" * 100_000,
        "$1" + ",1" * 50_000,
        "A" * 100_000,
    ],
)
def test_a_text_of_any_size_is_refused_soon(align: Align, goforward: np.ndarray, text: str) -> None:
    assert align(goforward, text) == []


@pytest.mark.parametrize(
    "text", ["<s> go forward ten meters </s>", "[NOISE] go(2) <sil> _AA ~AA", "go; ten | <NULL> \0"]
)
def test_what_means_something_to_the_decoder_means_nothing_in_a_text(
    align: Align, goforward: np.ndarray, text: str
) -> None:
    assert texts(align(goforward, text)) in ([], text.split())
    assert texts(align(goforward, TEXT)) == TEXT.split()


def test_equal_audio_gives_equal_times_whatever_came_before(
    align: Align, goforward: np.ndarray
) -> None:
    first = align(goforward, TEXT)
    align(0.2 * goforward[RATE::-1], "zorblatt quux")
    assert align(goforward, TEXT) == first


def test_a_request_that_was_cancelled_finds_nothing(align: Align, goforward: np.ndarray) -> None:
    cancel = CancelToken()
    cancel.cancel()
    assert align(goforward, TEXT, cancel) == []


def test_words_that_a_small_dictionary_lacks_are_sounded_out(
    tmp_path: Path, goforward: np.ndarray
) -> None:
    dictionary = tmp_path / "small.dict"
    dictionary.write_text("go G OW\nten T EH N\n")
    engine = make(dictionary=dictionary)
    engine.load()
    audio = AudioChunk(goforward, RATE)
    words = list(engine.align(AlignmentRequest(audio, TEXT)))
    assert starts(words) == pytest.approx(STARTS, abs=0.15)


@pytest.mark.parametrize("setting", ["acoustic_model", "dictionary"])
def test_a_missing_model_file_is_named_by_its_setting(tmp_path: Path, setting: str) -> None:
    with pytest.raises(EngineUnavailable, match=setting) as caught:
        make(**{setting: tmp_path / "nowhere"}).load()
    assert "nowhere" not in str(caught.value)
