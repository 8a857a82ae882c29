"""Whatever comes in, the answer is OpenAI's error, and nothing is left behind."""

from __future__ import annotations

import json
import os
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from unisono.testing.echo import expected

SPEECH, TRANSCRIPTIONS = "/v1/audio/speech", "/v1/audio/transcriptions"
LIMIT = 4_000_000
FILE = 'content-disposition: form-data; name="file"; filename="a.wav"'


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for temporary files that nobody else uses."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("temporary")
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def server(module_serve: Callable[..., Any], temporary: Path) -> Any:
    limits = {"upload_bytes": LIMIT, "audio_seconds": 60, "text_chars": 1000}
    models = {"plain": {"engine": "echo", "features": ["long_text"]}}
    return module_serve({"limits": limits, "models": models, "defaults": {"speech": "echo"}})


@pytest.fixture
def client(server: Any, temporary: Path) -> Iterator[httpx.Client]:
    """A client; afterwards no slot is taken and no temporary file is left."""
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client
    deadline = time.monotonic() + 5
    while any(server.kernel.pool.loaded().values()) or leftovers(temporary):
        assert time.monotonic() < deadline, (server.kernel.pool.loaded(), leftovers(temporary))
        time.sleep(0.01)


def leftovers(folder: Path) -> list[str]:
    """Return the temporary files that have a name, and those that are only open."""
    found = os.listdir(folder)
    links = Path("/proc/self/fd")
    for link in links.iterdir() if links.is_dir() else ():
        try:
            target = os.readlink(link)
        except OSError:  # closed since it was listed
            continue
        if target.startswith(str(folder)):
            found.append(target)
    return found


def check(answer: httpx.Response, status: int, param: str | None, code: str | None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    body = answer.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]
    assert len(error["message"]) < 1000
    if code is not None:
        assert error["code"] == code


# Speech

BAD_FIELDS: list[tuple[str, Any, str, str | None]] = [
    ("input", "", "input", None),
    ("input", " \t\r\n\u00a0\u2003", "input", "empty_input"),
    ("input", "\u0000\u0001\u200b\ufeff", "input", "empty_input"),
    ("input", None, "input", None),
    ("input", 5, "input", None),
    ("input", ["a"], "input", None),
    ("input", {"text": "a"}, "input", None),
    ("input", True, "input", None),
    ("input", "a \ud800 b", "input", None),
    ("input", "x" * 1001, "input", "string_too_long"),
    ("input", "🎉" * 100_000, "input", "string_too_long"),
    ("voice", "nobody", "voice", "invalid_voice"),
    ("voice", "x" * 9999, "voice", "invalid_voice"),
    ("voice", "\ud800", "voice", None),
    ("voice", "near\u0000", "voice", "invalid_voice"),
    ("voice", "../../etc/passwd", "voice", "invalid_voice"),
    ("voice", 5, "voice", None),
    ("voice", {"id": 5}, "voice", None),
    ("voice", {"id": "nobody"}, "voice", "invalid_voice"),
    ("voice", {"name": "near"}, "voice", None),
    ("voice", {}, "voice", None),
    ("voice", ["near"], "voice", None),
    ("response_format", "ogg", "response_format", None),
    ("response_format", "MP3", "response_format", None),
    ("response_format", "", "response_format", None),
    ("response_format", 1, "response_format", None),
    ("speed", 0, "speed", None),
    ("speed", 0.2499, "speed", None),
    ("speed", 4.0001, "speed", None),
    ("speed", -1, "speed", None),
    ("speed", float("nan"), "speed", None),
    ("speed", float("inf"), "speed", None),
    ("speed", 10**400, "speed", None),
    ("speed", "fast", "speed", None),
    ("speed", [1], "speed", None),
    ("speed", {}, "speed", None),
    ("stream_format", "websocket", "stream_format", None),
    ("sample_rate", 7999, "sample_rate", None),
    ("sample_rate", 10**4000, "sample_rate", None),
    ("sample_rate", 16000.5, "sample_rate", None),
    ("language", "not a language", "language", None),
    ("language", "tlh", "language", "unsupported_language"),
    ("word_timestamps", True, "word_timestamps", None),
    ("word_timestamps", "perhaps", "word_timestamps", None),
    ("instructions", 5, "instructions", None),
    ("model", 5, "model", None),
    ("model", ["echo"], "model", None),
    ("model", {}, "model", None),
    ("model", "whisper-1", "model", "wrong_task"),
    ("gain", 2, "gain", None),
    ("gain", float("nan"), "gain", None),
    ("gain", "loud", "gain", None),
    ("fail_after", -1, "fail_after", None),
]


@pytest.mark.parametrize(("name", "value", "param", "code"), BAD_FIELDS)
def test_a_wrong_field_of_speech_is_named(
    client: httpx.Client, name: str, value: Any, param: str, code: str | None
) -> None:
    body = json.dumps({"input": "Hello."} | {name: value})
    check(client.post(SPEECH, content=body), 400, param, code)


@pytest.mark.parametrize("model", ["nothing", "echo ", "ECHO", "echo\u0000", "\ud800", "x" * 9999])
def test_an_unknown_model_is_not_found(client: httpx.Client, model: str) -> None:
    body = json.dumps({"input": "Hello.", "model": model})
    answer = client.post(SPEECH, content=body)
    check(answer, 404, "model", "model_not_found")
    assert "echo" in answer.json()["error"]["message"]


def test_a_feature_that_the_model_lacks_is_named_with_models_that_have_it(
    client: httpx.Client,
) -> None:
    fields = {"model": "plain", "input": "x", "word_timestamps": True, "stream_format": "sse"}
    answer = client.post(SPEECH, json=fields)
    check(answer, 400, "word_timestamps", "unsupported_feature")
    assert "'echo'" in answer.json()["error"]["message"]


def test_an_option_of_another_engine_is_refused_with_models_that_have_it(
    serve: Callable[..., Any],
) -> None:
    from pydantic import Field

    from unisono import Engine, Params, hookimpl
    from unisono.testing import EchoEngine

    class OtherParams(Params):
        boldness: float = Field(0.5, description="How bold, 0 to 1.")

    class Other(EchoEngine):
        name = "other"
        params_type = OtherParams

    class Plugin:
        @hookimpl
        def register_engines(self) -> list[type[Engine]]:
            return [Other]

    server = serve({"defaults": {"speech": "echo"}}, {"other": Plugin()})
    fields = {"model": "echo", "input": "x", "boldness": 0.5}
    answer = httpx.post(server.url + SPEECH, json=fields)
    check(answer, 400, "boldness", "unsupported_option")
    assert "other" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"input": "x"',
        b"{'input': 'x'}",
        b'{"input": "x"} trailing',
        b"input=x",
        b"[]",
        b'["input"]',
        b'"input"',
        b"5",
        b"null",
        b"true",
        b'{"input": "h\xe9llo"}',
        b"\xff\xfe\x00\xd8",
        b'{"input": "a\nb"}',
        b'{"input": "x", "speed": 1' + b"0" * 5000 + b"}",
        b"[" * 100_000,
        b'{"input":' * 100_000,
        b'{"input":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"{" + b",".join(b'"k%d":1' % number for number in range(2000)) + b', "input": "x"}',
        b"--XX\r\n" + FILE.encode() + b"\r\n\r\nx\r\n--XX--\r\n",
        b"\x00" * 1000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post(SPEECH, content=body, headers={"content-type": "application/json"})
    check(answer, 400, None, None)


def test_deep_nesting_is_refused_at_every_depth(client: httpx.Client) -> None:
    # Just below the depth at which parsing gives up, showing the value must not give up either.
    for depth in [*range(100, 1000, 60), *range(900, 1000, 4)]:
        body = b'{"input":' + b"[" * depth + b"]" * depth + b"}"
        assert client.post(SPEECH, content=body).status_code == 400


def test_deep_nesting_in_an_unknown_field_does_not_matter(client: httpx.Client) -> None:
    body = b'{"input": "x", "extra":' + b"[" * 500 + b"]" * 500 + b"}"
    assert client.post(SPEECH, content=body).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["a\r\nset-cookie: evil=1", "\r\n\r\nHTTP/1.1 200 OK", "\u0000", "\u2028", "é", "\ud800"],
)
def test_the_name_of_an_unknown_field_cannot_write_headers(
    client: httpx.Client, wav: Callable[..., bytes], name: str
) -> None:
    answers = [client.post(SPEECH, content=json.dumps({"input": "x", name: 1}))]
    if name.isprintable():
        data = {name: "1"}
        answers.append(client.post(TRANSCRIPTIONS, data=data, files={"file": wav(1)}))
    for answer in answers:
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert answer.headers["x-unisono-ignored"].isprintable()
        assert answer.headers["x-unisono-ignored"].isascii()


# Transcription


def upload(client: httpx.Client, *parts: tuple[str, bytes] | bytes, **headers: str) -> Any:
    """Send a form of these parts: a part's headers and its content, or raw bytes."""
    body = b"".join(
        part
        if isinstance(part, bytes)
        else b"--XX\r\n%b\r\n\r\n%b\r\n" % (part[0].encode(), part[1])
        for part in parts
    )
    kind = {"content-type": "multipart/form-data; boundary=XX", **headers}
    return client.post(TRANSCRIPTIONS, content=body, headers=kind)


END = b"--XX--\r\n"


def header(rate: int = 16_000, channels: int = 1, bits: int = 16, tag: int = 1) -> bytes:
    """Return a WAV header that claims this, with a second of zeros after it."""
    align = channels * bits // 8 % 65536
    layout = struct.pack("<HHIIHH", tag, channels, rate, rate * align % 2**32, align, bits)
    data = bytes(32_000)
    size = struct.pack("<I", 36 + len(data))
    return b"RIFF%bWAVEfmt \x10\0\0\0%bdata%b%b" % (size, layout, struct.pack("<I", 32_000), data)


GARBAGE = np.random.default_rng(5).bytes(20_000)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty", b"", "invalid_audio"),
        ("one byte", b"R", "invalid_audio"),
        ("garbage", GARBAGE, "invalid_audio"),
        ("text", b"This is a text and no audio at all.\n" * 100, "invalid_audio"),
        ("zeros", bytes(50_000), "invalid_audio"),
        ("html", b"<!doctype html><html><body>404</body></html>", "invalid_audio"),
        ("png", b"\x89PNG\r\n\x1a\n" + GARBAGE, "invalid_audio"),
        ("playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "invalid_audio"),
        ("concat", b"ffconcat version 1.0\nfile /etc/passwd\n", "invalid_audio"),
        ("bare RIFF", b"RIFF\xff\xff\xff\xffWAVE", "invalid_audio"),
        ("WAV without samples", header()[:44], None),
        ("WAV of 50 ms", header()[: 44 + 1600], "audio_too_short"),
        ("4 GHz", header(rate=4_000_000_000), "invalid_audio"),
        ("0 Hz", header(rate=0), "invalid_audio"),
        ("0 channels", header(channels=0), None),
        ("65535 channels", header(channels=65535), "invalid_audio"),
        ("0 bits", header(bits=0), None),
        ("unknown codec", header(tag=0x1234), None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("filename", ["speech.mp3", "speech.wav"])
def test_a_file_that_is_no_usable_audio_is_refused(
    client: httpx.Client, name: str, content: bytes, code: str | None, filename: str
) -> None:
    answer = client.post(TRANSCRIPTIONS, files={"file": (filename, content, "audio/mpeg")})
    check(answer, 400, "file", code)


def test_audio_that_is_too_long_is_refused(client: httpx.Client, wav: Callable[..., bytes]) -> None:
    check(client.post(TRANSCRIPTIONS, files={"file": wav(61)}), 400, "file", "audio_too_long")
    assert client.post(TRANSCRIPTIONS, files={"file": wav(60)}).status_code == 200


@pytest.mark.parametrize("known", [True, False])
def test_an_upload_that_is_too_large_is_refused(client: httpx.Client, known: bool) -> None:
    body = b"--XX\r\n" + FILE.encode() + b"\r\n\r\n" + bytes(LIMIT)
    content = (
        body if known else iter([body[at : at + 65_536] for at in range(0, len(body), 65_536)])
    )
    kind = {"content-type": "multipart/form-data; boundary=XX"}
    answer = client.post(TRANSCRIPTIONS, content=content, headers=kind)
    check(answer, 413, "file", "request_too_large")
    assert f"Maximum content size limit ({LIMIT}) exceeded" in answer.json()["error"]["message"]


def test_a_body_of_speech_that_is_too_large_is_refused(client: httpx.Client) -> None:
    check(client.post(SPEECH, json={"input": "x" * LIMIT}), 413, None, "request_too_large")


def test_a_client_hears_of_it_while_it_is_still_sending(server: Any, client: httpx.Client) -> None:
    head = (
        f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: x\r\ncontent-length: {10 * LIMIT}\r\n"
        "content-type: multipart/form-data; boundary=XX\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(head.encode() + b"--XX\r\n")
        assert b" 413 " in line.recv(100)
        line.sendall(bytes(1000))


def test_a_chunked_upload_without_end_is_stopped_at_the_limit(
    server: Any, client: httpx.Client
) -> None:
    head = (
        f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        "content-type: multipart/form-data; boundary=XX\r\n\r\n"
    )
    start = b"--XX\r\n" + FILE.encode() + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(head.encode())
        for chunk in (start, *[bytes(500_000)] * 9):
            line.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        assert b" 413 " in line.recv(100)


def test_expect_100_continue_spares_the_client_an_upload_that_is_too_large(
    server: Any, client: httpx.Client
) -> None:
    head = (
        f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: x\r\ncontent-length: {10 * LIMIT}\r\n"
        "content-type: multipart/form-data; boundary=XX\r\nexpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(head.encode())
        assert line.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_large_upload_lies_on_disk_without_a_name(
    server: Any, client: httpx.Client, temporary: Path
) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux shows open files")
    head = (
        f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: x\r\ncontent-length: {LIMIT}\r\n"
        "content-type: multipart/form-data; boundary=XX\r\n\r\n"
    )
    start = b"--XX\r\n" + FILE.encode() + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(head.encode() + start + bytes(2_000_000))
        deadline = time.monotonic() + 5
        while not leftovers(temporary):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not os.listdir(temporary)


@pytest.mark.parametrize(
    ("disposition", "headers"),
    [
        ('name="file"; filename="a.wav"', ""),
        ('name="file"; filename=""', ""),
        ("name=file; filename=a.wav", ""),
        ('name="file"; filename="../../etc/passwd"', ""),
        ('name="file"; filename="C:\\\\speech.wav"', ""),
        ('name="file"; filename="größe 語 🎉.wav"', ""),
        ('name="file"; filename="a.wav"; filename*=UTF-8\'\'b.wav', ""),
        ('name="file"; filename="' + "x" * 3000 + '"', ""),
        ('name="file"; filename="no extension"', "content-type: "),
        ('name="file"; filename="a.wav"', "content-type: audio/wav; codecs=1"),
        ('name="file"; filename="a.wav"', "content-type: application/json"),
        ('name="file"; filename="a.wav"', "content-transfer-encoding: binary"),
    ],
)
def test_a_part_may_be_odd_as_long_as_it_is_a_file(
    client: httpx.Client, wav: Callable[..., bytes], disposition: str, headers: str
) -> None:
    head = f"content-disposition: form-data; {disposition}" + (f"\r\n{headers}" if headers else "")
    answer = upload(client, (head, wav(1)), END)
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == "second 0."


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([END], "file"),
        ([], "file"),
        ([('content-disposition: form-data; name="file"', b"x"), END], "file"),
        ([('content-disposition: form-data; name="model"', b"whisper-1"), END], "file"),
        ([(FILE, b"x"), (FILE, b"y"), END], "file"),
        (
            [(FILE.replace('"file"', '"a"'), b"x"), (FILE.replace('"file"', '"b"'), b"y"), END],
            "file",
        ),
        ([(FILE, b"x" * 1000)], "file"),
        ([('content-disposition: form-data; filename="a.wav"', b"x"), END], None),
        ([("content-type: audio/wav", b"x"), END], None),
        ([b"garbage"], None),
        ([('content-disposition: form-data; name="q"', b"x")] * 501 + [END], None),
        ([('content-disposition: form-data; name="prompt"', b"x" * 3_900_000), END], "file"),
        ([(f"{FILE}\r\nx: " + "y" * 100_000, b"x"), END], None),
    ],
    ids=range(13),
)
def test_a_form_without_one_file_is_refused(
    client: httpx.Client, parts: list[Any], param: str | None
) -> None:
    check(upload(client, *parts), 400, param, None)


@pytest.mark.parametrize(
    ("content_type", "param"),
    [
        ("", "file"),
        ("application/json", None),
        ("application/octet-stream", "file"),
        ("application/x-www-form-urlencoded", "file"),
        ("multipart/mixed; boundary=XX", "file"),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=YY", None),
        ("multipart/form-data; boundary=" + "x" * 3000, None),
        ("multipart/form-data; boundary=XX; charset=undefined", None),
    ],
)
def test_a_wrong_content_type_is_refused(
    client: httpx.Client, wav: Callable[..., bytes], content_type: str, param: str | None
) -> None:
    answer = upload(client, (FILE, wav(1)), END, **{"content-type": content_type})
    check(answer, 400, param, None)


@pytest.mark.parametrize(
    "charset", ["unicode_escape", "utf-7", "utf-16", "zip", "idna", "nonsense"]
)
def test_a_strange_charset_does_no_harm(client: httpx.Client, charset: str) -> None:
    # The first two can make lone surrogates, which no answer can carry as they are.
    part = ('content-disposition: form-data; name="a\\ud800+2AA-"', b"\\ud800+2AA-")
    kind = f"multipart/form-data; boundary=XX; charset={charset}"
    answer = upload(client, part, END, **{"content-type": kind})
    check(answer, 400, "file", None)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": b"\xff\xfe"},
        {"model": "nothing"},
        {"model": "\u0000"},
    ],
)
def test_a_model_that_does_not_exist_is_not_found_before_the_file_is_decoded(
    client: httpx.Client, fields: dict[str, Any]
) -> None:
    answer = client.post(TRANSCRIPTIONS, data=fields, files={"file": b"no audio"})
    check(answer, 404, "model", "model_not_found")


# Routes


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/audio/speech", 404),
        ("GET", "/v1/audio/../../etc/passwd", 404),
        ("GET", "/%00", 404),
        ("GET", "/v1/audio/speech", 405),
        ("DELETE", "/v1/audio/speech", 405),
        ("PUT", "/v1/models", 405),
        ("DELETE", "/v1/models/echo", 405),
    ],
)
def test_an_address_that_does_not_exist_is_refused(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    check(client.request(method, path), status, None, None)


def test_a_method_that_is_not_allowed_says_which_are(client: httpx.Client) -> None:
    assert client.get(SPEECH).headers["allow"] == "POST"


def test_what_is_no_http_is_refused(server: Any, client: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + GARBAGE[:500])
        assert b" 400 " in line.recv(1000)


# After all of this


def test_the_server_still_answers_rightly(client: httpx.Client, wav: Callable[..., bytes]) -> None:
    text = "Still here, and well."
    answer = client.post(SPEECH, json={"input": text, "response_format": "pcm"})
    samples = np.frombuffer(answer.content, "<i2") / 32768
    np.testing.assert_allclose(samples, expected(text), atol=1e-4)
    assert client.post(TRANSCRIPTIONS, files={"file": wav(1)}).json()["text"] == "second 0."
