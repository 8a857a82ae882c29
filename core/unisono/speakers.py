"""Who speaks when, for models that cannot tell: from a diarization model.

A long recording is diarized piece by piece. Who was heard in one piece is a known speaker, with
some seconds of their voice, in the next: so everybody keeps their name to the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import replace
from itertools import count, groupby

import numpy as np

from .calls import contained
from .entries import Entry
from .errors import AudioError, RequestError
from .pieces import as_long_as_possible, longest, off_loop, within
from .plugins import PluginManager
from .requests import DiarizationRequest, KnownSpeaker
from .runner import EngineRunner
from .spool import Spool
from .subtitles import separator
from .types import AudioChunk, Feature, Params, Segment, SpeakerTurn, Word

VOICE_SECONDS = 10.0
"""How much of a voice is remembered."""
_OPENING = "\"'([{¿¡«‘“「『《〈【（"
"""What stands before the word that it belongs to."""


class Diarization:
    """The speakers of one recording.

    :param known: people who are called by their names.
    """

    def __init__(
        self, diarizer: Entry, params: Params, known: Sequence[KnownSpeaker], spool: Spool
    ) -> None:
        self._diarizer = diarizer
        self._params = params
        self._spool = spool
        self._names = [speaker.name for speaker in known]
        self._voices = [speaker.audio for speaker in known]
        self._labels = (label for label in _labels() if label not in set(self._names))

    async def find_turns(
        self, runner: EngineRunner, plugins: PluginManager, executor: Executor
    ) -> list[SpeakerTurn]:
        """Return who speaks when, in order of the starts.

        :param executor: where pieces are found and read.
        :raises AudioError: if the recording is too long for a model that forgets who spoke.
        """
        info, spool = self._diarizer.info, self._spool
        most = longest(info)
        if Feature.KNOWN_SPEAKERS not in info.features:
            most = info.max_audio_seconds or spool.seconds
            if spool.seconds > most:
                raise AudioError(
                    f"Model {info.id!r} tells the speakers of {most:g} seconds apart at most.",
                    param="file",
                    code="audio_too_long",
                )
        turns: list[SpeakerTurn] = []
        pieces = as_long_as_possible(spool, most)
        with contained(self._diarizer):
            while (piece := await off_loop(executor, next, pieces, None)) is not None:
                audio = await off_loop(executor, spool.read, piece.start, piece.end - piece.start)
                found = await self._ask(audio, runner, plugins)
                turns += self._named(found, piece.start / spool.sample_rate, audio)
        return sorted(turns, key=lambda turn: turn.start)

    async def _ask(
        self, audio: AudioChunk, runner: EngineRunner, plugins: PluginManager
    ) -> list[SpeakerTurn]:
        # Not their names: a model's own labels may be the same.
        known = (KnownSpeaker(_tag(i), voice) for i, voice in enumerate(self._voices))
        request = DiarizationRequest(audio, self._params, tuple(known))
        try:
            found = plugins.hook.diarize(engine=runner, request=request)
            async with aclosing(found):
                return list(_within([turn async for turn in found], audio))
        except RequestError as error:
            message = str(error)
            for number, name in enumerate(self._names):
                message = message.replace(repr(_tag(number)), repr(name))
            param = error.param if message == str(error) else "known_speaker_references"
            raise RequestError(message, param=param, code=error.code) from error
        finally:
            request.cancel.cancel()

    def _named(
        self, found: Sequence[SpeakerTurn], offset: float, audio: AudioChunk
    ) -> Iterator[SpeakerTurn]:
        """Name the speakers of a piece, and remember the voices of those who are new."""
        numbers = {_tag(number): number for number in range(len(self._names))}
        for label in dict.fromkeys(turn.speaker for turn in found):
            if label not in numbers:
                numbers[label] = len(self._names)
                self._names.append(next(self._labels))
                self._voices.append(_voice(label, found, audio))
        for turn in found:
            name = self._names[numbers[turn.speaker]]
            yield SpeakerTurn(name, turn.start + offset, turn.end + offset)


def _within(turns: Sequence[SpeakerTurn], audio: AudioChunk) -> Iterator[SpeakerTurn]:
    """Yield what of the turns lies within the audio: models round, and pad their windows."""
    for turn in turns:
        start = within(0.0, turn.start, audio.seconds)
        end = within(start, turn.end, audio.seconds)
        if round(end * audio.sample_rate) > round(start * audio.sample_rate):
            yield SpeakerTurn(turn.speaker, start, end)


def _tag(number: int) -> str:
    return f"known {number}"


def _labels() -> Iterator[str]:
    """Yield A, B, … Z, AA, AB …, as OpenAI calls those whom nobody knows."""
    for number in count():
        label = ""
        rest = number + 1
        while rest:
            rest, letter = divmod(rest - 1, 26)
            label = chr(65 + letter) + label
        yield label


def _voice(label: str, turns: Sequence[SpeakerTurn], audio: AudioChunk) -> AudioChunk:
    """Return some seconds of a speaker, from where they speak longest."""
    rate = audio.sample_rate
    own = sorted(
        (turn for turn in turns if turn.speaker == label), key=lambda turn: turn.start - turn.end
    )
    parts, left = [], round(VOICE_SECONDS * rate)
    for turn in own:
        part = audio.samples[round(turn.start * rate) : round(turn.end * rate)][:left]
        parts.append(part)
        left -= len(part)
    return AudioChunk(np.concatenate(parts), rate)


async def with_speakers(
    segments: AsyncGenerator[Segment, None], turns: Sequence[SpeakerTurn]
) -> AsyncGenerator[Segment, None]:
    """Yield segments with their speakers; those of several speakers are split between words."""
    async with aclosing(segments):
        async for segment in segments:
            for part in _split(segment, turns):
                yield part


def _split(segment: Segment, turns: Sequence[SpeakerTurn]) -> Iterator[Segment]:
    if segment.speaker is not None:  # it was heard alone
        yield segment
        return
    near = [t for t in turns if t.end > segment.start and t.start < segment.end]
    if not segment.words or len({turn.speaker for turn in near}) < 2:
        yield replace(segment, speaker=_speaker(segment, near or turns))
        return
    runs = [
        (speaker, list(words))
        for speaker, words in groupby(segment.words, lambda word: _speaker(word, near))
    ]
    if len(runs) == 1:
        yield replace(segment, speaker=runs[0][0])
        return
    texts = _texts(segment.text, [words for _, words in runs])
    for (speaker, words), text in zip(runs, texts, strict=True):
        start, end = words[0].start, max(word.end for word in words)
        part = replace(segment, text=text, start=start, end=end, words=tuple(words))
        yield replace(part, speaker=speaker, tokens=())


def _speaker(what: Segment | Word, turns: Sequence[SpeakerTurn]) -> str | None:
    """Return who speaks most of the time, or, where nobody does, who is nearest."""
    shares: dict[str, float] = defaultdict(float)
    for turn in turns:
        shares[turn.speaker] += max(0.0, min(turn.end, what.end) - max(turn.start, what.start))
    best = max(shares, key=lambda speaker: shares[speaker], default=None)
    if best is not None and shares[best] > 0:
        return best
    middle = (what.start + what.end) / 2
    nearest = min(
        turns, key=lambda turn: max(turn.start - middle, middle - turn.end, 0.0), default=None
    )
    return nearest.speaker if nearest else None


def _texts(text: str, runs: Sequence[Sequence[Word]]) -> list[str]:
    """Return the part of a text that each run of its words is, with what stands between them."""
    starts = []
    at = 0
    for words in runs:
        found = text.find(words[0].text.strip(), at)
        if found < 0:  # the model spells its words otherwise than its text
            return [_joined(words) for words in runs]
        starts.append(at + len(text[at:found].rstrip(_OPENING)))
        for word in words:
            bare = word.text.strip()
            place = text.find(bare, at)
            at = at if place < 0 else place + len(bare)
    starts[0] = 0
    ends = [*starts[1:], len(text)]
    return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def _joined(words: Sequence[Word]) -> str:
    text = ""
    for word in words:
        text += separator(text, word.text) + word.text.strip()
    return text
