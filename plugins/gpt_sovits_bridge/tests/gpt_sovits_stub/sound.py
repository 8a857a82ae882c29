"""What a stub says: a tone whose pitch tells the reference, as long as the text."""

from __future__ import annotations

import hashlib
import io
import re
import wave
from pathlib import Path

import numpy as np

PER_CHARACTER = 0.04
"""Seconds."""
_STOPS = ",.;?!、，。？！；：…"
_MARK = re.compile(r"\[\[[^\]]*\]\]")


def pitch(recording: bytes, weights: str = "") -> float:
    """Return the hertz of a voice; weights change it."""
    digest = hashlib.sha256(recording + weights.encode()).digest()
    return 100 + 2 * digest[0]


def spoken(text: str, hertz: float, rate: int, speed: float = 1.0) -> np.ndarray:
    """Speak a fragment."""
    characters = len(_MARK.sub("", text).strip()) or 1
    time = np.arange(round(rate * PER_CHARACTER * characters / speed)) / rate
    # It begins with its loudest sample, so that a lost one is seen.
    return (12_000 * np.cos(2 * np.pi * hertz * time)).astype("<i2")


def wav(samples: np.ndarray, rate: int) -> bytes:
    """Return a WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, samples.dtype.itemsize, rate, len(samples), "NONE", ""))
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def recording(path: Path) -> tuple[bytes, float]:
    """Read a reference: its bytes and seconds. An OSError or wave.Error if it cannot be."""
    data = path.read_bytes()
    with wave.open(io.BytesIO(data)) as reader:
        return data, reader.getnframes() / reader.getframerate()


def cut(text: str, method: str = "cut5") -> list[str]:
    """Cut a text into fragments that have a word."""
    lines = text.split("\n")
    if method != "cut0":
        # A dot within a mark is none of the text's.
        pattern = rf"(?<=[{_STOPS}])(?!\d)"
        lines = [part for line in lines for part in re.split(pattern, line)]
    return [part for part in lines if re.sub(r"[\W_]+", "", part)]


def slowness(text: str) -> float:
    """Return the seconds that a text asks the stub to sleep."""
    match = re.search(r"\[\[slow:([\d.]+)\]\]", text)
    return float(match[1]) if match else 0.0
