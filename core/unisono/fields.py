"""The request fields that every model shares, and how a request is told apart into them, the
engine's own Params, and what nobody knows.

The contract is OpenAI's (openai-openapi 2.3.0: `CreateSpeechRequest`,
`CreateTranscriptionRequest`); the fields marked "Extension" are unisono's. HTTP, the command
line and the Python facade all validate here, so the same mistake gets the same message.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
)

from .errors import RequestError
from .languages import language_tag
from .spellings import KWARGS, SPEECH_SPELLINGS, TRANSCRIPTION_SPELLINGS
from .types import Params, Task

SpeechFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
TranscriptFormat = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"]
LanguageTag = Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$")]


def _voice_id(value: object) -> object:
    """Accept OpenAI's custom voices, `{"id": "voice_1234"}`."""
    if isinstance(value, Mapping) and set(value) == {"id"}:
        return value["id"]
    return _or_none(value)


def _or_none(value: object) -> object:
    """Take an empty string for nothing; clients send it for arguments that were left out."""
    return None if value == "" else value


def _language_tag(value: object) -> object:
    """Accept English names, and `auto`, as vLLM-Omni's clients send them."""
    if not isinstance(value, str):
        return value
    return None if value.lower() in ("", "auto") else language_tag(value)


_Language = Annotated[LanguageTag | None, BeforeValidator(_language_tag)]


def _words(value: object) -> object:
    """Accept Xinference's hotwords: one text, with spaces between them."""
    return value.split() if isinstance(value, str) else value


_Text = Annotated[str | None, BeforeValidator(_or_none)]
_Recording = Annotated[
    bytes | str | None,
    BeforeValidator(_or_none),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]}),
]


class Fields(BaseModel):
    """What every request has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(
        None, description="Model id or alias; without one the configured default serves."
    )


class TurnFields(BaseModel):
    """One speaker's line of a dialogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(min_length=1, description="What is said.")
    voice: Annotated[str | None, BeforeValidator(_voice_id)] = Field(
        None, description="Who says it; without one, the request's voice."
    )


class SpeechFields(Fields):
    """The fields of POST /v1/audio/speech that do not depend on the model."""

    input: Annotated[
        Annotated[str, Field(min_length=1), Tag("string")]
        | Annotated[list[TurnFields], Field(min_length=1, max_length=10_000), Tag("turns")],
        # So that what is wrong with a turn is said, and not that it is no text.
        Discriminator(lambda value: "turns" if isinstance(value, list) else "string"),
    ] = Field(
        description="The text to speak; as an extension, the turns of a dialogue, or a text with "
        "the marks [S1], [S2] … and `voices`.",
    )
    voices: list[Annotated[str, BeforeValidator(_voice_id)]] = Field(
        [], max_length=99, description="Extension. Voices of the speakers [S1], [S2] … in input."
    )
    voice: Annotated[str | None, BeforeValidator(_voice_id)] = Field(
        None, description="Voice of the model; without one, or with one of OpenAI's, its default."
    )
    instructions: str | None = Field(None, description="How to say it, in words.")
    response_format: SpeechFormat = Field("mp3", description="Encoding of the audio.")
    speed: float = Field(1.0, ge=0.25, le=4.0, description="Factor on the speaking rate.")
    stream_format: Literal["audio", "sse"] = Field(
        "audio", description="Bytes of audio, or server-sent events that carry them as base64."
    )
    language: _Language = Field(
        None,
        description="Extension. BCP 47 tag of the text, for example `en-US`.",
    )
    sample_rate: int | None = Field(
        None,
        ge=8000,
        le=48000,
        description="Extension. Hertz of the audio; wav and pcm have 24000 unless told otherwise.",
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="Extension. Start of the random numbers, for the same speech again.",
    )
    ref_audio: _Recording = Field(
        None,
        description="Extension. Recording of the voice to clone: an audio file as base64, as a "
        "data: URL, or as an uploaded part of a form; https:// and file:// if the server allows.",
    )
    ref_text: _Text = Field(
        None, description="Extension. What is said in ref_audio, word for word."
    )
    ref_language: _Language = Field(
        None, description="Extension. BCP 47 tag of what is said in ref_audio."
    )
    word_timestamps: bool = Field(
        False, description="Extension. Send when each word sounds; needs stream_format `sse`."
    )


class TranscriptionFields(Fields):
    """The fields of POST /v1/audio/transcriptions that do not depend on the model."""

    language: _Language = Field(
        None,
        description="Language of the speech, as ISO 639-1 or BCP 47.",
    )
    languages: list[LanguageTag] = Field([], description="Languages that may be spoken.")
    keywords: Annotated[list[str], BeforeValidator(_words)] = Field(
        [], description="Words to expect; one text counts as the words in it."
    )
    prompt: str | None = Field(None, description="Preceding text, or vocabulary, as guidance.")
    response_format: TranscriptFormat = Field("json", description="Form of the transcript.")
    temperature: float | None = Field(None, ge=0, le=1, description="Sampling temperature.")
    timestamp_granularities: list[Literal["word", "segment"]] = Field(
        [], description="What verbose_json carries; segments unless told otherwise."
    )
    stream: bool = Field(False, description="Send server-sent events while transcribing.")
    include: list[Literal["logprobs"]] = Field([], description="Further details to return.")
    chunking_strategy: str | dict[str, Any] | None = Field(
        None, description="How to cut long audio: `auto`, or an object of type `server_vad`."
    )
    known_speaker_names: list[str] = Field([], max_length=4, description="Speakers' names.")
    known_speaker_references: list[str] = Field(
        [], max_length=4, description="A recording of each known speaker, as a data: URL."
    )


NEEDLESS = frozenset({"stream"})
"""What other servers' clients ask of speech, and always get here."""
_FUTURE = frozenset({"consent", "turns"})
RESERVED: Mapping[Task, frozenset[str]] = {
    Task.SPEECH: _FUTURE.union(SpeechFields.model_fields, SPEECH_SPELLINGS, NEEDLESS, {KWARGS}),
    Task.TRANSCRIPTION: _FUTURE.union(
        TranscriptionFields.model_fields, TRANSCRIPTION_SPELLINGS, {"file", KWARGS}
    ),
}
"""Names that the Params of an engine for a task must not use: the kernel has them, or will."""

F = TypeVar("F", bound=Fields)
V = TypeVar("V", bound=BaseModel)


@dataclass(frozen=True)
class Parsed(Generic[F]):
    """A validated request."""

    fields: F
    params: Params
    ignored: tuple[str, ...]
    """Fields of the request that nothing installed knows."""


def parse(
    raw: Mapping[str, Any],
    fields_type: type[F],
    params_type: type[Params],
    *,
    elsewhere: Mapping[str, Sequence[str]],
    model: str,
) -> Parsed[F]:
    """Validate a request for one model. Null values count as left out.

    :param elsewhere: option → the models that have it, for every installed engine.
    :param model: the id that answers, for messages.
    :raises RequestError: naming the field, if a value is wrong or belongs to another model.
    """
    fields: dict[str, Any] = {}
    params: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in raw.items():
        if value is None:
            continue
        if name in fields_type.model_fields:
            fields[name] = value
        elif name in params_type.model_fields:
            params[name] = value
        elif name in NEEDLESS:
            continue
        elif name in elsewhere:
            raise RequestError(
                f"Model {model!r} has no option {name!r}. Models that have it: "
                f"{', '.join(elsewhere[name])}.",
                param=name,
                code="unsupported_option",
            )
        else:
            ignored.append(name)
    return Parsed(validate(fields_type, fields), validate(params_type, params), tuple(ignored))


def from_form(pairs: Iterable[tuple[str, str]], *types: type[BaseModel]) -> dict[str, Any]:
    """Turn the text fields of a form into what a JSON body would say.

    Lists come as repeated `name[]` (the OpenAI SDKs) or repeated `name`; objects as
    `name[key]`; an empty value counts as left out, as forms send untouched inputs.

    :param types: the models whose list fields tell a list of one from a single value.
    """
    lists = {name for type_ in types for name in _list_fields(type_)}
    raw: dict[str, Any] = {}
    for key, value in pairs:
        if value == "":
            continue
        name, bracket, rest = key.partition("[")
        inner = rest.removesuffix("]")
        kind = dict if inner else list if bracket or name in lists else str
        if not isinstance(raw.setdefault(name, kind()), kind):
            raise RequestError(
                f"{name}: the field is given in two ways, plain and in brackets.", param=name
            )
        if inner:
            raw[name][inner] = value
        elif kind is list:
            raw[name].append(value)
        else:
            raw[name] = value
    return raw


def _list_fields(type_: type[BaseModel]) -> Iterable[str]:
    for name, field in type_.model_fields.items():
        alternatives = typing.get_args(field.annotation) or ()
        for annotation in (field.annotation, *alternatives):
            if (typing.get_origin(annotation) or annotation) in (list, tuple, set, frozenset):
                yield name


def validate(type_: type[V], values: Mapping[str, Any]) -> V:
    """Return the validated values.

    :raises RequestError: naming the first field that is wrong.
    """
    try:
        return type_.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else None
        where = ".".join(map(str, first["loc"]))
        given = "" if first["type"] == "missing" else f" (got {_shown(first['input'])})"
        raise RequestError(f"{where}: {first['msg']}{given}.", param=name) from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
