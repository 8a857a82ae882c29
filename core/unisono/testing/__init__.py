"""What a plugin's tests import: engines that echo, and (with pytest) the compliance suite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .echo import AsyncEchoEngine, EchoEngine, EchoParams, EchoSettings, EchoTranscriber

if TYPE_CHECKING:
    from .suite import EngineSuite

__all__ = [
    "AsyncEchoEngine",
    "EchoEngine",
    "EchoParams",
    "EchoSettings",
    "EchoTranscriber",
    "EngineSuite",
]


def __getattr__(name: str) -> Any:
    if name == "EngineSuite":  # it needs pytest, which a server does not have
        from .suite import EngineSuite  # noqa: PLC0415

        return EngineSuite
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
