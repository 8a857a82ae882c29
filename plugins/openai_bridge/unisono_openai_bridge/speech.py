"""The engine that speaks through another server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from unisono import (
    AudioChunk,
    Engine,
    ModelInfo,
    PreparedVoice,
    SpeechRequest,
    Task,
    Voice,
    VoicePrompt,
)

from .client import Upstream
from .events import EVENT_STREAM, parts_of
from .failures import unexpected
from .options import OpenaiSpeechSettings
from .params import OpenaiSpeechParams, further_fields
from .pcm import Parts, chunks_of, data_url

if TYPE_CHECKING:
    import httpx2

_OWN_FIELDS = (
    *("model", "input", "voice", "instructions", "speed", "language", "seed", "word_timestamps"),
    *("response_format", "stream", "stream_format", "sample_rate"),
    *("ref_audio", "ref_text", "ref_language"),
)


class OpenaiSpeechEngine(Engine):
    """Speech of any server with OpenAI's API: another unisono, vLLM-Omni, OpenAI itself."""

    name = "openai_speech"
    params_type = OpenaiSpeechParams
    settings_type = OpenaiSpeechSettings
    settings: OpenaiSpeechSettings

    def __init__(self, model: ModelInfo, settings: OpenaiSpeechSettings) -> None:
        super().__init__(model, settings)
        self._upstream = Upstream(settings, model.id)

    @classmethod
    def describe(cls, settings: OpenaiSpeechSettings) -> ModelInfo:
        return ModelInfo(
            Task.SPEECH,
            languages=settings.tags,
            sample_rate=settings.sample_rate,
            voices=tuple(map(Voice, settings.voice_names)),
            features=settings.features,
            max_input_chars=settings.max_input_chars,
            max_concurrency=settings.concurrent_requests,
        )

    def problems(self) -> Iterable[str]:
        return self._upstream.problems()

    async def load(self) -> None:
        await self._upstream.open()

    async def unload(self) -> None:
        await self._upstream.close()

    async def prepare_voice(self, prompt: VoicePrompt) -> PreparedVoice:
        assert prompt.audio is not None
        url = await asyncio.to_thread(data_url, prompt.audio)
        return PreparedVoice(url, len(url))

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[AudioChunk, None]:
        body = self._body(request)
        async with self._upstream.post_json("/audio/speech", body) as response:
            parts = self._parts(response, request.word_timestamps)
            chunks = chunks_of(parts, self.settings.sample_rate, self.model.id)
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

    def _body(self, request: SpeechRequest) -> dict[str, Any]:
        """Return the upstream's request; what nobody set is not in it."""
        settings, voice = self.settings, request.voice
        said: dict[str, Any] = {
            "voice": voice.preset,
            "instructions": request.instructions,
            "speed": request.speed if request.speed != 1.0 else None,
            "language": request.language and settings.language_name(request.language),
            "seed": request.seed,
            "sample_rate": (
                settings.sample_rate if "sample_rate" in settings.model_fields_set else None
            ),
        }
        if voice.audio is not None:
            # vLLM-Omni takes no bare base64.
            said["ref_audio"] = voice.prepared
            said["ref_text"] = voice.text
            said["ref_language"] = voice.language and settings.language_name(voice.language)
        if request.word_timestamps:
            said |= {"stream_format": "sse", "word_timestamps": True}
        return {
            **further_fields(settings, request.params, _OWN_FIELDS),
            **{name: value for name, value in said.items() if value is not None},
            "model": settings.model,
            "input": request.text,
            "response_format": "pcm",
        }

    def _parts(self, response: httpx2.Response, events: bool) -> Parts:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        no_audio = kind.startswith("text/") or kind == "application/json"
        if kind != EVENT_STREAM if events else no_audio:
            wanted = EVENT_STREAM if events else "audio"
            raise unexpected(
                self.model.id,
                f"answers with {kind[:80] or 'something'!r} instead of {wanted}: the operator has "
                "to correct base_url, or to take word_timestamps from the features",
            )
        if events:
            return parts_of(response, self.model.id)
        return _bytes(response)


async def _bytes(response: httpx2.Response) -> Parts:
    async with aclosing(response.aiter_bytes()) as parts:
        async for part in parts:
            yield part, ()
