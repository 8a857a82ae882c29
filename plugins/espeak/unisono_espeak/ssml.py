"""Turn a client's SSML into SSML that espeak-ng reads correctly and without danger.

espeak-ng's own reader opens the files that `<audio>` names, overflows buffers on long attributes,
takes "1.5s" for 1 ms and "+6dB" for 6 %, and skips what it does not know. So the document is
parsed here, and written anew with nothing but what was understood.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from unisono import RequestError

from .library import harmless, printable
from .voices import VoiceName, find_voice, known_tag, steady_range

_DEPTH = 16
_LONGEST_BREAK_MS = 10_000
_MARKUP = re.compile(r"<[^>]*>")
_ENTITY = re.compile(r"&(amp|lt|gt);")
_CHARACTER = {"amp": "&", "lt": "<", "gt": ">"}


@dataclass(frozen=True)
class Document:
    """A document for the library."""

    markup: str
    spoken: str
    """As long as `markup`, with spaces in the place of tags."""


def clean(text: str, voice: VoiceName, pitch: int, pitch_range: int) -> Document:
    """Check a `<speak>` document and write it anew.

    :param voice: the voice that the document starts with; so for pitch and pitch range.
    :raises RequestError: if it is not well-formed, has a DOCTYPE, has elements or values that
        espeak would not honour, or nothing to speak.
    """
    writer = _Writer(voice, pitch, pitch_range)
    parser = expat.ParserCreate()
    parser.StartElementHandler = writer.start
    parser.EndElementHandler = writer.end
    parser.CharacterDataHandler = writer.text
    parser.StartDoctypeDeclHandler = lambda *_: _refuse("a DOCTYPE is not allowed")
    try:
        parser.Parse(printable(text), True)
    except expat.ExpatError as error:
        _refuse(f"not well-formed XML: {error}")
    if not writer.audible:
        raise RequestError("input: there is nothing to speak.", param="input", code="empty_input")
    # An ampersand that cannot begin an entity keeps "AT&T" in one piece.
    markup = harmless(re.sub(r"&amp;(?![#a-z])", "&", "".join(writer.parts)))
    blanked = _MARKUP.sub(lambda match: " " * len(match[0]), markup)
    spoken = _ENTITY.sub(lambda match: _CHARACTER[match[1]].ljust(len(match[0])), blanked)
    return Document(markup, spoken)


@dataclass(frozen=True)
class _Melody:
    """Pitch and pitch range within a `<prosody>`, on espeak's scales of 0 to 99."""

    pitch: float
    pitch_range: float


@dataclass
class _Writer:
    """What has been written of the new document, fed by the parser."""

    voice: VoiceName
    pitch: int
    pitch_range: int
    parts: list[str] = field(default_factory=list)
    audible: bool = False
    _open: list[tuple[str, _Melody]] = field(default_factory=list)
    _replaced: int = 0
    """Depth of the open `<sub>` whose alias stands for what it contains."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if (name == "speak") is not (not self._open):
            _refuse("the document must be one <speak> element")
        if name not in _ELEMENTS:
            _refuse(f"<{name}> is not supported; supported are {_listed(_ELEMENTS)}")
        values = {key: _converted(name, key, value) for key, value in attributes.items()}
        melody = self._open[-1][1] if self._open else _Melody(self.pitch, self.pitch_range)
        if "pitch" in values or "range" in values:
            melody = self._changed(melody, attributes)
            values |= self._absolute(melody)
        self._open.append((name, melody))
        if len(self._open) > _DEPTH:
            _refuse(f"elements are nested more than {_DEPTH} deep")
        if self._replaced:
            return
        written = "".join(f' {key}="{value}"' for key, value in values.items() if value)
        if name == "sub":
            self.text(attributes.get("alias", ""))
            self._replaced = len(self._open)
        elif name == "break":
            self.parts.append(f"<break{written}/>")
            self.audible = True
        elif name != "mark":
            self.parts.append(f"<{name}{written}>")

    def end(self, name: str) -> None:
        if self._replaced == len(self._open):
            self._replaced = 0
        elif not self._replaced and name not in ("break", "mark"):
            self.parts.append(f"</{name}>")
        self._open.pop()

    def text(self, data: str) -> None:
        if not self._replaced:
            self.parts.append(html.escape(printable(data), quote=False))
            self.audible = self.audible or bool(data.strip())

    def _changed(self, melody: _Melody, attributes: Mapping[str, str]) -> _Melody:
        pitch, pitch_range = melody.pitch, melody.pitch_range
        if value := attributes.get("pitch", "").strip():
            start = self.pitch if value in _PITCHES else pitch
            pitch = start + 50 * math.log2(_factor(value, _PITCHES))  # 50 steps are an octave
        if value := attributes.get("range", "").strip():
            start = self.pitch_range if value in _RANGES else pitch_range
            pitch_range = start * _factor(value, _RANGES)
        return _Melody(min(max(pitch, 0), 99), min(pitch_range, 99))

    def _absolute(self, melody: _Melody) -> dict[str, str]:
        pitch = round(melody.pitch)
        steady = steady_range(self.voice, pitch, round(melody.pitch_range), any_voice=True)
        return {"pitch": str(pitch), "range": str(steady)}


def _converted(element: str, attribute: str, value: str) -> str:
    """Return what espeak is to get; an empty string leaves the attribute out."""
    convert = _ELEMENTS[element].get(attribute)
    if convert is None:
        known = _listed(_ELEMENTS[element]) or "none"
        _refuse(f"<{element}> has no attribute {attribute!r} here; its attributes: {known}")
    converted = convert(value.strip())
    if converted is None:
        _refuse(f"<{element} {attribute}={value[:40]!r}> is not supported")
    return converted


_Convert = Callable[[str], "str | None"]


def _ignored(value: str) -> str:
    return ""


def _one_of(*words: str, **renamed: str) -> _Convert:
    table = {**{word: word for word in words}, **renamed}
    return table.get


def _matching(pattern: str) -> _Convert:
    return lambda value: value if re.fullmatch(pattern, value, re.ASCII) else None


def _either(*converters: _Convert) -> _Convert:
    def convert(value: str) -> str | None:
        found = (converter(value) for converter in converters)
        return next((result for result in found if result is not None), None)

    return convert


def _voice(name: str) -> str | None:
    voice = find_voice(name)
    return None if voice is None or voice.variant is not None else voice.path


def _milliseconds(value: str) -> str | None:
    match = re.fullmatch(r"(\d{1,5}(?:\.\d*)?|\.\d+)(m?s)", value, re.ASCII)
    if match is None:
        return None
    duration = round(float(match[1]) * (1 if match[2] == "ms" else 1000))
    return f"{duration}ms" if duration <= _LONGEST_BREAK_MS else None


def _decibels(value: str) -> str | None:
    match = re.fullmatch(r"([+-]\d{1,2}(?:\.\d+)?)dB", value, re.ASCII)
    return None if match is None else f"{round(100 * 10 ** (float(match[1]) / 20))}%"


def _factor(value: str, words: Mapping[str, float]) -> float:
    """Return a pitch or range that `_ELEMENTS` lets pass as a factor: "high", "+20%", "-2st"."""
    if value in words:
        return words[value]
    if value.endswith("st"):
        return float(2 ** (float(value[:-2]) / 12))
    return 1 + float(value[:-1]) / 100


def _refuse(reason: str) -> NoReturn:
    raise RequestError(f"input: {reason}.", param="input", code="invalid_ssml")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


# The factors that espeak's own reader has for these words (ssml.c, `SetProsodyParameter`).
_PITCHES = {"default": 1, "x-low": 0.7, "low": 0.85, "medium": 1, "high": 1.1, "x-high": 1.2}
_RANGES = {"default": 1, "x-low": 0.2, "low": 0.5, "medium": 1, "high": 1.4, "x-high": 1.8}
_CHANGE = r"\+\d{1,3}%|-\d{1,2}%"
_LANGUAGE: dict[str, _Convert] = {"xml:lang": known_tag}
_ELEMENTS: dict[str, dict[str, _Convert]] = {
    "speak": {
        "version": _ignored,
        "xmlns": _ignored,
        "xmlns:xsi": _ignored,
        "xsi:schemaLocation": _ignored,
        **_LANGUAGE,
    },
    "p": _LANGUAGE,
    "s": _LANGUAGE,
    "voice": {
        "name": _voice,
        "gender": _one_of("male", "female", "neutral"),
        "age": _matching(r"\d{1,3}"),
        "variant": _matching(r"\d{1,2}"),
        **_LANGUAGE,
    },
    "prosody": {
        "rate": _either(
            _one_of("default", "x-slow", "slow", "medium", "fast", "x-fast"),
            _matching(r"\d{1,3}%|" + _CHANGE),
        ),
        "pitch": _either(_one_of(*_PITCHES), _matching(r"[+-]\d{1,2}(\.\d+)?st|" + _CHANGE)),
        "range": _either(_one_of(*_RANGES), _matching(_CHANGE)),
        "volume": _either(
            _one_of("default", "silent", "x-soft", "soft", "medium", "loud", "x-loud"),
            _matching(_CHANGE),
            _decibels,
        ),
    },
    "emphasis": {"level": _one_of("none", "reduced", "moderate", "strong")},
    "break": {
        "time": _milliseconds,
        "strength": _one_of("none", "x-weak", "weak", "medium", "strong", "x-strong"),
    },
    "say-as": {
        "interpret-as": _one_of(
            "characters", "telephone", **{"spell-out": "characters", "digits": "tts:digits"}
        )
    },
    "sub": {"alias": _ignored},
    "mark": {"name": _ignored},
}
