from __future__ import annotations

from itertools import pairwise

import pytest

from unisono_funasr.speech import Piece
from unisono_funasr.windows import WINDOW, shares_of, turns_of, windows_of

RATE = 16_000


def _piece(start: float, end: float) -> Piece:
    return Piece(round(start * RATE), round(end * RATE))


def _turns(*spoken: tuple[str, float, float]) -> list[tuple[str, float, float]]:
    shares = [_piece(start, end) for _, start, end in spoken]
    found = turns_of(shares, [who for who, _, _ in spoken], min_seconds=0.7, max_pause=0.5)
    return [(turn.who, turn.piece.start / RATE, turn.piece.end / RATE) for turn in found]


# Windows


@pytest.mark.parametrize("seconds", [0.1, 1.0, 1.5, 1.8, 1.9, 2.25, 3.0, 7.3, 60.0])
def test_windows_cover_a_stretch_from_its_start_to_its_end(seconds: float) -> None:
    speech = _piece(2.0, 2.0 + seconds)
    windows = list(windows_of(speech))
    assert (windows[0].start, windows[-1].end) == (speech.start, speech.end)
    shares = shares_of(windows)
    assert all(one.end == other.start for one, other in pairwise(shares))


def test_long_speech_gives_windows_of_one_length_every_three_quarters_of_a_second() -> None:
    windows = list(windows_of(_piece(0, 60)))
    assert {window.end - window.start for window in windows} == {WINDOW}
    assert len(windows) == 79


def test_windows_of_different_stretches_keep_what_they_have() -> None:
    windows = [_piece(0, 1.5), _piece(2, 3.5), _piece(2.75, 4.25)]
    assert shares_of(windows) == [_piece(0, 1.5), _piece(2, 3.125), _piece(3.125, 4.25)]


# Turns


def test_neighbours_of_one_person_are_one_turn() -> None:
    assert _turns(("A", 0, 1), ("A", 1, 2), ("B", 2, 4)) == [("A", 0, 2), ("B", 2, 4)]


def test_short_pauses_do_not_end_a_turn_and_long_ones_do() -> None:
    assert _turns(("A", 0, 1), ("A", 1.4, 3)) == [("A", 0, 3)]
    assert _turns(("A", 0, 1), ("A", 1.6, 3)) == [("A", 0, 1), ("A", 1.6, 3)]


def test_a_short_turn_goes_to_the_nearest_neighbour() -> None:
    turns = _turns(("A", 0, 3), ("B", 3.3, 3.7), ("C", 3.8, 6))
    assert turns == [("A", 0, 3), ("C", 3.3, 6)]


def test_a_short_turn_on_its_own_keeps_its_speaker() -> None:
    turns = [("A", 0.0, 3.0), ("B", 4.0, 4.4), ("A", 5.0, 7.0)]
    assert _turns(*turns) == turns


def test_without_speech_there_are_no_turns() -> None:
    assert _turns() == []
