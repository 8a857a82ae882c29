"""What the library found, as unisono has it."""

from __future__ import annotations

import math
from typing import Any

from unisono import Segment, TokenLogprob, Word


def segment_of(
    found: Any, language: str | None, *, with_words: bool, logprobs: tuple[TokenLogprob, ...] = ()
) -> Segment:
    """Return the segment.

    :param found: a `faster_whisper.transcribe.Segment` with text.
    :param language: BCP 47 tag.
    """
    words = tuple(_word(word) for word in found.words or () if word.word.strip())
    # The library corrects words at the edges and leaves the segment as it was.
    return Segment(
        text=found.text.strip(),
        start=min([float(found.start), *(word.start for word in words)]),
        end=max([float(found.end), *(word.end for word in words)]),
        words=words if with_words else (),
        language=language,
        avg_logprob=_finite(found.avg_logprob),
        no_speech_prob=_finite(found.no_speech_prob),
        compression_ratio=_finite(found.compression_ratio),
        temperature=_finite(found.temperature),
        tokens=tuple(found.tokens),
        logprobs=logprobs,
    )


def _word(found: Any) -> Word:
    return Word(
        found.word.strip(), float(found.start), float(found.end), _finite(found.probability)
    )


def _finite(value: float | None) -> float | None:
    """Return a Python float; JSON knows neither infinity nor numpy's numbers."""
    return float(value) if value is not None and math.isfinite(value) else None
