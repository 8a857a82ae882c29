"""Models of CosyVoice 1, 2 and 3 with few and random weights, which upstream's own code loads.

Upstream's classes make the weights, so its strict loading takes them. Needs upstream to be
imported (`unisono_cosyvoice.checkout.load`), and onnx.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_configs import TOKENS, WIDTH, first, later

END_OF_TEXT = 151_643
"""Where Qwen2's vocabulary has it; upstream counts on 151 646 being <|endofprompt|>."""
SPEAKERS = ("中文女", "英文女")
YAML = {1: "cosyvoice.yaml", 2: "cosyvoice2.yaml", 3: "cosyvoice3.yaml"}


SMALL = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 2, "num_key_value_heads": 1}


def build(
    folder: Path,
    version: int,
    text: str | None = None,
    qwen: dict[str, int] = SMALL,
    tokens: int = TOKENS,
) -> None:
    """Write a model.

    :param text: its YAML file, if it is to be of another size; then also
    :param qwen: the size of its language model, and
    :param tokens: how many speech tokens it knows.
    """
    import torch
    from hyperpyyaml import load_hyperpyyaml

    folder.mkdir(parents=True)
    text = text or (first() if version == 1 else later(version))
    (folder / YAML[version]).write_text(text)
    overrides = {}
    if version > 1:
        blank = folder / "CosyVoice-BlankEN"
        write_qwen(blank, qwen)
        overrides = {"qwen_pretrain_path": str(blank)}
    write_frontend(folder, version, tokens)
    torch.manual_seed(0)
    parts = load_hyperpyyaml(text, overrides=overrides)
    with torch.no_grad():
        end_soon(parts["llm"], version, tokens)
    for name in ("llm", "flow", "hift"):
        torch.save(parts[name].state_dict(), folder / f"{name}.pt")
    speakers = {name: {"embedding": torch.randn(1, 192)} for name in SPEAKERS}
    torch.save(speakers, folder / "spk2info.pt")


def end_soon(llm: Any, version: int, tokens: int) -> None:
    """Let speech end where upstream first allows it to: two tokens for each of the text, or, in
    version 3, which never sets a least length, after about as many tokens as there are.
    """
    if version < 3:
        llm.llm_decoder.bias[tokens:] = -1e4
        llm.llm_decoder.bias[tokens] = 12.0
        return
    # The last layer has no bias there, so one number of the hidden state is made constant.
    qwen = llm.llm.model.model
    qwen.embed_tokens.weight[:, 0] = llm.speech_embedding.weight[:, 0] = 1.0
    for layer in qwen.layers:
        layer.self_attn.o_proj.weight[0] = layer.mlp.down_proj.weight[0] = 0.0
    llm.llm_decoder.weight[:, 0] = 0.0
    llm.llm_decoder.weight[tokens:, 0] = -1e4
    llm.llm_decoder.weight[tokens + 1, 0] = 0.0


def write_qwen(folder: Path, size: dict[str, int]) -> None:
    """Write a language model that stores bfloat16, and a tokenizer that knows bytes alone."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder.mkdir()
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in visible] + [chr(256 + n) for n in range(256 - len(visible))]
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    vocabulary = {letter: index for index, letter in enumerate(sorted(letters))}
    vocabulary |= {token: END_OF_TEXT + index for index, token in enumerate(special)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    added = {
        str(END_OF_TEXT + index): {
            "content": token,
            "special": True,
            **dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False),
        }
        for index, token in enumerate(special)
    }
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": special[0],
        "pad_token": special[0],
        "unk_token": None,
        "added_tokens_decoder": added,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=151_936,
        **size,
        tie_word_embeddings=True,
        bos_token_id=END_OF_TEXT,
        eos_token_id=END_OF_TEXT,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def write_frontend(folder: Path, version: int, tokens: int) -> None:
    """Write what makes tokens and an embedding of a recording: means of its spectrogram."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def save(name: str, nodes: list[Any], constants: dict[str, Any], ends: list[Any]) -> None:
        arrays = [numpy_helper.from_array(np.array(v), k) for k, v in constants.items()]
        graph = helper.make_graph(nodes, "graph", ends[:-1], ends[-1:], arrays)
        opset = [helper.make_opsetid("", 18)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / name)

    node, value = helper.make_node, helper.make_tensor_value_info
    stride = 2 if version == 1 else 4
    save(
        f"speech_tokenizer_v{version}.onnx",
        [
            node("ReduceMean", ["feats", "one"], ["mean"], keepdims=1),
            node("AveragePool", ["mean"], ["slow"], kernel_shape=[stride], strides=[stride]),
            node("Squeeze", ["slow", "one"], ["flat"]),
            node("Abs", ["flat"], ["size"]),
            node("Mul", ["size", "spread"], ["large"]),
            node("Mod", ["large", "tokens"], ["token"], fmod=1),
            node("Cast", ["token"], ["indices"], to=TensorProto.INT32),
        ],
        {"one": np.array([1]), "spread": np.float32(997), "tokens": np.float32(tokens)},
        [
            value("feats", TensorProto.FLOAT, [1, 128, "T"]),
            value("feats_length", TensorProto.INT32, [1]),
            value("indices", TensorProto.INT32, [1, "U"]),
        ],
    )
    matrix = np.random.default_rng(0).normal(size=(80, 192)).astype(np.float32)
    save(
        "campplus.onnx",
        [
            node("ReduceMax", ["input", "one"], ["max"], keepdims=0),
            node("MatMul", ["max", "matrix"], ["output"]),
        ],
        {"one": np.array([1]), "matrix": matrix},
        [
            value("input", TensorProto.FLOAT, ["B", "T", 80]),
            value("output", TensorProto.FLOAT, ["B", 192]),
        ],
    )
