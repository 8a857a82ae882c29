"""The engine: ZipVoice behind unisono's interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from unisono import (
    AudioChunk,
    Engine,
    EngineUnavailable,
    Feature,
    ModelInfo,
    PreparedVoice,
    PromptError,
    Settings,
    SpeechRequest,
    Task,
    VoicePrompt,
    Weights,
)

from .files import find_files, missing_files, weights_of
from .options import GUIDANCE, ZipVoiceParams, ZipVoiceSettings

if TYPE_CHECKING:  # these need numpy
    from .prompts import Reference
    from .speaker import Speaker

SAMPLE_RATE = 24_000
_MEMORY_BYTES = 800_000_000
"""123 million parameters as float32, the vocoder, and a stretch of 25 seconds; not measured on a
graphics card."""
_SHORTEST_SECONDS = 0.5


class ZipVoiceEngine(Engine):
    """ZipVoice: any voice from three seconds of it, in Chinese and English."""

    name = "zipvoice"
    params_type = ZipVoiceParams
    settings_type = ZipVoiceSettings
    settings: ZipVoiceSettings

    _loaded: Speaker | None = None

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        """Serve the two models that upstream publishes as ONNX."""
        return {
            "zipvoice": ZipVoiceSettings(model="zipvoice"),
            "zipvoice_distill": ZipVoiceSettings(model="zipvoice_distill"),
        }

    @classmethod
    def describe(cls, settings: ZipVoiceSettings) -> ModelInfo:
        features = {
            Feature.VOICE_CLONING,
            Feature.PROMPT_TEXT,
            Feature.PROMPT_TEXT_REQUIRED,
            Feature.SPEED,
            Feature.SEED,
            Feature.LONG_TEXT,
        }
        if settings.dialogue:
            features.add(Feature.DIALOGUE)
        return ModelInfo(
            Task.SPEECH,
            languages=("zh", "en"),
            sample_rate=SAMPLE_RATE,
            features=frozenset(features),
            memory_bytes=_MEMORY_BYTES,
            prompt_rate=SAMPLE_RATE,
            prompt_seconds=(_SHORTEST_SECONDS, settings.max_prompt_seconds),
        )

    @classmethod
    def weights(cls, settings: ZipVoiceSettings) -> Sequence[Weights]:
        return weights_of(settings)

    def problems(self) -> Iterable[str]:
        yield from missing_files(self.settings)
        from .models import NO_RUNTIME  # noqa: PLC0415
        from .phonemes import load  # noqa: PLC0415

        try:
            import onnxruntime  # noqa: F401, PLC0415
        except ImportError:
            yield NO_RUNTIME
        try:
            load()
        except EngineUnavailable as error:
            yield str(error)

    def load(self) -> None:
        """Load the networks, and what Chinese needs; downloads nothing.

        :raises EngineUnavailable: if files or libraries are missing.
        """
        from .speaker import Speaker  # noqa: PLC0415

        self._loaded = Speaker(find_files(self.settings), self.settings)

    def unload(self) -> None:
        self._loaded = None

    def prepare_voice(self, prompt: VoicePrompt) -> PreparedVoice | None:
        """Compute the spectrum of a reference; those of a dialogue belong together."""
        from .prompts import hear  # noqa: PLC0415

        if prompt.audio is None or self.settings.dialogue:
            return None
        reference = hear(prompt.audio.samples.reshape(-1))
        return PreparedVoice(reference, reference.features.nbytes)

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        """Yield stretches of up to 25 seconds with the reference (40 in a dialogue).

        :raises RequestError: if there is nothing in Chinese or English to say.
        """
        from .prompts import hear  # noqa: PLC0415
        from .speaker import Manner  # noqa: PLC0415

        if self._loaded is None:
            raise RuntimeError("The model is not loaded.")
        params: ZipVoiceParams = request.params
        guidance, steps = params.guidance_scale, params.num_steps
        manner = Manner(
            speed=request.speed,
            num_steps=self.settings.num_steps if steps is None else steps,
            guidance_scale=GUIDANCE[self.settings.model] if guidance is None else guidance,
            t_shift=params.t_shift,
            shorten_pauses=params.remove_long_silence,
            max_seconds=params.max_duration,
            volume=params.volume_multiplier,
            seed=request.seed,
            language=request.language,
        )
        if self.settings.dialogue:
            from .script import write_script  # noqa: PLC0415

            stereo = self.settings.model == "zipvoice_dialog_stereo"
            script = write_script(request.turns, stereo=stereo)
            reference, prompt_text, text = hear(script.samples), script.prompt_text, script.text
        else:
            reference, prompt_text = _cloned(request.voice)
            text = request.text
        cancelled = request.cancel
        for samples in self._loaded.speak(
            text, prompt_text, reference, manner, lambda: cancelled.cancelled
        ):
            yield AudioChunk(samples, SAMPLE_RATE)


def _cloned(voice: VoicePrompt) -> tuple[Reference, str]:
    if voice.prepared is None:
        raise PromptError(
            "ZipVoice has no voices of its own: send a recording, or name a stored voice.",
            param="voice",
        )
    if voice.text is None or not voice.text.strip():
        raise PromptError("ZipVoice needs to know what is said in the recording.", param="ref_text")
    reference: Reference = voice.prepared
    return reference, voice.text
