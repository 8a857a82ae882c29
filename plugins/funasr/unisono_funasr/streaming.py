"""Streaming Paraformer: text for every 0.6 seconds of audio, as soon as these are read."""

from __future__ import annotations

from collections.abc import Iterator

from unisono import CancelToken, RequestError, Segment

from .loading import RATE, Component, Samples
from .options import FunASRParams

_UNIT = 960
"""Samples of one of the units in which `chunk_size` counts."""


def read(
    model: Component,
    samples: Samples,
    params: FunASRParams,
    language: str | None,
    cancel: CancelToken,
) -> Iterator[Segment]:
    """Yield the text of each chunk that has any, until cancelled.

    :raises RequestError: if a chunk would be empty.
    """
    chunk_size = list(params.chunk_size)
    if chunk_size[1] < 1:
        raise RequestError("chunk_size: the second number must be 1 or more.", param="chunk_size")
    stride = chunk_size[1] * _UNIT
    cache: dict[str, object] = {}
    for start in range(0, len(samples), stride):
        if cancel.cancelled:
            return
        chunk = samples[start : start + stride]
        (result,) = model.infer(
            [chunk],
            cache=cache,
            is_final=start + stride >= len(samples),
            chunk_size=chunk_size,
            encoder_chunk_look_back=params.encoder_chunk_look_back,
            decoder_chunk_look_back=params.decoder_chunk_look_back,
        )
        if text := result["text"].strip():
            end = start + len(chunk)
            yield Segment(text, start / RATE, end / RATE, language=language)
