"""HTTP to a server, on the event loop.

Whatever a server does wrong becomes one of unisono's errors. Its own words are in the log: they
come in the language of its operator's system, and name paths.
"""

from __future__ import annotations

from typing import Any

import httpx2

from unisono import EngineUnavailable

from .options import GptSovitsSettings, is_local
from .servers import Server

_NO_CONNECTION = (httpx2.ConnectError, httpx2.ConnectTimeout)


class Unreachable(Exception):
    """Nobody listens at the address: the request has not begun, and may go elsewhere."""


def connection(settings: GptSovitsSettings) -> dict[str, Any]:
    """Return the arguments of a client, of httpx2's either kind."""
    timeout = httpx2.Timeout(settings.first_seconds, connect=settings.connect_seconds, pool=None)
    hosts = {httpx2.URL(url).host for url in settings.urls if is_local(url)}
    return {
        "timeout": timeout,
        # A proxy of the environment cannot reach this machine's own addresses.
        "mounts": {f"all://{f'[{host}]' if ':' in host else host}": None for host in hosts},
        # A kept connection may be closed by the server just as it is used again, and then
        # nobody knows whether the request arrived.
        "limits": httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        "headers": {"accept-encoding": "identity"},
    }


def failed(server: Server, what: str, code: str = "upstream_failed") -> EngineUnavailable:
    """Return the error that says that a server failed."""
    return EngineUnavailable(
        f"The GPT-SoVITS server at {server.place} {what}; its log may say why.", code=code
    )


class Link:
    """Sends requests, and says in unisono's errors what went wrong."""

    def __init__(self, settings: GptSovitsSettings) -> None:
        self._client = httpx2.AsyncClient(**connection(settings))
        self._settings = settings

    async def close(self) -> None:
        """Close what is still open."""
        await self._client.aclose()

    async def get(
        self, server: Server, path: str, params: dict[str, str] | None = None
    ) -> httpx2.Response:
        """Return the whole answer, whatever its status.

        :raises Unreachable: if nobody listens.
        :raises EngineUnavailable: if it breaks off, or takes too long.
        """
        response = await self.send("GET", server, path, params=params)
        try:
            await self.read(server, response)
        finally:
            await response.aclose()
        return response

    async def send(self, method: str, server: Server, path: str, **content: Any) -> httpx2.Response:
        """Return the answer with its body unread. The caller closes it.

        :raises Unreachable: if nobody listens.
        :raises EngineUnavailable: if it breaks off, or takes too long.
        """
        request = self._client.build_request(method, server.url + path, **content)
        try:
            return await self._client.send(request, stream=True)
        except _NO_CONNECTION as error:
            server.lost()
            raise Unreachable(server.place) from error
        except httpx2.TimeoutException as error:
            raise late(server, self._settings.first_seconds) from error
        except httpx2.TransportError as error:
            server.lost()
            raise failed(server, "broke off before it answered") from error

    async def read(self, server: Server, response: httpx2.Response) -> None:
        """Read the body, which is then in the response.

        :raises EngineUnavailable: if it breaks off, or takes too long.
        """
        try:
            await response.aread()
        except httpx2.TimeoutException as error:
            raise late(server, self._settings.first_seconds) from error
        except httpx2.TransportError as error:
            raise failed(server, "broke its answer off") from error


def late(server: Server, seconds: float) -> EngineUnavailable:
    """Return the error that says that a server took too long."""
    return failed(server, f"sent nothing for {seconds:g} seconds", "upstream_timeout")
