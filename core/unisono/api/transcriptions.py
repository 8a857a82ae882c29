"""POST /v1/audio/transcriptions and /v1/audio/translations."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

from fastapi import APIRouter, Request
from starlette.responses import Response

from .. import subtitles
from ..fields import TranscriptionFields, from_form
from ..kernel import Kernel
from ..transcription import TranscriptStream
from ..transcripts import render_transcript
from ..types import Task
from .bodies import read_form
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

    async def answer(request: Request, translate: bool) -> Response:
        files = AsyncExitStack()
        try:
            form = await files.enter_async_context(read_form(request, wanted="file"))
            upload = form.only_upload()
            # The model comes first: it decides which of its fields are lists.
            model = dict(form.pairs).get("model") or None
            entry = kernel.catalog.resolve(model, Task.TRANSCRIPTION)
            raw = from_form(form.pairs, TranscriptionFields, entry.params_type)
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
                yield event({"type": "transcript.text.delta", "delta": delta}), False
                before = text
            if diarized:
                yield event(subtitles.to_diarized_segment(len(segments) - 1, segment)), False
    text = subtitles.to_text(segments)
    yield event({"type": "transcript.text.done", "text": text}), True
