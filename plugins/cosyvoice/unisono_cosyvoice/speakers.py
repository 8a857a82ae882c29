"""The voices that come with models, and how to read their names without torch."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unisono import Voice

_KNOWN = {
    voice.name: voice
    for voice in (
        Voice("中文女", ("zh",), "female", "Chinese woman"),
        Voice("中文男", ("zh",), "male", "Chinese man"),
        Voice("日语男", ("ja",), "male", "Japanese man"),
        Voice("粤语女", ("yue",), "female", "Cantonese woman"),
        Voice("英文女", ("en",), "female", "English woman"),
        Voice("英文男", ("en",), "male", "English man"),
        Voice("韩语女", ("ko",), "female", "Korean woman"),
    )
}
STANDARD = tuple(_KNOWN)
"""The speakers of CosyVoice-300M-SFT and CosyVoice-300M-Instruct."""


def voices(names: Iterable[str]) -> tuple[Voice, ...]:
    """Describe speakers, each once."""
    return tuple(_KNOWN.get(name, Voice(name)) for name in dict.fromkeys(names))


def read_names(file: Path) -> tuple[str, ...] | None:
    """Return the names of the speakers in a spk2info.pt, or None if it cannot be read.

    `torch.save` writes a ZIP archive with the numbers in files of their own, so that the rest can
    be read without torch, and without running anything that it names.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            speakers = _Names(io.BytesIO(archive.read(name))).load()
        return tuple(name for name in speakers if isinstance(name, str))
    except Exception:  # whatever a damaged pickle makes of itself
        return None


class _Names(pickle.Unpickler):
    """Reads dictionaries and text; everything else becomes None."""

    def persistent_load(self, _: Any) -> Any:
        return None

    def find_class(self, module: str, name: str) -> Any:
        return dict if (module, name) == ("collections", "OrderedDict") else _nothing


def _nothing(*_: object) -> None:
    return None
