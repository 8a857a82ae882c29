"""Transcription through the front server and by a stub."""

from __future__ import annotations

import io
import wave

import httpx
import pytest

from unisono import EngineUnavailable, RequestError

VERBOSE = {
    "task": "transcribe",
    "language": "english",
    "duration": "3.0",
    "text": "Hello there. Bye.",
    "segments": [
        {
            "id": 0,
            "seek": 0,
            "start": 0.0,
            "end": 1.5,
            "text": " Hello there.",
            "tokens": [1, 2],
            "temperature": 0.2,
            "avg_logprob": -0.25,
            "compression_ratio": 1.1,
            "no_speech_prob": 0.01,
        },
        {"id": 1, "start": 1.5, "end": 2.5, "text": " Bye.", "avg_logprob": -0.5},
        {"id": 2, "start": 2.5, "end": 3.0, "text": " "},
    ],
    "words": [
        {"word": "Hello", "start": 0.0, "end": 0.5},
        {"word": "there", "start": 0.6, "end": 1.6},
        {"word": "Bye", "start": 1.7, "end": 2.75, "probability": 0.5},
    ],
}
WORDS = {"features": ["word_timestamps", "text_prompt", "temperature", "hotwords", "translation"]}
WANTED = {"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]}


def test_the_sdk_gets_segments_and_words(front, wav):
    transcript = front.client().audio.transcriptions.create(
        model="scribe",
        file=wav(3.0, rate=16_000),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert transcript.text == "second 0. second 1. second 2."
    assert [(s.start, s.end) for s in transcript.segments] == [(0, 1), (1, 2), (2, 3)]
    assert [word.word for word in transcript.words[:4]] == ["second", "0.", "second", "1."]
    assert transcript.duration == 3.0


def test_the_sdk_gets_subtitles(front, wav):
    subtitles = front.client().audio.transcriptions.create(
        model="scribe", file=wav(2.0, rate=16_000), response_format="srt"
    )
    assert "00:00:01,000 --> 00:00:02,000\nsecond 1." in subtitles


def test_what_nobody_set_is_not_sent_and_audio_is_wav(write, stub, key):
    stub.answer = lambda line, asked: line.answer(VERBOSE)
    write()
    (asked,) = stub.asked
    fields, file = asked.form()
    assert asked.path == "/v1/audio/transcriptions"
    assert asked.headers["authorization"] == f"Bearer {key}"
    assert sorted(fields) == [("model", "there"), ("response_format", "verbose_json")]
    with wave.open(io.BytesIO(file)) as audio:
        assert audio.getparams()[:4] == (1, 2, 16_000, 48_000)


def test_what_is_set_is_sent_as_a_form(write, stub):
    stub.answer = lambda line, asked: line.answer(VERBOSE)
    settings = {
        **WORDS,
        "extra_body": {"vad": True, "chunking_strategy": {"type": "server_vad"}, "ids": [1, 2]},
        "client_fields": ["*"],
    }
    write(
        settings,
        **WANTED,
        language="en",
        prompt="Names: Zoë",
        temperature=0.5,
        keywords=["unisono", "kernel"],
        upstream={"beam": 5, "nothing": None},
    )
    fields, _ = stub.asked[0].form()
    assert sorted(fields) == sorted(
        [
            ("model", "there"),
            ("response_format", "verbose_json"),
            ("language", "en"),
            ("prompt", "Names: Zoë"),
            ("temperature", "0.5"),
            ("keywords[]", "unisono"),
            ("keywords[]", "kernel"),
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities[]", "segment"),
            ("vad", "true"),
            ("chunking_strategy[type]", "server_vad"),
            ("ids[]", "1"),
            ("ids[]", "2"),
            ("beam", "5"),
        ]
    )


def test_what_the_upstream_knows_of_a_segment_is_kept(write, stub):
    stub.answer = lambda line, asked: line.answer(VERBOSE)
    transcript = write()
    first, second = transcript.segments
    assert (first.text, first.start, first.end) == ("Hello there.", 0.0, 1.5)
    assert first.tokens == (1, 2)
    assert (first.avg_logprob, first.temperature, first.no_speech_prob) == (-0.25, 0.2, 0.01)
    assert second.no_speech_prob is None
    assert not first.words


def test_words_find_their_segments(write, stub):
    stub.answer = lambda line, asked: line.answer(VERBOSE)
    first, second = write(WORDS, **WANTED).segments
    assert [word.text for word in first.words] == ["Hello", "there"]
    assert [(word.text, word.probability) for word in second.words] == [("Bye", 0.5)]
    assert first.end == 1.6
    assert second.end == 2.75


def test_words_within_segments_are_as_good(write, stub):
    word = {"word": " Hi", "start": 0.1, "end": 0.4, "probability": 0.9}
    segment = {"start": 0, "end": 1, "text": " Hi", "words": [word]}
    stub.answer = lambda line, asked: line.answer({"text": "Hi", "segments": [segment]})
    (said,) = write(WORDS, **WANTED).segments
    assert [(word.text, word.start, word.probability) for word in said.words] == [("Hi", 0.1, 0.9)]


@pytest.mark.parametrize(
    ("languages", "said", "tag"),
    [((), "en", "en"), ({"de": "German"}, "german", "de"), ({"de": "German"}, "xx", "xx")],
)
def test_the_language_comes_in_our_words(write, stub, languages, said, tag):
    stub.answer = lambda line, asked: line.answer({**VERBOSE, "language": said})
    assert write({"languages": languages}).language == tag


def test_a_bare_text_is_one_segment_of_all_the_audio(write, stub):
    stub.answer = lambda line, asked: line.answer({"text": "Hello.", "usage": {"type": "tokens"}})
    (segment,) = write({"response_format": "json"}).segments
    assert (segment.text, segment.start, segment.end) == ("Hello.", 0.0, 3.0)
    assert ("response_format", "json") in stub.asked[0].form()[0]


def test_no_text_is_no_segment(write, stub):
    stub.answer = lambda line, asked: line.answer({"text": ""})
    assert write({"response_format": "json"}).segments == ()


def test_speakers_are_kept(write, stub):
    segment = {"id": "seg_1", "start": 0, "end": 1, "text": "Hi.", "speaker": "A"}
    stub.answer = lambda line, asked: line.answer({"text": "Hi.", "segments": [segment]})
    settings = {"response_format": "diarized_json", "features": ["diarization"]}
    (said,) = write(settings, response_format="diarized_json").segments
    assert said.speaker == "A"


@pytest.mark.parametrize("name", ["include", "known_speaker_names", "known_speaker_references"])
def test_a_client_says_in_no_other_way_what_the_request_says(write, stub, name):
    with pytest.raises(RequestError, match="a field of the request") as caught:
        write({"client_fields": ["*"]}, upstream={name: ["x"]})
    assert caught.value.param == "upstream"
    assert not stub.asked


def test_a_translation_is_asked_for_at_its_own_address(serve, stub, wav):
    stub.answer = lambda line, asked: line.answer(VERBOSE)
    table = {"engine": "openai_transcription", "base_url": stub.url, "model": "there", **WORDS}
    url = f"{serve(m=table).url}/audio/translations"
    translation = httpx.post(url, data={"model": "m"}, files={"file": wav(3.0)})
    assert translation.json()["text"] == "Hello there. Bye."
    assert stub.asked[0].path == "/v1/audio/translations"


def test_audio_that_the_upstream_cannot_take_at_once_is_sent_in_parts(write, stub):
    stub.answer = lambda line, asked: line.answer({"text": "part"})
    write({"max_upload_bytes": "1MB", "response_format": "json"}, seconds=70.0)
    sizes = [len(asked.form()[1]) for asked in stub.asked]
    assert len(sizes) == 3
    assert max(sizes) <= 10**6
    assert sum(sizes) == pytest.approx(70 * 32_000, rel=0.001)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        {"segments": []},
        {"text": "x", "segments": [{"text": "x", "start": "soon", "end": 1}]},
        {"text": "x", "segments": 5},
    ],
)
def test_something_else_than_a_transcript_is_an_error(write, stub, body):
    stub.answer = lambda line, asked: line.answer(body)
    with pytest.raises(EngineUnavailable, match="transcript"):
        write()


def test_a_torn_transcript_is_an_error(write, stub):
    def answer(line, asked):
        line.head(content_length="1000", content_type="application/json")
        line.send(b'{"text": "half')
        line.hang_up()

    stub.answer = answer
    with pytest.raises(EngineUnavailable, match="broke off"):
        write()
