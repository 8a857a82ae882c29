"""SenseVoice: text, language, emotion and events of each piece, all written into one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from unisono import Word

from .families import primary
from .loading import RATE, Component, Samples
from .options import FunASRParams
from .reading import Reading, join, spread, timed

_TAG = re.compile(r"<\|([^|<>]*)\|>")
_LANGUAGES = frozenset({"zh", "en", "yue", "ja", "ko"})
# `emo_dict` and `event_dict` of funasr.utils.postprocess_utils; what is unknown is left out.
_EMOTIONS = frozenset({"happy", "sad", "angry", "neutral", "fearful", "disgusted", "surprised"})
_EVENTS = frozenset(
    {"speech", "bgm", "applause", "laughter", "cry", "sneeze", "breath", "cough", "sing"}
)


def read(
    model: Component,
    pieces: Sequence[Samples],
    params: FunASRParams,
    language: str | None,
    *,
    with_words: bool,
) -> list[Reading]:
    """Return what is heard in some pieces.

    :param language: BCP 47 tag; None lets the model find out.
    """
    options = {
        "language": code_of(language),
        "use_itn": params.use_itn,
        "ban_emo_unk": params.ban_emo_unk,
    }
    try:
        found = model.infer(pieces, output_timestamp=with_words, **options)
    except IndexError:
        # Upstream counts tokens that its tokenizer splits anew as one; words get estimates then.
        found = model.infer(pieces, output_timestamp=False, **options)
    return [
        _reading(result, len(piece) / RATE, with_words)
        for result, piece in zip(found, pieces, strict=True)
    ]


def code_of(language: str | None) -> str:
    """Return SenseVoice's code of a BCP 47 tag: "zh" for "cmn-Hans-CN"."""
    return primary(language) if language else "auto"


def parse(line: str) -> Reading:
    """Take the tags off a line: "<|zh|><|HAPPY|><|Speech|><|withitn|>…"."""
    tags = list(dict.fromkeys(tag.lower() for tag in _TAG.findall(line)))
    return Reading(
        " ".join(_TAG.sub(" ", line).split()),
        language=next((tag for tag in tags if tag in _LANGUAGES), None),
        emotion=next((tag for tag in tags if tag in _EMOTIONS), None),
        events=tuple(tag for tag in tags if tag in _EVENTS),
    )


def _reading(result: dict[str, Any], seconds: float, with_words: bool) -> Reading:
    reading = parse(result["text"])
    words: tuple[Word, ...] = ()
    if with_words:
        words = _words(result, seconds) or spread(reading.text, 0.0, seconds)
    return Reading(reading.text, words, reading.language, reading.emotion, reading.events)


def _words(result: dict[str, Any], seconds: float) -> tuple[Word, ...]:
    """Return the words alone; the model times tags and punctuation, too."""
    pieces = [_TAG.sub("", word).replace("▁", " ") for word in result.get("words", ())]
    found = timed(pieces, result.get("timestamp", ()), seconds)
    return tuple(
        Word(join(word.text.split()), word.start, word.end)
        for word in found
        if any(map(str.isalnum, word.text))
    )
