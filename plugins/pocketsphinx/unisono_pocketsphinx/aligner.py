"""Forced alignment: when each word of a text that is known is heard."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from unisono import AlignmentRequest, RequestError
from unisono import Word as TimedWord

from .decoder import FRAME_RATE, Heard, decode, open_decoder
from .jsgf import Choice, Grammar, Item, Repeat, Word
from .letters import PHONES
from .network import expand
from .pcm import to_pcm
from .searches import add_network
from .spoken import PHONE_WORDS, said

_SEARCH = "alignment"
_RULE = "<text>"
_SEARCH_OPTIONS = {
    "lm": None,
    # With the decoder's own, noise around speech leads to nothing, where a text is known.
    "beam": 1e-80,
    "pbeam": 1e-80,
    "wbeam": 1e-60,
    # Pauses at punctuation else go to the words after them: 0.2 s off instead of 0.05.
    "silprob": 0.5,
}
_MOST_LETTERS = 100
"""Letters and signs in a second that are worth a try; people say 15."""
_GOOD_FIT = -2.5
"""`_fit` that no other text reaches. People have -1.1 to -2.6 with their own words, clean or with
noise 15 dB below, and at best -5.3 with other words, if the decoder finds a way at all.
"""
_LEAST_GAIN = -2.0
"""How well the text must fit where that is in doubt, less how well any sequence of sounds does:
with strange voices nothing fits well. People have 2 to -0.1 with their own words and at best -2.5
with others. Some single words of espeak's, with 0.2 s of others around them, have less.
"""
_FIT_UNIT = 1024.0
"""A search without a lattice has the logarithms of sounds shifted by ten bits."""

_FOREIGN_WORDS = {f"~{phone}": phone for phone in PHONES}
"""Sounds that are not of the text."""
_FOREIGN_CHANCE = 1e-6
"""Small enough that they take nothing from words that are said."""
_NEIGHBOURS = 3
"""Sounds of other words before the text, and after it: the audio was cut a little around it."""


class Aligner:
    """A model.

    :param options: for the decoder: `hmm`, `dict`; left out, the bundled ones.
    :raises RuntimeError: if the decoder cannot use them; it logs why.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._decoder = open_decoder({**_SEARCH_OPTIONS, **options})
        for word, phone in {**PHONE_WORDS, **_FOREIGN_WORDS}.items():
            with suppress(RuntimeError):  # an acoustic model of another language
                self._decoder.add_word(word, phone, update=False)

    def align(self, request: AlignmentRequest) -> list[TimedWord]:
        """Return the words with their times; none if they are not heard, or once cancelled."""
        if len(request.text) > _MOST_LETTERS * request.audio.seconds:
            return []
        tokens = request.text.split()
        items = [said(token, self._knows) for token in tokens]
        sounding = [item for item in items if item is not None]
        if not sounding or request.cancel.cancelled:
            return []
        pcm = to_pcm(request.audio.samples)
        around = self._neighbours(_NEIGHBOURS)
        heard = self._hear((around, *sounding, around), pcm)
        heard = [word for word in heard if word.text not in _FOREIGN_WORDS]
        ends = _ends(items, heard)
        if not heard or not ends or request.cancel.cancelled or not self._is_said(heard, pcm):
            return []
        words = []
        begin, at = 0, heard[0].start
        for token, end in zip(tokens, ends, strict=True):
            start = at
            if end > begin:
                start, at = heard[begin].start, min(heard[end - 1].end, request.audio.seconds)
            words.append(TimedWord(token, round(start, 3), round(at, 3)))
            begin = end
        return words

    def _knows(self, word: str) -> bool:
        return self._decoder.lookup_word(word) is not None

    def _is_said(self, heard: Sequence[Heard], pcm: bytes) -> bool:
        fit = _fit(heard)
        if fit > _GOOD_FIT:
            return True
        anything = Repeat(self._any_sound(1 / len(_FOREIGN_WORDS)), optional=False)
        return fit - _fit(self._hear((anything,), pcm)) > _LEAST_GAIN

    def _any_sound(self, chance: float) -> Item:
        known = filter(self._knows, _FOREIGN_WORDS)
        return Choice(tuple((chance, (Word(word),)) for word in known))

    def _neighbours(self, most: int) -> Item:
        more = (self._neighbours(most - 1),) if most > 1 else ()
        return Choice(((1.0, ()), (1.0, (self._any_sound(_FOREIGN_CHANCE), *more))))

    def _hear(self, items: tuple[Item, ...], pcm: bytes) -> list[Heard]:
        try:
            network = expand(Grammar({_RULE: Choice(((1.0, items),))}, (_RULE,)))
            add_network(self._decoder, _SEARCH, network)
        except RequestError:  # far more text than anybody says in a few seconds
            return []
        self._decoder.activate_search(_SEARCH)
        try:
            return decode(self._decoder, pcm)
        finally:
            self._decoder.remove_search(_SEARCH)


def _fit(heard: Sequence[Heard]) -> float:
    """Return the mean over the frames of how likely their sounds are, as a logarithm."""
    frames = sum(word.end - word.start for word in heard) * FRAME_RATE
    total = sum(math.log(max(word.fit, 1e-300)) for word in heard)
    return total / frames * _FIT_UNIT if frames else -math.inf


def _ends(items: Sequence[Item | None], heard: Sequence[Heard]) -> list[int]:
    """Return how many words are heard up to the end of each item; nothing if not all are."""
    words = [word.text for word in heard]
    ways: list[dict[int, int]] = []
    begins: Iterable[int] = (0,)
    for item in items:
        reached: dict[int, int] = {}
        for begin in begins:
            for end in _after((item,) if item else (), words, {begin}):
                reached.setdefault(end, begin)
        ways.append(reached)
        begins = reached
    at, ends = len(words), []
    for reached in reversed(ways):
        if at not in reached:
            return []
        ends.append(at)
        at = reached[at]
    return ends[::-1]


def _after(items: Iterable[Item], words: Sequence[str], begins: set[int]) -> set[int]:
    """Return how many words may have been heard after some items, if before them so many were."""
    for item in items:
        match item:
            case Word(text):
                begins = {at + 1 for at in begins if words[at : at + 1] == [text]}
            case Choice(alternatives):
                begins = set().union(*(_after(way, words, begins) for _, way in alternatives))
    return begins
