"""Dialogues: turns as a list or as marks, whole for an engine that can, else one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import numpy as np
import pytest

from unisono import (
    AudioChunk,
    Feature,
    Kernel,
    ModelInfo,
    RequestError,
    Settings,
    SpeechRequest,
    Task,
    Voice,
)
from unisono.dialogue import PAUSE_BETWEEN_SPEAKERS, PAUSE_OF_ONE_SPEAKER
from unisono.testing import cloner, echo

pytestmark = pytest.mark.anyio
RATE = 24_000
TURNS = [
    {"text": "One two.", "voice": "near"},
    {"text": "Three.", "voice": "far"},
    {"text": "Four five six.", "voice": "far"},
]
asked: list[SpeechRequest] = []


class Talk(echo.EchoEngine):
    """Hums half a second for every turn, left and right in turns."""

    name = "talk"

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {"talk": echo.EchoSettings()}

    @classmethod
    def describe(cls, settings: echo.EchoSettings) -> ModelInfo:
        voices = (Voice("near"), Voice("far"))
        features = frozenset({Feature.DIALOGUE})
        return ModelInfo(Task.SPEECH, sample_rate=RATE, voices=voices, features=features)

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        asked.append(request)
        for index, _ in enumerate(request.turns):
            samples = np.zeros((RATE // 2, 2), np.float32)
            samples[:, index % 2] = np.sin(np.arange(RATE // 2) / 10) / 2
            yield AudioChunk(samples, RATE)


@pytest.fixture
def talking(make_kernel, providing, tmp_path) -> Callable[..., Kernel]:
    asked.clear()

    def make(**overrides: Any) -> Kernel:
        overrides = {"voices": {"directory": str(tmp_path / "voices")}, **overrides}
        return make_kernel(overrides, {"talk": providing(Talk), "cloner": cloner})

    return make


async def hear(kernel: Kernel, input: Any, **fields: Any) -> np.ndarray:
    call = kernel.prepare_speech({"input": input, **fields})
    stream = await kernel.open_speech(call)
    return np.concatenate([chunk.samples async for chunk in stream])


async def test_turns_come_one_after_the_other_with_natural_pauses(talking) -> None:
    async with talking() as kernel:
        samples = await hear(kernel, TURNS, model="echo")
    parts = [echo.expected(turn["text"]) for turn in TURNS]
    between, own = (
        np.zeros(round(pause * RATE), np.float32)
        for pause in (PAUSE_BETWEEN_SPEAKERS, PAUSE_OF_ONE_SPEAKER)
    )
    assert np.array_equal(samples, np.concatenate([parts[0], between, parts[1], own, parts[2]]))


async def test_marks_and_voices_mean_the_same_as_a_list(talking) -> None:
    async with talking() as kernel:
        listed = await hear(kernel, TURNS, model="echo")
        marked = "[S1] One two. [S2]Three.\n[S2] Four five six."
        assert np.array_equal(
            await hear(kernel, marked, model="echo", voices=["near", "far"]), listed
        )


async def test_an_engine_that_talks_gets_all_turns_at_once(talking) -> None:
    async with talking() as kernel:
        samples = await hear(kernel, TURNS, model="talk")
    (request,) = asked
    assert [turn.text for turn in request.turns] == [turn["text"] for turn in TURNS]
    assert [turn.voice.preset for turn in request.turns] == ["near", "far", "far"]
    assert samples.shape == (3 * RATE // 2, 2)


async def test_a_turn_without_a_voice_has_that_of_the_request(talking) -> None:
    async with talking() as kernel:
        await hear(kernel, [{"text": "One."}, TURNS[0]], model="talk", voice="far")
    assert [turn.voice.preset for turn in asked[0].turns] == ["far", "near"]


async def test_marks_are_plain_text_where_nobody_asked_for_a_dialogue(talking) -> None:
    async with talking() as kernel:
        text = "[S1] is a label."
        assert np.array_equal(await hear(kernel, text, model="echo"), echo.expected(text))


async def test_stored_voices_speak_to_each_other(talking, speech_wav) -> None:
    async with talking() as kernel:
        for seed, name in enumerate(("anna", "ben")):
            kernel.store.add(name, speech_wav(seed=seed), text="What it says.")
        turns = [{"text": "One.", "voice": "anna"}, {"text": "Two.", "voice": "ben"}]
        both = await hear(kernel, turns, model="cloner")
        for turn, part in zip(turns, (both[:6000], both[-6000:]), strict=True):
            alone = await hear(kernel, turn["text"], model="cloner", voice=turn["voice"])
            assert np.array_equal(part, alone)


async def test_words_count_from_the_start_of_the_dialogue(talking) -> None:
    async with talking() as kernel:
        stream = kernel.speech(TURNS, model="echo", word_timestamps=True)  # type: ignore[arg-type]
        words = [word async for chunk in stream for word in chunk.words]
    assert words[2].text == "Three."
    assert words[2].start == pytest.approx(0.5 + PAUSE_BETWEEN_SPEAKERS)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"text": ""}]}, "input"),
        ({"input": [{"text": "One."}, {"text": "  "}]}, "input"),
        ({"input": [{"voice": "near"}]}, "input"),
        ({"input": [{"text": "One.", "speed": 2}]}, "input"),
        ({"input": [{"text": "One.", "voice": "nobody"}]}, "voice"),
        ({"input": TURNS, "voices": ["near"]}, "voices"),
        ({"input": "One.", "voices": ["near"]}, "voices"),
        ({"input": "[S1] One. [S2] Two.", "voices": ["near"]}, "voices"),
        ({"input": "[S0] One.", "voices": ["near"]}, "voices"),
        ({"input": "Zero. [S1] One.", "voices": ["near"]}, "input"),
        ({"input": "[S1] One.", "model": "talk"}, "voices"),
        ({"input": [{"text": "x" * 60}, {"text": "x" * 60}]}, "input"),
    ],
)
async def test_a_dialogue_that_does_not_fit_is_refused(talking, fields: Any, param: str) -> None:
    async with talking(limits={"text_chars": 100}) as kernel:
        with pytest.raises(RequestError) as caught:
            await hear(kernel, **{"model": "echo", **fields})
        assert (caught.value.status, caught.value.param) == (400, param)


async def test_a_dialogue_may_have_many_voices_but_not_any_number(talking) -> None:
    turns = [{"text": "One.", "voice": f"voice {number}"} for number in range(100)]
    async with talking() as kernel:
        with pytest.raises(RequestError, match="100 voices") as caught:
            kernel.prepare_speech({"model": "echo", "input": turns})
        assert caught.value.param == "input"
        with pytest.raises(RequestError, match="10000") as caught:
            kernel.prepare_speech({"model": "echo", "input": [{"text": "a"}] * 10_001})
        assert caught.value.param == "input"


@pytest.mark.parametrize("listed", [True, False])
async def test_recordings_that_are_long_together_are_refused(
    talking, speech_wav, listed: bool
) -> None:
    names = [f"voice {number}" for number in range(13)]
    fields: dict[str, Any] = {
        "input": [{"text": "One.", "voice": name} for name in names],
        "model": "cloner",
    }
    if not listed:
        fields["input"] = " ".join(f"[S{number + 1}] One." for number in range(13))
        fields["voices"] = names
    async with talking() as kernel:
        for seed, name in enumerate(names):
            recording = speech_wav(50, seed=seed, rate=8000)
            kernel.store.add(name, recording, text="What it says.")
        with pytest.raises(RequestError, match="seconds of sound in all") as caught:
            await hear(kernel, **fields)
        assert caught.value.param == ("input" if listed else "voices")


@pytest.mark.parametrize(
    ("input", "said"),
    [
        ([{"text": "One."}, {"voice": "near"}], r"1\.text: Field required"),
        ([{"text": "One.", "speed": 2}], "Extra inputs are not permitted"),
        (5, "valid string"),
    ],
)
async def test_what_is_wrong_with_a_turn_is_said(talking, input: Any, said: str) -> None:
    async with talking() as kernel:
        with pytest.raises(RequestError, match=said):
            kernel.prepare_speech({"model": "echo", "input": input})


@pytest.mark.parametrize("format_", ["wav", "flac", "mp3", "opus", "aac"])
def test_stereo_stays_stereo_in_every_format(serve, providing, format_: str, tmp_path) -> None:
    import io

    import av

    server = serve(None, {"talk": providing(Talk)})
    body = {"model": "talk", "input": TURNS[:2], "response_format": format_}
    answer = httpx.post(f"{server.url}/v1/audio/speech", json=body)
    assert answer.status_code == 200
    with av.open(io.BytesIO(answer.content)) as container:
        assert container.streams.audio[0].codec_context.channels == 2
        resampler = av.AudioResampler("fltp", "stereo", RATE)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
    left, right = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    quarter = len(left) // 4
    # The first speaker is left, the second right.
    assert np.abs(left[:quarter]).mean() > 10 * np.abs(right[:quarter]).mean()
    assert np.abs(right[-quarter:]).mean() > 10 * np.abs(left[-quarter:]).mean()
