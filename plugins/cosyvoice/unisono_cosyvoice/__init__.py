"""CosyVoice 1, 2 and 3, from a checkout of their repository, as a plugin of unisono."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisono import hookimpl

if TYPE_CHECKING:
    from unisono import Engine


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the engine."""
    from .engine import CosyVoiceEngine  # noqa: PLC0415 - only the kernel needs it

    return [CosyVoiceEngine]
