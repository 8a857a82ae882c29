"""The speech tokenizer: audio to codes (for references) and codes to audio."""

from __future__ import annotations

from .talker import CODES, GROUPS
from .tensors import Tensors

_LATENT, _QUANTIZED, _LAST = 16, 144, 8
_FILTERS = 4

_ENCODER = {
    "audio_channels": 1,
    "num_filters": _FILTERS,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 64,
    "codebook_size": CODES,
    "codebook_dim": 16,
    "vector_quantization_hidden_dimension": 16,
    "num_quantizers": GROUPS,
    "num_semantic_quantizers": 1,
    "upsampling_ratios": [8, 6, 5, 4],
    "kernel_size": 7,
    "last_kernel_size": 3,
    "residual_kernel_size": 3,
    "num_residual_layers": 1,
    "dilation_growth_rate": 2,
    "compress": 2,
    "use_causal_conv": True,
    "use_conv_shortcut": False,
    "sliding_window": 250,
    "max_position_embeddings": 8000,
    "rope_theta": 10_000.0,
    "norm_eps": 1e-5,
    "hidden_act": "gelu",
    "layer_scale_initial_scale": 0.01,
    "sampling_rate": 24_000,
    "upsample_groups": 32,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "frame_rate": 12.5,
}
# Without blocks at the high rates, which would cost seconds for each second of audio.
_DECODER = {
    "codebook_size": CODES,
    "codebook_dim": _QUANTIZED,
    "latent_dim": _LATENT,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_quantizers": GROUPS,
    "num_semantic_quantizers": 1,
    "decoder_dim": _LAST,
    "upsample_rates": [],
    "upsampling_ratios": [16, 15, 8],
    "max_position_embeddings": 8000,
    "rope_theta": 10_000.0,
    "sliding_window": 72,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "layer_scale_initial_scale": 0.01,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "vector_quantization_hidden_dimension": 72,
}
CONFIG = {
    "architectures": ["Qwen3TTSTokenizerV2Model"],
    "model_type": "qwen3_tts_tokenizer_12hz",
    "encoder_valid_num_quantizers": GROUPS,
    "input_sample_rate": 24_000,
    "output_sample_rate": 24_000,
    "encode_downsample_rate": 1920,
    "decode_upsample_rate": 1920,
    "encoder_config": _ENCODER,
    "decoder_config": _DECODER,
}


def fill(tensors: Tensors) -> None:
    """Add all tensors of `speech_tokenizer`."""
    _encoder(tensors)
    _decoder(tensors)


def _encoder(tensors: Tensors) -> None:
    layers = "encoder.encoder.layers"
    tensors.conv(f"{layers}.0.conv", _FILTERS, 1, 7)
    for index, ratio in enumerate((4, 5, 6, 8)):
        width, first = _FILTERS * 2**index, 1 + 3 * index
        tensors.conv(f"{layers}.{first}.block.1.conv", width // 2, width, 3)
        tensors.conv(f"{layers}.{first}.block.3.conv", width, width // 2, 1)
        tensors.conv(f"{layers}.{first + 2}.conv", 2 * width, width, 2 * ratio)
    tensors.conv(f"{layers}.14.conv", 32, _FILTERS * 16, 3)
    layer = "encoder.encoder_transformer.layers.0"
    for part in "qkvo":
        tensors.normal(f"{layer}.self_attn.{part}_proj.weight", 32, 32)
    tensors.normal(f"{layer}.mlp.fc1.weight", 64, 32)
    tensors.normal(f"{layer}.mlp.fc2.weight", 32, 64)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        tensors.full(f"{layer}.{norm}.weight", 32, value=1)
        tensors.full(f"{layer}.{norm}.bias", 32)
    for scale in ("self_attn_layer_scale", "mlp_layer_scale"):
        tensors.full(f"{layer}.{scale}.scale", 32, value=0.01)
    tensors.normal("encoder.downsample.conv.weight", 32, 32, 4)
    for kind, count in (("semantic", 1), ("acoustic", GROUPS - 1)):
        name = f"encoder.quantizer.{kind}_residual_vector_quantizer"
        tensors.normal(f"{name}.input_proj.weight", 16, 32, 1)
        tensors.normal(f"{name}.output_proj.weight", 32, 16, 1)
        for index in range(count):
            codebook = f"{name}.layers.{index}.codebook"
            tensors.full(f"{codebook}.initialized", 1, value=1)
            tensors.full(f"{codebook}.cluster_usage", CODES, value=1)
            entries = tensors.normal(f"{codebook}.embed_sum", CODES, 16, scale=0.05)
            if kind == "semantic":
                entries[CODES // 2 :] += 1e3  # out of reach: these mark generated speech


def _decoder(tensors: Tensors) -> None:
    for kind, count in (("rvq_first", 1), ("rvq_rest", GROUPS - 1)):
        name = f"decoder.quantizer.{kind}"
        tensors.normal(f"{name}.input_proj.weight", _QUANTIZED // 2, _QUANTIZED, 1)
        tensors.normal(f"{name}.output_proj.weight", _QUANTIZED, _QUANTIZED // 2, 1)
        for index in range(count):
            codebook = f"{name}.vq.layers.{index}._codebook"
            tensors.full(f"{codebook}.cluster_usage", CODES, value=1)
            tensors.normal(f"{codebook}.embedding_sum", CODES, _QUANTIZED // 2, scale=1)
    tensors.conv("decoder.pre_conv.conv", _LATENT, _QUANTIZED, 3)
    name = "decoder.pre_transformer"
    for part, shape in (("input", (32, _LATENT)), ("output", (_LATENT, 32))):
        tensors.normal(f"{name}.{part}_proj.weight", *shape)
        tensors.full(f"{name}.{part}_proj.bias", shape[0])
    tensors.full(f"{name}.norm.weight", 32, value=1)
    layer = f"{name}.layers.0"
    for part in "qkvo":
        tensors.normal(f"{layer}.self_attn.{part}_proj.weight", 32, 32)
    for part, shape in (("gate", (64, 32)), ("up", (64, 32)), ("down", (32, 64))):
        tensors.normal(f"{layer}.mlp.{part}_proj.weight", *shape)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        tensors.full(f"{layer}.{norm}.weight", 32, value=1)
    for scale in ("self_attn_layer_scale", "mlp_layer_scale"):
        tensors.full(f"{layer}.{scale}.scale", 32, value=0.01)
    for index, ratio in enumerate((16, 15, 8)):
        block = f"decoder.upsample.{index}"
        tensors.normal(f"{block}.0.conv.weight", _LATENT, _LATENT, ratio, scale=_LATENT**-0.5)
        tensors.full(f"{block}.0.conv.bias", _LATENT)
        tensors.conv(f"{block}.1.dwconv.conv", _LATENT, 1, 7)
        tensors.full(f"{block}.1.norm.weight", _LATENT, value=1)
        tensors.full(f"{block}.1.norm.bias", _LATENT)
        for part, shape in (("1", (4 * _LATENT, _LATENT)), ("2", (_LATENT, 4 * _LATENT))):
            tensors.normal(f"{block}.1.pwconv{part}.weight", *shape)
            tensors.full(f"{block}.1.pwconv{part}.bias", shape[0])
        tensors.full(f"{block}.1.gamma", _LATENT, value=0.1)
    tensors.conv("decoder.decoder.0.conv", _LAST, _LATENT, 7)
    tensors.full("decoder.decoder.1.alpha", _LAST)
    tensors.full("decoder.decoder.1.beta", _LAST)
    tensors.normal("decoder.decoder.2.conv.weight", 1, _LAST, 7, scale=0.015)
    tensors.full("decoder.decoder.2.conv.bias", 1)
