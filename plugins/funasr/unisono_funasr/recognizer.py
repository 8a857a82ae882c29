"""A recognizer with its helpers: from audio to segments, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unisono import Segment, TranscriptionRequest

from . import nano, paraformer, sensevoice, streaming
from .checkpoints import Parts
from .diarizer_options import FunASRDiarizerParams
from .families import primary
from .keywords import checked
from .loading import RATE, Component, Samples
from .options import FunASRParams
from .prints import Listener
from .punctuation import Sentence, Sentences
from .reading import Reading, shifted
from .requests import check, merges
from .speakers import find_turns, with_speakers
from .speech import Piece, batches, detect, merged

_SHORTEST = RATE // 10
"""Samples; shorter pieces, which have no features, are padded with silence."""


@dataclass(frozen=True)
class Recognizer:
    """Models in memory that work together."""

    parts: Parts
    languages: tuple[str, ...]
    """BCP 47 tags of what the model may write."""
    model: Component
    vad: Component | None = None
    punctuation: Component | None = None
    speakers: Listener | None = None

    def transcribe(self, request: TranscriptionRequest) -> Iterator[Segment]:
        """Yield segments in order of time, until cancelled.

        :raises RequestError: naming the option or the field that is wrong.
        """
        params: FunASRParams = request.params
        check(params, self.parts)
        hotwords = checked(request.hotwords, phrases=self.parts.family.punctuates)
        if not self.parts.family.punctuates:
            paraformer.check_vocabulary(self.model, hotwords)
        samples = np.ascontiguousarray(request.audio.samples.reshape(-1), dtype=np.float32)
        if self.parts.family.streams:
            yield from streaming.read(self.model, samples, params, self._language, request.cancel)
            return
        segments = self._segments(samples, request, hotwords)
        if self.speakers is not None and request.speakers:
            wanted = FunASRDiarizerParams.model_validate({"speakers": params.preset_spk_num})
            known = request.known_speakers
            turns = find_turns(self.speakers, samples, known, wanted, request.cancel)
            segments = with_speakers(segments, turns, [speaker.name for speaker in known])
        yield from segments

    def _segments(
        self, samples: Samples, request: TranscriptionRequest, hotwords: Sequence[str]
    ) -> Iterator[Segment]:
        params: FunASRParams = request.params
        usual = self.parts.family.batch_seconds if self.model.on_gpu else None
        pieces = self._pieces(samples, request)
        sentences = Sentences(self.punctuation)
        for batch in batches(pieces, params.batch_size_s or usual):
            if request.cancel.cancelled:
                return
            audio = [samples[piece.start : piece.end] for piece in batch]
            readings = self._read([_padded(part) for part in audio], request, hotwords)
            for piece, reading in zip(batch, readings, strict=True):
                yield from self._found(piece, reading, sentences, request)
        yield from self._whole(sentences.finish(), request)

    def _pieces(self, samples: Samples, request: TranscriptionRequest) -> Iterable[Piece]:
        params: FunASRParams = request.params
        if self.vad is None:
            return [Piece(0, len(samples))]
        pieces = detect(self.vad, samples, request.cancel)
        return merged(pieces, params.merge_length_s) if merges(params, self.parts) else pieces

    def _read(
        self, audio: Sequence[Samples], request: TranscriptionRequest, hotwords: Sequence[str]
    ) -> list[Reading]:
        params: FunASRParams = request.params
        language = request.language or self._language
        if self.parts.family.class_name == "SenseVoiceSmall":
            return sensevoice.read(
                self.model, audio, params, language, with_words=request.word_timestamps
            )
        if self.parts.family.class_name == "FunASRNano":
            return nano.read(self.model, audio, params, language, hotwords, request.cancel)
        return paraformer.read(self.model, audio, hotwords, self._language)

    def _found(
        self, piece: Piece, reading: Reading, sentences: Sentences, request: TranscriptionRequest
    ) -> Iterator[Segment]:
        start, end = piece.start / RATE, piece.end / RATE
        words = shifted(reading.words, start)
        if not self.parts.family.punctuates:
            yield from self._whole(sentences.add(words), request)
        elif reading.text:
            yield Segment(
                reading.text,
                start,
                end,
                words=words,
                language=reading.language,
                emotion=reading.emotion,
                events=reading.events,
            )

    def _whole(
        self, sentences: Iterable[Sentence], request: TranscriptionRequest
    ) -> Iterator[Segment]:
        shown = request.word_timestamps and self.parts.family.words
        for sentence in sentences:
            first, last = sentence.words[0], sentence.words[-1]
            words = sentence.words if shown else ()
            yield Segment(
                sentence.text, first.start, last.end, words=words, language=self._language
            )

    @property
    def _language(self) -> str | None:
        """What the model writes, if that is always the same."""
        known = {primary(tag) for tag in self.languages}
        return known.pop() if len(known) == 1 else None


def _padded(samples: Samples) -> Samples:
    return np.pad(samples, (0, max(0, _SHORTEST - len(samples))))
