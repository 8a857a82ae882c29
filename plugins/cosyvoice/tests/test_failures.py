"""Upstream's defects: it hangs, loses errors, leaks, and slows down."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from unisono import CancelToken

LONG = "This is a long sentence that a slow model says for quite some time, and it goes on"


QUICK = "One two three four five six seven eight nine ten, " * 6


def state(engine) -> list[dict]:
    """Return upstream's dictionaries of what belongs to one call."""
    return [
        value
        for name, value in vars(engine._model._upstream.model).items()
        if name.endswith("_dict")
    ]


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("stream", [True, False])
def test_an_error_of_the_language_model_is_the_requests_error(engine, speak, version, stream):
    model = engine(version, stream=stream)
    before = threading.active_count()

    with pytest.raises(RuntimeError, match="device-side assert"):
        speak(model, "This sentence meets a broken model, to be sure.")

    assert not any(state(model))
    assert threading.active_count() == before
    assert speak(model, "Hello.")


def test_an_error_after_the_first_chunk_ends_the_stream(engine, request_of):
    model = engine(2)
    chunks = model.synthesize(request_of(f"{LONG} until it meets a broken model."))

    assert len(next(chunks).samples)
    with pytest.raises(RuntimeError, match="device-side assert"):
        list(chunks)


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_of_the_vocoder_leaves_nothing_behind(engine, speak, stream):
    model = engine(2, stream=stream)
    before = threading.active_count()

    with pytest.raises(RuntimeError, match="out of memory"):
        speak(model, f"A broken vocoder and a slow model. {LONG}")

    assert not any(state(model))
    assert threading.active_count() == before
    assert speak(model, "Hello.")


def test_upstream_alone_would_lose_the_error(engine, speak):
    """Show that the stand-in has the defect from which `Watch` protects."""
    model = engine(3)
    lost = []
    hook, threading.excepthook = threading.excepthook, lost.append
    try:
        stream = model._model._upstream.inference_sft("Hello.", "英文女", stream=False)
        heard = next(stream)["tts_speech"].numpy()
    finally:
        threading.excepthook = hook
    assert heard.size == 0
    assert "endofprompt" in str(lost[0].exc_value)


@pytest.mark.parametrize("version", [1, 2])
def test_closing_a_stream_stops_the_language_model(engine, request_of, version, journal):
    model = engine(version)
    before = threading.active_count()
    chunks = model.synthesize(request_of(f"{LONG} {LONG} {LONG}"))
    next(chunks)

    chunks.close()

    assert threading.active_count() == before
    assert not any(state(model))


@pytest.mark.parametrize("stream", [True, False])
def test_cancelling_ends_a_request_that_has_said_nothing_yet(engine, request_of, stream):
    model = engine(2, stream=stream)
    cancel = CancelToken()
    timer = threading.Timer(0.02, cancel.cancel)
    timer.start()

    heard = sum(len(c.samples) for c in model.synthesize(request_of(LONG, cancel=cancel)))

    timer.join()
    assert heard < 24_000 * len(LONG) / 25 / 2
    assert not any(state(model))


@pytest.mark.parametrize("version", [2, 3])
def test_the_tenth_request_begins_as_soon_as_the_first(engine, request_of, version):
    model = engine(version)
    first = []
    for _ in range(10):
        chunks = [c.samples for c in model.synthesize(request_of(QUICK))]
        first.append(len(chunks[0]))

    assert set(first) == {24_000}


def test_upstream_alone_would_begin_later_each_time(engine):
    model = engine(2)._model._upstream
    first = [
        next(iter(list(model.inference_sft(QUICK, "英文女", stream=True))))["tts_speech"].shape[1]
        for _ in range(2)
    ]

    assert first == [24_000, 96_000]


def test_the_language_model_attends_to_all_that_came_before(engine, speak, journal):
    """A mask of one position hides the rest from transformers since 4.53."""
    speak(engine(2), "Hello")

    assert journal().SPOKEN[0]["seen"] == [5, 6, 7, 8, 9]


def test_unmended_the_language_model_would_see_one_position(source_dir, journal):
    sys.path.insert(0, str(source_dir))
    sys.path.insert(0, str(source_dir / "third_party/Matcha-TTS"))
    import cosyvoice.llm.llm as upstream

    from unisono_cosyvoice import mending

    def decode() -> list[int]:
        encoder, cache, length, seen = upstream.Qwen2Encoder("blank"), None, 5, []
        for _ in range(3):
            visible, cache = encoder.forward_one_step(length, length, cache)
            seen.append(visible)
            length = 1
        return seen

    assert decode() == [5, 1, 1]
    mending.mend_qwen(upstream)
    assert decode() == [5, 6, 7]
    assert journal().LOADED == ["auto", "float32"]


def test_a_cache_of_transformers_can_be_indexed_as_upstream_does(engine, speak):
    speak(engine(2), "Hello.")
    cache = sys.modules["cosyvoice.llm.llm"].DynamicCache()
    cache.layers.append(type("Layer", (), {"keys": "keys", "values": "values"}))

    assert cache[0] == ("keys", "values")


def test_nothing_is_written_to_the_standard_error_of_the_server(engine, speak, capfd):
    speak(engine(2), "Hello.")

    assert capfd.readouterr() == ("", "")


def test_chunks_make_up_the_speech_that_one_chunk_would_be(engine, speak):
    text = "One two three four five six seven eight nine ten, and then some more. " * 3
    streamed = speak(engine(2), text)
    whole = speak(engine(2, stream=False), text)

    assert len(streamed) > len(whole)
    assert len(np.concatenate(streamed)) == len(np.concatenate(whole))
