"""CMU PocketSphinx as a plugin of unisono: it writes with low accuracy, and finds words well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisono import hookimpl

if TYPE_CHECKING:
    from unisono import Engine


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the engines."""
    from .alignment import PocketsphinxAligner  # noqa: PLC0415 - as below
    from .engine import PocketsphinxEngine  # noqa: PLC0415 - it needs numpy, listing does not

    return [PocketsphinxEngine, PocketsphinxAligner]
