"""Answers that are made while they are sent, and that stop being made when the client goes."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import EngineFailed, SpeechError

EVENT_STREAM = "text/event-stream"

Parts = AsyncGenerator[tuple[bytes, bool], None]
"""Bytes, each with whether they are known to be the last."""

logger = logging.getLogger(__name__)


class Answer(Response):
    """A response whose status is decided by its first part.

    What `open`, or the making of the first part, raises is still answered as an error. If a later
    part fails, an event says so; where there are no events, the connection is broken without a
    proper end, so that no client takes half an answer for a whole one. When the client goes,
    whatever runs is cancelled.

    :param open: starts the work and returns the parts.
    """

    def __init__(
        self,
        open: Callable[[], Awaitable[Parts]],
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.body = b""
        self.init_headers(headers)
        del self.headers["content-length"]
        self._open = open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make and send the answer."""
        # HTTP/1.0 knows no chunks, and no other sign of a proper end than the length.
        whole = scope.get("http_version") == "1.0"
        await until_gone(receive, self._answer(send, whole))

    async def _answer(self, send: Send, whole: bool) -> None:
        started = False
        opened = await self._open()
        async with aclosing(_joined(opened) if whole else opened) as parts:
            try:
                async for part, last in parts:
                    if not started:
                        if last:
                            self.headers["content-length"] = str(len(part))
                        await self._start(send)
                        started = True
                    await send({"type": "http.response.body", "body": part, "more_body": not last})
                    if last:
                        return
                if not started:
                    await self._start(send)
                    started = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except Exception as error:
                if not started:
                    raise
                if self.media_type == EVENT_STREAM:
                    failure = event(_presentable(error).body())
                    await send({"type": "http.response.body", "body": failure, "more_body": False})
                elif isinstance(error, SpeechError):
                    # Returning without the end of the body makes the server break the connection.
                    logger.warning("Broke an answer off: %s", error)
                else:
                    raise

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})


def event(data: dict[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode(errors="replace") + b"\n\n"


def _presentable(error: Exception) -> SpeechError:
    if isinstance(error, SpeechError):
        return error
    logger.error("An answer failed half-way.", exc_info=error)
    return EngineFailed("The answer failed half-way; the log says why.", code="internal_error")


async def _joined(parts: Parts) -> Parts:
    data = bytearray()
    async with aclosing(parts):
        async for part, _ in parts:
            data += part
    yield bytes(data), True


async def until_gone(receive: Receive, work: Awaitable[None]) -> None:
    """Run `work` in this task; cancel it if the client disconnects first.

    The whole request must have been received.
    """
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        await work
    except asyncio.CancelledError:
        if not gone or (sys.version_info >= (3, 11) and task.uncancel() > 0):
            raise  # somebody else wants this task to end
    finally:
        watcher.cancel()
