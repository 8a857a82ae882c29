"""What servers do wrong, and what a client hears of it."""

from __future__ import annotations

import asyncio
import socket
import threading

import httpx
import pytest

from unisono import EngineUnavailable, RequestError

TEXT = "Hello there."


@pytest.fixture
def answering():
    """Serve one answer to everything: answering(bytes) → URL."""
    listeners = []

    def start(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    while not connection.recv(2**16):
                        break
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize("mode", [0, 1])
def test_silence_is_a_failure(stub, say, mode):
    server = stub()

    with pytest.raises(EngineUnavailable, match="silence") as caught:
        say({"urls": [server.url]}, TEXT + "[[fail]]", streaming_mode=mode)

    assert (caught.value.status, caught.value.code) == (503, "upstream_failed")
    assert len(server.state.told("/tts")) == 2


@pytest.mark.parametrize("mode", [0, 1])
def test_after_silence_another_seed_is_tried_once(stub, say, mode):
    server = stub()
    server.state.failures = 1

    assert len(say({"urls": [server.url]}, TEXT, streaming_mode=mode))

    first, second = server.state.told("/tts")
    assert "seed" not in first["sent"]
    assert 0 <= second["seed"] < 2**32


@pytest.mark.parametrize(("seed", "next_"), [(7, 8), (2**32 - 1, 0)])
def test_a_given_seed_is_followed_by_the_next(stub, say, seed, next_):
    server = stub()
    server.state.failures = 1

    say({"urls": [server.url]}, TEXT, seed=seed)

    assert [told["seed"] for told in server.state.told("/tts")] == [seed, next_]


def test_a_server_without_seeds_is_not_asked_twice(stub, say):
    server = stub(old=True)
    server.state.failures = 1

    with pytest.raises(EngineUnavailable, match="silence"):
        say({"urls": [server.url]}, TEXT)

    assert len(server.state.told("/tts")) == 1


def test_an_empty_file_is_a_failure(stub, say):
    server = stub(api="v1")

    with pytest.raises(EngineUnavailable, match="silence"):
        say({"urls": [server.url]}, "Hello.[[empty]]")

    assert len(server.state.told("/")) == 1


def test_an_answer_that_breaks_off_before_any_sound_is_an_error(stub, say):
    server = stub(api="v1")

    with pytest.raises(EngineUnavailable, match="broke its answer off") as caught:
        say({"urls": [server.url]}, TEXT + "[[fail]]")

    assert caught.value.code == "upstream_failed"
    assert len(server.state.told("/")) == 1


def test_an_answer_that_breaks_off_never_ends_well(stub, serve, wav):
    server = serve({"clone": {"urls": [stub().url]}})
    form = {"model": "clone", "input": "One, two.[[die]]", "ref_text": "a"}
    request = server.http.build_request(
        "POST", "/v1/audio/speech", data=form, files={"ref_audio": wav()}
    )

    response = server.http.send(request, stream=True)

    assert response.status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        response.read()


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_a_server_that_sends_nothing_is_given_up(stub, say, api):
    server = stub(api=api)

    with pytest.raises(EngineUnavailable, match=r"nothing for 0\.3 seconds") as caught:
        say({"urls": [server.url], "first_seconds": 0.3}, TEXT + "[[slow:1]]")

    assert caught.value.code == "upstream_timeout"
    assert len(server.state.told("/tts" if api == "v2" else "/")) == 1


def test_a_pause_within_the_speech_may_not_be_longer_than_allowed(stub, run, wav):
    async def listen(kernel):
        text = "One, two.[[slow:0.8]]"
        stream = kernel.speech(text, model="clone", ref_audio=wav(), ref_text="a")
        await anext(stream)
        with pytest.raises(EngineUnavailable, match=r"nothing for 0\.2 seconds"):
            await anext(stream)

    run({"urls": [stub().url], "idle_seconds": 0.2}, listen)


def test_what_the_server_refuses_is_the_clients_fault(stub, say, caplog):
    settings = {"urls": [stub(version="v1").url], "model_version": "v2"}

    with pytest.raises(RequestError, match="400") as caught:
        say(settings, TEXT, language="ko")

    assert caught.value.code == "upstream_refused"
    assert "ko is not supported" in caplog.text


def test_compressed_audio_of_api_is_the_operators_fault(stub, say):
    with pytest.raises(EngineUnavailable, match="-mt wav"):
        say({"urls": [stub(api="v1", media_type="ogg").url]}, TEXT)


def test_another_program_than_configured_is_the_operators_fault(stub, say):
    with pytest.raises(EngineUnavailable, match=r"api_v2\.py serves .* api = 'v1'"):
        say({"urls": [stub().url], "api": "v1"}, TEXT)


def test_something_else_at_the_address_is_the_operators_fault(answering, say):
    url = answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with pytest.raises(EngineUnavailable, match="no GPT-SoVITS"):
        say({"urls": [url]}, TEXT)


def test_what_is_no_http_is_an_error(answering, say):
    with pytest.raises(EngineUnavailable, match="broke off before it answered"):
        say({"urls": [answering(b"SSH-2.0-OpenSSH\r\n")]}, TEXT)


def test_a_server_that_fails_is_an_error(answering, say):
    url = answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with pytest.raises(EngineUnavailable, match="status 500"):
        say({"urls": [url], "api": "v1"}, TEXT)


def test_what_is_no_wav_is_an_error(answering, say):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: 9\r\n\r\n"

    with pytest.raises(EngineUnavailable, match="it is no WAV"):
        say({"urls": [answering(head + b"<html>....")], "api": "v1"}, TEXT)


def test_a_wav_that_is_shorter_than_it_says_is_an_error(answering, say):
    from gpt_sovits_stub import sound

    data = sound.wav(sound.spoken("Hello", 200, 32_000), 32_000)[:-100]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: %d\r\n\r\n" % len(data)

    with pytest.raises(EngineUnavailable, match="less than it announced"):
        say({"urls": [answering(head + data)], "api": "v1"}, TEXT)


def test_requests_go_on_after_failures(stub, run, spoken):
    server = stub()

    async def mixed(kernel):
        texts = [TEXT, TEXT + "[[fail]]", "One, two.[[die]]", TEXT] * 2
        done = await asyncio.gather(
            *(spoken(kernel, text) for text in texts), return_exceptions=True
        )
        good = [isinstance(each, EngineUnavailable) for each in done]
        assert good == [False, True, True, False] * 2

    run({"urls": [server.url]}, mixed)
