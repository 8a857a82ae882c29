"""The decoder: one utterance after the other, each in one call that nothing can interrupt."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pocketsphinx import Decoder, set_loglevel

from unisono import CancelToken, Segment, Word

from .searches import add_grammar, add_keyphrases
from .utterances import SAMPLE_RATE, utterances

_SEARCH = "request"
_FRAME_RATE = 100
_VARIANT = re.compile(r"\(\d+\)$")
_BREATH = 0.005


class Recognizer:
    """A model.

    :param options: for the decoder: `hmm`, `lm`, `dict`; left out, the bundled ones.
    :raises RuntimeError: if the decoder cannot use them; it logs why.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        # No delay of detections: it serves live audio, and loses a phrase at the very end.
        self._decoder = Decoder(loglevel="ERROR", kws_delay=0, **options)
        set_loglevel("FATAL")

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

    def transcribe(self, pcm: bytes, with_words: bool, cancel: CancelToken) -> Iterator[Segment]:
        """Yield each utterance as soon as it is decoded. Ends before the next once cancelled.

        :param pcm: 16-bit, mono, 16 000 hertz.
        """
        for start, end in utterances(pcm):
            if cancel.cancelled:
                return
            words = self._decode(pcm[2 * start : 2 * end], start / SAMPLE_RATE)
            if words:
                yield _segment(words, with_words)
            # The decoder keeps the interpreter to itself. Without a pause the other threads could
            # not send this segment, nor hear of a cancellation, before the next one is done.
            time.sleep(_BREATH)

    def _decode(self, pcm: bytes, offset: float) -> list[Word]:
        decoder = self._decoder
        decoder.reinit_feat()  # forgets the channel of earlier audio: nobody's words depend on it
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        last = offset + len(pcm) / 2 / SAMPLE_RATE
        words = [
            Word(
                text=_VARIANT.sub("", part.word.strip()),
                start=round(offset + part.start_frame / _FRAME_RATE, 3),
                end=round(min(last, offset + (part.end_frame + 1) / _FRAME_RATE), 3),
                probability=min(1.0, max(0.0, part.prob)),
            )
            for part in decoder.seg() or ()
            if part.word[0] not in "<[+"  # silence and noises
        ]
        return sorted(words, key=lambda word: word.start)  # spotted phrases come in another order


def _segment(words: list[Word], with_words: bool) -> Segment:
    return Segment(
        text=" ".join(word.text for word in words),
        start=words[0].start,
        end=max(word.end for word in words),
        words=tuple(words) if with_words else (),
        avg_logprob=sum(math.log(max(word.probability or 0.0, 1e-10)) for word in words)
        / len(words),
    )
