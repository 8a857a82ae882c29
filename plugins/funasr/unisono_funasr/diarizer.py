"""The engine that tells speakers apart: CAM++ behind unisono's interface."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from unisono import (
    DiarizationRequest,
    Engine,
    Feature,
    ModelInfo,
    Settings,
    SpeakerTurn,
    Task,
    Weights,
)

from .checkpoints import SPEAKERS, find_folder, memory_of, obstacles, weights_of
from .diarizer_options import FunASRDiarizerParams, FunASRDiarizerSettings

if TYPE_CHECKING:  # it needs numpy
    from .prints import Listener

WHOLE_SECONDS = 1800.0
"""What is heard at once; the kernel cuts what is longer, and the voices keep their names."""


class FunASRDiarizer(Engine):
    """Voiceprints of 1.5 seconds every 0.75 seconds of speech, gathered into speakers."""

    name = "funasr_speakers"
    runner = "process"  # importing FunASR holds the interpreter for seconds
    params_type = FunASRDiarizerParams
    settings_type = FunASRDiarizerSettings
    settings: FunASRDiarizerSettings

    _listener: Listener | None = None

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {SPEAKERS: FunASRDiarizerSettings()}

    @classmethod
    def describe(cls, settings: FunASRDiarizerSettings) -> ModelInfo:
        """Describe any model alike, as all know any language.

        :raises ConfigError: if `model` names none.
        """
        cls.weights(settings)  # raises
        return ModelInfo(
            Task.DIARIZATION,
            features=frozenset({Feature.KNOWN_SPEAKERS}),
            memory_bytes=memory_of([settings.model]),
            max_audio_seconds=WHOLE_SECONDS,
        )

    @classmethod
    def weights(cls, settings: FunASRDiarizerSettings) -> Sequence[Weights]:
        weights = weights_of(settings.model, settings.revision)
        return [weights] if weights else []

    def problems(self) -> Iterable[str]:
        return obstacles([("model", self.settings.model)])

    def load(self) -> None:
        """Import the library and load the model; downloads nothing.

        :raises EngineUnavailable: if a library, a file or the device is missing.
        """
        from .assembly import SPEAKER_CLASSES  # noqa: PLC0415
        from .loading import load, torch_device  # noqa: PLC0415
        from .prints import Listener  # noqa: PLC0415

        settings = self.settings
        model = load(
            find_folder(settings.model, settings.revision),
            SPEAKER_CLASSES,
            field="model",
            device=torch_device(settings.device),
            threads=settings.threads,
        )
        self._listener = Listener(model)

    def unload(self) -> None:
        self._listener = None
        gc.collect()  # modules refer to each other

    def diarize(self, request: DiarizationRequest) -> Iterator[SpeakerTurn]:
        """Yield everything at the end: who somebody is depends on all that is said.

        :raises RequestError: if the numbers of speakers contradict each other, or a known speaker
            cannot be heard.
        """
        from .speakers import find_turns  # noqa: PLC0415

        assert self._listener is not None
        samples = request.audio.samples.reshape(-1)
        yield from find_turns(
            self._listener, samples, request.known_speakers, request.params, request.cancel
        )
