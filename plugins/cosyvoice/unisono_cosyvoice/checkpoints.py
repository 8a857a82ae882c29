"""What a model is, told from its folder, or from the folder's name where there is none yet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unisono import ConfigError

from .options import CosyVoiceSettings, Kind
from .speakers import STANDARD, read_names

Version = Literal[1, 2, 3]

FILES: dict[Version, str] = {1: "cosyvoice.yaml", 2: "cosyvoice2.yaml", 3: "cosyvoice3.yaml"}
WEIGHTS = ("llm.pt", "flow.pt", "hift.pt")

_RATES: dict[Version, int] = {1: 22_050, 2: 24_000, 3: 24_000}
_RATE = re.compile(r"^sample_rate:\s*(\d+)", re.MULTILINE)
_NAME = re.compile(r"cosyvoice-?(300m|2|3)", re.IGNORECASE)
_VERSIONS: dict[str, Version] = {"300m": 1, "2": 2, "3": 3}


@dataclass(frozen=True)
class Checkpoint:
    """One model."""

    version: Version
    kind: Kind
    """Always "base" but for CosyVoice 1."""
    sample_rate: int
    speakers: tuple[str, ...]
    memory_bytes: int | None

    @property
    def clones(self) -> bool:
        """Whether it speaks with the voice of a recording."""
        return self.kind == "base"

    @property
    def follows(self) -> bool:
        """Whether it follows instructions."""
        return self.version > 1 or self.kind == "instruct"


def local(path: Path) -> Path:
    """Return a folder of the settings as an absolute path."""
    return path.expanduser().absolute()


def inspect(settings: CosyVoiceSettings) -> Checkpoint:
    """Tell what a model is.

    :raises ConfigError: if nothing says which CosyVoice it is, or a setting does not fit it.
    """
    folder = local(settings.model_dir)
    version = next((version for version, name in FILES.items() if (folder / name).is_file()), None)
    rate = None
    if version is not None:
        found = _RATE.search((folder / FILES[version]).read_text("utf-8", "replace"))
        rate = int(found[1]) if found else None
    else:
        named = _NAME.search(folder.name)
        if named is None:
            raise ConfigError(
                f"model_dir: the folder {str(settings.model_dir)!r} has none of "
                f"{', '.join(FILES.values())}."
            )
        version = _VERSIONS[named[1].lower()]
    if settings.kind not in (None, "base") and version > 1:
        raise ConfigError(f"kind: CosyVoice {version} has no {settings.kind!r} models.")
    if settings.load_jit and version == 3:
        raise ConfigError("load_jit: CosyVoice 3 has no TorchScript files.")
    kind = settings.kind or (_kind(folder.name) if version == 1 else "base")
    return Checkpoint(
        version, kind, rate or _RATES[version], _speakers(settings, kind), _memory(folder)
    )


def _kind(name: str) -> Kind:
    lower = name.lower()
    return "instruct" if "instruct" in lower else "sft" if "sft" in lower else "base"


def _speakers(settings: CosyVoiceSettings, kind: Kind) -> tuple[str, ...]:
    if settings.voices is not None:
        return settings.voices
    names = read_names(local(settings.model_dir) / "spk2info.pt")
    if names is None:
        names = () if kind == "base" else STANDARD
    if settings.speakers is not None:
        names += read_names(local(settings.speakers)) or ()
    return tuple(dict.fromkeys(names))


def _memory(folder: Path) -> int | None:
    files = [folder / name for name in WEIGHTS]
    return sum(file.stat().st_size for file in files if file.is_file()) or None
