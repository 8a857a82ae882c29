"""Answers come while they are made, end as they should, and stop when the client goes."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import AsyncGeneratorType, GeneratorType
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from pydantic import Field

from unisono import Engine, Kernel, SpeechRequest, TranscriptionRequest, hookimpl
from unisono.testing.echo import (
    AsyncEchoEngine,
    EchoEngine,
    EchoParams,
    EchoSettings,
    EchoTranscriber,
    expected,
)

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
SPEECH, TRANSCRIPTIONS = "/v1/audio/speech", "/v1/audio/transcriptions"
TEXT = "one two three four five six seven eight nine ten eleven twelve"  # 3 seconds
SOON = 1.0
"""Seconds within which a client's leaving is noticed; a fifth of it on an idle machine."""


class StageParams(EchoParams):
    """Options of the engines on stage."""

    hold_after: float | None = Field(None, description="Seconds of audio before waiting.")


class Stage:
    """A plugin whose engines wait for a sign, and say whether somebody still listens."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.left = threading.Event()
        self.began = 0
        self.gaps: list[float] = []
        self.beating: asyncio.Task[None] | None = None

    @hookimpl
    def register_engines(self) -> list[type[Engine]]:
        return engines_of(self)

    @hookimpl
    def register_routes(self, app: FastAPI, kernel: Kernel) -> None:
        async def beat() -> None:
            last = time.perf_counter()
            while True:
                await asyncio.sleep(0.005)
                now = time.perf_counter()
                self.gaps.append(now - last)
                last = now

        @app.get("/beat", include_in_schema=False)
        async def start() -> None:
            self.beating = asyncio.create_task(beat())

        @app.get("/census", include_in_schema=False)
        async def census() -> dict[str, int]:
            return {"tasks": len(asyncio.all_tasks())}

    def wait(self, request: SpeechRequest | TranscriptionRequest) -> bool:
        """Wait for the sign; return False if nobody waits any more."""
        while not self.go.is_set():
            if request.cancel.cancelled:
                self.left.set()
                return False
            time.sleep(0.002)
        return True


def engines_of(stage: Stage) -> list[type[Engine]]:
    class StageEngine(EchoEngine):
        name = "stage"
        params_type = StageParams

        def synthesize(self, request: SpeechRequest) -> Iterator[Any]:
            stage.began += 1
            hold = request.params.hold_after  # type: ignore[attr-defined]
            at = 0.0
            try:
                if hold == 0 and not stage.wait(request):
                    return
                for chunk in super().synthesize(request):
                    yield chunk
                    at += chunk.seconds
                    if hold is not None and at >= hold and not stage.wait(request):
                        return
            except GeneratorExit:
                stage.left.set()
                raise

    class AsyncStageEngine(AsyncEchoEngine):
        name = "async_stage"
        params_type = StageParams
        max_concurrency = 1

        async def synthesize(self, request: SpeechRequest) -> AsyncIterator[Any]:  # type: ignore[override]
            stage.began += 1
            hold = request.params.hold_after  # type: ignore[attr-defined]
            at = 0.0
            try:
                async for chunk in super().synthesize(request):
                    if hold is not None and at >= hold:
                        while not stage.go.is_set():  # noqa: ASYNC110 - another thread sets it
                            await asyncio.sleep(0.002)
                    at += chunk.seconds
                    yield chunk
            except (GeneratorExit, asyncio.CancelledError):
                stage.left.set()
                raise

    class StageTranscriber(EchoTranscriber):
        name = "stage_transcriber"
        params_type = StageParams

        @classmethod
        def presets(cls) -> Mapping[str, EchoSettings]:
            return {"stage-transcriber": EchoSettings()}

        def transcribe(self, request: TranscriptionRequest) -> Iterator[Any]:
            stage.began += 1
            hold = request.params.hold_after  # type: ignore[attr-defined]
            try:
                if hold == 0 and not stage.wait(request):
                    return
                for segment in super().transcribe(request):
                    yield segment
                    if hold is not None and segment.end >= hold and not stage.wait(request):
                        return
            except GeneratorExit:
                stage.left.set()
                raise

    return [StageEngine, AsyncStageEngine, StageTranscriber]


class Census:
    """What a request could leave behind in this process, counted when made."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._before = self._count()
        self._generators = self._suspended()

    def eventually_the_same(self) -> None:
        """Wait until nothing is left of what came since."""
        deadline = time.monotonic() + 10
        while left := self._count() - self._before:
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        while (suspended := self._suspended()) > self._generators:
            assert time.monotonic() < deadline, suspended
            time.sleep(0.2)

    def _count(self) -> Counter[str]:
        pools = (
            "asyncio_",
            "uvloop_",
            "unisono-encoder",
            "unisono-decoder",
            "unisono-voices",
            "AnyIO worker",
        )  # bounded; their threads stay
        names = [thread.name for thread in threading.enumerate()]
        found = Counter(name for name in names if not name.startswith(pools))
        found["tasks"] = self._client.get("/census").json()["tasks"]
        if os.path.isdir("/proc/self/fd"):
            found["file descriptors"] = len(os.listdir("/proc/self/fd"))
        return found

    def _suspended(self) -> int:
        gc.collect()
        generators = (
            (thing, thing.ag_frame if isinstance(thing, AsyncGeneratorType) else thing.gi_frame)
            for thing in gc.get_objects()
            if isinstance(thing, AsyncGeneratorType | GeneratorType)
        )
        return sum("unisono" in frame.f_code.co_filename for _, frame in generators if frame)


@pytest.fixture(scope="module")
def server(module_serve: Callable[..., Any]) -> Any:
    stage = Stage()
    models = {
        "whole": {"engine": "async_echo", "chunk_seconds": 60},
        "lumps": {"engine": "stage", "chunk_seconds": 120, "rtf": 0.0005},
        "grains": {"engine": "stage", "chunk_seconds": 0.01},
    }
    server = module_serve({"models": models}, {"stage": stage})
    server.stage = stage
    return server


@pytest.fixture
def stage(server: Any) -> Iterator[Stage]:
    """The stage, reset before and at rest after each test."""
    stage: Stage = server.stage
    stage.go.clear()
    stage.left.clear()
    stage.began = 0
    yield stage
    stage.go.set()
    eventually(lambda: not any(server.kernel.pool.loaded().values()), "a slot is stuck")


@pytest.fixture
def client(server: Any, stage: Stage) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as client:
        yield client


def eventually(
    condition: Callable[[], bool], complaint: str, within: float = 10.0, every: float = 0.002
) -> None:
    """Wait for a condition."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within, complaint
        time.sleep(every)


def speech(**fields: Any) -> dict[str, Any]:
    return {"model": "stage", "input": TEXT, "response_format": "pcm", **fields}


def events(answer: httpx.Response) -> list[Any]:
    return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]


# Delivery


@pytest.mark.parametrize("format", FORMATS)
def test_speech_is_sent_while_it_is_made(
    client: httpx.Client, stage: Stage, hear: Callable[..., Any], format: str
) -> None:
    fields = speech(response_format=format, hold_after=1.0)
    with client.stream("POST", SPEECH, json=fields) as answer:
        assert "content-length" not in answer.headers
        parts = answer.iter_raw()
        data = next(parts)  # the engine waits: this comes before the end, or never
        assert not stage.go.is_set()
        stage.go.set()
        data += b"".join(parts)
    rate, samples = hear(data, format)
    assert len(samples) / rate == pytest.approx(3.0, abs=0.15)


def test_events_are_sent_while_speech_is_made(client: httpx.Client, stage: Stage) -> None:
    fields = speech(hold_after=1.0, stream_format="sse")
    with client.stream("POST", SPEECH, json=fields) as answer:
        lines = answer.iter_lines()
        data = base64.b64decode(json.loads(next(lines)[6:])["audio"])
        assert data
        stage.go.set()
        for line in lines:
            if line:
                data += base64.b64decode(json.loads(line[6:]).get("audio", ""))
    np.testing.assert_allclose(np.frombuffer(data, "<i2") / 32768, expected(TEXT), atol=1e-4)


def test_words_are_sent_with_the_audio_in_which_they_begin(client: httpx.Client) -> None:
    fields = speech(stream_format="sse", word_timestamps=True)
    with client.stream("POST", SPEECH, json=fields) as answer:
        *deltas, _ = events(answer)
    words = [word for delta in deltas for word in delta["words"]]
    assert " ".join(word["word"] for word in words) == TEXT
    assert [word["start"] for word in words] == [0.25 * index for index in range(12)]


def test_a_transcript_is_sent_while_it_is_made(
    client: httpx.Client, stage: Stage, wav: Callable[..., bytes]
) -> None:
    fields = {"model": "stage-transcriber", "stream": "true", "hold_after": "1"}
    with client.stream("POST", TRANSCRIPTIONS, data=fields, files={"file": wav(3)}) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert json.loads(next(lines)[6:])["delta"] == "second 0."
        stage.go.set()
        assert json.loads(list(lines)[-1][6:])["text"] == "second 0. second 1. second 2."


@pytest.mark.parametrize("format", ["wav", "pcm", "flac"])
def test_what_is_complete_at_once_states_its_length(client: httpx.Client, format: str) -> None:
    answer = client.post(SPEECH, json=speech(model="whole", response_format=format))
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_a_wav_that_is_complete_at_once_states_its_true_sizes(client: httpx.Client) -> None:
    data = client.post(SPEECH, json=speech(model="whole", response_format="wav")).content
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    assert struct.unpack_from("<I", data, 40)[0] == len(data) - 44 == 3 * 2 * 24_000


def test_a_wav_that_is_streamed_has_one_header_of_unknown_size(
    client: httpx.Client, stage: Stage
) -> None:
    fields = speech(response_format="wav", hold_after=1.0)
    with client.stream("POST", SPEECH, json=fields) as answer:
        parts = answer.iter_raw()
        data = next(parts)
        stage.go.set()
        data += b"".join(parts)
    assert struct.unpack_from("<I", data, 4)[0] == 0xFFFFFFFF
    assert struct.unpack_from("<I", data, 40)[0] == 0xFFFFFFFF
    assert data.count(b"RIFF") == 1
    assert len(data) == 44 + 3 * 2 * 24_000


def test_our_own_streamed_wav_can_be_transcribed(client: httpx.Client, stage: Stage) -> None:
    fields = speech(response_format="wav", hold_after=1.0)
    with client.stream("POST", SPEECH, json=fields) as answer:
        stage.go.set()
        data = answer.read()
    transcript = client.post(TRANSCRIPTIONS, files={"file": data}).json()
    assert transcript["text"] == "second 0. second 1. second 2."


# Failures


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_failure_before_the_first_byte_is_a_status(
    client: httpx.Client, format: str, stream_format: str
) -> None:
    fields = speech(response_format=format, stream_format=stream_format, fail_after=0)
    answer = client.post(SPEECH, json=fields)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_a_failure_before_the_encoder_has_bytes_is_a_status(
    client: httpx.Client, stream_format: str
) -> None:
    # Two grains of 10 ms do not fill the first frame of AAC.
    fields = speech(model="grains", fail_after=0.02, stream_format=stream_format)
    answer = client.post(SPEECH, json=fields | {"response_format": "aac"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("format", FORMATS)
def test_a_failure_after_the_first_byte_breaks_the_connection(
    client: httpx.Client, format: str
) -> None:
    fields = speech(response_format=format, fail_after=1.0)
    with client.stream("POST", SPEECH, json=fields) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()


def test_a_broken_answer_has_no_proper_end_on_the_wire(server: Any, stage: Stage) -> None:
    with talk(server, post(SPEECH, speech(fail_after=1.0))) as line:
        data = read_all(line)
    assert b"transfer-encoding: chunked" in data
    assert not data.endswith(b"0\r\n\r\n")


def test_a_failure_among_events_is_an_event(client: httpx.Client) -> None:
    fields = speech(stream_format="sse", fail_after=1.0)
    with client.stream("POST", SPEECH, json=fields) as answer:
        *deltas, last = events(answer)
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert last["error"]["type"] == "server_error"
    assert set(last["error"]) == {"message", "type", "param", "code"}


def test_a_failure_before_the_first_segment_is_a_status(
    client: httpx.Client, wav: Callable[..., bytes]
) -> None:
    for stream in ("true", "false"):
        fields = {"fail_after": "0", "stream": stream}
        answer = client.post(TRANSCRIPTIONS, data=fields, files={"file": wav(2)})
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "engine_failed"


def test_a_failure_in_mid_transcript_is_a_status_or_an_event(
    client: httpx.Client, wav: Callable[..., bytes]
) -> None:
    fields = {"fail_after": "1", "stream": "false"}
    answer = client.post(TRANSCRIPTIONS, data=fields, files={"file": wav(2)})
    assert answer.status_code == 500
    fields["stream"] = "true"
    with client.stream("POST", TRANSCRIPTIONS, data=fields, files={"file": wav(2)}) as answer:
        first, last = events(answer)
    assert first["delta"] == "second 0."
    assert last["error"]["code"] == "engine_failed"


class Careless:
    """A plugin whose wrapper breaks down half-way, with an error that is not of `unisono`."""

    @hookimpl(wrapper=True)
    def synthesize(self, engine: Any, request: Any) -> Any:
        stream = yield
        return self._halved(stream)

    async def _halved(self, stream: Any) -> AsyncIterator[Any]:
        async for chunk in stream:
            yield chunk
            raise ZeroDivisionError


def test_a_wrapper_that_breaks_down_among_events_is_an_event_too(
    serve: Callable[..., Any],
) -> None:
    server = serve(plugins={"careless": Careless()})
    fields = {"input": TEXT, "response_format": "pcm", "stream_format": "sse"}
    with httpx.stream("POST", server.url + SPEECH, json=fields) as answer:
        last = events(answer)[-1]
    assert last["error"]["type"] == "server_error"


# Old and patient clients


def post(path: str, body: Any, version: str = "1.1", *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"POST {path} HTTP/{version}", "host: localhost", f"content-length: {len(data)}"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + data


def talk(server: Any, data: bytes) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    line.sendall(data)
    return line


def read_all(line: socket.socket) -> bytes:
    parts = []
    while part := line.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("format", ["pcm", "mp3"])
def test_an_http_1_0_client_gets_plain_bytes(
    server: Any, stage: Stage, hear: Callable[..., Any], format: str
) -> None:
    stage.go.set()
    fields = speech(response_format=format, hold_after=1.0)
    with talk(server, post(SPEECH, fields, "1.0")) as line:
        head, _, data = read_all(line).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b" 200 " in head.splitlines()[0]
    rate, samples = hear(data, format)
    assert len(samples) / rate == pytest.approx(3.0, abs=0.15)


def test_an_http_1_0_client_is_told_of_a_failure(server: Any, stage: Stage) -> None:
    # It could not tell a broken connection from the end.
    with talk(server, post(SPEECH, speech(fail_after=1.0), "1.0")) as line:
        head, _, body = read_all(line).partition(b"\r\n\r\n")
    assert b" 500 " in head.splitlines()[0]
    assert json.loads(body)["error"]["code"] == "engine_failed"


def test_a_connection_is_used_again_after_errors(client: httpx.Client) -> None:
    streams = set()
    for fields in (speech(speed=9), speech(fail_after=0), speech(model="nothing"), speech()):
        answer = client.post(SPEECH, json=fields)
        streams.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
    assert answer.status_code == 200
    assert len(streams) == 1


# Clients that go


def leave(line: socket.socket) -> None:
    """Hang up, and do not even read what has come."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def noticed(server: Any) -> None:
    """Check that the engine and its slot are free soon after the client left."""
    since = time.monotonic()
    assert server.stage.left.wait(SOON), "the engine goes on for nobody"
    eventually(lambda: not any(server.kernel.pool.loaded().values()), "a slot is stuck", SOON)
    print(f"The slot was free after {(time.monotonic() - since) * 1000:.0f} ms.")


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
@pytest.mark.parametrize("format", ["pcm", "mp3"])
@pytest.mark.parametrize("seconds", [0, 1])
@pytest.mark.parametrize("model", ["stage", "async-stage"])
def test_speech_stops_when_the_client_goes(
    server: Any,
    stage: Stage,
    model: str,
    seconds: float,
    format: str,
    stream_format: str,
) -> None:
    fields = speech(
        model=model, hold_after=seconds, response_format=format, stream_format=stream_format
    )
    line = talk(server, post(SPEECH, fields))
    if seconds:
        assert b" 200 " in line.recv(100)
    eventually(lambda: stage.began == 1, "the engine never began")
    leave(line)
    noticed(server)


def multipart(wav: bytes, **fields: Any) -> tuple[bytes, str]:
    parts = [
        f'--XX\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = b'--XX\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = b"".join([*parts, head, wav, b"\r\n--XX--\r\n"])
    return body, "content-type: multipart/form-data; boundary=XX"


@pytest.mark.parametrize("stream", ["true", "false"])
@pytest.mark.parametrize("seconds", [0, 1])
def test_transcription_stops_when_the_client_goes(
    server: Any,
    stage: Stage,
    wav: Callable[..., bytes],
    seconds: float,
    stream: str,
) -> None:
    fields = {"model": "stage-transcriber", "hold_after": seconds, "stream": stream}
    body, kind = multipart(wav(3), **fields)
    line = talk(server, post(TRANSCRIPTIONS, body, "1.1", kind))
    eventually(lambda: stage.began == 1, "the engine never began")
    leave(line)
    noticed(server)


@pytest.mark.parametrize("model", ["stage", "async-stage"])
def test_a_request_that_waits_in_the_queue_never_begins_when_its_client_goes(
    server: Any, stage: Stage, client: httpx.Client, model: str
) -> None:
    users = server.kernel.pool.loaded
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(client.post, SPEECH, json=speech(model=model, hold_after=0))
        eventually(lambda: stage.began == 1, "the engine never began")
        line = talk(server, post(SPEECH, speech(model=model)))
        eventually(lambda: users()[model] == 2, "the second request never came")
        leave(line)
        eventually(lambda: users()[model] == 1, "the second request still waits", SOON)
        stage.go.set()
        assert first.result().status_code == 200
    assert client.post(SPEECH, json=speech(model=model)).status_code == 200
    assert stage.began == 2


def test_a_client_that_reads_nothing_and_goes_is_noticed(server: Any, stage: Stage) -> None:
    # 50 seconds of samples fill every buffer on the way, so the server waits for the client.
    line = talk(server, post(SPEECH, speech(input="word " * 400, hold_after=99)))
    eventually(lambda: stage.began == 1, "the engine never began")
    assert not stage.left.wait(0.2)
    leave(line)
    eventually(lambda: not any(server.kernel.pool.loaded().values()), "a slot is stuck", SOON)


def test_a_failure_that_comes_when_the_client_has_gone_troubles_nobody(
    server: Any, stage: Stage, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.post(SPEECH, json=speech(model="lumps"))
    census = Census(client)
    # The first two minutes fill every buffer on the way; it fails while the next ones wait.
    fields = speech(model="lumps", input="word " * 961, hold_after=240, fail_after=240)
    line = talk(server, post(SPEECH, fields))
    assert line.recv(100)
    time.sleep(0.3)
    stage.go.set()
    eventually(lambda: "was told to fail" in caplog.text, "the engine never failed")
    leave(line)
    census.eventually_the_same()
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_an_upload_that_breaks_off_leaves_nothing(
    server: Any,
    stage: Stage,
    client: httpx.Client,
    wav: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
    size: int,
) -> None:
    body, kind = multipart(wav(120))
    census = Census(client)
    line = talk(server, post(TRANSCRIPTIONS, body, "1.1", kind)[: size + 200])
    time.sleep(0.05)
    leave(line)
    census.eventually_the_same()
    # Clients go all the time. It is no error of the server.
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_an_upload_that_is_decoded_for_nobody_leaves_nothing(
    server: Any, stage: Stage, client: httpx.Client
) -> None:
    fields = speech(model="whole", input="word " * 1200, response_format="mp3")
    body, kind = multipart(client.post(SPEECH, json=fields).content)
    client.post(TRANSCRIPTIONS, files={"file": b"OggS"})
    census = Census(client)
    for moment in (0.01, 0.03, 0.06):  # five minutes take longer to decode
        line = talk(server, post(TRANSCRIPTIONS, body, "1.1", kind))
        time.sleep(moment)
        leave(line)
    census.eventually_the_same()


def hang_up(server: Any, index: int, upload: tuple[bytes, str]) -> None:
    """Be a client that goes at one of seven moments."""
    body, kind = upload
    moment = index % 7
    model = ("stage", "async-stage")[index % 2]
    format = FORMATS[index % 6]
    fields = speech(model=model, response_format=format, hold_after=1.0)
    if moment == 0:
        line = talk(server, post(SPEECH, fields)[:40])
    elif moment == 1:
        line = talk(server, post(SPEECH, fields)[:-10])
    elif moment == 2:
        line = talk(server, post(SPEECH, fields))
    elif moment == 3:
        line = talk(server, post(SPEECH, fields | {"stream_format": "sse"}))
        time.sleep(0.01)
    elif moment == 4:
        line = talk(server, post(SPEECH, speech(model="async-echo", response_format=format)))
        line.recv(1000)
    elif moment == 5:
        line = talk(server, post(TRANSCRIPTIONS, body, "1.1", kind)[: len(body) // 2])
    else:
        line = talk(server, post(TRANSCRIPTIONS, body, "1.1", kind))
    leave(line)


def test_a_hundred_clients_that_hang_up_leave_nothing(
    server: Any, stage: Stage, client: httpx.Client, wav: Callable[..., bytes]
) -> None:
    upload = multipart(wav(2), model="stage-transcriber", hold_after=1, stream="true")

    def crowd(count: int) -> None:
        with ThreadPoolExecutor(20, "client") as executor:
            list(executor.map(lambda index: hang_up(server, index, upload), range(count)))
        eventually(lambda: not any(server.kernel.pool.loaded().values()), "a slot is stuck")

    for model in ("stage", "async-stage", "async-echo"):
        client.post(SPEECH, json=speech(model=model))
    client.post(TRANSCRIPTIONS, data={"model": "stage-transcriber"}, files={"file": wav(1)})
    crowd(7)
    census = Census(client)
    crowd(100)
    census.eventually_the_same()
    stage.go.set()
    assert client.post(SPEECH, json=speech()).status_code == 200


# Many at once


def alike(samples: np.ndarray, reference: np.ndarray) -> float:
    """Return the greatest normalized correlation of two sounds over all delays."""
    size = 1 << (len(samples) + len(reference)).bit_length()
    product = np.fft.rfft(samples, size) * np.conj(np.fft.rfft(reference, size))
    peak = np.abs(np.fft.irfft(product)).max()
    return float(peak / np.sqrt(np.sum(samples**2) * np.sum(reference**2)))


def test_sixteen_mixed_requests_at_once_each_get_their_own_answer(
    server: Any,
    stage: Stage,
    client: httpx.Client,
    wav: Callable[..., bytes],
    hear: Callable[..., Any],
) -> None:
    client.get("/beat")

    def speak(index: int) -> tuple[str, str, bytes]:
        text = " ".join(random.Random(index).choices(TEXT.split(), k=4 + index))
        format = FORMATS[index % 6]
        model = ("stage", "async-stage", "echo", "whole")[index % 4]
        fields: dict[str, Any] = {"model": model, "input": text, "response_format": format}
        if index % 5 == 4:
            with client.stream("POST", SPEECH, json=fields | {"stream_format": "sse"}) as answer:
                parts = [base64.b64decode(e["audio"]) for e in events(answer) if "audio" in e]
            return text, format, b"".join(parts)
        return text, format, client.post(SPEECH, json=fields).content

    def write(index: int) -> tuple[str, str]:
        silent = {second for second in range(6) if index & 1 << second}
        spoken = " ".join(f"second {n}." for n in range(6) if n not in silent)
        form = ("json", "text", "sse")[index % 3]
        fields = {"response_format": form} if form != "sse" else {"stream": "true"}
        files = {"file": wav(6, silent=silent)}
        with client.stream("POST", TRANSCRIPTIONS, data=fields, files=files) as answer:
            if form == "sse":
                return spoken, str(events(answer)[-1]["text"])
            text = answer.read().decode()
        return spoken, text.strip() if form == "text" else str(json.loads(text)["text"])

    stage.gaps.clear()
    with ThreadPoolExecutor(16) as executor:
        speaking = [executor.submit(speak, index) for index in range(10)]
        writing = [executor.submit(write, index * 7 + 1) for index in range(6)]
        spoken = [future.result() for future in speaking]
        written = [future.result() for future in writing]
    gap = max(stage.gaps)
    print(f"The event loop stalled for {gap * 1000:.0f} ms at most.")
    assert stage.beating is not None
    stage.beating.get_loop().call_soon_threadsafe(stage.beating.cancel)
    assert gap < 1.0  # the clients share this process, its lock and two cores

    for text, format, data in spoken:
        rate, samples = hear(data, format)
        reference = expected(text)
        assert len(samples) / rate == pytest.approx(len(reference) / 24_000, abs=0.15)
        assert alike(samples[:: rate // 24_000], reference) > 0.9, (text, format)
    for should, text in written:
        assert text == should
