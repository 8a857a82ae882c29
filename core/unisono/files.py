"""Recordings of voices in directories of this machine: file:// addresses.

A client must not learn what else lies on this machine: a file that is missing, of no recording's
kind or elsewhere is refused with the same words, and nothing outside the listed directories is
looked at. Somebody may exchange a file or a directory for a link while we look, so what was
checked is opened step by step from the listed directory, following no link.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

from .errors import PromptError
from .hookspecs import hookimpl
from .sections import Voices
from .voice import VoicePrompt, VoiceReference


class FileVoices:
    """A plugin that reads the recordings whose file:// address a client names.

    Links are followed as long as they stay inside the listed directories.

    :param voices: what the operator allows. Relative directories are of the working directory now.
    """

    def __init__(self, voices: Voices) -> None:
        self._directories = [
            Path(os.path.abspath(directory.expanduser())) for directory in voices.file_directories
        ]
        self._max_bytes = int(voices.max_bytes)

    @hookimpl(trylast=True)
    def resolve_voice_prompt(self, reference: VoiceReference) -> VoicePrompt | None:
        """Read a recording, if the reference is the address of a file.

        :raises PromptError: if it may not be read, cannot be, or is too large.
        """
        address = reference.audio
        if not isinstance(address, str) or address[:5].lower() != "file:":
            return None
        if not self._directories:
            raise _refusal(
                "this server does not read recordings from its files. Send it as base64 or as an "
                "upload; or its operator may set voices.file_directories = [...]."
            )
        try:
            path, data = self._read(_path(address))
        except (OSError, ValueError) as error:  # ValueError: a null byte, say
            raise _refusal(
                f"there is no file {address[:200]!r} in the directories of voices.file_directories."
            ) from error
        if len(data) > self._max_bytes:
            raise _refusal(f"the recording is larger than {self._max_bytes:,} bytes.")
        return VoicePrompt(recording=data, path=path)

    def _read(self, path: Path) -> tuple[Path, bytes]:
        """Return where a file really lies, and its bytes, or one more than are allowed.

        :raises OSError: if there is none that may be read.
        """
        roots = [Path(os.path.realpath(directory)) for directory in self._directories]
        if not any(path.is_relative_to(root) for root in (*self._directories, *roots)):
            raise PermissionError("not below a listed directory")
        real = Path(os.path.realpath(path, strict=True))
        root = next((root for root in roots if real.is_relative_to(root)), None)
        if root is None:
            raise PermissionError("it leads out of the listed directories")
        steps = real.relative_to(root).parts
        with open(real, "rb", opener=lambda *_: _open(root, steps)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PermissionError("not a regular file")
            return real, file.read(self._max_bytes + 1)


def _path(address: str) -> Path:
    """Read a file:// address (RFC 8089) of this machine.

    :raises PromptError: if it is not one, or has steps upward.
    """
    formed = re.fullmatch(r"file://(?:localhost)?/([^?#]*)", address, re.IGNORECASE | re.DOTALL)
    if not formed:
        raise _refusal(
            f"{address[:200]!r} is not the address of a file; write file:///directory/name.wav, "
            'with "?", "#" and "%" as %3F, %23 and %25.'
        )
    name = os.fsdecode(unquote_to_bytes(formed[1]))
    steps = name.replace(os.sep, "/").split("/")
    # An empty first step would be //server/share, which Windows asks another machine for.
    if ".." in steps or steps[0] == "":
        raise _refusal(f'{address[:200]!r} must name a file in full, without "..".')
    return Path(name if sys.platform == "win32" else f"/{name}")


if sys.platform == "win32":

    def _open(root: Path, steps: Sequence[str]) -> int:
        """Open a file below a directory. While it is open, it cannot be moved or replaced."""
        path = root.joinpath(*steps)
        if any(":" in step for step in steps):
            raise PermissionError("a stream beside the file")
        descriptor = os.open(path, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT)
        if os.path.realpath(path) != str(path):
            os.close(descriptor)
            raise PermissionError("it has been replaced by a link")
        return descriptor

else:

    def _open(root: Path, steps: Sequence[str]) -> int:
        """Open a file below a directory, following no link and waiting for no pipe or device."""
        follow_none = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for step in steps:
                # To open a device can have effects, so it is looked at first.
                kind = os.stat(step, dir_fd=descriptor, follow_symlinks=False).st_mode
                if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                    raise PermissionError("neither a file nor a directory")
                inner = os.open(step, follow_none, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _refusal(problem: str) -> PromptError:
    return PromptError(f"ref_audio: {problem}", param="ref_audio")
