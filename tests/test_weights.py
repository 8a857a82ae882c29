"""Weights on disk: what counts as downloaded. What downloads them is tried in test_pull_cli."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from unisono import EngineUnavailable, Weights, find_weights

constants = pytest.importorskip("huggingface_hub.constants")
COMMIT = "0123456789" * 4
MODEL = {"config.json": b"{}", "model.safetensors": b"weights"}
SHARDS = {
    "config.json": b"{}",
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    ).encode(),
    "model-1.safetensors": b"one",
    "model-2.safetensors": b"two",
}
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that fills the cache as other programs do."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def write(files: Mapping[str, bytes], commit: str = COMMIT, ref: str = "main") -> Path:
        folder = tmp_path / "models--owner--name"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
        (folder / "blobs").mkdir(exist_ok=True)
        for name, data in files.items():
            blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
            blob.write_bytes(data)
            place = folder / "snapshots" / commit / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(blob)
        return folder

    return write


def note(folder: Path, sizes: Mapping[str, int], commit: str = COMMIT) -> None:
    """Say which files the commit has, as a pull does before it downloads."""
    (folder / "unisono").mkdir(exist_ok=True)
    text = json.dumps({"files": dict(sizes)})
    (folder / "unisono" / f"{commit}.json").write_text(text)


def is_here(*files: str, revision: str | None = None) -> bool:
    try:
        return find_weights(Weights("owner/name", revision, files)).is_dir()
    except EngineUnavailable:
        return False


def test_weights_that_are_not_here_say_how_to_get_them(write: Write) -> None:
    for revision, name in ((None, "owner/name"), ("v2", "owner/name@v2")):
        with pytest.raises(EngineUnavailable, match=f"run: unisono pull {name}$") as caught:
            find_weights(Weights("owner/name", revision))
        assert caught.value.code == "weights_missing"
        assert caught.value.status == 503


def test_what_another_program_downloaded_is_found(write: Write) -> None:
    folder = write(MODEL)
    found = find_weights(Weights("owner/name"))
    assert found == folder / "snapshots" / COMMIT
    assert (found / "model.safetensors").read_bytes() == b"weights"
    assert is_here("*.safetensors", "config.json")


def test_a_revision_is_found_by_its_name_and_by_its_commit(write: Write) -> None:
    write(MODEL, commit="f" * 40, ref="v1")
    assert is_here(revision="v1")
    assert is_here(revision="f" * 40)
    assert not is_here()
    assert not is_here(revision="v2")


def test_a_configuration_alone_is_no_download(write: Write) -> None:
    write({"config.json": b"{}", "tokenizer.json": b"{}"})
    assert not is_here()
    assert not is_here("*.json", "*.safetensors")
    assert is_here("*.json")


def test_a_shard_that_the_index_names_must_be_there(write: Write) -> None:
    folder = write({name: data for name, data in SHARDS.items() if name != "model-2.safetensors"})
    assert not is_here()
    assert not is_here("*.safetensors", "*.json")
    write({"model-2.safetensors": b"two"})
    assert is_here()
    (folder / "snapshots" / COMMIT / "model-1.safetensors").resolve().unlink()
    assert not is_here("*.safetensors", "*.json")


def test_a_file_on_its_way_makes_a_download_incomplete(write: Write) -> None:
    folder = write(MODEL)
    part = folder / "blobs" / "0123.incomplete"
    part.touch()
    assert not is_here()
    part.unlink()
    assert is_here()


def test_of_a_known_commit_every_wanted_file_must_be_whole(write: Write) -> None:
    folder = write(MODEL)
    sizes = {name: len(data) for name, data in MODEL.items()}
    note(folder, {**sizes, "README.md": 5})
    assert is_here("*.safetensors")
    assert not is_here()
    assert not is_here("*.onnx")
    note(folder, {**sizes, "model.safetensors": 8})
    assert not is_here("*.safetensors")
    assert is_here("config.json")


def test_parts_of_another_commit_do_not_matter_where_the_files_are_known(write: Write) -> None:
    folder = write(MODEL)
    note(folder, {name: len(data) for name, data in MODEL.items()})
    (folder / "blobs" / "0123.incomplete").touch()
    assert is_here()


def test_a_damaged_note_counts_as_none(write: Write) -> None:
    folder = write(MODEL)
    note(folder, {})
    (folder / "unisono" / f"{COMMIT}.json").write_text("{")
    assert is_here()


def test_a_name_that_no_repository_can_have_is_said_to_be_one(write: Write) -> None:
    with pytest.raises(EngineUnavailable, match="'a/b/c' names no repository"):
        find_weights(Weights("a/b/c"))


def test_without_the_library_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'unisono\[hub\]'"):
        find_weights(Weights("owner/name"))


def test_where_weights_are_looked_for_is_where_the_library_looks() -> None:
    code = (
        "from unisono.weights import _cache; from huggingface_hub import constants; "
        "assert str(_cache()) == constants.HF_HUB_CACHE, (_cache(), constants.HF_HUB_CACHE)"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    for environment in (
        {},
        {"HF_HOME": "/somewhere"},
        {"HF_HUB_CACHE": "/elsewhere", "HF_HOME": "/somewhere"},
        {"XDG_CACHE_HOME": "/caches"},
    ):
        subprocess.run([sys.executable, "-c", code], env={**plain, **environment}, check=True)
