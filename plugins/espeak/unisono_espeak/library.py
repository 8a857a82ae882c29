"""espeak-ng in this process, through ctypes.

The library keeps its state in globals, so one lock serves the whole process, and whatever an
utterance depends on is set anew before each.
"""

from __future__ import annotations

import ctypes
import os
import queue
import re
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from . import binding
from .binding import check

_BUFFER_MS = 60
"""Audio of one callback at most, in milliseconds; the library's own minimum."""

_LARGEST_PIECE = 16
"""Callbacks to a piece, after a first piece of one and a second of two: each piece costs a
switch of threads, which takes longer than making the audio."""

_PIECES_AHEAD = 64
"""Pieces that wait for a slow consumer (a minute of speech) before the library has to wait too."""


@dataclass(frozen=True)
class Utterance:
    """One call of `speak`. The numbers are on espeak's own scales."""

    text: str
    """What `harmless` returned."""
    voice: str
    """Path of a language file below `lang`, and perhaps `+` and the name of a variant."""
    ssml: bool = False
    """Whether the text is markup. Only that of a document made by `ssml.clean` is safe."""
    rate: int = 175
    pitch: int = 50
    pitch_range: int = 50
    volume: int = 100
    word_gap: int = 0


@dataclass(frozen=True)
class WordStart:
    """Where a word begins, in the audio and in the text."""

    sample: int
    position: int
    """Characters from the start of the text; approximate, and beyond it now and then."""
    length: int
    """Characters, 31 at most."""


@dataclass(frozen=True)
class Piece:
    """Consecutive audio, 16 bit mono in native byte order, and the words that begin in it."""

    pcm: bytes
    words: tuple[WordStart, ...]


_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_STRAY_HYPHEN = re.compile(r"(?<=[^\w\s])-(?=[^\W\d_])")
_lock = threading.Lock()


@dataclass
class _State:
    """What the lock guards besides the library's own globals."""

    users: int = 0


_state = _State()


def printable(text: str) -> str:
    """Put spaces for control characters, which espeak obeys, and for lone surrogates."""
    return _UNPRINTABLE.sub(" ", text)


def harmless(text: str) -> str:
    """Make a text safe to speak without changing its length.

    A space also replaces the hyphen in `"-word`, which crashes the Danish and the Vietnamese voice.
    """
    return _STRAY_HYPHEN.sub(" ", printable(text))


def acquire() -> int:
    """Initialize the library unless it is in use already, and return its sample rate in hertz.

    Each call needs one of `release`.

    :raises OSError: if the library cannot be loaded or does not find its data.
    """
    with _lock:
        espeak = binding.load()
        if _state.users == 0:
            _set_data_path(espeak)
            check(espeak.espeak_ng_Initialize(None))
            check(espeak.espeak_ng_InitializeOutput(binding.OUTPUT_SYNCHRONOUS, _BUFFER_MS, None))
        _state.users += 1
        return int(espeak.espeak_ng_GetSampleRate())


def release() -> None:
    """Give back what `acquire` took. The last user's call frees the library's memory."""
    with _lock:
        _state.users -= 1
        if _state.users == 0:
            check(binding.load().espeak_ng_Terminate())


def speak(utterance: Utterance, cancelled: Callable[[], bool]) -> Generator[Piece, None, None]:
    """Yield the speech while it is being made, on a thread that lives as long as the iterator.

    The lock is held until the library has finished, which is long before a client has heard it
    all; closing the iterator stops the library within the next 60 ms of audio.

    :param cancelled: asked after every 60 ms of audio, on the other thread.
    :raises OSError: if the library reports an error.
    """
    pieces: queue.Queue[Piece | BaseException | None] = queue.Queue(_PIECES_AHEAD)
    closed = threading.Event()
    made: list[Piece] = []
    wanted = 1

    def emit(piece: Piece) -> bool:
        nonlocal wanted
        if closed.is_set() or cancelled():
            return False
        made.append(piece)
        if len(made) == wanted:
            pieces.put(_joined(made))
            made.clear()
            wanted = min(2 * wanted, _LARGEST_PIECE)
        return True

    def run() -> None:
        end: BaseException | None = None
        try:
            while not _lock.acquire(timeout=0.05):
                if closed.is_set():
                    return
            try:
                _synthesize(utterance, emit)
            finally:
                _lock.release()
            if made:
                pieces.put(_joined(made))
        except BaseException as error:
            end = error
        pieces.put(end)

    thread = threading.Thread(target=run, name="espeak-ng", daemon=True)
    thread.start()
    try:
        while (item := pieces.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        while not pieces.empty():  # makes room for a `put` that waits
            pieces.get_nowait()
        thread.join()


def _joined(pieces: list[Piece]) -> Piece:
    words = tuple(word for piece in pieces for word in piece.words)
    return Piece(b"".join(piece.pcm for piece in pieces), words)


def _synthesize(utterance: Utterance, emit: Callable[[Piece], bool]) -> None:
    """Speak on this thread, which holds the lock, until the end or until `emit` returns False."""
    espeak = binding.load()
    failures: list[BaseException] = []
    words: list[WordStart] = []  # those since the last audio

    def on_audio(samples: int | None, count: int, events: Any) -> int:
        try:
            index = 0
            while (event := events[index]).type != binding.EVENT_LIST_TERMINATED:
                if event.type == binding.EVENT_WORD:  # espeak counts characters from 1
                    words.append(WordStart(event.sample, event.text_position - 1, event.length))
                index += 1
            if not samples or not count:
                return 0
            piece = Piece(ctypes.string_at(samples, 2 * count), tuple(words))
            words.clear()
            return 0 if emit(piece) else 1
        except BaseException as error:  # it must not unwind through C
            failures.append(error)
            return 1

    check(espeak.espeak_ng_SetVoiceByName(utterance.voice.encode()))
    for parameter, value in (
        (binding.RATE, utterance.rate),
        (binding.VOLUME, utterance.volume),
        (binding.PITCH, utterance.pitch),
        (binding.PITCH_RANGE, utterance.pitch_range),
        (binding.WORD_GAP, utterance.word_gap),
    ):
        check(espeak.espeak_ng_SetParameter(parameter, value, 0))
    text = utterance.text.encode() + b"\0"
    flags = binding.TEXT_UTF8 | binding.TEXT_END_PAUSE
    if utterance.ssml:
        flags |= binding.TEXT_SSML
    callback = binding.SynthCallback(on_audio)
    espeak.espeak_SetSynthCallback(callback)
    status = espeak.espeak_Synth(text, len(text), 0, 0, 0, flags, None, None)
    if failures:
        raise failures[0]
    check(status)


def _set_data_path(espeak: ctypes.CDLL) -> None:
    import espeakng_loader  # noqa: PLC0415 - the plugin must import without touching the library

    encoding = "mbcs" if os.name == "nt" else "utf-8"
    path = espeakng_loader.get_data_path().encode(encoding, "surrogateescape")
    espeak.espeak_ng_InitializePath(path)
    # The library has room for 160 to 230 characters; beyond, it quietly looks elsewhere.
    used = ctypes.c_char_p()
    espeak.espeak_Info(ctypes.byref(used))
    if used.value != path:
        raise OSError("espeak-ng: the path of its data is too long")
