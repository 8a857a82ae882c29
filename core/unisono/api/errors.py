"""Every error, FastAPI's own included, in OpenAI's shape."""

from __future__ import annotations

import json

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..errors import RequestError, SpeechError


class NotFound(RequestError):
    """There is no such address."""

    status, code = 404, "not_found"


class MethodNotAllowed(RequestError):
    """The address exists, but not with this method."""

    status, code = 405, "method_not_allowed"


def error_response(error: SpeechError) -> Response:
    """Return the answer to a request that failed before its first byte."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    # In ASCII: a message may quote the client, and not all that it sends can be encoded.
    return Response(json.dumps(error.body()), error.status, headers, "application/json")


def add_error_handlers(app: FastAPI) -> None:
    """Make the application answer every error in OpenAI's shape."""

    async def on_speech_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, SpeechError)
        return error_response(error)

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        where = f"{request.method} {request.url.path}"
        known: SpeechError
        if error.status_code == 404:
            known = NotFound(f"There is no {where}. See /docs for what there is.")
        elif error.status_code == 405:
            known = MethodNotAllowed(f"{where} is not possible with this method.")
        else:
            known = RequestError(str(error.detail))
            known.status = error.status_code
        response = error_response(known)
        response.headers.update(error.headers or {})
        return response

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = [str(part) for part in first["loc"][1:]]
        message = f"{'.'.join(where) or 'request'}: {first['msg']}."
        return error_response(RequestError(message, param=where[0] if where else None))

    app.add_exception_handler(SpeechError, on_speech_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
