"""How a worker process is started, and what it loads."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .types import ModelInfo


@dataclass(frozen=True)
class WorkerSpec:
    """How to start a worker process, and what it loads."""

    model: ModelInfo
    python: str | None
    """Interpreter; None means this one."""
    engine: str
    module: str | None
    """Module of the plugin; None lets the process look for it among what is installed there."""
    distribution: str
    """What to install where it is missing."""
    settings: Mapping[str, Any]
    environment: Mapping[str, str]
    voice_bytes: int


def program(python: str | None) -> list[str]:
    """Return the arguments that make an interpreter a worker; the parent's pid, or a question,
    follows.

    :param python: the interpreter; None for this one, which then finds its modules where this
        process does.
    """
    if python is not None:
        return ["-m", "unisono.worker"]
    paths = [path or os.getcwd() for path in sys.path]
    return ["-c", f"import sys; sys.path[:] = {paths!r}; from unisono.worker import main; main()"]
