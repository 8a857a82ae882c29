"""What one request makes the decoder listen for: a grammar or phrases instead of all English."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pocketsphinx import Decoder, set_loglevel

from unisono import RequestError

_TOP = "all public rules"
_NOT_RULES = re.compile(r'\{[^}]*\}|"[^"]*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_NAME = re.compile(r"\bgrammar\s+([^\s;]+)\s*;")
_PUBLIC = re.compile(r"\bpublic\s*(<[^<>]+>)\s*=")
_TOKEN = re.compile(r"[^\s=;|*+<>()\[\]]+")
_COMPLAINT = re.compile(r'^ERROR: (?:"[^"]*", line \d+: )?(.*?)(?: at line \d+.*)?$', re.MULTILINE)
_PHRASE = re.compile(r"\s*(.*?)\s*(?:/([^/]*)/\s*)?", re.DOTALL)


def add_grammar(decoder: Decoder, search: str, grammar: str) -> None:
    """Add a search for what any public rule of a JSGF grammar allows.

    The library itself would take one public rule, whichever its hash table has first, and would
    go on with half a grammar after an undefined rule, which it only logs.

    :raises RequestError: if the grammar is invalid or has words that the dictionary lacks.
    """
    text = _NOT_RULES.sub(" ", grammar)
    name, rules = _NAME.search(text), _PUBLIC.findall(text)
    if not text.lstrip().startswith("#JSGF") or name is None:
        raise _wrong_grammar('it must begin with "#JSGF V1.0; grammar <name>;"')
    if not rules:
        raise _wrong_grammar("it has no public rule")
    joined = f"{grammar}\n<{_TOP}> = {' | '.join(rules)};"

    with _complaints() as complaints:
        try:
            model = decoder.parse_jsgf(joined, f"{name[1]}.{_TOP}")
            known = set(filter(lambda token: model.word_id(token) >= 0, _TOKEN.findall(text)))
            unknown = _unknown(decoder, sorted(known))
            if not unknown:
                decoder.add_fsg(search, model)
        except (RuntimeError, ValueError):
            complaints.append("it cannot be parsed")
    if complaints:
        raise _wrong_grammar(complaints[0])
    if unknown:
        raise _unknown_words(unknown, "grammar")


def add_keyphrases(decoder: Decoder, search: str, phrases: Sequence[str], threshold: float) -> None:
    """Add a search that spots phrases within any speech.

    :param phrases: words, each phrase optionally with its own threshold: `go forward /1e-20/`.
    :raises RequestError: if a phrase has words that the dictionary lacks.
    """
    split = [(text.lower().split(), own or threshold) for text, own in map(_parts, phrases)]
    if unknown := _unknown(decoder, (word for words, _ in split for word in words)):
        raise _unknown_words(unknown, "keyphrases")
    lines = [f"{' '.join(words)} /{least:g}/\n" for words, least in split]
    # The library takes several phrases from a file only. Dictionary words are all it holds.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "keyphrases")
        path.write_text("".join(lines), "utf-8")
        decoder.add_kws(search, str(path))


def _parts(phrase: str) -> tuple[str, float | None]:
    match = _PHRASE.fullmatch(phrase)
    text, own = match.groups() if match else ("", None)
    try:
        threshold = None if own is None else float(own)
    except ValueError:
        threshold = 0.0
    if not text or (threshold is not None and not 0 < threshold <= 1):
        raise RequestError(
            f"{phrase!r} is not a phrase; write words, and after them a threshold above 0 and up "
            "to 1 between slashes if it needs its own, such as 'go forward /1e-20/'.",
            param="keyphrases",
        )
    return text, threshold


def _unknown(decoder: Decoder, words: Iterable[str]) -> list[str]:
    """Return the words that nobody can say; silence, "<sil>", is in the dictionary, too."""
    return [
        word
        for word in words
        if word[0] in "<[+" or not word.isprintable() or decoder.lookup_word(word) is None
    ]


def _unknown_words(words: list[str], param: str) -> RequestError:
    listed = ", ".join(map(repr, words[:10])) + (", …" if len(words) > 10 else "")
    return RequestError(
        f"The dictionary of this model, which is in lower case, does not have {listed}.",
        param=param,
    )


def _wrong_grammar(problem: str) -> RequestError:
    return RequestError(f"The JSGF grammar is invalid: {problem}.", param="grammar")


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect the errors that the library logs meanwhile; the list is filled at the end."""
    complaints: list[str] = []
    reader, writer = os.pipe()
    if sys.platform != "win32":
        os.set_blocking(writer, False)  # what does not fit the pipe is lost, and need not be read
    stderr = os.dup(2)
    os.dup2(writer, 2)
    os.close(writer)
    set_loglevel("ERROR")
    try:
        yield complaints
    finally:
        set_loglevel("FATAL")
        os.dup2(stderr, 2)  # closes the last writing end: reading meets the end of the file
        os.close(stderr)
        with open(reader, encoding="utf-8", errors="replace") as log:
            complaints[:0] = _COMPLAINT.findall(log.read())
