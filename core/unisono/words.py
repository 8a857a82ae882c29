"""Times of words for models that have none: from an aligner, a model that finds a known text."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import replace

from .calls import contained
from .entries import Entry
from .pieces import off_loop, within
from .plugins import PluginManager
from .pool import Pool
from .requests import AlignmentRequest
from .runner import EngineRunner
from .spool import Spool
from .types import AudioChunk, Segment, Word

MARGIN_SECONDS = 0.2
"""Audio around a segment: models round its times."""


async def with_words(
    segments: AsyncGenerator[Segment, None],
    aligner: Entry,
    language: str | None,
    spool: Spool,
    pool: Pool,
    plugins: PluginManager,
    executor: Executor,
) -> AsyncGenerator[Segment, None]:
    """Yield segments with their words. Begins when the last segment has come, for only then is the
    model that wrote them given back, and two models never wait for the memory of each other.

    :param aligner: the model that finds the words.
    :param language: BCP 47 tag of the text, where the segments have none.
    """
    async with aclosing(segments):
        written = [segment async for segment in segments]
    with contained(aligner):
        async with pool.lease(aligner) as runner, runner.ahead:
            for segment in written:
                audio, offset = await off_loop(executor, _around, segment, spool)
                spoken = segment.language or language
                request = AlignmentRequest(audio, segment.text, aligner.params_type(), spoken)
                words = await _find(request, runner, plugins)
                yield replace(segment, words=_placed(segment, words, offset))


async def _find(
    request: AlignmentRequest, runner: EngineRunner, plugins: PluginManager
) -> list[Word]:
    if not request.text.strip() or not len(request.audio.samples):
        return []
    found = plugins.hook.align(engine=runner, request=request)
    try:
        async with aclosing(found):
            return [word async for word in found]
    finally:
        request.cancel.cancel()


def _around(segment: Segment, spool: Spool) -> tuple[AudioChunk, float]:
    """Return what is heard of a segment, and the second when that begins."""
    start = max(0, round((segment.start - MARGIN_SECONDS) * spool.sample_rate))
    end = min(spool.frames, round((segment.end + MARGIN_SECONDS) * spool.sample_rate))
    return spool.read(start, max(0, end - start)), start / spool.sample_rate


def _placed(segment: Segment, words: Sequence[Word], offset: float) -> tuple[Word, ...]:
    """Return words within their segment, counted from the start of the recording."""
    if not words:
        return _spread(segment)
    placed = []
    at = segment.start
    for word in words:
        at = within(at, word.start + offset, segment.end)
        end = within(at, word.end + offset, segment.end)
        placed.append(replace(word, start=at, end=end, estimated=True))
    return tuple(placed)


def _spread(segment: Segment) -> tuple[Word, ...]:
    """Share the time of a segment out over its letters, where the aligner heard nothing of it."""
    texts = segment.text.split()
    each = (segment.end - segment.start) / max(1, sum(map(len, texts)))
    words = []
    at = segment.start
    for text in texts:
        end = at + each * len(text)
        words.append(Word(text, at, min(end, segment.end), estimated=True))
        at = end
    return tuple(words)
