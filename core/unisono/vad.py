"""Where somebody speaks, and where to cut so that nobody is cut off.

Everywhere, `samples` are mono at 16 000 hertz: float32 in [-1, 1], (frames,), none of them NaN.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .silero import RATE, WINDOW, Silero

_HYSTERESIS = 0.15
"""How far below the threshold speech ends; Silero's own value, as is the least."""
_LEAST = 0.01
_CLICK_FRAMES = RATE // 10
"""What is no longer than this was no speech."""
_END_PADDING_FRAMES = RATE // 10
"""What to keep after speech: consonants fade."""
_PAUSE_WINDOWS = 4
"""Shortest pause to cut in: stops within words are pauses, too."""
_COLD_WINDOWS = 6
"""Windows in which speech is not recognized yet when listening begins within a word."""


@dataclass(frozen=True)
class Detection:
    """How to tell speech from silence, in the words of OpenAI's `server_vad`."""

    threshold: float = 0.5
    """Probability from which on something is speech, 0 to 1."""
    prefix_padding_ms: int = 300
    """What to keep before speech."""
    silence_duration_ms: int = 200
    """Silence that ends speech."""

    @property
    def release(self) -> float:
        """Probability below which speech may be over."""
        return max(self.threshold - _HYSTERESIS, _LEAST)


DEFAULT = Detection()


def speech_spans(
    blocks: Iterable[np.ndarray],
    detection: Detection = DEFAULT,
    max_seconds: float | None = None,
) -> Iterator[tuple[int, int]]:
    """Yield where speech lies, as (start, end) frames, as soon as it is known.

    The spans come in order and may touch, but not overlap. They do not depend on
    how a recording is cut into blocks. No samples are kept.

    :param blocks: consecutive samples, as many at a time as there are.
    :param max_seconds: longest span, at least 1. A longer one is cut within its later half: in the
        longest pause, else where speech is least likely. None means no limit.
    :raises ValueError: if `max_seconds` is less than 1.
    """
    if max_seconds is not None and not max_seconds >= 1:
        raise ValueError(f"A span must be allowed at least 1 second, not {max_seconds!r}.")
    return _listen(blocks, Endpoints(detection, max_seconds))


def last_pause(samples: np.ndarray, detection: Detection = DEFAULT) -> int | None:
    """Return the middle frame of the longest pause, the last of several as long; None without any.

    Where nobody speaks at all, as in music, nobody pauses.

    :param samples: a stretch of a recording, which may begin and end within a word. Its first 0.2
        seconds do not count.
    """
    likely = Silero().write(samples)[_COLD_WINDOWS:]
    if likely.max(initial=0) < detection.threshold:
        return None
    pause = _pause(likely, detection.release)
    return None if pause is None else pause + _COLD_WINDOWS * WINDOW


def _listen(blocks: Iterable[np.ndarray], endpoints: Endpoints) -> Iterator[tuple[int, int]]:
    silero = Silero()
    frames = 0
    for block in blocks:
        frames += len(block)
        yield from endpoints.follow(silero.write(block))
    yield from endpoints.finish(frames)


class Endpoints:
    """Makes spans of probabilities, window by window."""

    def __init__(self, detection: Detection, max_seconds: float | None) -> None:
        self._enter = detection.threshold
        self._release = detection.release
        self._prefix = detection.prefix_padding_ms * RATE // 1000
        self._silence = detection.silence_duration_ms * RATE // 1000
        self._most = None if max_seconds is None else int(max_seconds * RATE)
        if self._most is not None:
            self._prefix = min(self._prefix, self._most // 2)
        # The latest probabilities, among which to find a cut: half of the longest span.
        self._latest = deque[float](maxlen=0 if self._most is None else self._most // 2 // WINDOW)
        self._at = 0
        self._past = 0  # where the span before ended
        # The open span: where it starts, where its speech does, since when that may be over.
        self._start: int | None = None
        self._heard = 0
        self._quiet: int | None = None

    def follow(self, probabilities: np.ndarray) -> Iterator[tuple[int, int]]:
        """Yield the spans that are complete after the next windows."""
        for probability in probabilities.tolist():
            yield from self._cut(self._at + WINDOW)
            begin, self._at = self._at, self._at + WINDOW
            self._latest.append(probability)
            if probability >= self._enter:
                self._quiet = None
                if self._start is None:
                    self._start, self._heard = max(self._past, begin - self._prefix), begin
            elif probability < self._release and self._quiet is None:
                self._quiet = begin
            if self._quiet is not None and self._at - self._quiet >= self._silence:
                yield from self._close(self._quiet, self._at)

    def finish(self, frames: int) -> Iterator[tuple[int, int]]:
        """Yield the span that is open when the recording ends.

        :param frames: length of the recording.
        """
        yield from self._cut(frames)
        yield from self._close(frames if self._quiet is None else self._quiet, frames)

    def _close(self, quiet: int, known: int) -> Iterator[tuple[int, int]]:
        """End the open span, if there is one, and yield it if it was more than a click.

        :param quiet: where its speech ends.
        :param known: where the recording ends, as far as it was heard.
        """
        start, self._start = self._start, None
        if start is not None and quiet - self._heard > _CLICK_FRAMES and quiet > start:
            self._past = min(quiet + _END_PADDING_FRAMES, known)
            yield start, self._past

    def _cut(self, end: int) -> Iterator[tuple[int, int]]:
        """Yield the first part of the open span if it is to reach too far; the rest stays open.

        :param end: where it is to reach.
        """
        if self._start is None or self._most is None or end - self._start <= self._most:
            return
        latest = np.array(self._latest)
        inside = _pause(latest, self._release)
        if inside is None:
            inside = int(np.argmin(latest)) * WINDOW + WINDOW // 2
        self._past = self._at - len(latest) * WINDOW + inside
        yield self._start, self._past
        self._start = self._past


def _pause(likely: np.ndarray, release: float) -> int | None:
    """Return the frame in the middle of the longest stretch of windows without speech."""
    edges = np.diff((likely < release).astype(np.int8), prepend=0, append=0)
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lengths = ends - begins
    if lengths.max(initial=0) < _PAUSE_WINDOWS:
        return None
    best = np.flatnonzero(lengths == lengths.max())[-1]
    return int(begins[best] + ends[best]) * WINDOW // 2
