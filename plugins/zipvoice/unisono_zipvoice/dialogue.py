"""The dialogue models, which exist for torch only: upstream's code, from the operator's clone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from unisono import EngineUnavailable

from .files import ModelFiles
from .models import Passage
from .options import ZipVoiceSettings
from .tokens import SPEAKERS, Tokenizer


class UpstreamModel:
    """`zipvoice_dialog` and `zipvoice_dialog_stereo`.

    :raises EngineUnavailable: if torch or something else that upstream needs is missing.
    """

    def __init__(self, files: ModelFiles, tokenizer: Tokenizer, settings: ZipVoiceSettings) -> None:
        _import_from(settings.source_dir)
        try:
            import torch  # noqa: PLC0415
            from zipvoice.models.zipvoice_dialog import (  # noqa: PLC0415
                ZipVoiceDialog,
                ZipVoiceDialogStereo,
            )
        except ImportError as error:
            raise EngineUnavailable(
                f"Dialogue models need what upstream's requirements.txt lists: {error}."
            ) from error
        self._torch = torch
        if settings.threads:
            torch.set_num_threads(settings.threads)
        config = json.loads(files.config.read_text(encoding="utf-8"))["model"]
        stereo = settings.model == "zipvoice_dialog_stereo"
        first, second = (tokenizer.numbers[speaker] for speaker in SPEAKERS)
        model = (ZipVoiceDialogStereo if stereo else ZipVoiceDialog)(
            **config,
            vocab_size=len(tokenizer.numbers),
            pad_id=tokenizer.numbers["_"],
            spk_a_id=first,
            spk_b_id=second,
        )
        model.load_state_dict(_read_weights(torch, files.acoustic[0]))
        self._model = model.to(settings.device).eval()
        self._device = settings.device

    def speak(
        self, passage: Passage, random: np.random.Generator, cancelled: Callable[[], bool]
    ) -> np.ndarray | None:
        """Let upstream sample; it cannot be interrupted."""
        torch = self._torch
        if cancelled():
            return None
        torch.manual_seed(int(random.integers(2**63)))
        features = torch.from_numpy(passage.features[None]).to(self._device)
        with torch.inference_mode():
            spoken, _, _, _ = self._model.sample(
                tokens=[list(passage.tokens)],
                prompt_tokens=[list(passage.prompt_tokens)],
                prompt_features=features,
                prompt_features_lens=torch.tensor([features.shape[1]], device=self._device),
                speed=passage.speed,
                t_shift=passage.t_shift,
                duration="predict",
                num_step=passage.num_steps,
                guidance_scale=passage.guidance_scale,
            )
        result: np.ndarray = spoken[0].cpu().numpy()
        return result


def _import_from(source: Path | None) -> None:
    """Let `zipvoice` mean the clone; what PyPI has under this name is an empty shell."""
    if source is not None and (path := str(source.resolve())) not in sys.path:
        sys.path.insert(0, path)


def _read_weights(torch: Any, path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file  # noqa: PLC0415

        return load_file(path)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return weights.get("model", weights)
