"""Read request bodies as clients really send them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Container, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ..errors import RequestError, UploadTooLarge

MAX_TEXT_PART = 8 * 2**20
"""Bytes of one text field of a form."""
MAX_TEXTS = 4 * MAX_TEXT_PART
"""Characters of all of them: files lie on disk, these in memory."""
_LONG = 2**18
"""Bytes of JSON that take a millisecond."""
MAX_FIELDS = 500
"""Fields of a body, of either kind."""


@dataclass(frozen=True)
class Form:
    """A multipart body."""

    pairs: list[tuple[str, str]]
    """Text fields, in order."""
    uploads: list[tuple[str, BinaryIO]]
    """Large ones are files on disk without a name, so nothing can be left behind. Their names and
    Content-Types are dropped, for they lie: the content is judged.
    """

    def only_upload(self) -> BinaryIO:
        """Return the part called `file`, or else the only upload there is.

        :raises RequestError: if there is none, or no telling which.
        """
        named = [file for name, file in self.uploads if name in ("file", "file[]")]
        if not named and len(self.uploads) == 1:
            named = [self.uploads[0][1]]
        if len(named) != 1:
            parts = {name for name, _ in (*self.pairs, *self.uploads)}
            raise RequestError(
                "file: one uploaded file is expected, a part with a filename "
                "(curl -F file=@speech.wav). The request has: "
                f"{(', '.join(sorted(parts)) or 'nothing')[:200]}.",
                param="file",
            )
        return named[0]


async def read_json(request: Request, limit: int) -> dict[str, Any]:
    """Return the body, a JSON object, whatever its Content-Type says.

    :param limit: most bytes of it.
    :raises RequestError: if it is not one.
    :raises UploadTooLarge: if it is larger.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise UploadTooLarge(f"A JSON body of this request may have {limit} bytes at most.")
    try:
        long = len(body) > _LONG  # nobody else should wait while it is parsed
        value = await asyncio.to_thread(json.loads, body) if long else json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = str(error) if body else "the body is empty"
        raise RequestError(f"The body is not valid JSON: {reason}.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise RequestError("The body must be a JSON object.", code="invalid_json")
    if len(value) > MAX_FIELDS:
        raise RequestError(f"The body has {len(value):,} fields; at most {MAX_FIELDS} may be.")
    return value


class _FormParser(MultiPartParser):
    _texts = 0

    def on_part_end(self) -> None:
        super().on_part_end()
        _, part = self.items[-1]
        self._texts += len(part) if isinstance(part, str) else 0
        if self._texts > MAX_TEXTS:
            raise RequestError(
                f"The form's text fields have more than {MAX_TEXTS} characters. Send what is large "
                "as a file: a part with a filename."
            )


def is_json(request: Request) -> bool:
    """Whether the body says that it is JSON."""
    return request.headers.get("content-type", "").lower().startswith("application/json")


def is_form(request: Request) -> bool:
    """Whether the body says that it is multipart."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


@asynccontextmanager
async def read_form(request: Request, *, wanted: str) -> AsyncIterator[Form]:
    """Read a multipart body; its uploads are closed when the context ends.

    :param wanted: the part that a body which is no form lacks, for the error.
    :raises RequestError: if the body is not multipart.
    """
    if not is_form(request):
        content_type = request.headers.get("content-type") or "nothing"
        raise RequestError(
            f"Send multipart/form-data with a part `{wanted}`, not {content_type!r}.",
            param=wanted,
            code="invalid_content_type",
        )
    try:
        async with aclosing(request.stream()) as stream:
            limits = {"max_files": 16, "max_fields": MAX_FIELDS, "max_part_size": MAX_TEXT_PART}
            form = await _FormParser(request.headers, stream, **limits).parse()
    except MultiPartException as error:
        raise RequestError(error.message) from error
    # The header may name any of Python's codecs as the charset, even `undefined`.
    except ValueError as error:
        raise RequestError("The form's charset cannot be decoded.") from error
    try:
        parts = form.multi_items()
        uploads = [(name, part.file) for name, part in parts if isinstance(part, UploadFile)]
        yield Form([(name, part) for name, part in parts if isinstance(part, str)], uploads)
    finally:
        await form.close()


async def read_uploads(
    form: Form, wanted: str, limit: int, *, spellings: Mapping[str, str], texts: Container[str]
) -> dict[str, bytes | str]:
    """Return a form's uploads by their names; of those that nobody wants, only that they came.

    :param wanted: the field that is a file; of one that is larger, a byte more than `limit` comes.
    :param texts: fields that are none.
    :raises RequestError: if one of these came as a file.
    """
    found: dict[str, bytes | str] = {}
    for name, file in form.uploads:
        own = spellings.get(name, name)
        if own != wanted and own in texts:
            raise RequestError(f"{name}: text is expected, not an uploaded file.", param=name)
        content = await asyncio.to_thread(file.read, limit + 1) if own == wanted else "an upload"
        found[name] = content
    return found
