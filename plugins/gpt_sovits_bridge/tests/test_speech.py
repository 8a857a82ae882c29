"""What is asked of a server, and what comes of its answer."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from gpt_sovits_stub import sound

from unisono import PromptError, RequestError

TEXT = "Hello there, this is a test."


# What is asked


def test_a_request_reaches_api_v2_with_all_that_it_needs(stub, say):
    server = stub()

    say({"urls": [server.url]}, TEXT, language="en-GB", ref_language="zh-CN")

    (told,) = server.state.told("/tts")
    assert told["text"] == TEXT
    assert told["text_lang"] == "en"
    assert told["prompt_lang"] == "zh"
    assert told["prompt_text"] == "And so on."
    assert told["media_type"] == "wav"


def test_a_request_reaches_api_with_all_that_it_needs(stub, say):
    server = stub(api="v1")

    say({"urls": [server.url]}, TEXT, language="en-GB", ref_language="zh-CN")

    (told,) = server.state.told("/")
    path = told.pop("refer_wav_path")
    assert path.endswith(".wav")
    assert told == {
        "path": "/",
        "text": TEXT,
        "text_language": "en",
        "prompt_text": "And so on.",
        "prompt_language": "zh",
    }


def test_only_what_a_request_sets_is_sent(stub, say):
    server = stub()

    say({"urls": [server.url]}, TEXT, top_k=5, speed=1.5, seed=2**32 + 7)

    (told,) = server.state.told("/tts")
    required = {"text", "text_lang", "ref_audio_path", "prompt_text", "prompt_lang"}
    ours = {"media_type", "streaming_mode"}
    assert told["sent"] - required - ours == {"top_k", "speed_factor", "seed"}
    assert (told["top_k"], told["speed_factor"], told["seed"]) == (5, 1.5, 7)


def test_options_of_api_go_by_its_own_names(stub, say):
    server = stub(api="v1")

    say(
        {"urls": [server.url]},
        TEXT,
        top_p=0.5,
        super_sampling=True,
        cut_punc=",.",
        speed=0.5,
    )

    (told,) = server.state.told("/")
    assert (told["top_p"], told["if_sr"], told["cut_punc"], told["speed"]) == (0.5, True, ",.", 0.5)


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"api": "v1"}, "batch_size", 2),
        ({"api": "v1"}, "seed", 5),
        ({"api": "v2"}, "cut_punc", ","),
        ({"api": "v2", "old": True}, "sample_steps", 8),
        ({"api": "v2", "old": True}, "seed", 5),
    ],
)
def test_an_option_that_the_server_does_not_have_is_refused(stub, say, options, name, value):
    server = stub(**options)

    with pytest.raises(RequestError) as caught:
        say({"urls": [server.url]}, TEXT, **{name: value})

    assert (caught.value.param, caught.value.code) == (name, "unsupported_option")
    assert not server.state.requests


def test_a_server_that_hides_its_documentation_is_recognised(stub, say):
    for api in ("v1", "v2"):
        server = stub(api=api, openapi=False)

        assert len(say({"urls": [server.url]}, TEXT))
        assert server.state.told({"v1": "/", "v2": "/tts"}[api])


def test_nothing_is_ever_commanded_that_ends_a_server(stub, say):
    for api in ("v1", "v2"):
        server = stub(api=api, openapi=False)
        say({"urls": [server.url]}, TEXT)
        assert not server.state.told("/control")


@pytest.mark.parametrize("language", ["ZH", "zh-Hant-TW", "cmn"])
def test_languages_are_sent_as_the_server_knows_them(stub, say, language):
    server = stub()

    say({"urls": [server.url]}, TEXT, ref_language=language, language="yue")

    (told,) = server.state.told("/tts")
    assert (told["prompt_lang"], told["text_lang"]) == ("zh", "yue")


def test_languages_that_nobody_named_are_left_to_the_server(stub, say):
    server = stub()

    say({"urls": [server.url]}, TEXT, language=None, ref_language=None)

    (told,) = server.state.told("/tts")
    assert (told["prompt_lang"], told["text_lang"]) == ("auto", "auto")


@pytest.mark.parametrize("field", ["language", "ref_language"])
def test_a_language_that_the_version_does_not_have_is_refused(stub, say, field):
    settings = {"urls": [stub(version="v1").url], "model_version": "v1"}

    with pytest.raises(RequestError, match="ko") as caught:
        say(settings, TEXT, **{field: "ko"})

    assert caught.value.param == field


# What would be answered with silence, or never


def test_a_batch_of_nothing_is_refused_before_the_server_hangs(stub, say):
    server = stub()

    with pytest.raises(RequestError) as caught:
        say({"urls": [server.url]}, TEXT, batch_size=0)

    assert caught.value.param == "batch_size"
    assert not server.state.requests


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("text", ["?!", "...", "。。。"])
def test_a_text_without_a_word_is_refused(stub, say, api, text):
    server = stub(api=api)

    with pytest.raises(RequestError) as caught:
        say({"urls": [server.url]}, text)

    assert caught.value.param == "input"
    assert not server.state.requests


def test_api_does_not_get_a_reference_without_its_transcript(stub, say, tmp_path, wav):
    (tmp_path / "other.wav").write_bytes(wav(5))
    default = (str(tmp_path / "other.wav"), "Somebody else.", "en")
    server = stub(api="v1", default_reference=default)

    with pytest.raises(PromptError) as caught:
        say({"urls": [server.url]}, TEXT, ref_text=None)

    assert caught.value.param == "ref_text"
    assert not server.state.requests


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_versions_that_need_the_transcript_do_not_speak_without(stub, say, version):
    server = stub(version=version)

    with pytest.raises(PromptError) as caught:
        say({"urls": [server.url], "model_version": version}, TEXT, ref_text=None)

    assert caught.value.param == "ref_text"
    assert not server.state.requests


def test_other_versions_speak_without_the_transcript(stub, say):
    server = stub()

    assert len(say({"urls": [server.url]}, TEXT, ref_text=None))
    assert server.state.told("/tts")[0]["prompt_text"] == ""


@pytest.mark.parametrize(("seconds", "good"), [(2.9, 0), (3.0, 1), (10.0, 1), (10.1, 0)])
def test_recordings_have_three_to_ten_seconds(stub, say, wav, seconds, good):
    server = stub()

    if good:
        assert len(say({"urls": [server.url]}, TEXT, ref_audio=wav(0, seconds)))
    else:
        with pytest.raises(PromptError, match="3 to 10"):
            say({"urls": [server.url]}, TEXT, ref_audio=wav(0, seconds))
        assert not server.state.requests


# What comes of the answer


@pytest.mark.parametrize("mode", [0, 1, 2, 3, None])
def test_the_speech_is_complete_to_the_sample(stub, say, mode):
    server = stub(piece_bytes=4097)  # an odd number: samples are cut in two

    samples = say({"urls": [server.url]}, "Hello, you.", streaming_mode=mode)

    (hertz,) = server.state.pitches.values()
    gap = np.zeros(int(0.3 * 32_000), np.int16)
    said = [sound.spoken(text, hertz, 32_000) for text in ("Hello,", " you.")]
    expected = np.concatenate([said[0], gap, said[1], gap]) / np.float32(32_768)
    np.testing.assert_array_equal(samples, expected)


@pytest.mark.parametrize(
    ("version", "fields", "rate"),
    [
        ("v2ProPlus", {}, 32_000),
        ("v3", {}, 24_000),
        ("v3", {"super_sampling": True}, 48_000),
        ("v4", {}, 48_000),
    ],
)
def test_the_rate_is_the_servers_own(stub, run, wav, version, fields, rate):
    settings = {"urls": [stub(version=version).url], "model_version": version}

    async def rates(kernel):
        chunks = kernel.speech(TEXT, model="clone", ref_audio=wav(), ref_text="And.", **fields)
        return {chunk.sample_rate async for chunk in chunks}

    assert run(settings, rates) == {rate}


def test_a_version_that_the_operator_got_wrong_does_not_change_the_pitch(stub, run, wav):
    settings = {"urls": [stub(version="v4").url], "model_version": "v2"}

    async def rates(kernel):
        chunks = kernel.speech(TEXT, model="clone", ref_audio=wav(), ref_text="And.")
        return {chunk.sample_rate async for chunk in chunks}

    assert run(settings, rates) == {48_000}


def test_samples_of_32_bits_sound_the_same(stub, say):
    wide, narrow = (
        say({"urls": [stub(api="v1", int32=int32).url]}, TEXT) for int32 in (True, False)
    )

    np.testing.assert_array_equal(wide, narrow)


def test_speech_streams_while_the_server_still_speaks(stub, run, wav):
    server = stub()

    async def first(kernel):
        text = "One, two, three, four, five.[[slow:0.2]]"
        stream = kernel.speech(text, model="clone", ref_audio=wav(), ref_text="And so on.")
        await anext(stream)
        still_speaking = server.state.in_flight
        await stream.aclose()
        return still_speaking

    assert run({"urls": [server.url]}, first) == 1


def test_a_client_that_goes_ends_the_request_to_the_server(stub, run, wav, until):
    server = stub()

    async def leave(kernel):
        text = "One, two, three, four, five, six, seven, eight.[[slow:0.1]]"
        stream = kernel.speech(text, model="clone", ref_audio=wav(), ref_text="And so on.")
        await anext(stream)
        await stream.aclose()
        await asyncio.to_thread(until, lambda: not server.state.in_flight)

    run({"urls": [server.url]}, leave)

    assert server.state.fragments < 8
