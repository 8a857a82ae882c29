"""What a server and its worker processes say to each other, and how it is written.

Messages are MessagePack (msgpack.org) arrays, `[kind, id, …]`, one after the other on a pipe; the
library finds where each ends. No pickles: the two sides may run different versions of Python, of
numpy and of pydantic.

To the worker: load, unload, synthesize, transcribe, align, diarize, samples, cancel, pause, resume,
forget, ping.
From the worker: hello, chunk, item, end, error, value, log.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from pydantic import BaseModel, TypeAdapter

from . import errors
from .errors import EngineFailed, SpeechError
from .requests import (
    AlignmentRequest,
    CancelToken,
    DiarizationRequest,
    KnownSpeaker,
    SpeechRequest,
    TranscriptionRequest,
    Turn,
)
from .types import AudioChunk, ModelInfo, Segment, SpeakerTurn, TokenLogprob, Word
from .voice import VoicePrompt

PROTOCOL = 2
"""Raised when a message changes its meaning; the two sides must agree."""
BLOCK = 1 << 20
"""Bytes of a recording in one message; longer ones come in several, so that nobody stalls."""

_ARRAY, _VALUE, _PATH = 1, 2, 3
# A path may hold bytes that are no text, and messages of errors quote paths.
_TEXT: Any = {"unicode_errors": "surrogatepass"}
_VALUES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(AlignmentRequest, DiarizationRequest, SpeechRequest, TranscriptionRequest),
        *(AudioChunk, KnownSpeaker, Segment, SpeakerTurn, TokenLogprob, Turn, VoicePrompt, Word),
    )
}
_DEFAULTS = {name: [(f.name, f.default) for f in fields(kind)] for name, kind in _VALUES.items()}
_ERRORS: dict[str, type[SpeechError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, SpeechError)
}
_INFO = TypeAdapter(ModelInfo)


def pack(*message: Any) -> bytes:
    """Write one message."""
    packed: bytes = msgpack.packb(message, default=_known, **_TEXT)
    return packed


def reader() -> msgpack.Unpacker:
    """Return what takes bytes (`feed`) and yields the messages that are complete."""
    # What comes is from our own child or parent; the limits of the library guard against others.
    most = 2**31 - 1
    return msgpack.Unpacker(use_list=False, ext_hook=_extended, max_buffer_size=most, **_TEXT)


def pack_info(info: ModelInfo) -> Any:
    """Write a ModelInfo, which holds sets and enumerations, as plain values."""
    return _INFO.dump_python(info, mode="json")


def unpack_info(value: Any) -> ModelInfo:
    """Read what `pack_info` wrote."""
    return _INFO.validate_python(value)


def pack_error(error: BaseException) -> tuple[Any, ...]:
    """Write an error as the class, the message and what a client is told besides."""
    if not isinstance(error, SpeechError):
        error = EngineFailed(f"{type(error).__name__} in a worker process; see the log.")
    name = next(c.__name__ for c in type(error).__mro__ if c.__name__ in _ERRORS)
    return name, str(error), error.param, error.code, error.retry_after


def unpack_error(
    name: str, message: str, param: str | None, code: str, retry_after: int | None
) -> SpeechError:
    """Read what `pack_error` wrote."""
    kind = _ERRORS.get(name, EngineFailed)
    error = kind.__new__(kind)
    SpeechError.__init__(error, message, param=param, code=code)
    error.retry_after = retry_after
    return error


def _known(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        shape = msgpack.packb((value.dtype.str, value.shape))
        return msgpack.ExtType(_ARRAY, shape + np.ascontiguousarray(value).tobytes())
    name = type(value).__name__
    if name in _VALUES:
        # What has its default is left out: most of a request.
        parts = {
            field: part
            for field, default in _DEFAULTS[name]
            if (part := getattr(value, field)) is not default and not isinstance(part, CancelToken)
        }
        if isinstance(value, SpeechRequest):
            parts["turns"] = _voices_once(value.turns)
        return msgpack.ExtType(_VALUE, msgpack.packb((name, parts), default=_known, **_TEXT))
    if isinstance(value, BaseModel):  # the worker validates what the client sent once more
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Path):
        return msgpack.ExtType(_PATH, os.fsencode(value))
    if isinstance(value, Enum | np.generic):
        return value.value if isinstance(value, Enum) else value.item()
    if isinstance(value, int):  # beyond 64 bits; whether an option may be is judged over there
        return str(value)
    raise TypeError(f"A {type(value).__name__} cannot be sent to a worker process.")


def _extended(code: int, data: bytes) -> Any:
    if code == _ARRAY:
        unpacker = msgpack.Unpacker(use_list=False)
        unpacker.feed(data[:64])
        dtype, shape = unpacker.unpack()
        return np.frombuffer(data, dtype, offset=unpacker.tell()).reshape(shape)
    if code == _PATH:
        return Path(os.fsdecode(data))
    name, parts = msgpack.unpackb(data, use_list=False, ext_hook=_extended, **_TEXT)
    if name == "SpeechRequest":
        voices, turns = parts["turns"]
        parts["turns"] = tuple(Turn(text, voices[index]) for text, index in turns)
    return _VALUES[name](**parts)


def _voices_once(turns: Sequence[Turn]) -> tuple[list[VoicePrompt], list[tuple[str, int]]]:
    """Write each voice once, however often it speaks: a recording has megabytes."""
    numbers: dict[VoicePrompt, int] = {}
    lines = [(turn.text, numbers.setdefault(turn.voice, len(numbers))) for turn in turns]
    return list(numbers), lines
