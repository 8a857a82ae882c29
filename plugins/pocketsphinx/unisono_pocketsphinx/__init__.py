"""The recognizer CMU PocketSphinx as a plugin of unisono: small, offline, of low accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisono import hookimpl

if TYPE_CHECKING:
    from unisono import Engine


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the engine."""
    from .engine import PocketsphinxEngine  # noqa: PLC0415 - it needs numpy, listing does not

    return [PocketsphinxEngine]
