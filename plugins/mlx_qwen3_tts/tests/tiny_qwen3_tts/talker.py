"""The language model that writes the codes of the speech, wired so that it ends in time.

The first four dimensions of the hidden state are set by hand; everything else is random and leaves
them alone. One attention head of the last layer weighs all positions the same. So it reads off how
many text tokens stand before the speech, and how many frames of speech there are, and raises the
end's logit once there are enough frames.
"""

from __future__ import annotations

from typing import Any

from .tensors import Tensors
from .tokenizer import SPECIAL, byte_characters

WIDTH = 64
HEADS, HEAD_WIDTH, FEED_FORWARD = 2, 32, 128
CODES = 64
"""Values of a code (2048 in the real model)."""
GROUPS = 4
"""Codes in a frame (16 in the real model)."""
VOCABULARY = CODES + 1024
"""mlx-audio never lets the upper 1024 be spoken, but for the end of the speech."""
END = CODES + 102
LANGUAGE_ID = CODES + 200
SPEAKER_ID = CODES + 300
CONSTANT, TEXT, SPOKEN, STOP = range(4)
"""The dimensions that are wired."""

_LAYER = {
    "hidden_size": WIDTH,
    "intermediate_size": FEED_FORWARD,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 1,
    "head_dim": HEAD_WIDTH,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "max_position_embeddings": 4096,
    "num_code_groups": GROUPS,
    "use_cache": True,
    "use_sliding_window": False,
}


def config(text_vocabulary: int) -> dict[str, Any]:
    """Return the `talker_config`, but for languages and speakers."""
    predictor = {
        **_LAYER,
        "model_type": "qwen3_tts_talker_code_predictor",
        "vocab_size": CODES,
        "num_hidden_layers": 1,
        "layer_types": ["full_attention"],
    }
    rope = {"interleaved": True, "mrope_section": [6, 5, 5], "rope_type": "default"}
    return {
        **_LAYER,
        "model_type": "qwen3_tts_talker",
        "vocab_size": VOCABULARY,
        "num_hidden_layers": 2,
        "text_hidden_size": WIDTH,
        "text_vocab_size": text_vocabulary,
        "rope_scaling": rope,
        "position_id_per_seconds": 13,
        "code_predictor_config": predictor,
        "codec_pad_id": CODES + 100,
        "codec_bos_id": CODES + 101,
        "codec_eos_token_id": END,
        "codec_think_id": CODES + 106,
        "codec_nothink_id": CODES + 107,
        "codec_think_bos_id": CODES + 108,
        "codec_think_eos_id": CODES + 109,
    }


def fill(tensors: Tensors, ids: dict[str, int], frames_per_token: float) -> None:
    """Add all tensors below `talker`."""
    _text(tensors, ids)
    codes = _table(tensors, "talker.model.codec_embedding.weight", VOCABULARY)
    # Only speech that was generated has these codes; those of a reference are smaller.
    codes[CODES // 2 : CODES, SPOKEN] = 1
    codes[LANGUAGE_ID:, 4:] *= 10  # loud enough for languages and speakers to matter
    for layer in range(2):
        _layer(tensors, f"talker.model.layers.{layer}")
    _wire_counting(tensors, "talker.model.layers.1.self_attn", frames_per_token)
    tensors.full("talker.model.norm.weight", WIDTH, value=1)
    head = tensors.normal("talker.codec_head.weight", VOCABULARY, WIDTH, scale=2)
    head[:, :4] = 0
    head[: CODES // 2, CONSTANT] = -60
    head[END] = 0
    head[END, STOP] = 150
    predictor = "talker.code_predictor"
    for group in range(GROUPS - 1):
        _table(tensors, f"{predictor}.model.codec_embedding.{group}.weight", CODES)
        tensors.normal(f"{predictor}.lm_head.{group}.weight", CODES, WIDTH, scale=0.5)[:, :4] = 0
    _layer(tensors, f"{predictor}.model.layers.0")
    tensors.full(f"{predictor}.model.norm.weight", WIDTH, value=1)


def _text(tensors: Tensors, ids: dict[str, int]) -> None:
    """Mark what counts as text: neither special tokens, nor the roles, nor the line's end."""
    table = _table(tensors, "talker.model.text_embedding.weight", len(ids))
    table[:, CONSTANT] = 1
    line_end = byte_characters()[ord("\n")]
    table[[ids[token] for token in (*SPECIAL, "assistant", "user", line_end)], CONSTANT] = 0
    name = "talker.text_projection.linear_fc"
    first = tensors.normal(f"{name}1.weight", WIDTH, WIDTH)
    tensors.full(f"{name}1.bias", WIDTH)
    second = tensors.normal(f"{name}2.weight", WIDTH, WIDTH, scale=0.1)
    bias = tensors.full(f"{name}2.bias", WIDTH)
    first[0] = 0
    first[0, CONSTANT] = 10  # silu(10) is 10 for text, silu(0) is 0 for the rest
    second[:4] = 0
    second[TEXT, 0] = 0.1
    bias[CONSTANT] = 8  # every position adds one text embedding, so this is there once


def _wire_counting(tensors: Tensors, name: str, frames_per_token: float) -> None:
    query, value, out = (tensors[f"{name}.{part}_proj.weight"] for part in "qvo")
    query[:HEAD_WIDTH] = 0  # equal scores: the head takes the mean of all positions
    value[:2] = 0
    value[0, TEXT] = 1
    value[1, SPOKEN] = 1
    out[:, :HEAD_WIDTH] = 0
    out[STOP] = 0
    out[STOP, :2] = -40 * frames_per_token, 40


def _table(tensors: Tensors, name: str, rows: int) -> Any:
    table = tensors.normal(name, rows, WIDTH, scale=0.3)
    table[:, :4] = 0
    return table


def _layer(tensors: Tensors, name: str) -> None:
    attention = f"{name}.self_attn"
    tensors.normal(f"{attention}.q_proj.weight", HEADS * HEAD_WIDTH, WIDTH)
    tensors.normal(f"{attention}.k_proj.weight", HEAD_WIDTH, WIDTH)
    tensors.normal(f"{attention}.v_proj.weight", HEAD_WIDTH, WIDTH)
    tensors.normal(f"{attention}.o_proj.weight", WIDTH, HEADS * HEAD_WIDTH, scale=0.3)[:4] = 0
    for norm in ("q_norm", "k_norm"):
        tensors.full(f"{attention}.{norm}.weight", HEAD_WIDTH, value=1)
    tensors.normal(f"{name}.mlp.gate_proj.weight", FEED_FORWARD, WIDTH)
    tensors.normal(f"{name}.mlp.up_proj.weight", FEED_FORWARD, WIDTH)
    tensors.normal(f"{name}.mlp.down_proj.weight", WIDTH, FEED_FORWARD, scale=0.02)[:4] = 0
    for norm in ("input", "post_attention"):
        tensors.full(f"{name}.{norm}_layernorm.weight", WIDTH, value=1)
