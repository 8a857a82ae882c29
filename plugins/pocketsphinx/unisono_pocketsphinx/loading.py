"""What both engines are configured with, and how they load it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from unisono import EngineUnavailable, Settings

T = TypeVar("T")

_OPTIONS = {"acoustic_model": "hmm", "dictionary": "dict", "language_model": "lm"}
"""What the decoder calls our settings."""


class ModelSettings(Settings):
    """Where the model lies; the wheel of PocketSphinx carries one for American English."""

    acoustic_model: Path | None = Field(
        None, description="Folder of a CMU Sphinx acoustic model; unset, the bundled one."
    )
    dictionary: Path | None = Field(
        None, description="Pronunciation dictionary; unset, the bundled CMUdict."
    )
    language: str = Field("en", description="BCP 47 tag of the language of these files.")


def load(make: Callable[[Mapping[str, str]], T], settings: ModelSettings, model_id: str) -> T:
    """Make something of the options that the decoder needs for these settings.

    :raises EngineUnavailable: if files are missing, or the decoder cannot use them.
    """
    options = {}
    for name, option in _OPTIONS.items():
        path: Path | None = dict(settings).get(name)
        if path and not path.exists():
            raise EngineUnavailable(
                f"The {name} of model {model_id!r} does not exist; correct its path."
            )
        if path:
            options[option] = str(path)
    try:
        return make(options)
    except RuntimeError as error:
        raise EngineUnavailable(
            "PocketSphinx cannot load its model; see the server's log or `unisono --debug`."
        ) from error
