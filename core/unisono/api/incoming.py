"""Request bodies as they come in: not without end, and not for ever."""

from __future__ import annotations

import asyncio
import sys

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import RequestError, UploadTooLarge
from .errors import error_response

STALL_SECONDS = 60.0
"""Longest pause in a request body."""
LINGER_SECONDS = 2.0
"""How long what a client sends is still read after an answer that it did not wait for."""
_SMALL = 2**16


class UploadTooSlow(RequestError):
    """The request body takes longer than the operator allows."""

    status, code = 408, "request_timeout"


class BodyLimit:
    """Refuse request bodies that are too large or too slow, whatever they say of themselves.

    The handler hears of it when it reads. What it makes of that does not matter: the client gets
    the refusal. Answers that come before the end of the body end the connection.

    :param most: bytes.
    :param seconds: longest time from the first read to the end; pauses may last STALL_SECONDS.
    """

    def __init__(self, app: ASGIApp, most: int, seconds: float) -> None:
        self.app = app
        self._most = most
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(scope, receive, send, self._most, self._seconds)
        try:
            await self.app(scope, body.receive, body.send)
        # Whatever the handler makes of a body that is refused: the refusal is the answer.
        except Exception:
            if body.refusal is None or body.answered:
                raise
        refusal, body.refusal = body.refusal, None
        if refusal is not None and not body.answered:
            await error_response(refusal)(scope, receive, body.send)


class _Body:
    """The body of one request."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, most: int, seconds: float
    ) -> None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        self._announced = int(length) if length.isdecimal() else 0
        self._chunked = "transfer-encoding" in headers
        self._param = "file" if headers.get("content-type", "").startswith("multipart/") else None
        self._receive = receive
        self._send = send
        self._most = most
        self._seconds = seconds
        self._deadline: float | None = None
        self._count = 0
        self._ended = False
        self._closing = False
        self.refusal: RequestError | None = None
        """What is wrong with it."""
        self.answered = False
        """Whether an answer has begun."""

    async def receive(self) -> Message:
        """Receive as ASGI has it.

        :raises UploadTooLarge: if it is.
        :raises UploadTooSlow: if it is.
        """
        if self._ended:  # there is only one piece of news left: that the client went
            return await self._receive()
        if self._announced > self._most:
            raise self._too_large(self._announced)
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._seconds
        message = await _in_time(min(STALL_SECONDS, self._deadline - now), self._receive)
        if message is None:
            raise self._too_slow()
        self._count += len(message.get("body", b""))
        if self._count > self._most:
            raise self._too_large(self._count)
        self._ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send as ASGI has it."""
        if self.refusal is not None and not self.answered:
            return  # the handler's own words for it
        if message["type"] == "http.response.start":
            self.answered = True
            self._closing = self._unread()
            if self._closing:
                MutableHeaders(scope=message)["connection"] = "close"
        elif self._closing and not message.get("more_body", False):
            # Who closes a connection on which something comes in resets it, and the client may
            # never read the answer. So it gets all of that, and some time to stop.
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": message["type"], "body": b"", "more_body": False}
        await self._send(message)

    def _unread(self) -> bool:
        """Whether a rest is to come that is too long to be read for the next request's sake."""
        return not self._ended and (self._chunked or self._announced - self._count > _SMALL)

    async def _linger(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + LINGER_SECONDS
        while not self._ended and loop.time() < end:
            message = await _in_time(end - loop.time(), self._receive)
            self._ended = message is None or not message.get("more_body", False)

    def _too_large(self, size: int) -> UploadTooLarge:
        # OpenAI's words for the same: "Maximum content size limit (26214400) exceeded (…)".
        self.refusal = refusal = UploadTooLarge(
            f"Maximum content size limit ({self._most}) exceeded ({size} bytes read).",
            param=self._param,
        )
        return refusal

    def _too_slow(self) -> UploadTooSlow:
        self.refusal = refusal = UploadTooSlow(
            f"The request body did not come to its end: {self._count} bytes were read. It may take "
            f"{self._seconds:g} seconds, and pause for {STALL_SECONDS:g}.",
            param=self._param,
        )
        return refusal


async def _in_time(seconds: float, receive: Receive) -> Message | None:
    """Return the next message, or None if there is none in time."""
    # `asyncio.timeout` is for Python 3.11; `wait_for` makes a task there, and costs 30 µs.
    task = asyncio.current_task()
    assert task is not None
    late = False

    def give_up() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(max(0.0, seconds), give_up)
    try:
        return await receive()
    except asyncio.CancelledError:
        if not late or (sys.version_info >= (3, 11) and task.uncancel() > 0):
            raise  # somebody else wants this task to end
        return None
    finally:
        timer.cancel()
