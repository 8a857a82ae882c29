from __future__ import annotations

import pytest

from unisono import RequestError
from unisono_pocketsphinx.jsgf import Choice, Grammar, Item, Reference, Repeat, Word, parse

HEAD = "#JSGF V1.0;\ngrammar robot;\n"


def read(expansion: str) -> Choice:
    return parse(f"{HEAD}public <m> = {expansion};").rules["<m>"]


def one_of(*sequences: Item | tuple[Item, ...]) -> Choice:
    share = 1 / len(sequences)
    as_tuples = (s if isinstance(s, tuple) else (s,) for s in sequences)
    return Choice(tuple((share, sequence) for sequence in as_tuples))


GO, LEFT, RIGHT = Word("go"), Word("left"), Word("right")


@pytest.mark.parametrize(
    ("expansion", "expected"),
    [
        ("go", one_of(GO)),
        ("go left", one_of((GO, LEFT))),
        ("go left | right", one_of((GO, LEFT), RIGHT)),
        ("go (left | right)", one_of((GO, one_of(LEFT, RIGHT)))),
        ("go [left]", one_of((GO, one_of((), LEFT)))),
        ("[left | right]", one_of(one_of((), LEFT, RIGHT))),
        ("go* left+", one_of((Repeat(GO, True), Repeat(LEFT, False)))),
        ("(go left)+", one_of(Repeat(one_of((GO, LEFT)), False))),
        ("go+++*", one_of(Repeat(GO, True))),
        ("<way> <robot.way> <other.way>", one_of(
            (Reference("<way>"), Reference("<way>"), Reference("<other.way>")))),
        ("go {a tag} left {another; | \\} one}", one_of((GO, LEFT))),
        ("go//comment ; | (\nleft", one_of((GO, LEFT))),
        ("go/* comment \n; */left", one_of((GO, LEFT))),
        ('"go" "o\'clock" "\\"x\\\\"', one_of((GO, Word("o'clock"), Word('"x\\')))),
        ("forty-two it's grammar import", one_of(
            tuple(map(Word, ("forty-two", "it's", "grammar", "import"))))),
    ],
)  # fmt: skip
def test_expansions_are_read(expansion: str, expected: Choice) -> None:
    assert read(expansion) == expected


def test_weights_become_probabilities() -> None:
    assert read("/3/ go | /1.0/ left").alternatives == ((0.75, (GO,)), (0.25, (LEFT,)))
    assert read("/3/ go | left").alternatives == ((0.75, (GO,)), (0.25, (LEFT,)))
    assert read("/0/ go | /1e-3/ left").alternatives == ((0, (GO,)), (1, (LEFT,)))


def test_rules_keep_their_names_and_the_public_ones_their_order() -> None:
    text = "\ufeff/* x */ #JSGF V1.0 UTF-8 en; // y\n grammar a.b; public <2>=go;<x y>=left;"
    grammar = parse(text + "public <a.b.1> = <a.b.2>;")
    rules = {"<2>": one_of(GO), "<x y>": one_of(LEFT), "<1>": one_of(Reference("<2>"))}
    assert grammar == Grammar(rules, ("<2>", "<1>"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must begin with"),
        ("go forward", "must begin with"),
        ("#JSGF V1.0; public <m> = go;", "must begin with"),
        (HEAD, "no public rule"),
        (HEAD + "<m> = go;", "no public rule"),
        (HEAD + "public <m> = go; <m> = left;", "defines <m> twice"),
        (HEAD + "import <other.way>; public <m> = <way>;", "imports rules"),
        (HEAD + "public <m> = go", "line 3: the end instead of ';'"),
        (HEAD + "public <m> =\ngo ( left;", "line 4: ';' instead of '\\)'"),
        (HEAD + "public <m> = go ) left;", "'\\)' instead of ';'"),
        (HEAD + "public <m> = go [];", "'\\]' instead of a word"),
        (HEAD + "public <m> = go | ;", "';' instead of a word"),
        (HEAD + "public <m> = * go;", "'\\*' instead of a word"),
        (HEAD + "public <m> = {tag};", "';' instead of a word"),
        (HEAD + "public <m> = go /2/ left;", "'/2/' instead of ';'"),
        (HEAD + "public <m> = /1e999/ go;", "instead of a weight"),
        (HEAD + "public <m> = /-1/ go;", "instead of a weight"),
        (HEAD + "public <m> = /1.2.3/ go;", "instead of a weight"),
        (HEAD + "public <m> = go; /* and", "'/' instead of a rule"),
        (HEAD + "public <m> = go {;", "'{' instead of ';'"),
        (HEAD + 'public <m> = "go;', "'\"' instead of a word"),
        (HEAD + "public <m> = <way;", "'<' instead of a word"),
        (HEAD + "public m = go;", "'m' instead of a rule"),
        (HEAD + "go; public <m> = go;", "'go' instead of a rule"),
    ],
)
def test_what_is_no_grammar_is_refused_with_the_place(text: str, problem: str) -> None:
    with pytest.raises(RequestError, match=problem) as caught:
        parse(text)
    assert caught.value.param == "grammar"


@pytest.mark.parametrize("brackets", ["()", "[]"])
def test_groups_within_groups_end_somewhere(brackets: str) -> None:
    opening, closing = brackets
    assert read(opening * 50 + "go" + closing * 50)
    with pytest.raises(RequestError, match="too complex"):
        read(opening * 5_000 + "go" + closing * 5_000)
