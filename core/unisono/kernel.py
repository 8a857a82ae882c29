"""The facade that the HTTP API, the command line and other programs call."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO

from .catalog import Catalog
from .config import Config
from .errors import ConfigError, EngineUnavailable, RequestError, SpeechError
from .files import FileVoices
from .listening import Listening, TranscriptStream
from .plugins import PluginManager
from .pool import Pool
from .prompts import VoiceResolver
from .references import InlineVoices, StoredVoices
from .remote import UrlVoices
from .rendering import Rendered, render
from .speech import SpeechCall, SpeechStream, open_speech, prepare_speech
from .store import StoredVoice, VoiceStore
from .transcription import TranscriptionCall, prepare_transcription
from .transcripts import Transcript
from .types import AudioChunk, Task

logger = logging.getLogger(__name__)
_ABOUT_BYTES = frozenset({"response_format", "sample_rate", "stream_format"})


class Kernel:
    """Everything installed, ready to speak and to listen.

    Use it as an asynchronous context manager, within one event loop::

        async with Kernel.from_config() as kernel:
            async for chunk in kernel.speech("Hello", voice="en-us"):
                play(chunk.samples, chunk.sample_rate)

    :raises ConfigError: if the configuration does not fit what is installed.
    """

    def __init__(self, config: Config, plugins: PluginManager) -> None:
        self.config = config
        self.plugins = plugins
        self.catalog = Catalog(config, plugins)
        self.pool = Pool(config.limits, config.voices.cache_bytes, config.auto_pull)
        self._check_names()
        # Apart, so that a long upload holds up nobody's speech.
        workers = min(8, os.cpu_count() or 1)
        self._encoders = ThreadPoolExecutor(workers, thread_name_prefix="unisono-encoder")
        self._decoders = ThreadPoolExecutor(workers, thread_name_prefix="unisono-decoder")
        self._resolvers = ThreadPoolExecutor(16, thread_name_prefix="unisono-voices")
        self.store = VoiceStore.configured(config.voices)
        plugins.add_own(
            StoredVoices(self.store),
            InlineVoices(config.voices),
            UrlVoices(config.voices),
            FileVoices(config.voices),
        )
        self._voices = VoiceResolver(
            config.voices, self.catalog, plugins, self.store, self._resolvers, self._write_down
        )

        self._listening = Listening(self.pool, plugins, self._decoders, config.limits.audio_seconds)

    @classmethod
    def from_config(
        cls,
        path: str | Path | None = None,
        *,
        overrides: Mapping[str, Any] | None = None,
        plugins: Mapping[str, object] | None = None,
    ) -> Kernel:
        """Read the configuration and discover the installed plugins.

        :param path: as for `Config.load`.
        :param overrides: as for `Config.load`.
        :param plugins: further plugins that are not installed, by name.
        :raises ConfigError: if the configuration is wrong.
        :raises PluginError: if one of `plugins` is.
        """
        config = Config.load(path, overrides)
        found = PluginManager.discover(
            disabled=config.plugins.disabled, required=config.plugins.required
        )
        for name, plugin in (plugins or {}).items():
            found.add(plugin, name)
        return cls(config, found)

    async def __aenter__(self) -> Kernel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Unload every model and end the worker threads."""
        await self.pool.close()
        for executor in (self._encoders, self._decoders, self._resolvers):
            executor.shutdown(wait=False, cancel_futures=True)
        self.store.close()

    async def preload(self) -> None:
        """Load the models of `server.preload`.

        :raises SpeechError: if one cannot be loaded now.
        """
        for name in self.config.server.preload:
            async with self.pool.lease(self.catalog.get(name)):
                pass

    def _check_names(self) -> None:
        where = "server.preload"
        try:
            for name in self.config.server.preload:
                self.catalog.get(name)
            where, writer = "voices.transcribe_with", self.config.voices.transcribe_with
            if writer is not None:
                self.catalog.resolve(writer, Task.TRANSCRIPTION)
        except SpeechError as error:
            raise ConfigError(f"{where}: {error}") from error

    async def _write_down(self, recording: AudioChunk) -> str:
        transcript = await self.transcribe(recording, model=self.config.voices.transcribe_with)
        return " ".join(segment.text.strip() for segment in transcript.segments)

    def prepare_speech(self, raw: Mapping[str, Any]) -> SpeechCall:
        """Validate the fields of a speech request, as POST /v1/audio/speech takes them.

        :raises RequestError: naming the field.
        """
        return prepare_speech(raw, self.catalog, self.config)

    async def open_speech(self, call: SpeechCall) -> SpeechStream:
        """Start a speech request and wait for its first chunk.

        :raises SpeechError: whatever went wrong before it.
        """
        return await open_speech(call, self.pool, self.plugins, self._voices)

    def render(self, stream: SpeechStream) -> AsyncGenerator[Rendered, None]:
        """Encode speech in the format and at the rate that its request asks for.

        Whoever stops reading closes the generator, which closes the stream.
        """
        return render(stream, self._encoders)

    async def speech(
        self, text: str, *, model: str | None = None, **fields: Any
    ) -> AsyncIterator[AudioChunk]:
        """Speak a text.

        :param fields: what POST /v1/audio/speech takes: voice, speed, the engine's options …
            but for what is about bytes: the chunks are samples at the model's own rate.
        :raises SpeechError: before the first chunk wherever possible.
        """
        for name in _ABOUT_BYTES & fields.keys():
            raise RequestError(f"{name}: the chunks are samples, not encoded.", param=name)
        call = self.prepare_speech({"input": text, "model": model, **fields})
        stream = await self.open_speech(call)
        async with aclosing(stream):
            async for chunk in stream:
                yield chunk

    async def stored_voices(self) -> list[StoredVoice]:
        """Return the voices of the store, by name; none of a store that cannot be used."""
        try:
            return await asyncio.to_thread(self.store.list)
        except EngineUnavailable as error:  # the models' own voices are there all the same
            logger.warning("The voice store cannot be read: %s", error)
            return []

    async def forget_voices(self, engine: str | None = None) -> int:
        """Drop what was decoded and computed of voices' recordings; it is made again when needed.

        :param engine: only what models of this engine computed; and all decoded recordings.
        :return: how many things were dropped.
        """
        return self._voices.clear() + await self.pool.forget_voices(engine)

    def prepare_transcription(
        self, raw: Mapping[str, Any], *, translate: bool = False
    ) -> TranscriptionCall:
        """Validate the fields of a transcription request but its file.

        :raises RequestError: naming the field.
        """
        return prepare_transcription(raw, self.catalog, self.config, translate=translate)

    async def open_transcription(
        self,
        call: TranscriptionCall,
        source: bytes | BinaryIO | AudioChunk,
    ) -> TranscriptStream:
        """Start a transcription and wait for its first segment.

        :param source: an audio file of any format, or samples at any rate.
        :raises AudioError: if it is not usable audio.
        :raises SpeechError: whatever else went wrong.
        """
        known = await self._voices.known_speakers(call)
        return await self._listening.open(call, source, known)

    async def transcribe(
        self,
        source: bytes | BinaryIO | AudioChunk,
        *,
        model: str | None = None,
        translate: bool = False,
        **fields: Any,
    ) -> Transcript:
        """Write down what is said.

        :param source: an audio file of any format, or samples at any rate.
        :param translate: the transcript is wanted in English.
        :param fields: what POST /v1/audio/transcriptions takes: language, the engine's options …
        :raises SpeechError: whatever went wrong.
        """
        call = self.prepare_transcription({"model": model, **fields}, translate=translate)
        stream = await self.open_transcription(call, source)
        return await stream.collect()
