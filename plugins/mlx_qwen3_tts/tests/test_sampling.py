"""How codes are drawn."""

from __future__ import annotations

from collections import Counter

import mlx.core as mx
import numpy as np
import pytest

from unisono_mlx_qwen3_tts.sampling import Sampler, Sampling

DRAWS = 4000
LOGITS = np.log(np.array([0.05, 0.4, 0.1, 0.25, 0.2], np.float32))


def rule(**options) -> Sampling:
    values = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
    return Sampling(**{**values, "max_frames": 10, **options})


def draws(**options) -> Counter:
    sampler = Sampler([rule(**options)] * DRAWS, mx.array([True] * 5))
    logits = mx.broadcast_to(mx.array(LOGITS), (DRAWS, 5))
    return Counter(np.array(sampler.draw(logits, mx.random.key(0)))[:, 0].tolist())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.05, 0.4, 0.1, 0.25, 0.2]),
        ({"top_k": 2}, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),
        ({"top_k": 99}, [0.05, 0.4, 0.1, 0.25, 0.2]),
        ({"top_p": 0.6}, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),
        ({"top_p": 0.01}, [0, 1, 0, 0, 0]),
        ({"top_k": 3, "top_p": 0.7}, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),
        ({"temperature": 0}, [0, 1, 0, 0, 0]),
        ({"temperature": 0.5}, np.array([0.05, 0.4, 0.1, 0.25, 0.2]) ** 2 / 0.275),
    ],
)
def test_codes_come_as_often_as_their_probability_says(options, expected):
    drawn = draws(**options)

    for code, probability in enumerate(expected):
        assert drawn[code] / DRAWS == pytest.approx(probability, abs=0.03)
        assert probability or not drawn[code]


def test_every_row_follows_its_own_rules():
    rows = [rule(temperature=0), rule(top_k=1), rule(repetition_penalty=100.0)]
    sampler = Sampler(rows, mx.array([True, True, False, True, True]))
    logits = mx.array(np.array([[1, 3, 9, 2, -1]] * 3, np.float32))

    spoken = [[1], [1, 1], [1, 3, 0]]
    for seed in range(20):
        codes = np.array(sampler.first(logits, spoken, mx.random.key(seed)))[:, 0]
        assert codes[:2].tolist() == [1, 1]
        assert codes[2] != 2


def test_the_penalty_falls_on_what_was_spoken_lately():
    sampler = Sampler([rule(temperature=0, repetition_penalty=2.0)], mx.array([True] * 3))
    logits = mx.array([[-1.0, 3.0, 2.0]])

    def likeliest(spoken: list[int]) -> int:
        return int(sampler.first(logits, [spoken], mx.random.key(0))[0, 0])

    assert likeliest([]) == 1
    assert likeliest([1]) == 2
    assert likeliest([1] + [0] * 64) == 1
