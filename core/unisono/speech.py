"""One speech request, from the client's fields to a started stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from . import codecs
from . import text as texts
from .audio import Stretcher
from .calls import Call, contained, prepare
from .catalog import Catalog
from .config import Config
from .errors import EngineFailed, RequestError
from .fields import SpeechFields
from .plugins import PluginManager
from .pool import Pool
from .prompts import VoiceResolver
from .runner import EngineRunner
from .types import (
    AudioChunk,
    Feature,
    ModelInfo,
    SpeechRequest,
    Task,
    Turn,
    Word,
)
from .voice import VoicePrompt

NEEDS = {"word_timestamps": Feature.WORD_TIMESTAMPS, "seed": Feature.SEED}
HINTS = {
    "instructions": Feature.INSTRUCTIONS,
    "ref_text": Feature.VOICE_CLONING,
    "ref_language": Feature.VOICE_CLONING,
}

SpeechCall = Call[SpeechFields]


def prepare_speech(raw: Mapping[str, Any], catalog: Catalog, config: Config) -> SpeechCall:
    """Validate a speech request: model, fields, options, text.

    :raises RequestError: naming the field.
    """
    call = prepare(
        raw,
        SpeechFields,
        Task.SPEECH,
        catalog,
        needs=NEEDS,
        hints=HINTS,
        strict=config.server.strict,
    )
    text, limit = call.fields.input, config.limits.text_chars
    if len(text) > limit:
        raise RequestError(
            f"input: {len(text):,} characters; at most {limit:,} are allowed.",
            param="input",
            code="string_too_long",
        )
    if not texts.is_speakable(text):
        raise RequestError("input: there is nothing to speak.", param="input", code="empty_input")
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
    pool.check(call.entry)
    voice = await voices.resolve(call)
    rest = _speak(call, voice.prompt, pool, plugins)
    try:
        first = await anext(rest, None)
    except BaseException:
        await rest.aclose()
        raise
    if first is None:
        raise RequestError("input: there is nothing to speak.", param="input", code="empty_input")
    return SpeechStream(call, first, voice.heard, rest)


async def _speak(
    call: SpeechCall, prompt: VoicePrompt, pool: Pool, plugins: PluginManager
) -> AsyncGenerator[AudioChunk, None]:
    info, fields = call.entry.info, call.fields
    stretched = fields.speed != 1.0 and Feature.SPEED not in info.features
    request = SpeechRequest(
        turns=(Turn(fields.input, prompt),),
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
    """Speak a text that is too long for the engine in segments, one after the other."""
    elapsed = 0.0
    form: tuple[int, tuple[int, ...]] | None = None
    for segment in _split(request, runner.model):
        turn = replace(request.turns[0], text=segment)
        part = replace(request, turns=(turn,))
        stream = plugins.hook.synthesize(engine=runner, request=part)
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
        if elapsed == began and any(map(str.isalnum, segment)):
            raise EngineFailed(f"Model {runner.model.id!r} produced no audio for {segment[:60]!r}.")


def _form(chunk: AudioChunk) -> tuple[int, tuple[int, ...]]:
    return chunk.sample_rate, chunk.samples.shape[1:]


def _split(request: SpeechRequest, info: ModelInfo) -> Iterable[str]:
    whole = Feature.SSML in info.features and texts.is_ssml(request.text)
    if whole or Feature.LONG_TEXT in info.features:
        return [request.text]
    if info.max_input_chars is None:
        return texts.split_text(request.text, language=request.language)
    return texts.split_text(request.text, language=request.language, max_chars=info.max_input_chars)


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
