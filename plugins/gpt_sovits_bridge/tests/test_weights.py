"""Models that share a server and want different weights."""

from __future__ import annotations

import asyncio

import pytest

from unisono import EngineUnavailable

TEXT = "Hello there."


def weights(name, url, **settings):
    return {
        "urls": [url],
        "gpt_weights": f"/w/{name}.ckpt",
        "sovits_weights": f"/w/{name}.pth",
        **settings,
    }


def commands(server):
    return [r["path"] for r in server.state.requests if r["path"] != "/tts"]


def test_both_weights_are_set_once_and_then_the_reference(stub, run, spoken):
    server = stub()

    async def twice(kernel):
        for _ in range(2):
            await spoken(kernel, TEXT)

    run(weights("anna", server.url), twice)

    assert commands(server) == ["/set_gpt_weights", "/set_sovits_weights", "/set_refer_audio"]


def test_api_gets_both_weights_at_once(stub, say):
    server = stub(api="v1")

    say(weights("anna", server.url), TEXT)

    assert server.state.told("/set_model")[0]["paths"] == ("/w/anna.ckpt", "/w/anna.pth")


def test_each_model_speaks_with_its_own_weights(stub, run, spoken, pitch_of):
    server = stub()
    models = {name: weights(name, server.url) for name in ("anna", "bert")}

    async def in_turns(kernel):
        # The reference is the same: what the other weights made of it must not be heard.
        order = ["anna", "bert", "anna", "bert"]
        return [pitch_of(await spoken(kernel, TEXT, model=name)) for name in order]

    anna, bert, anna_again, bert_again = run(models, in_turns)

    assert abs(anna - bert) > 1.5
    assert (anna, bert) == (anna_again, bert_again)


def test_models_on_one_server_wait_for_each_other(stub, run, spoken, pitch_of):
    server = stub()
    models = {name: weights(name, server.url) for name in ("anna", "bert")}
    text = "One, two, three.[[slow:0.03]]"

    async def together(kernel):
        alone = [pitch_of(await spoken(kernel, text, model=name)) for name in models]
        both = await asyncio.gather(
            *(spoken(kernel, text, model=name) for name in [*models, *models])
        )
        return alone * 2, [pitch_of(samples) for samples in both]

    alone, both = run(models, together)

    assert both == alone
    assert server.state.most_in_flight == 1


def test_another_spelling_of_an_address_is_the_same_server(stub, run, spoken):
    server = stub()
    models = {
        "anna": weights("anna", server.url),
        "bert": weights("bert", f"http://LOCALHOST:{server.port}/"),
    }

    async def together(kernel):
        await asyncio.gather(*(spoken(kernel, TEXT + "[[slow:0.1]]", model=m) for m in models))

    run(models, together)

    assert server.state.most_in_flight == 1


def test_weights_that_do_not_exist_are_reported_and_the_former_ones_come_back(stub, run, spoken):
    server = stub()
    models = {"anna": weights("anna", server.url), "bad": weights("missing", server.url)}

    async def in_turns(kernel):
        before = await spoken(kernel, TEXT, model="anna")
        with pytest.raises(EngineUnavailable, match="gpt_weights") as caught:
            await spoken(kernel, TEXT, model="bad")
        assert "/w/" not in str(caught.value)
        repaired = len(server.state.requests)
        after = await spoken(kernel, TEXT, model="anna")
        assert server.state.requests[repaired]["path"] == "/set_refer_audio"
        return before, after

    before, after = run(models, in_turns)

    assert (before == after).all()


def test_after_a_failed_change_both_weights_are_set(stub, run, spoken):
    server = stub()
    models = {"bad": weights("missing", server.url), "anna": weights("anna", server.url)}

    async def in_turns(kernel):
        with pytest.raises(EngineUnavailable):
            await spoken(kernel, TEXT, model="bad")
        return await spoken(kernel, TEXT, model="anna")

    assert len(run(models, in_turns))


def test_a_model_without_weights_does_not_speak_with_those_of_another(stub, run, spoken):
    server = stub()
    models = {"plain": {"urls": [server.url]}, "anna": weights("anna", server.url)}

    async def in_turns(kernel):
        await spoken(kernel, TEXT, model="plain")
        await spoken(kernel, TEXT, model="anna")
        with pytest.raises(EngineUnavailable, match="changed the weights"):
            await spoken(kernel, TEXT, model="plain")

    run(models, in_turns)


def test_weights_are_set_again_on_a_server_that_was_away(stub, run, spoken):
    first = stub()

    async def restarted(kernel):
        await spoken(kernel, TEXT)
        await asyncio.to_thread(first.stop)
        with pytest.raises(EngineUnavailable):
            await spoken(kernel, TEXT)
        second = await asyncio.to_thread(stub, port=first.port)
        await spoken(kernel, TEXT)
        return second

    second = run(weights("anna", first.url), restarted)

    assert commands(second)[:2] == ["/set_gpt_weights", "/set_sovits_weights"]


def test_weights_can_be_set_for_every_request(stub, run, spoken):
    server = stub()

    async def twice(kernel):
        for _ in range(2):
            await spoken(kernel, TEXT)

    run(weights("anna", server.url, always_set_weights=True), twice)

    assert len(server.state.told("/set_sovits_weights")) == 2
