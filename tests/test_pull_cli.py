"""`unisono pull` and `auto_pull` as their users meet them, against a small hub on this machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest

import unisono
from unisono import EngineUnavailable, Weights, find_weights

constants = pytest.importorskip("huggingface_hub.constants")
BIG = random.Random(1).randbytes(24 * 2**20)  # the library asks for 10 MiB at a time
FILES = {
    "config.json": b'{"level": 0.5}',
    "model.safetensors": BIG,
    "README.md": b"# Tiny",
    "onnx/model.onnx": b"the same in another format",
}
NEWEST, TAGGED = "c" * 40, "d" * 40
REPO = "tiny/voice"
PLUGIN = """
import json
from unisono import (
    AudioChunk, Engine, ModelInfo, Settings, Task, Weights, find_weights, hookimpl
)

class TinySettings(Settings):
    repo: str | None = "tiny/voice"

class TinyEngine(Engine):
    name = "tiny"
    settings_type = TinySettings

    @classmethod
    def presets(cls):
        return {"tiny": TinySettings(), "local": TinySettings(repo=None)}

    @classmethod
    def describe(cls, settings):
        return ModelInfo(Task.SPEECH, sample_rate=16_000)

    @classmethod
    def weights(cls, settings):
        files = ("*.safetensors", "config.json")
        return [Weights(settings.repo, files=files)] if settings.repo else []

    def load(self):
        (weights,) = self.weights(self.settings)
        config = (find_weights(weights) / "config.json").read_text()
        self.level = json.loads(config)["level"]

    def synthesize(self, request):
        import numpy as np
        yield AudioChunk(np.full(1600, self.level, np.float32), 16_000)

@hookimpl
def register_engines():
    return [TinyEngine]
"""


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".onnx"))


def checksum(name: str, data: bytes) -> str:
    if is_large(name):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """What a hub has, how it misbehaves, and what it was asked."""

    url: str = ""
    commits: dict[str, dict[str, bytes]] = field(
        default_factory=lambda: {NEWEST: FILES, TAGGED: {"config.json": b"{}"}}
    )
    revisions: dict[str, str] = field(default_factory=lambda: {"main": NEWEST, "v1": TAGGED})
    gated: bool = False
    damaged: int = 0
    """How often the large file still comes wrong."""
    cut_at: int | None = None
    """Where the connection breaks, once."""
    breaks_down: bool = False
    """Whether that is the end of it."""
    broken: bool = False
    """Whether it has no files for anybody."""
    pause: float = 0.0
    """Seconds between a mebibyte and the next."""
    claimed: int | None = None
    """What it says is the size of the large file."""
    files: list[tuple[str, str | None]] = field(default_factory=list)
    """The names of the files that were downloaded, with the range."""
    sent: int = 0
    """Bytes of files."""
    tokens: list[str] = field(default_factory=list)
    """What the host of the large files was told."""

    def commit(self, revision: str) -> str | None:
        return self.revisions.get(revision, revision if revision in self.commits else None)

    def info(self, commit: str) -> dict[str, Any]:
        siblings = []
        for name, data in self.commits[commit].items():
            size = self.claimed or len(data) if is_large(name) else len(data)
            sibling: dict[str, Any] = {"rfilename": name, "size": size, "blobId": "e" * 40}
            if is_large(name):
                sibling["lfs"] = {"sha256": checksum(name, data), "size": size, "pointerSize": 130}
            else:
                sibling["blobId"] = checksum(name, data)
            siblings.append(sibling)
        return {"id": REPO, "sha": commit, "siblings": siblings}

    def tree(self, commit: str) -> list[dict[str, Any]]:
        return [
            {
                "type": "file",
                "path": file["rfilename"],
                "size": file["size"],
                "oid": file["blobId"],
                **({"lfs": {**file["lfs"], "oid": file["lfs"]["sha256"]}} if "lfs" in file else {}),
            }
            for file in self.info(commit)["siblings"]
        ]


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does: https://huggingface.co/docs/hub/api."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub = self.server.hub
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/large/"):
            hub.tokens += self.headers.get_all("Authorization") or []
            _, _, commit, name = path.split("/", 3)
            self.file(name, hub.commits[commit][name])
        elif found := re.fullmatch(rf"/api/models/{REPO}(?:/(revision|tree)/(.+))?", path):
            commit = hub.commit(found[2] or "main")
            if commit is None:
                self.refuse(404, "RevisionNotFound")
            else:
                self.json((hub.tree if found[1] == "tree" else hub.info)(commit))
        elif found := re.fullmatch(rf"/{REPO}/resolve/([^/]+)/(.+)", path):
            self.resolve(str(hub.commit(found[1])), found[2])
        else:
            self.refuse(404, "RepoNotFound")

    def resolve(self, commit: str, name: str) -> None:
        hub = self.server.hub
        if hub.gated:
            self.refuse(403, "GatedRepo")
        elif hub.broken and self.command == "GET":
            self.refuse(503, "")
        elif not is_large(name):
            self.file(name, hub.commits[commit][name], commit)
        else:  # its bytes are with somebody else
            data = hub.commits[commit][name]
            port = self.server.server_address[1]
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{port}/large/{commit}/{name}")
            self.send_header("X-Repo-Commit", commit)
            self.send_header("X-Linked-Etag", f'"{checksum(name, data)}"')
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("Content-Length", "0")
            self.end_headers()

    def file(self, name: str, data: bytes, commit: str = NEWEST) -> None:
        hub = self.server.hub
        start = 0
        range_ = self.headers.get("Range")
        if range_:
            start = int(range_.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if range_ else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{checksum(name, data)}"')
        self.send_header("Accept-Ranges", "bytes")
        if range_:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        hub.files.append((name, range_))
        if is_large(name) and hub.damaged:
            hub.damaged -= 1
            data = data[:-1] + b"?"
        for place in range(start, len(data), 2**20):
            if is_large(name) and hub.cut_at is not None and place >= hub.cut_at:
                hub.cut_at, hub.broken = None, hub.breaks_down
                self.close_connection = True
                return
            part = data[place : place + 2**20]
            try:
                self.wfile.write(part)
            except OSError:
                return
            hub.sent += len(part)
            time.sleep(hub.pause)

    def json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    hub: Hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.hub
        server.shutdown()
        thread.join()


@dataclass
class Program:
    """`unisono` with an engine that needs weights, and a cache of its own."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *args: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*args),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, done.stderr
        return done

    def error(self, *args: str) -> str:
        """Run it to a failure; return the line that tells of it."""
        lines = self(*args, status=1).stderr.splitlines()
        (line,) = [line for line in lines if line.startswith("Error: ")]
        assert line == lines[-1]
        return line

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*args),
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def command(*args: str) -> list[str]:
        return [sys.executable, "-m", "unisono", *args]

    @property
    def cache(self) -> Path:
        return self.folder / "cache" / "models--tiny--voice"

    def snapshot(self, commit: str = NEWEST) -> dict[str, bytes]:
        """Return the files that a model finds."""
        place = self.cache / "snapshots" / commit
        files = (path for path in place.rglob("*") if path.is_file())
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}

    def has_weights(self) -> bool:
        """Say whether a model would find what it needs."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(constants, "HF_HUB_CACHE", self.environment["HF_HUB_CACHE"])
            try:
                return find_weights(Weights(REPO, files=("*.safetensors", "config.json"))).is_dir()
            except EngineUnavailable:
                return False

    @property
    def parts(self) -> list[Path]:
        return list(self.cache.glob("blobs/*.incomplete"))


@pytest.fixture
def program(hub: Hub, tmp_path: Path) -> Program:
    info = tmp_path / "site" / "unisono_tiny-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "unisono_tiny.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unisono-tiny\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[unisono]\ntiny = unisono_tiny\n")
    core = str(Path(unisono.__file__).parents[1])
    others = {entry.name for entry in importlib.metadata.entry_points(group="unisono")}
    foreign = [name for name in os.environ if name.startswith(("HF_", "HUGGING_FACE_"))]
    environment = {
        **{name: value for name, value in os.environ.items() if name not in foreign},
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), core]),
        "UNISONO_PLUGINS__DISABLED": ",".join(others),
        "UNISONO_VOICES__DIRECTORY": str(tmp_path / "voices"),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": "secret",
        "NO_PROXY": "*",
    }
    return Program(tmp_path, environment)


def test_a_model_speaks_after_its_weights_are_pulled(hub: Hub, program: Program) -> None:
    say = ("say", "hello", "--model", "tiny", "-o", "hello.wav")
    assert "run: unisono pull tiny/voice" in program.error(*say)
    assert hub.files == []
    done = program("pull", "tiny")
    place = program.cache / "snapshots" / NEWEST
    assert done.stdout == f"tiny/voice  25.2MB  {place}\n"
    assert done.stderr == "Downloading tiny/voice: 25.2MB\n"
    wanted = ("config.json", "model.safetensors")
    assert program.snapshot() == {name: FILES[name] for name in wanted}
    program(*say)
    assert (program.folder / "hello.wav").stat().st_size > 1600
    assert hub.tokens == []  # it is nobody else's business


def test_a_second_pull_downloads_nothing_and_mends_what_is_damaged(
    hub: Hub, program: Program
) -> None:
    program("pull", "tiny")
    assert program.has_weights()
    hub.files.clear()
    done = program("pull", "tiny", "tiny/voice", "tiny")
    assert hub.files == []
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    blob = program.cache / "blobs" / checksum("model.safetensors", BIG)
    blob.write_bytes(bytes(len(BIG)))
    assert "'model.safetensors' of 'tiny/voice' is damaged" in program("pull", "tiny").stderr
    assert hub.files == [("model.safetensors", None)]
    assert program.snapshot()["model.safetensors"] == BIG


def test_a_repository_that_no_model_has_comes_whole_and_at_any_revision(
    hub: Hub, program: Program
) -> None:
    assert NEWEST not in program("pull", "tiny/voice@v1").stdout
    assert program.snapshot(TAGGED) == hub.commits[TAGGED]
    hub.files.clear()
    program("pull", f"tiny/voice@{NEWEST}")
    assert program.snapshot() == FILES


def test_a_repository_that_a_model_has_is_what_the_model_needs(hub: Hub, program: Program) -> None:
    program("pull", "tiny/voice")
    assert {name for name, _ in hub.files} == {"config.json", "model.safetensors"}


def test_a_new_commit_costs_only_what_has_changed(hub: Hub, program: Program) -> None:
    program("pull", "tiny")
    hub.commits["b" * 40] = {**FILES, "config.json": b'{"level": 0.1}'}
    hub.revisions["main"] = "b" * 40
    hub.files.clear()
    assert "b" * 40 in program("pull", "tiny").stdout
    assert hub.files == [("config.json", None)]


def test_a_connection_that_breaks_goes_on_from_there(hub: Hub, program: Program) -> None:
    hub.cut_at = 15 * 2**20
    program("pull", "tiny")
    assert program.snapshot()["model.safetensors"] == BIG
    assert hub.sent < len(BIG) + 6 * 2**20


def test_a_pull_goes_on_where_one_ended_in_the_middle(hub: Hub, program: Program) -> None:
    hub.cut_at, hub.breaks_down = 15 * 2**20, True
    told = program.error("pull", "tiny")
    assert "The hub answered 503 for 'tiny/voice'; try again" in told
    (part,) = program.parts
    size = part.stat().st_size
    assert size >= 10 * 2**20
    assert not program.has_weights()
    hub.broken = False
    hub.files.clear()
    program("pull", "tiny")
    assert hub.files == [("model.safetensors", f"bytes={size}-")]
    assert program.snapshot()["model.safetensors"] == BIG
    assert program.parts == []
    assert program.has_weights()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_it_at_once_and_it_goes_on_later(hub: Hub, program: Program) -> None:
    hub.pause = 0.02
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells may ignore it
    try:
        process = program.start("pull", "tiny")
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 20
    while not (program.parts and program.parts[0].stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    hub.pause = 60
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=30)[1]
    hub.pause = 0.0
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "Interrupted; the same command goes on from here."
    hub.files.clear()
    program("pull", "tiny")
    assert [range_ for name, range_ in hub.files if name == "model.safetensors"] != [None]
    assert program.snapshot()["model.safetensors"] == BIG


def test_a_file_that_comes_damaged_is_asked_for_again_once(hub: Hub, program: Program) -> None:
    hub.damaged = 1
    program("pull", "tiny")
    assert program.snapshot()["model.safetensors"] == BIG


def test_a_file_that_always_comes_damaged_is_refused(hub: Hub, program: Program) -> None:
    hub.damaged = 99
    told = program.error("pull", "tiny")
    assert "'model.safetensors' of 'tiny/voice' came damaged, twice" in told
    assert program.snapshot() == {}
    assert not program.has_weights()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tiny/nothing", "The hub has no 'tiny/nothing', or it is private: log in with"),
        ("tiny/voice@v9", "'tiny/voice' has no such revision."),
        ("tiny/-voice-", "'tiny/-voice-' names no repository"),
        ("tony", "There is no model 'tony'. Models: 'tiny', 'local'. On the hub"),
    ],
)
def test_what_there_is_not_is_said_in_one_line(program: Program, name: str, told: str) -> None:
    assert told in program.error("pull", name)
    assert not program.cache.exists()


def test_a_repository_with_terms_says_where_to_accept_them(hub: Hub, program: Program) -> None:
    hub.gated = True
    told = program.error("pull", "tiny")
    assert f"accept at {hub.url}/tiny/voice; then log in with `hf auth login`, or set HF_" in told


def test_a_hub_that_cannot_be_reached_is_said_so_soon(program: Program) -> None:
    program.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    told = program.error("pull", "tiny")
    assert "Downloading 'tiny/voice' from http://127.0.0.1:9 did not work; try again" in told
    program.environment["HF_HUB_OFFLINE"] = "1"
    assert "HF_HUB_OFFLINE forbids to download 'tiny/voice'." in program.error("pull", "tiny")


def test_a_disk_without_room_is_noticed_before_anything_comes(hub: Hub, program: Program) -> None:
    hub.claimed = 10**18
    told = program.error("pull", "tiny")
    assert "no room for 'tiny/voice': 1.0EB are to come" in told
    assert hub.files == []


def test_a_model_that_needs_nothing_says_so(hub: Hub, program: Program) -> None:
    assert program("pull", "local").stdout == "Model 'local' needs no download.\n"


@contextmanager
def serving(program: Program) -> Iterator[tuple[str, list[str]]]:
    """Serve; yield the address, and what is logged."""
    log: list[str] = []
    with program.start("serve", "--port", "0") as server:
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if found := re.search(r"http://[\d.]+:\d+", line):
                    break
            else:
                raise AssertionError("it did not start")
            reader = threading.Thread(target=lambda: log.extend(server.stderr or ()))
            reader.start()
            yield found[0], log
        finally:
            server.terminate()
            server.wait(20)
        reader.join()


def speak(url: str) -> httpx.Response:
    body = {"model": "tiny", "input": "hello", "response_format": "pcm"}
    return httpx.post(f"{url}/v1/audio/speech", json=body, timeout=30, trust_env=False)


def test_a_server_downloads_nothing_unless_told_to(hub: Hub, program: Program) -> None:
    with serving(program) as (url, _):
        for answer in (speak(url), speak(url)):
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "weights_missing"
            assert "run: unisono pull tiny/voice" in answer.json()["error"]["message"]
    assert hub.files == []


def test_with_auto_pull_the_first_request_downloads_once_for_all(
    hub: Hub, program: Program
) -> None:
    program.environment["UNISONO_AUTO_PULL"] = "true"
    hub.pause = 0.005
    with serving(program) as (url, log), ThreadPoolExecutor() as clients:
        answers = list(clients.map(speak, [url] * 3))
        assert [answer.status_code for answer in answers] == [200] * 3
        assert answers[0].content == answers[1].content
    assert sorted(hub.files) == [("config.json", None), ("model.safetensors", None)]
    assert any("Downloading 25.2MB of 'tiny/voice'" in line for line in log)
    assert any("Downloaded 'tiny/voice', 25.2MB in all" in line for line in log)


def test_an_auto_pull_that_fails_says_why_to_the_client(hub: Hub, program: Program) -> None:
    program.environment["UNISONO_AUTO_PULL"] = "true"
    hub.broken = True
    with serving(program) as (url, _):
        answer = speak(url)
    assert answer.status_code == 503
    assert "The hub answered 503 for 'tiny/voice'" in answer.json()["error"]["message"]
