"""Whispers of random weights, a few thousand unless told otherwise, in CTranslate2's format.

They hear nonsense, but all code runs as with real ones. The vocabulary is that of the trained
model in `data/`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

TRAINED = Path(__file__).parent / "data" / "tiny_whisper"


def build(
    folder: Path,
    *,
    english: bool = False,
    mels: int = 80,
    width: int = 16,
    heads: int = 2,
    layers: int = 1,
    seed: int = 0,
) -> Path:
    """Write a model.

    :param english: as the models of OpenAI whose names end in .en, without languages and tasks.
    :param mels: bands of the spectrogram, 128 for those from large-v3 on.
    :param layers: of the encoder, and as many of the decoder.
    :return: `folder`.
    """
    from ctranslate2.specs import WhisperSpec

    random = np.random.default_rng(seed)
    tokens = json.loads((TRAINED / "vocabulary.json").read_text("utf-8"))
    if english:  # the empty token is what tells CTranslate2 that a model is multilingual
        tokens = [token or "<|filler|>" for token in tokens]

    def weights(*shape: int) -> np.ndarray:
        return random.normal(0, 0.3, shape).astype(np.float32)

    def norm(spec: Any) -> None:
        spec.gamma, spec.beta = np.ones(width, np.float32), np.zeros(width, np.float32)

    def linear(spec: Any, out: int, into: int = width) -> None:
        spec.weight, spec.bias = weights(out, into), np.zeros(out, np.float32)

    def attention(spec: Any, *outs: int) -> None:
        norm(spec.layer_norm)
        for part, out in zip(spec.linear, outs, strict=True):
            linear(part, out)

    def feed_forward(spec: Any) -> None:
        norm(spec.layer_norm)
        linear(spec.linear_0, 4 * width)
        linear(spec.linear_1, width, 4 * width)

    spec = WhisperSpec(layers, heads, layers, heads)
    for conv, bands in ((spec.encoder.conv1, mels), (spec.encoder.conv2, width)):
        conv.weight, conv.bias = weights(width, bands, 3), np.zeros(width, np.float32)
    spec.decoder.embeddings.weight = weights(len(tokens), width)
    linear(spec.decoder.projection, len(tokens))
    for part, length in ((spec.encoder, 1500), (spec.decoder, 448)):
        part.position_encodings.encodings = weights(length, width)
        norm(part.layer_norm)
        for layer in part.layer:
            attention(layer.self_attention, 3 * width, width)
            feed_forward(layer.ffn)
    for layer in spec.decoder.layer:
        attention(layer.attention, width, 2 * width, width)

    config = json.loads((TRAINED / "config.json").read_text("utf-8"))
    spec.config.alignment_heads = config["alignment_heads"]
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = config["suppress_ids_begin"]
    spec.config.lang_ids = [] if english else config["lang_ids"]
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.optimize()
    folder.mkdir(parents=True)
    spec.save(str(folder))
    shutil.copy(TRAINED / "tokenizer.json", folder)
    preprocessor = json.loads((TRAINED / "preprocessor_config.json").read_text("utf-8"))
    preprocessor["feature_size"] = mels
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), "utf-8")
    return folder
