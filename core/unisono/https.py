"""One GET over TLS, to addresses that were checked, within a time that covers all of it."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import httpcore2

Connect = Callable[[tuple[str, int], float], socket.socket]
"""As `socket.create_connection`: address and port, seconds."""

HEADERS = (
    ("Accept", "audio/*, video/*;q=0.9, application/octet-stream;q=0.8, */*;q=0.1"),
    ("Accept-Encoding", "identity"),
    ("Connection", "close"),
    ("User-Agent", "unisono"),
)


@contextmanager
def get(
    host: str,
    port: int,
    target: bytes,
    *,
    addresses: Sequence[str],
    deadline: float,
    tls: ssl.SSLContext,
    connect: Connect,
) -> Generator[httpcore2.Response]:
    """Ask a host for a page; its headers have come when the block begins.

    The name is in the certificate, in SNI and in `Host`, and is never resolved here. httpcore is
    HTTP and nothing more: it follows no redirect, heeds no proxy of the environment, keeps no
    cookies and decompresses nothing.

    :param target: path and query.
    :param addresses: where the host is, tried in this order.
    :param deadline: on the clock of `time.monotonic`.
    :raises TimeoutError: when it has passed, also while the body is read.
    :raises OSError: if the host cannot be reached, or has no valid certificate.
    :raises httpcore2.ProtocolError: if it does not speak HTTP, or breaks off.
    """
    url = httpcore2.URL(scheme=b"https", host=host.encode(), port=port, target=target)
    shown = f"[{host}]" if ":" in host else host
    headers = [("Host", shown if port == 443 else f"{shown}:{port}"), *HEADERS]
    backend = _Pinned(addresses, deadline, connect)
    connection = httpcore2.HTTPConnection(url.origin, ssl_context=tls, network_backend=backend)
    with connection, connection.stream("GET", url, headers=headers) as response:
        yield response


def header(response: httpcore2.Response, name: str) -> str:
    """Return the first header of a name (lower case), or an empty string."""
    values = (value for key, value in response.headers if key.lower() == name.encode())
    return next(values, b"").decode("utf-8", "replace").strip()


def left(deadline: float) -> float:
    """Return the seconds until a deadline.

    :raises TimeoutError: if it has passed.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


class _Pinned(httpcore2.NetworkBackend):
    """Connects to the given addresses, whatever name it is asked for."""

    def __init__(self, addresses: Sequence[str], deadline: float, connect: Connect) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._connect = connect

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        error: OSError = OSError("no address")
        for index, address in enumerate(self._addresses):
            # A part of the time for each: the first may be a route that leads nowhere.
            seconds = left(self._deadline) / (len(self._addresses) - index)
            try:
                return _Stream(self._connect((address, port), seconds), self._deadline)
            except OSError as failure:
                error = failure
        raise error


class _Stream(httpcore2.NetworkStream):
    """A socket whose every wait ends at the deadline: one byte now and then does not extend it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._socket = connection
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._socket.settimeout(left(self._deadline))
        return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._socket.settimeout(left(self._deadline))
        self._socket.sendall(buffer)

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            self._socket.settimeout(left(self._deadline))
            secured = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except BaseException:
            self.close()
            raise
        return _Stream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return None
