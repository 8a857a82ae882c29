"""GPT-SoVITS servers as an engine."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace

from unisono import (
    AudioChunk,
    Engine,
    EngineUnavailable,
    Feature,
    ModelInfo,
    PromptError,
    RequestError,
    SpeechRequest,
    Task,
    Voice,
    VoicePrompt,
)

from .checks import problems
from .generations import GENERATIONS, SEEDS, Reference, Wish, start_command
from .languages import spoken, upstream_language
from .link import Link, Unreachable, failed
from .options import RATES, TEXT_NEEDED, GptSovitsParams, GptSovitsSettings
from .preparation import Preparation
from .references import ReferenceFiles
from .servers import Server, crew
from .speech import Silent, SpeechLink

logger = logging.getLogger(__name__)
_WORD_CHARACTER = re.compile(r"[^\W_]")


class GptSovitsBridge(Engine):
    """Passes requests on to GPT-SoVITS servers, and their speech back while it comes."""

    name = "gpt_sovits_bridge"
    params_type = GptSovitsParams
    settings_type = GptSovitsSettings
    settings: GptSovitsSettings

    @classmethod
    def describe(cls, settings: GptSovitsSettings) -> ModelInfo:
        features = {Feature.SPEED, Feature.LONG_TEXT}
        if settings.api != "v1":
            features.add(Feature.SEED)
        if settings.can_clone:
            text_needed = settings.model_version in TEXT_NEEDED or settings.api == "v1"
            features |= {
                Feature.VOICE_CLONING,
                Feature.PROMPT_TEXT_REQUIRED if text_needed else Feature.PROMPT_TEXT,
            }
        return ModelInfo(
            Task.SPEECH,
            languages=spoken(settings.model_version),
            sample_rate=settings.sample_rate or RATES.get(settings.model_version, 32_000),
            voices=tuple(
                Voice(name, (voice.language,) if voice.language else ())
                for name, voice in settings.voices.items()
            ),
            features=frozenset(features),
            prompt_rate=32_000,
            prompt_seconds=(3.0, 10.0),  # the servers refuse others
            max_concurrency=len(settings.urls),
        )

    def problems(self) -> Iterable[str]:
        return problems(self.settings)

    def load(self) -> None:
        settings = self.settings
        self._files: ReferenceFiles | None = None
        if settings.can_clone:
            self._files = ReferenceFiles(
                settings.refs_local_dir, settings.refs_remote_dir, settings.refs_keep
            )
        self._link = Link(settings)
        self._preparation = Preparation(self._link, settings)
        self._speech = SpeechLink(self._link, settings)

    async def unload(self) -> None:
        await self._link.close()
        if self._files is not None:
            await asyncio.to_thread(self._files.close)

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[AudioChunk, None]:
        wish = await self._wish(request)
        servers = [crew().server(url) for url in self.settings.urls]
        left = servers
        again = False
        while left:
            async with crew().turn(left, self.settings.weights) as server:
                try:
                    async with aclosing(self._speak(server, wish)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    return
                except Unreachable:
                    left = [other for other in left if other is not server]
                except Silent as error:
                    generation = server.generation
                    if again or not (generation and generation.seeded(server.fields)):
                        raise failed(
                            server, "answered with silence: it failed, or cannot say this text"
                        ) from error
                    again = True
                    logger.warning("%s answered with silence; trying again.", server.place)
                    wish = _reseeded(wish)
        raise self._unreachable(servers)

    async def _speak(self, server: Server, wish: Wish) -> AsyncGenerator[AudioChunk, None]:
        """Speak with a server, whose turn it is."""
        generation = await self._preparation.recognise(server)
        body = generation.body(wish, server.fields)
        await self._preparation.use_weights(server, self.settings.weights)
        await self._preparation.use_reference(server, wish.reference)
        async with aclosing(self._speech.speak(server, body)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _wish(self, request: SpeechRequest) -> Wish:
        """Check what the servers would answer with silence, and write the reference.

        :raises RequestError: naming the field.
        """
        version = self.settings.model_version
        if not _WORD_CHARACTER.search(request.text):
            raise RequestError(
                "input: GPT-SoVITS wants at least one letter or digit.",
                param="input",
                code="empty_input",
            )
        return Wish(
            text=request.text,
            language=upstream_language(request.language, version, "language"),
            reference=await self._reference(request.voice),
            options=request.params.model_dump(exclude_none=True),
            speed=request.speed,
            seed=request.seed,
            text_needed=version in TEXT_NEEDED,
        )

    async def _reference(self, voice: VoicePrompt) -> Reference:
        version = self.settings.model_version
        fixed = self.settings.voices.get(voice.preset) if voice.preset is not None else None
        if fixed is not None:
            language = upstream_language(fixed.language, version, "voice")
            return Reference(fixed.path, fixed.text.strip(), language, voice.preset)
        if voice.audio is None or self._files is None:
            raise PromptError(
                "voice: this model has no voice of this name, or of its own: send a recording in "
                "ref_audio."
                if self._files is not None
                else "voice: this model speaks with the voices of its configuration only; for "
                "recordings, its operator should set refs_local_dir and refs_remote_dir.",
                param="voice",
            )
        language = upstream_language(voice.language, version, "ref_language")
        path = await asyncio.to_thread(self._files.place, voice.audio)
        return Reference(path, (voice.text or "").strip(), language)

    def _unreachable(self, servers: Sequence[Server]) -> EngineUnavailable:
        api = self.settings.api
        likely = GENERATIONS.values() if api == "auto" else [GENERATIONS[api]]
        places = ", ".join(server.place for server in servers)
        return EngineUnavailable(
            f"No GPT-SoVITS server answers at {places}. Start one in its directory: "
            f"{start_command(servers[0].place, likely)}",
            code="upstream_unreachable",
        )


def _reseeded(wish: Wish) -> Wish:
    """Return the same with another seed: the next one, so that a given seed keeps its meaning."""
    seed = random.randrange(SEEDS) if wish.seed is None else wish.seed + 1
    return replace(wish, seed=seed)
