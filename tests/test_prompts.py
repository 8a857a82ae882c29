"""Whose voice: every way to send a recording ends in the same prompt, or in a clear refusal."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from unisono import (
    AudioChunk,
    ConfigError,
    EngineOverloaded,
    EngineUnavailable,
    Kernel,
    PromptError,
    RequestError,
    SpeechRequest,
    UnsupportedFeature,
    UploadTooLarge,
    VoicePrompt,
    VoiceReference,
    hookimpl,
)
from unisono.testing import cloner

pytestmark = pytest.mark.anyio
TEXT = "This is what the recording says."


class Watching:
    """A plugin that remembers what engines are asked for."""

    def __init__(self) -> None:
        self.requests: list[SpeechRequest] = []

    @hookimpl(wrapper=True)
    def synthesize(self, request: SpeechRequest) -> Any:
        self.requests.append(request)
        return (yield)


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
def cloning(make_kernel, watching, tmp_path) -> Callable[..., Kernel]:
    """Return what makes a kernel with the model `cloner`: cloning(voices={…}, text_required=…)."""

    def make(
        voices: Any = None,
        plugins: Any = None,
        model: Any = None,
        limits: Any = None,
        **settings: Any,
    ) -> Kernel:
        overrides = {
            "limits": limits or {},
            "models": {"cloner": {"engine": "cloner", **(model or {}), **settings}},
            "voices": {"directory": str(tmp_path / "voices"), **(voices or {})},
            "defaults": {"speech": "cloner"},
        }
        further = {"cloner": cloner, "watching": watching, **(plugins or {})}
        return make_kernel(overrides, further)

    return make


async def hear(kernel: Kernel, **fields: Any) -> np.ndarray:
    chunks = [c async for c in kernel.speech("One two three four.", **fields)]
    return np.concatenate([chunk.samples for chunk in chunks])


async def refused(kernel: Kernel, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await hear(kernel, **fields)
    return caught.value


def forms(data: bytes) -> dict[str, dict[str, Any]]:
    text = base64.b64encode(data).decode()
    lines = "\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    return {
        "bytes": {"ref_audio": data},
        "base64": {"ref_audio": text},
        "base64 in lines": {"ref_audio": lines},
        "base64 without padding": {"ref_audio": text.rstrip("=")},
        "base64 for file names": {"ref_audio": base64.urlsafe_b64encode(data).decode()},
        "data: URL": {"ref_audio": f"data:audio/wav;base64,{text}"},
        "data: URL in percents": {"ref_audio": f"DATA:audio/wav,{quote(data)}"},
        "voice": {"voice": f"base64+{text}"},
        "Xinference": {"prompt_speech": data},
        "ZipVoice": {"prompt_wav_file": data, "voice": "file+sample"},
        "kwargs": {"kwargs": f'{{"prompt_audio": "{text}"}}'},
    }


@pytest.mark.parametrize("form", forms(b""))
async def test_every_form_of_a_recording_gives_the_same_speech(
    cloning, speech_wav, watching, form: str
) -> None:
    async with cloning() as kernel:
        expected = await hear(kernel, ref_audio=speech_wav(seed=1), ref_text=TEXT)
        samples = await hear(kernel, **forms(speech_wav(seed=1))[form], ref_text=TEXT)
    assert np.array_equal(samples, expected)
    first, second = (request.voice for request in watching.requests)
    assert first.digest == second.digest != ""


async def test_another_recording_gives_another_voice(cloning, speech_wav, watching) -> None:
    async with cloning() as kernel:
        first = await hear(kernel, ref_audio=speech_wav(seed=1), ref_text=TEXT)
        second = await hear(kernel, ref_audio=speech_wav(seed=2), ref_text=TEXT)
    assert not np.array_equal(first, second)
    assert watching.requests[0].voice.digest != watching.requests[1].voice.digest


async def test_an_engine_gets_mono_at_its_rate_without_the_silence_around(
    cloning, speech_wav, watching
) -> None:
    async with cloning(sample_rate=16_000) as kernel:
        await hear(kernel, ref_audio=_padded(speech_wav(2, rate=48_000)), ref_text=TEXT)
    voice = watching.requests[0].voice
    assert voice.audio.sample_rate == 16_000
    assert voice.audio.samples.ndim == 1
    assert voice.audio.seconds == pytest.approx(2.2, abs=0.05)  # a tenth of a second on each side
    assert (voice.text, voice.recording) == (TEXT, None)


def _padded(wav: bytes) -> bytes:
    """Put a second of silence before and after, and a second channel beside."""
    import io
    import wave

    with wave.open(io.BytesIO(wav)) as reader:
        rate, samples = reader.getframerate(), np.frombuffer(reader.readframes(10**7), "<i2")
    silence = np.zeros(rate, "<i2")
    mono = np.concatenate([silence, samples, silence])
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((2, 2, rate, len(mono), "NONE", ""))
        writer.writeframes(np.stack([mono, mono], axis=1).tobytes())
    return file.getvalue()


@pytest.mark.parametrize("name", ["prompt_text", "reference_text", "prompt_transcript", "ref_text"])
async def test_the_transcript_has_many_names(cloning, speech_wav, watching, name: str) -> None:
    async with cloning() as kernel:
        await hear(kernel, ref_audio=speech_wav(), **{name: TEXT})
    assert watching.requests[0].voice.text == TEXT


async def test_two_names_for_one_thing_are_refused_unless_they_agree(cloning, speech_wav) -> None:
    async with cloning() as kernel:
        error = await refused(kernel, ref_audio=speech_wav(), ref_text="a", prompt_text="b")
        assert error.param == "prompt_text"
        assert len(await hear(kernel, ref_audio=speech_wav(), ref_text="a", prompt_text="a"))


async def test_the_language_of_the_recording_reaches_the_engine(
    cloning, speech_wav, watching
) -> None:
    async with cloning() as kernel:
        await hear(kernel, ref_audio=speech_wav(), ref_text=TEXT, prompt_lang="Chinese")
    assert watching.requests[0].voice.language == "zh"


async def test_a_voice_beside_a_recording_is_said_to_be_ignored(cloning, speech_wav) -> None:
    async with cloning() as kernel:
        raw = {"input": "Hi.", "voice": "alloy", "ref_audio": speech_wav(), "ref_text": TEXT}
        assert kernel.prepare_speech(raw).ignored == ("voice",)
        assert kernel.prepare_speech({**raw, "voice": ""}).ignored == ()


# Refusals


async def test_a_missing_transcript_is_named_and_the_danger_explained(cloning, speech_wav) -> None:
    async with cloning() as kernel:
        error = await refused(kernel, ref_audio=speech_wav())
        assert (error.status, error.param) == (400, "ref_text")
        assert "garbles" in str(error)
        # The engine's own option makes it needless, and so does an engine that can do without.
        assert len(await hear(kernel, ref_audio=speech_wav(), without_text=True))
    async with cloning(text_required=False) as kernel:
        assert len(await hear(kernel, ref_audio=speech_wav()))


@pytest.mark.parametrize(
    ("seconds", "code", "measured"),
    [
        (0.2, "audio_too_short", "0.20"),
        (70, "audio_too_long", "70.00"),
        (0.05, "audio_too_short", "0.05"),
    ],
)
async def test_a_recording_of_the_wrong_length_is_refused_with_its_length(
    cloning, speech_wav, seconds: float, code: str, measured: str
) -> None:
    async with cloning() as kernel:
        error = await refused(kernel, ref_audio=speech_wav(seconds), ref_text=TEXT)
    assert (error.status, error.param, error.code) == (400, "ref_audio", code)
    assert measured in str(error)


async def test_only_the_sound_of_a_recording_counts(cloning, wav) -> None:
    async with cloning() as kernel:
        error = await refused(kernel, ref_audio=wav(3, silent={0, 1, 2}), ref_text=TEXT)
        assert (error.param, error.code) == ("ref_audio", "audio_silent")
        assert "3.00 seconds" in str(error)


@pytest.mark.parametrize(
    "recording",
    [
        b"",
        b"not audio",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"\x00" * 5000,
        b"<html></html>" * 100,
        "not base64!",
        "/etc/passwd",
        "voice.wav",
        "data:audio/wav;base64,@@@",
        "data:audio/wav",
        "A",
        "=",
        "s3://bucket/voice.wav",
        "http://127.0.0.1/voice.wav",
        "https://example.com/voice.wav",
        "file:///etc/passwd",
        "ftp://example.com/voice.wav",
    ],
)
async def test_what_is_no_recording_is_refused(cloning, recording: bytes | str) -> None:
    async with cloning() as kernel:
        error = await refused(kernel, ref_audio=recording, ref_text=TEXT, voice=None)
        assert (error.status, error.param) == (400, "ref_audio") or recording == b""


@pytest.mark.parametrize(
    "fields",
    [
        {"voice": "url+not a url"},
        {"voice": "base64+https://example.com/a.wav"},
        {"voice": "file+sample"},
        {"voice": "base64+QUJD", "ref_audio": "QUJD"},
        {"ref_audio": 5},
        {"ref_audio": ["QUJD"]},
        {"ref_text": 5},
        {"kwargs": "{"},
        {"kwargs": "[1]"},
        {"seed": -1},
        {"seed": 0},
    ],
)
async def test_a_wrong_field_is_named(cloning, fields: dict[str, Any]) -> None:
    async with cloning() as kernel:
        error = await refused(kernel, **{"voice": None, **fields})
        assert (error.status, error.param) == (400, next(iter(fields)))


async def test_a_recording_has_a_largest_size(cloning, speech_wav) -> None:
    async with cloning({"max_bytes": 1000}) as kernel:
        for form in ("bytes", "base64", "data: URL"):
            error = await refused(kernel, **forms(speech_wav())[form], ref_text=TEXT)
            assert isinstance(error, UploadTooLarge)
            assert error.param == "ref_audio"


async def test_a_model_that_cannot_clone_names_those_that_can(cloning, speech_wav) -> None:
    async with cloning() as kernel:
        with pytest.raises(UnsupportedFeature, match="'cloner'") as caught:
            await hear(kernel, model="echo", ref_audio=speech_wav(), ref_text=TEXT)
        assert caught.value.param == "ref_audio"


async def test_a_model_without_a_voice_of_its_own_asks_for_one(cloning, speech_wav) -> None:
    async with cloning() as kernel:
        kernel.store.add("anna", speech_wav(), text=TEXT)
        for voice in (None, "alloy"):
            error = await refused(kernel, voice=voice)
            assert (error.status, error.param) == (400, "voice")
            assert "anna" in str(error)


# Stored voices


async def test_a_stored_voice_speaks_as_its_recording_would(cloning, speech_wav, watching) -> None:
    async with cloning() as kernel:
        voice = kernel.store.add("anna", speech_wav(seed=3), text=TEXT, language="en")
        expected = await hear(kernel, ref_audio=speech_wav(seed=3), ref_text=TEXT)
        assert np.array_equal(await hear(kernel, voice="anna"), expected)
        assert np.array_equal(await hear(kernel, voice={"id": voice.id}), expected)
    assert watching.requests[1].voice.text == TEXT
    assert watching.requests[1].voice.language == "en"


async def test_the_transcript_of_a_request_wins_over_the_stored_one(
    cloning, speech_wav, watching
) -> None:
    async with cloning() as kernel:
        kernel.store.add("anna", speech_wav(), text="wrong")
        await hear(kernel, voice="anna", prompt_text=TEXT)
    assert watching.requests[0].voice.text == TEXT


async def test_a_stored_voice_may_have_one_of_openais_names_but_not_hide_the_models_own(
    cloning, speech_wav, watching
) -> None:
    async with cloning(preset=True) as kernel:
        kernel.store.add("nova", speech_wav(), text=TEXT)
        kernel.store.add("plain", speech_wav(), text=TEXT)
        await hear(kernel, voice="nova")
        await hear(kernel, voice="plain")
    nova, plain = (request.voice for request in watching.requests)
    assert nova.audio is not None
    assert plain.preset == "plain"


async def test_openais_voices_work_where_the_store_does_not(cloning, tmp_path) -> None:
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "voices.sqlite").write_bytes(b"not an index" * 500)
    async with cloning(preset=True) as kernel:
        assert len(await hear(kernel, voice="alloy")) == len(await hear(kernel, voice="plain"))
        with pytest.raises(EngineUnavailable, match="store"):
            await hear(kernel, voice="anna")


async def test_a_stored_voice_can_be_a_models_default(cloning, speech_wav, watching) -> None:
    async with cloning(model={"default_voice": "anna"}) as kernel:
        error = await refused(kernel, voice="alloy")
        assert "'anna'" in str(error)
        kernel.store.add("anna", speech_wav(), text=TEXT)
        for voice in (None, "alloy"):
            await hear(kernel, voice=voice)
    assert all(request.voice.audio for request in watching.requests)


async def test_a_described_voice_is_for_models_that_design(cloning, watching) -> None:
    async with cloning() as kernel:
        kernel.store.add("calm", None, description="a calm, low voice")
        await hear(kernel, voice="calm")
        with pytest.raises(UnsupportedFeature, match="'cloner'"):
            await hear(kernel, voice="calm", model="echo")
    assert watching.requests[0].voice.description == "a calm, low voice"
    assert watching.requests[0].voice.audio is None


async def test_a_deleted_voice_is_unknown_at_once(cloning, speech_wav) -> None:
    async with cloning() as kernel:
        kernel.store.add("anna", speech_wav(), text=TEXT)
        await hear(kernel, voice="anna")
        kernel.store.remove("anna")
        assert (await refused(kernel, voice="anna")).param == "voice"


# Files, and schemes of plugins


async def test_a_file_of_a_listed_directory_is_a_recording(
    cloning, speech_wav, tmp_path: Path
) -> None:
    path = tmp_path / "references" / "my voice.wav"
    path.parent.mkdir()
    path.write_bytes(speech_wav(seed=4))
    async with cloning({"file_directories": [str(path.parent)]}) as kernel:
        expected = await hear(kernel, ref_audio=speech_wav(seed=4), ref_text=TEXT)
        samples = await hear(kernel, ref_audio=path.as_uri(), ref_text=TEXT)
        assert np.array_equal(samples, expected)
        assert np.array_equal(
            await hear(kernel, voice=f"url+{path.as_uri()}", ref_text=TEXT), expected
        )


async def test_a_plugin_adds_a_scheme_with_one_hook(cloning, speech_wav) -> None:
    class Bucket:
        @hookimpl
        def resolve_voice_prompt(self, reference: VoiceReference) -> VoicePrompt | None:
            if isinstance(reference.audio, str) and reference.audio.startswith("s3://"):
                return VoicePrompt(recording=speech_wav(seed=5), text=TEXT)
            return None

    async with cloning(plugins={"bucket": Bucket()}) as kernel:
        expected = await hear(kernel, ref_audio=speech_wav(seed=5), ref_text=TEXT)
        assert np.array_equal(await hear(kernel, ref_audio="s3://voices/anna.wav"), expected)
        assert np.array_equal(await hear(kernel, voice="url+s3://voices/anna.wav"), expected)


@pytest.mark.parametrize("address", ["https://voices.example/a.wav", "file:///voices/a.wav"])
async def test_a_plugin_may_answer_addresses_before_the_kernel_does(
    cloning, speech_wav, address: str
) -> None:
    class Cache:
        @hookimpl
        def resolve_voice_prompt(self, reference: VoiceReference) -> VoicePrompt | None:
            known = reference.audio == address
            return VoicePrompt(recording=speech_wav(seed=5), text=TEXT) if known else None

    async with cloning(plugins={"cache": Cache()}) as kernel:
        expected = await hear(kernel, ref_audio=speech_wav(seed=5), ref_text=TEXT)
        assert np.array_equal(await hear(kernel, ref_audio=address), expected)


async def test_a_plugin_may_return_samples_of_any_kind(cloning, watching) -> None:
    class Synthetic:
        @hookimpl
        def resolve_voice_prompt(self, reference: VoiceReference) -> VoicePrompt | None:
            sound = np.sin(np.arange(16_000) / 9).astype(np.float32)
            return VoicePrompt(audio=AudioChunk(np.stack([sound, sound], axis=1), 8_000), text=TEXT)

    async with cloning(plugins={"synthetic": Synthetic()}) as kernel:
        await hear(kernel, voice="anything")
    assert watching.requests[0].voice.audio.sample_rate == 24_000
    assert watching.requests[0].voice.audio.seconds == pytest.approx(2, abs=0.01)


# Transcripts that the kernel makes


async def test_a_missing_transcript_is_made_if_a_model_is_named_for_it(
    cloning, speech_wav, watching
) -> None:
    async with cloning({"transcribe_with": "echo-transcriber"}) as kernel:
        raw = {"input": "Hi.", "ref_audio": speech_wav(2)}
        for _ in range(2):
            stream = await kernel.open_speech(kernel.prepare_speech(raw))
            assert stream.heard == "second 0. second 1."
            await stream.aclose()
        given = await kernel.open_speech(kernel.prepare_speech({**raw, "ref_text": TEXT}))
        assert given.heard is None
        await given.aclose()
    assert watching.requests[0].voice.text == "second 0. second 1."


async def test_the_model_that_writes_must_exist(cloning) -> None:
    with pytest.raises(ConfigError, match=r"voices\.transcribe_with"):
        cloning({"transcribe_with": "nobody"})
    with pytest.raises(ConfigError, match=r"voices\.transcribe_with"):
        cloning({"transcribe_with": "cloner"})


# Prepared voices


async def test_a_voice_is_prepared_once_however_it_is_sent(cloning, speech_wav, providing) -> None:
    prepared = []

    class Counting(cloner.ClonerEngine):
        name = "counting"

        @classmethod
        def presets(cls) -> dict[str, Any]:
            return {}

        def prepare_voice(self, prompt: VoicePrompt) -> Any:
            prepared.append((prompt.digest, prompt.text))
            return super().prepare_voice(prompt)

    plugins = {"counting": providing(Counting)}
    async with cloning(plugins=plugins, model={"engine": "counting"}) as kernel:
        for form in forms(speech_wav()).values():
            await hear(kernel, **form, ref_text=TEXT)
        assert len(prepared) == 1
        await hear(kernel, ref_audio=speech_wav(seed=1), ref_text=TEXT)
        assert len(prepared) == 2
        await hear(kernel, ref_audio=speech_wav(seed=1), ref_text="Another transcript.")
        assert len(prepared) == 3
        assert await kernel.forget_voices() == 5  # three prepared, two decoded
        await hear(kernel, ref_audio=speech_wav(), ref_text=TEXT)
        assert len(prepared) == 4
        assert await kernel.pool.unload("cloner")
        await hear(kernel, ref_audio=speech_wav(), ref_text=TEXT)
        assert len(prepared) == 5
    prepared.clear()
    async with cloning({"cache_bytes": 0}, plugins, {"engine": "counting"}) as kernel:
        for _ in range(2):
            await hear(kernel, ref_audio=speech_wav(), ref_text=TEXT)
        assert len(prepared) == 2


async def test_a_voice_that_an_engine_cannot_prepare_is_the_clients_error(
    cloning, speech_wav, providing
) -> None:
    class Picky(cloner.ClonerEngine):
        name = "picky"

        @classmethod
        def presets(cls) -> dict[str, Any]:
            return {}

        def prepare_voice(self, prompt: VoicePrompt) -> Any:
            raise PromptError("There are two speakers.", param="ref_audio")

    async with cloning(plugins={"p": providing(Picky)}, model={"engine": "picky"}) as kernel:
        error = await refused(kernel, ref_audio=speech_wav(), ref_text=TEXT)
        assert (str(error), error.param) == ("There are two speakers.", "ref_audio")


async def test_requests_whose_voices_are_looked_for_count_as_in_progress(
    cloning, speech_wav
) -> None:
    waiting = threading.Event()

    class Slow:
        @hookimpl
        def resolve_voice_prompt(self, reference: VoiceReference) -> VoicePrompt | None:
            if reference.name == "slow":
                waiting.wait(20)
                return VoicePrompt(recording=speech_wav(), text=TEXT)
            return None

    async with cloning(plugins={"slow": Slow()}, limits={"concurrent_requests": 2}) as kernel:
        slow = [asyncio.create_task(hear(kernel, voice="slow")) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(EngineOverloaded):
            await hear(kernel, ref_audio=speech_wav(), ref_text=TEXT)
        waiting.set()
        await asyncio.gather(*slow)
        assert len(await hear(kernel, ref_audio=speech_wav(), ref_text=TEXT))
