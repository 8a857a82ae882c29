"""The engine that transcribes through another server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from unisono import Engine, Feature, ModelInfo, Segment, Task, TranscriptionRequest

from .client import Upstream
from .options import OpenaiTranscriptionSettings
from .params import OpenaiTranscriptionParams, further_fields
from .pcm import data_url, wav_of, wav_seconds
from .transcripts import segments_of

_OWN_FIELDS = (
    *("file", "model", "language", "prompt", "temperature", "keywords"),
    *("response_format", "timestamp_granularities", "stream", "include"),
    *("known_speaker_names", "known_speaker_references"),
)


_RATE = 16_000
_PIECE_SECONDS = 300
_REFERENCE_SECONDS = (2.0, 60.0)
"""OpenAI takes known speakers' recordings of 2 to 10 seconds; longer ones are cut by the kernel."""


class OpenaiTranscriptionEngine(Engine):
    """Transcription by any server with OpenAI's API: another unisono, speaches, OpenAI itself."""

    name = "openai_transcription"
    params_type = OpenaiTranscriptionParams
    settings_type = OpenaiTranscriptionSettings
    settings: OpenaiTranscriptionSettings

    def __init__(self, model: ModelInfo, settings: OpenaiTranscriptionSettings) -> None:
        super().__init__(model, settings)
        self._upstream = Upstream(settings, model.id)

    @classmethod
    def describe(cls, settings: OpenaiTranscriptionSettings) -> ModelInfo:
        # Speakers have new labels in each upload, so there should be one wherever possible.
        whole = Feature.DIARIZATION in settings.features
        most = wav_seconds(settings.max_upload_bytes, _RATE)
        return ModelInfo(
            Task.TRANSCRIPTION,
            languages=settings.tags,
            features=settings.features,
            max_audio_seconds=most if whole else min(most, _PIECE_SECONDS),
            max_concurrency=settings.concurrent_requests,
            prompt_seconds=_REFERENCE_SECONDS,
        )

    def problems(self) -> Iterable[str]:
        return self._upstream.problems()

    async def load(self) -> None:
        await self._upstream.open()

    async def unload(self) -> None:
        await self._upstream.close()

    async def transcribe(self, request: TranscriptionRequest) -> AsyncGenerator[Segment, None]:
        audio, settings = request.audio, self.settings
        known = [speaker.audio for speaker in request.known_speakers]
        references = await asyncio.to_thread(lambda: [data_url(voice) for voice in known])
        fields = list(_pairs(self._fields(request, references)))
        wav = await asyncio.to_thread(wav_of, audio)
        task = "translations" if request.translate else "transcriptions"
        async with self._upstream.post_form(f"/audio/{task}", fields, wav) as response:
            body = await response.aread()
        for segment in segments_of(body, request, settings, self.model.id):
            yield segment

    def _fields(self, request: TranscriptionRequest, references: Sequence[str]) -> dict[str, Any]:
        """Return the upstream's request; what nobody set is not in it.

        :param references: the voices of the known speakers, as data: URLs.
        """
        settings = self.settings
        said: dict[str, Any] = {
            "language": request.language and settings.language_name(request.language),
            "prompt": request.prompt,
            "temperature": request.temperature,
            "keywords": list(request.hotwords) or None,
            "timestamp_granularities": ["word", "segment"] if request.word_timestamps else None,
            "include": ["logprobs"] if request.logprobs else None,
            "known_speaker_names": [speaker.name for speaker in request.known_speakers] or None,
            "known_speaker_references": references or None,
        }
        return {
            **further_fields(settings, request.params, _OWN_FIELDS),
            **{name: value for name, value in said.items() if value is not None},
            "model": settings.model,
            # Nothing else carries log probabilities.
            "response_format": "json" if request.logprobs else settings.response_format,
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
