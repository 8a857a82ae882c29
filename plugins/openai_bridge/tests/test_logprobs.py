"""How sure the upstream is of each token."""

from __future__ import annotations

import pytest

from unisono import EngineUnavailable, TokenLogprob

TOKENS = {
    "text": "Hi 👋",
    "logprobs": [
        {"token": "Hi", "logprob": -0.25, "bytes": [72, 105]},
        {"token": "bytes: \\xf0\\x9f", "logprob": -0.5, "bytes": [32, 240, 159]},
        {"token": "bytes: \\x91\\x8b", "logprob": -1, "bytes": [145, 139]},
        {"token": "", "logprob": 0.0, "bytes": None},
    ],
}
SURE = {"features": ["logprobs", "word_timestamps"]}
SEGMENTS = [{"start": 0, "end": 1, "text": "Hi"}, {"start": 1, "end": 2, "text": "there"}]


def test_the_sdk_gets_log_probabilities(front, upstream, wav, key):
    fields = {
        "model": "sure",
        "file": wav(2.0, rate=16_000),
        "response_format": "json",
        "include": ["logprobs"],
    }
    there = upstream.client(key).audio.transcriptions.create(**fields)
    here = front.client().audio.transcriptions.create(**fields)
    assert [each.token for each in here.logprobs] == ["second", " 0.", " second", " 1."]
    assert here.logprobs == there.logprobs


def test_log_probabilities_are_asked_for_with_json(write, stub):
    stub.answer = lambda line, asked: line.answer(TOKENS)
    write(SURE, include=["logprobs"])
    assert sorted(stub.asked[0].form()[0]) == [
        *(("include[]", "logprobs"), ("model", "there"), ("response_format", "json"))
    ]


def test_tokens_that_are_no_whole_characters_keep_their_bytes(write, stub):
    stub.answer = lambda line, asked: line.answer(TOKENS)
    (segment,) = write(SURE, include=["logprobs"]).segments
    assert (segment.text, segment.start, segment.end) == ("Hi 👋", 0.0, 3.0)
    assert segment.logprobs == (
        TokenLogprob("Hi", -0.25),
        TokenLogprob("bytes: \\xf0\\x9f", -0.5, b" \xf0\x9f"),
        TokenLogprob("bytes: \\x91\\x8b", -1.0, b"\x91\x8b"),
        TokenLogprob("", 0.0),
    )


def test_tokens_come_in_one_segment_whatever_the_upstream_makes_of_json(write, stub):
    stub.answer = lambda line, asked: line.answer({**TOKENS, "segments": SEGMENTS})
    (segment,) = write(SURE, include=["logprobs"]).segments
    assert (segment.text, len(segment.logprobs)) == ("Hi 👋", 4)


def test_log_probabilities_that_nobody_asked_for_may_look_as_they_like(write, stub):
    said = {"text": "Hi there", "segments": SEGMENTS, "logprobs": {"content": 5}}
    stub.answer = lambda line, asked: line.answer(said)
    assert len(write(SURE).segments) == 2


def test_an_upstream_without_log_probabilities_is_found_out(write, stub):
    stub.answer = lambda line, asked: line.answer({"text": "Hi"})
    with pytest.raises(EngineUnavailable, match="take logprobs from the features"):
        write(SURE, include=["logprobs"])


def test_no_text_has_no_tokens(write, stub):
    stub.answer = lambda line, asked: line.answer({"text": ""})
    assert write(SURE, include=["logprobs"]).segments == ()


@pytest.mark.parametrize(
    "token", [{"token": "x"}, {"logprob": 0}, {"token": "x", "logprob": 0, "bytes": [256]}, "x"]
)
def test_something_else_than_log_probabilities_is_an_error(write, stub, token):
    stub.answer = lambda line, asked: line.answer({"text": "x", "logprobs": [token]})
    with pytest.raises(EngineUnavailable, match=r"logprobs\.0"):
        write(SURE, include=["logprobs"])
