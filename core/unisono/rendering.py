"""A stream of speech to bytes of a format, encoded off the event loop where that takes time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

import numpy as np

from . import codecs
from .audio import join
from .lanes import LEAD
from .speech import SpeechStream
from .types import Word

T = TypeVar("T")
_MANY = 100_000
"""Frames that even a plain copy should not keep the event loop busy with."""


class Rendered(NamedTuple):
    """Some of the bytes of an answer."""

    data: bytes
    words: tuple[Word, ...]
    """Words that begin in the audio that was encoded, if they were asked for."""
    last: bool
    """Whether these are known to be the last; the last item of a stream always is."""
    frames: int
    """Frames of the stream so far; 0 if its header tells the length already."""


async def render(stream: SpeechStream, executor: Executor) -> AsyncGenerator[Rendered, None]:
    """Encode a stream in the format and at the rate that its request asks for.

    Audio that is complete before anything was encoded is encoded in one go if its format gains
    by it. Closes the stream.

    :param executor: threads to encode on.
    """
    fields = stream.call.fields
    format_, rate = codecs.FORMATS[fields.response_format], stream.sample_rate
    async with aclosing(stream):
        rates = rate, codecs.output_rate(format_.name, rate, fields.sample_rate)
        encoding = _Encoding(executor, format_.name, *rates, stream.channels)
        try:
            begun = False
            async with aclosing(read_ahead(stream)) as chunks:
                async for waiting, last in chunks:
                    chunk = join(waiting)
                    samples, words = chunk.samples, chunk.words
                    if last and not begun and format_.whole:
                        data = await encoding.run(codecs.encode, samples, format_.name, *rates)
                        yield Rendered(data, words, True, 0)
                        return
                    for piece in _pieces(samples, rate, begun or encoding.cheap):
                        data = await encoding.run(encoding.write, piece)
                        if data or words:
                            yield Rendered(data, words, False, encoding.frames)
                        words = ()
                    begun = True
            data = await encoding.run(encoding.finish)
            yield Rendered(data, (), True, encoding.frames)
        finally:
            encoding.close()


def _pieces(samples: np.ndarray, rate: int, begun: bool) -> Iterator[np.ndarray]:
    """Cut what is long: a little of it first, to send early, then so that others get a turn."""
    start = 0 if begun else rate // 10
    if start:
        yield samples[:start]
    for at in range(start, len(samples), rate):
        yield samples[at : at + rate]


class _Encoding:
    """An encoder that is used from threads, one call at a time, and closed when none runs.

    It is made by the first write, as making one takes time too.

    :param stream: what `codecs.Encoder` takes.
    """

    def __init__(self, executor: Executor, *stream: Any) -> None:
        self._stream = stream
        self.cheap = codecs.is_cheap(*stream[:3])
        self._encoder: codecs.Encoder | None = None
        self._executor = executor
        self._job: Future[Any] | None = None

    @property
    def frames(self) -> int:
        return self._encoder.frames if self._encoder else 0

    def write(self, samples: np.ndarray) -> bytes:
        if self._encoder is None:
            self._encoder = codecs.Encoder(*self._stream)
        return self._encoder.write(samples)

    def finish(self) -> bytes:
        return self._encoder.finish() if self._encoder else b""

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        frames = len(args[0]) if args else 0
        if self.cheap and frames <= _MANY:  # handing it to a thread would cost more
            return function(*args)
        self._job = job = self._executor.submit(function, *args)
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        # A cancelled request leaves its last call running.
        if self._job is None:
            self._close()
        else:
            self._job.add_done_callback(lambda _: self._close())

    def _close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()


async def read_ahead(items: AsyncIterator[T]) -> AsyncGenerator[tuple[list[T], bool], None]:
    """Yield the items that there are, all at a time, with whether these are known to be the last.

    A task of its own reads them, so that what makes them goes on while some are dealt with.
    """
    waiting: list[T] = []
    more, room = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        try:
            async for item in items:
                waiting.append(item)
                more.set()
                if len(waiting) >= LEAD:
                    room.clear()
                    await room.wait()
        finally:
            more.set()

    reader = asyncio.create_task(read())
    try:
        ended = False
        while not ended:
            await more.wait()
            more.clear()
            ready, ended = waiting[:], reader.done()
            waiting.clear()
            room.set()
            if ready:
                yield ready, ended and reader.exception() is None
        await reader  # raises what ended the stream
    finally:
        reader.cancel()
        await asyncio.wait([reader])
        if not reader.cancelled():
            reader.exception()  # nobody reads that far, which is no reason to complain
