"""The engine that transcribes through another server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any

from unisono import AudioError, Engine, ModelInfo, Segment, Task, TranscriptionRequest

from .client import Upstream
from .options import MOST_REQUESTS, OpenaiTranscriptionSettings
from .params import OpenaiTranscriptionParams, further_fields
from .pcm import wav_of, wav_seconds, wav_size
from .transcripts import segments_of

_OWN_FIELDS = (
    *("file", "model", "language", "prompt", "temperature", "keywords"),
    *("response_format", "timestamp_granularities", "stream"),
)


class OpenaiTranscriptionEngine(Engine):
    """Transcription by any server with OpenAI's API: another unisono, speaches, OpenAI itself."""

    name = "openai_transcription"
    max_concurrency = MOST_REQUESTS
    params_type = OpenaiTranscriptionParams
    settings_type = OpenaiTranscriptionSettings
    settings: OpenaiTranscriptionSettings

    def __init__(self, model: ModelInfo, settings: OpenaiTranscriptionSettings) -> None:
        super().__init__(model, settings)
        self._upstream = Upstream(settings, model.id)

    @classmethod
    def describe(cls, settings: OpenaiTranscriptionSettings) -> ModelInfo:
        return ModelInfo(Task.TRANSCRIPTION, languages=settings.tags, features=settings.features)

    def problems(self) -> Iterable[str]:
        return self._upstream.problems()

    async def load(self) -> None:
        await self._upstream.open()

    async def unload(self) -> None:
        await self._upstream.close()

    async def transcribe(self, request: TranscriptionRequest) -> AsyncGenerator[Segment, None]:
        audio, settings = request.audio, self.settings
        if wav_size(audio) > settings.max_upload_bytes:
            most = wav_seconds(settings.max_upload_bytes, audio.sample_rate)
            raise AudioError(
                f"The audio lasts {audio.seconds:.0f} seconds; the upstream server of model "
                f"{self.model.id!r} takes at most {most} at once.",
                param="file",
                code="audio_too_long",
            )
        fields = list(_pairs(self._fields(request)))
        wav = await asyncio.to_thread(wav_of, audio)
        task = "translations" if request.translate else "transcriptions"
        async with self._upstream.post_form(f"/audio/{task}", fields, wav) as response:
            body = await response.aread()
        for segment in segments_of(
            body,
            seconds=audio.seconds,
            words=request.word_timestamps,
            settings=settings,
            model=self.model.id,
        ):
            yield segment

    def _fields(self, request: TranscriptionRequest) -> dict[str, Any]:
        """Return the upstream's request; what nobody set is not in it."""
        settings = self.settings
        said: dict[str, Any] = {
            "language": request.language and settings.language_name(request.language),
            "prompt": request.prompt,
            "temperature": request.temperature,
            "keywords": list(request.hotwords) or None,
            "timestamp_granularities": ["word", "segment"] if request.word_timestamps else None,
        }
        return {
            **further_fields(settings, request.params, _OWN_FIELDS),
            **{name: value for name, value in said.items() if value is not None},
            "model": settings.model,
            "response_format": settings.response_format,
        }


def _pairs(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield fields as forms have them: lists as repeated `name[]`, objects as `name[key]`."""
    for name, value in fields.items():
        if isinstance(value, list | tuple):
            for item in value:
                yield f"{name}[]", _text(item)
        elif isinstance(value, Mapping):
            yield from ((f"{name}[{key}]", _text(item)) for key, item in value.items())
        elif value is not None:
            yield name, _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
