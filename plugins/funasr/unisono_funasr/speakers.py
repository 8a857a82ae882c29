"""Who speaks when: the voices of a recording get names, and so do the segments of its text."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count, product
from string import ascii_uppercase

from unisono import CancelToken, KnownSpeaker, RequestError, Segment, SpeakerTurn

from .clustering import Prints, Rules, between, cluster, recognize
from .diarizer_options import FunASRDiarizerParams
from .loading import RATE, Samples
from .prints import Listener
from .speech import Piece
from .windows import shares_of, turns_of

_AT_ONCE = 4096
"""Windows that are compared with each other, in 70 MB: half an hour of speech, or more."""


def find_turns(
    listener: Listener,
    samples: Samples,
    known: Sequence[KnownSpeaker],
    params: FunASRDiarizerParams,
    cancel: CancelToken,
) -> list[SpeakerTurn]:
    """Return who speaks when, in order of time and apart; nothing if cancelled.

    Whoever is heard in one part of a long recording is known in the next.

    :raises RequestError: if the numbers of speakers contradict each other, or a known speaker
        cannot be heard.
    """
    _check(params)
    voices = {speaker.name: _voice(listener, speaker, cancel) for speaker in known}
    windows, prints = listener.hear(samples, cancel)
    who: list[str] = []
    for first in range(0, len(windows), _AT_ONCE):
        if cancel.cancelled:
            return []
        part = slice(first, first + _AT_ONCE)
        who += _who(windows[part], prints[part], voices, params)
    found = turns_of(
        shares_of(windows),
        who,
        min_seconds=params.min_turn_seconds,
        max_pause=params.max_pause_seconds,
    )
    return [SpeakerTurn(t.who, t.piece.start / RATE, t.piece.end / RATE) for t in found]


def _check(params: FunASRDiarizerParams) -> None:
    """Refuse options that nothing can satisfy.

    :raises RequestError: naming one of them.
    """
    least, most, exactly = params.min_speakers, params.max_speakers, params.speakers
    if most is not None and least > most:
        raise RequestError(
            f"min_speakers is {least} and max_speakers {most}; it must not be more.",
            param="min_speakers",
        )
    if exactly is not None and not least <= exactly <= (most or exactly):
        raise RequestError(
            f"speakers is {exactly}, which min_speakers or max_speakers excludes; leave them out.",
            param="speakers",
        )


def _voice(listener: Listener, speaker: KnownSpeaker, cancel: CancelToken) -> Prints:
    """Return prints of a known speaker.

    :raises RequestError: if nobody speaks in the recording.
    """
    windows, prints = listener.hear(speaker.audio.samples.reshape(-1), cancel)
    if not windows and not cancel.cancelled:
        raise RequestError(
            f"known_speaker_references: nobody is heard in the recording of {speaker.name!r}.",
            param="known_speaker_references",
        )
    return prints


def _who(
    windows: Sequence[Piece],
    prints: Prints,
    voices: dict[str, Prints],
    params: FunASRDiarizerParams,
) -> list[str]:
    """Return who speaks in each window.

    :param voices: of those who are known, by name; those who are new are added.
    """
    most = params.speakers or params.max_speakers
    rules = Rules(
        threshold=params.speaker_threshold,
        # None of those who are known need be heard.
        least=max(1, (params.speakers or params.min_speakers) - len(voices)),
        most=most,
        min_seconds=params.min_speaker_seconds,
    )
    unsure = between(prints, windows, rules.threshold)
    groups = cluster(prints, [share.seconds for share in shares_of(windows)], rules, unsure)
    found = [prints[groups == number] for number in range(groups.max() + 1)]
    strangers = None if most is None else max(0, most - len(voices))
    recognized = recognize(found, voices, rules.threshold, strangers)
    labels = (label for number in count(1) if (label := f"speaker {number}") not in voices)
    names = [name or next(labels) for name in recognized]
    for name, voice in zip(names, found, strict=True):
        voices.setdefault(name, voice)
    return [names[number] for number in groups]


def with_speakers(
    segments: Iterable[Segment], turns: Sequence[SpeakerTurn], known: Collection[str] = ()
) -> Iterator[Segment]:
    """Yield segments with who speaks most of each: strangers are "A", "B" … as they are heard.

    :param turns: as `find_turns` returns them.
    :param known: who is called by name.
    """
    names = {name: name for name in known}
    letters = (letter for letter in _letters() if letter not in known)
    for segment in segments:
        speaker = speaker_of(turns, segment.start, segment.end)
        if speaker is not None and speaker not in names:
            names[speaker] = next(letters)
        yield replace(segment, speaker=speaker and names[speaker])


def _letters() -> Iterator[str]:
    """Yield A, B, … Z, AA, AB and so on."""
    for length in count(1):
        yield from map("".join, product(ascii_uppercase, repeat=length))


def speaker_of(turns: Sequence[SpeakerTurn], start: float, end: float) -> str | None:
    """Return who speaks most of a stretch, or else nearest to it.

    :param turns: in order of time and apart.
    """
    first = bisect_right(turns, start, key=lambda turn: turn.end)
    last = bisect_left(turns, end, key=lambda turn: turn.start)
    shares: dict[str, float] = {}
    for turn in turns[first:last]:
        overlap = min(end, turn.end) - max(start, turn.start)
        shares[turn.speaker] = shares.get(turn.speaker, 0.0) + overlap
    if shares:
        return max(shares, key=lambda name: shares[name])
    around = turns[max(0, first - 1) : first + 1]
    nearest = min(around, key=lambda turn: max(turn.start - end, start - turn.end), default=None)
    return nearest.speaker if nearest else None
