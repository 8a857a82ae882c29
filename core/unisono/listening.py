"""A transcription in progress: the recording, the models that it takes, and the segments."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from .calls import contained
from .decoding import decode_long
from .entries import Entry
from .fields import ServerVad
from .pieces import (
    Piece,
    as_long_as_possible,
    ask,
    longest,
    off_loop,
    turn_by_turn,
    utterances,
)
from .plugins import PluginManager
from .pool import Pool
from .requests import KnownSpeaker, TranscriptionRequest
from .runner import EngineRunner
from .speakers import Diarization, with_speakers
from .spool import Spool
from .transcription import TranscriptionCall
from .transcripts import Transcript
from .types import AudioChunk, Feature, Segment, SpeakerTurn
from .words import with_words

SUBTITLES = ("srt", "vtt")
SHOW_SPEAKERS = (*SUBTITLES, "verbose_json", "diarized_json")


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
        language = found or self.call.language or "und"
        return Transcript(tuple(segments), self.duration, language, self.call.translate)


@dataclass(frozen=True)
class Listening:
    """What every transcription of a kernel needs.

    :param executor: threads to decode on.
    :param max_seconds: longest audio allowed.
    """

    pool: Pool
    plugins: PluginManager
    executor: Executor
    max_seconds: float

    async def open(
        self,
        call: TranscriptionCall,
        source: bytes | BinaryIO | AudioChunk,
        known: Sequence[KnownSpeaker] = (),
    ) -> TranscriptStream:
        """Decode the audio, start the engine and wait for its first segment or the end.

        :param source: a file of any format, or samples at any rate.
        :param known: the known speakers of the request.
        :raises EngineOverloaded: if too many requests wait, before anything is decoded.
        :raises AudioError: if the source is not usable audio.
        :raises SpeechError: whatever is wrong with a model or an engine.
        """
        async with AsyncExitStack() as holding:
            holding.enter_context(contained(call.entry))
            spool, turns = None, None
            if call.diarizer is not None:
                self.pool.check(call.entry)
                async with self._hold(call.diarizer) as runner:
                    spool = await self._decode(source, holding)
                    diarization = Diarization(call.diarizer, call.diarizer_params, known, spool)
                    turns = await diarization.find_turns(runner, self.plugins, self.executor)
            # One model at a time: two requests that each hold what the other waits for would wait
            # for ever.
            async with AsyncExitStack() as writing:
                runner = await writing.enter_async_context(self._hold(call.entry))
                spool = spool or await self._decode(source, holding)
                segments = self._written(call, spool, turns, known, runner)
                segments = _held(segments, writing.pop_all())
            if turns is not None:
                segments = with_speakers(segments, turns)
            if call.aligner is not None:
                segments = with_words(
                    segments,
                    call.aligner,
                    call.language,
                    spool,
                    *(self.pool, self.plugins, self.executor),
                )
            rest = _held(segments, holding.pop_all())
            try:
                first = await anext(rest, None)
            except BaseException:
                await rest.aclose()
                raise
        return TranscriptStream(call, spool.seconds, first, rest)

    @asynccontextmanager
    async def _hold(self, entry: Entry) -> AsyncGenerator[EngineRunner, None]:
        """Have a model. Decoded audio is large: who waits for a turn waits with the upload as it
        came.
        """
        async with self.pool.lease(entry) as runner, runner.ahead:
            yield runner

    async def _decode(
        self, source: bytes | BinaryIO | AudioChunk, holding: AsyncExitStack
    ) -> Spool:
        decoding = partial(decode_long, source, max_seconds=self.max_seconds)
        spool = await off_loop(self.executor, decoding)
        holding.callback(spool.close)
        return spool

    def _written(
        self,
        call: TranscriptionCall,
        spool: Spool,
        turns: Sequence[SpeakerTurn] | None,
        known: Sequence[KnownSpeaker],
        runner: EngineRunner,
    ) -> AsyncGenerator[Segment, None]:
        pieces = _pieces(call, spool, turns)
        request_for = partial(_request, call, tuple(known) if call.diarizer is None else ())
        return ask(pieces, request_for, spool, runner, self.plugins, self.executor)


def _pieces(
    call: TranscriptionCall, spool: Spool, turns: Sequence[SpeakerTurn] | None
) -> Iterator[Piece]:
    most = longest(call.entry.info)
    strategy = call.fields.chunking_strategy
    if turns and call.turn_by_turn:
        return turn_by_turn(spool, turns, most)
    if isinstance(strategy, ServerVad):
        return utterances(spool, strategy, most)
    return as_long_as_possible(spool, most)


def _request(
    call: TranscriptionCall, known: tuple[KnownSpeaker, ...], audio: AudioChunk, said: str
) -> TranscriptionRequest:
    """Return what to ask for one piece.

    :param said: the end of the transcript so far, which guides the engine as a prompt does.
    """
    fields, features = call.fields, call.entry.info.features
    prompt = " ".join(filter(None, [fields.prompt, said])) or None
    # Words tell where subtitles begin and end, and where the speaker changes; otherwise they are
    # shown only on demand.
    useful = fields.response_format in SUBTITLES or call.diarizer is not None
    wanted = useful or "word" in fields.timestamp_granularities
    return TranscriptionRequest(
        audio=audio,
        params=call.params,
        language=call.said_language,
        prompt=prompt if Feature.TEXT_PROMPT in features else None,
        hotwords=tuple(fields.keywords),
        temperature=fields.temperature if Feature.TEMPERATURE in features else None,
        translate=call.translate,
        word_timestamps=wanted and Feature.WORD_TIMESTAMPS in features,
        logprobs=bool(fields.include),
        speakers=fields.response_format in SHOW_SPEAKERS and Feature.DIARIZATION in features,
        known_speakers=known,
    )


async def _held(
    segments: AsyncGenerator[Segment, None], holding: AsyncExitStack
) -> AsyncGenerator[Segment, None]:
    """Pass segments on, and let go of everything at the end."""
    async with holding, aclosing(segments):
        async for segment in segments:
            yield segment
