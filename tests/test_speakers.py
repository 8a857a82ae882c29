"""Speakers for models that cannot tell them apart, found by a diarization model."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import httpx
import numpy as np
import openai
import pytest
from pydantic import Field

from unisono import (
    AudioChunk,
    AudioError,
    DiarizationRequest,
    EngineFailed,
    Kernel,
    PromptError,
    RequestError,
    Segment,
    SpeakerTurn,
    TranscriptionRequest,
    UnsupportedFeature,
    hookimpl,
)
from unisono.engine import Engine, Settings
from unisono.speakers import with_speakers
from unisono.testing import listeners
from unisono.transcripts import Transcript
from unisono.types import Feature, ModelInfo, Params, Task, Word

pytestmark = pytest.mark.anyio
RATE = 16_000
DIARIZED = {"model": "model", "response_format": "diarized_json"}
"""Of the model without speakers."""
LOUD, QUIET = 0.5, 0.1
"""The voices of two people."""


def talk(*levels: float, seconds: float = 2.0) -> AudioChunk:
    """Return a conversation in which each level speaks for some seconds."""
    sound = np.concatenate([np.full(round(seconds * RATE), level, np.float32) for level in levels])
    return AudioChunk(sound, RATE)


@pytest.fixture
def diarizing(make_kernel: Callable[..., Kernel]) -> Callable[..., Kernel]:
    """Return a function that makes a kernel of a model without speakers, and of a diarizer."""

    def make(plugins: dict[str, Any] | None = None, **settings: Any) -> Kernel:
        features = settings.pop("features", ["word_timestamps"])
        models = {
            "model": {"engine": "echo_transcriber", "features": features},
            "who": {"engine": "echo_diarizer", **settings},
        }
        return make_kernel({"models": models}, {"listeners": listeners, **(plugins or {})})

    return make


Diarizing = Callable[..., Kernel]


def speakers(transcript: Transcript) -> str:
    """Return the speakers of the segments in one word, as "AABB"."""
    return "".join(segment.speaker or "-" for segment in transcript.segments)


async def test_speakers_are_found_for_a_model_that_knows_none(diarizing: Diarizing) -> None:
    async with diarizing() as kernel:
        transcript = await kernel.transcribe(talk(LOUD, QUIET, LOUD), **DIARIZED)
    assert speakers(transcript) == "AABBAA"
    assert [segment.start for segment in transcript.segments] == [0, 1, 2, 3, 4, 5]


async def test_a_model_without_words_hears_one_speaker_at_a_time(diarizing: Diarizing) -> None:
    lengths = []

    class Watching:
        @hookimpl(wrapper=True)
        def transcribe(self, request: TranscriptionRequest) -> Iterator[None]:
            lengths.append(request.audio.seconds)
            return (yield)

    async with diarizing({"watching": Watching()}, features=[]) as kernel:
        transcript = await kernel.transcribe(talk(LOUD, QUIET, QUIET, LOUD), **DIARIZED)
    assert lengths == pytest.approx([2, 4, 2])
    assert speakers(transcript) == "AABBBBAA"
    assert transcript.segments[2].start == 2.0


async def test_everybody_keeps_their_name_in_a_long_recording(diarizing: Diarizing) -> None:
    asked = []

    class Watching:
        @hookimpl(wrapper=True)
        def diarize(self, request: DiarizationRequest) -> Iterator[None]:
            asked.append([round(known.audio.seconds) for known in request.known_speakers])
            return (yield)

    async with diarizing({"watching": Watching()}, max_audio_seconds=10) as kernel:
        audio = talk(*[LOUD, QUIET, QUIET, 0.3, LOUD] * 4)
        transcript = await kernel.transcribe(audio, **DIARIZED, speakers=3)
    assert len(asked) > 3
    assert asked[0] == []
    assert all(0 < seconds <= 10 for known in asked for seconds in known)
    # Where pieces are cut, the echo's turns are not the true ones.
    said = "".join(f"{name * 2}" for name in ["A", "B", "B", "C", "A"] * 4)
    same = sum(a == b for a, b in zip(speakers(transcript), said, strict=True))
    assert same > 0.7 * len(said)
    assert set(speakers(transcript)) <= set("ABC")


async def test_a_diarizer_that_forgets_gets_the_recording_whole(diarizing: Diarizing) -> None:
    async with diarizing(known=False) as kernel:
        transcript = await kernel.transcribe(talk(*[LOUD, QUIET] * 50), **DIARIZED)
    assert speakers(transcript) == "AABB" * 50


async def test_a_diarizer_that_forgets_has_a_limit(diarizing: Diarizing) -> None:
    async with diarizing(known=False, max_audio_seconds=5) as kernel:
        assert speakers(await kernel.transcribe(talk(LOUD, QUIET), **DIARIZED)) == "AABB"
        with pytest.raises(AudioError, match="'who' tells the speakers of 5 seconds apart") as e:
            await kernel.transcribe(talk(LOUD, QUIET, LOUD), **DIARIZED)
        assert e.value.param == "file"
        assert not any(kernel.pool.loaded().values())


async def test_silence_has_no_speakers(diarizing: Diarizing) -> None:
    async with diarizing() as kernel:
        transcript = await kernel.transcribe(talk(0.0), **DIARIZED)
    assert transcript.segments == ()


async def test_a_model_that_has_speakers_keeps_its_own(diarizing: Diarizing) -> None:
    async with diarizing(features=["diarization"]) as kernel:
        transcript = await kernel.transcribe(talk(LOUD), **DIARIZED)
        assert "who" not in kernel.pool.loaded()
    assert [segment.speaker for segment in transcript.segments] == ["S0", "S1"]


async def test_without_a_diarizer_a_model_without_speakers_is_refused(
    make_kernel: Callable[..., Kernel],
) -> None:
    async with make_kernel() as kernel:
        with pytest.raises(UnsupportedFeature) as caught:
            kernel.prepare_transcription({"response_format": "diarized_json"})
        assert caught.value.param == "response_format"


async def test_the_configured_diarizer_is_asked(make_kernel: Callable[..., Kernel]) -> None:
    models = {"one": {"engine": "echo_diarizer"}, "two": {"engine": "echo_diarizer"}}
    overrides = {"models": models, "defaults": {"diarization": "two"}}
    async with make_kernel(overrides, {"listeners": listeners}) as kernel:
        call = kernel.prepare_transcription({"response_format": "diarized_json"})
    assert call.diarizer is not None
    assert call.diarizer.id == "two"


async def test_options_of_the_diarizer_reach_it(diarizing: Diarizing) -> None:
    async with diarizing() as kernel:
        audio = talk(LOUD, QUIET, LOUD)
        transcript = await kernel.transcribe(audio, **DIARIZED, speakers=1)
        assert speakers(transcript) == "AAAAAA"
        with pytest.raises(RequestError) as caught:
            await kernel.transcribe(audio, **DIARIZED, speakers=99)
        assert caught.value.param == "speakers"


async def test_options_of_a_diarizer_that_nobody_asks_are_refused(diarizing: Diarizing) -> None:
    async with diarizing() as kernel:
        with pytest.raises(RequestError, match="that have it: who") as caught:
            kernel.prepare_transcription({"model": "model", "speakers": 2})
        assert caught.value.param == "speakers"


# Known speakers


def reference(wav_of: Callable[[AudioChunk], bytes], level: float, seconds: float = 3.0) -> str:
    data = base64.b64encode(wav_of(talk(level, seconds=seconds))).decode()
    return f"data:audio/wav;base64,{data}"


@pytest.fixture
def wav_of() -> Callable[[AudioChunk], bytes]:
    """Return a function that makes a WAV file of samples."""
    import io
    import wave

    def make(audio: AudioChunk) -> bytes:
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, audio.sample_rate, 0, "NONE", ""))
            writer.writeframes((audio.samples * 32767).astype("<i2").tobytes())
        return file.getvalue()

    return make


async def test_known_speakers_are_called_by_their_names(diarizing: Diarizing, wav_of: Any) -> None:
    known = {
        "known_speaker_names": ["A", "Ada"],
        "known_speaker_references": [reference(wav_of, 0.9), reference(wav_of, QUIET)],
    }
    async with diarizing() as kernel:
        transcript = await kernel.transcribe(talk(LOUD, QUIET), **DIARIZED, **known)
    # "A" is somebody else, so who is unknown gets another letter.
    assert [segment.speaker for segment in transcript.segments] == ["B", "B", "Ada", "Ada"]


async def test_stored_voices_are_known_by_name_alone(diarizing: Diarizing, wav_of: Any) -> None:
    async with diarizing() as kernel:
        kernel.store.add("Grace", wav_of(talk(QUIET, seconds=30.0)))
        names = {"known_speaker_names": ["Grace"]}
        transcript = await kernel.transcribe(talk(LOUD, QUIET), **DIARIZED, **names)
        assert transcript.segments[-1].speaker == "Grace"
        with pytest.raises(PromptError, match="no recording of 'Ada'") as caught:
            await kernel.transcribe(talk(LOUD), **DIARIZED, known_speaker_names=["Ada"])
        assert caught.value.param == "known_speaker_names"


async def test_a_model_with_speakers_of_its_own_is_told_who_is_known(
    diarizing: Diarizing, wav_of: Any
) -> None:
    known = {
        "known_speaker_names": ["Ada"],
        "known_speaker_references": [reference(wav_of, LOUD)],
    }
    async with diarizing(features=["diarization", "known_speakers"]) as kernel:
        transcript = await kernel.transcribe(talk(LOUD), **DIARIZED, **known)
    assert transcript.segments[0].speaker == "Ada"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"known_speaker_references": ["data:,x"]}, "known_speaker_references"),
        (
            {"known_speaker_names": ["a", "b"], "known_speaker_references": ["data:,x"]},
            "known_speaker_references",
        ),
        ({"known_speaker_names": ["a", "a"]}, "known_speaker_names"),
        ({"known_speaker_names": ["a", "b", "c", "d", "e"]}, "known_speaker_names"),
        ({"known_speaker_names": [""]}, "known_speaker_names"),
        ({"known_speaker_names": ["a"], "response_format": "json"}, "known_speaker_names"),
    ],
)
async def test_wrong_known_speakers_are_refused(
    diarizing: Diarizing, fields: dict[str, Any], param: str
) -> None:
    async with diarizing() as kernel:
        with pytest.raises(RequestError) as caught:
            kernel.prepare_transcription({**DIARIZED, **fields})
        assert caught.value.param == param


@pytest.mark.parametrize(
    "sent",
    [
        "data:audio/wav;base64,AAAA",
        "/etc/passwd",
        "https://example.com/a.wav",
        "file:///etc/passwd",
    ],
)
async def test_a_reference_that_is_no_recording_is_refused(diarizing: Diarizing, sent: str) -> None:
    known = {"known_speaker_names": ["Ada"], "known_speaker_references": [sent]}
    async with diarizing() as kernel:
        with pytest.raises(PromptError, match="'Ada'") as caught:
            await kernel.transcribe(talk(LOUD), **DIARIZED, **known)
        assert caught.value.param == "known_speaker_references"


async def test_what_the_model_says_of_a_known_speaker_names_them(
    diarizing: Diarizing, wav_of: Any
) -> None:
    class Picky:
        @hookimpl
        def diarize(self, request: DiarizationRequest) -> Any:
            raise RequestError(f"{request.known_speakers[0].name!r} does not speak.")

    known = {
        "known_speaker_names": ["Ada"],
        "known_speaker_references": [reference(wav_of, LOUD)],
    }
    async with diarizing({"picky": Picky()}) as kernel:
        with pytest.raises(RequestError, match="'Ada' does not speak") as caught:
            await kernel.transcribe(talk(LOUD), **DIARIZED, **known)
        assert caught.value.param == "known_speaker_references"


async def test_known_speakers_need_a_model_that_knows_voices_again(diarizing: Diarizing) -> None:
    async with diarizing(known=False) as kernel:
        with pytest.raises(UnsupportedFeature, match="'who' has no known speakers") as caught:
            kernel.prepare_transcription({**DIARIZED, "known_speaker_names": ["Ada"]})
        assert caught.value.param == "known_speaker_names"


async def test_a_diarizer_that_fails_fails_the_transcript(diarizing: Diarizing) -> None:
    class Broken:
        @hookimpl
        def diarize(self, request: DiarizationRequest) -> Any:
            raise ValueError("no")

    async with diarizing({"broken": Broken()}) as kernel:
        with pytest.raises(EngineFailed, match="'who'"):
            await kernel.transcribe(talk(LOUD), **DIARIZED)
        assert not any(kernel.pool.loaded().values())


# Whose words are whose


async def attributed(segment: Segment, *turns: tuple[str, float, float]) -> list[Segment]:
    async def one() -> Any:
        yield segment

    found = with_speakers(one(), [SpeakerTurn(*turn) for turn in turns])
    return [part async for part in found]


def spoken(text: str, *words: str) -> Segment:
    """Return a segment in which each word takes a second."""
    times = enumerate(words or text.split())
    return Segment(text, 0.0, 9.0, words=tuple(Word(word, at, at + 1.0) for at, word in times))


async def test_a_segment_of_two_speakers_is_split_between_words() -> None:
    parts = await attributed(spoken("Hello, Ada. Hello, Bob!"), ("A", 0, 2), ("B", 2, 4))
    assert [(part.speaker, part.text) for part in parts] == [
        ("A", "Hello, Ada."),
        ("B", "Hello, Bob!"),
    ]
    assert [(part.start, part.end) for part in parts] == [(0, 2), (2, 4)]
    assert [len(part.words) for part in parts] == [2, 2]


async def test_text_without_spaces_is_split_too() -> None:
    parts = await attributed(
        spoken("你好,再见。", "你", "好", "再", "见"), ("A", 0, 2), ("B", 2, 4)
    )
    assert [part.text for part in parts] == ["你好,", "再见。"]


async def test_opening_marks_go_with_the_word_that_they_open() -> None:
    said = spoken('Hola. ¿Qué tal? "Bien."', "Hola", "Qué", "tal", "Bien")
    parts = await attributed(said, ("A", 0, 1), ("B", 1, 3), ("A", 3, 4))
    assert [part.text for part in parts] == ["Hola.", "¿Qué tal?", '"Bien."']


async def test_words_that_are_spelt_otherwise_than_the_text_are_joined() -> None:
    parts = await attributed(spoken("It's 5!", "it", "is", "five"), ("A", 0, 2), ("B", 2, 3))
    assert [part.text for part in parts] == ["it is", "five"]


async def test_a_word_between_turns_is_of_the_nearest_speaker() -> None:
    parts = await attributed(spoken("a b c d"), ("A", 0, 1.8), ("B", 3.2, 4))
    assert [(part.speaker, part.text) for part in parts] == [("A", "a b c"), ("B", "d")]


async def test_a_segment_of_nobody_is_of_the_nearest_speaker() -> None:
    (part,) = await attributed(Segment("x", 5, 6), ("A", 0, 1), ("B", 7, 8))
    assert part.speaker == "B"


async def test_without_turns_there_is_no_speaker() -> None:
    (part,) = await attributed(Segment("x", 5, 6))
    assert part.speaker is None


def test_the_options_of_the_diarizer_are_documented_with_the_models_that_need_it(
    serve: Callable[..., Any],
) -> None:
    models = {"able": {"engine": "echo_transcriber", "features": ["diarization"]}}
    server = serve({"models": models}, {"listeners": listeners})
    schema = httpx.get(f"{server.url}/openapi.json").json()["components"]["schemas"]
    own = schema["EchoTranscriberTranscriptionRequest"]["properties"]
    assert own["speakers"]["maximum"] == 8


async def test_a_model_with_speakers_is_told_whether_anybody_will_see_them(
    diarizing: Diarizing,
) -> None:
    asked = []

    class Watching:
        @hookimpl(wrapper=True)
        def transcribe(self, request: TranscriptionRequest) -> Iterator[None]:
            asked.append(request.speakers)
            return (yield)

    async with diarizing({"watching": Watching()}, features=["diarization"]) as kernel:
        for form in ("json", "text", "srt", "verbose_json", "diarized_json"):
            await kernel.transcribe(talk(LOUD), model="model", response_format=form)
    assert asked == [False, False, True, True, True]


class ListParams(Params):
    """Options of a diarizer, one of them a list."""

    sizes: list[int] = Field([], description="A list.")


class Straying(Engine):
    """Says of everybody when they speak, and more than there is."""

    name = "straying"
    params_type = ListParams
    turns: ClassVar[list[SpeakerTurn]] = []
    asked: ClassVar[list[DiarizationRequest]] = []

    @classmethod
    def describe(cls, settings: Settings) -> ModelInfo:
        features = frozenset({Feature.KNOWN_SPEAKERS})
        return ModelInfo(Task.DIARIZATION, features=features, max_audio_seconds=10)

    def diarize(self, request: DiarizationRequest) -> Iterator[SpeakerTurn]:
        self.asked.append(request)
        yield from self.turns


class StrayingPlugin:
    """Provides it."""

    @hookimpl
    def register_engines(self) -> list[type[Engine]]:
        return [Straying]


STRAYING = {
    "models": {
        "model": {"engine": "echo_transcriber", "features": []},
        "who": {"engine": "straying"},
    },
    "defaults": {"diarization": "who"},
}


@pytest.fixture
def straying(monkeypatch: pytest.MonkeyPatch) -> type[Straying]:
    monkeypatch.setattr(Straying, "asked", [])
    return Straying


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (float("nan"), 1), (0, float("inf"))])
async def test_what_a_diarizer_hears_outside_the_audio_is_cut_off(
    make_kernel: Callable[..., Kernel],
    straying: type[Straying],
    monkeypatch: pytest.MonkeyPatch,
    start: float,
    end: float,
) -> None:
    turns = [SpeakerTurn("x", start, end), SpeakerTurn("nobody", 50, 60)]
    monkeypatch.setattr(straying, "turns", turns)
    async with make_kernel(STRAYING, {"straying": StrayingPlugin()}) as kernel:
        transcript = await kernel.transcribe(
            talk(LOUD, QUIET, LOUD, QUIET, LOUD, QUIET), **DIARIZED
        )
    first, second = straying.asked
    (voice,) = second.known_speakers
    assert voice.audio.seconds == pytest.approx(min(end, first.audio.seconds))
    assert speakers(transcript)[:1] == "A"


def test_one_value_of_a_form_is_a_list_for_the_diarizer_too(
    serve: Callable[..., Any], straying: type[Straying], wav: Callable[..., bytes]
) -> None:
    server = serve(STRAYING, {"straying": StrayingPlugin()})
    answer = httpx.post(
        f"{server.url}/v1/audio/transcriptions",
        data={**DIARIZED, "sizes": "3"},
        files={"file": wav(1.0)},
    )
    assert answer.status_code == 200, answer.text
    assert straying.asked[0].params.sizes == [3]


async def test_a_strict_kernel_refuses_a_strategy_that_turns_leave_no_room_for(
    make_kernel: Callable[..., Kernel], straying: type[Straying]
) -> None:
    strict = {**STRAYING, "server": {"strict": True}}
    async with make_kernel(strict, {"straying": StrayingPlugin()}) as kernel:
        await kernel.transcribe(talk(LOUD), **DIARIZED, chunking_strategy="auto")
        with pytest.raises(RequestError) as caught:
            await kernel.transcribe(talk(LOUD), **DIARIZED, chunking_strategy="server_vad")
    assert caught.value.param == "chunking_strategy"


async def test_what_the_diarizer_hears_nobody_say_is_transcribed_all_the_same(
    diarizing: Diarizing,
) -> None:
    class Deaf:
        @hookimpl
        def diarize(self, request: DiarizationRequest) -> Any:
            return self._nothing()

        async def _nothing(self) -> Any:
            for turn in ():
                yield turn

    async with diarizing({"deaf": Deaf()}, features=[]) as kernel:
        transcript = await kernel.transcribe(talk(LOUD), **DIARIZED)
    assert speakers(transcript) == "--"


@pytest.mark.parametrize("stream", [False, True])
def test_the_sdk_gets_a_diarized_transcript_with_known_speakers(
    serve: Callable[..., Any], wav_of: Any, stream: bool
) -> None:
    models = {
        "gpt-4o-transcribe-diarize": {"engine": "echo_transcriber"},
        "who": {"engine": "echo_diarizer"},
    }
    server = serve({"models": models}, {"listeners": listeners})
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        answer: Any = client.audio.transcriptions.create(
            model="gpt-4o-transcribe-diarize",
            file=wav_of(talk(LOUD, QUIET)),
            response_format="diarized_json",
            chunking_strategy="auto",
            stream=stream,
            extra_body={
                "known_speaker_names": ["Ada"],
                "known_speaker_references": [reference(wav_of, QUIET)],
            },
        )
        if stream:
            segments = [event for event in answer if event.type == "transcript.text.segment"]
        else:
            segments = answer.segments
    assert [segment.speaker for segment in segments] == ["A", "A", "Ada", "Ada"]
