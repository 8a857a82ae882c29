"""POST /v1/audio/transcriptions and /v1/audio/translations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, BinaryIO

from fastapi import APIRouter, Request
from starlette.responses import Response

from .. import subtitles
from ..errors import AudioError, PromptError, RequestError
from ..fields import TranscriptionFields
from ..kernel import Kernel
from ..listening import TranscriptStream
from ..parsing import from_form
from ..references import decoded_recording
from ..transcripts import render_transcript
from ..types import Segment, Task
from .bodies import is_json, read_form, read_json
from .speech import disclosure
from .streaming import EVENT_STREAM, Answer, Parts, event

MEDIA_TYPES = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "text/plain; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "verbose_json": "application/json",
    "diarized_json": "application/json",
}


def transcriptions_router(kernel: Kernel) -> APIRouter:
    """Return the routes that write."""
    router = APIRouter()
    limit = kernel.config.limits.upload_bytes

    async def answer(request: Request, translate: bool) -> Response:
        files = AsyncExitStack()
        upload: BinaryIO | bytes
        try:
            if is_json(request):
                raw = await read_json(request, limit)
                upload = await asyncio.to_thread(_sent_file, raw.pop("file", None))
            else:
                form = await files.enter_async_context(read_form(request, wanted="file"))
                upload = form.only_upload()
                # The model comes first: it decides which of the fields are lists.
                model = dict(form.pairs).get("model") or None
                entry = kernel.catalog.resolve(model, Task.TRANSCRIPTION)
                options = kernel.catalog.params_types(entry)
                raw = from_form(form.pairs, TranscriptionFields, *options)
            call = kernel.prepare_transcription(raw, translate=translate)
        except BaseException:
            await files.aclose()
            raise

        async def open_parts() -> Parts:
            async with files:
                stream = await kernel.open_transcription(call, upload)
            return _events(stream) if call.fields.stream else _whole(stream)

        media_type = MEDIA_TYPES[call.fields.response_format]
        return Answer(
            open_parts,
            media_type=EVENT_STREAM if call.fields.stream else media_type,
            headers=disclosure(call),
        )

    @router.post(
        "/v1/audio/transcriptions", operation_id="createTranscription", summary="Transcribe speech"
    )
    async def create_transcription(request: Request) -> Response:
        return await answer(request, translate=False)

    @router.post(
        "/v1/audio/translations",
        operation_id="createTranslation",
        summary="Transcribe speech into English",
    )
    async def create_translation(request: Request) -> Response:
        return await answer(request, translate=True)

    return router


def _sent_file(value: object) -> bytes:
    """Return the file of a JSON body, as Xinference's page shows one: base64, or a data: URL."""
    if not isinstance(value, str):
        raise RequestError("file: base64 of the audio is expected.", param="file")
    try:
        return decoded_recording(value, "file")
    except PromptError as error:
        raise AudioError(str(error), param="file") from error


async def _whole(stream: TranscriptStream) -> Parts:
    transcript = await stream.collect()
    body = await asyncio.to_thread(render_transcript, transcript, stream.call.fields)
    yield body.encode(), True


async def _events(stream: TranscriptStream) -> Parts:
    """Yield OpenAI's `transcript.text.delta` … `transcript.text.done`, and, for diarized_json,
    `transcript.text.segment` with each speaker.
    """
    segments = []
    before = ""
    diarized = stream.call.fields.response_format == "diarized_json"
    async with aclosing(stream):
        async for segment in stream:
            segments.append(segment)
            text = subtitles.to_text([segment])
            if text:  # deltas join to exactly the text of the last event
                delta = subtitles.separator(before, text) + text
                said = {"type": "transcript.text.delta", "delta": delta}
                yield event({**said, **_details([segment], stream, before)}), False
                before = text
            if diarized:
                yield event(subtitles.to_diarized_segment(len(segments) - 1, segment)), False
    done = {"type": "transcript.text.done", "text": subtitles.to_text(segments)}
    yield event({**done, **_details(segments, stream, "")}), True


def _details(segments: Sequence[Segment], stream: TranscriptStream, before: str) -> dict[str, Any]:
    """Return what `include` asks for."""
    wanted = "logprobs" in stream.call.fields.include
    return {"logprobs": subtitles.to_logprobs(segments, before)} if wanted else {}
