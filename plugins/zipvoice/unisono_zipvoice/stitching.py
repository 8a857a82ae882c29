"""One stream out of stretches that were spoken apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .features import SAMPLE_RATE
from .silence import leading_silence

_FADE = SAMPLE_RATE // 10


def stitch(stretches: Iterable[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """Cross-fade stretches over 0.1 seconds, and drop the silence around all of them but 0.1.

    Each is passed on as soon as it is there, but for its last 0.1 seconds.

    :param stretches: float32, (frames,) or (frames, channels).
    :param count: how many there are.
    """
    tail: np.ndarray | None = None
    for number, spoken in enumerate(stretches, 1):
        start = leading_silence(spoken) if number == 1 else 0
        joined = spoken[start:] if tail is None else _cross_fade(tail, spoken)
        if number == count:
            joined = joined[: len(joined) - leading_silence(joined[::-1])]
        kept = 0 if number == count else min(_FADE, len(joined))
        tail = joined[len(joined) - kept :]
        if len(joined) > kept:
            yield joined[: len(joined) - kept]


def _cross_fade(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    frames = min(len(first), len(second))
    fade = np.linspace(1, 0, frames, dtype=np.float32).reshape(-1, *[1] * (second.ndim - 1))
    rest = len(first) - frames
    both = first[rest:] * fade + second[:frames] * (1 - fade)
    return np.concatenate([first[:rest], both, second[frames:]])
