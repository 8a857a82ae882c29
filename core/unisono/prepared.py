"""What an engine computes from a reference recording: once, not for every request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .cache import SizedCache
from .engine import Engine
from .requests import SpeechRequest
from .voice import PreparedVoice, VoicePrompt

_Key = tuple[str, str | None, str | None]


class PreparedVoices:
    """The prepared voices of one loaded model, by content, transcript and language.

    `apply` runs where the engine runs, `clear` anywhere.

    :param budget: bytes to keep.
    """

    def __init__(self, engine: Engine, budget: int) -> None:
        self._engine = engine
        self._kept: SizedCache[_Key, PreparedVoice] = SizedCache(budget)
        self._none = type(engine).prepare_voice is Engine.prepare_voice

    def apply(self, request: SpeechRequest) -> SpeechRequest:
        """Return the request with every voice prepared.

        :raises Exception: whatever the engine raises.
        """
        voices = self._voices(request)
        for key, voice in self._unprepared(request, voices):
            prepared: Any = self._engine.prepare_voice(voice)
            self._keep(voices, key, prepared)
        return _with(request, voices)

    async def apply_async(self, request: SpeechRequest) -> SpeechRequest:
        """Do the same for an engine whose `prepare_voice` is `async def`."""
        voices = self._voices(request)
        for key, voice in self._unprepared(request, voices):
            preparing: Any = self._engine.prepare_voice(voice)
            self._keep(voices, key, await preparing)
        return _with(request, voices)

    def clear(self) -> int:
        """Forget them; return how many there were."""
        return self._kept.clear()

    def _voices(self, request: SpeechRequest) -> dict[_Key, PreparedVoice]:
        """Return what is known of the request's voices. Held here, as the cache may drop it."""
        if self._none:
            return {}
        keys = {_key(turn.voice) for turn in request.turns if turn.voice.audio is not None}
        return {key: found for key in keys if (found := self._kept.get(key)) is not None}

    def _unprepared(
        self, request: SpeechRequest, voices: dict[_Key, PreparedVoice]
    ) -> Iterator[tuple[_Key, VoicePrompt]]:
        for turn in request.turns:
            key = _key(turn.voice)
            if not self._none and turn.voice.audio is not None and key not in voices:
                yield key, turn.voice

    def _keep(
        self, voices: dict[_Key, PreparedVoice], key: _Key, prepared: PreparedVoice | None
    ) -> None:
        voices[key] = prepared or PreparedVoice(None, 0)
        self._kept.put(key, voices[key], voices[key].size)


def _key(voice: VoicePrompt) -> _Key:
    return voice.digest, voice.text, voice.language


def _with(request: SpeechRequest, voices: dict[_Key, PreparedVoice]) -> SpeechRequest:
    if not voices:
        return request
    turns = tuple(
        replace(turn, voice=replace(turn.voice, prepared=voices[_key(turn.voice)].features))
        if turn.voice.audio is not None
        else turn
        for turn in request.turns
    )
    return replace(request, turns=turns)
