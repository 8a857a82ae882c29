"""Samples in, samples out: channels, sample rates, integers, tempo.

Everywhere, `samples` are float32 in [-1, 1], shaped (frames,) or (frames, channels).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from .types import AudioChunk


def finite(samples: np.ndarray) -> np.ndarray:
    """Put silence in place of every NaN and infinity; what has none is returned as it is."""
    # A sum is finite only if each term is: one pass and no temporary on the usual path.
    with np.errstate(over="ignore", invalid="ignore"):
        clean = np.isfinite(samples.sum())
    if clean:
        return samples
    return np.where(np.isfinite(samples), samples, np.float32(0))


def to_mono(samples: np.ndarray) -> np.ndarray:
    """Average the channels."""
    if samples.ndim == 1:
        return samples
    if samples.shape[1] == 1:
        return samples[:, 0]
    mono: np.ndarray = samples.mean(axis=1, dtype=np.float32)
    return mono


def to_channels(samples: np.ndarray, channels: int) -> np.ndarray:
    """Give samples this many channels: averaged to one, or one repeated.

    One channel is always shaped (frames,).
    """
    if channels == 1:
        return to_mono(samples)
    if samples.ndim == 2 and samples.shape[1] == channels:
        return samples
    return np.repeat(to_mono(samples)[:, np.newaxis], channels, axis=1)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Round to little-endian int16; what is out of range is clipped, what is no number is 0.

    The scale is 32768, so that an engine whose own samples are int16 gets them back bit by bit.
    """
    scaled: np.ndarray = np.multiply(finite(samples), np.float32(32768), dtype=np.float32)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32768, 32767, out=scaled)
    return scaled.astype("<i2")


def trim(samples: np.ndarray, sample_rate: int, margin: float = 0.1) -> np.ndarray:
    """Cut the silence before and after the sound: what is 40 dB below the loudest moment.

    Returns nothing of a recording that is silent throughout (below -60 dBFS).

    :param samples: mono.
    :param margin: seconds of the silence to leave.
    """
    size = max(1, sample_rate // 100)
    frames = np.abs(samples[: len(samples) // size * size]).reshape(-1, size).max(axis=1)
    peak = frames.max(initial=0.0)
    if peak < 1e-3:
        return samples[:0]
    loud = np.flatnonzero(frames >= peak / 100)
    spare = round(margin * sample_rate)
    return samples[max(0, loud[0] * size - spare) : (loud[-1] + 1) * size + spare]


def join(chunks: Sequence[AudioChunk]) -> AudioChunk:
    """Make one chunk of consecutive chunks of one stream.

    :param chunks: at least one, all of the same rate and channels.
    """
    if len(chunks) == 1:
        return chunks[0]
    return AudioChunk(
        np.concatenate([chunk.samples for chunk in chunks]),
        chunks[0].sample_rate,
        tuple(word for chunk in chunks for word in chunk.words),
    )


def resample(samples: np.ndarray, rate_from: int, rate_to: int) -> np.ndarray:
    """Convert a whole recording to another sample rate, in hertz."""
    if rate_from == rate_to:
        return samples
    import soxr  # noqa: PLC0415 - not needed to start a server

    ready = np.ascontiguousarray(finite(samples), dtype=np.float32)
    resampled: np.ndarray = soxr.resample(ready, rate_from, rate_to)
    return resampled


class Resampler:
    """Convert a stream to another sample rate.

    The output as a whole has the input's length times rate_to / rate_from, to the nearest
    sample; it trails the input by up to 80 ms until `finish`. One thread at a time.

    :param rate_from: hertz of what is written.
    :param rate_to: hertz of what is returned.
    :param channels: 1 for samples shaped (frames,), more for (frames, channels).
    """

    def __init__(self, rate_from: int, rate_to: int, channels: int = 1) -> None:
        self._tail = np.empty(0 if channels == 1 else (0, channels), np.float32)
        self._stream: Any = None
        if rate_from != rate_to:
            import soxr  # noqa: PLC0415 - not needed to start a server

            self._stream = soxr.ResampleStream(rate_from, rate_to, channels, dtype="float32")

    def write(self, samples: np.ndarray) -> np.ndarray:
        """Return what is ready, which may be nothing."""
        if self._stream is None:
            return samples
        return self._resample(samples, last=False)

    def finish(self) -> np.ndarray:
        """Return the rest. Nothing may be written afterwards."""
        if self._stream is None:
            return self._tail
        return self._resample(self._tail, last=True)

    def _resample(self, samples: np.ndarray, *, last: bool) -> np.ndarray:
        # One NaN would spread over everything that the filter's memory reaches.
        ready = np.ascontiguousarray(finite(samples), dtype=np.float32)
        resampled: np.ndarray = self._stream.resample_chunk(ready, last=last)
        return resampled


class Stretcher:
    """Change the tempo of a stream and keep its pitch, by FFmpeg's `atempo` filter (WSOLA).

    One thread at a time, not always the same.

    :param factor: 0.25 to 4; 2 is twice as fast and half as long.
    :param sample_rate: hertz.
    :param channels: 1 for samples shaped (frames,), more for (frames, channels).
    :raises ValueError: if the factor is out of range.
    """

    def __init__(self, factor: float, sample_rate: int, channels: int = 1) -> None:
        import av  # noqa: PLC0415 - 40 ms, and most requests never stretch
        import av.filter  # noqa: PLC0415

        if not 0.25 <= factor <= 4:
            raise ValueError(f"The factor must be between 0.25 and 4, not {factor!r}.")
        self._av = av
        self._rate = sample_rate
        self._channels = channels
        self._written = 0
        self._swallowed: list[np.ndarray] | None = []
        self._layout = {1: "mono", 2: "stereo"}.get(channels, f"{channels}c")
        self._graph: Any = av.filter.Graph()
        with suppress(AttributeError):  # older versions have no such setting, and need none
            self._graph.threads = 1  # PyAV 19 would keep idle threads until a garbage collection
        source = self._graph.add(
            "abuffer",
            sample_rate=str(sample_rate),
            sample_fmt="flt",
            channel_layout=self._layout,
            time_base=f"1/{sample_rate}",
        )
        # Below 0.5 the filter refuses, above 2 it skips samples: two gentle steps instead.
        steps = 1 if 0.5 <= factor <= 2 else 2
        tempos = [self._graph.add("atempo", str(factor ** (1 / steps))) for _ in range(steps)]
        self._graph.link_nodes(source, *tempos, self._graph.add("abuffersink"))
        self._graph.configure()

    def write(self, samples: np.ndarray) -> np.ndarray:
        """Return what is ready, which may be nothing."""
        packed = finite(samples).astype(np.float32, copy=False)
        # The filter answers in frames of the size that it is fed: small ones come out sooner.
        step = max(1, self._rate // 25)
        for start in range(0, len(packed), step):
            part = packed[start : start + step]
            frame = self._av.AudioFrame(format="flt", layout=self._layout, samples=len(part))
            frame.planes[0].update(part.tobytes())
            frame.sample_rate = self._rate
            frame.pts = self._written
            self._written += len(part)
            self._graph.push(frame)
        ready = self._pull()
        if len(ready):
            self._swallowed = None
        elif self._swallowed is not None:
            self._swallowed.append(packed)
        return ready

    def finish(self) -> np.ndarray:
        """Return the rest. Nothing may be written afterwards."""
        self._graph.push(None)
        rest = self._pull()
        self._graph = None  # the filter's threads end here
        if not len(rest) and self._swallowed:
            # Of less than a window of some 40 ms the filter makes nothing; better too slow.
            return np.concatenate(self._swallowed)
        return rest

    def _pull(self) -> np.ndarray:
        ready = []
        while True:
            try:
                ready.append(self._graph.pull().to_ndarray().ravel())
            except (self._av.error.BlockingIOError, self._av.error.EOFError):
                return self._shaped(ready)

    def _shaped(self, parts: list[np.ndarray]) -> np.ndarray:
        joined = np.concatenate(parts) if parts else np.empty(0, np.float32)
        return joined if self._channels == 1 else joined.reshape(-1, self._channels)
