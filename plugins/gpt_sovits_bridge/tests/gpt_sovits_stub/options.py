"""How a stub behaves, and what it remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RATES = {"v3": 24_000, "v4": 48_000}
VERSIONS = ("v2ProPlus", "v2Pro", "v4", "v3", "v2", "v1")
V1_LANGUAGES = ["auto", "en", "zh", "ja", "all_zh", "all_ja"]
LANGUAGES = [*V1_LANGUAGES, "auto_yue", "yue", "ko", "all_yue", "all_ko"]


@dataclass
class Options:
    """How a stub behaves."""

    api: str = "v2"
    version: str = "v2"
    mount: tuple[str, str] | None = None
    """A directory as the server sees it, and where it really is; other paths do not exist."""
    openapi: bool = True
    old: bool = False
    """A version from before some options were added."""
    hang_seconds: float = 2.0
    piece_bytes: int | None = None
    """Send answers in pieces of this size."""
    # Options of the process, with api.py.
    media_type: str = "wav"
    int32: bool = False
    default_reference: tuple[str, str, str] = ("", "", "")


@dataclass
class State:
    """What happened to a stub."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    """Every request that does something: its path as `path`, and its fields."""
    in_flight: int = 0
    most_in_flight: int = 0
    pitches: dict[str, float] = field(default_factory=dict)
    """Hertz of the references, by path, as they were read last."""
    fragments: int = 0
    """Fragments spoken."""
    failures: int = 0
    """Syntheses that are to fail from now on."""

    def told(self, path: str) -> list[dict[str, Any]]:
        """Return the requests of one path."""
        return [request for request in self.requests if request["path"] == path]


def resolved(options: Options, path: str) -> Path:
    """Return where a file of the server lies."""
    if options.mount is None:
        return Path(path)
    seen, real = options.mount
    if not path.startswith(seen):
        return Path("/nonexistent")
    return Path(real) / path.removeprefix(seen).lstrip("/\\")


def version_of(path: str, before: str) -> str:
    """Tell the version of weights by their name, as the stub's files are named."""
    return next((v for v in VERSIONS if v in Path(path).name), before)
