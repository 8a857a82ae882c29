"""The request fields that every model shares.

The contract is OpenAI's (openai-openapi 2.3.0: `CreateSpeechRequest`,
`CreateTranscriptionRequest`); the fields marked "Extension" are unisono's. HTTP, the command
line and the Python facade all validate here, so the same mistake gets the same message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

from .languages import language_tag
from .spellings import KWARGS, SPEECH_SPELLINGS, TRANSCRIPTION_SPELLINGS
from .types import Task

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


class ServerVad(BaseModel):
    """How to cut a recording where nobody speaks; what lies between is not transcribed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(0.5, ge=0, le=1, description="Probability from which it is speech.")
    prefix_padding_ms: int = Field(
        300, ge=0, le=10_000, description="Milliseconds kept before speech."
    )
    silence_duration_ms: int = Field(
        200, ge=0, le=60_000, description="Milliseconds without speech that end a piece."
    )


def _strategy(value: object) -> object:
    """Accept the bare name, and JSON, as `curl -F` sends objects."""
    if not isinstance(value, str) or value == "auto":
        return value
    if value == "server_vad":
        return {}
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        message = "'auto', 'server_vad', or an object of type server_vad is expected"
        raise ValueError(message) from None


_Strategy = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[ServerVad, Tag("server_vad")],
    Discriminator(lambda value: "auto" if isinstance(value, str) else "server_vad"),
    BeforeValidator(_strategy),
]
_Keyword = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class TranscriptionFields(Fields):
    """The fields of POST /v1/audio/transcriptions that do not depend on the model."""

    language: _Language = Field(
        None,
        description="Language of the speech, as ISO 639-1 or BCP 47.",
    )
    languages: list[LanguageTag] = Field([], description="Languages that may be spoken.")
    keywords: Annotated[list[_Keyword], BeforeValidator(_words)] = Field(
        [], max_length=1000, description="Words to expect; one text counts as the words in it."
    )
    prompt: str | None = Field(
        None, max_length=100_000, description="Preceding text, or vocabulary, as guidance."
    )
    response_format: TranscriptFormat = Field("json", description="Form of the transcript.")
    temperature: float | None = Field(None, ge=0, le=1, description="Sampling temperature.")
    timestamp_granularities: list[Literal["word", "segment"]] = Field(
        [], description="What verbose_json carries; segments unless told otherwise."
    )
    stream: bool = Field(False, description="Send server-sent events while transcribing.")
    include: list[Literal["logprobs"]] = Field([], description="Further details to return.")
    chunking_strategy: _Strategy | None = Field(
        None,
        description="How to cut audio: `auto`, `server_vad`, or an object of that type with its "
        "settings.",
    )
    known_speaker_names: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        [],
        max_length=4,
        description="Names of people who may speak; without references, of stored voices.",
    )
    known_speaker_references: list[str] = Field(
        [], max_length=4, description="A recording of each of them, as a data: URL."
    )


NEEDLESS = frozenset({"stream"})
"""What other servers' clients ask of speech, and always get here."""
_FUTURE = frozenset({"consent", "turns"})
_OF_SPEECH = _FUTURE.union(SpeechFields.model_fields, SPEECH_SPELLINGS, NEEDLESS, {KWARGS})
_OF_TRANSCRIPTION = _FUTURE.union(
    TranscriptionFields.model_fields, TRANSCRIPTION_SPELLINGS, {"file", KWARGS}
)
RESERVED: Mapping[Task, frozenset[str]] = {
    task: _OF_SPEECH if task is Task.SPEECH else _OF_TRANSCRIPTION for task in Task
}
"""Names that the Params of an engine for a task must not use: the kernel has them, or will."""
