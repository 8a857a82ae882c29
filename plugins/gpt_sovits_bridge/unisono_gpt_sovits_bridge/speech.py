"""Speech from a server, checked while it comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

import httpx2
import numpy as np

from unisono import AudioChunk, EngineUnavailable, RequestError

from .generations import V1
from .link import Link, failed, late
from .options import GptSovitsSettings
from .servers import Server
from .wav import WavReader

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Silent(Exception):
    """The server answered 200 and zeros, which is what api_v2.py does when it fails inside."""


class Torn(Exception):
    """The answer has no proper end: what both programs do when they fail while they send it."""


class SpeechLink:
    """Lets servers speak: whoever calls has the server's turn, and has prepared it."""

    def __init__(self, link: Link, settings: GptSovitsSettings) -> None:
        self._link = link
        self._settings = settings

    async def speak(self, server: Server, body: dict[str, Any]) -> AsyncGenerator[AudioChunk, None]:
        """Stream what the server says; nothing before the first sample that is not zero.

        :raises Unreachable: if nobody listens.
        :raises Silent: if it is all zeros.
        :raises RequestError: if the server refuses the request.
        :raises EngineUnavailable: if it fails, or takes too long.
        """
        assert server.generation is not None
        response = await self._link.send("POST", server, server.generation.path, json=body)
        reader = WavReader()
        held: list[np.ndarray] | None = []
        try:
            await self._check(server, response)
            async with aclosing(self._pieces(server, response)) as pieces:
                async for piece in pieces:
                    samples = _read(reader, piece, server)
                    if held is not None:
                        held.append(samples)
                        if not samples.any():
                            continue
                        samples, held = np.concatenate(held), None
                    if len(samples):
                        yield AudioChunk(samples, reader.sample_rate)
            if not reader.complete:
                raise failed(server, "sent less than it announced")
            if held is not None:
                raise Silent
        except Torn as error:
            if held and any(map(len, held)):  # zeros, then no end: silence, while streaming
                raise Silent from error
            what = "broke its answer off"
            if server.generation is V1:
                what += " (as api.py does, too, for a recording or a language that it cannot read)"
            raise failed(server, what) from error
        finally:
            await response.aclose()

    async def _check(self, server: Server, response: httpx2.Response) -> None:
        status, kind = response.status_code, response.headers.get("content-type", "")
        if status == 200 and kind.startswith(("audio/wav", "audio/x-wav")):
            return
        if status == 200:
            raise EngineUnavailable(
                f"The GPT-SoVITS server at {server.place} sends {kind[:60]!r}: the operator should "
                "start api.py with -mt wav -sm close."
            )
        await self._link.read(server, response)
        logger.warning("%s answered %d: %s", server.place, status, response.text[:1000])
        if status in (400, 422):
            raise RequestError(
                f"The GPT-SoVITS server refuses this request ({status}); the log of unisono has "
                "its words.",
                code="upstream_refused",
            )
        if status in (404, 405):  # another program has taken its place
            server.lost()
        raise failed(server, f"answered with status {status}")

    async def _pieces(
        self, server: Server, response: httpx2.Response
    ) -> AsyncGenerator[bytes, None]:
        seconds = self._settings.first_seconds
        async with aclosing(response.aiter_raw()) as pieces:
            while True:
                try:
                    piece = await within(seconds, anext(pieces, b""))
                except (TimeoutError, httpx2.TimeoutException) as error:
                    raise late(server, seconds) from error
                except httpx2.TransportError as error:
                    raise Torn from error
                if not piece:
                    return
                yield piece
                seconds = self._settings.idle_seconds


def _read(reader: WavReader, piece: bytes, server: Server) -> np.ndarray:
    try:
        return reader.feed(piece)
    except ValueError as error:
        raise failed(server, f"sent no usable audio: {error}") from error


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Wait for something, but not for ever; what is not finished has ended when this returns.

    (`asyncio.wait_for` may swallow a cancellation before Python 3.12.)

    :raises TimeoutError: when the time is over.
    """

    async def waiting() -> T:
        return await work

    task = asyncio.ensure_future(waiting())
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
        if not done:
            raise TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
