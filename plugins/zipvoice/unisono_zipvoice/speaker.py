"""A loaded model that speaks: tokens, stretches, networks, and one stream of audio again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from unisono import EngineUnavailable, PromptError, RequestError

from .features import N_MELS
from .files import ModelFiles
from .models import AcousticModel, OnnxModel, Passage, Vocoder
from .options import ZipVoiceSettings
from .prompts import FEATURE_SCALE, Reference
from .silence import shorten_pauses
from .stitching import stitch
from .tokens import Tokenizer, chunk, punctuated

_STRETCH_SECONDS = 25.0
_DIALOGUE_SECONDS = 40.0
_LEAST_SECONDS = 2.0
"""Speech of a stretch at most, however long the reference."""


@dataclass(frozen=True)
class Manner:
    """How to speak."""

    speed: float
    num_steps: int
    guidance_scale: float
    t_shift: float
    shorten_pauses: bool
    max_seconds: float | None
    """Longest stretch with the reference; None leaves it to the model."""
    volume: float
    seed: int | None
    language: str | None


class Speaker:
    """One loaded model.

    :raises EngineUnavailable: if a library is missing or a file is damaged.
    """

    def __init__(self, files: ModelFiles, settings: ZipVoiceSettings) -> None:
        self._tokenizer = Tokenizer(files.tokens)
        self._dialogue = settings.dialogue
        self._model: AcousticModel
        if settings.dialogue:
            from .dialogue import UpstreamModel  # noqa: PLC0415 - looks for upstream

            self._model = UpstreamModel(files, self._tokenizer, settings)
        else:
            self._model = OnnxModel(files.acoustic, settings)
        self._vocoder = Vocoder(files.vocoder, settings)
        with suppress(EngineUnavailable):  # without eSpeak NG there is still Chinese
            self._tokenizer.tokenize("好 1")  # what reads them takes seconds to load
            self._tokenizer.tokenize("One 1")

    def speak(
        self,
        text: str,
        prompt_text: str,
        reference: Reference,
        manner: Manner,
        cancelled: Callable[[], bool],
    ) -> Iterator[np.ndarray]:
        """Yield audio at 24 kHz, (frames,) or (frames, channels), stretch by stretch.

        :raises RequestError: if nothing in the text is Chinese or English.
        :raises PromptError: if that is so with the transcript, or it is too long for its recording.
        """
        prompt = self._tokenizer.tokenize(punctuated(prompt_text), manner.language)
        prompt_ids = self._tokenizer.encode(prompt)
        if not prompt_ids:
            raise PromptError(
                f"ZipVoice speaks Chinese and English, and {prompt_text[:60]!r} is neither.",
                param="ref_text",
            )
        tokens = self._tokenizer.tokenize(punctuated(text), manner.language)
        longest = manner.max_seconds or (_DIALOGUE_SECONDS if self._dialogue else _STRETCH_SECONDS)
        room = max(longest - reference.seconds, _LEAST_SECONDS)
        limit = max(1, int(room / (reference.seconds / (len(prompt) * manner.speed))))
        encoded = map(self._tokenizer.encode, chunk(tokens, limit, turns=self._dialogue))
        stretches = [stretch for stretch in encoded if stretch]
        if not stretches:
            raise RequestError(
                f"ZipVoice speaks Chinese and English, and {text[:60]!r} is neither.", param="input"
            )
        passages = [
            Passage(
                tokens=stretch,
                prompt_tokens=prompt_ids,
                features=reference.features,
                speed=manner.speed,
                num_steps=manner.num_steps,
                guidance_scale=manner.guidance_scale,
                t_shift=manner.t_shift,
            )
            for stretch in stretches
        ]
        for passage in passages:
            if len(reference.features) + passage.frames < len(prompt_ids) + len(passage.tokens):
                raise PromptError(
                    f"Nobody says all of {prompt_text[:60]!r} in {reference.seconds:.1f} seconds: "
                    "ref_text is to be what is said in the recording, and nothing else.",
                    param="ref_text",
                )
        gain = np.float32(reference.gain)
        spoken = self._spoken(passages, gain, manner, cancelled)
        for samples in stitch(spoken, len(passages)):
            yield np.clip(samples * np.float32(manner.volume), -1, 1)

    def _spoken(
        self,
        passages: list[Passage],
        gain: np.float32,
        manner: Manner,
        cancelled: Callable[[], bool],
    ) -> Iterator[np.ndarray]:
        random = np.random.default_rng(manner.seed)
        for passage in passages:
            features = self._model.speak(passage, random, cancelled)
            if features is None:
                return
            mels = features / FEATURE_SCALE
            channels = np.split(mels, mels.shape[1] // N_MELS, axis=1)
            samples = [self._vocoder.decode(channel) for channel in channels]
            joined = samples[0] if len(samples) == 1 else np.stack(samples, axis=1)
            joined = joined * gain
            yield shorten_pauses(joined) if manner.shorten_pauses else joined
