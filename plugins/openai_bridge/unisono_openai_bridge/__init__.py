"""Any server with OpenAI's audio API as models of unisono: speech and transcription."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisono import hookimpl

if TYPE_CHECKING:
    from unisono import Engine


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer both engines."""
    from .speech import OpenaiSpeechEngine  # noqa: PLC0415 - listing plugins needs no numpy
    from .transcription import OpenaiTranscriptionEngine  # noqa: PLC0415

    return [OpenaiSpeechEngine, OpenaiTranscriptionEngine]
