"""Stored voices: what may be stored, and that nothing is lost, half there or left behind."""

from __future__ import annotations

import hashlib
import inspect
import io
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from unisono.codecs import encode
from unisono.config import Config
from unisono.errors import EngineUnavailable, PromptError, RequestError, UploadTooLarge
from unisono.store import StoredVoice, VoiceStore
from unisono.voice_index import VoiceIndex

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and permissions")


def recording(number: int) -> bytes:
    """Return a quarter of a second of noise, another one for each number."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16000, 0, "NONE", ""))
        writer.writeframes(number.to_bytes(4, "big") * 2000)
    return file.getvalue()


# What the processes of these tests begin with.
PRELUDE = f"""
import io, os, signal, sys, wave
from pathlib import Path
import unisono.decoding
from unisono.errors import EngineUnavailable
from unisono.store import VoiceStore

{inspect.getsource(recording)}
store = VoiceStore(Path(sys.argv[1]))
"""

Wav = Callable[..., bytes]
MakeStore = Callable[..., VoiceStore]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "voices"


@pytest.fixture
def make_store() -> Iterator[Callable[..., VoiceStore]]:
    """Return a function that opens stores, which are closed after the test."""
    with ExitStack() as stack:

        def make(directory: Path, **limits: Any) -> VoiceStore:
            return stack.enter_context(closing(VoiceStore(directory, **limits)))

        yield make


@pytest.fixture
def store(make_store: MakeStore, directory: Path) -> VoiceStore:
    return make_store(directory)


def recordings(directory: Path) -> set[str]:
    """Return the names of the files that are kept."""
    return {path.name for path in (directory / "recordings").iterdir()}


def check(store: VoiceStore) -> list[StoredVoice]:
    """Check that every voice that is listed is whole, and return them."""
    voices = store.list()
    for voice in voices:
        assert store.get(voice.name) == store.get(voice.id) == voice
        if voice.digest is not None:
            assert hashlib.sha256(store.recording(voice)).hexdigest() == voice.digest
    return voices


def start(script: str, directory: Path, **more: Any) -> subprocess.Popen[str]:
    """Run a script of a process of its own."""
    command = [sys.executable, "-c", PRELUDE + script, str(directory)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, **more)


def run(script: str, directory: Path, status: int = 0) -> str:
    """Run such a script to its end."""
    process = start(script, directory)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == status
    return out


def test_reading_makes_no_directory(store: VoiceStore, directory: Path) -> None:
    assert store.list() == []
    assert store.get("anna") is None
    assert store.remove("anna") is None
    assert not directory.parent.exists()


def test_a_voice_is_found_by_name_and_by_id(store: VoiceStore, wav: Wav) -> None:
    file = wav(2.5, rate=24_000)
    before = int(time.time())
    voice = store.add(
        "中文女", file, text=" 你好 ", language="zh", description="Calm", consent="cons_1"
    )
    assert voice.id.startswith("voice_")
    assert len(voice.id) == 30
    assert before <= voice.created_at <= time.time()
    assert (voice.name, voice.text, voice.language) == ("中文女", "你好", "zh")
    assert (voice.description, voice.consent) == ("Calm", "cons_1")
    assert check(store) == [voice]
    assert store.recording(voice) == file
    path = store.path(voice)
    assert path is not None
    assert path.read_bytes() == file


def test_voices_are_listed_by_name(store: VoiceStore) -> None:
    for name in ("b", "ä", "a", "A"):
        store.add(name, None, description="Calm")
    assert [voice.name for voice in store.list()] == ["A", "a", "b", "ä"]


def test_a_described_voice_has_norecording(store: VoiceStore) -> None:
    voice = store.add("calm", None, description="A calm, low voice", text="")
    assert (voice.description, voice.text) == ("A calm, low voice", None)
    assert voice.digest is voice.duration is voice.format is None
    assert store.path(voice) is None
    with pytest.raises(PromptError, match="'calm' is only described"):
        store.recording(voice)


@pytest.mark.parametrize(
    ("format", "rate", "seconds"),
    [("wav", 24_000, 0), ("flac", 24_000, 0), ("mp3", 24_000, 0.2), ("opus", 48_000, 0.1)],
)
def test_the_facts_are_those_of_the_upload(
    store: VoiceStore, format: str, rate: int, seconds: float
) -> None:
    tone = np.sin(np.arange(60_000) / 20).astype(np.float32)
    voice = store.add("tone", encode(tone, format, 24_000, rate))
    assert voice.duration == pytest.approx(2.5, abs=seconds or 1e-6)
    assert voice.frames is not None
    assert voice.frames / rate == pytest.approx(voice.duration, abs=1e-5)
    assert (voice.sample_rate, voice.channels) == (rate, 1)
    assert voice.format == {"opus": "ogg"}.get(format, format)


def test_the_facts_count_channels(store: VoiceStore) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((44_100, 2)), 44_100, format="WAV", subtype="PCM_24")
    voice = store.add("wide", file.getvalue())
    facts = (voice.duration, voice.sample_rate, voice.channels, voice.frames, voice.format)
    assert facts == (1.0, 44_100, 2, 44_100, "wav")


BAD_NAMES = ["", "a" * 101, "a/b", " a", "a ", "a\n", "a\0b", "\ud800", ".", ".."]
BAD_NAMES += ["base64+x", "URL+http:x", "file+a", "voice_" + "0" * 24]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_is_no_name_is_refused(store: VoiceStore, directory: Path, name: str) -> None:
    with pytest.raises(RequestError) as caught:
        store.add(name, None, description="Calm")
    assert (caught.value.param, caught.value.status) == ("name", 400)
    assert store.get(name) is None
    assert not directory.exists()


def test_a_name_is_the_same_however_it_is_composed(store: VoiceStore) -> None:
    voice = store.add("Rene\u0301", None, description="Calm")
    assert voice.name == "Ren\u00e9"
    assert store.get("Rene\u0301") == store.get("Ren\u00e9") == voice


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", "a" * 10_001),
        ("text", "a\x1b[2J"),
        ("description", "\ud800"),
        ("consent", "c\0"),
        ("language", "English, please"),
        ("language", "../en"),
    ],
)
def test_wrong_values_are_refused_by_their_fields(
    store: VoiceStore, wav: Wav, field: str, value: str
) -> None:
    fields: dict[str, Any] = {field: value}
    with pytest.raises(RequestError) as caught:
        store.add("anna", wav(), **fields)
    assert caught.value.param == field
    assert store.list() == []


def test_a_voice_is_a_recording_or_a_description(store: VoiceStore) -> None:
    with pytest.raises(RequestError, match="recording or a description") as caught:
        store.add("anna", None, description="  ", text="hello")
    assert caught.value.param == "audio_sample"


@pytest.mark.parametrize("file", [b"", b"no audio at all", b"#EXTM3U\n/etc/passwd\n"])
def test_what_is_no_audio_is_refused(store: VoiceStore, directory: Path, file: bytes) -> None:
    with pytest.raises(PromptError) as caught:
        store.add("anna", file)
    assert (caught.value.param, caught.value.status) == ("audio_sample", 400)
    assert not directory.exists()


@pytest.mark.parametrize(("seconds", "told"), [(3, r"3\.00"), (21, "more than 20")])
def test_a_recording_that_is_too_long_is_measured(
    make_store: MakeStore, directory: Path, wav: Wav, seconds: float, told: str
) -> None:
    store = make_store(directory, max_seconds=2)
    with pytest.raises(PromptError, match=f"lasts {told} seconds; at most 2 ") as caught:
        store.add("anna", wav(seconds))
    assert (caught.value.param, caught.value.code) == ("audio_sample", "audio_too_long")


def test_a_file_that_is_too_large_is_refused(
    make_store: MakeStore, directory: Path, wav: Wav
) -> None:
    file = wav(1)
    with pytest.raises(UploadTooLarge, match="the most that is accepted") as caught:
        make_store(directory, max_bytes=len(file) - 1).add("anna", file)
    assert (caught.value.param, caught.value.status) == ("audio_sample", 413)
    assert make_store(directory, max_bytes=len(file)).add("anna", file).name == "anna"


def test_a_name_that_is_taken_is_refused(store: VoiceStore, directory: Path, wav: Wav) -> None:
    anna = store.add("anna", wav(1))
    with pytest.raises(RequestError, match="delete it or choose another name") as caught:
        store.add("anna", wav(2))
    assert (caught.value.param, caught.value.status) == ("name", 400)
    assert check(store) == [anna]
    assert recordings(directory) == {anna.digest}


def test_a_replaced_voice_keeps_its_id_and_loses_itsrecording(
    store: VoiceStore, directory: Path, wav: Wav
) -> None:
    old = store.add("anna", wav(1), text="hello")
    new = store.add("anna", wav(2), replace=True)
    assert new.id == old.id
    assert (new.duration, new.text) == (2.0, None)
    assert check(store) == [new]
    assert recordings(directory) == {new.digest}
    with pytest.raises(PromptError, match="deleted or replaced"):
        store.recording(old)


def test_a_deleted_voice_is_unknown_afterwards(
    store: VoiceStore, directory: Path, wav: Wav
) -> None:
    anna, bert = store.add("anna", wav(1)), store.add("bert", wav(2))
    assert store.remove(anna.id) == anna
    assert store.get("anna") is store.get(anna.id) is store.remove("anna") is None
    assert check(store) == [bert]
    assert recordings(directory) == {bert.digest}


def test_equal_recordings_share_one_file_until_the_last(
    store: VoiceStore, directory: Path, wav: Wav
) -> None:
    anna, bert = store.add("anna", wav(1)), store.add("bert", wav(1))
    assert recordings(directory) == {anna.digest} == {bert.digest}
    store.remove("anna")
    assert check(store) == [bert]
    store.remove("bert")
    assert recordings(directory) == set()


def test_a_voice_from_elsewhere_keeps_its_id_if_that_is_free(store: VoiceStore) -> None:
    origin = ("voice_" + "ab" * 12, 1_700_000_000)
    anna = store.add("anna", None, description="Calm", origin=origin)
    bert = store.add("bert", None, description="Calm", origin=origin)
    assert (anna.id, anna.created_at) == origin
    assert bert.id != anna.id
    assert bert.created_at == origin[1]


def test_a_store_may_be_closed_and_used_again(store: VoiceStore) -> None:
    anna = store.add("anna", None, description="Calm")
    store.close()
    store.close()
    assert store.get("anna") == anna


def test_a_directory_that_is_deleted_under_it_is_empty(
    store: VoiceStore, directory: Path, wav: Wav
) -> None:
    store.add("anna", wav(1))
    assert store.get("anna")
    shutil.rmtree(directory)
    assert store.list() == []
    bert = store.add("bert", wav(1))
    assert check(store) == [bert]


def test_threads_share_a_store(store: VoiceStore, wav: Wav) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for round in range(5):
                name = f"{number}-{round}"
                voice = store.add(name, wav(0.2 + round / 10))
                assert store.get(name) == voice
                assert voice in store.list()
                assert store.recording(voice)
                if round % 2:
                    assert store.remove(name) == voice
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert len(check(store)) == 18


def test_another_process_sees_changes_at_once(store: VoiceStore, directory: Path, wav: Wav) -> None:
    script = """
for line in sys.stdin:
    voice = store.get(line.strip())
    print(voice.id if voice else None, len(store.list()), flush=True)
"""
    with start(script, directory, stdin=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None

        def ask(name: str) -> str:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write(f"{name}\n")
            other.stdin.flush()
            return other.stdout.readline().strip()

        assert ask("anna") == "None 0"  # not even a directory yet
        for round in range(3):
            anna = store.add("anna", wav(1 + round))
            assert ask("anna") == f"{anna.id} 1"
            store.remove("anna")
            assert ask("anna") == "None 0"
        other.stdin.close()


def test_processes_change_voices_of_the_same_recording_at_the_same_time(
    make_store: MakeStore, directory: Path
) -> None:
    script = """
for round in range(30):
    name = f"{os.getpid()}-{round}"
    file = recording(round % 2)
    voice = store.add(name, file)
    assert store.recording(voice) == file
    assert store.get(name) == voice
    if round < 28:
        store.remove(name)
"""
    processes = [start(script, directory) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0, 0]
    store = make_store(directory)
    voices = check(store)
    assert len(voices) == 6
    assert recordings(directory) == {voice.digest for voice in voices}


def test_nobody_sweeps_while_somebody_writes(
    make_store: MakeStore, store: VoiceStore, directory: Path, wav: Wav
) -> None:
    store.add("anna", wav(1))
    sweeper = threading.Thread(target=make_store(directory).remove, args=("anna",))
    with VoiceIndex(directory).change():
        (directory / "recordings" / "incoming").write_bytes(b"half")
        sweeper.start()
        sweeper.join(0.3)
        assert sweeper.is_alive()
        assert store.get("anna")  # and readers do not wait
        assert "incoming" in recordings(directory)
    sweeper.join(20)
    assert recordings(directory) == set()


@POSIX
@pytest.mark.parametrize(
    ("step", "visible", "left"),
    [
        ("fsync", ["anna"], 2),  # the file is written, not yet in its place
        ("replace", ["anna"], 2),  # in its place, without a row
        ("unlink", [], 1),  # the row is deleted, the file not yet
    ],
)
def test_a_process_killed_at_the_worst_moment_leaves_the_store_whole(
    make_store: MakeStore, directory: Path, step: str, visible: list[str], left: int
) -> None:
    script = f"""
store.add("anna", recording(1))
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if {step!r} == "fsync":
    os.fsync = die
elif {step!r} == "replace":
    replace = Path.replace
    Path.replace = lambda *names: (replace(*names), die())
else:
    Path.unlink = die
    store.remove("anna")
store.add("bert", recording(2))
"""
    run(script, directory, status=-signal.SIGKILL)
    store = make_store(directory)
    assert [voice.name for voice in check(store)] == visible
    assert len(recordings(directory)) == left
    store.add("carla", None, description="Calm")  # the next change cleans up
    assert len(recordings(directory)) == len(visible)
    assert store.add("bert", recording(2)) in check(store)


@POSIX
def test_kill_9_at_any_moment_leaves_only_whole_voices(
    make_store: MakeStore, directory: Path
) -> None:
    script = """
import itertools, random
print("ready", flush=True)
for number in itertools.count():
    store.add(f"{os.getpid()}-{number}", recording(random.randrange(6)))
    if voices := store.list():  # the other one may have been quicker
        store.remove(random.choice(voices).id)
"""
    moment = random.Random(4)
    waiting = [start(script, directory) for _ in range(4)]
    for _ in range(8):
        killed, waiting = waiting[:2], [*waiting[2:], *(start(script, directory) for _ in "ab")]
        for process in killed:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in killed:
            time.sleep(moment.uniform(0.005, 0.06))
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL
    for process in waiting:
        process.kill()
        process.communicate()
    with sqlite3.connect(directory / "voices.sqlite") as index:
        assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    index.close()
    store = make_store(directory)
    assert check(store)
    added = store.add("added", recording(7))
    voices = check(store)
    assert added in voices
    assert recordings(directory) == {voice.digest for voice in voices}


def test_a_directory_that_cannot_be_made_is_the_operators_affair(
    make_store: MakeStore, tmp_path: Path, wav: Wav, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    store = make_store(tmp_path / "file" / "voices")
    for act in (lambda: store.add("anna", wav(1)), store.list, lambda: store.get("anna")):
        with pytest.raises(EngineUnavailable, match=r"voices\.directory") as caught:
            act()
        assert str(tmp_path) not in str(caught.value)
    assert str(tmp_path) in caplog.text


def test_an_index_that_is_none_is_the_operators_affair(store: VoiceStore, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "voices.sqlite").write_bytes(b"not a database at all, but long enough" * 99)
    for act in (store.list, lambda: store.add("anna", None, description="Calm")):
        with pytest.raises(EngineUnavailable, match=r"voices\.directory"):
            act()


def test_voices_of_a_newer_release_are_left_alone(store: VoiceStore, directory: Path) -> None:
    store.add("anna", None, description="Calm")
    store.close()
    with sqlite3.connect(directory / "voices.sqlite") as index:
        index.execute("PRAGMA user_version = 99")
    index.close()
    acts = (store.list, lambda: store.remove("anna"), lambda: store.add("b", None, description="c"))
    for act in acts:
        with pytest.raises(EngineUnavailable, match="newer release"):
            act()


@POSIX
def test_a_full_disk_takes_nothing_and_leaves_nothing(
    make_store: MakeStore, directory: Path
) -> None:
    script = """
import resource
store.add("anna", recording(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    store.add("bert", recording(2) + bytes(50_000))
except EngineUnavailable as error:
    print([voice.name for voice in store.list()], len(os.listdir(Path(sys.argv[1]) / "recordings")))
"""
    assert run(script, directory) == "['anna'] 1\n"
    assert [voice.name for voice in check(make_store(directory))] == ["anna"]


@POSIX
def test_a_directory_that_may_only_be_read_is_read(make_store: MakeStore) -> None:
    script = """
import urllib.parse  # which may be needed after the standard library cannot be read any more
if os.geteuid() == 0:  # who may write everywhere
    os.setgid(65534)
    os.setuid(65534)
anna = store.get("anna")
print(anna.name, len(store.recording(anna)), [voice.name for voice in store.list()])
try:
    store.add("bert", recording(2))
except EngineUnavailable as error:
    print("can be written" in str(error))
"""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "voices"
        store = make_store(directory)
        store.add("anna", recording(1))
        store.close()
        places = (Path(folder), directory, directory / "recordings")
        try:
            for place in places:
                place.chmod(0o555)
            assert run(script, directory) == "anna 8044 ['anna']\nTrue\n"
        finally:
            for place in places:
                place.chmod(0o755)


def test_the_configuration_says_where_and_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wav: Wav
) -> None:
    settings = {"directory": str(tmp_path / "here"), "max_bytes": "20KB", "max_seconds": 1}
    with closing(VoiceStore.configured(Config.load(None, {"voices": settings}).voices)) as store:
        with pytest.raises(UploadTooLarge):
            store.add("anna", wav(0.9))
        store.add("anna", wav(0.5))
    assert (tmp_path / "here" / "voices.sqlite").is_file()
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        with closing(VoiceStore.configured(Config.load().voices)) as store:
            store.add("anna", wav(0.5))
        assert (tmp_path / "data" / "unisono" / "voices" / "voices.sqlite").is_file()
