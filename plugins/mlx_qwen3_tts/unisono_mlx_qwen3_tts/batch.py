"""Requests that one model speaks together, a frame of 80 ms of everybody at each step."""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unisono import AudioChunk, RequestError, SpeechBatch, SpeechRequest

from .codec import CodecStream, DecoderState
from .model import LoadedModel
from .sampling import Sampler, Sampling

logger = logging.getLogger(__name__)

SAMPLE_RATE = 24_000
FRAME_SECONDS = 0.08

_CHUNKS = (2, 4, 8)
"""Frames of the first chunk, of the second, and of all others: the first is heard soon, and each
is made while the one before it sounds, as long as the model is twice as fast as speech."""


@dataclass(frozen=True)
class Utterance:
    """A request as the model understands it."""

    prompt: Any
    """Embeddings, (1, positions, width)."""
    sampling: Sampling
    heard: DecoderState | None = None
    """What the decoder has heard before: the end of a reference, if the speech goes on from it."""


@dataclass(eq=False)
class _Row:
    key: int
    utterance: Utterance
    stream: CodecStream
    spoken: list[int] = field(default_factory=list)  # the first code of every frame
    waiting: list[np.ndarray] = field(default_factory=list)  # frames that no chunk has yet
    chunks: int = 0


class Qwen3TtsBatch(SpeechBatch):
    """A request with a seed speaks alone: beside others, the last bits of its numbers would differ.

    :param understand: returns None for a text that has nothing to say.
    """

    def __init__(
        self, model: LoadedModel, understand: Callable[[SpeechRequest], Utterance | None]
    ) -> None:
        self._model = model
        self._understand = understand
        self._talker = model.talker()
        self._rows: list[_Row] = []
        self._joining: deque[_Row] = deque()
        self._silent: list[int] = []
        self._seeded = False
        self._random: Any = None
        self._sampler: Sampler | None = None

    def accepts(self, request: SpeechRequest) -> bool:
        return self._empty or (request.seed is None and not self._seeded)

    def add(self, key: int, request: SpeechRequest) -> None:
        import mlx.core as mx  # noqa: PLC0415 - imported by `Engine.load`

        utterance = self._understand(request)
        if self._empty:
            self._seeded = request.seed is not None
            # A generator of the batch's own: nobody else's requests advance it.
            seed = secrets.randbits(63) if request.seed is None else request.seed
            self._random = mx.random.key(seed)
        if utterance is None:
            self._silent.append(key)
        else:
            stream = CodecStream(self._model.codec, utterance.heard)
            self._joining.append(_Row(key, utterance, stream))

    def step(self) -> Iterable[tuple[int, AudioChunk | Exception | None]]:
        came: list[tuple[int, AudioChunk | Exception | None]] = []
        came += ((key, None) for key in self._silent)
        self._silent = []
        if self._empty:
            return came
        frames = self._speak()
        going = []
        for index, (row, frame) in enumerate(zip(self._rows, frames, strict=True)):
            ended = int(frame[0]) == self._talker.end
            cut = not ended and len(row.spoken) == row.utterance.sampling.max_frames
            if not (ended or cut):
                row.spoken.append(int(frame[0]))
                row.waiting.append(frame)
                going.append(index)
            size = _CHUNKS[min(row.chunks, len(_CHUNKS) - 1)]
            if len(row.waiting) >= (1 if ended or cut else size):
                samples = row.stream.decode(np.stack(row.waiting))
                came.append((row.key, AudioChunk(samples, SAMPLE_RATE)))
                row.waiting = []
                row.chunks += 1
            if ended or cut:
                came.append((row.key, _cut_off(row) if cut else None))
        self._keep(going)
        return came

    def remove(self, key: int) -> None:
        self._silent = [other for other in self._silent if other != key]
        self._joining = deque(row for row in self._joining if row.key != key)
        self._keep([index for index, row in enumerate(self._rows) if row.key != key])

    def close(self) -> None:
        """Give the memory of the batch back."""
        import mlx.core as mx  # noqa: PLC0415

        self._joining.clear()
        self._keep([])
        mx.clear_cache()

    @property
    def _empty(self) -> bool:
        return not (self._rows or self._joining)

    def _speak(self) -> np.ndarray:
        """Return a frame of every row, (rows, groups), after one more row has joined."""
        import mlx.core as mx  # noqa: PLC0415

        joining = self._joining.popleft() if self._joining else None
        logits, hidden = self._talker.advance(joining and joining.utterance.prompt)
        if joining is not None:
            self._rows.append(joining)
            self._sampler = None
        if self._sampler is None:
            rules = [row.utterance.sampling for row in self._rows]
            self._sampler = Sampler(rules, self._talker.allowed)
        self._random, *keys = mx.random.split(self._random, self._model.groups + 1)
        first = self._sampler.first(logits, [row.spoken for row in self._rows], keys[0])
        return np.array(self._talker.complete(first, hidden, self._sampler, keys[1:]))

    def _keep(self, rows: list[int]) -> None:
        if len(rows) < len(self._rows):
            self._rows = [self._rows[index] for index in rows]
            self._talker.keep(rows)
            self._sampler = None


def _cut_off(row: _Row) -> RequestError:
    """Say that the speech has no end, which nothing in the audio tells."""
    frames = len(row.spoken)
    logger.warning("Speech was cut off after %d frames.", frames)
    return RequestError(
        f"The speech had not ended after {frames} frames ({frames * FRAME_SECONDS:.1f} seconds). "
        "Send a shorter text or a larger max_new_tokens; when cloning, make sure that ref_text is "
        "all that is said in the reference.",
        param="max_new_tokens",
        code="speech_cut_off",
    )
