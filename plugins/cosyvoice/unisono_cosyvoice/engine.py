"""The engine: CosyVoice behind unisono's interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unisono import (
    AudioChunk,
    Engine,
    Feature,
    ModelInfo,
    PreparedVoice,
    PromptError,
    SpeechRequest,
    Task,
    VoicePrompt,
)

from . import checkout, manners
from .checkpoints import FILES, WEIGHTS, Checkpoint, inspect, local
from .options import CosyVoiceParams, CosyVoiceSettings
from .speakers import voices

if TYPE_CHECKING:  # these need numpy
    from .manners import Manner
    from .model import Features, LoadedModel

PROMPT_RATE = 24_000
MAX_INPUT_CHARS = 500
"""Upstream cuts texts into sentences of up to 80 tokens itself, but not those with tags."""


@dataclass(frozen=True)
class _Speaker:
    features: Features
    manner: Manner


class CosyVoiceEngine(Engine):
    """CosyVoice 1, 2 or 3: cloned and built-in voices, and instructions."""

    name = "cosyvoice"
    runner = "process"  # upstream wants old versions of many packages, and patches some
    params_type = CosyVoiceParams
    settings_type = CosyVoiceSettings
    settings: CosyVoiceSettings

    _loaded: LoadedModel | None = None
    _checkpoint: Checkpoint

    @classmethod
    def describe(cls, settings: CosyVoiceSettings) -> ModelInfo:
        """Tell from the folder of the model if it is there, else from its name.

        :raises ConfigError: if neither says which CosyVoice it is.
        """
        checkpoint = inspect(settings)
        return ModelInfo(
            Task.SPEECH,
            languages=manners.LANGUAGES[checkpoint.version],
            sample_rate=checkpoint.sample_rate,
            voices=voices(checkpoint.speakers),
            features=_features(checkpoint),
            memory_bytes=checkpoint.memory_bytes,
            prompt_rate=PROMPT_RATE,
            prompt_seconds=(1.0, 30.0),
            max_input_chars=MAX_INPUT_CHARS,
        )

    def problems(self) -> Iterable[str]:
        yield from checkout.problems(local(self.settings.source_dir))
        folder = local(self.settings.model_dir)
        needed = (FILES[inspect(self.settings).version], *WEIGHTS)
        missing = [name for name in needed if not (folder / name).is_file()]
        if missing:
            yield f"The setting model_dir names a folder without {', '.join(missing)}."
        more = self.settings.speakers
        if more is not None and not local(more).is_file():
            yield "The setting speakers names no file."

    def load(self) -> None:
        """Import upstream and load the model; downloads nothing.

        :raises EngineUnavailable: if a part of upstream or of the model is missing.
        """
        from .model import load  # noqa: PLC0415

        self._checkpoint = inspect(self.settings)
        self._loaded = load(self.settings, self._checkpoint)

    def unload(self) -> None:
        loaded, self._loaded = self._model, None
        loaded.release()

    def prepare_voice(self, prompt: VoicePrompt) -> PreparedVoice | None:
        """Compute tokens, spectrogram and embedding of a reference, as `add_zero_shot_spk` does."""
        from .model import size_of  # noqa: PLC0415

        if prompt.audio is None:
            return None
        text = (prompt.text or "").strip()
        features = self._model.features(
            prompt.audio.samples.reshape(-1),
            prompt.audio.sample_rate,
            manners.transcript(self._checkpoint.version, text) if text else "",
        )
        return PreparedVoice(features, size_of(features))

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        """Yield about a second, then chunks that grow; whole sentences if not streaming.

        :raises RequestError: if the voice cannot speak as the request wants it.
        """
        from .model import Utterance  # noqa: PLC0415

        params: CosyVoiceParams = request.params
        speaker = self._speaker(request)
        utterance = Utterance(
            request.text,
            speaker.manner,
            speaker.features,
            normalize=params.text_frontend,
            # In a stream both of upstream's threads draw from the same random numbers.
            stream=self.settings.stream and request.seed is None,
            seed=request.seed,
        )
        rate = self._checkpoint.sample_rate
        for samples in self._model.speak(utterance, request.cancel):
            yield AudioChunk(samples, rate)

    @property
    def _model(self) -> LoadedModel:
        if self._loaded is None:
            raise RuntimeError("The model is not loaded.")
        return self._loaded

    def _speaker(self, request: SpeechRequest) -> _Speaker:
        version, voice = self._checkpoint.version, request.voice
        language = manners.language_of(version, request.language)
        if voice.audio is not None:
            manner = manners.of_recording(
                version,
                known=bool((voice.text or "").strip()),
                language=language,
                instructions=request.instructions,
            )
            return _Speaker(voice.prepared, manner)
        features = self._model.speakers.get(voice.preset or "")
        if features is None:
            raise PromptError(
                f"The model has no speaker {voice.preset!r}. It has: "
                f"{', '.join(self._model.speakers) or 'none'}.",
                param="voice",
            )
        if "embedding" in features:
            return _Speaker(features, manners.of_speaker(version, request.instructions))
        # What follows was saved from a recording, transcript included.
        if version == 1 and request.instructions:
            speaker = {"embedding": features["llm_embedding"]}
            return _Speaker(speaker, manners.of_speaker(version, request.instructions))
        manner = manners.of_recording(
            version, known=True, language=language, instructions=request.instructions
        )
        return _Speaker(features, manner)


def _features(checkpoint: Checkpoint) -> frozenset[Feature]:
    features = {Feature.SEED}
    if checkpoint.clones:
        features |= {Feature.VOICE_CLONING, Feature.PROMPT_TEXT}
    if checkpoint.follows:
        features.add(Feature.INSTRUCTIONS)
    return frozenset(features)
