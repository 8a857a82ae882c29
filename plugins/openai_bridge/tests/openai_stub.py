"""A server that does what a test tells it, well or badly."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """A request that the stub got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.body)

    def form(self) -> tuple[list[tuple[str, str]], bytes]:
        """Return the text fields of a multipart body, in order, and the file."""
        fields, file = [], b""
        boundary = self.headers["content-type"].partition("boundary=")[2]
        for part in self.body.split(f"--{boundary}".encode())[1:-1]:
            head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            value = value.removesuffix(b"\r\n")
            if b"filename" in head:
                file = value
            else:
                name = head.decode().partition('name="')[2].partition('"')[0]
                fields.append((name, value.decode()))
        return fields, file


class Line:
    """The stub's end of a connection."""

    def __init__(self, handler: socketserver.StreamRequestHandler, number: int) -> None:
        self._handler = handler
        self.number = number
        """Counts the requests of the whole stub from 1."""

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self._handler.wfile.write(data)

    def head(self, status: int = 200, **headers: str) -> None:
        """Send the beginning of an answer."""
        lines = [f"HTTP/1.1 {status} Said"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def answer(self, body: bytes | dict[str, Any], status: int = 200, **headers: str) -> None:
        """Send a whole answer."""
        kind = "audio/pcm" if isinstance(body, bytes) else "application/json"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.head(status, **{"content_type": kind, **headers, "content_length": str(len(data))})
        self.send(data)

    def chunk(self, data: bytes) -> None:
        """Send a piece of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def hang_up(self) -> None:
        """Close the connection."""
        raise ConnectionAbortedError

    def wait_for_hang_up(self) -> bool:
        """Say whether the bridge closes the connection within ten seconds."""
        self._handler.connection.settimeout(10)
        try:
            return self._handler.connection.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False


Answer = Callable[[Line, Asked], None]


@dataclass
class Stub:
    """A server that does what a test tells it."""

    url: str = ""
    answer: Answer = lambda line, asked: line.answer(b"\1\0" * 2400)
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def openai_stub() -> Iterator[Stub]:
    """Serve on a free port of the loopback interface."""
    told = Stub()

    class Handler(socketserver.StreamRequestHandler):
        timeout = 20

        def handle(self) -> None:
            while line := self.rfile.readline().decode():
                headers = {}
                while header := self.rfile.readline().strip().decode():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = self.rfile.read(int(headers.get("content-length", 0)))
                told.asked.append(Asked(line.split()[1], headers, body))
                try:
                    told.answer(Line(self, len(told.asked)), told.asked[-1])
                except ConnectionError:
                    return

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        allow_reuse_address = True

    with Listener(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield told
        server.shutdown()
        thread.join()
