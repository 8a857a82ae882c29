"""A long recording, piece by piece: what an engine is asked for, and when that was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

from .fields import ServerVad
from .plugins import PluginManager
from .requests import TranscriptionRequest
from .runner import EngineRunner
from .spool import Spool
from .types import AudioChunk, ModelInfo, Segment, SpeakerTurn
from .vad import Detection, speech_spans

T = TypeVar("T")

PIECE_SECONDS = 300.0
"""Longest audio for an engine that says nothing of its own."""
CONTEXT_CHARS = 200
_MARGIN_SECONDS = 0.2
"""Silence that is kept around what somebody says."""
_BREATH_SECONDS = 1.0
"""A shorter pause of one speaker is none."""


@dataclass(frozen=True)
class Piece:
    """A part of the recording that is one question to the engine."""

    start: int
    """Frame."""
    end: int
    """Frame after the last one."""
    speaker: str | None = None
    """Who speaks, if that is known."""


def longest(model: ModelInfo) -> float:
    """Return how many seconds of audio a model gets at most."""
    return model.max_audio_seconds or PIECE_SECONDS


def as_long_as_possible(spool: Spool, most: float) -> Iterator[Piece]:
    """Cut a recording where nobody speaks.

    :param most: seconds of a piece.
    """
    yield from _bounded(spool, Piece(0, spool.frames), most)


def utterances(spool: Spool, strategy: ServerVad, most: float) -> Iterator[Piece]:
    """Cut a recording wherever nobody speaks for a while; silence is left out.

    :param most: seconds of a piece.
    """
    detection = Detection(
        strategy.threshold, strategy.prefix_padding_ms, strategy.silence_duration_ms
    )
    for start, end in speech_spans(spool.blocks(), detection, max(1.0, most)):
        yield Piece(start, end)


def turn_by_turn(spool: Spool, turns: Sequence[SpeakerTurn], most: float) -> Iterator[Piece]:
    """Cut a recording where the speaker changes; what nobody says is left out.

    Where two speak at once, the one who began first has it.

    :param turns: in order.
    :param most: seconds of a piece.
    """
    rate = spool.sample_rate
    joined: list[SpeakerTurn] = []
    for turn in turns:
        last = joined[-1] if joined else None
        if last and last.speaker == turn.speaker and turn.start - last.end < _BREATH_SECONDS:
            joined[-1] = replace(last, end=max(last.end, turn.end))
        elif not last or turn.end > last.end:
            joined.append(replace(turn, start=max(turn.start, last.end if last else 0.0)))
    # A margin on both sides, but none that another turn has.
    edges = [0.0, *(edge for turn in joined for edge in (turn.start, turn.end)), spool.seconds]
    gaps = [after - before for before, after in pairwise(edges)][::2]
    for turn, (before, after) in zip(joined, pairwise(gaps), strict=True):
        start = turn.start - min(_MARGIN_SECONDS, before / 2)
        end = min(spool.seconds, turn.end + min(_MARGIN_SECONDS, after / 2))
        piece = Piece(round(start * rate), round(end * rate), turn.speaker)
        if piece.end > piece.start:
            yield from _bounded(spool, piece, most)


def _bounded(spool: Spool, piece: Piece, most: float) -> Iterator[Piece]:
    """Cut what is too long for one question."""
    at = piece.start
    while at < piece.end:
        end = spool.cut(at, piece.end, most)
        yield replace(piece, start=at, end=end)
        at = end


async def ask(
    pieces: Iterator[Piece],
    request_for: Callable[[AudioChunk, str], TranscriptionRequest],
    spool: Spool,
    runner: EngineRunner,
    plugins: PluginManager,
    executor: Executor,
) -> AsyncGenerator[Segment, None]:
    """Have the engine write down one piece after the other.

    :param request_for: makes the request from the audio of a piece and the text so far.
    :param executor: where pieces are found and read.
    """
    said, rate = "", spool.sample_rate
    while (piece := await off_loop(executor, next, pieces, None)) is not None:
        audio = await off_loop(executor, spool.read, piece.start, piece.end - piece.start)
        request = request_for(audio, said.strip())
        segments = plugins.hook.transcribe(engine=runner, request=request)
        earliest = start = piece.start / rate
        try:
            async with aclosing(segments):
                async for segment in segments:
                    said = f"{said} {segment.text}"[-CONTEXT_CHARS:]
                    own = replace(segment, speaker=piece.speaker) if piece.speaker else segment
                    own = clamped(shifted(own, start), earliest, piece.end / rate)
                    earliest = own.start
                    yield own
        finally:
            request.cancel.cancel()  # for a plugin that answers for the engine


async def off_loop(executor: Executor, function: Callable[..., T], *args: object) -> T:
    """Call a function that blocks."""
    return await asyncio.get_running_loop().run_in_executor(executor, function, *args)


def shifted(segment: Segment, seconds: float) -> Segment:
    """Count times from the start of the recording, not of the piece."""
    if not seconds:
        return segment
    words = tuple(
        replace(word, start=word.start + seconds, end=word.end + seconds) for word in segment.words
    )
    start, end = segment.start + seconds, segment.end + seconds
    return replace(segment, start=start, end=end, words=words)


def clamped(segment: Segment, earliest: float, latest: float) -> Segment:
    """Keep times within the piece and in order: engines round, and pad their windows."""
    start = within(earliest, segment.start, latest)
    end = within(start, segment.end, latest)
    words = []
    at = start
    for word in segment.words:
        at = within(at, word.start, latest)
        words.append(replace(word, start=at, end=within(at, word.end, latest)))
    return replace(segment, start=start, end=end, words=tuple(words))


def within(low: float, time: float, high: float) -> float:
    """Return the time that is nearest to `time` and not outside."""
    # In this order NaN becomes `low`. JSON knows neither NaN nor numpy's numbers.
    return float(min(max(low, time), high))
