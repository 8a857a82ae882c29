"""Paraformer, with or without times of words and keywords."""

from __future__ import annotations

from collections.abc import Sequence

from unisono import RequestError

from .keywords import defused, named
from .loading import RATE, Component, Samples
from .reading import Reading, join, spread, timed


def read(
    model: Component, pieces: Sequence[Samples], hotwords: Sequence[str], language: str | None
) -> list[Reading]:
    """Return what is said in some pieces.

    Words without times of their own get estimates.

    :param hotwords: those that `check_vocabulary` let pass.
    :param language: what the model writes.
    """
    options = {"hotword": defused(hotwords)} if hotwords else {}
    found = model.infer(pieces, **options)
    if len(found) != len(pieces):
        return [Reading("")] * len(pieces)
    return [
        _reading(result["text"], result.get("timestamp"), len(piece) / RATE, language)
        for result, piece in zip(found, pieces, strict=True)
    ]


def _reading(
    text: str, times: Sequence[Sequence[int]] | None, seconds: float, language: str | None
) -> Reading:
    if times is None:
        return Reading(text, spread(text, 0.0, seconds), language)
    words = text.split()
    return Reading(join(words), timed(words, times, seconds), language)


def check_vocabulary(model: Component, hotwords: Sequence[str]) -> None:
    """Refuse words that the model could never write.

    :raises RequestError: naming them.
    """
    if not hotwords:
        return
    tokenizer = model.tokenizer
    tokens = model.module.generate_hotwords_list(
        defused(hotwords), tokenizer=tokenizer, frontend=model.configuration["frontend"]
    )
    unknown = [
        word
        for word, numbers in zip(hotwords, tokens, strict=False)  # a last entry says "none"
        if tokenizer.unk_id in numbers
    ]
    if unknown:
        raise RequestError(
            f"keywords: the vocabulary of this model lacks what {named(unknown)} needs.",
            param="keywords",
        )
