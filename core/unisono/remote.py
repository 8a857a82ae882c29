"""Recordings of voices at https:// addresses: what may be fetched, and what may come back.

Whoever may ask for speech may name an address, and this machine reaches more than they do. So
nothing is connected to before its name, its port and every address of it have been checked; what
was checked is what is connected to, whatever the name resolves to later; and a redirect is a new
address like the first: https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from threading import Thread
from typing import TYPE_CHECKING

from .addresses import is_public, literal
from .errors import ConfigError, PromptError
from .hookspecs import hookimpl
from .sections import Voices
from .voice import VoicePrompt, VoiceReference

if TYPE_CHECKING:
    import httpcore2
    import httpx2

    from .https import Connect

Resolve = Callable[[str, int], Sequence[str]]
"""From a host's name and a port to its addresses, as text; an OSError if there are none."""

_SCHEMES = ("https://", "http://")
_REDIRECTS = 3
_REDIRECTING = {301, 302, 303, 307, 308}
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_TYPES = re.compile(r"(audio|video)/.+|application/(octet-stream|ogg)|binary/octet-stream|")


class UrlVoices:
    """A plugin that fetches the recordings whose https:// address a client names.

    :param voices: what the operator allows.
    :param resolve: for tests.
    :param connect: for tests; it is given addresses that were checked, never a name.
    :raises ConfigError: if `voices.url_hosts` has an entry that is not a host.
    """

    def __init__(
        self,
        voices: Voices,
        *,
        resolve: Resolve | None = None,
        connect: Connect = socket.create_connection,
    ) -> None:
        self._voices = voices
        self._resolve = resolve or _system_addresses
        self._connect = connect
        self._hosts = [_listed(entry) for entry in voices.url_hosts if voices.allow_urls]

    @hookimpl(trylast=True)
    def resolve_voice_prompt(self, reference: VoiceReference) -> VoicePrompt | None:
        """Fetch a recording, if the reference is an address.

        :raises PromptError: if it may not be fetched, cannot be, or is no recording.
        """
        address = reference.audio
        if not isinstance(address, str) or not address[:8].lower().startswith(_SCHEMES):
            return None
        if not self._voices.allow_urls:
            raise _refusal(
                "this server does not fetch recordings from addresses. Send it as base64 or as "
                "an upload; or its operator may set voices.allow_urls = true."
            )
        return VoicePrompt(recording=self._fetch(address))

    def _fetch(self, address: str) -> bytes:
        import httpcore2  # noqa: PLC0415 - a server that fetches nothing does without it

        from . import https  # noqa: PLC0415

        deadline = time.monotonic() + self._voices.url_seconds
        target = _target(address)
        try:
            for _ in range(1 + _REDIRECTS):
                with https.get(
                    target.host,
                    target.port,
                    target.path,
                    addresses=self._checked(target, deadline),
                    deadline=deadline,
                    tls=self._tls,
                    connect=self._connect,
                ) as response:
                    location = https.header(response, "location")
                    if response.status not in _REDIRECTING or not location:
                        return self._read(response, target.host)
                target = _target(location, target.url)
        except (TimeoutError, FutureTimeout) as error:  # one class since Python 3.11
            seconds = self._voices.url_seconds
            raise _refusal(f"fetching it took longer than {seconds:g} s.") from error
        except ssl.SSLCertVerificationError as error:
            raise _refusal(f"{target.host!r} has no valid certificate of its name.") from error
        except OSError as error:
            raise _refusal(f"{target.host!r} cannot be reached by https.") from error
        except httpcore2.ProtocolError as error:
            raise _refusal(f"{target.host!r} broke off, or does not speak HTTP.") from error
        raise _refusal(f"it redirects more than {_REDIRECTS} times.")

    def _checked(self, target: _Target, deadline: float) -> Sequence[str]:
        """Return the addresses of a host that may be fetched from."""
        if self._hosts and not any(host.allows(target) for host in self._hosts):
            raise _refusal(f"this server does not fetch from {target.shown!r} (voices.url_hosts).")
        if not self._hosts and target.port != 443:
            raise _refusal(
                f"this server fetches from port 443 only, not from {target.shown!r} "
                "(voices.url_hosts may name another)."
            )
        named = literal(target.host) is None
        addresses = self._resolved(target, deadline) if named else [target.host]
        if not addresses:
            raise _refusal(f"the host {target.host!r} is not known.")
        if not all(is_public(ip_address(address)) for address in addresses):
            raise _refusal(
                f"{target.host!r} {'resolves to' if named else 'is'} a private address. This "
                "server fetches from addresses that anybody can reach."
            )
        return addresses

    def _resolved(self, target: _Target, deadline: float) -> Sequence[str]:
        """Resolve a name in time: the system's resolver knows no deadline, so it is left behind."""
        from .https import left  # noqa: PLC0415

        answer: Future[Sequence[str]] = Future()

        def resolve() -> None:
            try:
                answer.set_result(list(self._resolve(target.host, target.port)))
            except (OSError, UnicodeError):  # there is no such name, or there cannot be
                answer.set_result([])
            except BaseException as error:
                answer.set_exception(error)

        Thread(target=resolve, name="unisono-resolve", daemon=True).start()
        return answer.result(left(deadline))

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The machine's certificate authorities, or those of SSL_CERT_FILE."""
        import httpcore2  # noqa: PLC0415

        return httpcore2.default_ssl_context()

    def _read(self, response: httpcore2.Response, host: str) -> bytes:
        from .https import header  # noqa: PLC0415

        if response.status != 200:
            raise _refusal(f"{host!r} answered with status {response.status}, not 200.")
        kind = header(response, "content-type").partition(";")[0].strip().lower()
        if not _TYPES.fullmatch(kind):
            raise _refusal(f"{host!r} answered with {kind[:99]!r}, which is no recording.")
        if header(response, "content-encoding").lower() not in ("", "identity"):
            raise _refusal(f"{host!r} compresses its answer, though it was asked not to.")
        too_large = _refusal(f"the recording is larger than {self._voices.max_bytes:,} bytes.")
        length = header(response, "content-length")  # a hint: what comes is counted as well
        if length.isdecimal() and int(length) > self._voices.max_bytes:
            raise too_large
        data = bytearray()
        for chunk in response.iter_stream():
            data += chunk
            if len(data) > self._voices.max_bytes:
                raise too_large
        return bytes(data)


@dataclass(frozen=True)
class _Target:
    """An address, taken apart once: what is checked is what is asked."""

    url: httpx2.URL
    host: str
    """In ASCII and lower case, without a final dot; of an address its usual spelling."""
    port: int
    path: bytes

    @property
    def shown(self) -> str:
        return f"{self.host}:{self.port}" if self.port != 443 else self.host


@dataclass(frozen=True)
class _Listed:
    host: str
    port: int
    below: bool

    def allows(self, target: _Target) -> bool:
        fits = target.host.endswith(f".{self.host}") if self.below else target.host == self.host
        return fits and target.port == self.port


def _target(address: str, base: httpx2.URL | None = None) -> _Target:
    """Take an address apart.

    :param base: what a redirect is relative to.
    :raises PromptError: if it is not one that may be fetched.
    """
    import httpx2  # noqa: PLC0415

    try:
        url = httpx2.URL(address) if base is None else base.join(address)
        if url.scheme != "https":
            raise _refusal(f"an address must begin with https://, not {url.scheme[:20]}://.")
        if url.userinfo:
            raise _refusal("an address must not have a user name or password.")
        host = url.raw_host.decode("ascii").removesuffix(".")
        number = literal(host)
        if number is None and not _NAME.fullmatch(host):
            raise ValueError(host)
        port = 443 if url.port is None else url.port
        return _Target(url, host if number is None else str(number), port, url.raw_path)
    except (httpx2.InvalidURL, ValueError) as error:
        raise _refusal(f"{address[:99]!r} is not a valid address.") from error


def _listed(entry: str) -> _Listed:
    below = entry.startswith("*.")
    try:
        target = _target(f"https://{entry.removeprefix('*.')}")
    except PromptError:
        target = None
    if target is None or target.path != b"/":
        raise ConfigError(
            f'voices.url_hosts: {entry!r} is not a host; write them as "example.com", '
            '"example.com:8443" or "*.example.com".'
        )
    return _Listed(target.host, target.port, below)


def _system_addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _refusal(problem: str) -> PromptError:
    return PromptError(f"ref_audio: {problem}", param="ref_audio")
