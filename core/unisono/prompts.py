"""From what a request says of a voice to what the engine gets of it.

The hook `resolve_voice_prompt` finds the recording, whatever kind of reference there is. What
follows is the same for all: it is decoded, mixed to mono, resampled, trimmed, measured, hashed,
and remembered, and its transcript is found.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from . import audio
from .cache import SizedCache
from .calls import Call, contained, missing
from .catalog import Catalog
from .decoding import decode
from .errors import AudioError, PromptError, RequestError, UnknownVoice, UnsupportedFeature
from .fields import SpeechFields
from .plugins import PluginManager
from .references import reference_of
from .requests import KnownSpeaker
from .sections import Voices
from .speakers import VOICE_SECONDS
from .store import VoiceStore
from .transcription import TranscriptionCall
from .types import AudioChunk, Feature, ModelInfo
from .voice import VoicePrompt, VoiceReference

_LISTED = 30
_MEASURED_SECONDS = 300.0
"""How far a recording that is too long is followed, to say how long it is."""


@dataclass(frozen=True)
class ResolvedVoice:
    """What the engine gets, and what the client should know about it."""

    prompt: VoicePrompt
    heard: str | None = None
    """Transcript that the kernel made because the client sent none."""


class VoiceResolver:
    """Finds and completes voice prompts.

    :param executor: threads for plugins, for the disk and for decoding.
    :param transcribe: writes down a recording, with the model of `voices.transcribe_with`.
    """

    def __init__(
        self,
        config: Voices,
        catalog: Catalog,
        plugins: PluginManager,
        store: VoiceStore,
        executor: Executor,
        transcribe: Callable[[AudioChunk], Awaitable[str]],
    ) -> None:
        self._config = config
        self._catalog = catalog
        self._plugins = plugins
        self._store = store
        self._executor = executor
        self._transcribe = transcribe
        self._recordings: SizedCache[tuple[bytes, int], tuple[AudioChunk, str]] = SizedCache(
            config.cache_bytes
        )
        self._transcripts: SizedCache[str, str] = SizedCache(2**20)

    async def resolve(self, call: Call[SpeechFields], name: str | None = None) -> ResolvedVoice:
        """Return the voice of a request.

        :param name: of one speaker, in place of the voice or the recording of the whole request.
        :raises PromptError: if there is no such voice, or it cannot be used.
        :raises UnsupportedFeature: if the model cannot do with it what it is meant for.
        """
        if name is not None:
            own = {"voice": name, "ref_audio": None, "ref_text": None, "ref_language": None}
            call = replace(call, fields=call.fields.model_copy(update=own))
        info = call.entry.info
        reference = reference_of(call.fields)
        if reference.audio is not None:
            self._demand(call, Feature.VOICE_CLONING, "ref_audio")
        with contained(call.entry):
            if self._is_own(reference, info):  # nothing of that blocks
                found = self._ask(reference, info)
                prompt = self._checked(call, found)
            else:
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(self._executor, self._ask, reference, info)
                prompt = self._checked(call, found)
                if prompt.recording is not None or prompt.audio is not None:
                    finish = self._finished
                    prompt = await loop.run_in_executor(self._executor, finish, prompt, info)
        if prompt.audio is None:
            return ResolvedVoice(prompt)
        prompt = replace(
            prompt,
            text=call.fields.ref_text or prompt.text,
            language=call.fields.ref_language or prompt.language,
        )
        return await self._with_transcript(call, prompt)

    async def known_speakers(self, call: TranscriptionCall) -> list[KnownSpeaker]:
        """Return the known speakers of a request: recordings that it brings, or stored voices.

        :raises PromptError: naming the speaker whose recording cannot be used.
        """
        fields, info = call.fields, replace(call.listener.info, prompt_rate=16_000)
        found = []
        for index, name in enumerate(fields.known_speaker_names):
            given = fields.known_speaker_references
            param = "known_speaker_references" if given else "known_speaker_names"
            reference = VoiceReference(audio=given[index]) if given else VoiceReference(name)
            loop = asyncio.get_running_loop()
            try:
                with contained(call.listener):
                    ask, finish = self._ask, self._finished
                    prompt = await loop.run_in_executor(self._executor, ask, reference, info)
                    if prompt is not None:
                        prompt = await loop.run_in_executor(self._executor, finish, prompt, info)
            except RequestError as error:
                message = f"{param}: {name!r}: {error}"
                raise PromptError(message, param=param, code=error.code) from error
            if prompt is None or prompt.audio is None:
                raise PromptError(
                    f"{param}: there is no recording of {name!r}: send one in "
                    f"known_speaker_references, or store one. {self._stored()}",
                    param=param,
                )
            rate = prompt.audio.sample_rate
            samples = prompt.audio.samples[: round(VOICE_SECONDS * rate)]
            found.append(KnownSpeaker(name, AudioChunk(samples, rate)))
        return found

    def clear(self) -> int:
        """Forget the recordings that were decoded; return how many there were."""
        self._transcripts.clear()
        return self._recordings.clear()

    def _is_own(self, reference: VoiceReference, info: ModelInfo) -> bool:
        """Whether this is for the model's own voices alone to answer."""
        name = info.default_voice if reference.name is None else reference.name
        own = name is None or any(voice.name == name for voice in info.voices)
        return own and reference.audio is None and not self._plugins.resolves_voices

    def _ask(self, reference: VoiceReference, info: ModelInfo) -> VoicePrompt | None:
        found: VoicePrompt | None = self._plugins.hook.resolve_voice_prompt(
            reference=reference, model=info
        )
        return found

    def _checked(self, call: Call[SpeechFields], prompt: VoicePrompt | None) -> VoicePrompt:
        info = call.entry.info
        if prompt is None:
            raise self._unknown(call)
        if prompt.recording is not None or prompt.audio is not None:
            self._demand(call, Feature.VOICE_CLONING, "voice")
        elif prompt.description is not None:
            self._demand(call, Feature.VOICE_DESIGN, "voice")
        elif prompt.preset is None and not info.voices and Feature.VOICE_CLONING in info.features:
            raise PromptError(
                f"Model {info.id!r} has no voice of its own: send a recording in ref_audio, or "
                f"name a stored voice. {self._stored()}",
                param="voice",
            )
        return prompt

    def _demand(self, call: Call[SpeechFields], feature: Feature, param: str) -> None:
        if feature not in call.entry.info.features:
            raise UnsupportedFeature(missing(call.entry, feature, self._catalog), param=param)

    def _unknown(self, call: Call[SpeechFields]) -> PromptError:
        info, given = call.entry.info, call.fields
        if given.ref_audio is not None or "+" in (given.voice or "")[:8]:
            return PromptError(
                f"Nothing installed reads a reference such as {str(given.ref_audio)[:40]!r}.",
                param="ref_audio",
            )
        names = [voice.name for voice in info.voices]
        listed = ", ".join(names[:_LISTED])
        more = len(names) - _LISTED
        rest = f" and {more} more (GET /v1/audio/voices)" if more > 0 else ""
        stored = f" {self._stored()}" if Feature.VOICE_CLONING in info.features else ""
        return UnknownVoice(
            f"Model {info.id!r} has no voice {(given.voice or '')[:99]!r}. "
            f"Its voices: {listed or 'none'}{rest}.{stored}",
            param="voice",
        )

    def _stored(self) -> str:
        names = [voice.name for voice in self._store.list()]
        return f"Stored voices: {', '.join(names[:_LISTED]) or 'none'}."

    def _finished(self, prompt: VoicePrompt, info: ModelInfo) -> VoicePrompt:
        """Decode and measure, on a worker thread."""
        rate = info.prompt_rate or info.sample_rate or 24_000
        if prompt.recording is not None:
            key = hashlib.sha256(prompt.recording).digest(), rate
            known = self._recordings.get(key)
            if known is None:
                known = self._decoded(prompt.recording, rate)
                self._recordings.put(key, known, known[0].samples.nbytes)
        elif prompt.audio is not None:
            known = self._decoded(prompt.audio, rate)
        else:
            return prompt
        chunk, digest = known
        low, high = info.prompt_seconds
        high = min(high, self._config.max_seconds)
        if not low <= chunk.seconds <= high:
            raise PromptError(
                f"The recording of the voice has {chunk.seconds:.2f} seconds of sound; model "
                f"{info.id!r} takes {low:g} to {high:g}. "
                + (
                    "Send a longer one."
                    if chunk.seconds < low
                    else "Send a part of it, and its text."
                ),
                param="ref_audio",
                code="audio_too_short" if chunk.seconds < low else "audio_too_long",
            )
        return replace(prompt, recording=None, audio=chunk, digest=digest)

    def _decoded(self, source: bytes | AudioChunk, rate: int) -> tuple[AudioChunk, str]:
        most = max(_MEASURED_SECONDS, self._config.max_seconds)
        try:
            samples = decode(source, sample_rate=rate, max_seconds=most).samples
        except AudioError as error:
            raise PromptError(
                f"The recording of the voice: {error}", param="ref_audio", code=error.code
            ) from error
        peak = float(np.abs(samples).max())
        sound = np.ascontiguousarray(audio.trim(samples, rate))
        if not len(sound):
            level = f"{20 * np.log10(peak):.0f} dBFS" if peak else "nothing at all"
            raise PromptError(
                f"The recording of the voice is silent: {len(samples) / rate:.2f} seconds with "
                f"{level} at the loudest moment.",
                param="ref_audio",
                code="audio_silent",
            )
        sound.setflags(write=False)  # shared by every request with this voice
        digest = hashlib.sha256(sound.tobytes() + rate.to_bytes(4, "little")).hexdigest()
        return AudioChunk(sound, rate), digest

    async def _with_transcript(
        self, call: Call[SpeechFields], prompt: VoicePrompt
    ) -> ResolvedVoice:
        features = call.entry.info.features
        needed = Feature.PROMPT_TEXT_REQUIRED in features and call.params.needs_prompt_text
        if prompt.text or not (needed or Feature.PROMPT_TEXT in features):
            return ResolvedVoice(prompt)
        heard = None
        if self._config.transcribe_with is not None and prompt.audio is not None:
            heard = self._transcripts.get(prompt.digest)
            if heard is None:
                heard = (await self._transcribe(prompt.audio)).strip()
                self._transcripts.put(prompt.digest, heard, len(heard))
        if needed and not heard:
            raise PromptError(
                f"Model {call.entry.id!r} needs ref_text: what is said in the recording, word for "
                "word; a wrong transcript garbles the speech."
                + (" Nothing could be understood of it." if heard is not None else ""),
                param="ref_text",
                code="missing_ref_text",
            )
        return ResolvedVoice(replace(prompt, text=heard or None), heard or None)
