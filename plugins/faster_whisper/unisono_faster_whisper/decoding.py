"""Several windows, of one request or of many, decoded in one call of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from unisono import Segment

from .languages import tag_of
from .logprobs import probabilities, token_logprobs
from .options import CONTEXT
from .recordings import WINDOW, Recording, Window
from .segments import segment_of


@dataclass(eq=False)
class _Decoded:
    """What came of one window."""

    recording: Recording
    window: Window
    language: str
    tokenizer: Any
    prompt: list[int]
    result: Any = None
    parts: list[dict[str, Any]] = field(default_factory=list)
    """Segments as the library's functions pass them on."""
    probabilities: Sequence[float] = ()

    @property
    def frames(self) -> int:
        """What of the window is no padding, in frames of 10 ms."""
        return min(ceil(self.window.seconds) * 100, WINDOW)

    @property
    def start(self) -> tuple[int, ...]:
        """The tokens that stand for the language and the task."""
        return tuple(self.tokenizer.sot_sequence)

    def text_of(self, tokens: Sequence[int]) -> list[int]:
        """Return the tokens that are text."""
        return [token for token in tokens if token < self.tokenizer.eot]

    @property
    def text(self) -> list[int]:
        """The tokens of all parts that are text."""
        return [token for part in self.parts for token in self.text_of(part["tokens"])]


def decode(model: Any, windows: Sequence[tuple[Recording, Window]]) -> list[list[Segment]]:
    """Return the segments of each window.

    What comes of a window does not depend on which others are decoded with it.

    :param model: a `faster_whisper.WhisperModel`.
    :param windows: with recordings of the same `search`, those of one recording in order.
    """
    if not windows:
        return []
    search = windows[0][0].search
    encoded = model.encode(np.stack([window.features for _, window in windows]))
    heard: list[Any] = [None] * len(windows)
    if any(recording.language is None for recording, _ in windows):
        heard = model.model.detect_language(encoded)
    decoded = []
    for (recording, window), found in zip(windows, heard, strict=True):
        language = recording.language or found[0][0][2:-2]  # the likeliest, "<|en|>"
        tokenizer = recording.tokenizer(language)
        prompt = recording.prompt(tokenizer)
        decoded.append(_Decoded(recording, window, language, tokenizer, prompt))
    more = search.max_new_tokens
    results = model.model.generate(
        encoded,
        [each.prompt for each in decoded],
        beam_size=search.beam_size,
        patience=search.patience,
        length_penalty=search.length_penalty,
        repetition_penalty=search.repetition_penalty,
        no_repeat_ngram_size=search.no_repeat_ngram_size,
        max_length=CONTEXT if more is None else search.prompt_tokens + more,
        suppress_blank=search.suppress_blank,
        suppress_tokens=list(search.suppress_tokens),
        sampling_temperature=0.0,
        return_scores=True,
        return_no_speech_prob=True,
    )
    for each, result in zip(decoded, results, strict=True):
        each.result = result
        each.parts = _parts(model, each)
    _add_words(model, encoded, decoded)
    _add_probabilities(model, encoded, decoded)
    return [_segments(model, each) for each in decoded]


def _parts(model: Any, each: _Decoded) -> list[dict[str, Any]]:
    found, *_ = model._split_segments_by_timestamps(
        tokenizer=each.tokenizer,
        tokens=each.result.sequences_ids[0],
        time_offset=each.window.offset,
        segment_size=each.frames,
        segment_duration=each.window.seconds,
        seek=0,
    )
    return [{**part, "seek": int(each.window.offset * 100), "words": None} for part in found]


class _Aligned:
    """What the library's `add_word_timestamps` needs of a model, if the alignment is known."""

    def __init__(self, model: Any, alignment: Any) -> None:
        self.frames_per_second = model.frames_per_second
        self._alignment = alignment

    def find_alignment(self, *_: Any) -> list[Any]:
        """Return the alignment of the only window."""
        return [self._alignment]


def _add_words(model: Any, encoded: Any, decoded: Sequence[_Decoded]) -> None:
    wanting = [row for row, each in enumerate(decoded) if each.recording.request.word_timestamps]
    alignments: dict[int, Any] = {}
    # One call aligns texts of one language and task.
    for start in {each.start for each in (decoded[row] for row in wanting)}:
        rows = [row for row in wanting if decoded[row].start == start]
        texts = [each.text if row in rows else [] for row, each in enumerate(decoded)]
        frames = [each.frames for each in decoded]
        found = model.find_alignment(decoded[rows[0]].tokenizer, texts, encoded, frames)
        alignments |= {row: found[row] for row in rows}
    for row in wanting:
        each = decoded[row]
        params = each.recording.params
        each.recording.last_spoken = type(model).add_word_timestamps(
            _Aligned(model, alignments[row]),
            [each.parts],
            each.tokenizer,
            None,
            None,
            params.prepend_punctuations,
            params.append_punctuations,
            each.recording.last_spoken,
        )


def _add_probabilities(model: Any, encoded: Any, decoded: Sequence[_Decoded]) -> None:
    prompts = [each.prompt if each.recording.request.logprobs else [] for each in decoded]
    if any(prompts):
        found = probabilities(model, encoded, prompts, [each.text for each in decoded])
        for each, values in zip(decoded, found, strict=True):
            each.probabilities = values


def _segments(model: Any, each: _Decoded) -> list[Segment]:
    from faster_whisper import transcribe as library  # noqa: PLC0415

    request = each.recording.request
    length = len(each.result.sequences_ids[0])
    total = each.result.scores[0] * length**each.recording.params.length_penalty
    found = []
    for number, part in enumerate(each.parts):
        text = each.tokenizer.decode(part["tokens"])
        words = part["words"]
        found.append(
            library.Segment(
                id=number,
                seek=part["seek"],
                start=round(part["start"], 3),
                end=round(part["end"], 3),
                text=text,
                tokens=part["tokens"],
                avg_logprob=total / (length + 1),
                compression_ratio=library.get_compression_ratio(text),
                no_speech_prob=each.result.no_speech_prob,
                words=words and [library.Word(**word) for word in words],
                temperature=0.0,
            )
        )
    at = 0
    segments = []
    for segment in each.recording.restore(found):
        tokens = each.text_of(segment.tokens)
        values, at = each.probabilities[at : at + len(tokens)], at + len(tokens)
        if not segment.text.strip():
            continue
        logprobs = token_logprobs(model.hf_tokenizer, tokens, values) if request.logprobs else ()
        segments.append(
            segment_of(
                segment,
                tag_of(each.language),
                with_words=request.word_timestamps,
                logprobs=logprobs,
            )
        )
    return segments
