"""The server that one writes by hand, with FastAPI and PyAV: what unisono is measured against."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from models import MODELS
from pydantic import BaseModel

from unisono import AudioChunk, ModelInfo, SpeechRequest, Task, Turn
from unisono.testing.echo import EchoEngine, EchoParams, EchoSettings

app = FastAPI()
engines = {
    name: EchoEngine(ModelInfo(Task.SPEECH, id=name), EchoSettings(**settings))
    for name, (_, settings) in MODELS.items()
}
RATE = 24_000
CONTAINERS = {"opus": "ogg"}
CODECS = {"mp3": "libmp3lame", "opus": "libopus"}


class Speech(BaseModel):
    input: str
    model: str
    response_format: str = "mp3"


def to_int16(samples: np.ndarray) -> np.ndarray:
    pcm: np.ndarray = (np.clip(samples, -1, 1) * 32767).astype("<i2")
    return pcm


def encode(chunks: Iterator[AudioChunk], name: str) -> Iterator[bytes]:
    if name == "wav":
        layout = struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
        yield b"RIFF\xff\xff\xff\xffWAVEfmt " + layout + b"data\xff\xff\xff\xff"
        for chunk in chunks:
            yield to_int16(chunk.samples).tobytes()
        return
    sink = io.BytesIO()
    container = av.open(sink, "w", format=CONTAINERS.get(name, name))
    stream: Any = container.add_stream(CODECS[name], rate=RATE, layout="mono")
    written = 0
    for chunk in chunks:
        pcm = to_int16(chunk.samples).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, written
        written += frame.samples
        container.mux(stream.encode(frame))
        if sink.tell():
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
    container.mux(stream.encode(None))
    container.close()
    yield sink.getvalue()


@app.post("/v1/audio/speech")
def speech(speech: Speech) -> StreamingResponse:
    request = SpeechRequest((Turn(speech.input),), params=EchoParams())
    chunks = engines[speech.model].synthesize(request)
    return StreamingResponse(
        encode(chunks, speech.response_format), media_type=f"audio/{speech.response_format}"
    )


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}
