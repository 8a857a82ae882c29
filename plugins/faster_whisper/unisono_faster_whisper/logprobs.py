"""How sure the model was of each piece of its text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from unisono import TokenLogprob

from .options import CONTEXT

_LEAST = 1e-38
"""Of a probability: the logarithm of zero is no JSON."""

_FRAMES = 3000
"""Of a window. Only times depend on it, which are of no interest here."""


class Attentive:
    """The library's decoder of one window, which remembers what it chose.

    :param decode: `generate_with_fallback` of a `faster_whisper.WhisperModel`.
    """

    def __init__(self, decode: Callable[..., Any]) -> None:
        self._decode = decode
        self.last: tuple[Any, list[int], list[int]] | None = None
        """The window, encoded; its prompt, and the tokens that were written."""

    def __call__(self, encoded: Any, prompt: list[int], tokenizer: Any, options: Any) -> Any:
        """Decode a window at as many temperatures as it takes."""
        found = self._decode(encoded, prompt, tokenizer, options)
        self.last = encoded, list(prompt), found[0].sequences_ids[0]
        return found


class Reader:
    """Gives segments, as they come from the library one after the other, their log probabilities.

    :param model: a `faster_whisper.WhisperModel` with an `Attentive`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._window: Any = None
        self._text: list[int] = []
        self._values: Sequence[float] = ()
        self._at = 0

    def read(self, tokens: Sequence[int]) -> tuple[TokenLogprob, ...]:
        """Return those of a segment of the window that was decoded last."""
        end = self._model.hf_tokenizer.token_to_id("<|endoftext|>")
        if self._window is not self._model.generate_with_fallback.last:
            self._window = encoded, prompt, written = self._model.generate_with_fallback.last
            self._text = [token for token in written if token < end]
            (self._values,) = probabilities(self._model, encoded, [prompt], [self._text])
            self._at = 0
        tokens = [token for token in tokens if token < end]
        # The library leaves out segments without text or duration.
        start, *_ = (
            at
            for at in range(self._at, len(self._text))
            if self._text[at : at + len(tokens)] == tokens
        )
        self._at = start + len(tokens)
        return token_logprobs(self._model.hf_tokenizer, tokens, self._values[start : self._at])


def probabilities(
    model: Any,
    encoded: Any,
    prompts: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int]],
) -> list[Sequence[float]]:
    """Return the probability of each token of some texts, after its prompt and those before it.

    Beams keep no probabilities of their tokens, so the model reads the texts once more. It is
    `align` that does: it takes any tokens as its start, and compares all tokens that are text.

    :param model: a `faster_whisper.WhisperModel`.
    :param encoded: the windows in which the texts were heard.
    :param prompts: of each window; none for those of no interest.
    """
    implied = model.hf_tokenizer.token_to_id("<|notimestamps|>")
    found: list[Sequence[float]] = [()] * len(texts)
    for prompt in {tuple(prompt) for prompt in prompts if prompt}:
        rows = [
            list(text) if tuple(own) == prompt else []
            for own, text in zip(prompts, texts, strict=True)
        ]
        start = [token for token in prompt if token != implied]
        # Room for <|notimestamps|> and <|endoftext|>; the oldest of the prompt makes it.
        excess = max(0, len(start) + max(map(len, rows)) + 2 - CONTEXT)
        start[1 : 1 + excess] = []
        results = model.model.align(encoded, start, rows, _FRAMES)
        for row, (text, result) in enumerate(zip(rows, results, strict=True)):
            if text:
                found[row] = result.text_token_probs
    return found


def token_logprobs(
    tokenizer: Any, tokens: Sequence[int], probabilities: Sequence[float]
) -> tuple[TokenLogprob, ...]:
    """Return the pieces of a text, without the white space around it.

    :param tokenizer: a `tokenizers.Tokenizer` of bytes.
    :param tokens: of text alone.
    :param probabilities: of each token.
    """
    pieces = [_bytes_of(tokenizer.id_to_token(token)) for token in tokens]
    text = b"".join(pieces).decode("utf-8", "replace")
    skip = len(text[: len(text) - len(text.lstrip())].encode())
    keep = sum(map(len, pieces)) - len(text[len(text.rstrip()) :].encode())
    found = []
    at = 0
    for piece, probability in zip(pieces, probabilities, strict=True):
        data = piece[max(skip - at, 0) : max(keep - at, 0)]
        at += len(piece)
        if data:
            token = data.decode("utf-8", "replace")
            whole = token.encode() == data
            logprob = math.log(max(probability, _LEAST))
            found.append(TokenLogprob(token, logprob, b"" if whole else data))
    return tuple(found)


def _byte_characters() -> dict[str, int]:
    """Return how tokenizers of bytes spell each one: those that print as themselves, the others
    from U+0100 on (openai/gpt-2, src/encoder.py, `bytes_to_unicode`).
    """
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(256 + number): byte for number, byte in enumerate(others)
    }


_BYTES = _byte_characters()


def _bytes_of(token: str) -> bytes:
    return bytes(_BYTES[character] for character in token)
