"""Named random tensors, and the file format that holds them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np


class Tensors(dict[str, np.ndarray]):
    """Name → float32 array, drawn from one seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = np.random.default_rng(seed)

    def normal(self, name: str, *shape: int, scale: float | None = None) -> np.ndarray:
        """Draw a tensor that keeps the variance of its input unless told otherwise."""
        inputs = int(np.prod(shape[1:])) if len(shape) > 1 else shape[0]
        drawn = self._random.standard_normal(shape) * (inputs**-0.5 if scale is None else scale)
        self[name] = drawn.astype(np.float32)
        return self[name]

    def full(self, name: str, *shape: int, value: float = 0.0) -> np.ndarray:
        """Add a tensor that holds one value everywhere."""
        self[name] = np.full(shape, value, np.float32)
        return self[name]

    def conv(self, name: str, out: int, channels: int, taps: int) -> None:
        """Add a convolution in torch's layout."""
        self.normal(f"{name}.weight", out, channels, taps)
        self.normal(f"{name}.bias", out, scale=0.01)


def save(path: Path, tensors: Tensors, dtype: str) -> None:
    """Write a safetensors file: the header's length, the header, the data."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    blobs: list[bytes] = []
    end = 0
    for name, array in tensors.items():
        blob = _bfloat16(array) if dtype == "bfloat16" else array.tobytes()
        kind = "BF16" if dtype == "bfloat16" else "F32"
        offsets = [end, end + len(blob)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        blobs.append(blob)
        end += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def _bfloat16(array: np.ndarray) -> bytes:
    """Keep the upper half of each float32, rounded to nearest, ties to even."""
    bits = array.view(np.uint32).astype(np.uint64)
    return bytes(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes())
