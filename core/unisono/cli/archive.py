"""Stored voices in a zip file: voices.json, and the recordings by their digests."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import RequestError
from ..store import StoredVoice, VoiceStore

_INDEX = "voices.json"
_INDEX_BYTES = 16 * 2**20
_MOST_COMPRESSED = 20
"""Times that a recording may shrink. Speech shrinks three times at most; a zip bomb, a thousand."""
_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError)

_Text = str | None


class _Entry(BaseModel):
    """A voice as it stands in voices.json: what decoding finds is found again at the import."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, Field(pattern=r"^voice_[0-9a-f]{24}$")]
    name: str
    created_at: Annotated[int, Field(ge=0, lt=253_402_300_800)]  # until the year 9999
    text: _Text = None
    language: _Text = None
    description: _Text = None
    consent: _Text = None
    digest: Annotated[_Text, Field(pattern=r"^[0-9a-f]{64}$")] = None


class _Index(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    unisono_voices: Literal[1]
    voices: list[Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one voice of an archive."""

    name: str
    state: Literal["added", "replaced", "unchanged", "refused"]
    reason: str = ""


def write_archive(file: BinaryIO, store: VoiceStore, voices: Iterable[StoredVoice]) -> None:
    """Write voices and their recordings.

    :raises PromptError: if one is deleted meanwhile.
    """
    entries, written = [], set()
    # Recordings hardly shrink, so they are stored as they are.
    with zipfile.ZipFile(file, "w") as archive:
        for voice in voices:
            entries.append(asdict(voice, dict_factory=_exported))
            if voice.digest and voice.digest not in written:
                archive.writestr(_place(voice.digest), store.recording(voice))
                written.add(voice.digest)
        index = {"unisono_voices": 1, "voices": entries}
        archive.writestr(_INDEX, json.dumps(index, ensure_ascii=False, indent=1))


def read_archive(
    path: Path, store: VoiceStore, *, max_bytes: int, replace: bool
) -> Iterator[Outcome]:
    """Add the voices of an archive, trusting nothing in it. Each is added whole, or not at all.

    Names in the archive are never used as paths: only voices.json is read, and the recordings
    that it names by digests, which must be theirs.

    :param max_bytes: largest recording to unpack.
    :param replace: let them take the places of voices of the same names.
    :raises RequestError: if it is no such archive.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGES as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise RequestError(f"{path.name!r} is no zip file.") from error
    with archive:
        try:
            raw = _unpack(archive, _INDEX, _INDEX_BYTES)
            index = _Index.model_validate(json.loads(raw))
        except (RequestError, ValidationError, ValueError, RecursionError) as error:
            raise RequestError(f"{path.name!r} is no archive of voices: {_why(error)}") from error
        for position, raw_entry in enumerate(index.voices):
            try:
                entry = _Entry.model_validate(raw_entry)
            except ValidationError as error:
                yield Outcome(_name(raw_entry, position), "refused", _why(error))
                continue
            try:
                yield _add(archive, store, entry, max_bytes, replace)
            except RequestError as error:
                yield Outcome(entry.name, "refused", str(error))


def _add(
    archive: zipfile.ZipFile, store: VoiceStore, entry: _Entry, max_bytes: int, replace: bool
) -> Outcome:
    known = store.get(entry.name)
    same = {"id", "created_at"}
    if (
        known
        and asdict(known, dict_factory=_exported).items() >= entry.model_dump(exclude=same).items()
    ):
        return Outcome(entry.name, "unchanged")
    recording = None
    if entry.digest is not None:
        recording = _unpack(archive, _place(entry.digest), max_bytes)
        if hashlib.sha256(recording).hexdigest() != entry.digest:
            raise RequestError("Its recording is not the one that its digest names.")
    store.add(
        entry.name,
        recording,
        text=entry.text,
        language=entry.language,
        description=entry.description,
        consent=entry.consent,
        replace=replace,
        origin=(entry.id, entry.created_at),
    )
    return Outcome(entry.name, "replaced" if known else "added")


def _unpack(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Return the content of a member.

    :raises RequestError: if it is missing, damaged, larger than `most` or a bomb.
    """
    try:
        member = archive.getinfo(name)
        with archive.open(member) as file:
            content = file.read(most + 1)
    except KeyError as error:
        raise RequestError(f"{name} is missing in the archive.") from error
    except (*_DAMAGES, RuntimeError) as error:  # encrypted ones are a RuntimeError
        raise RequestError(f"{name} cannot be unpacked: {_why(error)}") from error
    if len(content) > most:
        raise RequestError(f"{name} is larger than {most / 2**20:g} MiB, the most accepted.")
    if len(content) > _MOST_COMPRESSED * max(member.compress_size, 4096):
        raise RequestError(f"{name} is compressed more than recordings ever are.")
    return content


def _place(digest: str) -> str:
    return f"recordings/{digest}"


def _exported(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if name in _Entry.model_fields}


def _name(raw: object, position: int) -> str:
    name = raw.get("name") if isinstance(raw, dict) else None
    return name[:100] if isinstance(name, str) else f"number {position + 1}"


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False)
        return "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:3])
    return str(error)
