"""How upstream is asked for each kind of speech, and where each version wants tags and words.

Sources: `example.py` of the repository of CosyVoice, and `Qwen2LM.inference`, which in version 3
refuses a text without the mark that ends instructions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unisono import RequestError

from .checkpoints import Version

END = "<|endofprompt|>"
SYSTEM = "You are a helpful assistant."

_FIRST = ("zh", "en", "ja", "yue", "ko")
LANGUAGES: dict[Version, tuple[str, ...]] = {
    1: _FIRST,
    2: _FIRST,
    3: (*_FIRST, "de", "es", "fr", "it", "ru"),
}

Mode = Literal["sft", "zero_shot", "cross_lingual", "instruct", "instruct2"]


@dataclass(frozen=True)
class Manner:
    """What to call, and with which words besides the text."""

    mode: Mode
    before: str = ""
    """Goes before each piece of the text."""
    prompt: str = ""
    """The instructions."""

    def words(self, piece: str) -> str:
        """Return a piece of the text with what goes before it, unless the client put it there."""
        tagged = piece.startswith("<|") and END not in self.before
        return piece if tagged or END in piece else self.before + piece


def of_speaker(version: Version, instructions: str | None) -> Manner:
    """Return how one of the model's speakers speaks."""
    if not instructions:
        return Manner("sft", before=_opening(version))
    mode: Mode = "instruct" if version == 1 else "instruct2"
    return Manner(mode, prompt=_instructions(version, instructions))


def of_recording(
    version: Version, *, known: bool, language: str | None, instructions: str | None
) -> Manner:
    """Return how the voice of a recording speaks.

    :param known: whether it was prepared together with what is said in it.
    :param language: primary subtag of the text to be spoken.
    """
    if instructions:
        return Manner("instruct2", prompt=_instructions(version, instructions))
    if known:
        return Manner("zero_shot")
    tag = f"<|{language}|>" if version == 1 and language else ""
    return Manner("cross_lingual", before=_opening(version) + tag)


def transcript(version: Version, text: str) -> str:
    """Return what is said in a recording as the model wants it."""
    return text if END in text else _opening(version) + text


def language_of(version: Version, tag: str | None) -> str | None:
    """Return the primary subtag of the text's language.

    :raises RequestError: if the model does not speak it.
    """
    if tag is None:
        return None
    language = tag.replace("_", "-").partition("-")[0].lower()
    language = "zh" if language == "cmn" else language
    if language not in LANGUAGES[version]:
        raise RequestError(
            f"CosyVoice {version} does not speak {tag!r}. Its languages: "
            f"{', '.join(LANGUAGES[version])}.",
            param="language",
        )
    return language


def _opening(version: Version) -> str:
    return SYSTEM + END if version == 3 else ""


def _instructions(version: Version, text: str) -> str:
    text = text.strip().removesuffix(END)
    if version == 3 and not text.startswith(SYSTEM):
        text = f"{SYSTEM} {text}"
    return text + END
