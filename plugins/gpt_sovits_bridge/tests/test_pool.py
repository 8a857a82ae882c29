"""Several servers, several requests."""

from __future__ import annotations

import asyncio

import pytest

from unisono import EngineUnavailable

TEXT = "One, two, three."


def test_a_server_has_one_request_at_a_time_and_voices_do_not_mix(stub, run, spoken, pitch_of):
    server = stub()
    text = TEXT + "[[slow:0.03]]"

    async def together(kernel):
        alone = [pitch_of(await spoken(kernel, text, seed_of_voice=n)) for n in range(3)]
        both = await asyncio.gather(*(spoken(kernel, text, seed_of_voice=n) for n in range(3)))
        return alone, [pitch_of(samples) for samples in both]

    alone, both = run({"urls": [server.url]}, together)

    assert both == alone
    assert len(set(alone)) == 3
    assert server.state.most_in_flight == 1


def test_servers_share_the_work(stub, run, spoken):
    servers = [stub(), stub()]

    async def together(kernel):
        text = TEXT + "[[slow:0.05]]"
        await asyncio.gather(*(spoken(kernel, text) for _ in range(6)))

    run({"urls": [server.url for server in servers]}, together)

    assert [len(server.state.told("/tts")) for server in servers] == [3, 3]
    assert [server.state.most_in_flight for server in servers] == [1, 1]


def test_a_request_goes_to_the_server_that_is_free(stub, run, spoken, until):
    servers = [stub(), stub()]

    async def uneven(kernel):
        slow = asyncio.create_task(spoken(kernel, TEXT + "[[slow:0.4]]"))
        await asyncio.to_thread(until, lambda: any(s.state.told("/tts") for s in servers))
        await asyncio.gather(*(spoken(kernel, "Hello.") for _ in range(4)))
        assert not slow.done()
        await slow

    run({"urls": [server.url for server in servers]}, uneven)

    assert sorted(len(server.state.told("/tts")) for server in servers) == [1, 4]


def test_who_stops_waiting_is_left_out(stub, run, spoken, until):
    server = stub()

    async def impatient(kernel):
        text = TEXT + "[[slow:0.1]]"
        tasks = [asyncio.create_task(spoken(kernel, text))]
        await asyncio.to_thread(until, lambda: server.state.told("/tts"))
        tasks += [asyncio.create_task(spoken(kernel, TEXT)) for _ in range(3)]
        await asyncio.sleep(0.1)  # they wait by now
        tasks[1].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[1], asyncio.CancelledError)
        assert all(len(done[n]) for n in (0, 2, 3))
        assert len(await spoken(kernel, TEXT))

    run({"urls": [server.url]}, impatient)

    assert len(server.state.told("/tts")) == 4


def test_a_server_that_is_down_is_passed_over(stub, run, spoken, closed_port):
    server = stub()

    async def several(kernel):
        for _ in range(3):
            await spoken(kernel, TEXT)

    run({"urls": [f"http://127.0.0.1:{closed_port}", server.url]}, several)

    assert len(server.state.told("/tts")) == 3


def test_a_request_that_has_begun_goes_nowhere_else(stub, say):
    broken, other = stub(), stub()

    with pytest.raises(EngineUnavailable):
        say({"urls": [broken.url, other.url]}, TEXT + "[[die]]")

    assert not other.state.told("/tts")


@pytest.mark.parametrize(
    ("api", "command"),
    [
        ("auto", r"python api.py -a 127.0.0.1 -p \d+ or python api_v2.py -a 127.0.0.1 -p \d+"),
        ("v2", r": python api_v2.py -a 127.0.0.1 -p \d+$"),
        ("v1", r": python api.py -a 127.0.0.1 -p \d+$"),
    ],
)
def test_without_a_server_the_error_says_how_to_start_one(say, closed_port, api, command):
    with pytest.raises(EngineUnavailable, match=command) as caught:
        say({"urls": [f"http://127.0.0.1:{closed_port}"], "api": api}, TEXT)

    assert (caught.value.status, caught.value.code) == (503, "upstream_unreachable")


def test_a_server_is_used_as_soon_as_it_is_there(stub, run, spoken, closed_port):
    async def waiting(kernel):
        with pytest.raises(EngineUnavailable):
            await spoken(kernel, TEXT)
        await asyncio.to_thread(stub, port=closed_port)
        return await spoken(kernel, TEXT)

    assert len(run({"urls": [f"http://127.0.0.1:{closed_port}"]}, waiting))


def test_a_server_may_come_back_as_the_other_program(stub, run, spoken):
    first = stub(api="v2")

    async def replaced(kernel):
        await spoken(kernel, TEXT)
        await asyncio.to_thread(first.stop)
        second = await asyncio.to_thread(stub, api="v1", port=first.port)
        with pytest.raises(EngineUnavailable):  # it was not there to be asked in between
            await spoken(kernel, TEXT, seed_of_voice=1)
        await spoken(kernel, TEXT)
        return second

    assert len(run({"urls": [first.url]}, replaced).state.told("/")) == 1


def test_no_proxy_stands_before_this_machine(stub, say, closed_port, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")

    assert len(say({"urls": [stub().url]}, TEXT))


def test_a_turn_that_comes_too_late_is_passed_on():
    from unisono_gpt_sovits_bridge.servers import Crew

    async def hurried():
        crew = Crew()
        servers = [crew.server("http://127.0.0.1:9880")]

        async def wait():
            async with crew.turn(servers, None):
                pass

        async with crew.turn(servers, None):
            late = asyncio.create_task(wait())
            await asyncio.sleep(0)
        late.cancel()  # it has been handed the server, and does not know yet
        await asyncio.wait([late])
        await asyncio.wait_for(wait(), 5)

    asyncio.run(hurried())
