"""What the operator sets for a model, and what a request may ask of it."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from unisono import Params, RequestError, Settings

from .languages import upstream_language

ModelVersion = Literal["v1", "v2", "v2Pro", "v2ProPlus", "v3", "v4"]
RATES: dict[str, int] = {"v3": 24_000, "v4": 48_000}
"""Hertz of the versions that do not have 32 000."""
TEXT_NEEDED = frozenset({"v3", "v4"})
"""Versions that cannot speak without the transcript of the reference."""


class ReferenceVoice(BaseModel):
    """A reference recording that lies on the server, as a voice of the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1, description="Path of the recording on the server.")
    text: str = Field("", description="What is said in it, word for word.")
    language: str | None = Field(None, description="BCP 47 tag of what is said in it.")


class GptSovitsSettings(Settings):
    """One model: which servers speak it, with which weights."""

    urls: tuple[str, ...] = Field(
        ("http://127.0.0.1:9880",),
        min_length=1,
        description="Servers that speak, one request at a time each; they share the work.",
    )
    api: Literal["auto", "v1", "v2"] = Field(
        "auto", description="Which program serves: v1 is api.py, v2 is api_v2.py; auto asks it."
    )
    model_version: ModelVersion = Field(
        "v2", description="Version of the model: decides its languages and its sample rate."
    )
    gpt_weights: str | None = Field(
        None, description="Path of the GPT weights on the server, set before this model speaks."
    )
    sovits_weights: str | None = Field(
        None, description="Path of the SoVITS weights on the server; both or neither."
    )
    always_set_weights: bool = Field(
        False,
        description="Set the weights for every request, for servers that others use as well.",
    )
    refs_local_dir: Path | None = Field(
        None,
        description="Directory for reference recordings that the server sees, too; without one a "
        "private temporary directory, if the servers are on this machine.",
    )
    refs_remote_dir: str | None = Field(
        None, description="The path of refs_local_dir on the server, if it has another one there."
    )
    refs_keep: int = Field(
        256, ge=32, description="Recordings to keep there; those used longest ago are deleted."
    )
    voices: dict[str, ReferenceVoice] = Field(
        {}, description="Voices of the model: name → path on the server, text, language."
    )
    connect_seconds: float = Field(3.0, gt=0, description="Longest wait for a connection.")
    first_seconds: float = Field(
        300.0, gt=0, description="Longest wait for the first audio, and for weights to be set."
    )
    idle_seconds: float = Field(
        60.0, gt=0, description="Longest pause between pieces of audio that has begun."
    )
    sample_rate: int | None = Field(
        None,
        ge=8000,
        le=48_000,
        description="Hertz that the model has, where model_version does not say it.",
    )

    @field_validator("urls", mode="before")
    @classmethod
    def _listed(cls, urls: object) -> object:
        # The environment has no lists.
        return urls.replace(",", " ").split() if isinstance(urls, str) else urls

    @field_validator("urls")
    @classmethod
    def _plain_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{url!r} is no address such as http://127.0.0.1:9880")
            if parts.username or parts.query or parts.fragment or parts.port == 0:
                raise ValueError("an address has no user name, query or fragment")
        addresses = tuple(dict.fromkeys(map(address, urls)))
        if len(addresses) < len(urls):
            raise ValueError("an address is there twice")
        return addresses

    @model_validator(mode="after")
    def _complete(self) -> GptSovitsSettings:
        if (self.gpt_weights is None) != (self.sovits_weights is None):
            raise ValueError("set both gpt_weights and sovits_weights, or neither")
        if self.refs_remote_dir is not None and self.refs_local_dir is None:
            raise ValueError("refs_remote_dir needs refs_local_dir: the same directory, seen here")
        if not (self.can_clone or self.voices):
            raise ValueError(
                "the servers are on other machines, so set refs_local_dir and refs_remote_dir to a "
                "directory that both see, or give the model voices"
            )
        text_needed = self.model_version in TEXT_NEEDED or self.api == "v1"
        for name, voice in self.voices.items():
            try:
                upstream_language(voice.language, self.model_version, f"voices.{name}.language")
            except RequestError as error:
                raise ValueError(str(error)) from error
            if text_needed and not voice.text.strip():
                raise ValueError(f"voices.{name} needs its text with this model or server")
        return self

    @property
    def can_clone(self) -> bool:
        """Whether there is a way for recordings to the servers."""
        return self.refs_local_dir is not None or all(map(is_local, self.urls))

    @property
    def weights(self) -> tuple[str, str] | None:
        """GPT and SoVITS weights, if they are to be set."""
        if self.gpt_weights is None or self.sovits_weights is None:
            return None
        return self.gpt_weights, self.sovits_weights


def address(url: str) -> str:
    """Return the one spelling of an address, so that a server is recognised as the same."""
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}"


def is_local(url: str) -> bool:
    """Whether an address is one of this machine's own."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _option(description: str, **bounds: Any) -> Any:
    return Field(None, description=description, **bounds)


class GptSovitsParams(Params):
    """Options of one request. What is not set is as the server has it."""

    top_k: int | None = _option("Number of likeliest tokens considered; 15.", ge=1, le=1000)
    top_p: float | None = _option("Share of probability considered; 1.", gt=0, le=1)
    temperature: float | None = _option("Randomness of the tokens; 1.", ge=0, le=2)
    repetition_penalty: float | None = _option(
        "Factor against repeated tokens; 1.35. Only api_v2.py.", gt=0, le=5
    )
    text_split_method: Literal["cut0", "cut1", "cut2", "cut3", "cut4", "cut5"] | None = _option(
        "Where the text is cut: cut0 nowhere, cut1 every four sentences, cut2 every 50 "
        "characters, cut3 at 。, cut4 at the full stop, cut5 at any punctuation. Only api_v2.py."
    )
    cut_punc: str | None = _option(
        "Punctuation marks at which the text is cut. Only api.py.", max_length=50
    )
    batch_size: int | None = _option(
        "Fragments computed together; 1. Only api_v2.py.", ge=1, le=200
    )
    batch_threshold: float | None = _option(
        "How alike in length fragments of a batch are; 0.75. Only api_v2.py.", ge=0, le=1
    )
    split_bucket: bool | None = _option("Sort fragments by length; true. Only api_v2.py.")
    fragment_interval: float | None = _option(
        "Seconds of silence after each fragment; 0.3. Only api_v2.py.", ge=0, le=10
    )
    parallel_infer: bool | None = _option(
        "Compute the fragments of a batch in parallel; true. Only api_v2.py."
    )
    sample_steps: int | None = _option("Steps of the vocoder of v3 and v4; 32.", ge=1, le=128)
    super_sampling: bool | None = _option("Speak v3 at 48 000 hertz; false.")
    streaming_mode: int | None = _option(
        "When audio is sent: 0 when all is done, 1 after each fragment (what is asked for "
        "unless set), 2 and 3 within fragments, sooner and rougher. Only api_v2.py.",
        ge=0,
        le=3,
    )
    overlap_length: int | None = _option(
        "Tokens that pieces overlap in streaming_mode 2 and 3; 2. Only api_v2.py.", ge=0, le=100
    )
    min_chunk_length: int | None = _option(
        "Least tokens in a piece in streaming_mode 2 and 3; 16. Only api_v2.py.", ge=1, le=1000
    )
