from __future__ import annotations

import asyncio
import gc
import io
import struct
import threading
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
import soundfile

from unisono import AudioChunk, EngineFailed, Kernel, SpeechRequest, Word, hookimpl, rendering
from unisono.codecs import FORMATS, Encoder
from unisono.lanes import LEAD
from unisono.rendering import Rendered, read_ahead

MakeKernel = Callable[..., Kernel]
Hear = Callable[[bytes, str], tuple[int, np.ndarray]]
Until = Callable[..., Awaitable[None]]
RATE = 24_000
UNKNOWN = 0xFFFFFFFF

pytestmark = pytest.mark.anyio


def tone(seconds: float = 0.2, channels: int | None = None) -> np.ndarray:
    samples = 0.4 * np.sin(np.arange(round(seconds * RATE)) * (2 * np.pi * 220 / RATE))
    samples = samples.astype(np.float32)
    return samples if channels is None else np.repeat(samples[:, np.newaxis], channels, axis=1)


class Script:
    """A plugin that speaks chunks.

    :param gated: each chunk but the first, and the end, wait for `gate`.
    :param late: they wait for a moment.
    """

    def __init__(
        self,
        chunks: Sequence[AudioChunk],
        *,
        gated: bool = False,
        late: bool = False,
        error: Exception | None = None,
    ) -> None:
        self.chunks = chunks
        self.gate = asyncio.Semaphore(1 if gated else 1000)
        self.late = late
        self.error = error
        self.closed = asyncio.Event()

    @hookimpl
    def synthesize(self, request: SpeechRequest) -> AsyncGenerator[AudioChunk, None]:
        return self.speak()

    async def speak(self) -> AsyncGenerator[AudioChunk, None]:
        try:
            for chunk in self.chunks:
                await self.gate.acquire()
                yield chunk
                if self.late:
                    await asyncio.sleep(0.001)
            if self.error:
                raise self.error
            await self.gate.acquire()
        finally:
            self.closed.set()


async def read(items: AsyncIterator[Rendered], into: list[Rendered]) -> None:
    async for item in items:
        into.append(item)


def chunks(count: int = 3, channels: int | None = None) -> list[AudioChunk]:
    return [AudioChunk(tone(channels=channels), RATE) for _ in range(count)]


@pytest.fixture
def render(make_kernel: MakeKernel) -> Callable[..., Any]:
    """Return a function that renders a script: async with render(script, "wav") as items."""

    def start(script: Script, format: str = "wav", **fields: Any) -> Any:
        return _Rendering(make_kernel(None, {"script": script}), format, fields)

    return start


class _Rendering:
    def __init__(self, kernel: Kernel, format: str, fields: dict[str, Any]) -> None:
        self.kernel = kernel
        self.fields = {"input": "Hi.", "response_format": format, **fields}

    async def __aenter__(self) -> AsyncGenerator[Rendered, None]:
        call = self.kernel.prepare_speech(self.fields)
        self.items = self.kernel.render(await self.kernel.open_speech(call))
        return self.items

    async def __aexit__(self, *_: object) -> None:
        await self.items.aclose()
        assert set(self.kernel.pool.loaded().values()) == {0}
        await self.kernel.close()


Render = Callable[..., Any]


async def test_audio_that_is_complete_states_its_true_size(render: Render) -> None:
    async with render(Script(chunks(1)), "wav") as items:
        (whole,) = [item async for item in items]
    assert whole.last
    assert struct.unpack("<I", whole.data[4:8]) == (len(whole.data) - 8,)
    with wave.open(io.BytesIO(whole.data)) as reader:
        assert (reader.getframerate(), reader.getnframes()) == (RATE, len(tone()))
        samples = np.frombuffer(reader.readframes(RATE), "<i2") / 32768
    np.testing.assert_allclose(samples, tone(), atol=1 / 32768)

    async with render(Script(chunks(1)), "flac") as items:
        (whole,) = [item async for item in items]
    assert soundfile.info(io.BytesIO(whole.data)).frames == len(tone())


async def test_audio_that_is_not_complete_is_sent_before_the_rest_exists(render: Render) -> None:
    script = Script(chunks(3), gated=True)
    async with render(script, "wav") as items:
        first = await anext(items)
        assert not first.last
        assert len(first.data) == 44 + 2 * len(tone())
        assert struct.unpack("<I", first.data[40:44]) == (UNKNOWN,)
        for _ in range(3):
            script.gate.release()
        rest = [item async for item in items]
    assert sum(len(item.data) for item in rest) == 2 * 2 * len(tone())
    assert [item.last for item in rest] == [False] * (len(rest) - 1) + [True]


@pytest.mark.parametrize("late", [True, False], ids=["late", "at once"])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("format", FORMATS)
async def test_every_format_comes_complete_and_its_last_item_says_so(
    render: Render, hear: Hear, format: str, count: int, late: bool
) -> None:
    script = Script(chunks(count), late=late)
    async with render(script, format) as items:
        received = [item async for item in items]
        assert [item.last for item in received] == [False] * (len(received) - 1) + [True]
        assert script.closed.is_set()
    rate, samples = hear(b"".join(item.data for item in received), format)
    seconds = count * 0.2
    assert seconds - 0.01 <= len(samples) / rate <= seconds + 0.12
    assert np.abs(samples).max() == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("format", ["wav", "mp3", "opus", "flac", "aac"])
async def test_two_channels_stay_two(render: Render, format: str) -> None:
    for count in (1, 3):
        async with render(Script(chunks(count, channels=2)), format) as items:
            data = b"".join([item.data async for item in items])
        if format in ("wav", "flac"):
            assert soundfile.info(io.BytesIO(data)).channels == 2
        assert len(data) > 500


async def test_the_rate_is_the_one_asked_for_or_usual(render: Render) -> None:
    low = [AudioChunk(tone()[:1600], 8000)]
    for fields, rate in (({}, 24_000), ({"sample_rate": 16_000}, 16_000)):
        async with render(Script(low), "wav", **fields) as items:
            data = b"".join([item.data async for item in items])
        with wave.open(io.BytesIO(data)) as reader:
            assert reader.getframerate() == rate
            assert reader.getnframes() == pytest.approx(0.2 * rate, abs=2)


@pytest.mark.parametrize("format", FORMATS)
async def test_no_word_is_lost(render: Render, format: str) -> None:
    # The fourth chunk is too short for any format to have something to send.
    lengths = [0.2, 0.2, 0.2, 0.001, 0.2]
    words = [Word(str(number), number, number + 1) for number in range(len(lengths))]
    script = [
        AudioChunk(tone(length), RATE, (word,)) for length, word in zip(lengths, words, strict=True)
    ]
    for late in (True, False):
        for count in (1, len(script)):
            fields = {"word_timestamps": True, "stream_format": "sse"}
            async with render(Script(script[:count], late=late), format, **fields) as items:
                found = [word async for item in items for word in item.words]
            assert found == words[:count]


async def test_an_error_comes_after_the_bytes_before_it(render: Render) -> None:
    script = Script(chunks(2), error=LookupError("third"))
    received: list[Rendered] = []
    async with render(script, "mp3") as items:
        with pytest.raises(EngineFailed, match="LookupError"):
            await read(items, received)
    assert received
    assert not any(item.last for item in received)


async def test_a_stream_that_cannot_be_encoded_is_closed(render: Render) -> None:
    script = Script([AudioChunk(tone(channels=3), RATE)], gated=True)
    async with render(script, "mp3") as items:
        with pytest.raises(Exception, match="channels"):
            await anext(items)
        assert script.closed.is_set()


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch, go_on: threading.Event) -> list[Any]:
    """Make encoders wait in the middle of a write until `go_on`, and return a list of them."""
    made = []

    class Held(Encoder):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.writing, self.closed = threading.Event(), threading.Event()
            self.busy = False
            self.broken = False
            made.append(self)

        def write(self, samples: np.ndarray) -> bytes:
            self.busy = True
            self.writing.set()
            assert go_on.wait(20)
            data = super().write(samples)
            self.busy = False
            return data

        def close(self) -> None:
            self.broken = self.broken or self.busy
            super().close()
            self.closed.set()

    monkeypatch.setattr(rendering.codecs, "Encoder", Held)
    return made


async def test_cancelled_in_mid_encode_the_encoder_is_closed_once_it_is_idle(
    render: Render, encoders: list[Any], go_on: threading.Event, until: Until
) -> None:
    script = Script(chunks(3), gated=True)
    async with render(script, "mp3") as items:
        reading = asyncio.ensure_future(anext(items))
        await until(lambda: encoders)
        (encoder,) = encoders
        assert await asyncio.to_thread(encoder.writing.wait, 10)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        assert script.closed.is_set()  # the engine need not wait for the encoder
        assert not encoder.closed.is_set()
        go_on.set()
        assert await asyncio.to_thread(encoder.closed.wait, 10)
        assert not encoder.broken
        with pytest.raises(ValueError, match="closed"):
            encoder.write(tone())


@pytest.mark.parametrize("format", ["mp3", "wav"])
async def test_a_reader_that_leaves_closes_encoder_and_stream(
    render: Render, encoders: list[Any], go_on: threading.Event, format: str
) -> None:
    script = Script(chunks(3), gated=True)
    async with render(script, format) as items:
        go_on.set()
        assert (await anext(items)).data
        await items.aclose()
        assert script.closed.is_set()
        assert await asyncio.to_thread(encoders[0].closed.wait, 10)


async def test_encoding_runs_off_the_event_loop_where_it_takes_time(
    render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, set[bool]] = {}
    loop_thread = threading.current_thread()

    class Noted(Encoder):
        def write(self, samples: np.ndarray) -> bytes:
            threads.setdefault(format, set()).add(threading.current_thread() is loop_thread)
            return super().write(samples)

    monkeypatch.setattr(rendering.codecs, "Encoder", Noted)
    for format in FORMATS:
        script = Script(chunks(2 * LEAD))  # more than is read before the first write
        async with render(script, format) as items:
            assert [item async for item in items]
    cheap = {"wav", "pcm"}
    assert threads == {format: {format in cheap} for format in FORMATS}


# Looking ahead


async def numbers(count: int, *, gate: asyncio.Semaphore | None = None) -> AsyncIterator[int]:
    for number in range(count):
        if gate:
            await gate.acquire()
        yield number


async def test_the_last_items_are_known_if_the_end_does_not_have_to_be_waited_for() -> None:
    assert [item async for item in read_ahead(numbers(3))] == [([0, 1, 2], True)]
    assert [item async for item in read_ahead(numbers(0))] == []


async def test_an_end_that_has_to_be_waited_for_is_not_known() -> None:
    async def late() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0.001)

    assert [item async for item in read_ahead(late())] == [([1], False)]


async def test_items_are_made_while_others_are_dealt_with_but_not_without_limit() -> None:
    made = []

    async def noting() -> AsyncIterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    got: list[int] = []
    async with aclosing(read_ahead(noting())) as items:
        async for some, _ in items:
            got += some
            await asyncio.sleep(0.001)
            assert len(made) <= len(got) + LEAD
    assert got == list(range(100))


async def test_an_error_ahead_comes_in_its_turn() -> None:
    async def failing() -> AsyncIterator[int]:
        yield 1
        raise LookupError

    items = read_ahead(failing())
    assert await anext(items) == ([1], False)
    with pytest.raises(LookupError):
        await anext(items)


@pytest.mark.parametrize("fails", ["at once", "later", "when it is cancelled", "never"])
async def test_leaving_ends_what_was_made_ahead_without_a_sound(fails: str, until: Until) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    ended = []

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            if fails == "later":
                await asyncio.sleep(0.001)
            if fails in ("at once", "later"):
                raise LookupError
            await asyncio.Event().wait()
        finally:
            ended.append(True)
            if fails == "when it is cancelled":
                raise LookupError

    items = read_ahead(source())
    assert await anext(items) == ([1], False)
    if fails == "later":
        await until(lambda: ended)
    await items.aclose()
    assert ended
    del items
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints
