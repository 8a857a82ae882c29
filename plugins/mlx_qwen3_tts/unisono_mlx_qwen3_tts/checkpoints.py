"""What a checkpoint is, told from its files or from its name; nothing is loaded or downloaded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from unisono import ConfigError, EngineUnavailable, Weights, find_weights

Variant = Literal["base", "custom_voice", "voice_design"]

FILES = ("*.json", "*.safetensors", "*.txt")
"""The weights, the settings and the tokenizer, `speech_tokenizer/` included."""

_NAME = re.compile(r"(?:(0\.6|1\.7)B-)?(Base|CustomVoice|VoiceDesign)(?:-(\w+))?$", re.IGNORECASE)
_VARIANTS: Mapping[str, Variant] = {
    "base": "base",
    "customvoice": "custom_voice",
    "voicedesign": "voice_design",
}
_ORIGINALS = ("mlx-community/Qwen3-TTS-", "Qwen/Qwen3-TTS-")
"""These are what their names say; looking for downloads would cost the start of the server."""
_SIZES = {"0b6": 0.6, "1b7": 1.7}
_EMBEDDINGS = 0.32e9  # parameters that conversions do not quantize
_CODEC_BYTES = 0.68e9


@dataclass(frozen=True)
class Checkpoint:
    """One set of weights."""

    variant: Variant
    billions: float | None = None
    """Parameters, 0.6 or 1.7; None if unknown."""
    memory_bytes: int | None = None
    """Estimated; None if unknown."""
    speakers: tuple[str, ...] | None = None
    """Names of the speakers of a CustomVoice model; None if only the files could tell."""


def local_folder(model: str) -> Path | None:
    """Return the folder that a setting names, or None if it names a repository on the hub."""
    path = Path(model).expanduser()
    # Something like "mlx-community/name" is a folder only if it is there.
    if path.is_absolute() or model.startswith((".", "~")) or path.is_dir():
        return path.absolute()
    return None


def weights_of(model: str, revision: str | None) -> Weights | None:
    """Return what is to be downloaded, or None for a folder."""
    return None if local_folder(model) else Weights(model, revision, FILES)


def find_folder(model: str, revision: str | None) -> Path:
    """Return where the weights are.

    :raises EngineUnavailable: if they are not on this machine.
    """
    weights = weights_of(model, revision)
    if weights is not None:
        return find_weights(weights)
    folder = local_folder(model)
    if folder is None or not (folder / "config.json").is_file():
        raise EngineUnavailable(
            "The folder that the setting `model` names has no config.json; it must hold a "
            "Qwen3-TTS checkpoint."
        )
    return folder


def inspect(model: str, revision: str | None, variant: Variant | None) -> Checkpoint:
    """Tell what a model is: from its files if they are here, else from its name.

    :param variant: what the operator says; only needed where neither tells.
    :raises ConfigError: if nothing tells, or the operator and the files disagree.
    """
    found = _read_name(model) if model.startswith(_ORIGINALS) else None
    if found is None:
        try:
            found = read_folder(find_folder(model, revision))
        except EngineUnavailable:
            found = _read_name(model)
    if found is None:
        if variant is None:
            raise ConfigError(
                f"model: {model!r} does not say which kind of Qwen3-TTS it is. Set `variant` to "
                "base, custom_voice or voice_design."
            )
        return Checkpoint(variant)
    if variant not in (None, found.variant):
        raise ConfigError(f"variant: {model!r} is {found.variant}, not {variant}.")
    return found


def read_folder(folder: Path) -> Checkpoint:
    """Tell what the checkpoint in a folder is.

    :raises ConfigError: if it is not a Qwen3-TTS checkpoint.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind, variant = config.get("model_type"), config.get("tts_model_type", "base")
        speakers = config.get("talker_config", {}).get("spk_id") or {}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError("model: config.json of the checkpoint cannot be read.") from error
    if kind != "qwen3_tts" or variant not in _VARIANTS.values():
        raise ConfigError(f"model: the checkpoint is {kind!r} {variant!r}, not a Qwen3-TTS model.")
    return Checkpoint(
        variant,
        _SIZES.get(config.get("tts_model_size", "")),
        sum(file.stat().st_size for file in folder.rglob("*.safetensors")) or None,
        tuple(speakers) if variant == "custom_voice" else None,
    )


def _read_name(model: str) -> Checkpoint | None:
    found = _NAME.search(model)
    if found is None:
        return None
    size, variant, precision = found.groups()
    billions = None if size is None else float(size)
    return Checkpoint(
        _VARIANTS[variant.lower()], billions, _memory(billions, (precision or "bf16").lower())
    )


def _memory(billions: float | None, precision: str) -> int | None:
    quantized = re.fullmatch(r"(\d)bit", precision)
    bits: Any = {"bf16": 16, "fp16": 16, "fp32": 32}.get(precision)
    if quantized:
        bits = int(quantized[1]) + 0.5  # a scale and a bias for each 64 weights
    if billions is None or bits is None:
        return None
    return int(cast(float, billions * 1e9 * bits / 8) + _EMBEDDINGS * 2 + _CODEC_BYTES)
