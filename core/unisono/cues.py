"""Cut a transcript into cues: subtitles that a person can read while listening.

A cue has at most two lines of 42 columns and lasts between 5/6 s and 7 s (Netflix, "Timed Text
Style Guide: General Requirements"); 20 columns a second can be read (Netflix, "English Timed Text
Style Guide", adult programmes). Where to break is what both the former ("Line Treatment") and the
BBC ("Subtitle Guidelines", sections 3 and 4) say: at the ends of sentences, else after a clause,
else where the speaker pauses, and not after an article or a preposition. The cheapest breaks of a
segment as a whole are found by dynamic programming, as Knuth and Plass break paragraphs
("Breaking Paragraphs into Lines", 1981).

Words say when each part of a segment is heard. Without them the time of a segment is shared out
over its letters and digits, evenly.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from .breaks import CHARACTER, PAUSE, PHRASED, SENTENCE, UNSPACED, column, columns, find_breaks
from .types import Segment

LINE = 42
"""Columns."""
SHORTEST, LONGEST = 5 / 6, 7.0
"""Seconds. What is too short lasts longer where there is room before the next cue."""
SPEED = 20.0
"""Columns that can be read in a second."""
PAUSE_SECONDS = 0.5
"""A pause between words that always ends a cue."""
_BREATH_SECONDS = 0.2
_REACH = 60
"""Characters that the engine may have left out between two of its words."""
_MARKS = '.,;:!?…"“”„«»()[]¿¡、。，！？：；「」《》'

# Costs on the scale of `breaks`.
_CUE = 3.0
_ROOM = 3.0
_ASTRIDE = 8.0
_CLIPPED = 8.0
_PER_SECOND = 12.0
_UNEVEN = 12.0


@dataclass(frozen=True)
class Cue:
    """Text that is shown at once."""

    lines: tuple[str, ...]
    start: int
    """Milliseconds from the start of the audio."""
    end: int
    """Milliseconds from the start of the audio; after `start`."""
    speaker: str | None = None


def make_cues(
    segments: Sequence[Segment],
    *,
    duration: float = math.inf,
    language: str | None = None,
    labels: bool = False,
) -> list[Cue]:
    """Return the cues of a transcript, in order.

    A segment that fits in one cue keeps its own times. Cues overlap only where segments do by
    more than half, as when two people talk at once.

    :param duration: seconds of audio; no cue lasts longer than it for the sake of the reader.
    :param language: BCP 47 tag of the text, which has a say in where sentences end.
    :param labels: whether the text begins with the name of the speaker.
    """
    cues = [cue for segment in segments for cue in _cut(segment, language, labels)]
    cues.sort(key=lambda cue: cue.start)  # only overlapping segments are not in order yet
    starts = list(accumulate((cue.start for cue in cues), lambda at, start: max(at + 1, start)))
    following: list[float] = [*starts[1:], math.inf]
    return [
        _timed(replace(cue, start=start), next_start, 1000 * duration)
        for cue, start, next_start in zip(cues, starts, following, strict=False)
    ]


def one_line(text: str) -> str:
    """Return `text` in one line: a blank line would end a cue."""
    return " ".join(text.split())


def _timed(cue: Cue, following: float, latest: float) -> Cue:
    """Give a cue the time to be read that there is before the following one."""
    end: float = cue.end
    if following - cue.start >= (end - cue.start) / 2:
        end = min(end, following)
    wanted = 1000 * max(SHORTEST, sum(map(columns, cue.lines)) / SPEED)
    end = max(end, min(cue.start + wanted, following, latest))
    end = min(end, cue.start + 1000 * LONGEST)
    return replace(cue, end=max(int(end), cue.start + 1))  # players drop what lasts no time


def _cut(segment: Segment, language: str | None, labels: bool) -> Iterator[Cue]:
    said = one_line(segment.text)
    if not said:
        return
    label = f"{one_line(segment.speaker)}: " if labels and segment.speaker else ""
    parts = _Parts(segment, label, said, language)
    stops = parts.stops()
    for low, high in zip([0, *stops], stops, strict=False):
        start, end = parts.starts[low], parts.ends[high - 1]
        if len(stops) == 1 and segment.end - segment.start <= LONGEST:
            start, end = segment.start, segment.end
        first = max(0, round(1000 * start))
        yield Cue(parts.lines(low, high), first, max(first, round(1000 * end)), segment.speaker)


class _Parts:
    """The parts of a segment that are never broken, and how to put them together.

    Places between parts are counted from 0, the start, to the number of parts, the end.
    """

    def __init__(self, segment: Segment, label: str, said: str, language: str | None) -> None:
        clock = _Clock(segment, said)
        places = find_breaks(said, LINE, language=language, seams=clock.seams)
        offsets = [0, *(place.at for place in places), len(said)]
        self.starts: list[float] = []
        self.ends: list[float] = []
        for low, high in pairwise(offsets):
            start, end = clock.start(low), clock.end(high)
            if end < start:  # symbols beside a pause: before it, if anything else is
                start = end = self.ends[-1] if self.ends else start
            self.starts.append(start)
            self.ends.append(end)
        costs = [SENTENCE, *(place.cost for place in places), SENTENCE]
        if label:  # is seen and not heard
            offsets = [0, *(len(label) + at for at in offsets)]
            self.starts.insert(0, self.starts[0])
            self.ends.insert(0, self.starts[0])
            costs.insert(1, CHARACTER)
        silence = (start - end for start, end in zip(self.starts[1:], self.ends, strict=False))
        self._pauses = [0.0, *silence, 0.0]
        self._costs = list(map(_heard, costs, self._pauses))
        self._text = label + said
        self._offsets = offsets
        self._known = bool(clock.seams)
        self._before = [0, *accumulate(map(column, self._text))]

    def stops(self) -> list[int]:
        """Return the places where cues end; together they cost the least."""
        count = len(self.ends)
        best = [0.0, *[math.inf] * count]
        origin = [0] * (count + 1)
        for low in range(count):
            for high, cost in self._cues_from(low):
                if best[low] + cost < best[high]:
                    best[high], origin[high] = best[low] + cost, low
        stops = [count]
        while origin[stops[-1]]:
            stops.append(origin[stops[-1]])
        return stops[::-1]

    def lines(self, low: int, high: int) -> tuple[str, ...]:
        """Return the text between two places in one line or two."""
        if self._width(low, high) <= LINE:
            return (self._between(low, high),)
        ways = [
            (self._costs[middle] + _UNEVEN * abs(first - second) / LINE + (first > second), middle)
            for middle in range(low + 1, high)
            if (first := self._width(low, middle)) <= LINE
            and (second := self._width(middle, high)) <= LINE
        ]
        if not ways:
            return (self._between(low, high),)
        middle = min(ways)[1]
        return self._between(low, middle), self._between(middle, high)

    def _cues_from(self, low: int) -> Iterator[tuple[int, float]]:
        """Yield where a cue that begins at `low` may end, and what it costs."""
        middle = low
        sentence = False  # whether one has ended
        for high in range(low + 1, len(self.ends) + 1):
            width = self._width(low, high)
            seconds = self.ends[high - 1] - self.starts[low]
            if width <= LINE:
                middle = high
            elif high > low + 1 and self._width(middle, high) > LINE:
                return
            if self._known and seconds > LONGEST and high > low + 1:
                return
            cost, pause = self._costs[high], self._pauses[high]
            total = _CUE + _ROOM * (1 - width / (2 * LINE)) ** 2 + cost
            if sentence and (self._costs[low] or cost):
                total += _ASTRIDE
            if seconds > LONGEST:
                # Where in a long segment without words a short text is heard is anybody's guess.
                total += min(_CLIPPED, _PER_SECOND * (seconds - LONGEST))
            elif seconds + pause < SHORTEST:
                total += _PER_SECOND * (SHORTEST - seconds - pause)
            yield high, total
            if pause >= PAUSE_SECONDS:
                return
            sentence = sentence or cost == SENTENCE

    def _width(self, low: int, high: int) -> int:
        end = self._offsets[high]
        trailing = end > self._offsets[low] and self._text[end - 1] == " "
        return self._before[end] - self._before[self._offsets[low]] - trailing

    def _between(self, low: int, high: int) -> str:
        return self._text[self._offsets[low] : self._offsets[high]].rstrip()


def _heard(cost: float, pause: float) -> float:
    """Return what a break costs that falls into a pause of some seconds."""
    if pause >= PAUSE_SECONDS:
        return SENTENCE
    return min(cost, PAUSE) if pause >= _BREATH_SECONDS else cost


class _Clock:
    """When the characters of a segment are heard.

    Words are found in the text one after the other. A word that is not there, as engines may
    spell numbers out, or that takes no time, is passed over.
    """

    def __init__(self, segment: Segment, text: str) -> None:
        heard = [char.isalnum() for char in text]
        self._letters = [0, *accumulate(heard if any(heard) else [True] * len(text))]
        self._text = _folded(text)
        self._places: list[int] = []
        self._times: list[float] = []
        self.seams: set[int] = set()
        """Offsets where words end."""
        self._know(0, segment.start)
        at = 0
        for word in segment.words:
            spelled = _folded(one_line(word.text).strip(_MARKS))
            found = self._find(spelled, at) if word.end > word.start else -1
            if found >= 0:
                at = found + len(spelled)
                self._know(found, word.start)
                self._know(at, word.end)
                self.seams.add(at)
        self._know(len(text), segment.end)

    def start(self, at: int) -> float:
        """Return when what comes after an offset begins."""
        place = self._letters[at]
        return self._time(place, bisect_right(self._places, place))

    def end(self, at: int) -> float:
        """Return when what comes before an offset ends."""
        place = self._letters[at]
        return self._time(place, bisect_left(self._places, place))

    def _know(self, at: int, time: float) -> None:
        self._places.append(self._letters[at])
        self._times.append(max(time, self._times[-1]) if self._times else time)

    def _time(self, place: int, after: int) -> float:
        """Return the time of a place between the known ones before `after` and at it."""
        if after in {0, len(self._places)}:
            return self._times[0 if after == 0 else -1]
        low, high = self._places[after - 1 : after + 1]
        early, late = self._times[after - 1 : after + 1]
        return early + (place - low) / (high - low) * (late - early)

    def _find(self, word: str, at: int) -> int:
        """Return where a word is, at or soon after an offset, or -1.

        "a" is not in "later", unless it is the very next that is heard.
        """
        if not word:
            return -1
        spaced = not (UNSPACED.match(word) or PHRASED.match(word))
        found, until = at - 1, at + len(word) + _REACH
        while (found := self._text.find(word, found + 1, until)) > at:
            is_next = self._letters[found] == self._letters[at]
            if is_next or not (spaced and self._text[found - 1].isalnum()):
                break
        return found


def _folded(text: str) -> str:
    lower = text.lower()
    return lower if len(lower) == len(text) else text  # "İ" becomes two characters
