"""Recordings in the directories that the operator listed, and nothing else."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from unisono import files
from unisono.errors import PromptError
from unisono.files import FileVoices
from unisono.plugins import PluginManager
from unisono.sections import Voices
from unisono.types import ModelInfo, Task
from unisono.voice import VoicePrompt, VoiceReference

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
Read = Callable[..., VoicePrompt]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A listed directory with a recording; beside it one that nobody may read."""
    folder = tmp_path / "listed"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "voice.wav").write_bytes(b"RIFF of a voice")
    (folder / "deep" / "er" / "voice.wav").write_bytes(b"RIFF of a deeper voice")
    (tmp_path / "secret.wav").write_bytes(b"secret")
    (tmp_path / "listed.wav").write_bytes(b"secret")
    return folder


def read(address: str, *directories: Path, max_bytes: int = 1000) -> VoicePrompt:
    voices = Voices(file_directories=list(directories), max_bytes=max_bytes)
    prompt = FileVoices(voices).resolve_voice_prompt(VoiceReference(audio=address))
    assert prompt is not None
    return prompt


def refusal(address: str, *directories: Path, max_bytes: int = 1000) -> str:
    """Read what must be refused, and return what the client is told."""
    with pytest.raises(PromptError) as caught:
        read(address, *directories, max_bytes=max_bytes)
    assert (caught.value.status, caught.value.param) == (400, "ref_audio")
    return str(caught.value)


def url(path: Path) -> str:
    return path.as_uri()


def missing(address: str) -> str:
    return f"ref_audio: there is no file {address!r} in the directories of voices.file_directories."


def test_a_file_in_a_listed_directory_is_read(listed: Path) -> None:
    prompt = read(url(listed / "voice.wav"), listed.parent / "other", listed)
    assert prompt.recording == b"RIFF of a voice"
    assert prompt.path == (listed / "voice.wav").resolve()


@pytest.mark.parametrize(
    "form",
    [
        "file://{}",
        "FILE://{}",
        "file://localhost{}",
        "file://LocalHost{}",
        "file://{}/",
    ],
)
def test_the_address_has_several_forms(listed: Path, form: str) -> None:
    path = url(listed / "deep" / "er" / "voice.wav").removeprefix("file://")
    assert read(form.format(path), listed).recording == b"RIFF of a deeper voice"


@pytest.mark.parametrize("name", ["my voice.wav", "голос.wav", "a%20b.wav", "a#b.wav", "ü+&=.wav"])
def test_names_are_decoded_once(listed: Path, name: str) -> None:
    (listed / name).write_bytes(b"RIFF")
    assert read(url(listed / name), listed).recording == b"RIFF"
    assert read(url(listed) + "/" + quote(name, safe=""), listed).recording == b"RIFF"


def test_a_name_need_not_be_encoded_where_it_is_clear(listed: Path) -> None:
    (listed / "mein Übung.wav").write_bytes(b"RIFF")
    assert read(f"{url(listed)}/mein Übung.wav", listed).recording == b"RIFF"


@posix
def test_a_link_that_stays_inside_is_followed(listed: Path) -> None:
    (listed / "link.wav").symlink_to("deep/er/voice.wav")
    (listed / "way").symlink_to(listed / "deep")
    assert read(url(listed / "link.wav"), listed).recording == b"RIFF of a deeper voice"
    prompt = read(url(listed / "way" / "er" / "voice.wav"), listed)
    assert prompt.path == (listed / "deep" / "er" / "voice.wav").resolve()


@posix
def test_a_listed_directory_may_be_a_link(listed: Path) -> None:
    link = listed.parent / "link"
    link.symlink_to(listed)
    for folder in (link, listed):
        assert read(url(folder / "voice.wav"), link).recording == b"RIFF of a voice"


@posix
def test_a_link_may_lead_from_one_listed_directory_to_another(listed: Path) -> None:
    other = listed.parent / "other"
    other.mkdir()
    (other / "link.wav").symlink_to(listed / "voice.wav")
    assert read(url(other / "link.wav"), other, listed).recording == b"RIFF of a voice"
    assert refusal(url(other / "link.wav"), other) == missing(url(other / "link.wav"))


def test_nothing_is_read_unless_the_operator_wants_it(listed: Path) -> None:
    message = refusal(url(listed / "voice.wav"))
    assert "voices.file_directories = [...]" in message
    assert "base64" in message


@pytest.mark.parametrize("audio", [None, b"file:///", "https://example.com/", "UklG", "data:,", ""])
def test_other_references_are_left_to_others(listed: Path, audio: bytes | str | None) -> None:
    for directories in ([], [listed]):
        plugin = FileVoices(Voices(file_directories=directories))
        assert plugin.resolve_voice_prompt(VoiceReference(audio=audio)) is None


def test_the_kernel_finds_it_as_a_plugin(listed: Path) -> None:
    plugins = PluginManager()
    plugins.add(FileVoices(Voices(file_directories=[listed])), "files")
    prompt = plugins.hook.resolve_voice_prompt(
        reference=VoiceReference(audio=url(listed / "voice.wav")),
        model=ModelInfo(id="m", task=Task.SPEECH),
    )
    assert prompt.recording == b"RIFF of a voice"


@pytest.mark.parametrize(
    "address",
    [
        "file:",
        "file:voice.wav",
        "file:/{}/voice.wav",
        "file://",
        "file:///",
        "file://voice.wav",
        "file://./voice.wav",
        "file://evil.example{}/voice.wav",
        "file://127.0.0.1{}/voice.wav",
        "file://localhost:80{}/voice.wav",
        "file://user@localhost{}/voice.wav",
        "file:////evil.example/share/voice.wav",
        "file:///%2Fevil.example/share/voice.wav",
        "file:/{}/../listed/voice.wav",
        "file://{}/voice.wav?x",
        "file://{}/voice.wav#x",
        "file://{}/../secret.wav",
        "file://{}/deep/../../secret.wav",
        "file://{}/deep/../voice.wav",
        "file://{}/%2e%2e/secret.wav",
        "file://{}/.%2E/secret.wav",
        "file://{}%2f..%2fsecret.wav",
        "file://{}/%252e%252e/secret.wav",
        "file://{}/voice.wav%00",
        "file://{}/voice.wav\0.txt",
        "file://{}/%00",
        "file://{}/\ud800.wav",
        "file://{}/%ff%fe.wav",
        "file://{}/" + "x" * 300,
        "file://{}/" + "x/" * 3000,
        "file://{}/voice.wav/more",
        "file://{}/deep",
        "file://{}",
        "file://{}.wav",
        "file://{}/../listed.wav",
        "file://{}/~/voice.wav",
        "file:///etc/passwd",
        "file:///proc/self/environ",
        "file:///dev/zero",
        "file:///C:/Windows/win.ini",
    ],
)
def test_what_is_not_the_address_of_a_recording_is_refused(listed: Path, address: str) -> None:
    place = url(listed).removeprefix("file://")
    refusal(address.replace("{}", place), listed)


def test_a_missing_file_and_a_forbidden_one_are_refused_alike(listed: Path) -> None:
    for path in (listed / "no.wav", listed.parent / "no.wav", listed.parent / "secret.wav"):
        assert refusal(url(path), listed) == missing(url(path))


@posix
@pytest.mark.parametrize("target", ["../secret.wav", "{}/secret.wav", "/etc/passwd", "self.wav"])
def test_a_link_that_leads_out_is_like_a_missing_file(listed: Path, target: str) -> None:
    (listed / "self.wav").symlink_to(target.format(listed.parent))
    (listed / "out").symlink_to(listed.parent)
    for path in (listed / "self.wav", listed / "out" / "secret.wav"):
        assert refusal(url(path), listed) == missing(url(path))


def promptly(call: Callable[[], str]) -> str:
    """Call what must not block."""
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(call()), daemon=True)
    thread.start()
    thread.join(20)
    (answer,) = told
    return answer


@posix
def test_what_is_no_regular_file_is_like_a_missing_one(listed: Path) -> None:
    os.mkfifo(listed / "pipe.wav")
    for path in (listed / "pipe.wav", listed / "deep", listed):
        assert promptly(lambda path=path: refusal(url(path), listed)) == missing(url(path))


@posix
def test_a_device_is_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def recording(opener: Callable[..., int], path: object, *how: int, **where: int) -> int:
        opened.append(os.path.basename(os.fspath(path)))  # type: ignore[call-overload]
        return opener(path, *how, **where)

    monkeypatch.setattr(files.os, "open", partial(recording, os.open))
    assert refusal("file:///dev/zero", Path("/dev")) == missing("file:///dev/zero")
    assert opened == ["dev"]


@posix
def test_a_pipe_put_there_after_the_look_blocks_nobody(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_then_exchanged(look: Callable[..., object], path: str, **how: object) -> object:
        found = look(path, **how)
        if path == "voice.wav":
            (listed / "voice.wav").unlink()
            os.mkfifo(listed / "voice.wav")
        return found

    monkeypatch.setattr(files.os, "stat", partial(looked_then_exchanged, os.stat))
    address = url(listed / "voice.wav")
    assert promptly(lambda: refusal(address, listed)) == missing(address)


@posix
def test_a_link_from_elsewhere_is_not_looked_at(listed: Path) -> None:
    link = listed.parent / "link.wav"
    link.symlink_to(listed / "voice.wav")
    assert refusal(url(link), listed) == missing(url(link))


@posix
def test_a_socket_is_like_a_missing_file(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(listed)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.wav")
        assert refusal(url(listed / "socket.wav"), listed) == missing(url(listed / "socket.wav"))


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="may read everything")
def test_a_file_without_permission_is_like_a_missing_one(listed: Path) -> None:
    (listed / "voice.wav").chmod(0)
    assert refusal(url(listed / "voice.wav"), listed) == missing(url(listed / "voice.wav"))


def test_a_file_may_be_as_large_as_the_limit_and_no_larger(listed: Path) -> None:
    address = url(listed / "voice.wav")
    assert read(address, listed, max_bytes=15).recording == b"RIFF of a voice"
    assert "larger than 14 bytes" in refusal(address, listed, max_bytes=14)


@posix
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_a_file_that_says_it_is_empty_is_limited_too() -> None:
    assert "larger than 14" in refusal("file:///proc/version", Path("/proc"), max_bytes=14)


@posix
@pytest.mark.parametrize("exchanged", ["deep", "deep/er", "deep/er/voice.wav"])
def test_a_link_put_there_after_the_check_is_not_followed(
    listed: Path, monkeypatch: pytest.MonkeyPatch, exchanged: str
) -> None:
    outside = listed.parent / "outside"
    (outside / "er").mkdir(parents=True)
    for name in ("voice.wav", "er/voice.wav"):
        (outside / name).write_bytes(b"secret")
    target = outside / Path(exchanged).relative_to("deep")

    def checked_then_exchanged(checked: Callable[..., str], path: Path, **options: bool) -> str:
        real = checked(path, **options)
        if options.get("strict"):
            (listed / exchanged).rename(listed / "away")
            (listed / exchanged).symlink_to(target)
        return real

    realpath = partial(checked_then_exchanged, os.path.realpath)
    monkeypatch.setattr(files.os.path, "realpath", realpath)
    address = url(listed / "deep" / "er" / "voice.wav")
    assert refusal(address, listed) == missing(address)


@posix
def test_no_descriptor_is_left_open(listed: Path) -> None:
    os.mkfifo(listed / "pipe.wav")
    descriptors = Path("/dev/fd")
    before = len(list(descriptors.iterdir()))
    for name in ("deep", "pipe.wav", "voice.wav", "deep/er/voice.wav", "voice.wav/more"):
        try:
            read(url(listed / name), listed)
        except PromptError:
            continue
    assert len(list(descriptors.iterdir())) == before
