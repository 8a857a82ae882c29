"""The SQLite index of the voice store: what is known of each voice, for many processes at once."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from .errors import EngineUnavailable

logger = logging.getLogger(__name__)

VOICE_ID = re.compile(r"voice_[0-9a-f]{24}")
NAME_LENGTH = 100
_SCHEMA = 1
"""`PRAGMA user_version` of the index. A higher one is of a newer release."""
_WRITING, _READING = 10.0, 2.0
"""Seconds to wait for locks. Readers meet one only where a process has just died or ended."""


@dataclass(frozen=True)
class StoredVoice:
    """A voice of the store. Of one without a recording, everything from `digest` on is None."""

    id: str
    """"voice_" and 24 hexadecimal digits, like the custom voices of OpenAI."""
    name: str
    created_at: int
    """Seconds since the epoch."""
    text: str | None
    """What is said in the recording."""
    language: str | None
    """BCP 47 tag of the recording."""
    description: str | None
    """Free text; without a recording, what the voice is to sound like."""
    consent: str | None
    """As the client sent it."""
    digest: str | None
    """SHA-256 of the recording, in hexadecimal digits."""
    duration: float | None
    """Seconds; this and what follows is what decoding found."""
    sample_rate: int | None
    channels: int | None
    frames: int | None
    format: str | None
    """Of the container: "wav", "mp3" …"""


_COLUMNS = [field.name for field in fields(StoredVoice)]
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM voices"
_INSERT = f"INSERT INTO voices VALUES ({', '.join('?' * len(_COLUMNS))})"
_TABLE = """CREATE TABLE voices (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL,
    text TEXT, language TEXT, description TEXT, consent TEXT, digest TEXT,
    duration REAL, sample_rate INTEGER, channels INTEGER, frames INTEGER, format TEXT
)"""


class Change:
    """The index while nobody else may write it, in no other process either."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, name_or_id: str) -> StoredVoice | None:
        """Look a voice up."""
        return _find(self._connection, name_or_id)

    def insert(self, voice: StoredVoice) -> None:
        """Add a voice whose name and id are free."""
        self._connection.execute(_INSERT, astuple(voice))

    def delete(self, voice: StoredVoice) -> None:
        """Forget a voice."""
        self._connection.execute("DELETE FROM voices WHERE id = ?", (voice.id,))

    def digests(self) -> set[str]:
        """Return the digests of all recordings that some voice has."""
        rows = self._connection.execute("SELECT DISTINCT digest FROM voices").fetchall()
        return {digest for (digest,) in rows if digest}


class VoiceIndex:
    """The index file of a directory. Its methods may be called from any thread.

    All raise `EngineUnavailable` if the directory or the file in it cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._file = str(self._directory / "voices.sqlite")
        self._reader: sqlite3.Connection | None = None
        self._seen: tuple[int, ...] | None = None
        self._reading = threading.Lock()
        self._writing = threading.Lock()

    def find(self, name_or_id: str) -> StoredVoice | None:
        """Look a voice up. Never waits for a writer."""
        try:
            with self._reading:
                reader = self._open()
                return _find(reader, name_or_id) if reader else None
        except (sqlite3.Error, OSError) as error:
            raise self.unavailable(error) from error

    def all(self) -> list[StoredVoice]:
        """Return all voices by name. Never waits for a writer."""
        try:
            with self._reading:
                reader = self._open()
                rows = reader.execute(f"{_SELECT} ORDER BY name").fetchall() if reader else []
        except (sqlite3.Error, OSError) as error:
            raise self.unavailable(error) from error
        return [StoredVoice(*row) for row in rows]

    @contextmanager
    def change(self, *, create: bool = False) -> Iterator[Change | None]:
        """Let the caller write, alone; what it did counts once it has left without an error.

        :param create: make the directory and the file; without it, None comes if they are not
            there.
        :raises EngineUnavailable: also for an `OSError` that the caller raises.
        """
        try:
            with self._writing:
                if create:
                    self._directory.mkdir(parents=True, exist_ok=True)
                elif self._status() is None:
                    yield None
                    return
                # Closing a connection undoes what it did not commit.
                with closing(self._connect("mode=rwc", _WRITING)) as writer:
                    _use_wal(writer)
                    writer.execute("BEGIN IMMEDIATE")
                    if not self._has_table(writer):
                        writer.execute(_TABLE)
                        writer.execute(f"PRAGMA user_version = {_SCHEMA}")
                    yield Change(writer)
                    writer.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: Exception) -> EngineUnavailable:
        """Log what is wrong with the directory, and return what clients may know of it."""
        logger.error("The voice store in %s cannot be used: %s", self._directory, error)
        if isinstance(error, sqlite3.Error) and "locked" in str(error):
            return EngineUnavailable("Another process is writing to the voice store; try again.")
        return EngineUnavailable(
            "The voice store cannot be used; the operator should check that its directory "
            "(voices.directory) can be written and has room. The log says more."
        )

    def close(self) -> None:
        """Close the file, until it is needed again."""
        with self._reading:
            self._close()

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._seen = None

    def _open(self) -> sqlite3.Connection | None:
        """Return the connection for reading, a new one if the file is another one."""
        status = self._status()
        if status is None:
            self._close()
            return None
        seen = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            self._close()
            try:
                self._reader = self._connect_reader("mode=rw")
            except sqlite3.OperationalError:
                # Where nothing can be written SQLite lacks its shared memory. A file that nobody
                # is changing it can read without.
                journal = f"{self._file}-wal"
                if os.access(self._directory, os.W_OK) or os.path.exists(journal):
                    raise
                self._reader = self._connect_reader("mode=ro&immutable=1")
            self._seen = seen if self._reader else None
        return self._reader

    def _connect_reader(self, mode: str) -> sqlite3.Connection | None:
        """Return a connection; None while another process is just making the file."""
        with ExitStack() as stack:
            reader = stack.enter_context(closing(self._connect(mode, _READING)))
            if not self._has_table(reader):
                return None
            stack.pop_all()
            return reader

    def _status(self) -> os.stat_result | None:
        try:
            return os.stat(self._file)
        except FileNotFoundError:
            return None

    def _connect(self, mode: str, timeout: float) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{Path(self._file).as_uri()}?{mode}",
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
        )

    def _has_table(self, connection: sqlite3.Connection) -> bool:
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        if version > _SCHEMA:
            logger.error("The voices in %s are of a newer release.", self._directory)
            raise EngineUnavailable(
                "The stored voices are of a newer release of unisono; the operator should upgrade "
                "this one."
            )
        return bool(version)


def _find(connection: sqlite3.Connection, key: str) -> StoredVoice | None:
    if len(key) > NAME_LENGTH or not key.isprintable():  # surrogates are no text to SQLite
        return None
    column = "id" if VOICE_ID.fullmatch(key) else "name"
    key = unicodedata.normalize("NFC", key)
    # All rows are fetched, so that the connection does not stay in the past.
    rows = connection.execute(f"{_SELECT} WHERE {column} = ?", (key,)).fetchall()
    return StoredVoice(*rows[0]) if rows else None


def _use_wal(connection: sqlite3.Connection) -> None:
    """Have readers not wait for writers, and a commit outlive a power cut."""
    deadline = time.monotonic() + _WRITING
    while True:
        try:
            # Where the file system cannot do it, SQLite stays with what works there.
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            break
        except sqlite3.OperationalError as error:  # SQLite itself does not always wait here
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
    connection.execute("PRAGMA synchronous = FULL")
