"""The encoder that turns a reference into a speaker embedding."""

from __future__ import annotations

from .talker import WIDTH
from .tensors import Tensors

_CHANNELS, _SCALE = 72, 8

CONFIG = {
    "mel_dim": 128,
    "enc_dim": WIDTH,
    "enc_channels": [_CHANNELS] * 3,
    "enc_kernel_sizes": [5, 3, 1],
    "enc_dilations": [1, 2, 1],
    "enc_attention_channels": _CHANNELS,
    "enc_res2net_scale": _SCALE,
    "enc_se_channels": _CHANNELS,
    "sample_rate": 24_000,
}


def fill(tensors: Tensors) -> None:
    """Add all tensors below `speaker_encoder`."""
    name = "speaker_encoder"
    tensors.conv(f"{name}.blocks.0.conv", _CHANNELS, 128, 5)
    block = f"{name}.blocks.1"
    tensors.conv(f"{block}.tdnn1.conv", _CHANNELS, _CHANNELS, 1)
    for index in range(_SCALE - 1):
        width = _CHANNELS // _SCALE
        tensors.conv(f"{block}.res2net_block.blocks.{index}.conv", width, width, 3)
    for part in ("tdnn2.conv", "se_block.conv1", "se_block.conv2"):
        tensors.conv(f"{block}.{part}", _CHANNELS, _CHANNELS, 1)
    tensors.conv(f"{name}.mfa.conv", _CHANNELS, _CHANNELS, 1)
    tensors.conv(f"{name}.asp.tdnn.conv", _CHANNELS, 3 * _CHANNELS, 1)
    tensors.conv(f"{name}.asp.conv", _CHANNELS, _CHANNELS, 1)
    tensors.conv(f"{name}.fc", WIDTH, 2 * _CHANNELS, 1)
    tensors[f"{name}.fc.weight"] *= 3
    for part in ("weight", "bias"):
        tensors[f"{name}.fc.{part}"][:4] = 0  # the wired dimensions of the talker
