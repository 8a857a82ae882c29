"""Reference recordings as files that a server reads by path.

GPT-SoVITS remembers a reference by its path, so a name never stands for other content: it is the
SHA-256 of the file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from unisono import AudioChunk, EngineUnavailable

from .wav import wav_file

_OURS = re.compile(r"[0-9a-f]{64}\.wav")


class ReferenceFiles:
    """One directory of recordings. All methods block; `place` may run on several threads.

    :param local: the directory as this machine sees it; None makes a private temporary one.
    :param remote: the directory as the server sees it, if it has another path there.
    :param keep: recordings that stay; those used longest ago are deleted.
    """

    def __init__(self, local: Path | None, remote: str | None, keep: int) -> None:
        self._temporary = local is None
        self._keep = keep
        try:
            if local is None:
                local = Path(tempfile.mkdtemp(prefix="unisono-gpt-sovits-"))
            # The server's working directory is another one.
            self._local = local.expanduser().resolve(strict=True)
        except OSError as error:
            raise _unusable() from error
        self._remote = remote if remote is not None else str(self._local)

    def place(self, recording: AudioChunk) -> str:
        """Make sure that a recording is there, and return its path on the server.

        :param recording: mono.
        :raises EngineUnavailable: if it cannot be written.
        """
        data = wav_file(recording.samples, recording.sample_rate)
        name = f"{hashlib.sha256(data).hexdigest()}.wav"
        file = self._local / name
        try:
            if file.is_file() and file.stat().st_size == len(data):
                os.utime(file)
            else:
                self._write(file, data)
                self._clean()
        except OSError as error:
            raise _unusable() from error
        # The path of a server on Windows has its own separator.
        separator = "\\" if "\\" in self._remote else "/"
        return self._remote.rstrip("/\\") + separator + name

    def close(self) -> None:
        """Delete the directory if it was a temporary one."""
        if self._temporary:
            shutil.rmtree(self._local, ignore_errors=True)

    def _write(self, file: Path, data: bytes) -> None:
        """Write a file in one step for whoever reads it; everyone may, as the server does."""
        handle, name = tempfile.mkstemp(suffix=".part", dir=self._local)
        try:
            with os.fdopen(handle, "wb") as part:
                part.write(data)
            os.chmod(name, 0o644)
            os.replace(name, file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _clean(self) -> None:
        found = []
        for entry in os.scandir(self._local):
            if _OURS.fullmatch(entry.name):
                found.append((entry.stat().st_mtime, entry.path))
        for _, path in sorted(found, reverse=True)[self._keep :]:
            Path(path).unlink(missing_ok=True)


def _unusable() -> EngineUnavailable:
    return EngineUnavailable(
        "Reference recordings cannot be written for GPT-SoVITS: the operator should check "
        "refs_local_dir."
    )
