"""Qwen3-TTS checkpoints of random weights, small enough to be made by a test.

They load in the real mlx-audio (and in the real qwen-tts): the speech is noise, but its length, the
end of the speech, cloning, speakers, languages and instructions go through the genuine code.

An utterance ends after about `frames_per_token` frames for each byte of the text, because the
weights count: see `talker`. A frame is 80 ms.

mlx-audio guesses from its shape whether a convolution's weight comes from torch. For small layers
the guess is only right if there are at least as many channels as taps, and more than 64 channels
where there is one tap. That explains the odd widths.
"""

from __future__ import annotations

import json
from pathlib import Path

from . import codec, speaker, talker
from .tensors import Tensors, save
from .tokenizer import write_tokenizer

SPEAKERS = ("vivian", "serena", "uncle_fu", "dylan", "eric", "ryan", "aiden", "ono_anna", "sohee")
DIALECTS = {"dylan": "beijing_dialect", "eric": "sichuan_dialect"}
LANGUAGES = (
    "chinese",
    "english",
    "japanese",
    "korean",
    "german",
    "french",
    "russian",
    "portuguese",
    "spanish",
    "italian",
)


def build(
    folder: Path,
    variant: str = "base",
    size: str = "0b6",
    *,
    dtype: str = "float32",
    seed: int = 0,
    frames_per_token: float = 1.0,
    max_new_tokens: int = 250,
) -> Path:
    """Write a checkpoint and return its folder.

    :param variant: base, custom_voice or voice_design.
    :param size: 0b6 or 1b7; what the configuration says, not how large the model is.
    :param dtype: float32 or bfloat16.
    """
    (folder / "speech_tokenizer").mkdir(parents=True)
    ids = write_tokenizer(folder)
    _write_json(folder / "config.json", _config(ids, variant, size))
    _write_json(
        folder / "generation_config.json",
        {
            "do_sample": True,
            "temperature": 0.9,
            "top_k": 50,
            "top_p": 1.0,
            "repetition_penalty": 1.05,
            "max_new_tokens": max_new_tokens,
        },
    )
    tensors = Tensors(seed)
    talker.fill(tensors, ids, frames_per_token)
    if variant == "base":
        speaker.fill(tensors)
    save(folder / "model.safetensors", tensors, dtype)
    _write_json(folder / "speech_tokenizer" / "config.json", codec.CONFIG)
    tensors = Tensors(seed + 1)
    codec.fill(tensors)
    save(folder / "speech_tokenizer" / "model.safetensors", tensors, "float32")
    return folder


def _config(ids: dict[str, int], variant: str, size: str) -> dict[str, object]:
    custom = variant == "custom_voice"
    named = [*LANGUAGES, *sorted(DIALECTS.values())]
    return {
        "architectures": ["Qwen3TTSForConditionalGeneration"],
        "model_type": "qwen3_tts",
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "tts_model_type": variant,
        "tts_model_size": size,
        "im_start_token_id": ids["<|im_start|>"],
        "im_end_token_id": ids["<|im_end|>"],
        "assistant_token_id": ids["assistant"],
        "tts_pad_token_id": ids["<tts_pad>"],
        "tts_bos_token_id": ids["<tts_text_bos>"],
        "tts_eos_token_id": ids["<tts_text_eod>"],
        "speaker_encoder_config": speaker.CONFIG if variant == "base" else {},
        "talker_config": {
            **talker.config(len(ids)),
            "codec_language_id": {
                name: talker.LANGUAGE_ID + index for index, name in enumerate(named)
            },
            "spk_id": {name: talker.SPEAKER_ID + i for i, name in enumerate(SPEAKERS)}
            if custom
            else {},
            "spk_is_dialect": {name: DIALECTS.get(name, False) for name in SPEAKERS}
            if custom
            else {},
        },
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
