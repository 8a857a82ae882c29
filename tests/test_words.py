"""Times of words for models that have none, found by an aligner."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from unisono import (
    AlignmentRequest,
    AudioChunk,
    EngineFailed,
    Kernel,
    UnsupportedFeature,
    Word,
    hookimpl,
)
from unisono.testing import listeners
from unisono.transcripts import render_transcript

pytestmark = pytest.mark.anyio
RATE = 16_000
WORDS = {"response_format": "verbose_json", "timestamp_granularities": ["word"]}
AUDIO = AudioChunk(np.full(3 * RATE, 0.5, np.float32), RATE)


@pytest.fixture
def aligning(make_kernel: Callable[..., Kernel]) -> Callable[..., Kernel]:
    """Return a function that makes a kernel of a model without words, and of aligners."""

    def make(plugins: dict[str, Any] | None = None, **models: Any) -> Kernel:
        model = {"engine": "echo_transcriber", "features": [], **models.pop("model", {})}
        return make_kernel(
            {"models": {"model": model, **models}}, {"listeners": listeners, **(plugins or {})}
        )

    return make


async def test_words_are_found_where_the_model_has_no_times(
    aligning: Callable[..., Kernel],
) -> None:
    async with aligning() as kernel:
        transcript = await kernel.transcribe(AUDIO, model="model", **WORDS)
    words = [word for segment in transcript.segments for word in segment.words]
    assert [word.text for word in words] == ["second", "0.", "second", "1.", "second", "2."]
    assert all(word.estimated for word in words)
    for number, segment in enumerate(transcript.segments):
        assert number <= segment.words[0].start < segment.words[1].start < segment.end
        assert segment.words[0].end == pytest.approx(number + 0.5, abs=0.11)


async def test_found_times_are_marked_as_estimated(aligning: Callable[..., Kernel]) -> None:
    async with aligning() as kernel:
        fields = {"model": "model", **WORDS}
        transcript = await kernel.transcribe(AUDIO, **fields)
        call = kernel.prepare_transcription(fields)
    body = json.loads(render_transcript(transcript, call.fields))
    assert body["words"][0]["estimated"] is True


async def test_a_model_that_has_times_keeps_its_own(aligning: Callable[..., Kernel]) -> None:
    async with aligning(model={"features": ["word_timestamps"]}) as kernel:
        call = kernel.prepare_transcription({"model": "model", **WORDS})
        transcript = await kernel.transcribe(AUDIO, model="model", **WORDS)
    assert call.aligner is None
    assert not transcript.segments[0].words[0].estimated


async def test_words_that_nobody_wants_are_not_looked_for(aligning: Callable[..., Kernel]) -> None:
    async with aligning() as kernel:
        transcript = await kernel.transcribe(AUDIO, model="model", response_format="verbose_json")
        assert "echo-aligner" not in kernel.pool.loaded()
    assert not transcript.segments[0].words


async def test_an_aligner_that_hears_nothing_of_a_text_still_leaves_times(
    aligning: Callable[..., Kernel],
) -> None:
    async with aligning(**{"echo-aligner": {"engine": "echo_aligner", "deaf": True}}) as kernel:
        transcript = await kernel.transcribe(AUDIO, model="model", **WORDS)
    first = transcript.segments[0]
    assert [word.text for word in first.words] == ["second", "0."]
    # Six letters and two: three quarters of a second, and one.
    assert first.words[0] == Word("second", 0.0, 0.75, estimated=True)
    assert first.words[1] == Word("0.", 0.75, 1.0, estimated=True)


async def test_an_aligner_that_does_not_know_the_language_is_not_asked(
    aligning: Callable[..., Kernel],
) -> None:
    async with aligning(model={"languages": ["de", "en"]}) as kernel:
        for fields in ({"language": "de"}, {}):
            with pytest.raises(UnsupportedFeature, match="'echo-aligner' for en") as caught:
                kernel.prepare_transcription({"model": "model", **WORDS, **fields})
            assert caught.value.param == "timestamp_granularities"
        fields = {"model": "model", **WORDS, "language": "en"}
        assert kernel.prepare_transcription(fields).aligner is not None


async def test_the_default_aligner_comes_first(make_kernel: Callable[..., Kernel]) -> None:
    models = {
        "model": {"engine": "echo_transcriber", "features": []},
        "other": {"engine": "echo_aligner"},
    }
    overrides = {"models": models, "defaults": {"alignment": "echo-aligner"}}
    async with make_kernel(overrides, {"listeners": listeners}) as kernel:
        call = kernel.prepare_transcription({"model": "model", **WORDS})
    assert call.aligner is not None
    assert call.aligner.id == "echo-aligner"


async def test_words_of_a_translation_cannot_be_heard(aligning: Callable[..., Kernel]) -> None:
    async with aligning(model={"features": ["translation"]}) as kernel:
        with pytest.raises(UnsupportedFeature):
            kernel.prepare_transcription({"model": "model", **WORDS}, translate=True)


async def test_the_model_is_given_back_before_the_aligner_is_asked(
    aligning: Callable[..., Kernel],
) -> None:
    kernel: Kernel
    seen: list[dict[str, int]] = []

    class Watching:
        @hookimpl(wrapper=True)
        def align(self, request: AlignmentRequest) -> Iterator[None]:
            seen.append(kernel.pool.loaded())
            return (yield)

    async with aligning({"watching": Watching()}) as kernel:
        await kernel.transcribe(AUDIO, model="model", **WORDS)
    assert seen == [{"model": 0, "echo-aligner": 1}] * 3


async def test_a_plugin_may_align_instead(aligning: Callable[..., Kernel]) -> None:
    class Instead:
        @hookimpl
        def align(self, request: AlignmentRequest) -> Any:
            return self._words(request.text)

        async def _words(self, text: str) -> Any:
            for word in text.split():
                yield Word(word, 0.3, 0.4)

    async with aligning({"instead": Instead()}) as kernel:
        transcript = await kernel.transcribe(AUDIO, model="model", **WORDS)
    # A plugin counts from the start of what it gets: a fifth of a second before the segment.
    second = transcript.segments[1].words[0]
    assert (second.start, second.end) == (pytest.approx(1.1), pytest.approx(1.2))


async def test_an_aligner_that_fails_fails_the_transcript(aligning: Callable[..., Kernel]) -> None:
    class Broken:
        @hookimpl
        def align(self, request: AlignmentRequest) -> Any:
            raise ValueError("no")

    async with aligning({"broken": Broken()}) as kernel:
        with pytest.raises(EngineFailed, match="echo-aligner"):
            await kernel.transcribe(AUDIO, model="model", **WORDS)
        assert not any(kernel.pool.loaded().values())
