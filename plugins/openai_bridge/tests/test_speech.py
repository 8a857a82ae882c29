"""Speech through the front server, from a real upstream."""

from __future__ import annotations

import base64
import io
import json

import av
import httpx
import numpy as np
import openai
import pytest
import soundfile

from unisono.testing.echo import EchoSettings, expected

TEXT = "One two three four five six seven eight."
LONG = " ".join(["word"] * 80)  # twenty seconds


def pcm(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_every_format_holds_the_speech_of_the_upstream(front, format):
    speech = front.client().audio.speech.create(
        model="voice", voice="near", input=TEXT, response_format=format
    )
    data = speech.read()
    wanted = expected(TEXT)
    if format == "pcm":
        assert (np.frombuffer(data, "<i2") == pcm(wanted)).all()
        return
    with av.open(io.BytesIO(data)) as container:
        rate = container.streams.audio[0].rate
        frames = sum(frame.samples for frame in container.decode(audio=0))
    assert frames / rate == pytest.approx(len(wanted) / 24_000, abs=0.15)


def test_speed_is_the_upstreams_business(front):
    speech = front.client().audio.speech.create(
        model="voice", voice="near", input=TEXT, speed=2.0, response_format="pcm"
    )
    assert len(speech.read()) / 48_000 == pytest.approx(1.0, abs=0.1)


def test_the_upstream_is_asked_for_a_rate_that_is_configured(front):
    speech = front.client().audio.speech.create(
        model="narrow", voice="alloy", input=TEXT, response_format="wav"
    )
    samples, rate = soundfile.read(io.BytesIO(speech.read()))
    assert len(samples) / rate == pytest.approx(2.0, abs=0.01)
    direct = httpx.get(f"{front.url}/models/narrow").json()
    assert direct["sample_rate"] == 16_000


def test_the_configured_voices_are_offered_and_others_refused(front):
    voices = httpx.get(f"{front.url}/audio/voices", params={"model": "voice"}).json()["voices"]
    assert [voice["name"] for voice in voices] == ["near", "far"]
    with pytest.raises(openai.BadRequestError, match="nobody"):
        front.client().audio.speech.create(model="voice", voice="nobody", input=TEXT)


def test_the_first_bytes_come_before_the_upstream_is_done(front, upstream):
    body = {"model": "slow", "input": LONG, "response_format": "pcm"}
    with httpx.stream("POST", f"{front.url}/audio/speech", json=body, timeout=30) as response:
        parts = response.iter_raw()  # held: one that nobody holds closes the connection
        assert next(parts)
        assert upstream.kernel.pool.loaded()["slow"] == 1


def test_a_client_that_hangs_up_ends_the_request_at_the_upstream(front, upstream, until):
    body = {"model": "slow", "input": LONG, "response_format": "pcm"}
    with httpx.stream("POST", f"{front.url}/audio/speech", json=body, timeout=30) as response:
        parts = response.iter_raw()
        next(parts)
        assert upstream.kernel.pool.loaded()["slow"] == 1
    until(lambda: upstream.kernel.pool.loaded()["slow"] == 0)
    until(lambda: front.kernel.pool.loaded()["slow"] == 0)


def test_a_client_that_hangs_up_before_the_first_byte_ends_the_request_too(serve, stub):
    hung_up = []

    def answer(line, asked):
        hung_up.append(line.wait_for_hang_up())
        line.hang_up()

    stub.answer = answer
    server = serve(m={"engine": "openai_speech", "base_url": stub.url, "model": "there"})
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}/audio/speech",
            json={"input": TEXT},
            timeout=httpx.Timeout(5, read=0.3),
        )
    server.stop()
    assert hung_up == [True]


def test_a_voice_that_is_stored_here_is_cloned_there(front, wav):
    recording = wav(2.0)
    httpx.post(
        f"{front.url}/audio/voices",
        data={"name": "me", "text": "a sweep"},
        files={"audio_sample": ("me.wav", recording)},
    ).raise_for_status()
    speech = front.client().audio.speech.create(
        model="clone", voice="me", input="one two three four", response_format="pcm"
    )
    heard = np.frombuffer(speech.read(), "<i2") / 32768
    own, _ = soundfile.read(io.BytesIO(recording))
    assert len(heard) == 24_000
    assert np.abs(heard - own[:24_000]).max() < 1e-3


def test_a_recording_is_sent_as_wav_with_what_is_said_in_it(speak, stub, wav):
    settings = {"features": ["voice_cloning", "prompt_text"], "languages": {"de": "German"}}
    recording = base64.b64encode(wav(2.0)).decode()
    fields = {"ref_audio": recording, "ref_text": "a sweep", "ref_language": "de-AT"}
    speak(settings, **fields)
    (asked,) = stub.asked
    head, _, payload = asked.json["ref_audio"].partition(",")
    assert head == "data:audio/wav;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(payload)))
    assert (len(samples), rate) == (48_000, 24_000)
    assert asked.json["ref_text"] == "a sweep"
    assert asked.json["ref_language"] == "German"


def test_words_come_with_their_times(front):
    body = {
        "model": "voice",
        "input": TEXT,
        "stream_format": "sse",
        "response_format": "pcm",
        "word_timestamps": True,
    }
    response = httpx.post(f"{front.url}/audio/speech", json=body)
    events = [json.loads(line[5:]) for line in response.text.splitlines() if line]
    audio = b"".join(base64.b64decode(event.get("audio", "")) for event in events)
    words = [word for event in events for word in event.get("words", ())]
    assert (np.frombuffer(audio, "<i2") == pcm(expected(TEXT))).all()
    assert words[:2] == [
        {"word": "One", "start": 0.0, "end": 0.25},
        {"word": "two", "start": 0.25, "end": 0.5},
    ]
    assert len(words) == 8


def test_an_option_of_the_upstream_reaches_it(front):
    speech = front.client().audio.speech.create(
        model="voice",
        voice="near",
        input=TEXT,
        response_format="pcm",
        extra_body={"upstream": {"gain": 0.5}},
    )
    assert (np.frombuffer(speech.read(), "<i2") == pcm(expected(TEXT) * np.float32(0.5))).all()


def test_a_failure_of_the_upstream_half_way_breaks_our_answer(front):
    seconds = EchoSettings().chunk_seconds * 5
    body = {
        "model": "voice",
        "input": TEXT,
        "response_format": "pcm",
        "upstream": {"fail_after": seconds},
    }
    with httpx.stream("POST", f"{front.url}/audio/speech", json=body) as response:
        assert response.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            response.read()


def test_the_upstreams_refusal_reaches_the_client_with_param_and_code(front):
    with pytest.raises(openai.BadRequestError) as caught:
        front.client().audio.speech.create(
            model="voice", voice="near", input=TEXT, extra_body={"upstream": {"gain": 7}}
        )
    assert caught.value.param == "gain"
    assert caught.value.code == "invalid_request"
    assert "upstream server" in caught.value.message
    assert "less than or equal to 1" in caught.value.message
