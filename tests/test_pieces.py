"""What an engine is asked for of a recording: utterances, turns, or as much as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import unisono_espeak
from unisono import AudioChunk, Kernel, Segment, SpeakerTurn, TranscriptionRequest, hookimpl
from unisono.audio import resample
from unisono.config import Config
from unisono.pieces import turn_by_turn
from unisono.plugins import PluginManager
from unisono.spool import Spool

pytestmark = pytest.mark.anyio
RATE = 16_000
SERVER_VAD = {"type": "server_vad"}


@pytest.fixture(scope="module")
def phrase() -> np.ndarray:
    """Somebody says something, without silence around it."""

    async def speak() -> np.ndarray:
        plugins = PluginManager()
        plugins.add(unisono_espeak, "espeak")
        async with Kernel(Config(), plugins) as kernel:
            chunks = [chunk async for chunk in kernel.speech("Nobody knows the end of the story.")]
        return resample(np.concatenate([c.samples for c in chunks]), chunks[0].sample_rate, RATE)

    samples = asyncio.run(speak())
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() / 50)
    return samples[loud[0] : loud[-1] + 1]


@pytest.fixture
def talk(phrase: np.ndarray) -> AudioChunk:
    """Two seconds of silence, the phrase, two seconds, the phrase, two seconds."""
    silence = np.zeros(2 * RATE, np.float32)
    return AudioChunk(np.concatenate([silence, phrase, silence, phrase, silence]), RATE)


@pytest.fixture
def asked() -> list[float]:
    """How long the pieces are that an engine is asked for."""
    return []


@pytest.fixture
def kernel(make_kernel: Callable[..., Kernel], asked: list[float]) -> Kernel:
    class Watching:
        @hookimpl(wrapper=True)
        def transcribe(self, request: TranscriptionRequest) -> Iterator[None]:
            asked.append(request.audio.seconds)
            return (yield)

    return make_kernel(plugins={"watching": Watching()})


async def test_without_a_strategy_short_audio_is_one_piece(
    kernel: Kernel, talk: AudioChunk, asked: list[float]
) -> None:
    async with kernel:
        await kernel.transcribe(talk)
        await kernel.transcribe(talk, chunking_strategy="auto")
    assert asked == [talk.seconds, talk.seconds]


async def test_server_vad_asks_for_every_utterance_and_for_no_silence(
    kernel: Kernel, talk: AudioChunk, phrase: np.ndarray, asked: list[float]
) -> None:
    async with kernel:
        transcript = await kernel.transcribe(talk, chunking_strategy=SERVER_VAD)
    said = len(phrase) / RATE
    assert asked == pytest.approx([said + 0.4] * 2, abs=0.3)
    assert transcript.segments[0].start == pytest.approx(1.7, abs=0.2)
    later = [segment.start for segment in transcript.segments if segment.start > 3 + said]
    assert later[0] == pytest.approx(3.7 + said, abs=0.2)


@pytest.mark.parametrize(
    ("options", "pieces"),
    [
        ({"silence_duration_ms": 3000}, 1),
        ({"silence_duration_ms": 500}, 2),
        ({"threshold": 1.0}, 0),
    ],
)
async def test_server_vad_does_as_it_is_told(
    kernel: Kernel, talk: AudioChunk, asked: list[float], options: Any, pieces: int
) -> None:
    async with kernel:
        await kernel.transcribe(talk, chunking_strategy={**SERVER_VAD, **options})
    assert len(asked) == pieces


async def test_prefix_padding_is_heard_before_speech(
    kernel: Kernel, talk: AudioChunk, asked: list[float]
) -> None:
    async with kernel:
        for padding in (0, 1000):
            strategy = {**SERVER_VAD, "prefix_padding_ms": padding}
            await kernel.transcribe(talk, chunking_strategy=strategy)
    assert asked[2] == pytest.approx(asked[0] + 1.0, abs=0.05)


async def test_an_utterance_is_no_longer_than_the_model_takes(
    make_kernel: Callable[..., Kernel], phrase: np.ndarray
) -> None:
    lengths = []

    class Watching:
        @hookimpl(wrapper=True)
        def transcribe(self, request: TranscriptionRequest) -> Iterator[None]:
            lengths.append(request.audio.seconds)
            return (yield)

    models = {"it": {"engine": "echo_transcriber", "max_audio_seconds": 3}}
    async with make_kernel({"models": models}, {"watching": Watching()}) as kernel:
        audio = AudioChunk(np.tile(phrase, 4), RATE)
        strategy = {**SERVER_VAD, "silence_duration_ms": 3000}
        await kernel.transcribe(audio, model="it", chunking_strategy=strategy)
    assert len(lengths) > 2
    assert max(lengths) <= 3
    assert sum(lengths) == pytest.approx(audio.seconds, abs=0.5)


# Turns


def pieces_of(*turns: tuple[str, float, float], seconds: float = 20.0) -> list[Any]:
    spool = Spool(RATE)
    spool.write(np.zeros(round(seconds * RATE), np.float32))
    found = turn_by_turn(spool, [SpeakerTurn(*turn) for turn in turns], 8.0)
    return [(p.speaker, round(p.start / RATE, 2), round(p.end / RATE, 2)) for p in found]


async def test_a_turn_is_a_piece_with_a_little_of_the_silence_around_it() -> None:
    assert pieces_of(("A", 1, 3), ("B", 5, 6)) == [("A", 0.8, 3.2), ("B", 4.8, 6.2)]


async def test_margins_never_overlap() -> None:
    assert pieces_of(("A", 0.1, 3), ("B", 3.2, 6)) == [("A", 0.05, 3.1), ("B", 3.1, 6.2)]


async def test_turns_of_one_speaker_are_one_piece_unless_there_is_a_pause() -> None:
    turns = ("A", 1, 2), ("A", 2.5, 3), ("A", 6, 7)
    assert pieces_of(*turns) == [("A", 0.8, 3.2), ("A", 5.8, 7.2)]


async def test_of_two_who_speak_at_once_the_first_has_it() -> None:
    turns = ("A", 1, 5), ("B", 2, 3), ("C", 4, 6)
    assert pieces_of(*turns) == [("A", 0.8, 5.0), ("C", 5.0, 6.2)]


async def test_a_long_turn_is_several_pieces() -> None:
    pieces = pieces_of(("A", 0, 20))
    assert [speaker for speaker, _, _ in pieces] == ["A"] * len(pieces)
    assert max(end - start for _, start, end in pieces) <= 8
    assert (pieces[0][1], pieces[-1][2]) == (0, 20)


async def test_without_turns_nobody_is_heard() -> None:
    assert pieces_of() == []


async def test_a_segment_does_not_outlast_the_piece_in_which_it_is_heard(
    make_kernel: Callable[..., Kernel],
) -> None:
    class Padding:
        @hookimpl
        def transcribe(self, request: TranscriptionRequest) -> AsyncIterator[Segment]:
            async def heard() -> AsyncIterator[Segment]:
                yield Segment("Well.", 0.0, 30.0)

            return heard()

    settings = {"engine": "echo_transcriber", "max_audio_seconds": 4}
    async with make_kernel({"models": {"m": settings}}, {"padding": Padding()}) as kernel:
        audio = AudioChunk(np.zeros(10 * RATE, np.float32), RATE)
        transcript = await kernel.transcribe(audio, model="m")
    assert len(transcript.segments) > 1
    for one, other in pairwise(transcript.segments):
        assert one.end == other.start
