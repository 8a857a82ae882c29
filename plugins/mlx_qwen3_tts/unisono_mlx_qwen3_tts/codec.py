"""The codec: frames of codes to audio, piece by piece, for several streams at once.

mlx-audio keeps the state of its streaming decoder inside the decoder's layers, so two streams that
take turns spoil each other. Here every stream has its state, and puts it into the layers for as
long as it decodes. Unlike `decode`, the streaming decoder does not take frames whose first code is
0 for padding, which would cut 80 ms each from the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_CONTEXT = 25
"""Frames of a reference that the decoder hears before the speech; as many as mlx-audio and Qwen's
own code give it before each chunk of a long text."""


@dataclass(frozen=True)
class DecoderState:
    """What the decoder remembers of a stream, in numpy arrays, which belong to no thread."""

    attention: tuple[tuple[np.ndarray, np.ndarray], ...]
    layers: tuple[np.ndarray | None, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        arrays = [*(array for pair in self.attention for array in pair), *self.layers]
        return sum(array.nbytes for array in arrays if array is not None)


class Codec:
    """The speech tokenizer of a loaded model."""

    def __init__(self, tokenizer: Any) -> None:
        from mlx_audio.tts.models.qwen3_tts import speech_tokenizer as upstream  # noqa: PLC0415

        self._tokenizer = tokenizer
        # `tokenizer.decoder` is compiled; what is set on that does not reach the decoder.
        self.decoder = tokenizer.decoder.streaming_step.__self__
        buffers = {
            upstream.CausalConv1d: "_buffer",
            upstream.DecoderInitialConv: "_buffer",
            upstream.DecoderOutputConv: "_buffer",
            upstream.DecoderBlockUpsample: "_overflow",
        }
        self.layers = [
            (layer, buffers[type(layer)])
            for _, layer in self.decoder.named_modules()
            if type(layer) in buffers
        ]

    def encode(self, samples: np.ndarray) -> np.ndarray:
        """Return the codes of a recording: (samples,) at 24 kHz → (frames, groups)."""
        import mlx.core as mx  # noqa: PLC0415 - imported by `Engine.load`

        codes = self._tokenizer.encode(mx.array(samples)[None, None])
        frames: np.ndarray = np.array(codes[0], np.int32).T
        return frames

    def context(self, codes: np.ndarray) -> DecoderState:
        """Return the state of a decoder that has heard a reference: (frames, groups)."""
        stream = CodecStream(self)
        stream.decode(codes[-_CONTEXT:])
        return stream.snapshot()


class CodecStream:
    """Decodes one stream.

    :param state: what the decoder has heard before; it is not changed.
    """

    def __init__(self, codec: Codec, state: DecoderState | None = None) -> None:
        import mlx.core as mx  # noqa: PLC0415

        self._codec = codec
        self._attention: list[Any] | None = None
        self._layers: Sequence[Any] = [None] * len(codec.layers)
        if state is not None:
            self._attention = codec.decoder.pre_transformer.make_cache()
            for cache, pair in zip(self._attention, state.attention, strict=True):
                cache.state = tuple(mx.array(array) for array in pair)
            self._layers = [None if a is None else mx.array(a) for a in state.layers]

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the audio of the next frames: (frames, groups) → (samples,) float32."""
        import mlx.core as mx  # noqa: PLC0415

        decoder = self._codec.decoder
        decoder._transformer_cache = self._attention
        for (layer, name), value in zip(self._codec.layers, self._layers, strict=True):
            setattr(layer, name, value)
        wav = decoder.streaming_step(mx.array(codes.T[None]))[0, 0].astype(mx.float32)
        self._attention = decoder._transformer_cache
        self._layers = [getattr(layer, name) for layer, name in self._codec.layers]
        mx.eval(wav, [value for value in self._layers if value is not None])
        return np.array(wav)

    def snapshot(self) -> DecoderState:
        """Return the state after what was decoded."""
        return DecoderState(
            tuple(
                (_numpy(cache.keys, cache.offset), _numpy(cache.values, cache.offset))
                for cache in self._attention or ()
            ),
            tuple(None if value is None else _numpy(value) for value in self._layers),
        )


def _numpy(array: Any, positions: int | None = None) -> np.ndarray:
    import mlx.core as mx  # noqa: PLC0415

    return np.array((array if positions is None else array[..., :positions, :]).astype(mx.float32))
