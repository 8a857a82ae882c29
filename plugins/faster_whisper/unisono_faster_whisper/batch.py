"""Requests that share the calls of one model."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from unisono import Segment, TranscriptionBatch, TranscriptionRequest

from .decoding import decode
from .recordings import Recording, Window

logger = logging.getLogger(__name__)


class WindowBatch(TranscriptionBatch):
    """A batch whose every step is one call of the model: a window of each request whose options
    go together, and more of each while there is room.

    :param model: a `faster_whisper.WhisperModel`.
    :param languages: the model's.
    :param size: windows of one call.
    """

    def __init__(self, model: Any, languages: tuple[str, ...], size: int) -> None:
        self._model = model
        self._languages = languages
        self._size = size
        self._recordings: dict[int, Recording] = {}
        """By key; who waits longest comes first."""

    def add(self, key: int, request: TranscriptionRequest) -> None:
        self._recordings[key] = Recording(request, self._model, self._languages)

    def remove(self, key: int) -> None:
        del self._recordings[key]

    def step(self) -> Iterator[tuple[int, Segment | Exception | None]]:
        """Serve who waits longest, and who can go with them."""
        search = next(iter(self._recordings.values())).search
        turns = deque(key for key, each in self._recordings.items() if each.search == search)
        taken: list[tuple[int, Window]] = []
        while turns and len(taken) < self._size:
            key = turns.popleft()
            recording = self._recordings.pop(key)
            try:
                window = recording.take()
            except Exception as error:
                taken = [each for each in taken if each[0] != key]
                yield key, error
                continue
            self._recordings[key] = recording  # behind all others
            if window is not None:
                taken.append((key, window))
                turns.append(key)
        yield from self._decode(taken)
        for key in [key for key, each in self._recordings.items() if each.done]:
            self.remove(key)
            yield key, None

    def _decode(
        self, taken: Sequence[tuple[int, Window]]
    ) -> Iterator[tuple[int, Segment | Exception]]:
        keys = list(dict.fromkeys(key for key, _ in taken))
        try:
            found = decode(self._model, [(self._recordings[key], window) for key, window in taken])
        except Exception as error:
            if len(keys) == 1:
                self.remove(keys[0])
                yield keys[0], error
                return
            # It may be one of them, or their number, if the memory does not suffice.
            logger.warning("%d requests cannot be decoded at once.", len(keys), exc_info=True)
            for one in keys:
                yield from self._decode([(key, window) for key, window in taken if key == one])
            return
        for (key, _), segments in zip(taken, found, strict=True):
            for segment in segments:
                yield key, segment
