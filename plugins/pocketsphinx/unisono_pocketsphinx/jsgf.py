"""Grammars in the JSpeech Grammar Format (https://www.w3.org/TR/jsgf/): from text to rules.

All of the format but imports. Tags are read and mean nothing here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from unisono import RequestError

DEEPEST = 100
"""Levels of groups and of rules within each other, which take Python's stack."""

_TOKEN = re.compile(
    r"""
      (?P<nothing> \s+ | //[^\n]* | /\*.*?\*/ | \{(?:\\.|[^\\}])*\} )
    | (?P<rule> <[^<>]+> )
    | (?P<weight> /[0-9.eE+-]+/ )
    | (?P<quoted> "(?:\\.|[^\\"])*" )
    | (?P<word> [^\s=;|*+<>()\[\]{}/"]+ )
    | (?P<sign> [=;|*+()\[\]] )
    """,
    re.VERBOSE | re.DOTALL,
)
_END, _UNREADABLE = "end", "unreadable"


@dataclass(frozen=True)
class Word:
    """Something to say."""

    text: str


@dataclass(frozen=True)
class Reference:
    """What another rule allows."""

    rule: str


@dataclass(frozen=True)
class Choice:
    """One of several sequences, each with its probability; an empty sequence is silence."""

    alternatives: tuple[tuple[float, tuple[Item, ...]], ...]


@dataclass(frozen=True)
class Repeat:
    """An item once or several times in a row."""

    item: Item
    optional: bool
    """Whether not at all will do, too."""


Item = Word | Reference | Choice | Repeat


@dataclass(frozen=True)
class Grammar:
    """The rules by their names, which have the brackets and lack the name of the grammar."""

    rules: dict[str, Choice]
    public: tuple[str, ...]


def parse(text: str) -> Grammar:
    """Read a grammar.

    :raises RequestError: if it is none; the message says where.
    """
    return _Parser(text).grammar()


def wrong_grammar(problem: str) -> RequestError:
    """Return the error that says what is wrong with a grammar."""
    return RequestError(f"The JSGF grammar is invalid: {problem}.", param="grammar")


def too_complex() -> RequestError:
    """Return the error for a grammar that is right, and too much."""
    return RequestError(
        "The grammar is too complex; its rules expand to too many states.", param="grammar"
    )


class _Parser:
    """Each method reads one construct, which begins with the current token."""

    def __init__(self, text: str) -> None:
        self._text = text.removeprefix("\ufeff")
        self._tokens = self._split()
        self._kind, self._token, self._place = next(self._tokens)
        self._name = ""
        self._depth = 0

    def grammar(self) -> Grammar:
        """Read everything."""
        self._header()
        rules: dict[str, Choice] = {}
        public = []
        while self._kind != _END:
            if self._token == "import":
                raise wrong_grammar("it imports rules; write them into it instead")
            is_public = self._skip("public")
            name = self._unqualified(self._take("rule", "a rule or `public`"))
            if name in rules:
                raise wrong_grammar(f"it defines {name} twice")
            self._expect("=")
            rules[name] = self._choice()
            self._expect(";")
            if is_public:
                public.append(name)
        if not public:
            raise wrong_grammar("it has no public rule")
        return Grammar(rules, tuple(public))

    def _header(self) -> None:
        try:
            self._expect("#JSGF")
            while self._kind == "word":  # version, encoding, locale
                self._next()
            self._expect(";")
            self._expect("grammar")
            self._name = self._take("word", "a name")
            self._expect(";")
        except RequestError:
            raise wrong_grammar('it must begin with "#JSGF V1.0; grammar <name>;"') from None

    def _choice(self, *more: tuple[float, tuple[Item, ...]]) -> Choice:
        self._depth += 1
        if self._depth > DEEPEST:
            raise too_complex()
        weighted = [*more, self._sequence()]
        while self._skip("|"):
            weighted.append(self._sequence())
        self._depth -= 1
        total = sum(weight for weight, _ in weighted) or 1.0
        return Choice(tuple((weight / total, items) for weight, items in weighted))

    def _sequence(self) -> tuple[float, tuple[Item, ...]]:
        weight = self._weight() if self._kind == "weight" else 1.0
        items = [self._item()]
        while self._kind in ("word", "quoted", "rule") or self._token in ("(", "["):
            items.append(self._item())
        return weight, tuple(items)

    def _weight(self) -> float:
        try:
            weight = float(self._token.strip("/"))
        except ValueError:
            weight = math.inf
        if not 0 <= weight <= 1e9:
            raise self._wrong("a weight such as /0.5/")
        self._next()
        return weight

    def _item(self) -> Item:
        item = self._atom()
        while self._token in ("*", "+") and self._kind == "sign":
            optional = self._next() == "*"
            if isinstance(item, Repeat):  # once more changes nothing
                item = Repeat(item.item, item.optional or optional)
            else:
                item = Repeat(item, optional)
        return item

    def _atom(self) -> Item:
        if self._kind == "word":
            return Word(self._next())
        if self._kind == "quoted":
            return Word(re.sub(r"\\(.)", r"\1", self._next()[1:-1], flags=re.DOTALL))
        if self._kind == "rule":
            return Reference(self._unqualified(self._next()))
        if self._skip("("):
            group = self._choice()
            self._expect(")")
            return group
        if self._skip("["):
            group = self._choice((1.0, ()))
            self._expect("]")
            return group
        raise self._wrong("a word, a rule or a group")

    def _unqualified(self, rule: str) -> str:
        return rule.replace(f"<{self._name}.", "<", 1)

    # Tokens

    def _split(self) -> Iterator[tuple[str, str, int]]:
        place = 0
        while match := _TOKEN.match(self._text, place):
            if match.lastgroup != "nothing":
                yield str(match.lastgroup), match[0], place
            place = match.end()
        if place < len(self._text):
            yield _UNREADABLE, self._text[place], place
        yield _END, "the end", place

    def _next(self) -> str:
        token = self._token
        self._kind, self._token, self._place = next(self._tokens)
        return token

    def _take(self, kind: str, wanted: str) -> str:
        if self._kind != kind:
            raise self._wrong(wanted)
        return self._next()

    def _skip(self, token: str) -> bool:
        found = self._token == token and self._kind in ("word", "sign")
        if found:
            self._next()
        return found

    def _expect(self, token: str) -> None:
        if not self._skip(token):
            raise self._wrong(repr(token))

    def _wrong(self, wanted: str) -> RequestError:
        line = self._text.count("\n", 0, self._place) + 1
        found = self._token if self._kind == _END else repr(self._token)
        return wrong_grammar(f"syntax error in line {line}: {found} instead of {wanted}")
