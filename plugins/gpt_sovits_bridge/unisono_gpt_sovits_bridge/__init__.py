"""GPT-SoVITS servers as models of unisono, and the voice-clone route that m4t's clients call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisono import hookimpl

if TYPE_CHECKING:
    from fastapi import FastAPI

    from unisono import Engine, Kernel


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the engine."""
    from .engine import GptSovitsBridge  # noqa: PLC0415 - only the kernel needs it

    return [GptSovitsBridge]


@hookimpl
def register_routes(app: FastAPI, kernel: Kernel) -> None:
    """Offer POST /v1/voice-clone, whichever engine then speaks."""
    from .voice_clone import add_voice_clone  # noqa: PLC0415 - only a server needs it

    add_voice_clone(app, kernel)
