"""One transcription request, from the client's fields and audio to a stream of segments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

from .calls import Call, check_language, contained, knows, missing, prepare
from .catalog import Catalog
from .config import Config
from .decoding import decode_long
from .errors import RequestError, UnsupportedFeature
from .fields import TranscriptionFields
from .plugins import PluginManager
from .pool import Pool
from .runner import EngineRunner
from .spellings import TRANSCRIPTION_SPELLINGS
from .spool import Spool
from .transcripts import Transcript
from .types import AudioChunk, Feature, Segment, Task, TranscriptionRequest

NEEDS = {"keywords": Feature.HOTWORDS}
HINTS = {
    "prompt": Feature.TEXT_PROMPT,
    "temperature": Feature.TEMPERATURE,
    "chunking_strategy": None,
    "known_speaker_names": None,
    "known_speaker_references": None,
}
PIECE_SECONDS = 300.0
"""Longest audio for an engine that says nothing of its own."""
CONTEXT_CHARS = 200
STREAMABLE = ("json", "text", "diarized_json")
SUBTITLES = ("srt", "vtt")


@dataclass(frozen=True)
class TranscriptionCall(Call[TranscriptionFields]):
    """A transcription request that its model can answer."""

    translate: bool = False
    """Whether the transcript is wanted in English."""


def prepare_transcription(
    raw: Mapping[str, Any], catalog: Catalog, config: Config, *, translate: bool = False
) -> TranscriptionCall:
    """Validate a transcription request: model, fields, options.

    :param translate: the transcript is wanted in English.
    :raises RequestError: naming the field.
    """
    languages = raw.get("languages")
    hints = dict(HINTS)
    # An engine is told one language or none.
    if isinstance(languages, list) and (len(languages) > 1 or raw.get("language") is not None):
        hints["languages"] = None
    # Long audio is always cut where that seems best; nobody can say where else.
    if raw.get("chunking_strategy") == "auto":
        del hints["chunking_strategy"]
    call = prepare(
        raw,
        TranscriptionFields,
        Task.TRANSCRIPTION,
        catalog,
        needs=NEEDS,
        hints=hints,
        spellings=TRANSCRIPTION_SPELLINGS,
        strict=config.server.strict,
    )
    fields, features = call.fields, call.entry.info.features
    needed = []
    if translate:
        needed.append(("model", Feature.TRANSLATION))
    if "word" in fields.timestamp_granularities:
        needed.append(("timestamp_granularities", Feature.WORD_TIMESTAMPS))
    if fields.response_format == "diarized_json":
        needed.append(("response_format", Feature.DIARIZATION))
    for param, feature in needed:
        if feature not in features:
            raise UnsupportedFeature(missing(call.entry, feature, catalog), param=param)
    if fields.include:
        raise UnsupportedFeature(f"Model {call.entry.id!r} has no logprobs.", param="include")
    if fields.timestamp_granularities and fields.response_format != "verbose_json":
        raise RequestError(
            "timestamp_granularities: only response_format 'verbose_json' carries them.",
            param="timestamp_granularities",
        )
    if fields.stream and fields.response_format not in STREAMABLE:
        raise RequestError(
            f"response_format: {fields.response_format!r} cannot be streamed; "
            f"these can: {', '.join(STREAMABLE)}.",
            param="response_format",
        )
    if fields.languages and not any(knows(call.entry, tag) for tag in fields.languages):
        check_language(call.entry, fields.languages[0], param="languages")
    return TranscriptionCall(**vars(call), translate=translate)


@dataclass(eq=False)
class TranscriptStream:
    """A transcription that has begun: an asynchronous iterator over segments, in order of time.

    Close it (`aclose`) when nobody listens any more; the engine then stops.
    """

    call: TranscriptionCall
    duration: float
    """Seconds of audio."""
    _first: Segment | None
    _rest: AsyncGenerator[Segment, None]

    def __aiter__(self) -> TranscriptStream:
        return self

    async def __anext__(self) -> Segment:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._rest.__anext__()

    async def aclose(self) -> None:
        """Stop the engine and free its slot."""
        await self._rest.aclose()

    async def collect(self) -> Transcript:
        """Read the stream to its end."""
        async with aclosing(self):
            return self.transcript([segment async for segment in self])

    def transcript(self, segments: Sequence[Segment]) -> Transcript:
        """Return the transcript that these segments of the stream make."""
        found = next((segment.language for segment in segments if segment.language), None)
        language = found or _said_language(self.call) or _only_language(self.call) or "und"
        return Transcript(tuple(segments), self.duration, language, self.call.translate)


async def open_transcription(
    call: TranscriptionCall,
    source: bytes | BinaryIO | AudioChunk,
    pool: Pool,
    plugins: PluginManager,
    executor: Executor,
    *,
    max_seconds: float,
) -> TranscriptStream:
    """Decode the audio, start the engine and wait for its first segment or the end.

    :param source: a file of any format, or samples at any rate.
    :param executor: threads to decode on.
    :param max_seconds: longest audio allowed.
    :raises EngineOverloaded: if too many requests wait, before anything is decoded.
    :raises AudioError: if the source is not usable audio.
    :raises SpeechError: whatever is wrong with the model or the engine.
    """
    async with AsyncExitStack() as holding:
        holding.enter_context(contained(call.entry))
        runner = await holding.enter_async_context(pool.lease(call.entry))
        # Decoded audio is large: who waits for the engine's turn waits with the upload as it came.
        await holding.enter_async_context(runner.ahead)
        decoding = partial(decode_long, source, max_seconds=max_seconds)
        spool = await asyncio.get_running_loop().run_in_executor(executor, decoding)
        holding.callback(spool.close)
        segments = _in_pieces(call, spool, runner, plugins, executor)
        rest = _write(segments, spool.seconds, holding.pop_all())
        try:
            first = await anext(rest, None)
        except BaseException:
            await rest.aclose()
            raise
    return TranscriptStream(call, spool.seconds, first, rest)


async def _in_pieces(
    call: TranscriptionCall,
    spool: Spool,
    runner: EngineRunner,
    plugins: PluginManager,
    executor: Executor,
) -> AsyncGenerator[Segment, None]:
    """Ask the engine for one piece of the recording after the other."""
    most = call.entry.info.max_audio_seconds or PIECE_SECONDS
    at = 0
    said = ""
    while at < spool.frames:
        reading = partial(spool.piece, at, most)
        piece = await asyncio.get_running_loop().run_in_executor(executor, reading)
        request = _request(call, piece, said)
        segments = plugins.hook.transcribe(engine=runner, request=request)
        try:
            async with aclosing(segments):
                async for segment in segments:
                    yield _shifted(segment, at / spool.sample_rate) if at else segment
                    said = f"{said} {segment.text}"[-CONTEXT_CHARS:]
        finally:
            request.cancel.cancel()  # for a plugin that answers for the engine
        at += len(piece.samples)


def _request(call: TranscriptionCall, audio: AudioChunk, said: str) -> TranscriptionRequest:
    """Return what to ask for one piece.

    :param said: the end of the transcript so far, which guides the engine as a prompt does.
    """
    fields, features = call.fields, call.entry.info.features
    prompt = " ".join(filter(None, [fields.prompt, said.strip()])) or None
    # Words tell where subtitles begin and end; the other formats show them only on demand.
    subtitled = fields.response_format in SUBTITLES and Feature.WORD_TIMESTAMPS in features
    return TranscriptionRequest(
        audio=audio,
        params=call.params,
        language=_said_language(call),
        prompt=prompt if Feature.TEXT_PROMPT in features else None,
        hotwords=tuple(fields.keywords),
        temperature=fields.temperature if Feature.TEMPERATURE in features else None,
        translate=call.translate,
        word_timestamps=subtitled or "word" in fields.timestamp_granularities,
    )


async def _write(
    segments: AsyncGenerator[Segment, None], seconds: float, holding: AsyncExitStack
) -> AsyncGenerator[Segment, None]:
    """Pass segments on with sane times, and let go of everything at the end."""
    async with holding, aclosing(segments):
        earliest = 0.0
        async for segment in segments:
            kept = _clamped(segment, earliest, seconds)
            earliest = kept.start
            yield kept


def _shifted(segment: Segment, seconds: float) -> Segment:
    """Count times from the start of the recording, not of the piece."""
    words = tuple(
        replace(word, start=word.start + seconds, end=word.end + seconds) for word in segment.words
    )
    start, end = segment.start + seconds, segment.end + seconds
    return replace(segment, start=start, end=end, words=words)


def _clamped(segment: Segment, earliest: float, latest: float) -> Segment:
    """Keep times within the audio and in order: engines round, and pad their windows."""
    start = _within(earliest, segment.start, latest)
    end = _within(start, segment.end, latest)
    words = []
    at = start
    for word in segment.words:
        at = _within(at, word.start, latest)
        words.append(replace(word, start=at, end=_within(at, word.end, latest)))
    return replace(segment, start=start, end=end, words=tuple(words))


def _within(low: float, time: float, high: float) -> float:
    # In this order NaN becomes `low`. JSON knows neither NaN nor numpy's numbers.
    return float(min(max(low, time), high))


def _said_language(call: TranscriptionCall) -> str | None:
    if call.fields.language is not None:
        return call.fields.language
    return call.fields.languages[0] if len(call.fields.languages) == 1 else None


def _only_language(call: TranscriptionCall) -> str | None:
    known = call.entry.info.languages
    return known[0] if len(known) == 1 else None
