"""Requests that speak together."""

from __future__ import annotations

import numpy as np
import pytest

from unisono import PromptError, RequestError

TEXTS = {
    "ryan": "Hello, a test.",
    "vivian": "One.",
    "eric": "A text that is longer.",
    "sohee": "Four, five, six",
}


@pytest.fixture
def together():
    """Speak requests in one batch; each joins `pause` steps after the one before it."""

    def run(engine, requests, pause=0, leaving=()):
        batch = engine.open_batch()
        came = {key: [] for key in range(len(requests))}
        ends = {}
        step = 0
        while len(ends) < len(requests):
            for key, request in enumerate(requests):
                if step == key * pause or (pause == 0 and step == 0):
                    assert batch.accepts(request)
                    batch.add(key, request)
            for key, item in batch.step():
                assert key not in ends
                if item is None or isinstance(item, Exception):
                    ends[key] = item
                else:
                    came[key].append(item.samples)
            step += 1
            for key in leaving:
                if step == 5:
                    batch.remove(key)
                    ends[key] = "removed"
            assert step < 500
        batch.close()
        return [np.concatenate(parts or [np.zeros(0)]) for parts in came.values()], ends

    return run


@pytest.fixture
def requests(request_of):
    languages = ["en", None, "zh", "ko"]
    return [
        request_of(text, voice, language=language, instructions=told, repetition_penalty=penalty)
        for (voice, text), language, told, penalty in zip(
            TEXTS.items(),
            languages,
            [None, "Sadly.", None, "Glad."],
            [None, 1.5, 1.0, None],
            strict=True,
        )
    ]


@pytest.mark.parametrize("pause", [0, 3])
def test_each_sounds_as_it_does_alone(engine, together, requests, pause):
    model = engine("custom_voice")
    alone = [together(model, [request])[0][0] for request in requests]

    heard, ends = together(model, requests, pause)

    assert set(ends.values()) == {None}
    for one, other in zip(alone, heard, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_clones_with_and_without_transcripts_speak_together(
    engine, together, request_of, cloned, recording
):
    model = engine("base")
    requests = [
        request_of("One clone.", cloned(model, recording(0), "and so on")),
        request_of("Another clone.", cloned(model, recording(1)), x_vector_only_mode=True),
        request_of("A third.", cloned(model, recording(2), "or else")),
    ]
    alone = [together(model, [request])[0][0] for request in requests]

    heard, _ = together(model, requests, pause=2)

    for one, other in zip(alone, heard, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_those_who_stay_do_not_notice_that_others_leave(engine, together, requests):
    model = engine("custom_voice")
    alone = [together(model, [request])[0][0] for request in requests]

    heard, _ = together(model, requests, leaving=[0, 2])

    for key in (1, 3):
        np.testing.assert_allclose(alone[key], heard[key], atol=1e-4)
    assert len(heard[2]) < len(alone[2])


def test_one_that_is_cut_off_ends_alone(engine, together, request_of):
    texts = "A text that is too long.", "Another text."
    requests = [request_of(texts[0], "ryan", max_new_tokens=3), request_of(texts[1], "ryan")]

    heard, ends = together(engine("custom_voice"), requests)

    assert isinstance(ends[0], RequestError)
    assert ends[1] is None
    assert len(heard[0]) == 3 * 1920
    assert len(heard[1]) > 3 * 1920


def test_greedy_and_random_requests_speak_together(engine, together, request_of):
    model = engine("custom_voice")
    greedy = request_of(TEXTS["ryan"], "ryan")
    random = [request_of(TEXTS["ryan"], "ryan", temperature=1.0, top_k=k) for k in (1, 50)]

    (first, likeliest, drawn), _ = together(model, [greedy, *random])

    np.testing.assert_allclose(first, likeliest, atol=1e-4)
    assert not np.array_equal(first, drawn)


def test_one_with_a_seed_speaks_alone(engine, request_of):
    batch = engine("custom_voice").open_batch()
    seeded, plain = (request_of("Hello", "ryan", seed=seed) for seed in (1, None))

    assert batch.accepts(seeded)
    batch.add(0, seeded)
    assert not batch.accepts(plain)
    batch.remove(0)
    assert batch.accepts(plain)
    batch.add(1, plain)
    assert not batch.accepts(seeded)
    batch.close()


def test_a_wrong_request_does_not_join(engine, together, request_of):
    batch = engine("custom_voice").open_batch()
    batch.add(0, request_of("Hello", "ryan"))

    with pytest.raises(PromptError):
        batch.add(1, request_of("Hello", "nobody"))

    keys = {key for _ in range(50) for key, _ in batch.step()}
    assert keys == {0}
    batch.close()


def test_a_blank_text_ends_at_once(engine, together, request_of):
    requests = [request_of(" ", "ryan"), request_of("Hello", "ryan")]

    heard, ends = together(engine("custom_voice"), requests)

    assert set(ends.values()) == {None}
    assert len(heard[0]) == 0
    assert len(heard[1]) > 0
