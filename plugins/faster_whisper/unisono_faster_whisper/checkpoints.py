"""What a model is, told from its files or from its name; nothing is loaded or downloaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unisono import ConfigError, EngineUnavailable, Weights, find_weights

from .languages import tags

# faster_whisper.utils has the same table; importing that would load CTranslate2.
REPOSITORIES: Mapping[str, str] = {
    "tiny": "Systran/faster-whisper-tiny",
    "tiny.en": "Systran/faster-whisper-tiny.en",
    "base": "Systran/faster-whisper-base",
    "base.en": "Systran/faster-whisper-base.en",
    "small": "Systran/faster-whisper-small",
    "small.en": "Systran/faster-whisper-small.en",
    "medium": "Systran/faster-whisper-medium",
    "medium.en": "Systran/faster-whisper-medium.en",
    "large-v1": "Systran/faster-whisper-large-v1",
    "large-v2": "Systran/faster-whisper-large-v2",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}
"""Names of sizes, and where the models are."""

FILES = ("*config.json", "model.bin", "tokenizer.json", "vocabulary.*")
"""Old repositories have no preprocessor_config.json: a pattern of its own would never match."""

_MEGABYTES: Mapping[str, int] = {
    "tiny": 76,
    "base": 145,
    "small": 484,
    "medium": 1528,
    "large": 3087,
    "turbo": 1618,
    "distil-small": 332,
    "distil-medium": 789,
    "distil-large": 1513,
}
"""Of the weights in 16 bits."""


@dataclass(frozen=True)
class Checkpoint:
    """One set of weights."""

    languages: tuple[str, ...]
    """BCP 47 tags."""
    translates: bool
    """Whether it was trained to translate into English."""
    bytes_16_bit: int | None
    """Size with 16 bits for each weight; None if unknown."""


def local_folder(model: str) -> Path | None:
    """Return the folder that a setting names, or None for a size or a repository on the hub."""
    if model in REPOSITORIES:
        return None
    path = Path(model).expanduser()
    # Something like "Systran/name" is a folder only if it is there.
    if path.is_absolute() or model.startswith((".", "~")) or path.is_dir():
        return path.absolute()
    return None


def weights_of(model: str, revision: str | None) -> Weights | None:
    """Return what is to be downloaded, or None for a folder.

    :raises ConfigError: if the name is no size, no folder and no repository.
    """
    if local_folder(model):
        return None
    repository = REPOSITORIES.get(model, model)
    if "/" not in repository:
        raise ConfigError(
            f"model: {model!r} is neither a folder nor a repository such as "
            f"'Systran/faster-whisper-small', nor a size: {', '.join(REPOSITORIES)}."
        )
    return Weights(repository, revision, FILES)


def find_folder(model: str, revision: str | None) -> Path:
    """Return where the model is.

    :raises EngineUnavailable: if it is not on this machine, or not whole.
    """
    weights = weights_of(model, revision)
    folder = find_weights(weights) if weights else local_folder(model)
    if folder is None or not (folder / "model.bin").is_file():
        raise EngineUnavailable(
            "The folder that the setting `model` names has no model.bin; it must hold a Whisper "
            "model that was converted for CTranslate2 (ct2-transformers-converter)."
        )
    # Without it the library would download some tokenizer.
    if not (folder / "tokenizer.json").is_file():
        raise EngineUnavailable(
            "The model has no tokenizer.json. Copy it from the original model, or convert that "
            "again with --copy_files tokenizer.json preprocessor_config.json."
        )
    return folder


def inspect(model: str, revision: str | None) -> Checkpoint:
    """Tell what a model is: from its name if that is known, else from its files if they are here.

    :raises ConfigError: if the name cannot be one, or the files are not those of a model.
    """
    weights_of(model, revision)  # raises
    name = Path(model).name.lower()
    # OpenAI's turbo and the distilled models were trained on transcripts alone; the distilled ones
    # on English alone. Their vocabularies have the tokens of all tasks and languages.
    english = name.endswith((".en", "-en")) or "distil-" in name
    translates = not english and "turbo" not in name
    languages = ("en",) if english else tags(cantonese="v3" in name or "turbo" in name)
    size = _size(name)
    if model not in REPOSITORIES and model not in REPOSITORIES.values():
        try:
            folder = find_folder(model, revision)
        except EngineUnavailable:
            return Checkpoint(languages, translates, size)
        size = (folder / "model.bin").stat().st_size
        vocabulary = _vocabulary(folder)
        if "" not in vocabulary:  # so CTranslate2 tells them apart, too
            return Checkpoint(("en",), False, size)
        if not english:
            languages = tags(cantonese="<|yue|>" in vocabulary)
    return Checkpoint(languages, translates, size)


def _size(name: str) -> int | None:
    distilled = "distil-" if "distil-" in name else ""
    for part in ("turbo", "tiny", "base", "small", "medium", "large"):
        if part in name and (distilled + part) in _MEGABYTES:
            return _MEGABYTES[distilled + part] * 10**6
    return None


def _vocabulary(folder: Path) -> frozenset[str]:
    try:
        if (folder / "vocabulary.json").is_file():
            return frozenset(json.loads((folder / "vocabulary.json").read_text(encoding="utf-8")))
        return frozenset((folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1])
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError("model: the vocabulary of the model cannot be read.") from error
