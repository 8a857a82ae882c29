"""The language model, for several requests at once that join and leave between two frames.

mlx-audio's own `Qwen3TTSBatchSession` neither streams nor clones, wants one language and one way of
sampling for all, and copies every cache at every frame. This keeps one cache for the batch and
touches it when somebody joins or leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .prompts import Prompter
from .sampling import Sampler


class Talker:
    """A batch of utterances under way.

    :param model: mlx-audio's.
    """

    def __init__(self, model: Any, prompter: Prompter) -> None:
        import mlx.core as mx  # noqa: PLC0415 - imported by `Engine.load`

        config = model.config.talker_config
        self._talker = model.talker
        self._prompter = prompter
        self._groups = config.num_code_groups
        self.end = config.codec_eos_token_id
        ids = mx.arange(config.vocab_size)
        self.allowed = (ids < config.vocab_size - 1024) | (ids == self.end)
        self._cache: list[Any] = []  # a `BatchKVCache` of each layer; empty for no rows
        self._padding: list[int] = []
        self._next: Any = None  # (rows, 1, width): what every row reads next

    def advance(self, joining: Any | None) -> tuple[Any, Any]:
        """Read the last frame of every row, and perhaps a whole prompt, whose row comes last.

        :param joining: (1, positions, width).
        :return: logits (rows, vocabulary) and hidden states (rows, 1, width).
        """
        import mlx.core as mx  # noqa: PLC0415

        read = [self._read_next()] if self._cache else []
        if joining is not None:
            read.append(self._read_prompt(joining))
        logits = mx.concatenate([part[0][:, -1] for part in read])
        hidden = mx.concatenate([part[1][:, -1:] for part in read])
        return logits, hidden

    def complete(self, first: Any, hidden: Any, sampler: Sampler, keys: Sequence[Any]) -> Any:
        """Draw the other codes of every row's frame, and remember the frame as what comes next.

        :param first: the first codes, (rows, 1).
        :return: (rows, groups).
        """
        import mlx.core as mx  # noqa: PLC0415

        predictor = self._talker.code_predictor
        cache = predictor.make_cache()
        embedded = self._talker.get_input_embeddings()(first)
        inputs = mx.concatenate([hidden, embedded], axis=1)
        codes = [first]
        for group in range(self._groups - 1):
            logits, cache, _ = predictor(inputs, cache=cache, generation_step=group)
            codes.append(sampler.draw(logits[:, -1], keys[group]))
            inputs = predictor.codec_embedding[group](codes[-1])
        frame = mx.concatenate(codes, axis=1)
        self._next = self._prompter.pad + self._prompter.frames(frame[:, None])
        mx.eval(frame, self._next)
        return frame

    def keep(self, rows: list[int]) -> None:
        """Forget all other rows."""
        import mlx.core as mx  # noqa: PLC0415

        if not rows:
            self._cache, self._padding, self._next = [], [], None
            return
        chosen = mx.array(rows)
        for layer in self._cache:
            layer.filter(chosen)
        if self._next is not None:
            self._next = self._next[chosen]
        self._measure()

    def _read_next(self) -> tuple[Any, Any]:
        import mlx.core as mx  # noqa: PLC0415

        first = self._cache[0]
        mask = None
        if any(self._padding):
            positions = mx.arange(first.size() + 1)
            mask = (positions[None] >= first.left_padding[:, None])[:, None, None]
        positions = mx.broadcast_to(first.offset[None, :, None], (3, len(self._padding), 1))
        logits, hidden = self._talker(self._next, positions, mask, self._cache)
        return logits, hidden

    def _read_prompt(self, prompt: Any) -> tuple[Any, Any]:
        cache = self._talker.make_cache()
        logits, hidden = self._talker(prompt, cache=cache)
        joined = [type(layer).merge([layer]) for layer in cache]
        if self._cache:
            for layer, other in zip(self._cache, joined, strict=True):
                layer.extend(other)
        else:
            self._cache = joined
        self._measure()
        return logits, hidden

    def _measure(self) -> None:
        self._padding = self._cache[0].left_padding.tolist()
