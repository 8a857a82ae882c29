"""Where results go: a file, a pipe, or a player."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import BinaryIO, Protocol

import click

_FROM_STDIN = (
    ("mpv", "--no-video", "--really-quiet", "-"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "quiet", "-"),
    ("paplay", "/dev/stdin"),
    ("aplay", "-q", "-"),
    ("play", "-q", "-t", "wav", "-"),
)
_FROM_FILE = (
    ("afplay", "{}"),  # macOS
    ("powershell", "-NoProfile", "-Command", "(New-Object Media.SoundPlayer '{}').PlaySync()"),
)


class Writer(Protocol):
    """What takes bytes and hands them on when it is told to."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""

    def flush(self) -> object:
        """Hand on what was taken."""


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only when it is complete.

    What exists and is no file, such as /dev/null, is written as it is.

    :raises click.ClickException: if it cannot be created.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    device = target.exists() and not target.is_file() and not target.is_dir()
    part = target if device else target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        if target.is_dir():
            raise IsADirectoryError(None, "it is a directory")
        stream = part.open("wb" if device else "w+b")
    except OSError as error:
        raise click.ClickException(f"Cannot write {str(path)!r}: {error.strerror}.") from error
    try:
        with stream:
            yield stream
        if not device:
            part.replace(target)
    finally:
        if not device:
            part.unlink(missing_ok=True)


def state_length(file: BinaryIO, format_: str, frames: int) -> None:
    """Put into the header of a streamed file how long it is, as its beginning could not tell.

    Sources: for WAV as in `codecs`; for FLAC RFC 9639, section 8.2, the 36 bits before byte 26.

    :param frames: of the stream.
    """
    if format_ == "wav":
        size = min(file.seek(0, os.SEEK_END), 2**32 - 1)
        for place, rest in ((4, size - 8), (40, size - 44)):
            file.seek(place)
            file.write(struct.pack("<I", rest))
    elif format_ == "flac":
        file.seek(21)
        rate_and_more = int.from_bytes(file.read(5), "big") >> 36 << 36
        file.seek(21)
        file.write((rate_and_more | frames).to_bytes(5, "big"))


@contextmanager
def player() -> Iterator[Writer]:
    """Play WAV with the first player that is installed.

    :raises click.ClickException: if there is none, or if it fails.
    """
    for command in _FROM_STDIN:
        if shutil.which(command[0]):
            with _Piped(command) as piped:
                yield piped
            return
    for command in _FROM_FILE:
        if shutil.which(command[0]):
            with TemporaryDirectory() as folder:
                path = Path(folder) / "speech.wav"
                with new_file(path) as stream:
                    yield stream
                _check(command[0], subprocess.call([part.format(path) for part in command]))
            return
    names = ", ".join(command[0] for command in (*_FROM_STDIN, *_FROM_FILE))
    raise click.ClickException(
        f"No audio player found ({names}). Write a file with -o speech.mp3, or pipe the output."
    )


class _Piped:
    """A player that starts with the first bytes."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Piped:
        return self

    def write(self, data: bytes) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=sys.stderr
            )
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def flush(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> bool:
        if self._process is None:
            return False
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if kind not in (None, BrokenPipeError):
            self._process.terminate()
            self._process.wait()
            return False
        _check(self._command[0], self._process.wait())
        return True  # a player that ends early and content was told to


def _check(name: str, status: int) -> None:
    if status:
        raise click.ClickException(f"The player {name!r} failed with status {status}.")
