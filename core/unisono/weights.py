"""Weights of models that were downloaded from a hub: find them.

They lie in the cache of `huggingface_hub`, laid out as that library does it, so that programs share
them: a snapshot of a commit links to blobs, which are named by their checksums
(https://huggingface.co/docs/huggingface_hub/guides/manage-cache). The library is content with any
part of a snapshot. What tells a whole download from half a one is ours: `unisono/<commit>.json`
in the repository's folder, the files of that commit with their sizes, written before they come.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ByteSize

from .errors import EngineUnavailable
from .types import Weights

MISSING = "weights_missing"
"""`EngineUnavailable.code` when `unisono pull` helps."""
_SUFFIXES = {".bin", ".ckpt", ".gguf", ".npz", ".onnx", ".pt", ".pth", ".safetensors"}
"""Of files that hold weights."""


def find_weights(weights: Weights) -> Path:
    """Return the directory that holds downloaded weights. Never touches the network.

    Half a download does not count. What belongs to a download that another program made may not
    be known; then it counts if nothing hints at a file that is missing.

    :raises EngineUnavailable: if they are not there; the message says how to get them.
    """
    require_hub()
    from huggingface_hub import errors, snapshot_download  # noqa: PLC0415

    try:
        path = snapshot_download(
            weights.repo,
            revision=weights.revision,
            allow_patterns=list(weights.files) or None,
            local_files_only=True,
        )
    except errors.LocalEntryNotFoundError:
        raise _missing(weights) from None
    except errors.HFValidationError as error:
        raise EngineUnavailable(f"{weights.repo!r} names no repository: {error}") from None
    snapshot = Path(path)
    sizes = _read_sizes(snapshot)
    if sizes is None:
        complete = _seems_complete(snapshot, weights)
    else:
        wanted = select(sizes, weights.files)
        complete = all(has_size(snapshot / name, sizes[name]) for name in wanted) and bool(wanted)
    if not complete:
        raise _missing(weights)
    return snapshot


def are_here(needed: Iterable[Weights]) -> bool:
    """Say whether weights are here, without importing the library where they plainly are not."""
    for weights in needed:
        folder = _cache() / f"models--{weights.repo.replace('/', '--')}"
        try:
            if not folder.is_dir() or not find_weights(weights):
                return False
        except EngineUnavailable:
            return False
    return True


def _cache() -> Path:
    """Return where the library looks (its `constants.HF_HUB_CACHE`)."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    above = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or str(Path(above) / "huggingface")
    return Path(home).expanduser() / "hub"


def require_hub() -> None:
    """Check that the library is there.

    :raises EngineUnavailable: if it is not.
    """
    try:
        import huggingface_hub  # noqa: F401, PLC0415
    except ImportError:
        raise EngineUnavailable(
            "Weights from a hub need a library: pip install 'unisono[hub]'"
        ) from None


def select(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Return the names that match one of the patterns of `Weights.files`; without one, all."""
    from huggingface_hub.utils import filter_repo_objects  # noqa: PLC0415

    return list(filter_repo_objects(names, allow_patterns=list(patterns) or None))


def has_size(path: Path, size: int | None) -> bool:
    """Say whether there is a file of a size; None is any."""
    return path.is_file() and size in (None, path.stat().st_size)


def readable(size: int | None) -> str:
    """Return a number of bytes as people write it."""
    return ByteSize(size or 0).human_readable(decimal=True)


def write_sizes(folder: Path, commit: str, sizes: Mapping[str, int | None]) -> None:
    """Note which files a commit has.

    :param folder: of the repository in the cache.
    """
    path = _sizes_path(folder, commit)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"files": dict(sizes)}, indent=1), encoding="utf-8")
    new.replace(path)


def _read_sizes(snapshot: Path) -> dict[str, int | None] | None:
    try:
        text = _sizes_path(snapshot.parents[1], snapshot.name).read_text(encoding="utf-8")
        sizes: dict[str, int | None] = json.loads(text)["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sizes


def _sizes_path(folder: Path, commit: str) -> Path:
    return folder / "unisono" / f"{commit}.json"


def _seems_complete(snapshot: Path, weights: Weights) -> bool:
    """Judge a download of which nobody noted what belongs to it.

    A mistake to the safe side costs little: `unisono pull` downloads nothing that is here.
    """
    links = [path for path in snapshot.rglob("*") if not path.is_dir()]
    if not all(path.is_file() for path in links):
        return False
    if any((snapshot.parents[1] / "blobs").glob("*.incomplete")):
        return False
    names = [path.relative_to(snapshot).as_posix() for path in links]
    if weights.files:
        enough = all(select(names, [pattern]) for pattern in weights.files)
    else:
        enough = any(path.suffix in _SUFFIXES for path in links)
    wanted = select(names, weights.files)
    indexes = [snapshot / name for name in wanted if name.endswith(".index.json")]
    return enough and all(path.is_file() for index in indexes for path in _shards(index))


def _shards(index: Path) -> set[Path]:
    """Return the files that the index of a model in several files names, as transformers has it."""
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()
    return {index.parent / str(name) for name in names}


def _missing(weights: Weights) -> EngineUnavailable:
    name = weights.repo if weights.revision is None else f"{weights.repo}@{weights.revision}"
    return EngineUnavailable(
        f"The weights {name!r} are not here; run: unisono pull {name}", code=MISSING
    )
