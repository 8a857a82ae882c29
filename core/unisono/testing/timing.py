"""The tests of engines that say when a word is heard (aligners) or who speaks (diarizers)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise

import numpy as np
import pytest

from ..kernel import Kernel
from ..requests import AlignmentRequest, DiarizationRequest, KnownSpeaker
from ..types import AudioChunk, Feature, ModelInfo, SpeakerTurn, Task, Word
from .harness import EngineHarness

SILENCE = AudioChunk(np.zeros(48_000, np.float32), 16_000)
UNRELATED = ("Xylophones?", "Nobody ever said anything like that, or would.", "…", "你好", "7" * 99)
ROUNDING = 0.02
"""Seconds by which times may lie beyond the end."""
KNOWN_SECONDS = 10.0


class TimingSuite(EngineHarness):
    """What aligners and diarizers must pass; a part of `EngineSuite`."""

    # Alignment

    def test_every_word_of_the_text_comes_back_as_it_is_written(self) -> None:
        self._only(Task.ALIGNMENT)
        words = self._align(self.speech_audio(), self.alignment_text())
        assert [word.text for word in words] == self.alignment_text().split()

    def test_times_of_words_rise_and_lie_within_the_audio(self) -> None:
        self._only(Task.ALIGNMENT)
        audio = self.speech_audio()
        words = self._align(audio, self.alignment_text())
        check_words(words, audio)
        assert words[-1].end > words[0].start

    def test_an_alignment_is_the_same_each_time(self) -> None:
        self._only(Task.ALIGNMENT)

        async def twice(kernel: Kernel) -> None:
            request = self._alignment(self.speech_audio(), self.alignment_text())
            assert await self._hear(kernel, request) == await self._hear(kernel, request)

        self._run(twice)

    def test_a_text_that_is_not_heard_breaks_nothing(self) -> None:
        self._only(Task.ALIGNMENT)

        async def astray(kernel: Kernel) -> None:
            text = self.alignment_text()
            speech = self.speech_audio()
            cases = [(SILENCE, text), *((speech, other) for other in UNRELATED)]
            cases += [(AudioChunk(speech.samples[:160], 16_000), text), (speech, text * 20)]
            for audio, wrong in cases:
                words = await self._hear(kernel, self._alignment(audio, wrong))
                # An aligner that cannot tell may find the words, but all of them.
                assert [word.text for word in words] in ([], wrong.split())
                check_words(words, audio)
            words = await self._hear(kernel, self._alignment(speech, text))
            assert [word.text for word in words] == text.split()

        self._run(astray)

    def test_closing_an_alignment_stops_it_and_frees_the_model(self) -> None:
        self._only(Task.ALIGNMENT)
        self._close_early(self._alignment(self.speech_audio(), self.alignment_text()))

    # Diarization

    def test_turns_are_in_order_and_within_the_audio(self) -> None:
        self._only(Task.DIARIZATION)
        audio = self.speech_audio()
        turns = self._diarize(audio)
        assert turns, "nobody is heard in `speech_audio`"
        assert all(a.start <= b.start for a, b in pairwise(turns))
        for turn in turns:
            assert isinstance(turn.speaker, str)
            assert turn.speaker.strip()
            assert 0 <= turn.start < turn.end <= audio.seconds + ROUNDING

    def test_a_diarization_is_the_same_each_time(self) -> None:
        self._only(Task.DIARIZATION)

        async def twice(kernel: Kernel) -> None:
            request = self._diarization(self.speech_audio())
            assert await self._hear(kernel, request) == await self._hear(kernel, request)

        self._run(twice)

    def test_nobody_speaks_in_silence(self) -> None:
        self._only(Task.DIARIZATION)

        async def listen(kernel: Kernel) -> None:
            for length in (48_000, 160, 1):
                silence = AudioChunk(SILENCE.samples[:length], 16_000)
                assert not await self._hear(kernel, self._diarization(silence))
            assert await self._hear(kernel, self._diarization(self.speech_audio()))

        self._run(listen)

    def test_a_speaker_who_is_known_is_called_by_name(self) -> None:
        self._knowing_speakers()
        audio = self.speech_audio()
        longest = max(self._diarize(audio), key=lambda turn: turn.end - turn.start)
        end = min(longest.end, longest.start + KNOWN_SECONDS)
        name = "Zoë of the tests"
        known = KnownSpeaker(name, _part(audio, longest.start, end))
        named = [turn for turn in self._diarize(audio, known) if turn.speaker == name]
        heard = sum(_overlap(turn, longest) for turn in named)
        assert heard > (longest.end - longest.start) / 2

    def test_a_known_speaker_is_forgotten_with_the_request(self) -> None:
        self._knowing_speakers()

        async def listen(kernel: Kernel) -> None:
            audio = self.speech_audio()
            before = await self._hear(kernel, self._diarization(audio))
            known = KnownSpeaker("Zoë", _part(audio, before[0].start, before[0].end))
            await self._hear(kernel, self._diarization(audio, known))
            assert await self._hear(kernel, self._diarization(audio)) == before

        self._run(listen)

    def test_closing_a_diarization_stops_it_and_frees_the_model(self) -> None:
        self._only(Task.DIARIZATION)
        self._close_early(self._diarization(self.speech_audio()))

    def _knowing_speakers(self) -> ModelInfo:
        info = self._only(Task.DIARIZATION)
        if Feature.KNOWN_SPEAKERS not in info.features:
            pytest.skip("the model knows no speakers")
        return info

    def _align(self, audio: AudioChunk, text: str) -> list[Word]:
        return self._run(lambda kernel: self._hear(kernel, self._alignment(audio, text)))

    def _diarize(self, audio: AudioChunk, *known: KnownSpeaker) -> list[SpeakerTurn]:
        return self._run(lambda kernel: self._hear(kernel, self._diarization(audio, *known)))

    def _close_early(self, request: AlignmentRequest | DiarizationRequest) -> None:
        async def close(kernel: Kernel) -> None:
            entry = kernel.catalog.get(self.model)
            async with kernel.pool.lease(entry) as runner:
                async with aclosing(self._stream(kernel, runner, request)) as stream:
                    await anext(stream)
                cancelled = self._stream(kernel, runner, request)
                request.cancel.cancel()
                assert [item async for item in cancelled] == []
            assert not kernel.pool.loaded()[self.model], "the slot is still taken"
            await self._use(kernel)

        self._run(close)


def check_words(words: Sequence[Word], audio: AudioChunk) -> None:
    """Assert that words are in order of time, and within the audio."""
    assert all(a.start <= b.start and a.end <= b.end for a, b in pairwise(words))
    for word in words:
        assert 0 <= word.start <= word.end <= audio.seconds + ROUNDING
        assert word.probability is None or 0 <= word.probability <= 1


def _part(audio: AudioChunk, start: float, end: float) -> AudioChunk:
    rate = audio.sample_rate
    return AudioChunk(audio.samples[round(start * rate) : round(end * rate)], rate)


def _overlap(one: SpeakerTurn, other: SpeakerTurn) -> float:
    return max(0.0, min(one.end, other.end) - max(one.start, other.start))
