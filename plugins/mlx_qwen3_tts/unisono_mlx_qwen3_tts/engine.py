"""The engine: Qwen3-TTS through mlx-audio behind unisono's interface."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unisono import (
    AudioChunk,
    Engine,
    EngineUnavailable,
    Feature,
    ModelInfo,
    PreparedVoice,
    PromptError,
    RequestError,
    Settings,
    SpeechBatch,
    SpeechRequest,
    Task,
    VoicePrompt,
    Weights,
)

from .checkpoints import Checkpoint, Variant, find_folder, inspect, weights_of
from .options import Qwen3TtsParams, Qwen3TtsSettings
from .speakers import LANGUAGES, language_of, speakers

if TYPE_CHECKING:  # these need numpy
    from .batch import Utterance
    from .codec import DecoderState
    from .model import LoadedModel
    from .prompts import Reference
    from .sampling import Sampling

SAMPLE_RATE = 24_000
MAX_INPUT_CHARS = 500
"""A text of 500 Chinese characters takes about two minutes; models lose the thread after that."""
CLONING_PENALTY = 1.5
"""Least repetition penalty for speech that goes on from a reference, unless the client sets one:
without it the codes degenerate (so does mlx-audio)."""


@dataclass(frozen=True)
class _ClonedVoice:
    """The features of a reference, all in numpy arrays, which belong to no thread."""

    reference: Reference
    heard: DecoderState


class Qwen3TtsEngine(Engine):
    """Qwen3-TTS: cloned, built-in or described voices in ten languages."""

    name = "mlx_qwen3_tts"
    lane = "mlx"  # MLX's streams belong to a thread
    max_batch_size = 8
    params_type = Qwen3TtsParams
    settings_type = Qwen3TtsSettings
    settings: Qwen3TtsSettings

    _loaded: LoadedModel | None = None

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        """Serve the conversions to MLX of the five originals, in bfloat16.

        First comes one that speaks without a reference: it may become the default.
        """
        names = (
            "0.6B-CustomVoice",
            "0.6B-Base",
            "1.7B-CustomVoice",
            "1.7B-VoiceDesign",
            "1.7B-Base",
        )
        return {
            f"qwen3-tts-{_kebab(name)}": Qwen3TtsSettings(
                model=f"mlx-community/Qwen3-TTS-12Hz-{name}-bf16"
            )
            for name in names
        }

    @classmethod
    def describe(cls, settings: Qwen3TtsSettings) -> ModelInfo:
        """Tell from the files if they are here, else from the name.

        :raises ConfigError: if neither says what the model is.
        """
        checkpoint = inspect(settings.model, settings.revision, settings.variant)
        custom = checkpoint.variant == "custom_voice"
        return ModelInfo(
            Task.SPEECH,
            languages=tuple(LANGUAGES),
            sample_rate=SAMPLE_RATE,
            voices=speakers(checkpoint.speakers) if custom else (),
            features=_features(checkpoint),
            memory_bytes=checkpoint.memory_bytes,
            prompt_rate=SAMPLE_RATE,
            prompt_seconds=(1.0, 60.0),
            max_input_chars=MAX_INPUT_CHARS,
        )

    @classmethod
    def weights(cls, settings: Qwen3TtsSettings) -> Sequence[Weights]:
        weights = weights_of(settings.model, settings.revision)
        return () if weights is None else (weights,)

    def problems(self) -> Iterable[str]:
        from .model import NO_MLX  # noqa: PLC0415

        try:
            import mlx.core  # noqa: F401, PLC0415
        except ImportError:
            yield NO_MLX
        if not self.weights(self.settings):
            try:
                find_folder(self.settings.model, None)
            except EngineUnavailable as error:
                yield str(error)

    def load(self) -> None:
        """Load the checkpoint; downloads nothing.

        :raises EngineUnavailable: if MLX or a part of the checkpoint is missing.
        """
        from .model import load  # noqa: PLC0415

        self._loaded = load(find_folder(self.settings.model, self.settings.revision), self._variant)

    def unload(self) -> None:
        import mlx.core as mx  # noqa: PLC0415

        self._loaded = None
        gc.collect()  # the modules refer to each other in circles
        mx.clear_cache()

    def prepare_voice(self, prompt: VoicePrompt) -> PreparedVoice | None:
        """Compute the speaker embedding and the codes of a reference."""
        from .prompts import Reference  # noqa: PLC0415

        if prompt.audio is None:
            return None
        model = self._model
        samples = prompt.audio.samples.reshape(-1)
        speaker, codes = model.speaker_embedding(samples), model.codec.encode(samples)
        cloned = _ClonedVoice(Reference(speaker, codes), model.codec.context(codes))
        return PreparedVoice(cloned, speaker.nbytes + codes.nbytes + cloned.heard.size)

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        """Yield 0.16 seconds, then chunks that grow to 0.64 seconds.

        :raises RequestError: if there is no voice to speak with, or the speech does not end.
        """
        batch = self.open_batch()
        try:
            batch.add(0, request)
            while not request.cancel.cancelled:
                for _, item in batch.step():
                    if item is None:
                        return
                    if isinstance(item, Exception):
                        raise item
                    yield item
        finally:
            batch.close()

    def open_batch(self) -> SpeechBatch:
        from .batch import Qwen3TtsBatch  # noqa: PLC0415

        return Qwen3TtsBatch(self._model, self._understand)

    @property
    def _model(self) -> LoadedModel:
        if self._loaded is None:
            raise RuntimeError("The model is not loaded.")
        return self._loaded

    @property
    def _variant(self) -> Variant:
        if Feature.VOICE_CLONING in self.model.features:
            return "base"
        return "voice_design" if Feature.VOICE_DESIGN in self.model.features else "custom_voice"

    def _understand(self, request: SpeechRequest) -> Utterance | None:
        from .batch import Utterance  # noqa: PLC0415

        params: Qwen3TtsParams = request.params
        voice, variant = request.voice, self._variant
        if params.x_vector_only_mode and variant != "base":
            raise RequestError(
                f"Model {self.model.id!r} clones no voices.", param="x_vector_only_mode"
            )
        cloned = self._cloned(voice, params) if variant == "base" else None
        speaker = self._speaker(voice) if variant == "custom_voice" else None
        instructions = None
        if Feature.INSTRUCTIONS in self.model.features:
            instructions = " ".join(filter(None, (voice.description, request.instructions)))
        if variant == "voice_design" and not instructions:
            raise RequestError(
                "This model makes a voice from a description: say in instructions how it should "
                "sound.",
                param="instructions",
            )
        language = language_of(request.language)
        if not request.text.strip():
            return None
        goes_on = cloned is not None and cloned.reference.codes is not None
        prompt = self._model.prompter.write(
            request.text,
            language=language,
            speaker=speaker,
            instructions=instructions,
            reference=None if cloned is None else cloned.reference,
        )
        heard = cloned.heard if cloned is not None and goes_on else None
        return Utterance(prompt, _sampling(params, self._model.defaults, goes_on), heard)

    def _cloned(self, voice: VoicePrompt, params: Qwen3TtsParams) -> _ClonedVoice:
        if voice.audio is None:
            raise PromptError(
                f"Model {self.model.id!r} has no voices of its own. Send a recording to clone in "
                "ref_audio with its transcript in ref_text, or the name of a stored voice.",
                param="voice",
            )
        cloned: _ClonedVoice = voice.prepared
        if params.x_vector_only_mode:
            return replace(cloned, reference=replace(cloned.reference, codes=None))
        if voice.text is None or not voice.text.strip():
            raise PromptError(
                "Cloning needs to know what is said in the reference: send it in ref_text, or set "
                "x_vector_only_mode.",
                param="ref_text",
            )
        return replace(cloned, reference=replace(cloned.reference, text=voice.text))

    def _speaker(self, voice: VoicePrompt) -> str:
        if voice.preset not in self._model.speakers:
            raise PromptError(
                f"The checkpoint has no voice {voice.preset!r}. It has: "
                f"{', '.join(sorted(self._model.speakers))}.",
                param="voice",
            )
        return voice.preset


def _features(checkpoint: Checkpoint) -> frozenset[Feature]:
    if checkpoint.variant == "base":
        cloning = {Feature.VOICE_CLONING, Feature.PROMPT_TEXT, Feature.PROMPT_TEXT_REQUIRED}
        return frozenset({*cloning, Feature.SEED})
    if checkpoint.variant == "voice_design":
        return frozenset({Feature.VOICE_DESIGN, Feature.INSTRUCTIONS, Feature.SEED})
    # The small model was not trained to follow any.
    led = {Feature.INSTRUCTIONS} if checkpoint.billions == 1.7 else set()
    return frozenset({*led, Feature.SEED})


def _sampling(params: Qwen3TtsParams, defaults: Sampling, goes_on: bool) -> Sampling:
    asked = params.model_dump(exclude_none=True, exclude={"x_vector_only_mode", "max_new_tokens"})
    if goes_on:
        penalty = max(defaults.repetition_penalty, CLONING_PENALTY)
        asked = {"repetition_penalty": penalty, **asked}
    if params.max_new_tokens is not None:
        asked["max_frames"] = params.max_new_tokens
    return replace(defaults, **asked)


def _kebab(name: str) -> str:
    return (
        name.replace("CustomVoice", "custom-voice").replace("VoiceDesign", "voice-design").lower()
    )
