"""What an operator sets for a model at another server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ByteSize, ConfigDict, Field, SecretStr, field_validator, model_validator

from unisono import EngineUnavailable, Feature, Settings

OPENAI_HOST = "api.openai.com"
OPENAI_VOICES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
    *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
)


class UpstreamSettings(Settings):
    """Where the upstream server is, and how to talk to it."""

    # Without the last, pydantic's errors would quote a key that is not as it should be.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    able: ClassVar[frozenset[Feature]] = frozenset()

    base_url: str = Field(
        description="Address of the upstream's API, as clients of OpenAI are given it; it usually "
        "ends in /v1."
    )
    model: str = Field(min_length=1, description="Id of the model at the upstream.")
    api_key: SecretStr | None = Field(None, description="Key for the upstream.")
    api_key_env: str | None = Field(
        None, description="Environment variable that holds the key, in place of api_key."
    )
    languages: dict[str, str] | tuple[str, ...] = Field(
        (),
        description="Languages of the model as BCP 47 tags, none for any; as a table where the "
        'upstream has other names for them: { en = "English" }.',
    )
    extra_body: dict[str, Any] = Field(
        {}, description="Fields that the upstream gets with every request."
    )
    client_fields: tuple[str, ...] = Field(
        (),
        description="Fields that clients may send to the upstream in their field `upstream`; "
        '["*"] for all.',
    )
    timeout: float = Field(
        600.0, gt=0, description="Longest silence of the upstream during a request, in seconds."
    )
    connect_timeout: float = Field(
        5.0, gt=0, description="Longest time for reaching the upstream, in seconds."
    )
    concurrent_requests: int = Field(
        32, ge=1, description="Requests to the upstream at once; others wait."
    )
    use_proxy: bool | None = Field(
        None,
        description="Whether to reach the upstream through the proxy that the environment names "
        "(HTTPS_PROXY, NO_PROXY …); unless told otherwise, yes, but not to this machine itself.",
    )

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("the address starts with http:// or https:// and a host")
        if url.username is not None or url.query or url.fragment:
            raise ValueError("the address has no name, key, query or fragment; see api_key")
        return value.rstrip("/")

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_key(value.get_secret_value()):
            raise ValueError("a key is one line of printable ASCII without spaces")
        return value

    @model_validator(mode="after")
    def _has_one_key(self) -> UpstreamSettings:
        if self.api_key is not None and self.api_key_env is not None:
            raise ValueError("api_key and api_key_env exclude each other")
        return self

    @property
    def host(self) -> str:
        """Name or address of the upstream's machine."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def tags(self) -> tuple[str, ...]:
        """The languages as BCP 47 tags."""
        return tuple(self.languages)

    def key(self) -> str | None:
        """Return the key, if there is one.

        :raises EngineUnavailable: if the environment should hold it and does not.
        """
        if self.api_key_env is None:
            return None if self.api_key is None else self.api_key.get_secret_value()
        key = os.environ.get(self.api_key_env, "").strip()
        if not _is_key(key):
            raise EngineUnavailable(
                f"The environment variable {self.api_key_env!r} holds no key for the upstream "
                "server: set it where this server is started, or correct api_key_env."
            )
        return key

    def language_name(self, tag: str) -> str:
        """Return what the upstream calls a language."""
        if isinstance(self.languages, tuple):
            return tag
        short = tag.replace("_", "-").partition("-")[0].lower()
        return self.languages.get(tag) or self.languages.get(short, tag)

    def language_tag(self, name: str | None) -> str | None:
        """Return the tag for what the upstream calls a language; an unknown name as it is."""
        names = self.languages if isinstance(self.languages, Mapping) else {}
        tags = {known.casefold(): tag for tag, known in names.items()}
        return tags.get(name.casefold(), name) if name else None


class OpenaiSpeechSettings(UpstreamSettings):
    """A model of the upstream that speaks."""

    able: ClassVar[frozenset[Feature]] = frozenset(
        {
            Feature.INSTRUCTIONS,
            Feature.LONG_TEXT,
            Feature.PROMPT_TEXT,
            Feature.PROMPT_TEXT_REQUIRED,
            Feature.SEED,
            Feature.SPEED,
            Feature.SSML,
            Feature.VOICE_CLONING,
            Feature.WORD_TIMESTAMPS,
        }
    )

    voices: tuple[str, ...] | None = Field(
        None, description="Names of the upstream's voices; for OpenAI itself they are known."
    )
    sample_rate: int = Field(
        24_000,
        ge=8000,
        le=48_000,
        description="Hertz of the upstream's PCM. OpenAI's is 24000; if this is set, the upstream "
        "is also asked for it, which another unisono heeds.",
    )
    max_input_chars: int = Field(
        4096, ge=1, description="Longest text of one request to the upstream; OpenAI's limit."
    )
    features: frozenset[Feature] = Field(
        frozenset({Feature.SPEED, Feature.INSTRUCTIONS}),
        description="What the upstream can: speed, instructions, long_text, seed, ssml, "
        "word_timestamps (sent as events), voice_cloning, and with it prompt_text or "
        "prompt_text_required.",
    )

    @field_validator("features")
    @classmethod
    def _can_be_passed_on(cls, value: frozenset[Feature]) -> frozenset[Feature]:
        return _checked(value, cls.able)

    @property
    def voice_names(self) -> tuple[str, ...]:
        """The voices to offer."""
        if self.voices is not None:
            return tuple(dict.fromkeys(self.voices))
        return OPENAI_VOICES if self.host.endswith(OPENAI_HOST) else ()


class OpenaiTranscriptionSettings(UpstreamSettings):
    """A model of the upstream that transcribes."""

    able: ClassVar[frozenset[Feature]] = frozenset(
        {
            Feature.DIARIZATION,
            Feature.HOTWORDS,
            Feature.KNOWN_SPEAKERS,
            Feature.LOGPROBS,
            Feature.TEMPERATURE,
            Feature.TEXT_PROMPT,
            Feature.TRANSLATION,
            Feature.WORD_TIMESTAMPS,
        }
    )

    response_format: Literal["verbose_json", "json", "diarized_json"] = Field(
        "verbose_json",
        description="What the upstream is asked for: verbose_json has times; json is all that "
        "gpt-4o-transcribe has; diarized_json has speakers.",
    )
    max_upload_bytes: ByteSize = Field(
        ByteSize(25 * 2**20),
        ge=10**6,
        description="Largest file that the upstream takes; longer audio is sent in several. "
        "OpenAI's limit, 25MiB, are 13 minutes: audio is sent as WAV, 32 kB a second.",
    )
    features: frozenset[Feature] = Field(
        frozenset({Feature.TEXT_PROMPT, Feature.TEMPERATURE}),
        description="What the upstream can: text_prompt, temperature, hotwords, translation, "
        "word_timestamps (with verbose_json), logprobs (which are asked for with json), "
        "diarization (with diarized_json), and with it known_speakers.",
    )

    @field_validator("features")
    @classmethod
    def _can_be_passed_on(cls, value: frozenset[Feature]) -> frozenset[Feature]:
        return _checked(value, cls.able)

    @model_validator(mode="after")
    def _formats_carry_the_features(self) -> OpenaiTranscriptionSettings:
        for feature, form in (
            (Feature.WORD_TIMESTAMPS, "verbose_json"),
            (Feature.DIARIZATION, "diarized_json"),
        ):
            if feature in self.features and self.response_format != form:
                raise ValueError(f"{feature.value} needs response_format = {form!r}")
        if Feature.KNOWN_SPEAKERS in self.features and Feature.DIARIZATION not in self.features:
            raise ValueError("known_speakers needs diarization among the features")
        return self


def _checked(features: frozenset[Feature], able: frozenset[Feature]) -> frozenset[Feature]:
    beyond = sorted(feature.value for feature in features - able)
    if beyond:
        can = ", ".join(sorted(feature.value for feature in able))
        raise ValueError(f"{', '.join(beyond)} cannot be passed on; these can: {can}")
    return features


def _is_key(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
