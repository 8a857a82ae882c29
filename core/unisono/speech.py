"""One speech request, from the client's fields to a started stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import codecs
from .audio import Stretcher
from .calls import Call, contained, named_model, prepare
from .catalog import Catalog
from .config import Config
from .dialogue import check_turns, parts_of, turns_of
from .errors import EngineFailed, PromptError, RequestError
from .fields import SpeechFields
from .plugins import PluginManager
from .pool import Pool
from .prompts import ResolvedVoice, VoiceResolver
from .requests import SpeechRequest, Turn
from .runner import EngineRunner
from .spellings import respelled
from .types import AudioChunk, Feature, Task, Word

NEEDS = {"word_timestamps": Feature.WORD_TIMESTAMPS, "seed": Feature.SEED}
HINTS = {
    "instructions": Feature.INSTRUCTIONS,
    "ref_text": Feature.VOICE_CLONING,
    "ref_language": Feature.VOICE_CLONING,
}

MOST_REFERENCE_SECONDS = 600.0
"""Of the recordings of all voices of a dialogue: they are in memory as long as it is spoken."""

SpeechCall = Call[SpeechFields]


def prepare_speech(raw: Mapping[str, Any], catalog: Catalog, config: Config) -> SpeechCall:
    """Validate a speech request: model, fields, options, text.

    :raises RequestError: naming the field.
    """
    raw = respelled(raw)
    entry = named_model(raw, Task.SPEECH, catalog)
    strict = config.server.strict
    call = prepare(raw, entry, SpeechFields, catalog, needs=NEEDS, hints=HINTS, strict=strict)
    check_turns(turns_of(call.fields, call.entry.info), config.limits.text_chars)
    if call.fields.ref_audio is not None and call.fields.voice:
        call = replace(call, ignored=(*call.ignored, "voice"))
    rate = call.fields.sample_rate
    if rate is not None:  # what the format cannot carry is refused before the engine is asked
        codecs.output_rate(call.fields.response_format, rate, rate)
    return call


@dataclass(eq=False)
class SpeechStream:
    """Speech that has begun: an asynchronous iterator over chunks, the first of which exists.

    Close it (`aclose`) when nobody listens any more; the engine then stops.
    """

    call: SpeechCall
    first: AudioChunk
    heard: str | None
    """Transcript of the voice's recording, if the kernel made it."""
    _rest: AsyncGenerator[AudioChunk, None]
    _started: bool = False

    @property
    def sample_rate(self) -> int:
        """Hertz, of every chunk."""
        return self.first.sample_rate

    @property
    def channels(self) -> int:
        """Number of channels of every chunk."""
        return self.first.channels

    def __aiter__(self) -> SpeechStream:
        return self

    async def __anext__(self) -> AudioChunk:
        if not self._started:
            self._started = True
            return self.first
        return await self._rest.__anext__()

    async def aclose(self) -> None:
        """Stop the engine and free its slot."""
        await self._rest.aclose()


async def open_speech(
    call: SpeechCall, pool: Pool, plugins: PluginManager, voices: VoiceResolver
) -> SpeechStream:
    """Start the engine and wait for its first chunk, so that an error is not yet a broken answer.

    :raises SpeechError: whatever is wrong with the voice, the model or the engine.
    """
    with pool.admitted(call.entry):
        turns, heard = await _turns(call, voices)
    rest = _speak(call, turns, pool, plugins)
    try:
        first = await anext(rest, None)
    except BaseException:
        await rest.aclose()
        raise
    if first is None:
        raise RequestError("input: there is nothing to speak.", param="input", code="empty_input")
    return SpeechStream(call, first, heard, rest)


async def _turns(call: SpeechCall, voices: VoiceResolver) -> tuple[tuple[Turn, ...], str | None]:
    """Return the turns with their voices, and a transcript that was made for one of them."""
    found: dict[str | None, ResolvedVoice] = {}
    turns = []
    seconds = 0.0
    for turn in turns_of(call.fields, call.entry.info):
        if turn.voice not in found:
            found[turn.voice] = voice = await voices.resolve(call, turn.voice)
            seconds += voice.prompt.audio.seconds if voice.prompt.audio else 0.0
            if seconds > MOST_REFERENCE_SECONDS and len(found) > 1:
                raise PromptError(
                    f"The recordings of the voices have {seconds:.0f} seconds of sound in all; at "
                    f"most {MOST_REFERENCE_SECONDS:g} are accepted.",
                    param="voices" if call.fields.voices else "input",
                    code="audio_too_long",
                )
        turns.append(Turn(turn.text, found[turn.voice].prompt))
    return tuple(turns), next((each.heard for each in found.values() if each.heard), None)


async def _speak(
    call: SpeechCall, turns: tuple[Turn, ...], pool: Pool, plugins: PluginManager
) -> AsyncGenerator[AudioChunk, None]:
    info, fields = call.entry.info, call.fields
    stretched = fields.speed != 1.0 and Feature.SPEED not in info.features
    request = SpeechRequest(
        turns=turns,
        params=call.params,
        language=fields.language,
        instructions=(fields.instructions if Feature.INSTRUCTIONS in info.features else None),
        speed=1.0 if stretched else fields.speed,
        word_timestamps=fields.word_timestamps,
        seed=fields.seed,
    )
    with contained(call.entry):
        async with pool.lease(call.entry) as runner:
            chunks = _segments(request, runner, plugins)
            if stretched:
                chunks = _stretch(chunks, fields.speed)
            try:
                async with aclosing(chunks):
                    async for chunk in chunks:
                        yield chunk
            finally:
                request.cancel.cancel()  # for a plugin that answers instead of the engine


async def _segments(
    request: SpeechRequest, runner: EngineRunner, plugins: PluginManager
) -> AsyncGenerator[AudioChunk, None]:
    """Ask the engine for one part after the other, if it cannot take all at once."""
    elapsed = 0.0
    form: tuple[int, tuple[int, ...]] | None = None
    for part in parts_of(request, runner.model):
        stream = plugins.hook.synthesize(engine=runner, request=part.request)
        if part.pause and form:
            rate, shape = form
            yield AudioChunk(np.zeros((round(part.pause * rate), *shape), np.float32), rate)
            elapsed += part.pause
        began = elapsed
        async with aclosing(stream):
            async for chunk in stream:
                form = form or _form(chunk)
                if _form(chunk) != form:
                    raise EngineFailed(
                        f"Model {runner.model.id!r} changed its sample rate or channels between "
                        "the segments of a text."
                    )
                yield _shifted(chunk, began) if chunk.words else chunk
                elapsed += chunk.seconds
        said = " ".join(turn.text for turn in part.request.turns)
        if elapsed == began and any(map(str.isalnum, said)):
            raise EngineFailed(f"Model {runner.model.id!r} produced no audio for {said[:60]!r}.")


def _form(chunk: AudioChunk) -> tuple[int, tuple[int, ...]]:
    return chunk.sample_rate, chunk.samples.shape[1:]


async def _stretch(
    chunks: AsyncGenerator[AudioChunk, None], speed: float
) -> AsyncGenerator[AudioChunk, None]:
    """Change the tempo for an engine that cannot, off the event loop."""
    stretcher: Stretcher | None = None
    rate = 0
    words: tuple[Word, ...] = ()
    async with aclosing(chunks):
        async for chunk in chunks:
            if stretcher is None:
                rate = chunk.sample_rate
                stretcher = Stretcher(speed, rate, chunk.channels)
            samples = await asyncio.to_thread(stretcher.write, chunk.samples)
            words += tuple(
                replace(w, start=w.start / speed, end=w.end / speed) for w in chunk.words
            )
            if len(samples):
                yield AudioChunk(samples, rate, words)
                words = ()
        if stretcher is not None:
            samples = await asyncio.to_thread(stretcher.finish)
            if len(samples):
                yield AudioChunk(samples, rate, words)


def _shifted(chunk: AudioChunk, seconds: float) -> AudioChunk:
    """Count the words' times from the start of the whole text, in plain numbers: JSON knows
    neither NaN nor numpy's.
    """
    words = (
        replace(word, start=start, end=max(start, seconds + float(word.end)))
        for word in chunk.words
        for start in (max(seconds, seconds + float(word.start)),)
    )
    return replace(chunk, words=tuple(words))
