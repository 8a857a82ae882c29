"""The command line as its users meet it: a process of its own, its streams and its exit status."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from unisono.decoding import decode
from unisono.testing.echo import EchoSettings, expected, seconds_for

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and terminals")
CORE = str(Path(importlib.import_module("unisono").__file__ or "").parents[1])
SLOW = ("--model", "slow", "--set", "models.slow.engine=echo")

ECHO = "from unisono.testing.echo import register_engines\n"
CLONER = "from unisono.testing.cloner import register_engines\n"
ODD = '''
import os
import click
from pydantic import Field
from unisono import hookimpl
from unisono.testing.echo import EchoEngine, EchoParams

class LoudParams(EchoParams):
    output: int = Field(3, ge=1, lt=9, description="A name that a flag has already.")
    shout: bool = Field(False, description="Whether to shout.")
    moods: list[str] = Field([], description="Several moods.")

class LoudEngine(EchoEngine):
    """Prints where only audio belongs."""

    name = "loud"
    params_type = LoudParams

    def synthesize(self, request):
        print("PRINTED BY PYTHON", request.params.model_dump_json(), flush=True)
        os.write(1, b"PRINTED BY C")
        yield from super().synthesize(request)

@hookimpl
def register_engines():
    return [LoudEngine]

@click.command()
def hum():
    """Hum a tune."""
    click.echo("hmm")

@hookimpl
def register_commands(cli):
    cli.add_command(hum)
'''
BROKEN = "raise ImportError('a library\\nis missing')\n"
CLUMSY = """
from unisono import hookimpl

@hookimpl
def register_commands(cli):
    raise RuntimeError("no commands today")
"""


def install(site: Path, name: str, source: str) -> None:
    """Put a plugin into a directory as pip would."""
    info = site / f"unisono_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"unisono_{name}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: unisono-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[unisono]\n{name} = unisono_{name}\n")


class Program:
    """`unisono` with the plugins of some directories, in a working directory of its own."""

    def __init__(self, folder: Path, *sites: Path) -> None:
        self.folder = folder
        others = {entry.name for entry in importlib.metadata.entry_points(group="unisono")}
        path = [*map(str, sites), CORE, os.environ.get("PYTHONPATH", "")]
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "UNISONO_PLUGINS__DISABLED": ",".join(others),
        }

    def __call__(
        self, *args: str, stdin: bytes = b"", status: int = 0, **more: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end; never may it show a traceback."""
        done = subprocess.run(
            self.command(*args),
            check=False,
            input=stdin,
            capture_output=True,
            timeout=60,
            **self._place(more),
        )
        assert b"Traceback" not in done.stderr or "--debug" in args, done.stderr.decode()
        assert done.returncode == status, (args, done.stderr.decode())
        return done

    def error(self, *args: str, status: int = 1, stdin: bytes = b"") -> str:
        """Run it to a failure that is told in one line, and return that line."""
        done = self(*args, status=status, stdin=stdin)
        lines = done.stderr.decode().splitlines()
        assert not done.stdout
        assert sum(line.startswith("Error: ") for line in lines) == 1
        assert len(lines) == 1 or (status == 2 and lines[0].startswith("Usage: "))
        return lines[-1]

    def start(self, *args: str, **more: Any) -> subprocess.Popen[bytes]:
        """Run it in the background."""
        more = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, **more}
        return subprocess.Popen(self.command(*args), **self._place(more))

    def files(self) -> list[str]:
        """Return what lies in the working directory."""
        return sorted(path.name for path in self.folder.iterdir())

    @staticmethod
    def command(*args: str) -> list[str]:
        return [sys.executable, "-m", "unisono", *args]

    def _place(self, more: Mapping[str, Any]) -> dict[str, Any]:
        return {"cwd": self.folder, "env": self.environment, **more}


@pytest.fixture(autouse=True, scope="module")
def _ctrl_c() -> Iterator[None]:
    """Undo that shells make programs in their background, and all children of those, deaf."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories with plugins: well-behaved ones, and others."""
    found = {}
    for name, plugins in {
        "echo": {"echo": ECHO},
        "cloner": {"cloner": CLONER},
        "odd": {"loud": ODD},
        "broken": {"broken": BROKEN, "clumsy": CLUMSY},
    }.items():
        found[name] = tmp_path_factory.mktemp(name)
        for plugin, source in plugins.items():
            install(found[name], plugin, source)
    return found


@pytest.fixture
def unisono(sites: dict[str, Path], tmp_path: Path) -> Program:
    """Return the program with the echo engines."""
    return Program(tmp_path, sites["echo"])


@pytest.fixture
def odd(sites: dict[str, Path], tmp_path: Path) -> Program:
    """Return the program with the echo engines, and one that prints."""
    return Program(tmp_path, sites["echo"], sites["odd"])


@pytest.fixture(scope="session")
def speech(sites: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of three seconds."""
    folder = tmp_path_factory.mktemp("speech")
    samples = expected(" ".join("abcdefghijkl"), EchoSettings())
    soundfile.write(folder / "talk.wav", samples, 24_000)
    return folder / "talk.wav"


def test_say_clones_the_voice_of_a_file(sites: dict[str, Path], tmp_path: Path, speech_wav) -> None:
    unisono = Program(tmp_path, sites["cloner"])
    (tmp_path / "voice.wav").write_bytes(speech_wav(1))
    said = unisono("say", "One two.", "--ref-audio", "voice.wav", "--ref-text", "What it says.")
    assert decode(said.stdout, sample_rate=24_000, max_seconds=9).seconds == pytest.approx(0.5)
    assert "needs ref_text" in unisono.error("say", "One two.", "--ref-audio", "voice.wav")
    assert "'none.wav'" in unisono.error("say", "One.", "--ref-audio", "none.wav", status=2)


@pytest.mark.parametrize("command", ["--help", "plugins"])
def test_help_and_plugins_import_nothing_heavy(tmp_path: Path, command: str) -> None:
    slim = "from unisono import Engine, Params, Settings, hookimpl\n"
    install(tmp_path, "slim", slim + "@hookimpl\ndef register_engines():\n    return []\n")
    program = Program(tmp_path, tmp_path)
    script = (
        "import atexit, sys, unisono.cli\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        f"unisono.cli.main([{command!r}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=program.environment, capture_output=True, check=True
    )
    modules = set(done.stderr.decode().split())
    heavy = {"numpy", "av", "soxr", "soundfile", "lameenc", "sentencex", "fastapi", "uvicorn"}
    engines = {"espeakng_loader", "pocketsphinx", "torch", "mlx", "onnxruntime", "transformers"}
    assert "unisono_slim" in modules
    assert not modules & (heavy | engines)


def test_commands_of_plugins_are_listed_and_run(odd: Program) -> None:
    listing = odd("--help").stdout.decode()
    names = re.findall(r"^  (\w+)  ", listing.partition("Commands:")[2], re.MULTILINE)
    kernels = ["serve", "say", "transcribe", "pull", "models", "voices", "plugins"]
    kernels += ["doctor", "config"]
    assert names == [*kernels, "hum"]
    assert "Hum a tune." in listing
    assert odd("hum").stdout.decode().strip() == "hmm"


def test_broken_plugins_are_named_and_take_nothing_away(
    tmp_path: Path, sites: dict[str, Path]
) -> None:
    program = Program(tmp_path, sites["broken"], sites["echo"])
    program.environment["UNISONO_PLUGINS__DISABLED"] = ""
    listing = program("--help")
    assert b"transcribe" in listing.stdout
    assert "no commands today" in listing.stderr.decode()
    warnings = program("say", "hi", "-m", "echo", "-o", "hi.wav").stderr.decode().splitlines()
    assert [line for line in warnings if "'broken'" in line] == [
        "Warning: Plugin 'broken' is left out: ImportError: a library is missing"
    ]
    table = program("plugins")
    assert not table.stderr
    assert re.search(
        r"^broken +unisono-broken +1\.0 +failed: ImportError: a library is missing$",
        table.stdout.decode(),
        re.MULTILINE,
    )


def test_help_shows_the_options_of_the_model(odd: Program) -> None:
    text = " ".join(odd("say", "--help", "--model", "loud").stdout.decode().split())
    assert "Options of model 'loud':" in text
    assert "--gain NUMBER Factor on the samples. [at least 0, at most 1, default: 1.0]" in text
    assert "--shout / --no-shout Whether to shout. [default: false]" in text
    assert "--with-output INTEGER A name that a flag has already. [at least 1, less than 9" in text
    assert "--moods TEXT Several moods." in text
    assert text.index("--speed NUMBER") < text.index("Options of model")


def test_help_works_with_a_wrong_configuration(unisono: Program) -> None:
    assert b"--speed" in unisono("say", "-h", "--set", "server.port=none").stdout
    told = unisono.error("say", "--gain", "1", "hi", "--set", "server.port=none")
    assert "server.port" in told
    assert "command line" in told


def test_flags_reach_the_engine_and_its_prints_do_not_reach_stdout(odd: Program) -> None:
    flags = ["--gain", "0.5", "--shout", "--with-output", "5", "--moods", "a", "--moods", "b"]
    done = odd("say", "-m", "loud", "hello", *flags)
    logged = done.stderr.decode()
    assert "PRINTED BY PYTHON" in logged
    assert "PRINTED BY C" in logged
    params = json.loads(re.search(r"\{.*?\}", logged)[0])  # type: ignore[index]
    assert params["gain"] == 0.5
    assert params["shout"] is True
    assert params["output"] == 5
    assert params["moods"] == ["a", "b"]
    samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    assert rate == 24_000
    np.testing.assert_allclose(samples, expected("hello") / 2, atol=1e-4)


def test_wrong_flags_are_told_as_rest_tells_them(odd: Program) -> None:
    assert "--gian" in odd.error("say", "hi", "--gian", "1", status=2)
    told = odd.error("say", "hi", "--gain", "7", "-o", "x.wav")
    assert told.startswith("Error: gain: ")
    assert "less than or equal to 1" in told
    told = odd.error("say", "hi", "-m", "echo", "--shout", "-o", "x.wav")
    assert told == "Error: Model 'echo' has no option 'shout'. Models that have it: loud."
    told = odd.error("say", "--help", "-mecko")
    assert "'ecko'" in told
    assert "'echo'" in told
    assert odd.files() == []


@pytest.mark.parametrize(("suffix", "begin"), [("mp3", b"\xff"), ("ogg", b"OggS")])
def test_the_suffix_chooses_the_format(unisono: Program, suffix: str, begin: bytes) -> None:
    unisono("say", "one two three four", "-o", f"speech.{suffix}")
    data = (unisono.folder / f"speech.{suffix}").read_bytes()
    assert data.startswith(begin)
    assert decode(data, max_seconds=60).seconds == pytest.approx(1, abs=0.2)
    assert unisono.files() == [f"speech.{suffix}"]


def test_a_file_that_was_streamed_states_its_length(unisono: Program) -> None:
    text = "one two three four five six seven eight"
    slow = [*SLOW, "--set", "models.slow.rtf=0.05"]
    frames = int(seconds_for(text, EchoSettings()) * 24_000)
    unisono("say", text, *slow, "-o", "a.wav")
    with wave.open(str(unisono.folder / "a.wav")) as file:
        assert file.getnframes() == frames
    unisono("say", text, *slow, "-o", "a.flac")
    assert len(soundfile.read(unisono.folder / "a.flac")[0]) == frames


def test_text_comes_from_stdin_as_utf8(unisono: Program) -> None:
    spoken = unisono("say", stdin="\ufeffgrüß dich".encode()).stdout
    samples, _ = soundfile.read(io.BytesIO(spoken), dtype="float32")
    np.testing.assert_allclose(samples, expected("grüß dich"), atol=1e-4)
    assert "UTF-8" in unisono.error("say", stdin=b"gr\xfc\xdf dich")
    assert "input" in unisono.error("say", stdin=b"")


def test_speech_pipes_into_transcription(unisono: Program) -> None:
    saying = unisono.start("say", "one two three four five six", stdout=subprocess.PIPE)
    assert saying.stdout is not None
    assert saying.stderr is not None
    done = unisono("transcribe", "-f", "srt", stdin=saying.stdout.read())
    saying.stdout.close()
    assert saying.wait() == 0
    assert not saying.stderr.read()
    saying.stderr.close()
    assert done.stdout.decode() == (
        "1\n00:00:00,000 --> 00:00:01,000\nsecond 0.\n\n"
        "2\n00:00:01,000 --> 00:00:01,500\nsecond 1.\n"
    )


def test_what_fails_leaves_the_old_file_and_no_other(unisono: Program) -> None:
    (unisono.folder / "old.wav").write_bytes(b"old")
    told = unisono.error("say", "one two three", "--fail-after", "0.2", "-o", "old.wav")
    assert "RuntimeError: The echo was told to fail." in told
    assert (unisono.folder / "old.wav").read_bytes() == b"old"
    assert "'nowhere" in unisono.error("say", "hi", "-o", "nowhere/x.wav")
    assert "directory" in unisono.error("say", "hi", "-o", ".", "-f", "wav")
    assert "--format" in unisono.error("say", "hi", "-o", "hi.doc", status=2)
    assert unisono.files() == ["old.wav"]


def test_debug_shows_the_traceback(unisono: Program) -> None:
    done = unisono("--debug", "say", "hi", "--fail-after", "0", "-o", "x.wav", status=1)
    assert b"Traceback" in done.stderr
    assert b"echo.py" in done.stderr


@POSIX
def test_what_is_no_file_stays_what_it_is(unisono: Program) -> None:
    unisono("say", "hi", "-o", os.devnull, "-f", "flac")
    assert Path(os.devnull).is_char_device()
    (unisono.folder / "link.wav").symlink_to("real.wav")
    unisono("say", "hi", "-o", "link.wav")
    assert (unisono.folder / "link.wav").is_symlink()
    assert (unisono.folder / "real.wav").read_bytes().startswith(b"RIFF")


@POSIX
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
@pytest.mark.parametrize("what", ["rtf=1", "load_seconds=60"])
def test_an_interrupt_ends_quietly_and_leaves_nothing(
    unisono: Program, number: signal.Signals, status: int, what: str
) -> None:
    text = " ".join(["word"] * 400)
    saying = unisono.start("say", text, *SLOW, "--set", f"models.slow.{what}", "-o", "x.wav")
    deadline = time.monotonic() + 20
    while not unisono.files():  # the incomplete file
        assert saying.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    saying.send_signal(number)
    _, said = saying.communicate(timeout=20)
    assert saying.returncode == status
    assert not said
    assert unisono.files() == []


@POSIX
def test_a_reader_that_goes_ends_it_quietly(unisono: Program) -> None:
    for args in (("say", " ".join(["word"] * 4000)), ("voices",), ("--help",)):
        reading, writing = os.pipe()
        process = unisono.start(*args, stdout=writing)
        os.close(writing)
        os.close(reading)
        _, said = process.communicate(timeout=20)
        assert not said
        assert process.returncode == (1 if args == ("--help",) else 141)


@pytest.fixture
def terminal(unisono: Program) -> Iterator[Any]:
    """Return a function that runs the program in a terminal and returns its status and output."""
    pty = pytest.importorskip("pty")

    def run(*args: str, **environment: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        process = unisono.start(
            *args,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**unisono.environment, "TERM": "xterm", **environment},
        )
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:  # Linux says so when the last process has left the terminal
            pass
        finally:
            os.close(ours)
        return process.wait(20), shown.decode()

    return run


@POSIX
def test_a_terminal_gets_explanations_instead_of_waiting_or_noise(terminal: Any) -> None:
    for args, word in (
        (["say"], "give a TEXT"),
        (["transcribe"], "give FILES"),
        (["say", "hi", "-f", "mp3"], "-o"),
    ):
        status, shown = terminal(*args)
        assert status == 2
        assert word in shown
        assert "Traceback" not in shown


@POSIX
def test_a_terminal_shows_progress(terminal: Any, speech: Path) -> None:
    status, shown = terminal("transcribe", str(speech))
    assert status == 0
    assert "talk.wav" in shown
    assert "100%" in shown
    assert "second 0. second 1. second 2." in shown


@POSIX
def test_speech_in_a_terminal_goes_to_a_player(terminal: Any, tmp_path: Path) -> None:
    assert terminal("say", "hi", PATH=str(tmp_path))[0] == 1
    player = tmp_path / "aplay"
    player.write_text(f'#!/bin/sh\nexec /bin/cat > "{tmp_path}/played.wav"\n')
    player.chmod(0o755)
    assert terminal("say", "hello", PATH=str(tmp_path))[0] == 0
    samples, _ = soundfile.read(tmp_path / "played.wav", dtype="float32")
    np.testing.assert_allclose(samples, expected("hello"), atol=1e-4)
    player.write_text("#!/bin/sh\nexit 3\n")
    status, shown = terminal("say", " ".join(["word"] * 400), PATH=str(tmp_path))
    assert status == 1
    assert "The player 'aplay' failed with status 3." in shown


def test_transcripts_come_in_every_format(unisono: Program, speech: Path) -> None:
    def written(*args: str) -> str:
        done = unisono("transcribe", str(speech), *args)
        assert not done.stderr  # the bar is for terminals
        return done.stdout.decode()

    assert written() == "second 0. second 1. second 2.\n"
    assert written("-f", "vtt").startswith("WEBVTT\n")
    words = ["-f", "verbose_json", "--timestamp-granularities", "word"]
    assert json.loads(written(*words))["words"][0]["word"] == "second"
    assert written("-o", "talk.srt") == ""
    assert (unisono.folder / "talk.srt").read_text().startswith("1\n00:00:00,000 --> ")


def test_one_bad_recording_does_not_keep_the_others(unisono: Program, speech: Path) -> None:
    (unisono.folder / "garbage.wav").write_bytes(b"garbage")
    files = ["missing.mp3", "garbage.wav", str(speech)]
    done = unisono("transcribe", *files, "-o", "out", "-f", "srt", status=1)
    missing, garbage = done.stderr.decode().splitlines()
    assert missing == "Error: 'missing.mp3': No such file or directory."
    assert garbage.startswith("Error: 'garbage.wav': The file could not be decoded")
    assert [path.name for path in (unisono.folder / "out").iterdir()] == ["talk.srt"]
    assert not done.stdout
    assert "standard input" in unisono.error("transcribe", stdin=b"")


def test_transcripts_never_overwrite_each_other(unisono: Program, speech: Path) -> None:
    twin = unisono.folder / "talk.mp3"
    twin.write_bytes(speech.read_bytes())
    told = unisono.error("transcribe", str(speech), str(twin), "-o", "out", status=2)
    assert "'talk.txt'" in told
    told = unisono.error("transcribe", str(speech), str(twin), "-o", "out.srt", status=2)
    assert "directory" in told
    assert unisono.files() == ["talk.mp3"]


def test_the_limits_of_the_server_do_not_bind_its_owner(unisono: Program) -> None:
    (unisono.folder / "unisono.toml").write_text("[limits]\ntext_chars = 3\naudio_seconds = 0.5\n")
    spoken = unisono("say", "one two three four").stdout
    assert unisono("transcribe", stdin=spoken).stdout == b"second 0.\n"
    assert "at most 3" in unisono.error("say", "a b c", "--set", "limits.text_chars=3")


def test_the_configuration_says_where_it_comes_from(unisono: Program) -> None:
    path = unisono.folder / "unisono.toml"
    path.write_text('[server]\nport = 9000\napi_keys = ["hidden-word"]\n[limits]\nkeep_alive = 0\n')
    unisono.environment["UNISONO_LIMITS__QUEUE_LENGTH"] = "3"
    unisono.environment["UNISONO_LIMTIS__QUEUE_LENGTH"] = "4"
    settings = ["--set", "limits.keep_alive=10m", "--set", 'server.cors_origins=["a","b"]']
    done = unisono("config", *settings)
    rows = {
        line.split()[0]: line.split(maxsplit=1)[1:]
        for line in done.stdout.decode().split("\n")
        if line.strip()
    }
    assert rows["File:"] == ["unisono.toml"]
    assert rows["server.port"][0].split() == ["9000", "unisono.toml"]
    assert rows["limits.queue_length"][0].split() == ["3", "UNISONO_LIMITS__QUEUE_LENGTH"]
    assert rows["limits.keep_alive"][0].split() == ["600.0", "command", "line"]
    assert rows["server.cors_origins"][0].startswith('["a", "b"]')
    assert rows["server.host"][0].split() == ['"127.0.0.1"', "default"]
    assert b"hidden-word" not in done.stdout
    assert b"UNISONO_LIMTIS__QUEUE_LENGTH" in done.stderr
    values = {row["key"]: row["value"] for row in json.loads(unisono("config", "--json").stdout)}
    assert values["server.port"] == 9000
    assert values["server.cors_origins"] == []


def test_assignments_reach_into_models_and_are_checked(unisono: Program) -> None:
    model = 'models."my.model"'
    settings = [f"{model}.engine=echo", f'{model}.languages=["de","fr"]', f"{model}.rtf=0"]
    args = [arg for setting in settings for arg in ("--set", setting)]
    assert unisono("say", "salut", "-m", "my.model", "--language", "fr", *args).stdout
    for wrong in ("nothing", "=3", "server.=3", "server.api_keys=[1"):
        assert "--set" in unisono.error("models", "--set", wrong, status=2)
    assert "limits.keep_alive" in unisono.error("models", "--set", "limits.keep_alive=soon")
    assert "nowhere.toml" in unisono.error("models", "--config", "nowhere.toml")


def test_tables_list_what_is_there(unisono: Program) -> None:
    table = unisono("models").stdout.decode()
    assert re.search(r"^echo-transcriber +transcription +echo_transcriber ", table, re.MULTILINE)
    assert "Default for speech: echo" in table
    listed = json.loads(unisono("models", "--json").stdout)
    assert listed["aliases"]["tts-1"] == "echo"
    assert listed["models"][0]["languages"] == ["en"]
    voices = unisono("voices", "echo").stdout.decode()
    assert voices.splitlines()[0].split() == ["VOICE", "LANGUAGES", "GENDER", "DESCRIPTION"]
    assert [row["voice"] for row in json.loads(unisono("voices", "--json").stdout)] == [
        "near",
        "far",
    ]
    assert "'echo-transcriber'" in unisono.error("voices", "echo-transcriber")


def test_without_engines_it_says_what_to_do(tmp_path: Path) -> None:
    program = Program(tmp_path)
    assert "install" in program.error("say", "hi")
    assert "pip install" in program("models").stdout.decode()
    assert b"--speed" in program("say", "--help").stdout


@POSIX
def test_serve_prints_where_it_really_listens(unisono: Program) -> None:
    settings = "[server]\nport = 9\naccess_log = true\n"
    (unisono.folder / "unisono.toml").write_text(settings)
    server = unisono.start("serve", env={**unisono.environment, "UNISONO_SERVER__PORT": "0"})
    assert server.stderr is not None
    told = []
    while not told or "http://" not in told[-1]:
        told.append(server.stderr.readline().decode())
        assert told[-1], told
    url = re.search(r"http://127\.0\.0\.1:\d+", told[-1])[0]  # type: ignore[index]
    port = url.rpartition(":")[2]
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    assert f"port {port} of 127.0.0.1" in unisono.error("serve", "--port", port)
    server.send_signal(signal.SIGINT)
    _, rest = server.communicate(timeout=20)
    assert server.returncode == 130
    assert b"GET /health" in rest
    assert b"Traceback" not in rest
