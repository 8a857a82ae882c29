"""Bodies that never end, never come or break off: an answer in bounded time, and nothing left."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from unisono import Kernel, hookimpl
from unisono.api import incoming

LIMIT = 3_000_000
SECONDS = 0.6
FORM = b'--XX\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
TEXT = b'--XX\r\ncontent-disposition: form-data; name="prompt"\r\n\r\n'
JSON = b'{"input": "'
MULTIPART = "multipart/form-data; boundary=XX"

ROUTES = {
    "transcription": ("/v1/audio/transcriptions", MULTIPART, FORM),
    "transcription of a text": ("/v1/audio/transcriptions", MULTIPART, TEXT),
    "translation": ("/v1/audio/translations", MULTIPART, FORM),
    "speech": ("/v1/audio/speech", "application/json", JSON),
    "speech as a form": ("/v1/audio/speech", MULTIPART, FORM),
    "speech of an engine": ("/v1/echo/audio/speech", "application/json", JSON),
    "voice": ("/v1/audio/voices", MULTIPART, FORM),
    "voice as JSON": ("/v1/audio/voices", "application/json", JSON),
    "route of a plugin": ("/v1/mine", "application/json", JSON),
}


class Mine(BaseModel):
    input: str


class Plugin:
    """A plugin whose route leaves its body to FastAPI, which has words of its own for failures."""

    @hookimpl
    def register_routes(self, app: FastAPI, kernel: Kernel) -> None:
        @app.post("/v1/mine")
        async def mine(body: Mine) -> str:
            return body.input


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for temporary files that nobody else uses."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("temporary")
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setattr(incoming, "LINGER_SECONDS", 0.3)
        yield folder


def leftovers(folder: Path) -> list[str]:
    """Return the temporary files that have a name, and those that are only open."""
    found = os.listdir(folder)
    links = Path("/proc/self/fd")
    for link in links.iterdir() if links.is_dir() else ():
        try:
            target = os.readlink(link)
        except OSError:  # closed since it was listed
            continue
        if target.startswith(str(folder)):
            found.append(target)
    return found


def settled(server: Any, folder: Path) -> None:
    """Wait until no slot is taken and no temporary file is left."""
    deadline = time.monotonic() + 5
    while any(server.kernel.pool.loaded().values()) or leftovers(folder):
        assert time.monotonic() < deadline, (server.kernel.pool.loaded(), leftovers(folder))
        time.sleep(0.01)


@pytest.fixture(scope="module")
def hasty(module_serve: Callable[..., Any], temporary: Path, tmp_path_factory: Any) -> Any:
    """A server that waits for no body longer than SECONDS."""
    limits = {"upload_bytes": LIMIT, "upload_seconds": SECONDS, "audio_seconds": 60}
    voices = {"directory": str(tmp_path_factory.mktemp("voices")), "max_bytes": LIMIT}
    return module_serve({"limits": limits, "voices": voices}, {"mine": Plugin()})


@pytest.fixture
def server(hasty: Any, temporary: Path) -> Iterator[Any]:
    """The same; afterwards nothing is left."""
    yield hasty
    settled(hasty, temporary)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


PIECE = chunk(b"x" * 50_000)


@pytest.fixture
def connect(server: Any) -> Iterator[Callable[..., socket.socket]]:
    """Return a function that starts a request and leaves its body to the test."""
    lines: list[socket.socket] = []

    def start(path: str, kind: str, length: int | None = None) -> socket.socket:
        size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        line = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        lines.append(line)
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n{size}\r\n\r\n"
        line.sendall(head.encode())
        return line

    yield start
    for line in lines:
        line.close()


def answer_of(line: socket.socket) -> tuple[int, dict[str, Any]]:
    """Read one whole answer: its status and its error."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += line.recv(65_536) or pytest.fail("the connection ended without an answer")
    head, _, body = data.partition(b"\r\n\r\n")
    size = next(int(row[15:]) for row in head.split(b"\r\n") if row.startswith(b"content-length:"))
    while len(body) < size:
        body += line.recv(65_536) or pytest.fail("the answer broke off")
    return int(head.split()[1]), json.loads(body)["error"]


def ended(line: socket.socket) -> bool:
    """Whether the server closes the connection."""
    try:
        return line.recv(1) == b""
    except ConnectionError:
        return True


def too_slow(answer: tuple[int, dict[str, Any]], kind: str) -> None:
    status, error = answer
    assert status == 408
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["code"] == "request_timeout"
    assert error["param"] == ("file" if kind is MULTIPART else None)
    assert f"{SECONDS:g} seconds" in error["message"]


def test_bodies_that_trickle_are_given_up_in_time(connect: Callable[..., socket.socket]) -> None:
    lines = {}
    for path, kind, start in ROUTES.values():
        line = connect(path, kind)
        line.sendall(chunk(start))
        lines[line] = kind
    began = time.monotonic()
    waiting = set(lines)
    while waiting:
        for line in select.select(waiting, [], [], 0.03)[0]:
            too_slow(answer_of(line), lines[line])
            waiting.remove(line)
            assert time.monotonic() > began + SECONDS / 2
        for line in waiting:
            line.sendall(chunk(b"x"))
        assert time.monotonic() < began + 10
    assert all(ended(line) for line in lines)


@pytest.mark.parametrize("started", [True, False], ids=["stall", "never come"])
@pytest.mark.parametrize("length", [None, 100_000], ids=["chunked", "announced"])
def test_bodies_that_stop_coming_are_given_up_in_time(
    connect: Callable[..., socket.socket], started: bool, length: int | None
) -> None:
    lines = {}
    for path, kind, start in ROUTES.values():
        line = connect(path, kind, length)
        lines[line] = kind
        if started:
            line.sendall(start if length else chunk(start))
    for line, kind in lines.items():
        too_slow(answer_of(line), kind)


def insist(line: socket.socket) -> None:
    """Go on sending for as long as that is possible, which must not be long."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < began + 10:
            line.sendall(PIECE)
    assert time.monotonic() < began + 10


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_without_end_is_refused_and_its_connection_ends(
    connect: Callable[..., socket.socket], route: str
) -> None:
    path, kind, start = ROUTES[route]
    line = connect(path, kind)
    line.sendall(chunk(start))
    began = time.monotonic()
    while not select.select([line], [], [], 0)[0]:
        line.sendall(PIECE)
        assert time.monotonic() < began + 10
    status, error = answer_of(line)
    assert (status, error["code"]) == (413, "request_too_large")
    insist(line)


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/models", "/v1/audio/transcriptions"])
def test_a_body_without_end_that_nobody_reads_ends_its_connection(
    connect: Callable[..., socket.socket], path: str
) -> None:
    # There is no such route, no such method, no such kind of body.
    line = connect(path, "text/plain")
    line.sendall(PIECE)
    assert answer_of(line)[0] in (400, 404, 405)
    insist(line)


def test_a_body_without_end_and_without_a_key_ends_its_connection(
    serve: Callable[..., Any], temporary: Path
) -> None:
    server = serve({"server": {"api_keys": ["right"]}})
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        head = "POST /v1/audio/speech HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        line.sendall(head.encode() + PIECE)
        assert answer_of(line)[0] == 401
        insist(line)


def test_a_pause_is_too_long_even_if_there_is_time_left(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, wav: Callable[..., bytes]
) -> None:
    monkeypatch.setattr(incoming, "STALL_SECONDS", 0.3)
    server = serve({"limits": {"upload_seconds": "forever"}})
    path, kind, start = ROUTES["transcription"]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"
        line.sendall(head.encode() + b"transfer-encoding: chunked\r\n\r\n" + chunk(start))
        for at in range(0, 32_000, 3200):  # which takes longer in all, without such a pause
            time.sleep(0.05)
            line.sendall(chunk(wav(1)[at : at + 3200]))
        assert answer_of(line)[0] == 408


def test_an_upload_that_is_only_slow_is_taken(
    connect: Callable[..., socket.socket], wav: Callable[..., bytes]
) -> None:
    path, kind, start = ROUTES["transcription"]
    body = start + wav(1) + b"\r\n--XX--\r\n"
    line = connect(path, kind, len(body))
    for at in range(0, len(body), 8000):
        line.sendall(body[at : at + 8000])
        time.sleep(0.02)
    answer = b""
    while b"second 0." not in answer:
        answer += line.recv(65_536) or pytest.fail(repr(answer))
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_an_answer_may_take_longer_than_the_body(
    serve: Callable[..., Any], wav: Callable[..., bytes]
) -> None:
    models = {"slow": {"engine": "echo_transcriber", "first_delay": 1.0}}
    server = serve({"limits": {"upload_seconds": 0.3}, "models": models})
    answer = httpx.post(
        f"{server.url}/v1/audio/transcriptions", data={"model": "slow"}, files={"file": wav(1)}
    )
    assert answer.json()["text"] == "second 0."


def test_a_client_that_is_refused_can_read_why_while_it_sends(server: Any) -> None:
    # All of it is sent before anything is read, as many clients do.
    size = 2 * LIMIT
    head = "POST /v1/audio/speech HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(head.encode() + b"content-length: %d\r\n\r\n" % size + bytes(size))
        status, error = answer_of(line)
        assert (status, error["code"]) == (413, "request_too_large")
        assert ended(line)


def test_a_connection_serves_on_after_a_small_body_that_was_not_read(server: Any) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        for _ in range(2):
            line.sendall(b"POST /v1/nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody")
            assert answer_of(line)[0] == 404


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("length", [None, 2_500_000], ids=["chunked", "announced"])
def test_a_connection_that_breaks_half_way_leaves_nothing(
    server: Any,
    temporary: Path,
    connect: Callable[..., socket.socket],
    route: str,
    length: int | None,
) -> None:
    path, kind, start = ROUTES[route]
    line = connect(path, kind, length)
    half = start + b"x" * 1_500_000
    line.sendall(half if length else chunk(half))
    line.close()
    settled(server, temporary)
    assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.mark.parametrize("route", ROUTES)
def test_more_than_was_announced_is_refused_or_not_seen(
    server: Any, connect: Callable[..., socket.socket], route: str
) -> None:
    path, kind, start = ROUTES[route]
    line = connect(path, kind, len(start))
    line.sendall(start + b"x" * 10_000)
    assert line.recv(65_536).startswith(b"HTTP/1.1 4")
    assert ended(line)


@pytest.mark.parametrize("text", [TEXT, FORM.replace(b"; filename", b"; x")], ids=["prompt", "x"])
def test_the_texts_of_a_form_share_one_limit(
    module_serve: Callable[..., Any], temporary: Path, text: bytes
) -> None:
    server = module_serve({"limits": {"upload_bytes": "200MiB"}})
    body = (text + b"x" * 2**22 + b"\r\n") * 9 + FORM + b"x\r\n--XX--\r\n"
    url = f"{server.url}/v1/audio/transcriptions"
    answer = httpx.post(url, content=body, headers={"content-type": MULTIPART}, timeout=30)
    assert answer.status_code == 400
    assert "text" in answer.json()["error"]["message"]
