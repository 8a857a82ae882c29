"""`unisono voices`: listing, storing, and archives that may be hostile."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from unisono.cli import Cli
from unisono.store import VoiceStore

Wav = Callable[..., bytes]
Run = Callable[..., str]
ID = "voice_" + "0a" * 12


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the commands use a voice store of the test, in a working directory of its own."""
    monkeypatch.setenv("UNISONO_VOICES__DIRECTORY", str(tmp_path / "voices"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "voices"


@pytest.fixture
def store(directory: Path) -> Iterator[VoiceStore]:
    with closing(VoiceStore(directory)) as store:
        yield store


@pytest.fixture
def run(directory: Path) -> Run:
    """Return a function that runs `unisono voices` and returns what it prints."""

    def run(*args: str, status: int = 0, stdin: bytes = b"") -> str:
        done = CliRunner().invoke(Cli(name="unisono"), ["voices", *args], input=stdin)
        assert done.exit_code == status, (done.output, done.exception)
        if status == 1:
            assert len([line for line in done.output.splitlines() if "Error: " in line]) == 1
        return done.output

    return run


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the echo engines installed, and no others."""
    others = {entry.name for entry in importlib.metadata.entry_points(group="unisono")}
    monkeypatch.setenv("UNISONO_PLUGINS__DISABLED", ",".join(others))
    info = tmp_path / "site" / "unisono_resounding-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unisono-resounding\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[unisono]\nresounding = unisono.testing.echo\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def archive(file: Path, *voices: Any, files: dict[str, bytes] | None = None, **more: Any) -> str:
    """Write a zip as the export would, or nearly."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        index = {"unisono_voices": 1, "voices": voices, **more}
        target.writestr("voices.json", json.dumps(index))
        for name, content in (files or {}).items():
            target.writestr(name, content)
    return str(file)


def entry(name: str, recording: bytes | None = None, **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(recording).hexdigest() if recording is not None else None
    return {"id": ID, "name": name, "created_at": 1_700_000_000, "digest": digest, **more}


def place(recording: bytes) -> str:
    return f"recordings/{hashlib.sha256(recording).hexdigest()}"


@pytest.mark.usefixtures("echo")
def test_without_a_command_the_voices_of_a_model_are_listed(run: Run, store: VoiceStore) -> None:
    store.add("anna", None, description="Calm")
    for args in ((), ("echo",)):
        table = run(*args)
        assert table.splitlines()[0].split() == ["VOICE", "LANGUAGES", "GENDER", "DESCRIPTION"]
        assert "near" in table
        assert "anna" not in table
    assert [row["voice"] for row in json.loads(run("--json", "echo"))] == ["near", "far"]
    assert "'nobody'" in run("nobody", status=1)


@pytest.mark.usefixtures("echo")
def test_list_adds_the_stored_voices(run: Run, store: VoiceStore, wav: Wav) -> None:
    store.add("anna", wav(1.5), language="de", description="two\nlines")
    rows = json.loads(run("list", "--json"))
    assert [(row["voice"], row["from"]) for row in rows] == [
        ("near", "echo"),
        ("far", "echo"),
        ("anna", "stored"),
    ]
    assert rows[-1]["languages"] == ["de"]
    assert rows[-1]["seconds"] == 1.5
    assert re.search(r"^anna +stored +de +1\.5 +two lines$", run("list", "echo"), re.MULTILINE)


def test_stored_voices_are_listed_without_any_engine(
    run: Run, store: VoiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {entry.name for entry in importlib.metadata.entry_points(group="unisono")}
    monkeypatch.setenv("UNISONO_PLUGINS__DISABLED", ",".join(others))
    assert "unisono voices add" in run("list")
    store.add("anna", None, description="Calm")
    assert "anna" in run("list")


def test_a_file_becomes_a_voice(run: Run, store: VoiceStore, wav: Wav) -> None:
    Path("anna.wav").write_bytes(wav(2))
    options = ("--text", "hello", "--language", "en", "--description", "Calm", "--consent", "yes")
    assert "2.00 seconds" in run("add", "anna", "anna.wav", *options)
    voice = store.get("anna")
    assert voice is not None
    assert (voice.text, voice.language, voice.description) == ("hello", "en", "Calm")
    assert (voice.consent, voice.duration) == ("yes", 2.0)
    shown = run("show", "anna")
    assert re.search(r"^text: +hello$", shown, re.MULTILINE)
    assert re.search(r"^created_at: +20\d\d-\d\d-\d\d ", shown, re.MULTILINE)
    assert json.loads(run("show", voice.id, "--json"))["digest"] == voice.digest


def test_a_description_alone_becomes_a_voice(run: Run, store: VoiceStore) -> None:
    run("add", "calm", "--description", "A calm voice")
    voice = store.get("calm")
    assert voice is not None
    assert (voice.description, voice.digest) == ("A calm voice", None)
    assert "--description" in run("add", "nothing", status=2)


def test_a_taken_name_needs_replace(run: Run, store: VoiceStore, wav: Wav) -> None:
    store.add("anna", wav(1))
    Path("other.wav").write_bytes(wav(2))
    assert "'anna' already" in run("add", "anna", "other.wav", status=1)
    run("add", "anna", "other.wav", "--replace")
    assert [voice.duration for voice in store.list()] == [2.0]


def test_what_cannot_be_stored_is_an_error(run: Run, store: VoiceStore) -> None:
    Path("text.wav").write_text("not audio")
    assert "no known kind of audio" in run("add", "anna", "text.wav", status=1)
    Path("large.wav").write_bytes(bytes(1001))
    large = ("add", "anna", "large.wav", "--set", "voices.max_bytes=1000")
    assert "larger than" in run(*large, status=1)
    assert "'missing.wav'" in run("add", "anna", "missing.wav", status=1)
    assert "'nobody'" in run("show", "nobody", status=1)
    assert store.list() == []


def test_voices_are_removed_and_unknown_ones_told(run: Run, store: VoiceStore) -> None:
    for name in ("anna", "bert", "carl"):
        store.add(name, None, description="Calm")
    told = run("remove", "anna", "nobody", "bert", status=1)
    assert "Deleted anna.\nDeleted bert.\n" in told
    assert "'nobody'" in told
    assert [voice.name for voice in store.list()] == ["carl"]
    run("remove", "carl")


def test_an_export_is_imported_as_the_same_voices(
    run: Run, store: VoiceStore, tmp_path: Path, wav: Wav
) -> None:
    store.add("anna", wav(1), text="hello", language="en", consent="yes")
    store.add("bert", wav(1), description="Calm")
    store.add("中文女", None, description="A calm voice")
    assert "3 voices" in run("export", "all.zip")
    assert "1 voice " in run("export", "one.zip", "bert", "bert")
    elsewhere = f"voices.directory={tmp_path / 'elsewhere'}"
    assert "Added anna.\nAdded bert.\nAdded 中文女.\n" in run(
        "import", "all.zip", "--set", elsewhere
    )
    with closing(VoiceStore(tmp_path / "elsewhere")) as other:
        assert other.list() == store.list()
        assert [other.recording(voice) for voice in other.list() if voice.digest] == [wav(1)] * 2
    assert run("import", "one.zip", "--set", elsewhere) == "Unchanged bert.\n"
    with zipfile.ZipFile("all.zip") as exported:
        assert len(exported.namelist()) == 2  # a shared recording comes once


def test_an_import_replaces_only_if_told_to(run: Run, store: VoiceStore, wav: Wav) -> None:
    anna = store.add("anna", wav(1))
    run("export", "old.zip")
    store.add("anna", wav(2), replace=True)
    told = run("import", "old.zip", status=1)
    assert "Refused 'anna'" in told
    assert "1 of 1 voice could not be imported" in told
    assert run("import", "old.zip", "--replace") == "Replaced anna.\n"
    assert store.list() == [anna]


def test_an_empty_or_impossible_export_leaves_no_file(run: Run, store: VoiceStore) -> None:
    assert "no stored voices" in run("export", "all.zip", status=1)
    store.add("anna", None, description="Calm")
    assert "'nobody'" in run("export", "all.zip", "anna", "nobody", status=1)
    assert os.listdir() == []


def test_good_voices_of_a_bad_archive_are_added(run: Run, store: VoiceStore, wav: Wav) -> None:
    good, other = wav(1), wav(2)
    voices = [
        entry("good", good),
        entry("lying", good, digest=hashlib.sha256(b"else").hexdigest()),
        entry("missing", wav(3)),
        entry("climbing", good, digest="../../../etc/passwd"),
        entry("unknown field", good, admin=True),
        entry("../climbing", good),
        entry("text of a number", good, text=3),
        entry("no audio", b"#EXTM3U\n"),
        entry("nothing"),
        entry("wrong id", good, id="voice_1"),
        entry("far future", good, created_at=10**15),
        entry("\x1b[2J", good),
        "no voice",
        entry("also good", other),
    ]
    lie = f"recordings/{hashlib.sha256(b'else').hexdigest()}"
    files = {place(good): good, place(other): other, lie: good, place(b"#EXTM3U\n"): b"#EXTM3U\n"}
    told = run("import", archive(Path("bad.zip"), *voices, files=files), status=1)
    assert "12 of 14 voices" in told
    assert "\x1b" not in told
    assert [voice.name for voice in store.list()] == ["also good", "good"]


def test_names_in_an_archive_are_never_paths(
    run: Run, store: VoiceStore, tmp_path: Path, wav: Wav
) -> None:
    files = {"../escaped": b"!", "/tmp/escaped": b"!", place(wav(1)): wav(1), "C:\\escaped": b"!"}
    run("import", archive(Path("slip.zip"), entry("anna", wav(1)), files=files))
    assert [voice.name for voice in store.list()] == ["anna"]
    assert not list(tmp_path.rglob("*escaped*"))
    assert len(list((tmp_path / "voices" / "recordings").iterdir())) == 1


def test_bombs_are_refused(run: Run, store: VoiceStore, wav: Wav) -> None:
    silence = wav(60, silent=set(range(60)))  # 2 MB that shrink to 2 kB
    path = archive(Path("a.zip"), entry("silence", silence), files={place(silence): silence})
    assert "compressed more" in run("import", path, status=1)
    path = archive(Path("b.zip"), entry("long", silence), files={place(silence): silence})
    limit = ("--set", "voices.max_bytes=1MB")
    assert "is larger than" in run("import", path, *limit, status=1)
    path = archive(Path("c.zip"), "x" * 17 * 2**20)
    assert "voices.json is larger than" in run("import", path, status=1)
    assert store.list() == []


@pytest.mark.parametrize(
    "content",
    [b"", b"no zip", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" * 100],
    ids=["empty", "text", "without files", "cut off"],
)
def test_what_is_no_archive_is_refused(run: Run, content: bytes) -> None:
    Path("bad.zip").write_bytes(content)
    assert "'bad.zip' is no " in run("import", "bad.zip", status=1)


@pytest.mark.parametrize(
    "index",
    [
        b"{",
        b"[]",
        b"[" * 200_000,
        b"\xff\xfe",
        b'{"voices": []}',
        b'{"unisono_voices": 2, "voices": []}',
        b'{"unisono_voices": 1, "voices": [], "run": "rm"}',
    ],
    ids=["cut", "list", "deep", "binary", "nameless", "newer", "more"],
)
def test_an_index_that_is_none_is_refused(run: Run, index: bytes) -> None:
    with zipfile.ZipFile("bad.zip", "w") as file:
        file.writestr("voices.json", index)
    assert "'bad.zip' is no archive of voices" in run("import", "bad.zip", status=1)


def test_a_damaged_recording_is_refused(run: Run, store: VoiceStore, wav: Wav) -> None:
    store.add("anna", wav(1))
    run("export", "all.zip")
    store.remove("anna")
    content = bytearray(Path("all.zip").read_bytes())
    content[1000] ^= 1
    Path("all.zip").write_bytes(content)
    assert "cannot be unpacked" in run("import", "all.zip", status=1)
    assert store.list() == []


def test_an_encrypted_archive_is_refused(run: Run, wav: Wav) -> None:
    content = bytearray(Path(archive(Path("a.zip"), entry("anna", wav(1)))).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag of the directory's first entry
    Path("a.zip").write_bytes(content)
    assert "encrypted" in run("import", "a.zip", status=1)


def test_the_program_reads_a_pipe_and_ends_errors_in_one_line(directory: Path, wav: Wav) -> None:
    def unisono(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "unisono", "voices", *args]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=60)

    stored = unisono("add", "anna", "-", stdin=wav(1))
    assert stored.stdout.startswith(b"Stored anna (voice_")
    assert not stored.stderr
    nowhere = unisono("list", "--set", f"voices.directory={directory / 'voices.sqlite'}")
    assert nowhere.returncode == 1
    assert not nowhere.stdout
    (line,) = nowhere.stderr.decode().splitlines()
    assert line.startswith("Error: The voice store cannot be used")


def test_storing_needs_no_engine_library_until_there_is_a_recording(directory: Path) -> None:
    script = "import sys, unisono.cli.voices as v\nfrom unisono.store import VoiceStore\n"
    script += "from pathlib import Path\nVoiceStore(Path(sys.argv[1])).list()\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, str(directory)], capture_output=True, text=True
    )
    assert not {"av", "soxr", "fastapi", "torch"} & set(done.stdout.split())
    assert "unisono.store" in done.stdout
