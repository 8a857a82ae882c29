"""Read request bodies as clients really send them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile

from ..errors import RequestError, UploadTooLarge

MAX_TEXT_PART = 8 * 2**20
"""Bytes of one text field of a form."""
MAX_FIELDS = 500
"""Fields of a body, of either kind."""


@dataclass(frozen=True)
class Form:
    """A multipart body."""

    pairs: list[tuple[str, str]]
    """Text fields, in order."""
    file: BinaryIO
    """The upload; large ones are a file on disk without a name, so nothing can be left behind."""


async def read_json(request: Request, limit: int) -> dict[str, Any]:
    """Return the body, a JSON object, whatever its Content-Type says.

    :param limit: most bytes of it; while it is parsed, every other request waits.
    :raises RequestError: if it is not one.
    :raises UploadTooLarge: if it is larger.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise UploadTooLarge(f"A JSON body of this request may have {limit} bytes at most.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = str(error) if body else "the body is empty"
        raise RequestError(f"The body is not valid JSON: {reason}.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise RequestError("The body must be a JSON object.", code="invalid_json")
    if len(value) > MAX_FIELDS:
        raise RequestError(f"The body has {len(value):,} fields; at most {MAX_FIELDS} may be.")
    return value


@asynccontextmanager
async def read_form(request: Request) -> AsyncIterator[Form]:
    """Read a multipart body with one upload; the upload is closed when the context ends.

    The upload's name and Content-Type are ignored, for they lie: its content is judged. It is
    the part called `file`, or else the only upload there is.

    :raises RequestError: if the body is not multipart or brings no upload.
    """
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        raise RequestError(
            f"Send multipart/form-data with a part `file`, not {content_type or 'nothing'!r}.",
            param="file",
            code="invalid_content_type",
        )
    try:
        form = await request.form(max_files=16, max_fields=MAX_FIELDS, max_part_size=MAX_TEXT_PART)
    # The header may name any of Python's codecs as the charset, even `undefined`.
    except ValueError as error:
        raise RequestError("The form's charset cannot be decoded.") from error
    try:
        parts = form.multi_items()
        uploads = [(name, part) for name, part in parts if isinstance(part, UploadFile)]
        named = [part for name, part in uploads if name in ("file", "file[]")]
        if not named and len(uploads) == 1:
            named = [uploads[0][1]]
        if len(named) != 1:
            names = ", ".join(sorted({name for name, _ in parts})) or "nothing"
            raise RequestError(
                "file: one uploaded file is expected, a part with a filename "
                f"(curl -F file=@speech.wav). The request has: {names[:200]}.",
                param="file",
            )
        pairs = [(name, part) for name, part in parts if isinstance(part, str)]
        yield Form(pairs, named[0].file)
    finally:
        await form.close()
