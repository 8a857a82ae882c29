"""From the rules of a grammar to the finite network of words that the decoder searches.

The decoder could read grammars itself. But it expands them without limit (rules that refer to
others twice double at each level, and so does `+`), where nothing can interrupt it, and goes on
with half a grammar where it finds an error.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from .jsgf import (
    DEEPEST,
    Choice,
    Grammar,
    Item,
    Reference,
    Repeat,
    Word,
    too_complex,
    wrong_grammar,
)

MOST_ITEMS = 20_000
"""Words, groups and references of all rules together, each as often as it is expanded. At most
0.4 s and 150 MB for the decoder, as measured, pronunciations apart (`searches`)."""
MOST_JUMPS = 100_000
"""Steps on all ways past what may be left out: 0.1 s."""

START, END = 0, 1
"""The states in which a sentence begins and ends."""


@dataclass(frozen=True)
class Network:
    """A finite-state network. A jump takes its probability and no word; two never follow in a row.

    :param states: how many there are.
    :param words: (from, to, word) → probability.
    :param jumps: (from, to) → probability.
    """

    states: int
    words: dict[tuple[int, int, str], float]
    jumps: dict[tuple[int, int], float]


def expand(grammar: Grammar) -> Network:
    """Return the network of what any public rule allows.

    A rule may refer to itself as its last item, which leads back to its beginning.

    :raises RequestError: if it refers to itself elsewhere, or to a rule that does not exist; and
        if the network would be too large.
    """
    expansion = _Expansion(grammar)
    share = 1.0 / len(grammar.public)
    for name in grammar.public:
        expansion.add(Reference(name), START, END, share, True)
    return expansion.network()


@dataclass(frozen=True)
class _Frame:
    """A rule that is being expanded.

    :param last: whether nothing follows it in the rule that refers to it.
    """

    rule: str
    entry: int
    last: bool


class _Expansion:
    """The network as it grows. Nothing leads into the states where an item begins, or out of the
    one where it ends, but what `add` makes of it: so alternatives can share them.
    """

    def __init__(self, grammar: Grammar) -> None:
        self._rules = grammar.rules
        self._items = 0
        self._depth = 0
        self._frames: list[_Frame] = []
        self._jumps: dict[int, dict[int, float]] = {}
        self._states = 2
        self._words: dict[tuple[int, int, str], float] = {}

    def add(self, item: Item, begin: int, end: int, chance: float, last: bool) -> None:
        """Lead from one state to another by way of an item.

        :param last: whether nothing follows it in its rule.
        """
        self._items += 1
        self._depth += 1
        if self._items > MOST_ITEMS or self._depth > DEEPEST:
            raise too_complex()
        match item:
            case Word(text):
                key = begin, end, text
                self._words[key] = max(chance, self._words.get(key, 0.0))
            case Choice(alternatives):
                for share, items in alternatives:
                    if not share:
                        continue
                    self._sequence(items, begin, end, chance * share, last)
            case Repeat(what, optional):
                self._repeat(what, optional, begin, end, chance)
            case Reference("<NULL>"):
                self._jump(begin, end, chance)
            case Reference("<VOID>"):
                pass
            case Reference(rule):
                self._refer(rule, begin, end, chance, last)
        self._depth -= 1

    def _sequence(
        self, items: tuple[Item, ...], begin: int, end: int, chance: float, last: bool
    ) -> None:
        if not items:
            self._jump(begin, end, chance)
        for index, item in enumerate(items, 1):
            is_last = index == len(items)
            until = end if is_last else self._new_state()
            self.add(item, begin, until, chance, last and is_last)
            begin, chance = until, 1.0

    def _repeat(self, item: Item, optional: bool, begin: int, end: int, chance: float) -> None:
        entry, exit_ = self._new_state(), self._new_state()
        self.add(item, entry, exit_, 1.0, False)
        self._jump(exit_, entry, 0.5)
        self._jump(exit_, end, 0.5)
        if optional:
            chance /= 2
            self._jump(begin, end, chance)
        self._jump(begin, entry, chance)

    def _refer(self, rule: str, begin: int, end: int, chance: float, last: bool) -> None:
        if rule not in self._rules:
            raise wrong_grammar(f"it has no rule {rule}")
        for frame in reversed(self._frames):
            if frame.rule == rule:
                if not last:
                    break
                self._jump(begin, frame.entry, chance)
                return
            last = last and frame.last
        else:
            entry = self._new_state()
            self._jump(begin, entry, chance)
            self._frames.append(_Frame(rule, entry, last))
            self.add(self._rules[rule], entry, end, 1.0, True)
            self._frames.pop()
            return
        raise wrong_grammar(
            f"rule {rule} refers to itself before its end; only right-recursion is possible"
        )

    def _new_state(self) -> int:
        self._states += 1
        return self._states - 1

    def _jump(self, begin: int, end: int, chance: float) -> None:
        jumps = self._jumps.setdefault(begin, {})
        jumps[end] = max(chance, jumps.get(end, 0.0))

    def network(self) -> Network:
        """Return what has been added, without the states that only jumps lead through."""
        jumps = self._closed()
        numbers = {START: START, END: END}
        for begin, end, _ in self._words:
            numbers.setdefault(begin, len(numbers))
            numbers.setdefault(end, len(numbers))
        return Network(
            len(numbers),
            {(numbers[b], numbers[e], word): p for (b, e, word), p in self._words.items()},
            {(numbers[b], numbers[e]): p for (b, e), p in jumps.items()},
        )

    def _closed(self) -> dict[tuple[int, int], float]:
        """Return jumps for all chains of jumps, because the decoder follows no chains: from where
        words end to where others begin, each with the probability of the best chain.
        """
        begins = {begin for begin, _, _ in self._words} | {END}
        ends = {end for _, end, _ in self._words} | {START}
        closed: dict[tuple[int, int], float] = {}
        steps = 0
        for start in ends:
            # Dijkstra's algorithm, with the product of probabilities for the length.
            best: dict[int, float] = {}
            waiting = [(-1.0, start)]
            while waiting:
                chance, state = heapq.heappop(waiting)
                if state in best:
                    continue
                best[state] = -chance
                for target, share in self._jumps.get(state, {}).items():
                    steps += 1
                    heapq.heappush(waiting, (chance * share, target))
                if steps > MOST_JUMPS:
                    raise too_complex()
            best.pop(start)
            closed.update(((start, state), best[state]) for state in best.keys() & begins)
        return closed
