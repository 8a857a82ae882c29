"""What happens around every request: its id, its key. Pure ASGI: a middleware that
wraps responses (starlette's BaseHTTPMiddleware) costs 0.6 ms a request and 21 µs a chunk.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Sequence
from random import getrandbits

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import EngineFailed, InvalidKey
from .errors import error_response

logger = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
_PRESENTABLE = re.compile(r"[\x21-\x7e]{1,200}")
_ALWAYS_PUBLIC = ("/health", "/ready", "/openapi.json", "/docs", "/v1/cluster/auth")
_DISCOVERY = ("/v1/models", "/v1/audio/models", "/v1/audio/voices", "/v1/engines")


class RequestIds:
    """Give each request an id, the client's own if it is presentable, and answer for a request
    whose handler broke down.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        # Not uuid4: it asks the kernel for randomness, and an id need not be hard to guess.
        request_id = given if _PRESENTABLE.fullmatch(given) else f"req_{getrandbits(128):032x}"
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            logger.debug("The client of request %s went while it was sending.", request_id)
        # The last resort: a defect of ours or of a plugin's routes.
        except Exception:
            logger.exception("Request %s (%s) failed.", request_id, scope["path"])
            if started:
                raise  # the server then breaks the connection, which is what the client must see
            response = error_response(
                EngineFailed(
                    f"The server failed to answer; its log says why under {request_id}.",
                    code="internal_error",
                )
            )
            await response(scope, receive, send_with_id)


class ApiKeys:
    """Demand one of the keys as Bearer token, unless there are none.

    :param public_discovery: whether GET on models and voices works without one.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str], public_discovery: bool) -> None:
        self.app = app
        self._keys = [key.encode() for key in keys]
        self._public_discovery = public_discovery

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket") or self._allowed(scope):
            await self.app(scope, receive, send)
            return
        message = "This server wants an API key: send `Authorization: Bearer <key>`."
        if _is_discovery(scope["path"]):
            message += " The operator can open discovery with server.public_discovery = true."
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 3000, "reason": "API key wanted"})
            return
        await error_response(InvalidKey(message))(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        if not self._keys:
            return True
        method = scope.get("method")
        if method == "OPTIONS":  # what a browser asks before it may send the key
            return True
        if method in ("GET", "HEAD") and is_public(scope["path"], self._public_discovery):
            return True
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        given = token.strip().encode("latin-1")  # the bytes as they came
        # Every key is compared, so that the time says nothing about which one was close.
        matches = [secrets.compare_digest(given, key) for key in self._keys]
        return scheme.lower() == "bearer" and any(matches)


def is_public(path: str, discovery: bool) -> bool:
    """Whether GET on a path is answered without a key.

    :param discovery: whether the lists of models, voices and engines are.
    """
    return _within(path, _ALWAYS_PUBLIC) or (discovery and _is_discovery(path))


def _is_discovery(path: str) -> bool:
    # Below the list of voices are people's recordings.
    return _within(path, _DISCOVERY) and not path.startswith("/v1/audio/voices/")


def _within(path: str, prefixes: Sequence[str]) -> bool:
    """Whether a path is one of some paths, or lies below one."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)
