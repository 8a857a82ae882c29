"""Recordings on their way to a server."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import wave
from pathlib import Path

import pytest

from unisono import EngineUnavailable

TEXT = "Hello there."


def test_recordings_are_mono_wav_files_named_by_their_content(stub, say, tmp_path):
    say({"urls": [stub().url], "refs_local_dir": str(tmp_path)}, TEXT)

    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    assert file.name == f"{hashlib.sha256(data).hexdigest()}.wav"
    with wave.open(io.BytesIO(data)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth()) == (1, 2)
    assert file.stat().st_mode & 0o777 == 0o644  # another user may run the server


def test_another_recording_is_another_voice(stub, say, tmp_path, pitch_of):
    settings = {"urls": [stub().url], "refs_local_dir": str(tmp_path)}

    one, other, again = (pitch_of(say(settings, TEXT, seed_of_voice=s)) for s in (0, 1, 0))

    assert abs(one - other) > 1.5  # the server would have kept the first one under its path
    assert one == again
    assert len(list(tmp_path.iterdir())) == 2


def test_the_server_gets_the_path_that_it_knows(stub, say, tmp_path):
    server = stub(mount=("/refs", str(tmp_path)))
    settings = {
        "urls": [server.url],
        "refs_local_dir": str(tmp_path),
        "refs_remote_dir": "/refs/",
    }

    assert len(say(settings, TEXT))

    (file,) = tmp_path.iterdir()
    assert server.state.told("/tts")[0]["ref_audio_path"] == f"/refs/{file.name}"


def test_a_server_on_windows_gets_a_path_of_windows(stub, say, tmp_path):
    server = stub(mount=("D:\\refs", str(tmp_path)))
    settings = {
        "urls": [server.url],
        "refs_local_dir": str(tmp_path),
        "refs_remote_dir": "D:\\refs",
    }

    assert len(say(settings, TEXT))

    assert server.state.told("/tts")[0]["ref_audio_path"].startswith("D:\\refs\\")


def test_a_directory_that_the_server_does_not_see_is_the_operators_fault(stub, say, tmp_path):
    settings = {"urls": [stub(mount=("/refs", "/nonexistent")).url]}

    with pytest.raises(EngineUnavailable, match="refs_remote_dir") as caught:
        say(settings | {"refs_local_dir": str(tmp_path)}, TEXT)

    assert str(tmp_path) not in str(caught.value)


def test_recordings_used_longest_ago_are_deleted(stub, say, tmp_path):
    settings = {"urls": [stub().url], "refs_local_dir": str(tmp_path), "refs_keep": 32}
    others = [tmp_path / f"{number:064x}.wav" for number in range(40)]
    for number, file in enumerate(others):
        file.write_bytes(b"")
        os.utime(file, (1000 + number, 1000 + number))
    foreign = tmp_path / "mine.wav"
    foreign.write_bytes(b"")
    os.utime(foreign, (0, 0))

    say(settings, TEXT)

    assert foreign.exists()
    assert [file.exists() for file in others] == [False] * 9 + [True] * 31


def test_a_recording_that_is_still_used_is_not_old(stub, say, tmp_path):
    settings = {"urls": [stub().url], "refs_local_dir": str(tmp_path)}
    say(settings, TEXT)
    (file,) = tmp_path.iterdir()
    os.utime(file, (0, 0))

    say(settings, TEXT)

    assert file.stat().st_mtime > 0


def test_the_temporary_directory_goes_with_the_model(stub, say):
    server = stub()

    say({"urls": [server.url]}, TEXT)

    path = Path(server.state.told("/tts")[0]["ref_audio_path"])
    assert path.is_relative_to(tempfile.gettempdir())
    assert not path.parent.exists()


def test_a_directory_that_is_gone_is_the_operators_fault(stub, say, tmp_path):
    with pytest.raises(EngineUnavailable, match="refs_local_dir") as caught:
        say({"urls": [stub().url], "refs_local_dir": str(tmp_path / "gone")}, TEXT)

    assert str(tmp_path) not in str(caught.value)


def test_a_configured_voice_speaks_from_its_path_on_the_server(stub, say, tmp_path, wav):
    (tmp_path / "anna.wav").write_bytes(wav(3))
    server = stub(mount=("/data", str(tmp_path)))
    voices = {"anna": {"path": "/data/anna.wav", "text": "What I say.", "language": "ja"}}

    assert len(say({"urls": [server.url], "voices": voices}, TEXT, voice="anna"))

    (told,) = server.state.told("/tts")
    assert told["ref_audio_path"] == "/data/anna.wav"
    assert (told["prompt_text"], told["prompt_lang"]) == ("What I say.", "ja")


def test_a_configured_voice_that_is_not_there_is_the_operators_fault(stub, say):
    voices = {"anna": {"path": "/data/anna.wav"}}

    with pytest.raises(EngineUnavailable, match="'anna'") as caught:
        say({"urls": [stub().url], "voices": voices}, TEXT, voice="anna")

    assert "/data" not in str(caught.value)


def test_api_wants_the_text_of_a_configured_voice(stub, say, tmp_path, wav):
    (tmp_path / "anna.wav").write_bytes(wav(3))
    voices = {"anna": {"path": str(tmp_path / "anna.wav")}}

    with pytest.raises(EngineUnavailable, match="text for the voice 'anna'"):
        say({"urls": [stub(api="v1").url], "voices": voices}, TEXT, voice="anna")
