"""The models that every server under test serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PACE = {"first_delay": 0.05, "rtf": 0.25}
MODELS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "instant": ("echo", {}),
    "instant-async": ("async_echo", {}),
    "paced": ("echo", PACE),
    "paced-async": ("async_echo", PACE),
    # Real time in chunks of 10 ms: the time to a format's first byte is the audio that it needed.
    "clock": ("async_echo", {"rtf": 1.0, "chunk_seconds": 0.01}),
    "counted": ("counted_echo", PACE),
    "counted-async": ("counted_async_echo", PACE),
}
"""Model id → engine and settings."""
