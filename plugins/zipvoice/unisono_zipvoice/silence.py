"""Silence as upstream treats it, which leaves that to pydub: whole milliseconds, 16 bits, -50 dBFS.

Source: `zipvoice/utils/infer.py` (`remove_silence`), and `pydub.silence` 0.25.
"""

from __future__ import annotations

import numpy as np

from .features import SAMPLE_RATE

_PER_MS = SAMPLE_RATE // 1000
_LOUD = 104 / 32768
"""Quietest sound. pydub rounds loudness down to whole steps of 16 bits: -50 dBFS are 103.6."""
_STEP_MS = 10
_EDGE_MS = 100
_PAUSE_MS = 1000
"""Pauses at least this long are looked for; as much is kept on either side of one."""


def quantize(samples: np.ndarray) -> np.ndarray:
    """Round towards zero to 16 bits, as upstream does on the way to pydub."""
    steps: np.ndarray = np.trunc(np.clip(samples * 32768, -32768, 32767)).astype(np.float32)
    steps /= 32768
    return steps


def shorten_pauses(samples: np.ndarray) -> np.ndarray:
    """Shorten silences of more than two seconds to two.

    :param samples: float32, (frames,) or (frames, channels), at 24 kHz.
    """
    length = _length_ms(samples)
    sounding = _sounding(samples, length)
    if sounding == [(0, length)]:
        return samples
    # A pause of up to two seconds stays: what is kept of it on both sides meets in its middle.
    low = [max(0, start - _PAUSE_MS) for start, _ in sounding]
    high = [min(length, end + _PAUSE_MS) for _, end in sounding]
    for i in range(len(sounding) - 1):
        if low[i + 1] < high[i]:
            high[i] = low[i + 1] = (sounding[i][1] + sounding[i + 1][0]) // 2
    parts = [_cut(samples, start, end) for start, end in zip(low, high, strict=True)]
    return np.concatenate(parts) if parts else samples[:0]


def trim_edges(samples: np.ndarray) -> np.ndarray:
    """Leave 0.1 seconds of the silence at the start and at the end."""
    for _ in range(2):
        start = leading_silence(samples) // _PER_MS
        samples = _cut(samples, start, _length_ms(samples))[::-1]
    return samples


def leading_silence(samples: np.ndarray) -> int:
    """Return how many frames to cut off the start, so that 0.1 seconds of silence remain."""
    size = _STEP_MS * _PER_MS
    energy = _energy(samples)
    count = -(-len(energy) // size)
    sums = np.pad(energy, (0, count * size - len(energy))).reshape(count, size).sum(axis=1)
    loud = sums >= _LOUD**2 * np.minimum(size, len(energy) - size * np.arange(count))
    found = int(np.argmax(loud)) * _STEP_MS if loud.any() else _length_ms(samples)
    return max(0, found - _EDGE_MS) * _PER_MS


def _sounding(samples: np.ndarray, length: int) -> list[tuple[int, int]]:
    """Return where long pauses are not, in milliseconds."""
    if length < _PAUSE_MS:
        return [(0, length)]
    last = length - _PAUSE_MS
    starts = [*range(0, last + 1, _STEP_MS), *([last] if last % _STEP_MS else [])]
    total = np.concatenate([[0.0], np.cumsum(_energy(samples))])
    at = np.array(starts) * _PER_MS
    ends = np.minimum(at + _PAUSE_MS * _PER_MS, len(samples))
    quiet = total[ends] - total[at] < _LOUD**2 * (ends - at)
    pauses: list[list[int]] = []
    for start in np.array(starts)[quiet].tolist():
        if pauses and start <= pauses[-1][1]:
            pauses[-1][1] = start + _PAUSE_MS
        else:
            pauses.append([start, start + _PAUSE_MS])
    edges = [0, *(edge for pause in pauses for edge in pause), length]
    between = zip(edges[::2], edges[1::2], strict=True)
    return [(start, end) for start, end in between if start < end]


def _energy(samples: np.ndarray) -> np.ndarray:
    energy: np.ndarray = np.square(samples, dtype=np.float64)
    return energy if energy.ndim == 1 else energy.mean(axis=1)


def _cut(samples: np.ndarray, start: int, end: int) -> np.ndarray:
    """Cut out milliseconds; what is missing of the last is silent."""
    part = samples[start * _PER_MS : end * _PER_MS]
    missing = (end - start) * _PER_MS - len(part)
    return np.pad(part, [(0, missing)] + [(0, 0)] * (samples.ndim - 1)) if missing else part


def _length_ms(samples: np.ndarray) -> int:
    return round(len(samples) / _PER_MS)
