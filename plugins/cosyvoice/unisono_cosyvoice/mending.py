"""What in upstream's modules has to be replaced, so that they do what they are meant to.

Everything is done once for each import, and to names in upstream's own modules wherever possible.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

_TOKEN_RATE = 16_000


@dataclass(frozen=True, eq=False)
class Recording:
    """A reference, in place of the path of a file that upstream would read three times."""

    samples: np.ndarray
    rate: int
    model_rate: int
    """Hertz of the model's own audio."""

    def at(self, rate: int) -> np.ndarray:
        """Return the samples at another rate, (1, samples)."""
        import soxr  # noqa: PLC0415 - only for clones

        samples = self.samples
        if rate != self.rate:
            samples = soxr.resample(samples, self.rate, rate)
        return np.ascontiguousarray(np.clip(samples, -1, 1), np.float32)[None]


def mend_frontend(cli: Any, frontend: Any) -> None:
    """Read recordings from memory, at the rate that is right, and draw no progress bars.

    Since December 2025 the mel spectrogram of a prompt is computed at 24 kHz for every model, which
    lowers the voice of a prompt by 1.5 semitones in CosyVoice 1, whose audio has 22.05 kHz.
    torchaudio from 2.9 reads files only with a further package.
    """

    def load_wav(wav: Recording, target_sr: int, min_sr: int = _TOKEN_RATE) -> Any:
        rate = target_sr if target_sr == _TOKEN_RATE else wav.model_rate
        return frontend.torch.from_numpy(wav.at(rate))

    frontend.load_wav = load_wav
    cli.tqdm = _as_they_are


def _as_they_are(pieces: Iterable[str]) -> Iterable[str]:
    return pieces


def mend_qwen(llm: Any) -> None:
    """Make the language model of CosyVoice 2 and 3 right with current transformers.

    Upstream gives an attention mask of one position for a cache that holds all of them. Up to
    transformers 4.52 that was ignored; since then the model attends to the wrong positions, and
    the speech is garbled. There is one sequence and no padding, so no mask is needed at all.
    Likewise, weights are no longer loaded as float32 unless asked, nor do caches have indices.

    :param llm: cosyvoice.llm.llm.
    """
    encoder = llm.Qwen2Encoder

    def __init__(self: Any, pretrain_path: str) -> None:
        llm.torch.nn.Module.__init__(self)
        # The old name of `dtype`, which all versions know.
        self.model = llm.Qwen2ForCausalLM.from_pretrained(
            pretrain_path, torch_dtype=llm.torch.float32
        )

    def forward_one_step(self: Any, xs: Any, masks: Any, cache: Any = None) -> tuple[Any, Any]:
        outs = self.model(
            inputs_embeds=xs,
            attention_mask=None,
            output_hidden_states=True,
            return_dict=True,
            use_cache=True,
            past_key_values=cache,
        )
        _mend_cache(type(outs.past_key_values))
        return outs.hidden_states[-1], outs.past_key_values

    encoder.__init__ = __init__
    encoder.forward_one_step = forward_one_step


def _mend_cache(cache: Any) -> None:
    if not issubclass(cache, tuple) and "__getitem__" not in dir(cache):
        cache.__getitem__ = _layer


def _layer(cache: Any, index: int) -> tuple[Any, Any]:
    layer = cache.layers[index]
    return layer.keys, layer.values


def mend_spectrogram(audio: Any) -> None:
    """Let CosyVoice 1 and 2 live in one process.

    Matcha keeps filters and windows by their highest frequency only, whatever their size.

    :param audio: matcha.utils.audio.
    """
    original = audio.mel_spectrogram
    kept: dict[tuple[Any, ...], tuple[dict[str, Any], dict[str, Any]]] = {}

    def mel_spectrogram(
        y: Any,
        n_fft: int,
        num_mels: int,
        sampling_rate: int,
        hop_size: int,
        win_size: int,
        fmin: float,
        fmax: float | None,
        center: bool = False,
    ) -> Any:
        key = n_fft, num_mels, sampling_rate, win_size, fmin, fmax
        audio.mel_basis, audio.hann_window = kept.setdefault(key, ({}, {}))
        return original(y, n_fft, num_mels, sampling_rate, hop_size, win_size, fmin, fmax, center)

    audio.mel_spectrogram = mel_spectrogram
