"""The networks, in ONNX Runtime: text and reference in, spectrum out; spectrum in, audio out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unisono import EngineUnavailable

from .features import inverse_stft
from .options import ZipVoiceSettings

NO_RUNTIME = "ZipVoice needs ONNX Runtime: pip install onnxruntime"


@dataclass(frozen=True, eq=False)
class Passage:
    """Tokens to speak after a reference, and how."""

    tokens: Sequence[int]
    prompt_tokens: Sequence[int]
    features: np.ndarray
    """Of the reference."""
    speed: float
    num_steps: int
    guidance_scale: float
    t_shift: float

    @property
    def frames(self) -> int:
        """How long the speech is: at the pace of the reference, token by token."""
        pace = np.float32(len(self.features)) / np.float32(len(self.prompt_tokens))
        return int(np.ceil(pace * np.float32(len(self.tokens)) / np.float32(self.speed)))


class AcousticModel(Protocol):
    """Turns a passage into features."""

    def speak(
        self, passage: Passage, random: np.random.Generator, cancelled: Callable[[], bool]
    ) -> np.ndarray | None:
        """Return scaled features shaped (frames, dimensions), or None once cancelled."""


class OnnxModel:
    """`zipvoice` and `zipvoice_distill`, as upstream's `onnx_export` writes them.

    :param paths: of the text encoder and of the decoder.
    """

    def __init__(self, paths: Sequence[Path], settings: ZipVoiceSettings) -> None:
        encoder, decoder = paths
        self._encoder = open_session(encoder, settings)
        self._decoder = open_session(decoder, settings)

    def speak(
        self, passage: Passage, random: np.random.Generator, cancelled: Callable[[], bool]
    ) -> np.ndarray | None:
        """Integrate the flow from noise to speech in Euler steps."""
        heard = len(passage.features)
        condition = self._condition(passage)
        length = condition.shape[1]
        x = random.standard_normal((1, length, passage.features.shape[1]), dtype=np.float32)
        speech = np.zeros_like(x)
        speech[0, :heard] = passage.features
        guidance = np.array(passage.guidance_scale, np.float32)
        times = np.linspace(0, 1, passage.num_steps + 1, dtype=np.float32)
        shift = np.float32(passage.t_shift)
        times = shift * times / (1 + (shift - 1) * times)
        for now, then in pairwise(times):
            if cancelled():
                return None
            velocity = self._decoder.run(
                None,
                {
                    "t": np.array(now),
                    "x": x,
                    "text_condition": condition,
                    "speech_condition": speech,
                    "guidance_scale": guidance,
                },
            )[0]
            x = x + velocity * (then - now)
        features: np.ndarray = x[0, heard:]
        return features

    def _condition(self, passage: Passage) -> np.ndarray:
        """Spread the text over the frames of the reference and of the speech.

        The exported encoder divides by speed what belongs to the reference as well, which can
        leave no frames for the speech. So it gets the speed that makes the length right.
        """
        heard, prompt = len(passage.features), len(passage.prompt_tokens)
        tokens = prompt + len(passage.tokens)
        length = heard + passage.frames
        speed = heard / prompt * tokens / (length - 0.5)  # it rounds up
        condition: np.ndarray = self._encoder.run(
            None,
            {
                "tokens": np.array([passage.tokens], np.int64),
                "prompt_tokens": np.array([passage.prompt_tokens], np.int64),
                "prompt_features_len": np.array(heard, np.int64),
                "speed": np.array(speed, np.float32),
            },
        )[0]
        return condition


class Vocoder:
    """Vocos without its last step, the inverse Fourier transform.

    :param path: of an ONNX file with the outputs magnitude, cosine and sine of the phase.
    """

    def __init__(self, path: Path, settings: ZipVoiceSettings) -> None:
        self._session = open_session(path, settings)
        self._input = self._session.get_inputs()[0].name

    def decode(self, mels: np.ndarray) -> np.ndarray:
        """Return the samples of a logarithmic mel spectrogram shaped (frames, 100)."""
        batch = np.ascontiguousarray(mels.T[None], np.float32)
        magnitude, cosine, sine = self._session.run(None, {self._input: batch})
        samples = inverse_stft(magnitude[0] * (cosine[0] + 1j * sine[0]))
        return samples.clip(-1, 1)


def open_session(path: Path, settings: ZipVoiceSettings) -> Any:
    """Load an ONNX file.

    :raises EngineUnavailable: without ONNX Runtime, without the device, or if the file is damaged.
    """
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError:
        raise EngineUnavailable(NO_RUNTIME) from None
    providers = ["CPUExecutionProvider"]
    if settings.device == "cuda":
        providers.insert(0, "CUDAExecutionProvider")
        if providers[0] not in onnxruntime.get_available_providers():
            raise EngineUnavailable("device cuda needs: pip install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.log_severity_level = 3  # errors; it warns of what exporters leave behind
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # it has a class of its own for every kind of damage
        raise EngineUnavailable(f"{path.name} cannot be loaded: {type(error).__name__}.") from error
