"""POST /v1/voice-clone, as the m4t server has it, answered by any model that clones voices."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from unisono import EngineUnavailable, Feature, Kernel, RequestError, SpeechError, Task

from .engine import GptSovitsBridge
from .languages import tag_of
from .wav import wav_file

T = TypeVar("T")
_NAMES = {
    "input": "text",
    "language": "text_language",
    "ref_audio": "audio",
    "ref_text": "prompt_text",
    "ref_language": "prompt_language",
}
"""A field of a speech request → what it is called here."""


class VoiceClone(BaseModel):
    """The answer of POST /v1/voice-clone."""

    task: str = "voice_clone"
    output_audio_base64: str = Field(description="A WAV file of 16 bits.")
    output_sample_rate: int = Field(description="Hertz.")
    text_length: int = Field(description="Characters.")
    output_duration: float = Field(description="Seconds of audio.")
    processing_time: float = Field(description="Seconds that it took.")
    service_available: bool = True


def add_voice_clone(app: FastAPI, kernel: Kernel) -> None:
    """Add the route."""

    @app.post(
        "/v1/voice-clone",
        operation_id="voiceClone",
        summary="Speak a text with the voice of a recording, as m4t does",
        response_model=VoiceClone,
    )
    async def voice_clone(
        request: Request,
        audio: Annotated[UploadFile, File(description="Recording of the voice.")],
        text: Annotated[str, Form(description="The text to speak.")],
        text_language: Annotated[str, Form(description="Language of the text.")],
        prompt_text: Annotated[str, Form(description="What is said in the recording.")],
        prompt_language: Annotated[str, Form(description="Language of the recording.")],
        cut_punc: Annotated[
            str | None, Form(description="Punctuation marks at which the text is cut.")
        ] = None,
        model: Annotated[str | None, Form(description="Extension. Model that speaks.")] = None,
    ) -> JSONResponse:
        began = time.monotonic()
        raw = {
            "model": model or _cloning_model(kernel),
            "input": text,
            "language": tag_of(text_language),
            "ref_audio": await audio.read(kernel.config.voices.max_bytes + 1),
            "ref_text": prompt_text,
            "ref_language": tag_of(prompt_language),
            "cut_punc": cut_punc or None,
        }
        try:
            found = await _unless_gone(request, _spoken(kernel, raw))
        except SpeechError as error:
            error.param = _NAMES.get(error.param or "", error.param)
            raise
        if found is None:  # nobody is there to read it
            return JSONResponse(None)
        samples, rate, headers = found
        audio_file = await asyncio.to_thread(_encoded, samples, rate)
        answer = VoiceClone(
            output_audio_base64=audio_file,
            output_sample_rate=rate,
            text_length=len(text),
            output_duration=round(len(samples) / rate, 3),
            processing_time=round(time.monotonic() - began, 3),
        )
        return JSONResponse(answer.model_dump(), headers=headers)


def _cloning_model(kernel: Kernel) -> str:
    """Return the model for requests that name none: one of GPT-SoVITS before others."""
    able = [
        entry
        for entry in kernel.catalog.entries
        if entry.info.task is Task.SPEECH and Feature.VOICE_CLONING in entry.info.features
    ]
    own = [entry for entry in able if entry.info.engine == GptSovitsBridge.name]
    default = kernel.catalog.default(Task.SPEECH)
    for entry in (*own, *([default] if default in able else []), *able):
        if entry is not None:
            return entry.id
    raise EngineUnavailable(
        "No model of this server clones voices: its operator should configure one, such as "
        f"[models.gpt-sovits] with engine = {GptSovitsBridge.name!r}."
    )


async def _spoken(kernel: Kernel, raw: dict[str, Any]) -> tuple[np.ndarray, int, dict[str, str]]:
    """Return the speech, its rate, and headers.

    Where the text is cut is a hint, which a model without it cannot follow: the answer says so.
    """
    try:
        return await _spoken_as_asked(kernel, raw)
    except RequestError as error:
        if error.param != "cut_punc" or error.code != "unsupported_option":
            raise
    samples, rate, headers = await _spoken_as_asked(kernel, {**raw, "cut_punc": None})
    return samples, rate, {**headers, "x-unisono-ignored": "cut_punc"}


async def _spoken_as_asked(
    kernel: Kernel, raw: dict[str, Any]
) -> tuple[np.ndarray, int, dict[str, str]]:
    call = kernel.prepare_speech(raw)
    headers = {"x-unisono-model": call.entry.id}
    if call.ignored:
        headers["x-unisono-ignored"] = ", ".join(call.ignored)
    stream = await kernel.open_speech(call)
    async with aclosing(stream):
        samples = np.concatenate([chunk.samples async for chunk in stream])
    return samples, stream.sample_rate, headers


def _encoded(samples: np.ndarray, sample_rate: int) -> str:
    return base64.b64encode(wav_file(samples, sample_rate)).decode()


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """Do some work, or stop it and return None when the client goes."""
    task = asyncio.create_task(work)
    watcher = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait([task, watcher], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, watcher):
            each.cancel()
        await asyncio.wait([task, watcher])


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
