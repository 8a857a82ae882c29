"""The voice store: names that every model which clones or designs voices can speak with.

An SQLite index and the recordings, named by their SHA-256, in one directory that any number of
processes of one machine may use at once. Nothing of it is cached in memory.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
import unicodedata
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

from .errors import (
    AudioError,
    EngineUnavailable,
    PromptError,
    RequestError,
    UploadTooLarge,
)
from .sections import Voices
from .voice_index import NAME_LENGTH, VOICE_ID, StoredVoice, VoiceIndex

__all__ = ["StoredVoice", "VoiceStore"]

_MEASURED = 10
"""How many times the longest allowed recording is decoded, to say how long one is."""
_INCOMING = "incoming"
"""The recording that is just being written: there is never more than one."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_SCHEMES = ("base64+", "url+", "file+")
_LONGEST = {"text": 10_000, "language": 35, "description": 2000, "consent": 2000}
"""Characters."""
_Facts = tuple[str | None, float | None, int | None, int | None, int | None, str | None]
"""Of a `StoredVoice`, everything from `digest` on."""


class VoiceStore:
    """Voices in a directory. Every method may be called from any thread.

    `get`, `list` and `path` are quick enough for the event loop and never wait for a writer. The
    others block. All raise `EngineUnavailable` if the directory cannot be used.

    Whoever changes something holds SQLite's write lock from before a recording is written until
    after its row is. The system takes the lock from a process that dies, so whoever has it knows
    that each file without a row is a leftover, and never one that somebody is about to name.
    """

    def __init__(
        self, directory: Path, *, max_bytes: int = 20 * 2**20, max_seconds: float = 60
    ) -> None:
        """Do nothing yet: the directory is made when the first voice is added.

        :param max_bytes: largest recording to accept, as a file.
        :param max_seconds: longest recording to accept.
        """
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._index = VoiceIndex(directory)
        self._recordings = directory.absolute() / "recordings"
        self._tidy = False

    @classmethod
    def configured(cls, voices: Voices) -> VoiceStore:
        """Return the store of a configuration."""
        directory = voices.directory
        if directory is None:
            from platformdirs import user_data_path  # noqa: PLC0415 - only where it is needed

            directory = user_data_path("unisono") / "voices"
        return cls(directory, max_bytes=voices.max_bytes, max_seconds=voices.max_seconds)

    def add(
        self,
        name: str,
        recording: bytes | None,
        *,
        text: str | None = None,
        language: str | None = None,
        description: str | None = None,
        consent: str | None = None,
        replace: bool = False,
        origin: tuple[str, int] | None = None,
    ) -> StoredVoice:
        """Store a voice. Once this returns, every process has it, whatever happens then.

        :param recording: an audio file of any format; None for a voice that is only described.
        :param replace: take the place, and the id, of the voice of that name, if there is one.
        :param origin: `id` and `created_at` of a voice that comes from another store. Its id is
            kept if it is free here.
        :raises RequestError: naming the field: the name is taken or is none, a value is wrong.
        :raises PromptError: naming `audio_sample`: not audio, too short or too long.
        :raises UploadTooLarge: if the file is too large.
        """
        name = _checked_name(name)
        text, language = _checked("text", text), _checked("language", language)
        description, consent = _checked("description", description), _checked("consent", consent)
        if recording is None and description is None:
            message = "A voice needs a recording or a description."
            raise RequestError(message, param="audio_sample")
        facts = (None,) * 6 if recording is None else self._examine(recording)
        id, created_at = origin or (_new_id(), int(time.time()))
        with self._index.change(create=True) as change:
            assert change is not None
            known = change.find(name)
            if known is not None and not replace:
                message = f"There is a voice {name!r} already; delete it or choose another name."
                raise RequestError(message, param="name", code="voice_exists")
            if known is not None:
                id = known.id
                change.delete(known)
            elif change.find(id) is not None:
                id = _new_id()
            voice = StoredVoice(id, name, created_at, text, language, description, consent, *facts)
            if recording is not None:
                self._write(str(voice.digest), recording)
            change.insert(voice)
        if known is not None or not self._tidy:
            self._sweep()
        return voice

    def get(self, name_or_id: str) -> StoredVoice | None:
        """Look a voice up; None if there is none."""
        return self._index.find(name_or_id)

    def list(self) -> list[StoredVoice]:
        """Return all voices, by name."""
        return self._index.all()

    def remove(self, name_or_id: str) -> StoredVoice | None:
        """Delete a voice, and its recording unless another voice has the same.

        :return: what was deleted; None if there was no such voice.
        """
        with self._index.change() as change:
            voice = change.find(name_or_id) if change else None
            if change and voice:
                change.delete(voice)
        if voice is not None:
            # Only now: a row whose recording is gone would be worse than the reverse.
            self._sweep()
        return voice

    def path(self, voice: StoredVoice) -> Path | None:
        """Return the absolute path of a recording; None for a voice that is only described."""
        return self._recordings / voice.digest if voice.digest else None

    def recording(self, voice: StoredVoice) -> bytes:
        """Return the recording of a voice, the file as it was uploaded.

        :raises PromptError: if the voice has none, or was deleted or replaced since.
        """
        path = self.path(voice)
        if path is None:
            message = f"Voice {voice.name!r} is only described; it has no recording."
            raise PromptError(message, param="voice")
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            message = f"Voice {voice.name!r} was deleted or replaced just now."
            raise PromptError(message, param="voice") from error
        except OSError as error:
            raise self._index.unavailable(error) from error

    def close(self) -> None:
        """Let go of the index. A store that is used again opens it again."""
        self._index.close()

    def _examine(self, recording: bytes) -> _Facts:
        """Return the digest of a recording and what decoding finds."""
        if len(recording) > self._max_bytes:
            most = self._max_bytes / 2**20
            message = f"The recording is larger than {most:g} MiB, the most that is accepted."
            raise UploadTooLarge(message, param="audio_sample")
        from .decoding import examine  # noqa: PLC0415 - NumPy; looking up voices needs none

        most_seconds = self._max_seconds * _MEASURED
        try:
            found = examine(recording, max_seconds=most_seconds)
        except AudioError as error:
            if error.code == "audio_too_long":
                raise self._too_long(f"more than {most_seconds:g}") from error
            raise PromptError(str(error), param="audio_sample", code=error.code) from error
        if found.duration > self._max_seconds:
            raise self._too_long(f"{found.duration:.2f}")
        digest = hashlib.sha256(recording).hexdigest()
        return digest, *astuple(found)

    def _too_long(self, seconds: str) -> PromptError:
        return PromptError(
            f"The recording lasts {seconds} seconds; at most {self._max_seconds:g} are accepted.",
            param="audio_sample",
            code="audio_too_long",
        )

    def _write(self, digest: str, recording: bytes) -> None:
        """Put a recording in its place, to stay even if the power fails. Holds the write lock."""
        self._recordings.mkdir(exist_ok=True)
        target, part = self._recordings / digest, self._recordings / _INCOMING
        try:
            if not target.exists() or target.stat().st_size != len(recording):
                with part.open("wb") as file:
                    file.write(recording)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(target)
        except OSError:
            with suppress(OSError):  # where the disk is full, this makes room
                part.unlink(missing_ok=True)
            raise
        for folder in (self._recordings, self._recordings.parent):
            _sync(folder)

    def _sweep(self) -> None:
        """Delete the recordings that no voice has, and what dead processes left behind."""
        # What was to be done is done; if this fails, the log says so and the next one does it.
        with suppress(EngineUnavailable), self._index.change() as change:
            kept = change.digests() if change else set()
            names = os.listdir(self._recordings) if self._recordings.is_dir() else []
            for name in names:
                if (name == _INCOMING or _DIGEST.fullmatch(name)) and name not in kept:
                    with suppress(OSError):  # Windows keeps a file that is being read
                        (self._recordings / name).unlink()
            self._tidy = True


def _new_id() -> str:
    return f"voice_{secrets.token_hex(12)}"


def _checked_name(name: str) -> str:
    """Return a name as it is stored.

    :raises RequestError: if it is none.
    """
    name = unicodedata.normalize("NFC", name)
    if not 1 <= len(name) <= NAME_LENGTH:
        problem = f"has 1 to {NAME_LENGTH} characters, not {len(name)}"
    elif not name.isprintable():
        problem = "has printable characters only"
    elif name != name.strip():
        problem = "neither begins nor ends with a space"
    elif "/" in name or name in (".", ".."):
        problem = 'has no "/", and is neither "." nor ".."'
    elif name.lower().startswith(_SCHEMES):
        problem = f"does not begin with {', '.join(_SCHEMES)}"
    elif VOICE_ID.fullmatch(name):
        problem = "does not look like the id of another"
    else:
        return name
    raise RequestError(f"The name of a voice {problem}: {name[:NAME_LENGTH]!r}.", param="name")


def _checked(field: str, value: str | None) -> str | None:
    """Return a text as it is stored; None for one that says nothing.

    :raises RequestError: naming the field, if it is too long or no text.
    """
    value = (value or "").strip()
    if len(value) > _LONGEST[field]:
        message = f"{field} has {len(value)} characters; at most {_LONGEST[field]} are accepted."
        raise RequestError(message, param=field)
    # Control characters could take over the terminal that a voice is listed on.
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in value if char not in "\n\r\t"):
        raise RequestError(f"{field} contains control characters.", param=field)
    if field == "language" and value and not _LANGUAGE.fullmatch(value):
        message = f'language is a BCP 47 tag such as "en" or "zh-TW", not {value!r}.'
        raise RequestError(message, param=field)
    return value or None


def _sync(folder: Path) -> None:
    """Have the names in a directory outlive a power cut, where the system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
