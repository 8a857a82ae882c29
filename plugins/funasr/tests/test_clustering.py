"""Clusters of made-up voiceprints; what is known of each is who it is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("scipy.cluster")

from unisono_funasr.clustering import Rules, between, cluster, recognize
from unisono_funasr.speech import Piece

SIZE = 192


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def _prints(whose: Sequence[int], *, alike: float = 0.6, seed: int = 0) -> np.ndarray:
    """Return prints; two of one person have a similarity of `alike`, others a quarter of that."""
    random = np.random.default_rng(seed)
    everybody, *voices = _unit(random.normal(size=(max(whose) + 2, SIZE)))
    voices = _unit(np.array(voices) * np.sqrt(0.75) + everybody * np.sqrt(0.25))
    noise = _unit(random.normal(size=(len(whose), SIZE)))
    return _unit(np.sqrt(alike) * voices[list(whose)] + np.sqrt(1 - alike) * noise)


def _cluster(whose: Sequence[int], seconds: float = 0.75, **rules: float | None) -> list[int]:
    prints = _prints(whose)
    made = Rules(**{"threshold": 0.3, **rules})  # type: ignore[arg-type]
    return cluster(prints, [seconds] * len(prints), made).tolist()


@pytest.mark.parametrize("people", [1, 2, 3, 5, 8])
def test_everybody_is_found_and_nobody_else(people: int) -> None:
    whose = [number for _ in range(4) for number in range(people) for _ in range(5)]
    assert _cluster(whose) == whose


def test_people_are_numbered_as_they_are_heard() -> None:
    assert _cluster([2, 2, 2, 0, 0, 0, 1, 1, 1, 2]) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 0]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_as_many_people_are_found_as_are_asked_for(count: int) -> None:
    whose = [0] * 12 + [1] * 12 + [2] * 12
    assert max(_cluster(whose, least=count, most=count, min_seconds=1.5)) + 1 == count


def test_two_of_three_people_are_not_mixed_when_two_are_asked_for() -> None:
    found = _cluster([0] * 12 + [1] * 12 + [2] * 12, least=2, most=2)
    assert all(len(set(found[start : start + 12])) == 1 for start in (0, 12, 24))


def test_there_are_never_more_people_than_prints() -> None:
    assert _cluster([0, 0], least=5, most=5) == [0, 1]


def test_more_people_are_found_if_there_must_be() -> None:
    assert max(_cluster([0] * 20, least=3)) == 2


def test_fewer_people_are_found_if_there_cannot_be_more() -> None:
    assert max(_cluster([0] * 9 + [1] * 9 + [2] * 9 + [3] * 9, most=2)) == 1


def test_who_speaks_too_little_is_one_of_the_others() -> None:
    whose = [0] * 10 + [1] + [2] * 10
    assert max(_cluster(whose)) == 2
    assert max(_cluster(whose, min_seconds=1.5)) == 1


def test_somebody_is_left_if_nobody_speaks_long_enough() -> None:
    assert _cluster([0, 0, 0, 1], min_seconds=60) == [0, 0, 0, 0]


def test_what_is_too_little_to_compare_is_one_person() -> None:
    assert _cluster([0]) == [0]


def test_prints_without_any_direction_do_no_harm() -> None:
    prints = _prints([0] * 6 + [1] * 6)
    prints[3] = 0
    assert len(cluster(prints, [0.75] * 12, Rules(0.3, min_seconds=1.5))) == 12


def test_the_same_prints_give_the_same_people() -> None:
    assert _cluster([0, 1, 0, 2] * 30) == _cluster([0, 1, 0, 2] * 30)


def test_half_an_hour_of_speech_takes_little_memory() -> None:
    prints = _prints([0] * 800 + [1] * 800 + [2] * 800)
    tracemalloc.start()
    found = cluster(prints, [0.75] * 2400, Rules(0.3, min_seconds=1.5))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.max() == 2
    assert peak < 100e6


# Windows in which two people are heard


def _windows(count: int, start: int = 0) -> list[Piece]:
    return [Piece(start + 12_000 * n, start + 12_000 * n + 24_000) for n in range(count)]


def _changing() -> np.ndarray:
    prints = _prints([0] * 6 + [1] * 6)
    prints[5] = _unit(prints[5] + prints[6])
    return prints


def test_windows_in_which_another_person_begins_are_known() -> None:
    found = between(_changing(), _windows(12), 0.3)
    assert np.flatnonzero(found).tolist() == [5]


def test_a_pause_between_two_people_mixes_nobody() -> None:
    windows = [*_windows(6), *_windows(6, start=1_000_000)]
    assert not between(_prints([0] * 6 + [1] * 6), windows, 0.3).any()


def test_mixtures_of_two_people_are_not_a_third() -> None:
    random = np.random.default_rng(1)
    whose = ([0] * 5 + [1] * 5) * 8
    prints = _prints(whose)
    odd = _unit(random.normal(size=SIZE))
    mixtures = [number for number in range(1, len(whose)) if whose[number] != whose[number - 1]]
    prints[mixtures] = _unit(odd + 0.03 * random.normal(size=(len(mixtures), SIZE)))
    seconds, windows = [0.75] * len(whose), _windows(len(whose))
    rules = Rules(0.3, min_seconds=3)
    assert cluster(prints, seconds, rules).max() == 2
    assert cluster(prints, seconds, rules, between(prints, windows, 0.3)).max() == 1


# Known people


def _voices() -> list[np.ndarray]:
    prints = _prints([0] * 8 + [1] * 8 + [2] * 8)
    return [prints[:8], prints[8:16], prints[16:]]


def test_known_people_are_recognized_and_strangers_are_not() -> None:
    one, two, three = _voices()
    known = {"Ada": three[4:], "Bob": one[4:]}
    assert recognize([one[:4], two, three[:4]], known, 0.3) == ["Bob", None, "Ada"]


def test_a_known_person_may_be_found_twice() -> None:
    one, two, _ = _voices()
    assert recognize([one[:3], one[3:6], two], {"Ada": one[6:]}, 0.3) == ["Ada", "Ada", None]


def test_who_cannot_be_a_stranger_is_the_most_similar_known_person() -> None:
    one, two, three = _voices()
    known = {"Ada": one, "Bob": two}
    assert recognize([one, two, three], known, 0.3) == ["Ada", "Bob", None]
    assert recognize([one, two, three], known, 0.3, strangers=0)[2] in known


def test_without_known_people_everybody_is_a_stranger() -> None:
    assert recognize(_voices(), {}, 0.3, strangers=0) == [None, None, None]
