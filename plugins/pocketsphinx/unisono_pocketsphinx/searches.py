"""What one request makes the decoder listen for: a grammar or phrases instead of all English."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

from pocketsphinx import Decoder, FsgModel

from unisono import RequestError

from .jsgf import parse, too_complex
from .network import END, START, Network, expand

_PHRASE = re.compile(r"\s*(.*?)\s*(?:/([^/]*)/\s*)?", re.DOTALL)

_MOST_VISITS = 1_000_000
"""For each further pronunciation of a word, the library visits every state of the network, for a
quarter of a microsecond, and every word there, for a tenth of that."""


def add_grammar(decoder: Decoder, search: str, grammar: str) -> None:
    """Add a search for what any public rule of a JSGF grammar allows.

    :raises RequestError: if the grammar is invalid or has words that the dictionary lacks.
    """
    network = expand(parse(grammar))
    words = sorted({word for _, _, word in network.words})
    if unknown := _unknown(decoder, words):
        raise _unknown_words(unknown, "grammar")
    add_network(decoder, search, network)


def add_network(decoder: Decoder, search: str, network: Network) -> None:
    """Add a search for what leads through a network of words that the dictionary has.

    :raises RequestError: if too many of them have several pronunciations.
    """
    words = {word for _, _, word in network.words}
    if _variants(decoder, words) * (network.states + len(network.words) // 10) > _MOST_VISITS:
        raise too_complex()
    scale = decoder.get_logmath()
    model = FsgModel(search, scale, decoder.config["lw"], network.states)
    model.set_start_state(START)
    model.set_final_state(END)
    for (begin, end, word), probability in network.words.items():
        model.trans_add(begin, end, scale.log(probability), model.word_add(word))
    for (begin, end), probability in network.jumps.items():
        model.null_trans_add(begin, end, scale.log(probability))
    # The best path through the lattice of results may lack the end of a sentence.
    bestpath, decoder.config["bestpath"] = decoder.config["bestpath"], False
    decoder.add_fsg(search, model)
    decoder.config["bestpath"] = bestpath


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
        if word[:1] in "<[+" or not word.isprintable() or decoder.lookup_word(word) is None
    ]


def _variants(decoder: Decoder, words: Iterable[str]) -> int:
    """Return how many further pronunciations there are; the dictionary has them as "the(2)"."""
    return sum(
        next(n for n in count() if decoder.lookup_word(f"{word}({n + 2})") is None)
        for word in words
    )


def _unknown_words(words: list[str], param: str) -> RequestError:
    listed = ", ".join(map(repr, words[:10])) + (", …" if len(words) > 10 else "")
    return RequestError(
        f"The dictionary of this model, which is in lower case, does not have {listed}.",
        param=param,
    )
