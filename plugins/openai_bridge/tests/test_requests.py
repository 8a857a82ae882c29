"""What the upstream is sent, seen by a stub, and what is made of unusual bytes."""

from __future__ import annotations

import asyncio
import base64
import json
import threading

import numpy as np
import pytest

from unisono import EngineOverloaded, EngineUnavailable, RequestError

SAMPLES = np.arange(-1500, 1500, dtype="<i2")


def test_what_nobody_set_is_not_sent(speak, stub, key):
    speak()
    (asked,) = stub.asked
    assert asked.path == "/v1/audio/speech"
    assert asked.json == {"model": "there", "input": "Hello there", "response_format": "pcm"}
    assert asked.headers["authorization"] == f"Bearer {key}"
    assert asked.headers["accept-encoding"] == "identity"


def test_what_is_set_is_sent_in_the_upstreams_words(speak, stub):
    settings = {
        "features": ["instructions", "speed", "seed"],
        "voices": ["ada"],
        "languages": {"en": "English"},
        "sample_rate": 16_000,
        "extra_body": {"stream": True, "voice": "nobody"},
    }
    fields = {"voice": "ada", "language": "en-GB", "speed": 1.5, "seed": 7, "instructions": "Sing."}
    speak(settings, **fields)
    assert stub.asked[0].json == {
        "model": "there",
        "input": "Hello there",
        "response_format": "pcm",
        "voice": "ada",
        "language": "English",
        "speed": 1.5,
        "seed": 7,
        "instructions": "Sing.",
        "sample_rate": 16_000,
        "stream": True,
    }


def test_without_a_key_none_is_sent(speak, stub):
    speak({"api_key": None})
    assert "authorization" not in stub.asked[0].headers


def test_a_key_is_read_from_the_environment(speak, stub, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "of-the-environment\n")
    speak({"api_key": None, "api_key_env": "SOME_KEY"})
    assert stub.asked[0].headers["authorization"] == "Bearer of-the-environment"


def test_a_key_that_is_not_in_the_environment_is_named(speak, stub):
    with pytest.raises(EngineUnavailable, match="NO_SUCH_KEY"):
        speak({"api_key": None, "api_key_env": "NO_SUCH_KEY"})
    assert not stub.asked


def test_halves_of_surrogate_pairs_reach_the_upstream(speak, stub):
    speak({"client_fields": ["*"]}, upstream={"suffix": "\ud800"})
    assert stub.asked[0].json["suffix"] == "\ud800"


def test_a_long_text_is_sent_in_segments_that_the_upstream_takes(speak, stub):
    text = "This is a sentence. " * 20
    speak({"max_input_chars": 100}, text=text)
    sent = [asked.json["input"] for asked in stub.asked]
    assert max(map(len, sent)) <= 100
    assert " ".join(sent).split() == text.split()


def test_a_model_with_long_text_gets_it_whole(speak, stub):
    text = "This is a sentence. " * 20
    speak({"max_input_chars": 100, "features": ["long_text"]}, text=text)
    assert [asked.json["input"] for asked in stub.asked] == [text]


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("top_p", "client_fields"),
        ("stream", "set by the operator|field of the request"),
        ("ref_audio", "field of the request"),
        ("model", "field of the request"),
        ("voice", "field of the request"),
        ("task_type", "set by the operator"),
    ],
)
def test_a_client_cannot_send_what_it_may_not(speak, stub, field, reason):
    settings = {"client_fields": ["top_k"], "extra_body": {"task_type": "Base"}}
    with pytest.raises(RequestError, match=reason) as caught:
        speak(settings, upstream={field: "x"})
    assert caught.value.param == "upstream"
    assert not stub.asked


def test_an_operator_can_let_everything_else_through(speak, stub):
    speak({"client_fields": ["*"]}, upstream={"top_p": 0.5, "temperature": 0.7})
    assert stub.asked[0].json["top_p"] == 0.5
    assert stub.asked[0].json["temperature"] == 0.7
    with pytest.raises(RequestError):
        speak({"client_fields": ["*"]}, upstream={"model": "another"})


@pytest.mark.parametrize(
    "value", [{"x": "y" * 70_000}, {"x": float("nan")}, "no json", "[1]", "[" * 100_000]
)
def test_further_fields_are_an_object_of_bounded_size(speak, stub, value):
    with pytest.raises(RequestError, match="upstream") as caught:
        speak({"client_fields": ["*"]}, upstream=value)
    assert caught.value.param == "upstream"


def test_further_fields_may_come_as_json(speak, stub):
    speak({"client_fields": ["*"]}, upstream='{"top_p": 0.5}')
    assert stub.asked[0].json["top_p"] == 0.5


@pytest.mark.parametrize("sizes", [[1], [3], [1, 2, 3, 5, 7], [4001, 1]])
def test_pieces_of_any_size_make_the_same_samples(speak, stub, sizes):
    def answer(line, asked):
        line.head(transfer_encoding="chunked", content_type="audio/pcm")
        data, at = SAMPLES.tobytes(), 0
        while data:
            piece, data = data[: sizes[at % len(sizes)]], data[sizes[at % len(sizes)] :]
            at += 1
            line.chunk(piece)
        line.chunk(b"")

    stub.answer = answer
    assert (np.rint(speak() * 32768) == SAMPLES).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_speech_of_a_few_samples_is_speech(speak, stub, count):
    stub.answer = lambda line, asked: line.answer(SAMPLES[:count].tobytes())
    assert (np.rint(speak() * 32768) == SAMPLES[:count]).all()


def torn_chunked(line, asked):
    line.head(transfer_encoding="chunked", content_type="audio/pcm")
    line.chunk(SAMPLES.tobytes())
    line.hang_up()


def torn_with_length(line, asked):
    line.head(content_length="100000", content_type="audio/pcm")
    line.send(SAMPLES.tobytes())
    line.hang_up()


def torn_sample(line, asked):
    line.answer(SAMPLES.tobytes() + b"\0")


def torn_events(line, asked):
    line.head(transfer_encoding="chunked", content_type="text/event-stream")
    audio = base64.b64encode(SAMPLES.tobytes()).decode()
    event = json.dumps({"type": "speech.audio.delta", "audio": audio})
    line.chunk(f"data: {event}\n\n".encode())
    line.chunk(b"")


def failing_events(line, asked):
    line.head(transfer_encoding="chunked", content_type="text/event-stream")
    line.chunk(b'data: {"error": {"message": "out of memory"}}\n\n')
    line.chunk(b"")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torn_chunked, "broke off"),
        (torn_with_length, "broke off"),
        (torn_sample, "middle of a sample"),
    ],
)
def test_a_torn_body_never_looks_complete(speak, stub, answer, message):
    stub.answer = answer
    with pytest.raises(EngineUnavailable, match=message):
        speak()


@pytest.mark.parametrize(
    ("answer", "message"), [(torn_events, "broke off"), (failing_events, "out of memory")]
)
def test_events_without_a_proper_end_never_look_complete(speak, stub, answer, message):
    stub.answer = answer
    with pytest.raises(EngineUnavailable, match=message):
        speak({"features": ["word_timestamps"]}, word_timestamps=True)


@pytest.mark.parametrize("body", [b"RIFF....WAVEfmt ", b"OggS" * 9, b"fLaC" * 9, b"ID3\4" * 9])
def test_a_file_in_place_of_pcm_is_not_played_as_noise(speak, stub, body):
    stub.answer = lambda line, asked: line.answer(body)
    with pytest.raises(EngineUnavailable, match="pcm"):
        speak()


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json"])
def test_a_page_in_place_of_audio_is_not_played(speak, stub, kind):
    stub.answer = lambda line, asked: line.answer(b"<html>Welcome!</html>", content_type=kind)
    with pytest.raises(EngineUnavailable, match="base_url"):
        speak()


def test_no_more_requests_than_configured_are_sent_at_once(kernel_of, stub):
    busy, most, lock = 0, 0, threading.Lock()
    enough = threading.Event()

    def answer(line, asked):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        enough.wait(0.05)
        with lock:
            busy -= 1
        line.answer(SAMPLES.tobytes())

    stub.answer = answer

    async def main():
        settings = {"base_url": stub.url, "concurrent_requests": 2}
        async with kernel_of("openai_speech", **settings) as kernel:

            async def one():
                return [chunk async for chunk in kernel.speech("Hello")]

            assert all(await asyncio.gather(*(one() for _ in range(8))))

    asyncio.run(main())
    assert most == 2


def test_who_waits_for_the_upstream_is_counted_as_waiting(kernel_of, stub, until):
    free = threading.Event()

    def answer(line, asked):
        free.wait(20)
        line.answer(SAMPLES.tobytes())

    stub.answer = answer

    async def main():
        settings = {"base_url": stub.url, "concurrent_requests": 2, "limits": {"queue_length": 1}}
        async with kernel_of("openai_speech", **settings) as kernel:

            async def one():
                return [chunk async for chunk in kernel.speech("Hello")]

            tasks = [asyncio.create_task(one()) for _ in range(3)]
            await asyncio.to_thread(until, lambda: kernel.pool.loaded().get("m") == 3)
            try:
                with pytest.raises(EngineOverloaded):
                    await one()
            finally:
                free.set()
            assert all(await asyncio.gather(*tasks))

    asyncio.run(main())
