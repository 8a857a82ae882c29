"""The tables of the configuration: every key with its type, default and meaning."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import NoDecode

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if text == "forever":
        return math.inf
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text)
    if not match:
        raise ValueError('a duration is a number of seconds, "90s", "10m", "2h", or "forever"')
    return float(match[1]) * _UNITS[match[2]]


def _items(value: object) -> object:
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
"""Seconds; also written "90s", "10m", "2h", "forever"."""
Names = Annotated[list[str], NoDecode, BeforeValidator(_items)]
"""A list; in the environment, items separated by commas."""
Paths = Annotated[list[Path], NoDecode, BeforeValidator(_items)]
"""Likewise, of paths."""
Keys = Annotated[list[Annotated[SecretStr, Field(min_length=1)]], NoDecode, BeforeValidator(_items)]


class Section(BaseModel):
    """A table of the file. Unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(Section):
    """The HTTP server."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every one.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    api_keys: Keys = Field([], description="Accepted Bearer keys; none means no authentication.")
    public_discovery: bool = Field(
        False, description="Answer models and voices without a key (Open WebUI asks without)."
    )
    cors_origins: Names = Field([], description='Origins that browsers may call from; "*" for all.')
    strict: bool = Field(False, description="Refuse requests with fields that nothing knows.")
    preload: Names = Field([], description="Models to load before the server says it is ready.")
    access_log: bool = Field(False, description="Log a line for every request.")


class Limits(Section):
    """What one client, or all of them, may ask for."""

    upload_bytes: ByteSize = Field(
        ByteSize(500 * 2**20), gt=0, description='Largest request body, for example "25MiB".'
    )
    upload_seconds: Duration = Field(
        600.0, gt=0, description='Longest time that a request body may take to come: "10m".'
    )
    audio_seconds: float = Field(
        7200, gt=0, description="Longest upload, in seconds of decoded audio."
    )
    text_chars: int = Field(
        100_000, gt=0, description="Longest input text; OpenAI's limit is 4096."
    )
    queue_length: int = Field(
        64, ge=0, description="Requests that may wait for one model; more get 429."
    )
    concurrent_requests: int = Field(
        512, gt=0, description="Requests in progress over all models; more get 429."
    )
    keep_alive: Duration = Field(
        600.0, description='How long an idle model stays loaded: "10m", 0, "forever".'
    )
    memory: ByteSize | None = Field(
        None, description="Budget for loaded models by their declared memory; none means no limit."
    )


class Defaults(Section):
    """Models for requests that name none, or one of OpenAI's."""

    speech: str | None = Field(None, description="Model that speaks.")
    transcription: str | None = Field(None, description="Model that transcribes.")
    alignment: str | None = Field(
        None, description="Model that finds the words of transcripts that come without their times."
    )
    diarization: str | None = Field(
        None, description="Model that tells speakers apart for models that cannot."
    )


class Voices(Section):
    """Recordings to clone, and where stored voices live."""

    directory: Path | None = Field(
        None, description="Where stored voices are kept; without one, the user's data directory."
    )
    max_bytes: ByteSize = Field(
        ByteSize(20 * 2**20), gt=0, description="Largest recording of a voice, as a file."
    )
    max_seconds: float = Field(
        60.0, gt=0, description="Longest recording of a voice; a model may want less."
    )
    cache_bytes: ByteSize = Field(
        ByteSize(256 * 2**20),
        ge=0,
        description="Memory for recordings as models want them, and again for each model's "
        "features of them.",
    )
    transcribe_with: str | None = Field(
        None, description="Model that writes down a recording that comes without its transcript."
    )
    allow_urls: bool = Field(False, description="Fetch recordings from https:// addresses.")
    url_hosts: Names = Field(
        [],
        description='Hosts to fetch from; "*.example.com" for all below, "example.com:8443" for '
        "another port than 443; none means any.",
    )
    url_seconds: float = Field(
        10.0, gt=0, le=600, description="Longest time for fetching a recording."
    )
    file_directories: Paths = Field(
        [], description="Directories of this machine that file:// recordings may come from."
    )


class Plugins(Section):
    """Which installed plugins take part."""

    disabled: Names = Field([], description="Plugins to leave out without importing them.")
    required: Names = Field([], description="Plugins without which the server must not start.")


class ModelConfig(BaseModel):
    """The table `[models.<id>]`. Keys not listed here are the engine's own Settings."""

    model_config = ConfigDict(extra="allow", frozen=True)

    engine: str = Field(description="Engine that runs the model.")
    keep_alive: Duration | None = Field(None, description="Overrides limits.keep_alive.")
    default_voice: str | None = Field(
        None, description="Voice for requests that name none, or one of OpenAI's; it may be stored."
    )
    runner: Literal["thread", "process"] | None = Field(
        None,
        description="Where it runs: on a thread of the server, or in a process of its own; without "
        "it, as the engine prefers.",
    )
    python: Path | None = Field(
        None,
        description="Interpreter of the process, of another virtualenv say; without it the "
        "server's own.",
    )
    replicas: int = Field(1, ge=1, le=64, description="How many processes share the requests.")
    env: dict[str, str | list[str]] = Field(
        {},
        description="Environment variables of the processes; a list has one value for each.",
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The engine's own keys, not yet validated."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        isolated = {"python", "replicas", "env"} & self.model_fields_set
        if self.runner == "thread" and isolated:
            raise ValueError(f'{min(isolated)} is for runner = "process"')
        for name, value in self.env.items():
            if isinstance(value, list) and len(value) != self.replicas:
                raise ValueError(f"env.{name} needs a value for each of {self.replicas} replicas")
        return self
