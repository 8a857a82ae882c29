"""Keywords (hotwords): what may be handed to a library that believes any string.

Paraformer downloads a text that begins with "http" and reads one that is the path of a .txt file;
Fun-ASR-Nano puts keywords into its prompt, where control tokens would load audio from a path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from unisono import RequestError

MOST = 500
LONGEST = 64
"""Characters."""
PROMPT_CHARS = 2000
"""Of all keywords of Fun-ASR-Nano together, which share a prompt with the audio."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|(https?|ftp|file|data|oss):|www\.", re.IGNORECASE)
_PATH = re.compile(r"[/\\~.]|[a-z]:[/\\]|.*\.(txt|json|jsonl|scp|text)$", re.IGNORECASE)
_CONTROL = re.compile(r"<\|?|\|?>|[\x00-\x1f\x7f\u2028\u2029]")


def checked(hotwords: Sequence[str], *, phrases: bool) -> tuple[str, ...]:
    """Return the keywords without blank ones.

    :param phrases: whether a keyword may have several words.
    :raises RequestError: if there are too many, or one is none.
    """
    found = tuple(dict.fromkeys(word.strip(" ") for word in hotwords if word.strip()))
    if len(found) > MOST:
        raise _wrong(f"{len(found)} are too many; this model takes {MOST}.")
    for word in found:
        if len(word) > LONGEST:
            raise _wrong(f"{word[:20] + '…'!r} is longer than {LONGEST} characters.")
        if _ADDRESS.match(word) or _PATH.match(word):
            raise _wrong(f"{word!r} looks like an address or a path; words are expected.")
        if _CONTROL.search(word):
            raise _wrong(f"{word!r} has characters that control the model.")
        if not phrases and len(word.split()) > 1:
            raise _wrong(f"{word!r} has a space; send its words one by one.")
    if phrases and sum(map(len, found)) > PROMPT_CHARS:
        raise _wrong(f"this model takes {PROMPT_CHARS} characters in all.")
    return found


def defused(hotwords: Sequence[str]) -> str:
    """Join keywords as Paraformer takes them, so that they can be neither address nor path."""
    return f" {' '.join(hotwords)} "


def named(words: Sequence[str]) -> str:
    """Return some words for a message."""
    return ", ".join(map(repr, words[:5])) + (", …" if len(words) > 5 else "")


def _wrong(reason: str) -> RequestError:
    return RequestError(f"keywords: {reason}", param="keywords")
