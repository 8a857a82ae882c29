"""What went wrong at the upstream, in terms of our own errors.

Whose fault it is decides: what the client can mend is a `RequestError`, with the upstream's own
words; what only the operator or time can mend is `EngineUnavailable` or `EngineOverloaded`. The
upstream's words pass through without the key. Its address goes into the log only.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from unisono import (
    EngineOverloaded,
    EngineUnavailable,
    RequestError,
    SpeechError,
    UploadTooLarge,
)

if TYPE_CHECKING:
    import httpx2

_MOST_WORDS = 500
_UNPAID = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_PASSING = frozenset({408, 409, 425})
"""What the OpenAI SDKs retry among the 4xx: it says nothing of the request."""


@dataclass(frozen=True)
class Complaint:
    """What an upstream says is wrong, as far as it says it in JSON."""

    message: str | None = None
    param: str | None = None
    code: str | None = None

    @classmethod
    def read(cls, body: bytes | Mapping[str, Any], secret: str | None) -> Complaint:
        """Take an error body apart: OpenAI's, FastAPI's (`detail`), or a bare `message`.

        :param secret: what must not be repeated.
        """
        try:
            value = json.loads(body) if isinstance(body, bytes) else body
        except (ValueError, RecursionError):
            return cls()  # a proxy's HTML page, say
        if not isinstance(value, dict):
            return cls()
        error = value.get("error", value.get("detail", value))
        if isinstance(error, list):  # FastAPI's own validation: [{"loc": ["body", …], "msg"}]
            first = error[0] if error and isinstance(error[0], dict) else {}
            where = first.get("loc")
            param = where[-1] if isinstance(where, list) and where else None
            error = {"message": first.get("msg"), "param": param}
        if not isinstance(error, dict):
            error = {"message": error}
        said = (
            _presentable(error.get(key), secret, most)
            for key, most in (("message", _MOST_WORDS), ("param", 80), ("code", 80))
        )
        return cls(*said)

    @property
    def tail(self) -> str:
        """How a sentence about it ends."""
        if self.message is None:
            return " and does not say why."
        return f": {self.message}" + ("" if self.message.endswith((".", "!", "?")) else ".")


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, *, model: str, secret: str | None
) -> SpeechError:
    """Return the error for an answer that is none.

    :param model: our id of the model.
    """
    who = f"The upstream server of model {model!r}"
    said = Complaint.read(body, secret)
    wait = _retry_after(headers)
    why = _operators_part(status, said)
    error: SpeechError
    if why is not None:
        error = EngineUnavailable(f"{who} {why}")
    elif status == 429:
        error = EngineOverloaded(f"{who} has no room now{said.tail}", retry_after=wait or 1)
    elif 400 <= status < 500 and status not in _PASSING:
        kind = UploadTooLarge if status == 413 else RequestError
        error = kind(f"{who} refuses the request{said.tail}", param=said.param, code=said.code)
    else:
        error = EngineUnavailable(f"{who} failed with status {status}{said.tail}")
        error.retry_after = wait
    return error


def _operators_part(status: int, said: Complaint) -> str | None:
    """Say what the operator of this server has to do, if only the operator can do anything."""
    if status in (401, 403):  # its words may repeat half of the key
        code = f", {said.code}" if said.code else ""
        return (
            f"does not accept this server's key ({status}{code}): the operator has to set api_key "
            "or api_key_env of the model to a key that may use it."
        )
    if status == 402 or said.code in _UNPAID:
        return f"wants to be paid by the operator first{said.tail}"
    if 300 <= status < 400:
        return f"has moved ({status}): the operator has to correct its base_url."
    # Our client named neither the upstream's model nor its address.
    if status < 500 and (said.param == "model" or said.code == "model_not_found"):
        return (
            f"does not take the model that is configured{said.tail} The operator has to correct "
            "the setting `model`."
        )
    if status in (404, 405) and said.param is None:
        return (
            f"has no such address ({status}): the operator has to correct its base_url, which "
            "usually ends in /v1."
        )
    return None


def breakdown(error: httpx2.HTTPError, *, model: str, silence: float) -> EngineUnavailable:
    """Return the error for a connection that failed.

    :param silence: seconds that the upstream may take.
    """
    import httpx2  # noqa: PLC0415 - importing it takes a tenth of a second

    who = f"The upstream server of model {model!r}"
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        why = (
            "cannot be reached: the operator has to see that it runs, and that its base_url (and "
            "the proxy, if there is one) is right."
        )
    elif isinstance(error, httpx2.TimeoutException):
        why = (
            f"was silent for {silence:g} seconds. If it needs longer than that, the operator has "
            "to raise the setting `timeout`."
        )
    elif isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError):
        why = "broke off before its answer was complete; try again."
    else:
        why = "does not answer in proper HTTP: the operator has to correct its base_url."
    return EngineUnavailable(f"{who} {why}")


def unexpected(model: str, what: str) -> EngineUnavailable:
    """Return the error for a successful answer that is not what it should be."""
    return EngineUnavailable(f"The upstream server of model {model!r} {what}.")


def _presentable(value: object, secret: str | None, most: int) -> str | None:
    """Return a value in one line of bounded length, without what must not be repeated."""
    if value is None or isinstance(value, dict | list | bool):
        return None
    text = str(value).replace(secret, "***") if secret else str(value)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (text if len(text) <= most else text[: most - 1] + "…") or None


def _retry_after(headers: Mapping[str, str]) -> int | None:
    """Return the seconds that the upstream wants to be left alone, rounded up (RFC 9110, 10.2.3;
    `retry-after-ms` is OpenAI's).
    """
    exact, value = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    try:
        if exact:
            seconds = float(exact) / 1000
        elif value[:1].isdigit():
            seconds = float(value)
        else:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        return min(max(1, math.ceil(seconds)), 86_400)
    except (ValueError, TypeError, OverflowError):
        return None
