"""POST /v1/audio/speech."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import cache
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .. import codecs
from ..dialogue import turns_of
from ..errors import RequestError, UnknownVoice, VoiceNotFound
from ..fields import SpeechFields
from ..kernel import Kernel
from ..parsing import from_form
from ..rendering import Rendered
from ..speech import SpeechCall
from ..spellings import SPEECH_SPELLINGS
from ..types import Task, Word
from .bodies import is_form, read_form, read_json, read_uploads
from .streaming import EVENT_STREAM, Answer, Parts, event

IGNORED = "x-unisono-ignored"
MODEL = "x-unisono-model"
HEARD = "x-unisono-ref-text"
"""Transcript of the voice's recording, if the kernel made it; UTF-8, percent-encoded."""
MAX_OTHER_FIELDS = 4 * 2**20
"""Bytes of a body beside the text and a recording."""


def speech_route(kernel: Kernel, engine: str | None = None) -> Route:
    """Return the route that speaks; `schemas` documents it.

    :param engine: only its models; without a name for one, its first.
    """
    # With the first request, and not at the start: an idle server is spared 22 MB and 0.2 s. Beside
    # the request, for its engine has to be loaded too.
    warming = cache(lambda: asyncio.ensure_future(asyncio.to_thread(codecs.warm_up)))
    # JSON may spell one character in twelve bytes, as two escaped surrogates; base64 needs four
    # bytes for three.
    limit = 12 * kernel.config.limits.text_chars + kernel.config.voices.max_bytes * 4 // 3
    limit += MAX_OTHER_FIELDS

    async def create_speech(request: Request) -> Response:
        if is_form(request):
            raw = await _read_form(request, kernel, engine)
        else:
            raw = await read_json(request, limit)
            if engine is not None:
                raw["model"] = kernel.catalog.of_engine(engine, raw.get("model")).id
        call = kernel.prepare_speech(raw)
        sse = call.fields.stream_format == "sse"
        if call.fields.word_timestamps and not sse:
            raise RequestError(
                "word_timestamps: bytes of audio have no place for them; ask for stream_format "
                "'sse'.",
                param="word_timestamps",
            )

        async def open_parts() -> Parts:
            warming()
            try:
                stream = await kernel.open_speech(call)
            except UnknownVoice as error:  # what the clients of each route expect
                raise VoiceNotFound(str(error), param="voice") if engine else error from None
            if stream.heard is not None:
                answer.headers[HEARD] = quote(stream.heard[:2000], safe=" ,.?!'")
            rendered = kernel.render(stream)
            return _events(rendered, call) if sse else _bytes(rendered)

        media_type = codecs.FORMATS[call.fields.response_format].media_type
        answer = Answer(
            open_parts,
            media_type=EVENT_STREAM if sse else media_type,
            headers=disclosure(call),
        )
        return answer

    prefix = f"/v1/{engine}" if engine else "/v1"
    return Route(f"{prefix}/audio/speech", create_speech, methods=["POST"])


async def _read_form(request: Request, kernel: Kernel, engine: str | None) -> dict[str, Any]:
    """Read the fields as a form brings them; the recording is an upload, under any of its names."""
    async with read_form(request, wanted="ref_audio") as form:
        # The model comes first: it decides which of its fields are lists.
        model = dict(form.pairs).get("model") or None
        if engine is not None:
            entry = kernel.catalog.of_engine(engine, model)
        else:
            entry = kernel.catalog.resolve(model, Task.SPEECH)
        raw = from_form(form.pairs, SpeechFields, entry.params_type)
        raw |= await read_uploads(
            form,
            "ref_audio",
            kernel.config.voices.max_bytes,
            spellings=SPEECH_SPELLINGS,
            texts={*SpeechFields.model_fields, *entry.params_type.model_fields},
        )
        if engine is not None:
            raw["model"] = entry.id
        return raw


def disclosure(call: Any) -> dict[str, str]:
    """Return headers that say which model answers, and what of the request has no effect."""
    return {MODEL: presentable(call.entry.id), **without_effect(call.ignored)}


def without_effect(fields: Sequence[str]) -> dict[str, str]:
    """Return the header that names fields that have no effect; of many, the first."""
    named = ", ".join(name[:60] for name in fields[:20])
    return {IGNORED: presentable(named)} if named else {}


def presentable(value: str) -> str:
    """Return what a header can hold: nothing that a client sent may end a header line."""
    return re.sub(r"[^\x20-\x7e]", "?", value)


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
    count = sum(len(turn.text) for turn in turns_of(call.fields, call.entry.info))
    usage = {"input_tokens": count, "output_tokens": 0, "total_tokens": count}
    yield event({"type": "speech.audio.done", "usage": usage}), True


def _word(word: Word) -> dict[str, Any]:
    return {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
