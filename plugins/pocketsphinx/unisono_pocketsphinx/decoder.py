"""PocketSphinx's decoder as both engines use it: opened alike, one utterance in one call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pocketsphinx import Decoder, set_loglevel

FRAME_RATE = 100
"""Frames in a second, in which the decoder counts time."""

_VARIANT = re.compile(r"\(\d+\)$")


@dataclass(frozen=True)
class Heard:
    """A word of the dictionary, or a phrase, in an utterance."""

    text: str
    start: float
    """Seconds from the start of the utterance."""
    end: float
    """Seconds from the start of the utterance; 0.01 above the last frame."""
    probability: float
    """How much likelier it is than anything else that the search allows, 0 to 1."""
    fit: float
    """Probability of its sound, relative to the best sound for each of its frames."""


def open_decoder(options: Mapping[str, object]) -> Decoder:
    """Load a model.

    :param options: for the decoder; `hmm`, `lm` and `dict` left out are the bundled ones.
    :raises RuntimeError: if the decoder cannot use them; it logs why.
    """
    decoder = Decoder(loglevel="ERROR", **options)
    set_loglevel("FATAL")
    return decoder


def decode(decoder: Decoder, pcm: bytes) -> list[Heard]:
    """Return what is heard in an utterance, without silence and noises.

    Nothing can interrupt it, and it keeps the interpreter to itself.

    :param pcm: 16-bit, mono, 16 000 hertz.
    """
    decoder.reinit_feat()  # forgets the channel of earlier audio: nobody's words depend on it
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    return [
        Heard(
            text=_VARIANT.sub("", part.word.strip()),
            start=part.start_frame / FRAME_RATE,
            end=(part.end_frame + 1) / FRAME_RATE,
            probability=min(1.0, max(0.0, part.prob)),
            fit=part.ascore,
        )
        for part in decoder.seg() or ()
        if part.word[0] not in "<[+("
    ]
