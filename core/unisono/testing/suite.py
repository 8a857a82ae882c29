"""The tests that every engine must pass.

Subclass in your plugin's tests::

    class TestBeep(EngineSuite):
        plugin = unisono_beep
        model = "beep"

The suite goes through the kernel, as requests do. Needs pytest.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest

from ..errors import RequestError
from ..kernel import Kernel
from ..types import AudioChunk, Feature, Task
from .harness import LONG, SHORT, seconds
from .timing import TimingSuite

HEAVY = frozenset(
    {
        "ctranslate2",
        "funasr",
        "jax",
        "mlx",
        "mlx_audio",
        "onnxruntime",
        "scipy",
        "tensorflow",
        "torch",
        "transformers",
    }
)
"""Libraries that a plugin must not import before `Engine.load`."""


class EngineSuite(TimingSuite):
    """Set `plugin` and `model`; change the rest where it does not fit."""

    def test_importing_and_describing_loads_no_heavy_library(self) -> None:
        code = (
            f"import sys, {self.plugin.__name__} as plugin\n"
            "for engine in plugin.register_engines():\n"
            "    for settings in engine.presets().values():\n"
            "        engine.describe(settings)\n"
            "print(*sys.modules)"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        loaded = {name.partition(".")[0] for name in done.stdout.split()}
        assert not HEAVY & loaded, "import these inside Engine.load"

    # Declarations

    def test_the_description_is_complete(self) -> None:
        info = self._info()
        assert info.task in Task
        if info.task is Task.SPEECH:
            assert info.sample_rate, "ModelInfo.sample_rate is missing"
        names = [voice.name for voice in info.voices]
        assert len(names) == len(set(names)), "voice names must be unique"
        assert info.default_voice is None or info.default_voice in names

    def test_options_and_settings_have_descriptions_and_schemas(self) -> None:
        kernel = self._kernel()
        entry = kernel.catalog.get(self.model)
        for type_ in (entry.params_type, entry.engine.settings_type):
            assert type_.model_json_schema()
            for name, field in type_.model_fields.items():
                assert field.description, f"{type_.__name__}.{name} needs a description"

    # Speech

    def test_chunks_are_float32_within_bounds_at_the_declared_rate(self) -> None:
        info = self._speaking()
        chunks = self._speak(LONG)
        assert {chunk.sample_rate for chunk in chunks} == {info.sample_rate}
        for chunk in chunks:
            assert chunk.samples.dtype == np.float32
            assert np.isfinite(chunk.samples).all()
            assert np.abs(chunk.samples).max() <= 1.0
        loudest = max(float(np.abs(chunk.samples).max()) for chunk in chunks)
        assert loudest > 1e-3, "the speech is silent"

    def test_a_longer_text_gives_longer_speech(self) -> None:
        self._speaking()
        assert seconds(self._speak(SHORT)) < seconds(self._speak(LONG))

    def test_every_declared_voice_of_the_first_few_speaks(self) -> None:
        for voice in self._speaking().voices[:3]:
            assert self._speak(SHORT, voice=voice.name), voice.name

    def test_speed_changes_the_duration(self) -> None:
        self._speaking()
        slow, fast = (seconds(self._speak(LONG, speed=speed)) for speed in (0.8, 1.6))
        assert fast < 0.75 * slow

    def test_words_rise_and_lie_within_the_speech(self) -> None:
        if Feature.WORD_TIMESTAMPS not in self._speaking().features:
            pytest.skip("the model declares no word timestamps")
        chunks = self._speak(LONG, word_timestamps=True)
        words = [word for chunk in chunks for word in chunk.words]
        assert [word.text.strip(",.").lower() for word in words][:3] == ["one", "two", "three"]
        assert all(a.start <= b.start for a, b in pairwise(words))
        assert all(0 <= word.start <= word.end for word in words)
        assert words[-1].end <= seconds(chunks) + 0.05

    def test_closing_a_stream_stops_it_and_frees_the_model(self) -> None:
        self._speaking()

        async def close_early(kernel: Kernel) -> float:
            raw = {"model": self.model, "input": LONG * 20, **self.fields}
            stream = await kernel.open_speech(kernel.prepare_speech(raw))
            await anext(stream)
            began = time.monotonic()
            await stream.aclose()
            assert not kernel.pool.loaded()[self.model], "the slot is still taken"
            async for _ in kernel.speech(SHORT, model=self.model, **self.fields):
                break
            return time.monotonic() - began

        alone = self._run(self._time_to_first_chunk)
        assert self._run(close_early) < 2.0 + 5 * alone

    def test_requests_at_the_same_time_do_not_disturb_each_other(self) -> None:
        self._speaking()
        texts = [SHORT, LONG, "Two.", LONG + " " + LONG]
        alone = [seconds(self._speak(text)) for text in texts]

        async def together(kernel: Kernel) -> list[list[AudioChunk]]:
            return await asyncio.gather(*(self._collect(kernel, text) for text in texts))

        for expected, chunks in zip(alone, self._run(together), strict=True):
            assert seconds(chunks) == pytest.approx(expected, rel=0.5, abs=0.5)

    def test_a_text_without_words_breaks_nothing(self) -> None:
        self._speaking()

        async def odd(kernel: Kernel) -> None:
            for text in ("...", "?!", "😀", "\u0301", "-"):
                # Speech and a refusal are both right; a failure of the engine is not.
                with suppress(RequestError):
                    await self._collect(kernel, text)
            assert await self._collect(kernel, SHORT)

        self._run(odd)

    # Transcription

    def test_segments_are_in_order_and_within_the_audio(self) -> None:
        self._listening()
        audio = self.speech_audio()
        segments = self._write(audio)
        assert all(a.start <= b.start for a, b in pairwise(segments))
        for segment in segments:
            assert 0 <= segment.start <= segment.end <= audio.seconds
            assert not segment.words, "words were not asked for"

    def test_the_same_audio_gives_the_same_transcript(self) -> None:
        self._listening()
        first, second = (self._write(self.speech_audio()) for _ in range(2))
        assert [s.text for s in first] == [s.text for s in second]

    def test_words_lie_within_their_segment(self) -> None:
        if Feature.WORD_TIMESTAMPS not in self._listening().features:
            pytest.skip("the model declares no word timestamps")
        fields = {"timestamp_granularities": ["word"], "response_format": "verbose_json"}
        for segment in self._write(self.speech_audio(), **fields):
            assert segment.words or not segment.text.strip()
            for word in segment.words:
                assert segment.start - 0.05 <= word.start <= word.end <= segment.end + 0.05
                assert word.probability is None or 0 <= word.probability <= 1

    def test_silence_breaks_nothing(self) -> None:
        self._listening()
        silence = AudioChunk(np.zeros(16_000, np.float32), 16_000)
        assert not "".join(segment.text for segment in self._write(silence)).strip()

    # Life

    def test_a_model_can_be_unloaded_and_loaded_again(self) -> None:
        async def twice(kernel: Kernel) -> None:
            for _ in range(2):
                await self._use(kernel)
                assert await kernel.pool.unload(self.model)
            await self._use(kernel)

        self._run(twice)

    def test_closing_the_kernel_ends_its_threads(self) -> None:
        before = threading.enumerate()
        self._run(self._use)
        deadline = time.monotonic() + 5
        while names := [t.name for t in threading.enumerate() if t not in before]:
            assert time.monotonic() < deadline, names
            time.sleep(0.01)

    def test_blocking_methods_stay_off_the_event_loop(self) -> None:
        async def heartbeat(kernel: Kernel) -> float:
            worst = 0.0
            use = asyncio.create_task(self._use(kernel))
            while not use.done():
                began = time.monotonic()
                await asyncio.sleep(0.005)
                worst = max(worst, time.monotonic() - began)
            await use
            return worst

        assert self._run(heartbeat) < 1.0, "the event loop stood still"
