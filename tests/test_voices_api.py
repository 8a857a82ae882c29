"""Stored voices and recordings over HTTP, as the clients of OpenAI, Xinference, vLLM-Omni, omlx and
the ZipVoice guide send them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote

import httpx
import openai
import pytest

from unisono.testing import cloner

TEXT = "This is a sample of my voice."
SPEECH = "/v1/audio/speech"
VOICES = "/v1/audio/voices"


@pytest.fixture
def client(serve, tmp_path) -> Callable[..., httpx.Client]:
    """Return what starts a server with the model `cloner` and returns a client of it."""

    def start(voices: Any = None, server: Any = None) -> httpx.Client:
        overrides = {
            "voices": {"directory": str(tmp_path / "voices"), **(voices or {})},
            "server": server or {},
        }
        url = serve(overrides, {"cloner": cloner}).url
        return httpx.Client(base_url=url, timeout=30)

    return start


@pytest.fixture
def http(client) -> Iterator[httpx.Client]:
    with client() as started:
        yield started


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "cloner", "input": "Hello there.", "response_format": "wav", **fields}


def add(http: httpx.Client, wav: bytes, **fields: Any) -> httpx.Response:
    data = {"name": "anna", "text": TEXT, **fields}
    return http.post(VOICES, data=data, files={"audio_sample": ("a.wav", wav, "audio/wav")})


def error_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"].startswith("application/json")
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


# The store


def test_a_voice_is_stored_described_listed_and_deleted(http, speech_wav) -> None:
    created = add(http, speech_wav(2), language="en", description="calm", consent="cons_1").json()
    assert created["object"] == "audio.voice"
    assert created["id"].startswith("voice_")
    assert isinstance(created["created_at"], int)
    assert created["audio_info"] == {
        "duration": 2.0,
        "samplerate": 24_000,
        "channels": 1,
        "samples": 48_000,
        "format": ".wav",
    }
    for name in ("anna", created["id"]):
        assert http.get(f"{VOICES}/{name}").json() == created
    assert http.get(f"{VOICES}/anna/audio").content == speech_wav(2)
    (listed,) = [v for v in http.get(VOICES).json()["data"] if v["name"] == "anna"]
    assert listed == {**created, "models": ["cloner"]}
    deleted = http.delete(f"{VOICES}/{created['id']}")
    assert deleted.json() == {
        "id": created["id"],
        "object": "audio.voice.deleted",
        "deleted": True,
    }
    assert http.delete(f"{VOICES}/{created['id']}").status_code == 404
    assert error_of(http.get(f"{VOICES}/anna"))["code"] == "voice_not_found"


def test_a_stored_voice_speaks_in_every_form_of_its_name(http, speech_wav) -> None:
    created = add(http, speech_wav(seed=1)).json()
    inline = {"ref_audio": base64.b64encode(speech_wav(seed=1)).decode(), "ref_text": TEXT}
    expected = http.post(SPEECH, json=body(**inline))
    assert expected.status_code == 200
    for voice in ("anna", created["id"], {"id": created["id"]}):
        assert http.post(SPEECH, json=body(voice=voice)).content == expected.content


def test_the_voices_of_a_model_are_those_that_it_can_speak_with(http, speech_wav) -> None:
    add(http, speech_wav())
    names = lambda **params: [v["name"] for v in http.get(VOICES, params=params).json()["data"]]  # noqa: E731
    assert names(model="cloner") == ["anna"]
    assert names(model="echo") == ["near", "far"]
    assert http.get(VOICES, params={"legacy": True}).json()["voices"] == ["near", "far", "anna"]


def test_the_models_own_voices_are_listed_without_a_store(serve, tmp_path) -> None:
    (tmp_path / "voices").write_text("not a directory")
    url = serve({"voices": {"directory": str(tmp_path / "voices" / "inside")}}).url
    assert [v["name"] for v in httpx.get(f"{url}{VOICES}").json()["data"]] == ["near", "far"]


def test_names_in_any_script_work(http, speech_wav) -> None:
    assert add(http, speech_wav(), name="中文女").status_code == 200
    assert http.get(f"{VOICES}/{quote('中文女')}").json()["name"] == "中文女"
    assert http.post(SPEECH, json=body(voice="中文女")).status_code == 200


@pytest.mark.parametrize(
    "part", ["audio_sample", "audio_file", "file", "ref_audio", "prompt_speech"]
)
def test_the_recording_has_many_names(http, speech_wav, part: str) -> None:
    answer = http.post(VOICES, data={"name": "a", "ref_text": TEXT}, files={part: speech_wav()})
    assert answer.json()["text"] == TEXT


def test_a_voice_may_come_as_json(http, speech_wav) -> None:
    audio = base64.b64encode(speech_wav()).decode()
    answer = http.post(VOICES, json={"name": "a", "ref_audio": audio, "transcript": TEXT})
    assert (answer.status_code, answer.json()["text"]) == (200, TEXT)
    assert http.get(f"{VOICES}/a/audio").content == speech_wav()


def test_a_voice_may_be_only_described(http) -> None:
    made = http.post(VOICES, json={"name": "calm", "prompt": "a calm voice", "type": "prompt"})
    assert made.json()["type"] == "prompt"
    assert made.json()["description"] == "a calm voice"
    assert made.headers["x-unisono-ignored"] == "type"
    assert http.post(SPEECH, json=body(voice="calm")).status_code == 200
    assert http.get(f"{VOICES}/calm/audio").status_code == 404


@pytest.mark.parametrize(
    ("data", "part", "status", "param"),
    [
        ({}, b"wav", 400, "name"),
        ({"name": "a/b"}, b"wav", 400, "name"),
        ({"name": " "}, b"wav", 400, "name"),
        ({"name": "x" * 101}, b"wav", 400, "name"),
        ({"name": "url+x"}, b"wav", 400, "name"),
        ({"name": "a", "language": "not a language"}, b"wav", 400, "language"),
        ({"name": "a"}, None, 400, "audio_sample"),
        ({"name": "a"}, b"not audio", 400, "audio_sample"),
        ({"name": "a"}, b"", 400, "audio_sample"),
        ({"name": "a"}, b"x" * 60_000, 413, "audio_sample"),
    ],
)
def test_a_voice_that_cannot_be_stored_is_refused(
    client, speech_wav, data: Any, part: bytes | None, status: int, param: str
) -> None:
    sample = speech_wav(0.5) if part == b"wav" else part
    files = {"audio_sample": ("a.wav", sample)} if sample is not None else {"x": b"x"}
    with client({"max_bytes": 50_000}) as http:
        answer = http.post(VOICES, data=data, files=files)
        assert (answer.status_code, error_of(answer)["param"]) == (status, param)
        assert http.get(f"{VOICES}?model=cloner").json()["data"] == []


@pytest.mark.parametrize("sample", [5, True, ["UklGRg=="], {"data": "UklGRg=="}])
def test_a_recording_in_json_that_is_no_text_is_refused(http, sample: object) -> None:
    answer = http.post(VOICES, json={"name": "anna", "audio_sample": sample})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "audio_sample")


def test_many_fields_without_effect_do_not_make_a_header_that_nobody_can_read(http) -> None:
    nonsense = {f"{number}" * 500: 1 for number in range(10, 100)}
    answer = http.post(VOICES, json={"name": "anna", "description": "calm", **nonsense})
    assert answer.status_code == 200
    assert 0 < len(answer.headers["x-unisono-ignored"]) < 4000


@pytest.mark.parametrize("field", ["name", "text", "transcription", "description"])
def test_a_text_of_a_voice_that_comes_as_a_file_is_refused(http, speech_wav, field: str) -> None:
    files = {"audio_sample": ("a.wav", speech_wav()), field: ("text.txt", b"Something.")}
    data = {"name": "anna"} if field != "name" else {}
    answer = http.post(VOICES, data=data, files=files)
    assert (answer.status_code, error_of(answer)["param"]) == (400, field)
    assert http.get(f"{VOICES}/anna").status_code == 404


@pytest.mark.parametrize("field", ["input", "ref_text", "prompt_text", "without_text", "model"])
def test_a_text_of_a_request_that_comes_as_a_file_is_refused(http, speech_wav, field: str) -> None:
    files = {"ref_audio": ("a.wav", speech_wav()), field: ("text.txt", b"Something.")}
    data = {name: value for name, value in body(ref_text=TEXT).items() if name != field}
    answer = http.post("/v1/cloner/audio/speech", data=data, files=files)
    assert (answer.status_code, error_of(answer)["param"]) == (400, field)


def test_what_a_registration_has_no_use_for_is_said(http, speech_wav) -> None:
    files = {"audio_file": ("a.wav", speech_wav())}
    answer = http.post("/v1/cloner/voices/register", data={"name": "bea", "mood": "x"}, files=files)
    assert answer.headers["x-unisono-ignored"] == "mood"


def test_a_name_is_taken_once(http, speech_wav) -> None:
    assert add(http, speech_wav()).status_code == 200
    again = add(http, speech_wav())
    assert (again.status_code, error_of(again)["param"]) == (400, "name")


def test_recordings_are_not_public_where_discovery_is(client, speech_wav) -> None:
    with client(server={"api_keys": "secret", "public_discovery": True}) as http:
        key = {"Authorization": "Bearer secret"}
        files = {"audio_sample": speech_wav()}
        assert http.post(VOICES, data={"name": "a"}, files=files).status_code == 401
        fields = {"name": "a", "text": TEXT, "consent": "Signed, Anna."}
        made = http.post(VOICES, data=fields, files=files, headers=key)
        assert made.status_code == 200
        listed = http.get(VOICES)
        assert "a" in [voice["name"] for voice in listed.json()["data"]]
        assert TEXT not in listed.text
        assert "Anna" not in listed.text
        assert http.get(f"{VOICES}/a", headers=key).json()["consent"] == "Signed, Anna."
        for path in (f"{VOICES}/a/audio", f"{VOICES}/a"):
            assert http.get(path).status_code == 401
            assert http.get(path, headers=key).status_code == 200
        assert http.get("/v1/cluster/auth").json() == {"auth": True}


# Speech with a recording


def test_the_contract_of_omlx_and_mlx_audio(http, speech_wav) -> None:
    audio = base64.b64encode(speech_wav()).decode()
    assert http.post(SPEECH, json=body(ref_audio=audio, ref_text=TEXT)).status_code == 200
    answer = http.post(SPEECH, json=body(ref_audio=audio))
    assert (answer.status_code, error_of(answer)["param"]) == (400, "ref_text")


def test_the_openai_sdk_sends_a_recording_as_extra_body(http, speech_wav) -> None:
    audio = base64.b64encode(speech_wav()).decode()
    sdk = openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="any")
    extra = {"ref_audio": f"data:audio/wav;base64,{audio}", "ref_text": TEXT}
    speech = sdk.audio.speech.create(
        model="cloner", input="Hello there.", voice="alloy", response_format="wav", extra_body=extra
    )
    assert speech.content == http.post(SPEECH, json=body(**extra)).content
    assert speech.response.headers["x-unisono-ignored"] == "voice"


def test_a_form_as_xinferences_client_sends_it(http, speech_wav) -> None:
    data = {
        "model": "cloner",
        "input": "Hello there.",
        "voice": "",
        "response_format": "wav",
        "speed": 1.0,
        "stream": False,
        "kwargs": json.dumps({"prompt_text": TEXT}),
    }
    files = [("prompt_speech", ("prompt_speech", speech_wav(), "application/octet-stream"))]
    answer = http.post(SPEECH, data=data, files=files)
    audio = base64.b64encode(speech_wav()).decode()
    expected = http.post(SPEECH, json=body(ref_audio=audio, ref_text=TEXT))
    assert answer.status_code == 200
    assert "x-unisono-ignored" not in answer.headers
    assert answer.content == expected.content
    # What else it uploads is said to be ignored.
    files.append(("prompt_latent", ("prompt_latent", b"latent", "application/octet-stream")))
    answer = http.post(SPEECH, data=data, files=files)
    assert answer.headers["x-unisono-ignored"] == "prompt_latent"


def test_xinferences_client_finds_its_models(http) -> None:
    assert http.get("/v1/cluster/auth").json() == {"auth": False}
    model = http.get("/v1/models/cloner").json()
    assert (model["model_type"], model["model_ability"]) == ("audio", ["text2audio"])


@pytest.mark.parametrize(
    ("data", "files", "param"),
    [
        ({"input": "Hi."}, {"ref_audio": b"garbage"}, "ref_audio"),
        ({"input": "Hi."}, {"ref_audio": b""}, "ref_audio"),
        ({"input": "", "ref_text": "a"}, {"ref_audio": b"x"}, "input"),
        ({"input": "Hi.", "speed": "fast"}, {"ref_audio": b"x"}, "speed"),
        ({"input": "Hi.", "voice": "file+x"}, {"other": b"x"}, "voice"),
    ],
)
def test_a_wrong_form_is_refused(http, data: Any, files: Any, param: str) -> None:
    answer = http.post(SPEECH, data={"model": "cloner", **data}, files=files)
    assert (answer.status_code, error_of(answer)["param"]) == (400, param)


def test_the_largest_recording_fits_into_json(client, speech_wav) -> None:
    with client({"max_seconds": 500}) as http:
        wav = speech_wav(400)  # 19 MB
        answer = http.post(
            SPEECH, json=body(ref_audio=base64.b64encode(wav).decode(), ref_text="a")
        )
        assert error_of(answer)["code"] == "audio_too_long"
        assert (
            "400.00 seconds" in error_of(answer)["message"]
            or "longer" in error_of(answer)["message"]
        )


def test_a_transcript_that_was_made_is_told(client, speech_wav) -> None:
    with client({"transcribe_with": "echo-transcriber"}) as http:
        audio = base64.b64encode(speech_wav(1)).decode()
        answer = http.post(SPEECH, json=body(ref_audio=audio))
        assert answer.status_code == 200
        assert unquote(answer.headers["x-unisono-ref-text"]) == "second 0."
        told = http.post(SPEECH, json=body(ref_audio=audio, ref_text=TEXT))
        assert "x-unisono-ref-text" not in told.headers


# The routes of each engine, with the examples of the ZipVoice guide


def test_an_engine_registers_lists_describes_and_deletes_voices(http, speech_wav) -> None:
    registered = http.post(
        "/v1/cloner/voices/register",
        files={"audio_file": ("my_voice.wav", speech_wav(2.5), "audio/wav")},
        data={"name": "my_voice", "transcription": TEXT},
    )
    assert registered.status_code == 200
    listed = http.get("/v1/cloner/voices").json()
    assert listed["count"] == 1
    assert listed["voices"]["my_voice"]["transcription"] == TEXT
    assert http.get(listed["voices"]["my_voice"]["audio_path"]).content == speech_wav(2.5)
    described = http.get("/v1/cloner/voices/my_voice").json()
    assert described == {
        "name": "my_voice",
        "transcription": TEXT,
        "audio_info": {
            "duration": 2.5,
            "samplerate": 24_000,
            "channels": 1,
            "samples": 60_000,
            "format": ".wav",
        },
    }
    assert http.delete("/v1/cloner/voices/my_voice").status_code == 200
    for answer in (
        http.get("/v1/cloner/voices/my_voice"),
        http.delete("/v1/cloner/voices/my_voice"),
        http.post("/v1/cloner/audio/speech", json=body(voice="my_voice")),
    ):
        assert (answer.status_code, error_of(answer)["code"]) == (404, "voice_not_found")


def test_the_four_ways_of_the_guide_sound_the_same(http, speech_wav) -> None:
    http.post(
        "/v1/cloner/voices/register",
        files={"audio_file": speech_wav()},
        data={"name": "my_voice", "transcription": TEXT},
    )
    path = "/v1/cloner/audio/speech"
    fields = {"input": "Hello there.", "response_format": "wav", "prompt_text": TEXT}
    audio = base64.b64encode(speech_wav()).decode()
    answers = [
        http.post(path, json={**fields, "model": "cloner", "voice": "my_voice"}),
        http.post(path, json={**fields, "voice": f"base64+{audio}", "stream": True}),
        http.post(
            path, data={**fields, "voice": "file+sample"}, files={"prompt_wav_file": speech_wav()}
        ),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.content for answer in answers}) == 1
    off = http.post(path, json={**fields, "voice": "url+https://example.com/voice_sample.wav"})
    assert off.status_code == 400
    assert "allow_urls" in error_of(off)["message"]


def test_an_empty_model_is_none_on_an_engines_route_too(http, speech_wav) -> None:
    recording = base64.b64encode(speech_wav()).decode()
    fields = body(model="", ref_audio=recording, ref_text=TEXT)
    answer = http.post("/v1/cloner/audio/speech", json=fields)
    assert (answer.status_code, answer.headers["x-unisono-model"]) == (200, "cloner")


def test_every_speech_engine_has_its_routes(http) -> None:
    speech = {"input": "Hello there.", "response_format": "wav"}
    assert http.post("/v1/echo/audio/speech", json=speech).headers["x-unisono-model"] == "echo"
    named = http.post("/v1/async_echo/audio/speech", json={**speech, "model": "async-echo"})
    assert named.headers["x-unisono-model"] == "async-echo"
    assert set(http.get("/v1/echo/voices").json()["voices"]) == {"near", "far"}
    other = http.post("/v1/echo/audio/speech", json={**speech, "model": "cloner"})
    assert (other.status_code, error_of(other)["param"]) == (404, "model")
    assert http.post("/v1/echo_transcriber/audio/speech", json=speech).status_code == 404
    register = http.post("/v1/echo/voices/register", data={"name": "a"}, files={"audio_file": b"x"})
    assert (register.status_code, error_of(register)["code"]) == (400, "unsupported_feature")


def test_the_cache_of_voices_is_cleared(http, speech_wav) -> None:
    audio = base64.b64encode(speech_wav()).decode()
    http.post(SPEECH, json=body(ref_audio=audio, ref_text=TEXT))
    clear = "/v1/cloner/voices/cache/clear"
    assert http.post(clear, params={"cache_type": "all"}).json()["cleared"] == 2
    for kind in ("url", "base64", "all"):
        assert http.post(clear, params={"cache_type": kind}).json()["cleared"] == 0
    wrong = http.post(clear, params={"cache_type": "everything"})
    assert (wrong.status_code, error_of(wrong)["param"]) == (400, "cache_type")


def test_registering_again_replaces(http, speech_wav) -> None:
    for seed in (1, 2):
        answer = http.post(
            "/v1/cloner/voices/register",
            files={"audio_file": speech_wav(seed=seed)},
            data={"name": "my_voice", "transcription": f"{seed}"},
        )
        assert answer.status_code == 200
    assert http.get("/v1/cloner/voices/my_voice").json()["transcription"] == "2"


def test_openapi_describes_all_of_it(http) -> None:
    document = http.get("/openapi.json").json()
    for path in (SPEECH, "/v1/cloner/audio/speech"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert set(content) == {"application/json", "multipart/form-data"}
    ref = document["paths"]["/v1/cloner/audio/speech"]["post"]["requestBody"]["content"]
    name = ref["application/json"]["schema"]["$ref"].rpartition("/")[2]
    fields = document["components"]["schemas"][name]["properties"]
    assert {"ref_audio", "ref_text", "seed", "without_text"} <= set(fields)
    assert "requestBody" in document["paths"][VOICES]["post"]
    assert "/v1/cloner/voices/register" in document["paths"]
