"""From the upstream's transcript to segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, ValidationError

from unisono import Segment, TokenLogprob, TranscriptionRequest, Word

from .failures import unexpected
from .options import UpstreamSettings


class SaidWord(BaseModel):
    """A word of `verbose_json`; the probability is faster-whisper's."""

    word: str
    start: float
    end: float
    probability: float | None = None


class SaidSegment(BaseModel):
    """A segment of `verbose_json` or `diarized_json`. speaches puts words into segments."""

    text: str
    start: float
    end: float
    speaker: str | None = None
    words: list[SaidWord] | None = None
    tokens: list[int] | None = None
    temperature: float | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None


class SaidToken(BaseModel):
    """A token of `logprobs`."""

    token: str
    logprob: float
    bytes: list[Annotated[int, Field(ge=0, le=255)]] | None = None


class Said(BaseModel):
    """A transcript in any of OpenAI's JSON formats."""

    text: str
    language: str | None = None
    segments: list[SaidSegment] | None = None
    words: list[SaidWord] | None = None

    def whole(self, seconds: float) -> SaidSegment:
        """Return all of it as one segment.

        :param seconds: duration of the audio.
        """
        return SaidSegment(text=self.text, start=0.0, end=seconds)


class SaidInTokens(Said):
    """A transcript in `json` that was asked for with its log probabilities."""

    logprobs: list[SaidToken] | None = None


S = TypeVar("S", bound=Said)


def segments_of(
    body: bytes, request: TranscriptionRequest, settings: UpstreamSettings, model: str
) -> list[Segment]:
    """Read a transcript; one without segments is one segment of all the audio.

    :param model: our id of the model, for messages.
    :raises EngineUnavailable: if it is no transcript, or lacks the log probabilities that were
        asked for.
    """
    seconds, words = request.audio.seconds, request.word_timestamps
    if request.logprobs:
        sure = _read(body, SaidInTokens, model)
        segment = _segment(sure.whole(seconds), settings.language_tag(sure.language), words=False)
        return [replace(segment, logprobs=_tokens(sure, model))] if segment.text else []
    said = _read(body, Said, model)
    segments = [said.whole(seconds)] if said.segments is None else said.segments
    language = settings.language_tag(said.language)
    spoken = [_segment(each, language, words) for each in segments if each.text.strip()]
    if words and said.words and not any(segment.words for segment in spoken):
        return _with_words(spoken, [_word(word) for word in said.words])
    return spoken


def _read(body: bytes, kind: type[S], model: str) -> S:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "answer"
        raise unexpected(
            model,
            f"does not answer with a transcript ({where}: {first['msg']}): the operator has "
            "to correct base_url or response_format",
        ) from error


def _segment(said: SaidSegment, language: str | None, words: bool) -> Segment:
    return Segment(
        said.text.strip(),
        said.start,
        said.end,
        words=tuple(_word(word) for word in said.words or () if words),
        speaker=said.speaker,
        language=language,
        avg_logprob=said.avg_logprob,
        no_speech_prob=said.no_speech_prob,
        compression_ratio=said.compression_ratio,
        temperature=said.temperature,
        tokens=tuple(said.tokens or ()),
    )


def _tokens(said: SaidInTokens, model: str) -> tuple[TokenLogprob, ...]:
    if said.logprobs is None:
        raise unexpected(
            model,
            "sends no log probabilities: the operator has to take logprobs from the features",
        )
    return tuple(_token(each) for each in said.logprobs)


def _token(said: SaidToken) -> TokenLogprob:
    data = bytes(said.bytes or ())
    return TokenLogprob(said.token, said.logprob, b"" if data == said.token.encode() else data)


def _word(said: SaidWord) -> Word:
    return Word(said.word.strip(), said.start, said.end, said.probability)


def _with_words(segments: Sequence[Segment], words: Iterable[Word]) -> list[Segment]:
    """Give each segment the words whose middle lies before its end, in their order.

    OpenAI counts words over the whole audio and does not say whose they are.
    """
    given: list[list[Word]] = [[] for _ in segments]
    at = 0
    for word in words if segments else ():
        while at < len(segments) - 1 and (word.start + word.end) / 2 >= segments[at].end:
            at += 1
        given[at].append(word)
    return [_around(segment, own) for segment, own in zip(segments, given, strict=True)]


def _around(segment: Segment, words: Sequence[Word]) -> Segment:
    """Return a segment with its words, long enough to hold them."""
    start = min([segment.start, *(word.start for word in words)])
    end = max([segment.end, *(word.end for word in words)])
    return replace(segment, start=start, end=end, words=tuple(words))
