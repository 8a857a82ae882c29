"""Samples as the API carries them: 16-bit PCM, bare, and in WAV files."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np

from unisono import AudioChunk, Word

from .failures import unexpected

Parts = AsyncGenerator[tuple[bytes, tuple[Word, ...]], None]
"""Bytes as they come, each part with the words that begin in it."""

_CONTAINERS = {b"RIFF": "WAV", b"OggS": "Ogg", b"fLaC": "FLAC", b"ID3": "MP3"}


async def chunks_of(parts: Parts, rate: int, model: str) -> AsyncGenerator[AudioChunk, None]:
    """Make chunks of mono PCM (s16le) that comes in pieces of any size.

    :param rate: hertz.
    :param model: our id of the model, for messages.
    :raises EngineUnavailable: if it is something else, or ends within a sample.
    """
    pending = b""
    words: tuple[Word, ...] = ()
    begun = False
    async with aclosing(parts):
        async for data, said in parts:
            pending += data
            words += said
            if len(pending) < (2 if begun else 4):  # as many as tell a container
                continue
            if not begun:
                _refuse_containers(pending, model)
                begun = True
            whole = len(pending) // 2 * 2
            yield AudioChunk(_floats(pending[:whole]), rate, words)
            pending, words = pending[whole:], ()
    if len(pending) % 2:
        raise unexpected(model, "ended in the middle of a sample")
    if pending:
        yield AudioChunk(_floats(pending), rate, words)


def wav_of(audio: AudioChunk) -> bytes:
    """Return a WAV file of mono samples. Takes a while: call it on a worker thread."""
    scaled = np.rint(audio.samples * np.float32(32_768))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, audio.sample_rate, 0, "NONE", ""))
        writer.writeframes(np.clip(scaled, -32_768, 32_767).astype("<i2").tobytes())
    return file.getvalue()


def data_url(audio: AudioChunk) -> str:
    """Return a WAV file of mono samples as a data: URL. As for `wav_of`."""
    return "data:audio/wav;base64," + base64.b64encode(wav_of(audio)).decode("ascii")


def wav_seconds(size: int, rate: int) -> int:
    """Return how many whole seconds fit into a file of so many bytes."""
    return max(0, size - 44) // (2 * rate)


def _floats(data: bytes) -> np.ndarray:
    samples: np.ndarray = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32_768)
    return samples


def _refuse_containers(data: bytes, model: str) -> None:
    for magic, name in _CONTAINERS.items():
        if data.startswith(magic):
            raise unexpected(
                model,
                f"answers with {name} where response_format 'pcm' was asked for: it cannot "
                "be used here unless it can be made to send PCM",
            )
