"""A plugin-based microkernel for speech: the names a plugin or a program may import.

They are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Config
    from .engine import Batch, Engine, Settings, SpeechBatch, TranscriptionBatch
    from .errors import (
        AudioError,
        ConfigError,
        EngineFailed,
        EngineOverloaded,
        EngineUnavailable,
        InvalidKey,
        ModelNotFound,
        PluginError,
        PromptError,
        RequestError,
        SpeechError,
        UnknownVoice,
        UnsupportedFeature,
        UploadTooLarge,
        VoiceNotFound,
    )
    from .hookspecs import hookimpl
    from .kernel import Kernel
    from .requests import (
        AlignmentRequest,
        CancelToken,
        DiarizationRequest,
        KnownSpeaker,
        SpeechRequest,
        TranscriptionRequest,
        Turn,
    )
    from .runner import EngineRunner
    from .types import (
        AudioChunk,
        Feature,
        ModelInfo,
        Params,
        Segment,
        SpeakerTurn,
        Task,
        TokenLogprob,
        Weights,
        Word,
    )
    from .vad import Detection, speech_spans
    from .voice import PreparedVoice, Voice, VoicePrompt, VoiceReference
    from .weights import find_weights

__version__ = "0.1.0"
__all__ = [
    "AlignmentRequest",
    "AudioChunk",
    "AudioError",
    "Batch",
    "CancelToken",
    "Config",
    "ConfigError",
    "Detection",
    "DiarizationRequest",
    "Engine",
    "EngineFailed",
    "EngineOverloaded",
    "EngineRunner",
    "EngineUnavailable",
    "Feature",
    "InvalidKey",
    "Kernel",
    "KnownSpeaker",
    "ModelInfo",
    "ModelNotFound",
    "Params",
    "PluginError",
    "PreparedVoice",
    "PromptError",
    "RequestError",
    "Segment",
    "Settings",
    "SpeakerTurn",
    "SpeechBatch",
    "SpeechError",
    "SpeechRequest",
    "Task",
    "TokenLogprob",
    "TranscriptionBatch",
    "TranscriptionRequest",
    "Turn",
    "UnknownVoice",
    "UnsupportedFeature",
    "UploadTooLarge",
    "Voice",
    "VoiceNotFound",
    "VoicePrompt",
    "VoiceReference",
    "Weights",
    "Word",
    "__version__",
    "find_weights",
    "hookimpl",
    "speech_spans",
]

# From light to heavy: a plugin that needs only the first few loads only those.
_MODULES = (
    "errors",
    "hookspecs",
    "voice",
    "types",
    "requests",
    "engine",
    "weights",
    "vad",
    "runner",
    "config",
    "kernel",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            value = vars(importlib.import_module(f".{module}", __name__)).get(name)
            if value is not None:
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
