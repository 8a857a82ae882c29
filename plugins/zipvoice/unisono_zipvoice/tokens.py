"""From text to the numbers that the model reads, and into stretches that it can speak at once.

Follows upstream's `EmiliaTokenizer` and `DialogTokenizer`: English as phonemes, Chinese as pinyin
in halves, `<hao3>` as that pinyin, `[S1]` and other tags as they are.
"""

from __future__ import annotations

import functools
import logging
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .phonemes import phonemize
from .wording import spell_chinese, spell_english

PUNCTUATION = frozenset(";:,.!?；：，。！？")
SPEAKERS = ("[S1]", "[S2]")

_PART = re.compile(r"[<\[].*?[>\]]|.")
_BRACKETED = re.compile(r"([<\[].*?[>\]])")
_LATIN = re.compile("[A-Za-z]")
_HAN = re.compile("[一-龥]")
_PINYIN = re.compile(r"[^\W\d_]+[1-5]")
_PLAIN = {
    **dict(zip("，。！？；：、‘’“”⋯", ",.!?;:,''\"\"…", strict=True)),
    "···": "…",
    "・・・": "…",
    "...": "…",
}


class Tokenizer:
    """Knows the tokens of one model.

    :param path: of its tokens.txt: a token, a tab, and its number on each line.
    """

    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8") as file:
            pairs = [line.rstrip("\r\n").rsplit("\t", 1) for line in file if line.strip("\r\n")]
        self.numbers = {token: int(number) for token, number in pairs}

    def tokenize(self, text: str, language: str | None = None) -> list[str]:
        """Return the tokens of a text; empty if nothing in it is Chinese or English.

        :param language: BCP 47 tag, for what is neither, such as digits alone.
        :raises EngineUnavailable: if there is English and no eSpeak NG.
        """
        text = re.sub(r"\s*(\[S[12]\])\s*", r"\1", re.sub(r"\s", " ", text))
        for mark, plain in _PLAIN.items():
            text = text.replace(mark, plain)
        tokens: list[str] = []
        usual = "zh" if (language or "").startswith("zh") else "en"
        for segment, found in _segments(text):
            kind = found or (usual if re.search("[0-9]", segment) else None)
            for part in filter(None, _BRACKETED.split(segment)):
                if part.startswith("<") and part.endswith(">"):
                    tokens += _halves(part[1:-1])
                elif part.startswith("[") and part.endswith("]"):
                    tokens.append(part)
                elif kind == "en":
                    tokens += phonemize(spell_english(part))
                elif kind == "zh":
                    tokens += _pinyin(part)
        return tokens

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Return the numbers of tokens; what the model does not know is left out."""
        return [self.numbers[token] for token in tokens if token in self.numbers]


def punctuated(text: str) -> str:
    """Give a text an end, without which the model mumbles its last word."""
    text = text.strip()
    return text if not text or text[-1] in PUNCTUATION else f"{text}."


def chunk(tokens: Sequence[str], limit: int, *, turns: bool = False) -> list[list[str]]:
    """Cut tokens into stretches of at most `limit`, after punctuation, or where speaker 1 begins.

    Within that they are upstream's stretches. One that has no such place is cut between words,
    which upstream would speak at once, however long.
    """
    pieces = _turns(tokens) if turns else _clauses(tokens)
    chunks: list[list[str]] = []
    for piece in pieces:
        if chunks and len(chunks[-1]) + len(piece) <= limit:
            chunks[-1] += piece
        else:
            chunks.append(piece)
    return [part for one in chunks for part in _cut(one, limit)]


def _clauses(tokens: Sequence[str]) -> list[list[str]]:
    clauses: list[list[str]] = [[]]
    for token in tokens:
        if not clauses[-1] and len(clauses) > 1 and (token in PUNCTUATION or token == " "):
            clauses[-2].append(token)
            continue
        clauses[-1].append(token)
        if token in PUNCTUATION:
            clauses.append([])
    return [clause for clause in clauses if clause]


def _turns(tokens: Sequence[str]) -> list[list[str]]:
    starts = [i for i, token in enumerate(tokens) if i == 0 or token == SPEAKERS[0]]
    return [list(tokens[a:b]) for a, b in zip(starts, [*starts[1:], None], strict=True)]


def _cut(tokens: list[str], limit: int) -> list[list[str]]:
    parts = []
    while len(tokens) > limit:
        words = (i + 1 for i in range(limit - 1, limit // 2, -1) if tokens[i] == " ")
        # A token that ends in 0 is the first half of a syllable.
        syllables = (i + 1 for i in range(limit - 1, 0, -1) if not tokens[i].endswith("0"))
        cut = next(words, None) or next(syllables, limit)
        parts.append(tokens[:cut])
        tokens = tokens[cut:]
    return [*parts, tokens] if tokens else parts


def _segments(text: str) -> list[tuple[str, str | None]]:
    """Part a text into English, Chinese, and neither; what is neither goes with its neighbour."""
    segments: list[tuple[str, str | None]] = [("", None)]
    for part in _PART.findall(text):
        kind = None
        if _HAN.fullmatch(part) or (part[0] == "<" and part[-1] == ">" and len(part) > 1):
            kind = "zh"
        elif _LATIN.fullmatch(part):
            kind = "en"
        before, current = segments[-1]
        if kind in (None, current) or current is None:
            segments[-1] = before + part, current or kind
        else:
            segments.append((part, kind))
    return segments


def _pinyin(text: str) -> list[str]:
    from pypinyin import Style, lazy_pinyin  # noqa: PLC0415

    words = list(_segmenter().cut(spell_chinese(text)))
    syllables = lazy_pinyin(words, style=Style.TONE3, tone_sandhi=True, neutral_tone_with_five=True)
    return [
        token
        for syllable in syllables
        for token in (_halves(syllable) if _PINYIN.fullmatch(syllable) else [syllable])
    ]


@functools.cache
def _segmenter() -> Any:
    """Return jieba's segmenter; it takes a second."""
    import jieba  # noqa: PLC0415

    jieba.setLogLevel(logging.WARNING)
    segmenter = jieba.Tokenizer()
    # It would trust a file of a known name in the folder for temporary files, whoever wrote it.
    with tempfile.TemporaryDirectory() as folder:
        segmenter.tmp_dir = folder
        segmenter.initialize()
    return segmenter


def _halves(syllable: str) -> list[str]:
    """Return initial and final of a syllable, so marked that they are no English phonemes."""
    from pypinyin.contrib.tone_convert import to_finals_tone3, to_initials  # noqa: PLC0415

    if not _PINYIN.fullmatch(syllable):
        return []
    initial = to_initials(syllable, strict=False)
    final = to_finals_tone3(syllable, strict=False, neutral_tone_with_five=True)
    return [*([f"{initial}0"] if initial else []), *([final] if final else [])]
