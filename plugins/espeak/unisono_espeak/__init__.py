"""The formant synthesizer eSpeak NG as a plugin of unisono: tiny, instant, 137 languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisono import hookimpl

if TYPE_CHECKING:
    from unisono import Engine, ModelInfo, VoicePrompt, VoiceReference


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the engine."""
    from .engine import EspeakEngine  # noqa: PLC0415 - only the kernel needs it

    return [EspeakEngine]


@hookimpl
def resolve_voice_prompt(reference: VoiceReference, model: ModelInfo) -> VoicePrompt | None:
    """Resolve what no list of voices could hold: "en-us+klatt3", and spellings such as "en_US"."""
    if model.engine != "espeak" or reference.name is None:
        return None
    from unisono import VoicePrompt  # noqa: PLC0415 - other engines' requests end above

    from .voices import find_voice  # noqa: PLC0415

    voice = find_voice(reference.name)
    return None if voice is None else VoicePrompt(preset=str(voice))
