"""POST /v1/audio/speech."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .. import codecs
from ..errors import RequestError
from ..kernel import Kernel
from ..rendering import Rendered
from ..speech import SpeechCall
from ..types import Word
from .bodies import read_json
from .streaming import EVENT_STREAM, Answer, Parts, event

IGNORED = "x-unisono-ignored"
MODEL = "x-unisono-model"
MAX_OTHER_FIELDS = 4 * 2**20
"""Bytes of a body beside the text."""


def speech_route(kernel: Kernel) -> Route:
    """Return the route that speaks; `schemas` documents it."""
    # With the first request, and not at the start: an idle server is spared 22 MB and 0.2 s. Beside
    # the request, for its engine has to be loaded too.
    warming = cache(lambda: asyncio.ensure_future(asyncio.to_thread(codecs.warm_up)))
    # JSON may spell one character in twelve bytes, as two escaped surrogates.
    limit = 12 * kernel.config.limits.text_chars + MAX_OTHER_FIELDS

    async def create_speech(request: Request) -> Response:
        call = kernel.prepare_speech(await read_json(request, limit))
        sse = call.fields.stream_format == "sse"
        if call.fields.word_timestamps and not sse:
            raise RequestError(
                "word_timestamps: bytes of audio have no place for them; ask for stream_format "
                "'sse'.",
                param="word_timestamps",
            )

        async def open_parts() -> Parts:
            warming()
            rendered = kernel.render(await kernel.open_speech(call))
            return _events(rendered, call) if sse else _bytes(rendered)

        media_type = codecs.FORMATS[call.fields.response_format].media_type
        return Answer(
            open_parts,
            media_type=EVENT_STREAM if sse else media_type,
            headers=disclosure(call),
        )

    return Route("/v1/audio/speech", create_speech, methods=["POST"])


def disclosure(call: Any) -> dict[str, str]:
    """Return headers that say which model answers, and what of the request has no effect."""
    headers = {MODEL: call.entry.id}
    if call.ignored:
        headers[IGNORED] = ", ".join(name[:60] for name in call.ignored[:20])
    # The names are the client's: nothing of them may end a header line.
    return {name: re.sub(r"[^\x20-\x7e]", "?", value) for name, value in headers.items()}


async def _bytes(rendered: AsyncIterator[Rendered]) -> Parts:
    async with aclosing(rendered):  # type: ignore[type-var]
        async for part in rendered:
            if part.data or part.last:
                yield part.data, part.last


async def _events(rendered: AsyncIterator[Rendered], call: SpeechCall) -> Parts:
    """Yield OpenAI's `speech.audio.delta` … `speech.audio.done`; `words` is an extension."""
    async with aclosing(rendered):  # type: ignore[type-var]
        async for part in rendered:
            if not part.data and not part.words:
                continue
            delta: dict[str, Any] = {
                "type": "speech.audio.delta",
                "audio": base64.b64encode(part.data).decode(),
            }
            if call.fields.word_timestamps:
                delta["words"] = [_word(word) for word in part.words]
            yield event(delta), False
    # There is no tokenizer here: the input counts in characters.
    count = len(call.fields.input)
    usage = {"input_tokens": count, "output_tokens": 0, "total_tokens": count}
    yield event({"type": "speech.audio.done", "usage": usage}), True


def _word(word: Word) -> dict[str, Any]:
    return {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
