"""POST /v1/voice-clone, as m4t's clients call it."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
import sys
import wave

import httpx
import pytest

from unisono.testing import echo

REQUIRED = {
    "text": "你好,这是一个语音克隆测试。",
    "text_language": "zh",
    "prompt_text": "参考音频文字",
    "prompt_language": "zh",
}


def clone(server, wav, **fields):
    data = {name: value for name, value in {**REQUIRED, **fields}.items() if value is not None}
    return server.http.post("/v1/voice-clone", files={"audio": io.BytesIO(wav())}, data=data)


def heard(answer):
    with wave.open(io.BytesIO(base64.b64decode(answer["output_audio_base64"]))) as reader:
        return reader.getframerate(), reader.getnframes() / reader.getframerate()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("api", ["v1", "v2"])
def test_the_curl_command_of_m4t_works(stub, serve, wav, tmp_path, api):
    upstream = stub(api=api)
    server = serve({"clone": {"urls": [upstream.url]}})
    (tmp_path / "reference_audio.wav").write_bytes(wav())
    # Word for word as m4t documents it, but for the port and the interpreter's name.
    command = rf"""
curl -X POST "{server.url}/v1/voice-clone" \
  -F "audio=@reference_audio.wav" \
  -F "text=Hello, this is a voice cloning test." \
  -F "text_language=en" \
  -F "prompt_text=This is the reference audio." \
  -F "prompt_language=en" \
  | {sys.executable} -c "import sys, json, base64; \
    data=json.load(sys.stdin); \
    open('output.wav', 'wb').write(base64.b64decode(data['output_audio_base64']))"
"""

    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    with wave.open(str(tmp_path / "output.wav")) as reader:
        assert reader.getframerate() == 32_000
        assert reader.getnframes() > 32_000
    told = upstream.state.told("/tts" if api == "v2" else "/")[0]
    assert told["text"] == "Hello, this is a voice cloning test."
    assert told["prompt_text"] == "This is the reference audio."


def test_the_python_example_of_m4t_works(stub, serve, wav):
    upstream = stub()
    server = serve({"clone": {"urls": [upstream.url]}})

    response = clone(server, wav)

    assert response.status_code == 200
    answer = response.json()
    rate, seconds = heard(answer)
    timing = answer.pop("processing_time")
    assert 0 < timing < 30
    assert answer.pop("output_audio_base64")
    assert answer == {
        "task": "voice_clone",
        "output_sample_rate": rate,
        "text_length": len(REQUIRED["text"]),
        "output_duration": pytest.approx(seconds, abs=0.001),
        "service_available": True,
    }
    assert rate == 32_000
    assert upstream.state.told("/tts")[0]["text_lang"] == "zh"


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("all_zh", "zh"),
        ("中文", "zh"),
        ("英文", "en"),
        ("auto", "auto"),
        ("多语种混合", "auto"),
        ("auto_yue", "yue"),
        ("ZH", "zh"),
        ("eng", "en"),
        ("cmn_Hant", "zh"),
        ("jpn", "ja"),
        ("en-US", "en"),
    ],
)
def test_languages_may_be_named_as_in_api_and_in_m4t(stub, serve, wav, sent, told):
    upstream = stub()
    server = serve({"clone": {"urls": [upstream.url]}})

    response = clone(server, wav, text_language=sent, prompt_language=sent)

    assert response.status_code == 200, response.text
    (request,) = upstream.state.told("/tts")
    assert (request["text_lang"], request["prompt_lang"]) == (told, told)


def test_api_cuts_where_it_is_told_to(stub, serve, wav):
    upstream = stub(api="v1")
    server = serve({"clone": {"urls": [upstream.url]}})

    response = clone(server, wav, cut_punc=",。")

    assert upstream.state.told("/")[0]["cut_punc"] == ",。"
    assert "x-unisono-ignored" not in response.headers


def test_where_the_text_is_cut_is_a_hint_to_others(stub, serve, wav):
    server = serve({"clone": {"urls": [stub().url]}}, "cloner")

    for model in ("clone", "cloner"):
        response = clone(server, wav, cut_punc=",。", model=model)

        assert response.status_code == 200, response.text
        assert response.headers["x-unisono-ignored"] == "cut_punc"


@pytest.mark.parametrize("field", [*REQUIRED, "audio"])
def test_a_field_that_is_missing_is_named(stub, serve, wav, field):
    server = serve({"clone": {"urls": [stub().url]}})
    data = {name: value for name, value in REQUIRED.items() if name != field}
    files = {"audio": wav()} if field != "audio" else {"other": wav()}

    response = server.http.post("/v1/voice-clone", data=data, files=files)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == field


@pytest.mark.parametrize(
    ("field", "value"),
    [("text", "?!"), ("text_language", "sw"), ("prompt_language", "sw")],
)
def test_errors_name_the_fields_as_they_are_called_here(stub, serve, wav, field, value):
    server = serve({"clone": {"urls": [stub().url]}})

    response = clone(server, wav, **{field: value})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == field


def test_a_recording_that_is_none_is_named_as_audio(stub, serve):
    server = serve({"clone": {"urls": [stub().url]}})

    response = clone(server, lambda: b"not audio at all")

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "audio"


def test_without_a_server_the_answer_is_503_and_says_how_to_start_one(serve, wav, closed_port):
    server = serve({"clone": {"urls": [f"http://127.0.0.1:{closed_port}"]}})

    response = clone(server, wav)

    assert response.status_code == 503
    assert "python api.py -a 127.0.0.1" in response.json()["error"]["message"]


def test_this_plugins_models_come_first(stub, serve, wav):
    server = serve({"clone": {"urls": [stub().url]}}, "cloner", defaults={"speech": "cloner"})

    assert clone(server, wav).headers["x-unisono-model"] == "clone"
    assert clone(server, wav, model="cloner").headers["x-unisono-model"] == "cloner"


def test_any_model_that_clones_serves_it(serve, wav):
    server = serve({}, "echo", "cloner", defaults={"speech": "echo"})

    response = clone(server, wav, text_language="en")

    assert response.headers["x-unisono-model"] == "cloner"
    assert heard(response.json())[0] == 24_000


def test_a_model_that_does_not_clone_is_refused(serve, wav):
    server = serve({}, "echo", "cloner")

    response = clone(server, wav, model=echo.EchoEngine.name, text_language="en")

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "audio"


def test_without_any_model_that_clones_the_operator_is_told_what_to_do(serve, wav):
    server = serve({}, "echo")

    response = clone(server, wav)

    assert response.status_code == 503
    assert "[models.gpt-sovits]" in response.json()["error"]["message"]


def test_it_wants_a_key_like_everything_else(serve, wav):
    server = serve({}, "cloner", server={"api_keys": ["secret"]})

    assert clone(server, wav).status_code == 401


def test_it_is_documented(serve):
    server = serve({}, "cloner")

    document = server.http.get("/openapi.json").json()

    operation = document["paths"]["/v1/voice-clone"]["post"]
    ref = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["$ref"]
    body = document["components"]["schemas"][ref.rsplit("/", 1)[1]]
    assert set(body["required"]) == {*REQUIRED, "audio"}


def test_a_client_that_goes_stops_the_server(stub, serve, wav, until):
    upstream = stub()
    server = serve({"clone": {"urls": [upstream.url]}})

    with pytest.raises(httpx.ReadTimeout):
        server.http.post(
            "/v1/voice-clone",
            files={"audio": wav()},
            data={**REQUIRED, "text": "One, two, three, four, five, six.[[slow:0.3]]"},
            timeout=0.5,
        )

    until(lambda: not upstream.state.in_flight)
    assert 0 < upstream.state.fragments < 6
