"""As little server as can be: uvicorn sends bytes that are ready. What no server can beat."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from unisono import codecs
from unisono.testing.echo import expected

Message = dict[str, Any]


@lru_cache(maxsize=64)
def ready(text: str, name: str) -> bytes:
    return codecs.encode(expected(text), name, 24_000, 24_000)


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = b"{}"
    if scope["path"] != "/health":
        fields = json.loads(body)
        answer = ready(fields["input"], fields["response_format"])
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
