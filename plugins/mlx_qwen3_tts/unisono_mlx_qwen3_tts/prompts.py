"""What the language model reads before it speaks.

A position holds the sum of a text embedding and a codec embedding. The layout is that of Qwen's own
code (`Qwen3TTSForConditionalGeneration.generate`, not streaming) and of mlx-audio's
`_prepare_generation_inputs` and `_prepare_icl_generation_inputs`, which compute the features of a
reference anew for every text, and so are not called:

    text    instructions, role, pad …                     begin, words of both, end, pad
    codec   -             -     language, speaker, pad ------------------------, begin, reference
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

ROLE = "<|im_start|>assistant\n"
"""Three tokens in every checkpoint."""


@dataclass(frozen=True)
class Reference:
    """What speaks with the voice of a recording."""

    speaker: np.ndarray
    """Speaker embedding, (width,)."""
    codes: np.ndarray | None = None
    """The recording, (frames, groups), to go on from; None takes the voice from `speaker` alone."""
    text: str = ""
    """What is said in the recording."""


class Prompter:
    """Writes prompts for a loaded model."""

    def __init__(self, model: Any) -> None:
        import mlx.core as mx  # noqa: PLC0415 - imported by `Engine.load`

        self._model = model
        self._talker = model.talker
        self._config = model.config.talker_config
        marks = (
            model.config.tts_bos_token_id,
            model.config.tts_eos_token_id,
            model.config.tts_pad_token_id,
        )
        embedded = self._words(list(marks))
        self._begin, self._end, self.pad = embedded[:, :1], embedded[:, 1:2], embedded[:, 2:]
        self._role = self._words(self._template(ROLE))
        mx.eval(embedded, self._role)

    def write(
        self,
        text: str,
        *,
        language: str | None = None,
        speaker: str | None = None,
        instructions: str | None = None,
        reference: Reference | None = None,
    ) -> Any:
        """Return the embeddings, (1, positions, width).

        :param language: the model's name for it; None lets the model find out.
        :param speaker: one of the model's own.
        """
        import mlx.core as mx  # noqa: PLC0415

        config = self._config
        codec = [self._codes(self._language(language, speaker))]
        if reference is not None:
            codec.append(mx.array(reference.speaker)[None, None].astype(codec[0].dtype))
        elif speaker is not None:
            codec.append(self._codes([config.spk_id[speaker]]))
        codec_pad = self._codes([config.codec_pad_id])
        head = mx.concatenate([*codec, codec_pad], axis=1)
        waiting = [self.pad] * (head.shape[1] - 1)
        parts = [self._role, mx.concatenate([*waiting, self._begin], axis=1) + head]
        if instructions:
            said = self._tokens(instructions)
            said = [*self._template("<|im_start|>user\n"), *said, *self._template("<|im_end|>\n")]
            parts.insert(0, self._words(said))
        tokens = self._tokens(text)
        speech = [self._codes([config.codec_bos_id])]
        if reference is not None and reference.codes is not None:
            tokens = self._tokens(reference.text) + tokens
            speech.append(self.frames(mx.array(reference.codes)[None]))
        parts.append(mx.concatenate([self._words(tokens), self._end], axis=1) + codec_pad)
        parts.append(mx.concatenate(speech, axis=1) + self.pad)
        return mx.concatenate(parts, axis=1)

    def frames(self, codes: Any) -> Any:
        """Embed frames: (rows, frames, groups) → (rows, frames, width)."""
        embedded = self._talker.get_input_embeddings()(codes[..., 0])
        for index, table in enumerate(self._talker.code_predictor.codec_embedding):
            embedded = embedded + table(codes[..., index + 1])
        return embedded

    def _language(self, language: str | None, speaker: str | None) -> list[int]:
        config = self._config
        dialect = (config.spk_is_dialect or {}).get(speaker) if speaker else None
        if dialect and language in (None, "chinese"):
            language = dialect
        ids = config.codec_language_id or {}
        if language is None or language not in ids:
            return [config.codec_nothink_id, config.codec_think_bos_id, config.codec_think_eos_id]
        begin, end = config.codec_think_bos_id, config.codec_think_eos_id
        return [config.codec_think_id, begin, ids[language], end]

    def _codes(self, ids: list[int]) -> Any:
        import mlx.core as mx  # noqa: PLC0415

        return self._talker.get_input_embeddings()(mx.array([ids]))

    def _words(self, ids: list[int]) -> Any:
        import mlx.core as mx  # noqa: PLC0415

        return self._talker.text_projection(self._talker.get_text_embeddings()(mx.array([ids])))

    def _template(self, text: str) -> list[int]:
        return list(self._model.tokenizer.encode(text, add_special_tokens=False))

    def _tokens(self, text: str) -> list[int]:
        """Read a client's text, in which "<|im_end|>" is nothing but characters."""
        clean = text.strip().encode("utf-8", "replace").decode("utf-8")
        ids = self._model.tokenizer.encode(
            clean, add_special_tokens=False, split_special_tokens=True
        )
        return list(ids)
