from __future__ import annotations

from itertools import product

import pytest

from unisono import RequestError
from unisono_pocketsphinx.jsgf import parse
from unisono_pocketsphinx.network import END, START, Network, expand

HEAD = "#JSGF V1.0; grammar robot; "


def network_of(rules: str) -> Network:
    return expand(parse(HEAD + rules))


def sentences(rules: str, longest: int = 4) -> dict[str, float]:
    """Return what a grammar of the words a, b and c allows, with the probabilities."""
    network = network_of(rules)
    allowed = {}
    for length in range(longest + 1):
        for words in product("abc", repeat=length):
            reached = _jump(network, {START: 1.0})
            for word in words:
                reached = _jump(network, _say(network, reached, word))
            if reached.get(END):
                allowed["".join(words)] = reached[END]
    return allowed


def _say(network: Network, states: dict[int, float], said: str) -> dict[int, float]:
    after: dict[int, float] = {}
    for (begin, end, word), probability in network.words.items():
        if word == said and begin in states:
            after[end] = max(after.get(end, 0.0), states[begin] * probability)
    return after


def _jump(network: Network, states: dict[int, float]) -> dict[int, float]:
    """Follow jumps as the decoder does: once."""
    after = dict(states)
    for (begin, end), probability in network.jumps.items():
        if begin in states:
            after[end] = max(after.get(end, 0.0), states[begin] * probability)
    return after


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ("public <m> = a b;", "ab"),
        ("public <m> = a | b c;", "a bc"),
        ("public <m> = (a | b) (b | c);", "ab ac bb bc"),
        ("public <m> = a [b [c]];", "a ab abc"),
        ("public <m> = [a] [b] [c];", "- a b c ab ac bc abc"),
        ("public <m> = a b*;", "a ab abb abbb"),
        ("public <m> = (a b)+;", "ab abab"),
        ("public <m> = (a* | b) c;", "c ac bc aac aaac"),
        ("public <m> = ([a]+)* b;", "b ab aab aaab"),
        ("public <m> = <w> <w>; <w> = a | b;", "aa ab ba bb"),
        ("public <m> = a <robot.w>; <w> = b;", "ab"),
        ("public <m> = a; public <n> = b;", "a b"),
        ("public <m> = a | <VOID> b | c <VOID>;", "a"),
        ("public <m> = <VOID>;", ""),
        ("public <m> = <NULL> a | <NULL>;", "- a"),
        ("public <m> = /0/ a | b;", "b"),
        ("public <m> = a | b <m>;", "a ba bba bbba"),
        ("public <m> = a [<n>]; <n> = b (<m> | c);", "a abc aba"),
        ("public <m> = <n> c; <n> = a | b <n>;", "ac bac bbac"),
        ("public <m> = <m>;", ""),
        ("public <m> = a; <unused> = <nowhere>;", "a"),
    ],
)
def test_a_network_allows_what_its_grammar_does(rules: str, allowed: str) -> None:
    expected = {"" if sentence == "-" else sentence for sentence in allowed.split()}
    assert set(sentences(rules)) == expected


def test_probabilities_multiply_along_the_way() -> None:
    assert sentences("public <m> = /3/ a | b [c];") == {"a": 0.75, "b": 0.125, "bc": 0.125}
    assert sentences("public <m> = a+;", longest=2) == {"a": 0.5, "aa": 0.25}
    assert sentences("public <m> = a*;", longest=1) == {"": 0.5, "a": 0.25}
    assert sentences("public <m> = a; public <n> = <m> b;") == {"a": 0.5, "ab": 0.5}


def test_of_two_ways_to_say_the_same_the_likelier_counts() -> None:
    assert sentences("public <m> = /1/ a | /3/ a;") == {"a": 0.75}
    assert sentences("public <m> = /1/ [a] [a] | /3/ <NULL>;")[""] == 0.75


@pytest.mark.parametrize(
    "rules",
    [
        "public <m> = <m> a | b;",
        "public <m> = a <m> b;",
        "public <m> = a [<m>] b;",
        "public <m> = (a <m>)*;",
        "public <m> = <n> a; <n> = b | c <m>;",
    ],
)
def test_a_rule_within_itself_is_refused(rules: str) -> None:
    with pytest.raises(RequestError, match="refers to itself before its end") as caught:
        network_of(rules)
    assert caught.value.param == "grammar"


@pytest.mark.parametrize("name", ["<nowhere>", "<other.w>", "<a.robot.w>"])
def test_a_rule_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(RequestError, match=f"no rule {name}") as caught:
        network_of(f"public <m> = a {name}; <w> = b;")
    assert caught.value.param == "grammar"


def rules(count: int, body: str) -> str:
    """Rules that refer to the next one: "{next}"."""
    return " ".join(f"<r{n}> = {body.format(next=f'<r{n + 1}>', n=n)};" for n in range(count))


MANY = " | ".join(f"w <r{n}>" for n in range(12))


@pytest.mark.parametrize(
    "grammar",
    [
        f"public <m> = <r0>; {rules(40, '{next} {next}')} <r40> = a;",
        f"public <m> = <r0>; {rules(40, '({next} | [{next}])+')} <r40> = a;",
        f"public <m> = <r0>; {rules(40, '{next} {next}')} <r40> = <NULL>;",
        f"public <m> = <r0>; {rules(12, MANY)}",  # every rule refers to every other: factorial
        f"public <m> = <r0>; {rules(500, 'a {next}')} <r500> = a;",
        f"public <m> = {'[a] ' * 2_000};",
    ],
)
def test_what_would_expand_too_far_is_refused(grammar: str) -> None:
    with pytest.raises(RequestError, match="too complex") as caught:
        network_of(grammar)
    assert caught.value.param == "grammar"


@pytest.mark.parametrize(
    "grammar",
    [
        f"public <m> = <r0>; {rules(10, '{next} {next}')} <r10> = a;",
        f"public <m> = <r0>; {rules(30, 'a {next}')} <r30> = a;",
        f"public <m> = ({' | '.join(f'w{n}' for n in range(2_500))})+;",
        f"public <m> = {'[a] ' * 200};",
        f"public <m> = {'a ' * 9_900};",
        f"public <m> = a{'+' * 9_900};",
    ],
)
def test_what_people_write_is_far_from_too_much(grammar: str) -> None:
    assert network_of(grammar).words


def test_states_that_only_jumps_lead_through_are_left_out() -> None:
    network = network_of(f"public <m> = <r0>; {rules(10, '{next} [{next}]')} <r10> = a;")
    used = {START, END} | {state for begin, end, _ in network.words for state in (begin, end)}
    assert used == set(range(network.states))
