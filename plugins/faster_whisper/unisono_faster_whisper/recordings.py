"""The audio of one request, cut into windows that are decoded on their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unisono import TranscriptionRequest

from .options import FasterWhisperParams
from .requests import checked

RATE = 16_000
WINDOW = 3000
"""Frames of 10 ms."""
_ANY_LANGUAGE = "en"
"""A prompt has as many tokens in all languages."""


@dataclass(frozen=True)
class Search:
    """What windows have in common that are decoded in one call.

    CTranslate2 takes one value of each for all, and prompts of one length.
    """

    beam_size: int
    patience: float
    length_penalty: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    suppress_blank: bool
    suppress_tokens: tuple[int, ...]
    without_timestamps: bool
    prompt_tokens: int
    max_new_tokens: int | None


@dataclass(frozen=True, eq=False)
class Piece:
    """At most 30 seconds of a recording."""

    samples: npt.NDArray[np.float32]
    offset: float
    """Seconds of speech before it."""

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples) / RATE


@dataclass(frozen=True, eq=False)
class Window:
    """A piece as the model takes it."""

    features: npt.NDArray[np.float32]
    """Spectrogram (bands, 3000)."""
    offset: float
    seconds: float


class Recording:
    """One request, and what is left of its audio.

    :param model: a `faster_whisper.WhisperModel`.
    :param languages: the model's.
    :raises RequestError: naming the option that cannot be, or would have no effect.
    """

    def __init__(
        self, request: TranscriptionRequest, model: Any, languages: tuple[str, ...]
    ) -> None:
        self.request = request
        self.params: FasterWhisperParams = request.params
        self.last_spoken = 0.0
        """Where the last word ended, which the times of the next ones depend on."""
        self._model = model
        self._options = checked(request, model, languages, batched=True)
        self._speech: Sequence[dict[str, int]] | None = None
        self._pieces: deque[Piece] | None = None
        self._features: deque[npt.NDArray[np.float32]] = deque()
        self.language: str | None = self._options.get("language")
        """Whisper's code; None asks to detect it in each window."""
        if not model.model.is_multilingual:
            self.language = "en"
        tokenizer = self.tokenizer(_ANY_LANGUAGE)
        prompt = tokenizer.encode(self._options.get("initial_prompt", ""))
        self._previous = prompt[-(model.max_length // 2 - 1) :]
        self.search = self._search(tokenizer)

    @property
    def done(self) -> bool:
        """Whether there is no window left."""
        return self._pieces is not None and not self._pieces

    def take(self) -> Window | None:
        """Return the next window, or None at the end.

        The first call cuts the audio, which takes about 2 ms for each second of it.
        """
        if self._pieces is None:
            self._pieces = deque(piece for piece in self._cut() if len(piece.samples))
            if self.language is None and not self.params.multilingual and len(self._pieces) > 1:
                self.language = self._detect()
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        features = self._features.popleft() if self._features else self._transform(piece)
        # The library's `pad_or_trim`, which needs the axis to be said.
        padding = [(0, 0), (0, max(0, WINDOW - features.shape[1]))]
        return Window(np.pad(features[:, :WINDOW], padding), piece.offset, piece.seconds)

    def tokenizer(self, language: str) -> Any:
        """Return a `faster_whisper.tokenizer.Tokenizer` for this task and a language."""
        from faster_whisper.tokenizer import Tokenizer  # noqa: PLC0415

        return Tokenizer(
            self._model.hf_tokenizer,
            self._model.model.is_multilingual,
            task=self._options["task"],
            language=language,
        )

    def prompt(self, tokenizer: Any) -> list[int]:
        """Return the tokens with which a window begins."""
        return list(
            self._model.get_prompt(
                tokenizer,
                self._previous,
                without_timestamps=self._without_timestamps,
                hotwords=self._options.get("hotwords"),
            )
        )

    def restore(self, segments: Iterable[Any]) -> Iterable[Any]:
        """Count times from the start of the audio, not of the speech in it."""
        from faster_whisper.transcribe import restore_speech_timestamps  # noqa: PLC0415

        if self._speech is None:
            return segments
        return restore_speech_timestamps(segments, self._speech, RATE)  # type: ignore[no-any-return]

    @property
    def _without_timestamps(self) -> bool:
        # Of a window that is decoded on its own, what follows the last timestamp would be lost.
        return self.params.without_timestamps is not False

    def _search(self, tokenizer: Any) -> Search:
        from faster_whisper.transcribe import get_suppressed_tokens  # noqa: PLC0415

        params = self.params
        suppressed = self._options["suppress_tokens"]
        return Search(
            beam_size=params.beam_size,
            patience=params.patience,
            length_penalty=params.length_penalty,
            repetition_penalty=params.repetition_penalty,
            no_repeat_ngram_size=params.no_repeat_ngram_size,
            suppress_blank=params.suppress_blank,
            suppress_tokens=tuple(
                get_suppressed_tokens(tokenizer, suppressed) if suppressed else ()
            ),
            without_timestamps=self._without_timestamps,
            prompt_tokens=len(self.prompt(tokenizer)),
            max_new_tokens=params.max_new_tokens,
        )

    def _cut(self) -> Iterable[Piece]:
        from faster_whisper.vad import (  # noqa: PLC0415
            VadOptions,
            collect_chunks,
            get_speech_timestamps,
        )

        samples = self.request.audio.samples.reshape(-1)
        clips = self._options.get("clip_timestamps")
        if clips:
            bounds = [(int(clip["start"] * RATE), int(clip["end"] * RATE)) for clip in clips]
            return [Piece(samples[start:end], start / RATE) for start, end in bounds]
        longest = self.params.chunk_length
        self._speech = [{"start": 0, "end": len(samples)}]
        if self._options["vad_filter"]:
            vad = VadOptions(
                **self._options["vad_parameters"], max_speech_duration_s=float(longest)
            )
            self._speech = get_speech_timestamps(samples, vad)
        chunks, metadata = collect_chunks(samples, self._speech, max_duration=longest)
        return [
            Piece(chunk, float(about["offset"]))
            for chunk, about in zip(chunks, metadata, strict=True)
        ]

    def _transform(self, piece: Piece) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = self._model.feature_extractor(piece.samples)[:, :-1]
        return found

    def _detect(self) -> str:
        """Return the language of what is said first, whatever windows that is in."""
        assert self._pieces is not None
        wanted = self.params.language_detection_segments * WINDOW
        for piece in self._pieces:
            self._features.append(self._transform(piece))
            if sum(features.shape[1] for features in self._features) >= wanted:
                break
        language, *_ = self._model.detect_language(
            features=np.concatenate(self._features, axis=1)[:, :wanted],
            language_detection_segments=self.params.language_detection_segments,
            language_detection_threshold=self.params.language_detection_threshold,
        )
        return str(language)
