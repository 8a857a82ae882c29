"""Weights of models on a hub: download them.

`huggingface_hub` speaks to the hub and lays out the cache. Two things are done here, because it
does not: it begins a file anew if the last attempt ended in the middle (since its version 2), and
it does not compare checksums. So the blobs are fetched first, in order, each into a file that
stays when we fail (`blobs/<checksum>.unisono.incomplete`); then the library finds them.
"""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from . import __version__
from .errors import EngineUnavailable, SpeechError
from .lanes import Lane
from .types import Weights
from .weights import MISSING, find_weights, has_size, readable, require_hub, select, write_sizes

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], object]
"""Called with how many bytes are here, and how many are wanted."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PART = ".unisono.incomplete"
_SECONDS = 30.0
"""Longest wait for the hub to describe a repository."""


def pull_weights(weights: Weights, progress: Progress | None = None) -> Path:
    """Download what is not here of some weights, and check all of it; return their directory.

    Blocks; any thread may call it, and those who want the same repository take turns. A download
    that ended in the middle goes on from there.

    :raises EngineUnavailable: if that fails; the message says why, and what to do.
    """
    require_hub()
    from huggingface_hub import constants, snapshot_download  # noqa: PLC0415
    from huggingface_hub.file_download import repo_folder_name  # noqa: PLC0415
    from huggingface_hub.utils import WeakFileLock, disable_progress_bars  # noqa: PLC0415

    disable_progress_bars()  # for the log of a server they are nothing
    with _explained(weights.repo):
        name = repo_folder_name(repo_id=weights.repo, repo_type="model")
        folder = Path(constants.HF_HUB_CACHE) / name
        lock = folder.parent / ".locks" / name / "unisono.lock"
        while True:
            download = _ask(weights, folder)
            lock.parent.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock):
                download.fetch(progress or (lambda *_: None))
                path = snapshot_download(
                    weights.repo,
                    revision=weights.revision,
                    allow_patterns=list(weights.files) or None,
                )
                if Path(path).name == download.commit:
                    download.tidy()
                    return Path(path)
            # Else the branch has moved in between.


async def pull_missing(needed: Sequence[Weights]) -> None:
    """Download those weights that are not here, on a thread that nobody waits for at the end.

    :raises EngineUnavailable: if that fails.
    """
    lane = Lane("pull")
    try:
        await lane.run(_pull_missing, needed)
    finally:
        lane.close()


def _pull_missing(needed: Sequence[Weights]) -> None:
    for weights in needed:
        try:
            find_weights(weights)
        except EngineUnavailable as error:
            if error.code != MISSING:
                raise
            pull_weights(weights)


@dataclass(frozen=True)
class _File:
    """A file of a repository, as the hub describes it."""

    name: str
    size: int
    checksum: str
    """SHA-256 of its bytes; of a small file SHA-1, as git makes it."""

    def is_sound(self, path: Path) -> bool:
        """Say whether a file of this machine is this one."""
        if not has_size(path, self.size):
            return False
        if len(self.checksum) == 64:
            digest = hashlib.sha256()
        else:  # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
            digest = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        with path.open("rb") as stream:
            while data := stream.read(2**20):
                digest.update(data)
        return digest.hexdigest() == self.checksum


@dataclass(frozen=True)
class _Download:
    """The files of a commit that are wanted, and the repository's folder in the cache."""

    repo: str
    commit: str
    folder: Path
    sizes: dict[str, int | None]
    """Of all files of the commit."""
    files: Sequence[_File]
    """Those that are wanted and have a checksum; the others are left to the library."""

    def fetch(self, progress: Progress) -> None:
        """Bring the blobs of all files here."""
        write_sizes(self.folder, self.commit, self.sizes)
        self._blobs.mkdir(parents=True, exist_ok=True)
        missing = {file.checksum: file for file in self.files if not self._is_here(file)}
        total = sum(file.size for file in self.files)
        lacking = sum(file.size for file in missing.values())
        self._check_room(lacking)
        if missing:
            logger.info("Downloading %s of %r.", readable(lacking), self.repo)
        progress(total - lacking, total)
        for file in missing.values():

            def show(size: int, before: int = total - lacking) -> None:
                progress(before + size, total)

            self._fetch(file, show)
            lacking -= file.size
        if missing:
            logger.info("Downloaded %r, %s in all.", self.repo, readable(total))

    def tidy(self) -> None:
        """Remove what is of no use any more."""
        for part in self._blobs.glob(f"*{_PART}"):
            part.unlink()
        for file in self.files:  # where links are not possible, the library copies
            if not self._place(file).is_symlink():
                self._blob(file).unlink(missing_ok=True)

    @property
    def _blobs(self) -> Path:
        return self.folder / "blobs"

    def _blob(self, file: _File) -> Path:
        return self._blobs / file.checksum

    def _place(self, file: _File) -> Path:
        return self.folder / "snapshots" / self.commit / file.name

    def _is_here(self, file: _File) -> bool:
        """Say whether a file is here; remove it if it is damaged."""
        for path in (self._place(file), self._blob(file)):
            if path.is_file():
                if file.is_sound(path):
                    return True
                logger.warning("%r of %r is damaged: once more.", file.name, self.repo)
                path.resolve().unlink()
                path.unlink(missing_ok=True)
        return False

    def _check_room(self, lacking: int) -> None:
        needed = lacking - sum(part.stat().st_size for part in self._blobs.glob(f"*{_PART}"))
        free = shutil.disk_usage(self._blobs).free
        if needed > free:
            raise EngineUnavailable(
                f"The disk has no room for {self.repo!r}: {readable(needed)} are to come, and "
                f"{readable(free)} are free. HF_HUB_CACHE says where weights go."
            )

    def _fetch(self, file: _File, progress: Callable[[int], object]) -> None:
        from huggingface_hub import hf_hub_url  # noqa: PLC0415
        from huggingface_hub.file_download import http_get  # noqa: PLC0415
        from huggingface_hub.utils import build_hf_headers  # noqa: PLC0415

        blob = self._blob(file)
        part = blob.with_name(blob.name + _PART)
        headers = build_hf_headers(library_name="unisono", library_version=__version__)
        headers["Accept-Encoding"] = "identity"  # a compressed body cannot go on from the middle
        for _ in range(2):
            if part.exists() and part.stat().st_size > file.size:
                part.unlink()
            with _Part(part, progress) as stream:
                http_get(
                    hf_hub_url(self.repo, file.name, revision=self.commit),
                    stream,
                    resume_size=stream.tell(),
                    headers=headers,
                    expected_size=file.size,
                )
            if file.is_sound(part):
                part.replace(blob)
                return
            part.unlink()
        raise EngineUnavailable(
            f"{file.name!r} of {self.repo!r} came damaged, twice: its checksum is wrong."
        )


class _Part(io.BufferedWriter):
    """The beginning of a file, which grows."""

    def __init__(self, path: Path, progress: Callable[[int], object]) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._progress = progress

    def write(self, data: Any, /) -> int:
        """Append, and tell the size."""
        written = super().write(data)
        self._progress(self.tell())
        return written


def _ask(weights: Weights, folder: Path) -> _Download:
    """Ask the hub which files there are."""
    from huggingface_hub import HfApi  # noqa: PLC0415

    info = HfApi(library_name="unisono", library_version=__version__).model_info(
        weights.repo, revision=weights.revision, timeout=_SECONDS, files_metadata=True
    )
    found = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    paths = map(PurePosixPath, found)
    # A foreign server says what will be names of files here.
    if not _COMMIT.fullmatch(info.sha or "") or any(
        path.is_absolute() or ".." in path.parts for path in paths
    ):
        raise EngineUnavailable(f"The hub describes {weights.repo!r} in no sensible way.")
    wanted = select(found, weights.files)
    if not wanted:
        which = f" like {' or '.join(weights.files)}" if weights.files else ""
        raise EngineUnavailable(f"{weights.repo!r} has no files{which}.")
    files = []
    for name in wanted:
        sibling = found[name]
        checksum = (sibling.lfs.sha256 if sibling.lfs else sibling.blob_id) or ""
        if sibling.size is not None and _CHECKSUM.fullmatch(checksum):
            files.append(_File(name, sibling.size, checksum))
    sizes = {name: sibling.size for name, sibling in found.items()}
    return _Download(weights.repo, str(info.sha), folder, sizes, files)


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Say what went wrong in a way that helps.

    The library raises errors of `requests`, `httpx` or `httpx2`, as its version is; their
    messages hold addresses with signatures, so they are no part of ours.
    """
    from huggingface_hub import constants, errors  # noqa: PLC0415

    again = f"try again, and it goes on where it was: unisono pull {repo}"
    log_in = "log in with `hf auth login`, or set HF_TOKEN."
    terms = f"{constants.ENDPOINT}/{repo}"
    reasons = {  # special ones first
        errors.GatedRepoError: f"{repo!r} has terms to accept at {terms}; then {log_in}",
        errors.RepositoryNotFoundError: f"The hub has no {repo!r}, or it is private: {log_in}",
        errors.RevisionNotFoundError: f"{repo!r} has no such revision.",
        errors.HFValidationError: f"{repo!r} names no repository: owner/name does.",
        errors.OfflineModeIsEnabled: f"HF_HUB_OFFLINE forbids to download {repo!r}.",
    }
    try:
        yield
    except SpeechError:
        raise
    except Exception as error:
        if known := [text for kind, text in reasons.items() if isinstance(error, kind)]:
            text = known[0]
        elif isinstance(error, errors.HfHubHTTPError) and error.response is not None:
            text = f"The hub answered {error.response.status_code} for {repo!r}; {again}"
        elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"The disk is full. Make room, then {again}"
        elif isinstance(error, OSError) and error.filename is not None:
            text = f"The cache of weights cannot be written: {error.strerror}."
        else:
            text = f"Downloading {repo!r} from {constants.ENDPOINT} did not work; {again}"
            raise EngineUnavailable(text) from error
        raise EngineUnavailable(text) from None
