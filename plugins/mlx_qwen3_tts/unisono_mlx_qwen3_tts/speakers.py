"""The languages of Qwen3-TTS, and the speakers of its CustomVoice models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from unisono import RequestError, Voice

LANGUAGES: Mapping[str, str] = {
    "zh": "chinese",
    "en": "english",
    "ja": "japanese",
    "ko": "korean",
    "de": "german",
    "fr": "french",
    "ru": "russian",
    "pt": "portuguese",
    "es": "spanish",
    "it": "italian",
}
"""Primary subtag of BCP 47 → the model's name of the language."""

# What the model cards say of them: the language that each speaks best, and how they sound.
_KNOWN = {
    "vivian": Voice("vivian", ("zh",), "female", "Bright, slightly edgy young woman"),
    "serena": Voice("serena", ("zh",), "female", "Warm, gentle young woman"),
    "uncle_fu": Voice("uncle_fu", ("zh",), "male", "Seasoned man with a low, mellow timbre"),
    "dylan": Voice("dylan", ("zh",), "male", "Clear young man; speaks Beijing dialect"),
    "eric": Voice("eric", ("zh",), "male", "Lively, slightly husky man; speaks Sichuan dialect"),
    "ryan": Voice("ryan", ("en",), "male", "Dynamic man with rhythmic drive"),
    "aiden": Voice("aiden", ("en",), "male", "Sunny American man with a clear midrange"),
    "ono_anna": Voice("ono_anna", ("ja",), "female", "Playful, light and nimble woman"),
    "sohee": Voice("sohee", ("ko",), "female", "Warm, emotional woman"),
}


def speakers(names: Iterable[str] | None = None) -> tuple[Voice, ...]:
    """Describe speakers, whose names are all the models' own when they are not known."""
    return tuple(_KNOWN.get(name, Voice(name)) for name in (_KNOWN if names is None else names))


def language_of(tag: str | None) -> str | None:
    """Return the model's name of a language, None for None: the model then finds out itself.

    :raises RequestError: if the model does not speak it.
    """
    if tag is None:
        return None
    name = LANGUAGES.get(tag.replace("_", "-").partition("-")[0].lower())
    if name is None:
        raise RequestError(
            f"Qwen3-TTS does not speak {tag!r}. Its languages: {', '.join(LANGUAGES)}.",
            param="language",
        )
    return name
