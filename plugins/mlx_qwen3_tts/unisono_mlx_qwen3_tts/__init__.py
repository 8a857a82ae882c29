"""Qwen3-TTS on Apple Silicon (and wherever else MLX runs) as a plugin of unisono."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisono import hookimpl

if TYPE_CHECKING:
    from unisono import Engine, ModelInfo, VoicePrompt, VoiceReference


@hookimpl
def register_engines() -> list[type[Engine]]:
    """Offer the engine."""
    from .engine import Qwen3TtsEngine  # noqa: PLC0415 - only the kernel needs it

    return [Qwen3TtsEngine]


@hookimpl
def resolve_voice_prompt(reference: VoiceReference, model: ModelInfo) -> VoicePrompt | None:
    """Resolve the model cards' spellings of the speakers, "Vivian" and "Ono_Anna"."""
    if model.engine != "mlx_qwen3_tts" or reference.name is None or reference.audio is not None:
        return None
    from unisono import VoicePrompt  # noqa: PLC0415 - other engines' requests end above

    name = reference.name.lower()
    return VoicePrompt(preset=name) if any(voice.name == name for voice in model.voices) else None
