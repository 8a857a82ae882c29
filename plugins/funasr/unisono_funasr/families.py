"""The kinds of models that FunASR runs here, and what each can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FamilyName = Literal[
    "sensevoice", "paraformer", "contextual", "bicif", "seaco", "streaming", "nano", "mlt_nano"
]
CHINESE = ("zh", "cmn")


@dataclass(frozen=True)
class Family:
    """Models that run the same way."""

    class_name: str
    """FunASR's class, `model:` in the model's config.yaml."""
    languages: tuple[str, ...]
    """BCP 47 tags, unless the operator says others."""
    words: bool = False
    """Whether it knows when each word sounds."""
    hotwords: bool = False
    punctuates: bool = False
    """Whether it writes punctuation itself, and numbers as digits if told so (`use_itn`)."""
    streams: bool = False
    """Whether it reads audio in chunks, and neither needs nor has a detector of speech."""
    longest: float = 60.0
    """Seconds of a piece without pauses."""
    merges: bool = False
    """Whether short pieces are better read together."""
    batch_seconds: float = 300.0
    """Audio read at once on a GPU."""


_MLT = (
    *("zh", "cmn", "en", "yue", "ja", "ko", "vi", "id", "th", "ms", "fil", "tl", "ar", "hi", "bg"),
    *("hr", "cs", "da", "nl", "et", "fi", "el", "hu", "ga", "lv", "lt", "mt", "pl", "pt", "ro"),
    *("sk", "sl", "sv"),
)

# What Xinference passes for its models (model_spec.json), and what FunASR's classes do.
FAMILIES: Mapping[FamilyName, Family] = {
    "sensevoice": Family(
        "SenseVoiceSmall",
        (*CHINESE, "en", "yue", "ja", "ko"),
        words=True,
        punctuates=True,
        longest=30.0,
        merges=True,
        batch_seconds=60.0,
    ),
    "paraformer": Family("Paraformer", CHINESE),
    "contextual": Family("ContextualParaformer", CHINESE, hotwords=True),
    "bicif": Family("BiCifParaformer", CHINESE, words=True),
    "seaco": Family("SeacoParaformer", CHINESE, words=True, hotwords=True),
    "streaming": Family("ParaformerStreaming", CHINESE, streams=True),
    "nano": Family(
        "FunASRNano",
        (*CHINESE, "en", "ja"),
        hotwords=True,
        punctuates=True,
        longest=30.0,
        batch_seconds=60.0,
    ),
    "mlt_nano": Family(
        "FunASRNano", _MLT, hotwords=True, punctuates=True, longest=30.0, batch_seconds=60.0
    ),
}

_HINTS: tuple[tuple[str, FamilyName], ...] = (
    ("sensevoice", "sensevoice"),
    ("mlt-nano", "mlt_nano"),
    ("nano", "nano"),
    ("seaco", "seaco"),
    ("contextual", "contextual"),
    ("hotword", "contextual"),
    ("streaming", "streaming"),
    ("online", "streaming"),
    ("vad-punc", "bicif"),
    ("bicif", "bicif"),
    ("paraformer", "paraformer"),
)


def family_of_name(name: str) -> FamilyName | None:
    """Return what a repository's name says about it, if anything."""
    lower = name.lower()
    return next((family for hint, family in _HINTS if hint in lower), None)


def family_of_class(class_name: str, name: str) -> FamilyName | None:
    """Return the family of one of FunASR's classes; Nano's two differ in their names only."""
    if class_name == "FunASRNano":
        return "mlt_nano" if "mlt" in name.lower() else "nano"
    return next((key for key, family in FAMILIES.items() if family.class_name == class_name), None)


def primary(tag: str) -> str:
    """Return the language of a BCP 47 tag as these models know it: "zh" for "cmn-Hans-CN"."""
    language = tag.replace("_", "-").partition("-")[0].lower()
    return {"cmn": "zh", "tl": "fil"}.get(language, language)


def stand_ins(family: Family) -> tuple[str, ...]:
    """Return the classes that can do what a family promises: some Paraformers can do more."""
    if family.punctuates or family.streams:
        return (family.class_name,)
    return tuple(
        other.class_name
        for other in FAMILIES.values()
        if not (other.punctuates or other.streams)
        and other.words >= family.words
        and other.hotwords >= family.hotwords
    )
