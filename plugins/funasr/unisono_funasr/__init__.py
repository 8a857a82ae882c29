"""SenseVoice, Paraformer and Fun-ASR-Nano through FunASR as a plugin of unisono."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisono import hookimpl

if TYPE_CHECKING:
    from unisono import Engine


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the engines."""
    from .diarizer import FunASRDiarizer  # noqa: PLC0415 - only the kernel needs them
    from .engine import FunASREngine  # noqa: PLC0415

    return [FunASREngine, FunASRDiarizer]
