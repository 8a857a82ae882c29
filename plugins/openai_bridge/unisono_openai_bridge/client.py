"""One model's HTTP client."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from unisono import EngineUnavailable, SpeechError, __version__

from .failures import breakdown, refusal
from .options import UpstreamSettings

if TYPE_CHECKING:
    import httpx2

_MOST_ERROR_BYTES = 65_536
_LOCAL = frozenset({"localhost", "::1"})
_PROBE_SECONDS = 10.0
logger = logging.getLogger(__name__)


class Upstream:
    """The server behind a model.

    :param model: our id of the model, for messages.
    """

    def __init__(self, settings: UpstreamSettings, model: str) -> None:
        self._settings = settings
        self._model = model
        self._secret: str | None = None
        self._client: httpx2.AsyncClient | None = None

    async def open(self) -> None:
        """Make the client; nothing is sent yet.

        :raises EngineUnavailable: if the key is not where it should be.
        """
        self._secret = self._settings.key()
        # In a thread: reading the certificates of authorities takes tens of milliseconds.
        self._client = await asyncio.to_thread(self._make_client)

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @asynccontextmanager
    async def post_json(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[httpx2.Response, None]:
        """Send JSON and yield the beginning of a successful answer.

        :raises SpeechError: if there is none, or if reading the rest of it fails.
        """
        # In ASCII: a text may hold halves of surrogate pairs, which UTF-8 cannot.
        content = json.dumps(body).encode("ascii")
        async with self._post(
            path, {"content": content, "headers": {"content-type": "application/json"}}
        ) as response:
            yield response

    @asynccontextmanager
    async def post_form(
        self, path: str, fields: Sequence[tuple[str, str]], wav: bytes
    ) -> AsyncGenerator[httpx2.Response, None]:
        """Send a form with a WAV file. As for `post_json`."""
        data: dict[str, list[bytes]] = {}
        for name, value in fields:
            data.setdefault(name, []).append(value.encode(errors="replace"))
        files = {"file": ("audio.wav", wav, "audio/wav")}
        async with self._post(path, {"data": data, "files": files}) as response:
            yield response

    @asynccontextmanager
    async def _post(
        self, path: str, content: Mapping[str, Any]
    ) -> AsyncGenerator[httpx2.Response, None]:
        with self._blamed():
            response = await self._send(path, content)
            try:
                if not response.is_success:
                    body = await _beginning(response)
                    raise self._refusal(response, body)
                yield response
            finally:
                # Unless it was read to its end this closes the connection, which is how the
                # upstream learns that nobody listens any more.
                await response.aclose()

    async def _send(self, path: str, content: Mapping[str, Any]) -> httpx2.Response:
        import httpx2  # noqa: PLC0415 - importing it takes a tenth of a second

        client = self._client
        assert client is not None, "the kernel loads a model before it uses it"
        kept_alive = True

        async def watch(event: str, info: Mapping[str, Any]) -> None:
            nonlocal kept_alive
            kept_alive = kept_alive and not event.startswith("connection.connect")

        def request() -> httpx2.Request:
            extensions = {"trace": watch}
            return client.build_request("POST", path, extensions=extensions, **content)

        try:
            return await client.send(request(), stream=True)
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
            if not kept_alive:
                raise
            # The upstream gave up an idle connection at the moment when it was used again: it has
            # not seen the request. This is the only thing that is ever tried twice.
            return await client.send(request(), stream=True)

    def problems(self) -> Iterator[str]:
        """Ask the upstream for its models, and say what is wrong with the answer."""
        import httpx2  # noqa: PLC0415

        settings = self._settings
        where = f"The upstream server at {settings.base_url}"
        try:
            secret = settings.key()
        except EngineUnavailable as error:
            yield str(error)
            return
        try:
            with httpx2.Client(
                headers=_headers(secret), timeout=_PROBE_SECONDS, trust_env=self._trusts_env
            ) as client:
                response = client.get(f"{settings.base_url}/models")
        except httpx2.HTTPError as error:
            yield (
                f"{where} does not answer ({type(error).__name__}: {error}): start it, or correct "
                "base_url."
            )
            return
        if not response.is_success:
            yield f"{where}: {self._refusal(response, response.content, secret)}"
            return
        try:
            ids = [str(each["id"]) for each in response.json()["data"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            yield f"{where} answers no list of models: correct base_url, which usually ends in /v1."
            return
        if settings.model not in ids:
            yield (
                f"{where} has no model {settings.model!r}: correct the setting `model`. It has: "
                f"{', '.join(map(repr, ids[:30])) or 'none'}."
            )

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """Turn what the client raises into our errors."""
        import httpx2  # noqa: PLC0415

        settings = self._settings
        try:
            yield
        except httpx2.HTTPError as error:
            why = f"{type(error).__name__}: {error}"
            logger.warning("%s, for model %r: %s", settings.base_url, self._model, why)
            silence = settings.timeout
            raise breakdown(error, model=self._model, silence=silence) from error

    def _refusal(
        self, response: httpx2.Response, body: bytes, secret: str | None = None
    ) -> SpeechError:
        error = refusal(
            response.status_code,
            response.headers,
            body,
            model=self._model,
            secret=secret or self._secret,
        )
        if isinstance(error, EngineUnavailable):
            logger.warning("%s: %s", self._settings.base_url, error)
        return error

    def _make_client(self) -> httpx2.AsyncClient:
        import httpx2  # noqa: PLC0415

        settings = self._settings
        return httpx2.AsyncClient(
            base_url=settings.base_url,
            headers=_headers(self._secret),
            timeout=httpx2.Timeout(settings.timeout, connect=settings.connect_timeout, pool=None),
            limits=httpx2.Limits(
                max_keepalive_connections=settings.concurrent_requests, keepalive_expiry=60
            ),
            trust_env=self._trusts_env,
        )

    @property
    def _trusts_env(self) -> bool:
        chosen, host = self._settings.use_proxy, self._settings.host
        return host not in _LOCAL and not host.startswith("127.") if chosen is None else chosen


def _headers(secret: str | None) -> dict[str, str]:
    # Uncompressed: a stream that was torn must not look as if it had ended.
    headers = {"user-agent": f"unisono/{__version__}", "accept-encoding": "identity"}
    if secret is not None:
        headers["authorization"] = f"Bearer {secret}"
    return headers


async def _beginning(response: httpx2.Response) -> bytes:
    body = bytearray()
    async with aclosing(response.aiter_bytes()) as parts:
        async for part in parts:
            body += part
            if len(body) > _MOST_ERROR_BYTES:
                break
    return bytes(body)
