from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pocketsphinx import get_model_path
from pydantic import ValidationError

from unisono import RequestError, Segment, TranscriptionRequest
from unisono_pocketsphinx.engine import PocketsphinxEngine, PocketsphinxParams

Write = Callable[..., list[Segment]]
HEAD = "#JSGF V1.0;\ngrammar robot;\n"


def text(segments: list[Segment]) -> str:
    return " ".join(segment.text for segment in segments)


def jsgf(rules: str) -> str:
    return HEAD + rules


@pytest.fixture
def engine_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_engine: Callable[..., PocketsphinxEngine]
) -> Iterator[PocketsphinxEngine]:
    """An engine whose current and temporary folder is `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    engine = make_engine()
    engine.load()
    yield engine
    engine.unload()


def test_a_grammar_allows_only_its_sentences(write: Write, goforward: np.ndarray) -> None:
    rules = "public <m> = go (left | backward) (two | seven) [times];"
    segments = write(goforward, grammar=jsgf(rules), words=True)
    assert text(segments).split()[1] in {"left", "backward"}


@pytest.mark.parametrize("sentence", ["meters ten forward go", "go forward ten", "ten meters stop"])
def test_a_sentence_comes_whole_or_not_at_all(
    write: Write, goforward: np.ndarray, sentence: str
) -> None:
    assert text(write(goforward, grammar=jsgf(f"public <m> = {sentence};"))) in {"", sentence}


def test_a_grammar_that_fits_gives_the_words_and_their_times(
    write: Write, goforward: np.ndarray
) -> None:
    rules = "public <m> = go <way> ten [meter | meters]; <way> = forward | backward;"
    (segment,) = write(goforward, grammar=jsgf(rules), words=True)
    assert [word.text for word in segment.words] == ["go", "forward", "ten", "meters"]
    assert segment.words[0].start == pytest.approx(0.46, abs=0.1)


def test_every_public_rule_of_a_grammar_counts(write: Write, goforward: np.ndarray) -> None:
    rules = ["<a> = stop;", "<b> = go forward ten meters;", "<c> = turn left;"]
    for turn in range(3):
        order = rules[turn:] + rules[:turn]
        grammar = jsgf(" ".join(f"public {rule}" for rule in order) + " // public <d> = <no>;")
        assert text(write(goforward, grammar=grammar)) == "go forward ten meters"


def test_speech_that_no_sentence_of_the_grammar_fits_gives_nothing(
    write: Write, goforward: np.ndarray
) -> None:
    assert text(write(goforward, grammar=jsgf("public <m> = <VOID>;"))) == ""


def test_a_grammar_does_not_outlive_its_request(write: Write, goforward: np.ndarray) -> None:
    write(goforward, grammar=jsgf("public <m> = stop;"))
    with pytest.raises(RequestError):
        write(goforward, grammar=jsgf("public <m> = frobnicate;"))
    assert text(write(goforward)) == "go forward ten meters"


@pytest.mark.parametrize(
    ("grammar", "problem"),
    [
        ("go forward", "must begin with"),
        (jsgf("<m> = go;"), "no public rule"),
        (jsgf("public <m> = go ( forward;"), "syntax error in line 3"),
        (jsgf("public <m> = go <nowhere>;"), "no rule <nowhere>"),
        (jsgf("public <m> = <m> go | forward;"), "right-recursion"),
        (jsgf("public <m> = go\0;"), "'go\\\\x00'"),
        (jsgf('public <m> = "go forward" <sil> ten;'), "no rule <sil>"),
        (jsgf('public <m> = "go forward" "<sil>" ten;'), "'<sil>', 'go forward'"),
        (jsgf('public <m> = go "";'), "does not have ''"),
    ],
)
def test_an_invalid_grammar_is_refused_with_the_reason(
    write: Write, goforward: np.ndarray, grammar: str, problem: str
) -> None:
    with pytest.raises(RequestError, match=problem) as caught:
        write(goforward, grammar=grammar)
    assert caught.value.param == "grammar"


def test_words_of_a_grammar_that_the_dictionary_lacks_are_named(
    write: Write, goforward: np.ndarray
) -> None:
    rules = "public <zilch> = go frobnicate <w> {nonword}; /* nor this: qqq */ <w> = [zorp] ten;"
    with pytest.raises(RequestError, match=r"'frobnicate', 'zorp'[.]") as caught:
        write(goforward, grammar=jsgf(rules))
    assert caught.value.param == "grammar"


def test_a_grammar_reads_no_file(
    engine_in: PocketsphinxEngine,
    tmp_path: Path,
    goforward: np.ndarray,
    make_request: Callable[..., TranscriptionRequest],
) -> None:
    (tmp_path / "other.gram").write_text("#JSGF V1.0; grammar other; public <way> = forward;")
    grammar = jsgf("import <other.way>; public <m> = go <way> ten meters;")
    with pytest.raises(RequestError, match="imports") as caught:
        list(engine_in.transcribe(make_request(goforward, grammar=grammar)))
    assert caught.value.param == "grammar"


def test_quoted_words_tags_weights_and_repetitions_are_understood(
    write: Write, goforward: np.ndarray
) -> None:
    rules = 'public <m> = /2/ stop | /0.5/ "go" {verb} <more>; <more> = forward [ten] [<more>];'
    grammar = jsgf(rules.replace("forward", "(left | forward | ten | meters)+"))
    assert text(write(goforward, grammar=grammar)) == "go forward ten meters"


def test_the_largest_grammars_that_are_read_are_compiled_and_searched(
    write: Write, goforward: np.ndarray
) -> None:
    doubling = " ".join(f"<r{n}> = <r{n + 1}> <r{n + 1}>;" for n in range(11))
    rules = f"public <m> = <r0> | go forward ten meters; {doubling} <r11> = a;"
    assert text(write(goforward, grammar=jsgf(rules))) == "go forward ten meters"


def test_many_words_of_several_pronunciations_in_many_places_are_refused(
    write: Write, goforward: np.ndarray
) -> None:
    dictionary = Path(get_model_path("en-us/cmudict-en-us.dict")).read_text("utf-8")
    varied = re.findall(r"^([a-z]+)\(2\) ", dictionary, re.MULTILINE)
    listed = " | ".join(sorted(varied, key=len)[:800])
    write(goforward, grammar=jsgf(f"public <m> = {listed};"))
    rules = f"public <m> = {listed} | <r> <r> <r> <r> <r> <r>; <r> = {'go ' * 1_500};"
    with pytest.raises(RequestError, match="too complex") as caught:
        write(goforward, grammar=jsgf(rules))
    assert caught.value.param == "grammar"


def test_key_phrases_are_spotted_with_their_times(write: Write, goforward: np.ndarray) -> None:
    phrases = ["seven", "Ten  Meters", "go forward"]
    (segment,) = write(goforward, keyphrases=phrases, words=True)
    assert segment.text == "go forward ten meters"
    assert [word.text for word in segment.words] == ["go forward", "ten meters"]
    for word, start in zip(segment.words, [0.46, 1.2], strict=True):
        assert word.start == pytest.approx(start, abs=0.1)
        assert word.probability is not None
        assert 0 <= word.probability <= 1


def test_a_key_phrase_at_the_very_end_of_the_audio_is_spotted(
    write: Write, goforward: np.ndarray
) -> None:
    assert text(write(goforward[: 2 * 16_000], keyphrases=["meters"])) == "meters"


def test_speech_without_a_key_phrase_gives_nothing(write: Write, goforward: np.ndarray) -> None:
    assert write(goforward, keyphrases=["seven", "turn left"]) == []


def test_a_lower_threshold_spots_more(write: Write, goforward: np.ndarray) -> None:
    assert text(write(goforward, keyphrases=["go"], keyphrase_threshold=1e-5)) == "go"
    often = text(write(goforward, keyphrases=["go"], keyphrase_threshold=1e-40)).split()
    assert len(often) > 3


def test_a_key_phrase_can_have_its_own_threshold(write: Write, goforward: np.ndarray) -> None:
    spotted = text(write(goforward, keyphrases=["go /1e-40/", "meters"])).split()
    assert spotted.count("go") > 3
    assert spotted.count("meters") == 1


@pytest.mark.parametrize("phrase", [" ", "/1e-5/", "go /loud/", "go /0/", "go /2/"])
def test_a_misshapen_key_phrase_is_refused(
    write: Write, goforward: np.ndarray, phrase: str
) -> None:
    with pytest.raises(RequestError) as caught:
        write(goforward, keyphrases=["go", phrase])
    assert caught.value.param == "keyphrases"


def test_words_of_key_phrases_that_the_dictionary_lacks_are_named(
    write: Write, goforward: np.ndarray
) -> None:
    phrases = ["go frobnicate", "<sil>", "zorp\nten /1e-5/", "go\0x"]
    named = re.escape(r"'frobnicate', '<sil>', 'zorp', 'go\x00x'.")
    with pytest.raises(RequestError, match=named) as caught:
        write(goforward, keyphrases=phrases)
    assert caught.value.param == "keyphrases"


def test_key_phrases_leave_no_file_behind(
    engine_in: PocketsphinxEngine,
    tmp_path: Path,
    goforward: np.ndarray,
    make_request: Callable[..., TranscriptionRequest],
) -> None:
    assert list(engine_in.transcribe(make_request(goforward, keyphrases=["meters"])))
    assert list(tmp_path.iterdir()) == []


def test_grammar_and_key_phrases_exclude_each_other(write: Write, goforward: np.ndarray) -> None:
    with pytest.raises(RequestError) as caught:
        write(goforward, grammar=jsgf("public <m> = go;"), keyphrases=["go"])
    assert caught.value.param == "keyphrases"


def test_a_threshold_without_key_phrases_is_refused(write: Write, goforward: np.ndarray) -> None:
    for grammar in (None, jsgf("public <m> = go;")):
        with pytest.raises(RequestError) as caught:
            write(goforward, grammar=grammar, keyphrase_threshold=0.5)
        assert caught.value.param == "keyphrase_threshold"


@pytest.mark.parametrize(
    "params",
    [
        {"grammar": "x" * 20_001},
        {"keyphrases": ["go"] * 101},
        {"keyphrases": ["x" * 201]},
        {"keyphrase_threshold": 0.0},
    ],
)
def test_options_are_bounded(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PocketsphinxParams(**params)
