"""Where audio is cut into utterances."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from pocketsphinx import Vad

SAMPLE_RATE = 16_000
"""Hertz; the bundled model knows no other."""

LONGEST = 30 * SAMPLE_RATE
"""Samples that are decoded at once: the decoder's time and memory grow with them."""

_FRAME = 480
"""Samples of one decision of the detector: 30 ms."""
_PAUSE = 17
"""Frames without speech that end an utterance: 0.5 s."""
_MARGIN = 10 * _FRAME
"""Samples kept around speech: 0.3 s. With 0.5 s or more the error rate rises (README)."""
_SPURT = 3
"""Frames of speech that are none: the detector starts by taking so much of any noise for it."""


def utterances(pcm: bytes) -> Iterator[tuple[int, int]]:
    """Yield where speech lies, as offsets in samples: in order, apart, at most `LONGEST` long.

    Only pauses are left out: every frame that the detector takes for speech is in an utterance,
    with a margin, and speech without a pause is cut where it is least loud.
    """
    total = len(pcm) // 2
    end_before = 0
    groups = list(_groups(_speech_frames(pcm)))
    for index, (first, last) in enumerate(groups):
        start, end = first * _FRAME, min((last + 1) * _FRAME, total)
        room = groups[index + 1][0] * _FRAME - end if index + 1 < len(groups) else 2 * total
        start = max(end_before, start - _MARGIN)
        end_before = end = min(total, end + min(_MARGIN, room // 2))
        yield from _bounded(pcm, start, end)


def _speech_frames(pcm: bytes) -> Iterator[int]:
    """Yield the indices of the frames that hold speech."""
    detector = Vad(Vad.MEDIUM_STRICT, SAMPLE_RATE, _FRAME / SAMPLE_RATE)
    size = detector.frame_bytes
    for index, offset in enumerate(range(0, len(pcm), size)):
        if detector.is_speech(pcm[offset : offset + size].ljust(size, b"\0")):
            yield index


def _groups(frames: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Join frames of speech up to the next pause; yield the first and the last of each group."""
    group: list[int] = []
    for frame in frames:
        if group and frame - group[-1] > _PAUSE:
            if len(group) > _SPURT:
                yield group[0], group[-1]
            group = []
        group.append(frame)
    if len(group) > _SPURT:
        yield group[0], group[-1]


def _bounded(pcm: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > LONGEST:
        cut = _least_loud(pcm, start + LONGEST * 2 // 3, start + LONGEST)
        yield start, cut
        start = cut
    yield start, end


def _least_loud(pcm: bytes, low: int, high: int) -> int:
    """Return the middle of the quietest 150 ms between two offsets."""
    samples = array("h", pcm[2 * low : 2 * high])
    loudness = [
        sum(map(abs, samples[offset : offset + _FRAME]))
        for offset in range(0, len(samples), _FRAME)
    ]
    middles = range(2, len(loudness) - 2)
    quietest = min(middles, key=lambda middle: sum(loudness[middle - 2 : middle + 3]))
    return low + quietest * _FRAME + _FRAME // 2
