"""The recognizer: one utterance after the other, each in one call that nothing can interrupt."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from unisono import Segment, TokenLogprob, TranscriptionRequest, Word

from .decoder import decode, open_decoder
from .pcm import to_pcm
from .searches import add_grammar, add_keyphrases
from .utterances import SAMPLE_RATE, utterances

_SEARCH = "request"
_BREATH = 0.005


class Recognizer:
    """A model.

    :param options: for the decoder: `hmm`, `lm`, `dict`; left out, the bundled ones.
    :raises RuntimeError: if the decoder cannot use them; it logs why.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        # No delay of detections: it serves live audio, and loses a phrase at the very end.
        self._decoder = open_decoder({"kws_delay": 0, **options})

    @contextmanager
    def listening_for(
        self, grammar: str | None, keyphrases: Sequence[str], threshold: float
    ) -> Iterator[None]:
        """Listen for a grammar or for phrases meanwhile, or without any for the whole language.

        :raises RequestError: if the decoder cannot use them.
        """
        if grammar is not None:
            add_grammar(self._decoder, _SEARCH, grammar)
        elif keyphrases:
            add_keyphrases(self._decoder, _SEARCH, keyphrases, threshold)
        else:
            yield
            return
        self._decoder.activate_search(_SEARCH)
        try:
            yield
        finally:
            self._decoder.activate_search()
            self._decoder.remove_search(_SEARCH)

    def transcribe(self, request: TranscriptionRequest) -> Iterator[Segment]:
        """Yield each utterance as soon as it is decoded. Ends before the next once cancelled."""
        pcm = to_pcm(request.audio.samples)
        for start, end in utterances(pcm):
            if request.cancel.cancelled:
                return
            words = self._words(pcm[2 * start : 2 * end], start / SAMPLE_RATE)
            if words:
                yield _segment(words, request)
            # The decoder keeps the interpreter to itself. Without a pause the other threads could
            # not send this segment, nor hear of a cancellation, before the next one is done.
            time.sleep(_BREATH)

    def _words(self, pcm: bytes, offset: float) -> list[Word]:
        last = offset + len(pcm) / 2 / SAMPLE_RATE
        words = [
            Word(
                text=heard.text,
                start=round(offset + heard.start, 3),
                end=round(min(last, offset + heard.end), 3),
                probability=heard.probability,
            )
            for heard in decode(self._decoder, pcm)
        ]
        return sorted(words, key=lambda word: word.start)  # spotted phrases come in another order


def _segment(words: list[Word], request: TranscriptionRequest) -> Segment:
    tokens = tuple(
        # Joined, they are the text.
        TokenLogprob(f" {word.text}" if index else word.text, _logprob(word))
        for index, word in enumerate(words)
    )
    return Segment(
        text=" ".join(word.text for word in words),
        start=words[0].start,
        end=max(word.end for word in words),
        words=tuple(words) if request.word_timestamps else (),
        avg_logprob=sum(token.logprob for token in tokens) / len(tokens),
        logprobs=tokens if request.logprobs else (),
    )


def _logprob(word: Word) -> float:
    return math.log(max(word.probability or 0.0, 1e-10))
