"""What a client may ask of the upstream beyond the fields that all models share."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from unisono import Params, RequestError

from .options import UpstreamSettings

_MOST_FIELD_BYTES = 65_536
ANY = "*"


def _object(value: object) -> object:
    """Take JSON too: a form can send nothing else."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


class UpstreamParams(Params):
    """Per-request options of a model at another server."""

    upstream: Annotated[dict[str, Any], BeforeValidator(_object)] = Field(
        {},
        description="Further fields for the upstream server, as a JSON object of up to 64 KiB: "
        "those that the operator lets through.",
    )

    @field_validator("upstream")
    @classmethod
    def _is_bounded_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            size = len(json.dumps(value, allow_nan=False))
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if size > _MOST_FIELD_BYTES:
            raise ValueError(f"{size:,} bytes; at most {_MOST_FIELD_BYTES:,} are passed on")
        return value


class OpenaiSpeechParams(UpstreamParams):
    """Options of speech from another server."""


class OpenaiTranscriptionParams(UpstreamParams):
    """Options of a transcription by another server."""


def further_fields(
    settings: UpstreamSettings, params: UpstreamParams, own: Collection[str]
) -> dict[str, Any]:
    """Return what the operator and the client want the upstream to get besides the request.

    :param own: the fields that say the request itself, which a client must not say again.
    :raises RequestError: if the client names a field that it may not send.
    """
    for name in params.upstream:
        why = None
        if name in own:
            why = "is not sent in here, but as a field of the request, where it has one"
        elif name in settings.extra_body:
            why = "is set by the operator of this server"
        elif name not in settings.client_fields and ANY not in settings.client_fields:
            why = (
                "does not pass this server; its operator can let it through (client_fields). "
                f"Fields that pass: {', '.join(settings.client_fields) or 'none'}"
            )
        if why:
            raise RequestError(
                f"upstream: {name[:80]!r} {why}.", param="upstream", code="unsupported_option"
            )
    return {**settings.extra_body, **params.upstream}
