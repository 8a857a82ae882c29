"""Conversations of eSpeak NG's voices, told apart by a tiny CAM++ that has learnt them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count, groupby, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unisono_funasr
from unisono import (
    AudioChunk,
    ConfigError,
    DiarizationRequest,
    EngineUnavailable,
    Feature,
    Kernel,
    KnownSpeaker,
    RequestError,
    Segment,
    SpeakerTurn,
    Task,
)
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono.testing import EngineSuite, echo
from unisono_funasr.diarizer import FunASRDiarizer
from unisono_funasr.diarizer_options import FunASRDiarizerParams, FunASRDiarizerSettings

RATE = 16_000
MODEL = Path(__file__).parent / "data" / "tiny_campplus"
SETTINGS = {"model": str(MODEL), "device": "cpu", "threads": 1}
ADA, BOB, EVE = "en-us+f5", "en-us+alex", "en-us+klatt"


Converse = Callable[..., Any]
Diarize = Callable[..., list[SpeakerTurn]]


def _load(**more: Any) -> FunASRDiarizer:
    settings = FunASRDiarizerSettings.model_validate({**SETTINGS, **more})
    info = replace(FunASRDiarizer.describe(settings), id="tiny", engine="funasr_speakers")
    engine = FunASRDiarizer(info, settings)
    engine.load()
    return engine


@pytest.fixture(scope="session")
def engine() -> Iterator[FunASRDiarizer]:
    engine = _load()
    yield engine
    engine.unload()


@pytest.fixture(scope="session")
def diarize(engine: FunASRDiarizer) -> Diarize:
    """Tell speakers apart: diarize(samples, known={name: samples}, **options)."""

    def run(
        samples: np.ndarray, known: dict[str, np.ndarray] | None = None, **options: Any
    ) -> list[SpeakerTurn]:
        speakers = (KnownSpeaker(n, AudioChunk(s, RATE)) for n, s in (known or {}).items())
        request = DiarizationRequest(
            AudioChunk(samples.astype(np.float32), RATE),
            params=FunASRDiarizerParams.model_validate(options),
            known_speakers=tuple(speakers),
        )
        return list(engine.diarize(request))

    return run


def _speakers(turns: Sequence[SpeakerTurn]) -> list[str]:
    return list(dict.fromkeys(turn.speaker for turn in turns))


def _error_rate(found: Sequence[SpeakerTurn], true: Sequence[SpeakerTurn]) -> float:
    """Return the diarization error rate: missed, false and confused time, per time of speech."""
    end = max(turn.end for turn in (*found, *true))
    times = np.arange(0, end, 0.01)

    def grid(turns: Sequence[SpeakerTurn], names: Sequence[str]) -> np.ndarray:
        rows = [
            sum((times >= t.start) & (times < t.end) for t in turns if t.speaker == name)
            for name in names
        ]
        return np.array(rows)

    them, us = _speakers(true), _speakers(found)
    us += [f"nobody {number}" for number in range(len(them) - len(us))]
    truth, guess = grid(true, them), grid([*found], us) if found else np.zeros((len(them), 1))
    guess = np.stack([row + np.zeros(len(times)) for row in guess])
    right = max(
        sum((truth[i] * guess[j]).sum() for i, j in enumerate(order))
        for order in permutations(range(len(us)), len(them))
    )
    said, heard = truth.sum(axis=0), guess.sum(axis=0)
    return float((np.maximum(said, heard).sum() - right) / said.sum())


# Who speaks when


@pytest.mark.parametrize("pause", [0.3, 0.8])
@pytest.mark.parametrize(
    "voices",
    [[ADA], [ADA, BOB], [ADA, BOB, ADA, BOB], [ADA, BOB, EVE, ADA, EVE], [BOB, BOB, EVE, EVE]],
    ids=lambda voices: f"{len(set(voices))} of {len(voices)}",
)
def test_everybody_is_heard_when_they_speak(
    converse: Converse, diarize: Diarize, voices: list[str], pause: float
) -> None:
    talk = converse(voices, pause)
    turns = diarize(talk.samples)
    assert len(_speakers(turns)) == len(set(voices))
    assert _error_rate(turns, talk.turns) < 0.1


def test_voices_without_a_pause_between_them_are_told_apart(
    converse: Converse, diarize: Diarize
) -> None:
    talk = converse([ADA, BOB, ADA, BOB], pause=0.05)
    turns = diarize(talk.samples)
    assert len(_speakers(turns)) == 2
    assert _error_rate(turns, talk.turns) < 0.15


def test_turns_are_in_order_apart_and_within_the_recording(
    converse: Converse, diarize: Diarize
) -> None:
    talk = converse([ADA, BOB, ADA], pause=0.05)
    turns = diarize(talk.samples)
    places = [place for turn in turns for place in (turn.start, turn.end)]
    assert places == sorted(places)
    assert places[0] >= 0
    assert places[-1] <= len(talk.samples) / RATE
    assert all(turn.start < turn.end for turn in turns)


def test_the_same_recording_gives_the_same_turns(converse: Converse, diarize: Diarize) -> None:
    talk = converse([ADA, BOB])
    assert diarize(talk.samples) == diarize(talk.samples)


@pytest.mark.parametrize("level", [0.0, 1e-3], ids=["digital", "noise"])
def test_silence_has_no_speakers(diarize: Diarize, level: float) -> None:
    noise = np.random.default_rng(0).standard_normal(5 * RATE)
    assert diarize(level * noise) == []


@pytest.mark.parametrize("frames", [0, 1, 400, 4000])
def test_hardly_any_audio_breaks_nothing(
    say: Callable[[str, int], np.ndarray], diarize: Diarize, frames: int
) -> None:
    assert len(_speakers(diarize(say(ADA, 0)[2000 : 2000 + frames]))) <= 1


# How many


@pytest.mark.parametrize("speakers", [1, 2, 3])
def test_as_many_speakers_are_found_as_there_are_said_to_be(
    converse: Converse, diarize: Diarize, speakers: int
) -> None:
    talk = converse([ADA, BOB, EVE])
    assert len(_speakers(diarize(talk.samples, speakers=speakers))) == speakers


def test_a_voice_is_divided_only_if_there_must_be_two(converse: Converse, diarize: Diarize) -> None:
    talk = converse([ADA, ADA])
    assert len(_speakers(diarize(talk.samples))) == 1
    assert len(_speakers(diarize(talk.samples, min_speakers=2))) == 2


def test_no_more_speakers_are_found_than_there_can_be(converse: Converse, diarize: Diarize) -> None:
    assert len(_speakers(diarize(converse([ADA, BOB, EVE]).samples, max_speakers=2))) == 2


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"min_speakers": 3, "max_speakers": 2}, "min_speakers"),
        ({"speakers": 4, "max_speakers": 2}, "speakers"),
        ({"speakers": 1, "min_speakers": 2}, "speakers"),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(
    diarize: Diarize, options: dict[str, int], param: str
) -> None:
    with pytest.raises(RequestError) as caught:
        diarize(np.zeros(RATE), **options)
    assert caught.value.param == param


# Known speakers


def test_known_speakers_are_called_by_their_names(
    converse: Converse, diarize: Diarize, say: Callable[[str, int], np.ndarray]
) -> None:
    known = {"Ada": say(ADA, 4), "Bob": say(BOB, 5)}
    names = [turn.speaker for turn in diarize(converse([BOB, ADA, BOB]).samples, known)]
    assert names == ["Bob", "Ada", "Bob"]


def test_strangers_have_labels_that_nobody_is_called(
    converse: Converse, diarize: Diarize, say: Callable[[str, int], np.ndarray]
) -> None:
    talk = converse([ADA, BOB])
    (label,) = set(_speakers(diarize(talk.samples))) - {diarize(talk.samples)[1].speaker}
    first, second = _speakers(diarize(talk.samples, {label: say(BOB, 4)}))
    assert second == label
    assert first != label


def test_known_speakers_who_do_not_speak_are_not_heard(
    converse: Converse, diarize: Diarize, say: Callable[[str, int], np.ndarray]
) -> None:
    known = {"Eve": say(EVE, 4)}
    assert "Eve" not in _speakers(diarize(converse([ADA, BOB]).samples, known))


def test_people_keep_their_names_from_piece_to_piece(converse: Converse, diarize: Diarize) -> None:
    before, after = converse([ADA, BOB]), converse([BOB, EVE, ADA])
    found = diarize(before.samples)
    known = {
        f"known {number}": before.samples[int(turn.start * RATE) : int(turn.end * RATE)]
        for number, turn in enumerate(found)
    }
    first, second, third = _speakers(diarize(after.samples, known))
    assert (first, third) == ("known 1", "known 0")
    assert second not in known


def test_who_is_known_counts_but_need_not_speak(
    converse: Converse, diarize: Diarize, say: Callable[[str, int], np.ndarray]
) -> None:
    turns = diarize(converse([BOB, BOB]).samples, {"Ada": say(ADA, 4)}, speakers=2)
    assert _speakers(turns) == ["speaker 1"]


def test_when_everybody_is_known_there_are_no_strangers(
    converse: Converse, diarize: Diarize, say: Callable[[str, int], np.ndarray]
) -> None:
    known = {"Ada": say(ADA, 4), "Bob": say(BOB, 5)}
    assert "speaker 1" in _speakers(diarize(converse([EVE]).samples, known))
    assert set(_speakers(diarize(converse([EVE]).samples, known, speakers=2))) <= set(known)


def test_a_known_speaker_who_says_nothing_is_refused(converse: Converse, diarize: Diarize) -> None:
    with pytest.raises(RequestError, match="'Ada'") as caught:
        diarize(converse([ADA]).samples, {"Ada": np.zeros(RATE, np.float32)})
    assert caught.value.param == "known_speaker_references"


# Length and life


def test_a_cancelled_recording_is_left_alone(
    engine: FunASRDiarizer, converse: Converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = converse([ADA, BOB] * 8)
    request = DiarizationRequest(AudioChunk(talk.samples, RATE), params=FunASRDiarizerParams())
    calls = count()
    assert engine._listener is not None
    module = engine._listener._model.module
    heard = module.forward

    def forward(features: Any) -> Any:
        next(calls)
        request.cancel.cancel()
        return heard(features)

    monkeypatch.setattr(module, "forward", forward)
    assert list(engine.diarize(request)) == []
    assert next(calls) == 1


@pytest.mark.slow
def test_ten_minutes_are_heard_in_flat_memory(converse: Converse, diarize: Diarize) -> None:
    import tracemalloc

    talk = converse([ADA, BOB, EVE] * 49)
    assert len(talk.samples) > 600 * RATE
    tracemalloc.start()
    turns = diarize(talk.samples)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert _error_rate(turns, talk.turns) < 0.1
    assert peak < 2 * talk.samples.nbytes + 50e6


# With a model that transcribes


def test_a_transcript_of_another_model_says_who_speaks(converse: Converse) -> None:
    plugins = PluginManager()
    plugins.add(unisono_funasr, "funasr")
    plugins.add(echo, "echo")
    table = {"engine": "funasr_speakers", **SETTINGS, "runner": "thread"}
    config = Config(models={"tiny": table}, defaults={"diarization": "tiny"})
    talk = converse([ADA, BOB, ADA])

    async def write() -> list[Segment]:
        async with Kernel(config, plugins) as kernel:
            fields = {"model": "echo-transcriber", "response_format": "diarized_json"}
            audio = AudioChunk(talk.samples, RATE)
            return list((await kernel.transcribe(audio, speakers=2, **fields)).segments)

    said = [SpeakerTurn(s.speaker or "", s.start, s.end) for s in asyncio.run(write())]
    assert [name for name, _ in groupby(said, lambda turn: turn.speaker)] == ["A", "B", "A"]


# What it is


def test_the_preset_needs_one_repository() -> None:
    settings = FunASRDiarizer.presets()["cam++"]
    info = FunASRDiarizer.describe(settings)
    assert (info.task, info.features) == (Task.DIARIZATION, {Feature.KNOWN_SPEAKERS})
    repositories = [weights.repo for weights in FunASRDiarizer.weights(settings)]
    assert repositories == ["funasr/campplus"]


def test_a_name_that_means_nothing_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"^model: 'cam'.* cam\+\+"):
        FunASRDiarizer.describe(FunASRDiarizerSettings.model_validate({"model": "cam"}))


def test_a_folder_without_a_model_is_a_problem(tmp_path: Path) -> None:
    settings = FunASRDiarizerSettings(model=str(tmp_path), device="cpu")
    engine = FunASRDiarizer(FunASRDiarizer.describe(settings), settings)
    assert any("config.yaml" in problem for problem in engine.problems())
    with pytest.raises(EngineUnavailable, match="model"):
        engine.load()


class TestDiarizer(EngineSuite):
    plugin = unisono_funasr
    model = "tiny"
    engine = "funasr_speakers"
    settings = {**SETTINGS, "runner": "thread"}  # noqa: RUF012 - it is never changed

    @pytest.fixture(autouse=True)
    def _audio(self, converse: Converse) -> None:
        self.audio = AudioChunk(converse([ADA, BOB]).samples, RATE)

    def speech_audio(self) -> AudioChunk:
        return self.audio
