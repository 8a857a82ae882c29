"""Draw codes from logits, each request of a batch by its own rules.

mlx-audio draws a whole batch by the same rules; this does what its `_sample_token` does, row by
row, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mlx.core as mx

_RECENT = 64
"""Frames that the repetition penalty looks back."""


@dataclass(frozen=True)
class Sampling:
    """How one request draws its codes."""

    temperature: float
    """0 takes the likeliest code."""
    top_k: int
    """0 considers all codes."""
    top_p: float
    repetition_penalty: float
    max_frames: int


class Sampler:
    """Draws one code for each row.

    :param allowed: which codes may be drawn as the first of a frame.
    """

    def __init__(self, rows: Sequence[Sampling], allowed: mx.array) -> None:
        import mlx.core as mx  # noqa: PLC0415 - imported by `Engine.load`

        def column(values: list[float]) -> mx.array:
            return mx.array(values)[:, None]

        self._allowed = allowed
        self._greedy = column([row.temperature == 0 for row in rows])
        self._all_greedy = all(row.temperature == 0 for row in rows)
        self._temperature = column([row.temperature or 1.0 for row in rows])
        self._top_k = [row.top_k for row in rows]
        self._top_p = column([row.top_p for row in rows])
        self._all_p = all(row.top_p >= 1 for row in rows)
        self._penalty = column([row.repetition_penalty for row in rows])

    def first(self, logits: mx.array, spoken: Sequence[Sequence[int]], key: mx.array) -> mx.array:
        """Draw the first code of the next frame, or the end of the speech.

        :param logits: (rows, vocabulary).
        :param spoken: the first codes of each row's frames so far.
        :return: (rows, 1).
        """
        import mlx.core as mx  # noqa: PLC0415

        logits = mx.where(self._allowed, logits.astype(mx.float32), -mx.inf)
        recent = np.zeros(logits.shape, np.bool_)
        for row, codes in enumerate(spoken):
            recent[row, codes[-_RECENT:]] = True
        penalty = self._penalty
        penalized = mx.where(logits < 0, logits * penalty, logits / penalty)
        return self.draw(mx.where(mx.array(recent), penalized, logits), key)

    def draw(self, logits: mx.array, key: mx.array) -> mx.array:
        """Draw a code for each row: (rows, vocabulary) → (rows, 1)."""
        import mlx.core as mx  # noqa: PLC0415

        logits = logits.astype(mx.float32)
        likeliest = mx.argmax(logits, axis=-1, keepdims=True)
        if self._all_greedy:
            return likeliest
        logits = logits / self._temperature
        # Codes below the threshold are out; of codes that tie with it, none is.
        size = logits.shape[-1]
        ordered = mx.sort(logits, axis=-1)
        last = mx.array([[size - (k if 0 < k < size else size)] for k in self._top_k])
        threshold = mx.take_along_axis(ordered, last, axis=-1)
        if not self._all_p:
            kept = mx.where(ordered < threshold, -mx.inf, ordered)
            inside = mx.cumsum(mx.softmax(kept, axis=-1), axis=-1) > 1 - self._top_p
            threshold = mx.min(mx.where(inside, kept, mx.inf), axis=-1, keepdims=True)
        logits = mx.where(logits < threshold, -mx.inf, logits)
        drawn = mx.random.categorical(logits, key=key)[:, None]
        return mx.where(self._greedy, likeliest, drawn)
