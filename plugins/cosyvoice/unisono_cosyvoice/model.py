"""A model of CosyVoice in memory.

Together with `checkout`, `mending` and `watch` this is all that knows upstream's code.
"""

from __future__ import annotations

import gc
import inspect
import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from unisono import CancelToken, EngineUnavailable

from . import checkout
from .checkpoints import Checkpoint, local
from .manners import Manner
from .mending import Recording
from .options import CosyVoiceSettings
from .watch import Stopped, Watch

logger = logging.getLogger(__name__)

_CLASSES = {1: "CosyVoice", 2: "CosyVoice2", 3: "CosyVoice3"}
_ID = "unisono"
"""Name of the speaker of the moment."""

Features = Mapping[str, Any]
"""What upstream keeps of a speaker: its embedding alone, or all that it computes of a recording."""


@dataclass(frozen=True)
class Utterance:
    """What to say, and how."""

    text: str
    manner: Manner
    speaker: Features
    normalize: bool
    stream: bool
    seed: int | None


class LoadedModel:
    """A model in memory. Everything here runs on one thread, one call at a time.

    :param upstream: its `CosyVoice`, `CosyVoice2` or `CosyVoice3`.
    """

    def __init__(self, upstream: Any, modules: checkout.Checkout) -> None:
        self._upstream = upstream
        self._modules = modules
        self._hop: int | None = vars(upstream.model).get("token_hop_len")
        # Until December 2025 it took a tensor at 16 kHz in place of a file.
        parameters = inspect.signature(upstream.add_zero_shot_spk).parameters
        self._takes_tensors = "prompt_speech_16k" in parameters

    @property
    def speakers(self) -> Mapping[str, Features]:
        """The model's own speakers."""
        found: Mapping[str, Features] = self._upstream.frontend.spk2info
        return found

    def features(self, samples: np.ndarray, rate: int, transcript: str) -> Features:
        """Compute what speaks with the voice of a recording.

        :param transcript: as the model wants it; empty if unknown.
        """
        frontend = self._upstream.frontend
        recording: Any = Recording(samples, rate, self._upstream.sample_rate)
        if self._takes_tensors:
            recording = self._modules.frontend.torch.from_numpy(recording.at(16_000))
        try:
            text = frontend.text_normalize(transcript, split=False, text_frontend=True)
            self._upstream.add_zero_shot_spk(text, recording, _ID)
            found: Features = frontend.spk2info[_ID]
        finally:
            frontend.spk2info.pop(_ID, None)
        return found

    def speak(self, utterance: Utterance, cancel: CancelToken) -> Iterator[np.ndarray]:
        """Yield samples as they come; nothing if there is nothing to say, or nobody listens."""
        # A model that was loaded starts from a fixed seed, so chance needs one, too.
        seed = secrets.randbits(32) if utterance.seed is None else utterance.seed % 2**32
        self._modules.common.set_all_random_seed(seed)
        frontend = self._upstream.frontend
        pieces = frontend.text_normalize(
            utterance.text.strip(), split=True, text_frontend=utterance.normalize
        )
        try:
            frontend.spk2info[_ID] = self._speaker(utterance)
            for piece in pieces:
                if any(map(str.isalnum, piece)):
                    yield from self._piece(utterance, piece, cancel)
        except Stopped:
            return
        finally:
            frontend.spk2info.pop(_ID, None)

    def _piece(self, utterance: Utterance, piece: str, cancel: CancelToken) -> Iterator[np.ndarray]:
        with (
            Watch(self._upstream.model, self._hop, cancel),
            closing(self._call(utterance, piece)) as outputs,
        ):
            for output in outputs:
                samples = _samples(output["tts_speech"])
                if len(samples):
                    yield samples

    def _call(self, utterance: Utterance, piece: str) -> Any:
        """Call upstream; the text is as it should be already."""
        manner = utterance.manner
        text = manner.words(piece)
        how = {"stream": utterance.stream, "text_frontend": False}
        up = self._upstream
        if manner.mode == "sft":
            return up.inference_sft(text, _ID, **how)
        if manner.mode == "instruct":
            return up.inference_instruct(text, _ID, manner.prompt, **how)
        if manner.mode == "cross_lingual":
            return up.inference_cross_lingual(text, "", _ID, **how)
        if manner.mode == "instruct2":
            return up.inference_instruct2(text, manner.prompt, "", _ID, **how)
        return up.inference_zero_shot(text, "", "", _ID, **how)

    def _speaker(self, utterance: Utterance) -> Features:
        manner = utterance.manner
        if manner.mode != "instruct2":
            return utterance.speaker
        # With a prepared speaker `inference_instruct2` ignores the instructions: it would go by the
        # transcript that was given when the speaker was prepared. And it takes trained speakers,
        # who are an embedding alone, only if there is something in the place of the recording.
        speaker = utterance.speaker
        if "embedding" in speaker:
            embedding = speaker["embedding"]
            speaker = {"llm_embedding": embedding, "flow_embedding": embedding}
        tokens, length = self._upstream.frontend._extract_text_token(manner.prompt)
        prompt = {"prompt_text": tokens, "prompt_text_len": length}
        dropped = {"llm_prompt_speech_token": tokens, "llm_prompt_speech_token_len": length}
        return {**speaker, **prompt, **dropped}

    def release(self) -> None:
        """Give back what the device holds."""
        torch = self._modules.frontend.torch
        del self._upstream
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def load(settings: CosyVoiceSettings, checkpoint: Checkpoint) -> LoadedModel:
    """Bring a model into memory. Downloads nothing.

    :raises EngineUnavailable: if upstream or the model is not complete.
    """
    folder = local(settings.model_dir)
    if not folder.is_dir():
        raise EngineUnavailable("The folder that the setting model_dir names does not exist.")
    modules = checkout.load(local(settings.source_dir))
    torch = modules.frontend.torch
    if not torch.cuda.is_available():
        torch.set_num_threads(settings.cpu_threads)
    flags = {name: True for name in ("fp16", "load_jit", "load_trt") if getattr(settings, name)}
    name = _CLASSES[checkpoint.version]
    factory = getattr(modules.cli, name, None)
    if factory is None:
        raise EngineUnavailable(f"This checkout of CosyVoice has no {name}; it is too old.")
    try:
        upstream = factory(str(folder), **flags)
        if settings.speakers is not None:
            device = upstream.frontend.device
            more = torch.load(str(local(settings.speakers)), map_location=device, weights_only=True)
            upstream.frontend.spk2info = {**more, **upstream.frontend.spk2info}
    except Exception as error:  # whatever upstream thinks of the files
        logger.warning("CosyVoice cannot load %s.", folder, exc_info=True)
        raise EngineUnavailable(
            f"CosyVoice cannot load the model ({type(error).__name__}): the server's log says more."
        ) from error
    return LoadedModel(upstream, modules)


def size_of(features: Features) -> int:
    """Return how many bytes the tensors of a speaker hold."""
    return sum(int(tensor.nbytes) for tensor in features.values())


def _samples(tensor: Any) -> np.ndarray:
    """Return a tensor's samples, (frames,)."""
    samples = np.asarray(tensor.cpu().numpy(), np.float32).reshape(-1)
    return np.clip(samples, -1.0, 1.0)
