"""The voices that espeak-ng brings along, read from its data files without loading the library.

A voice is a language, perhaps with a variant, which changes the timbre: "en-us", "en-us+f3".
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LOWEST_HZ = 20
_CRASHES = {"my"}  # on ordinary text, Burmese makes eSpeak NG 1.52 write beyond a buffer
_REGION_OR_SCRIPT = re.compile(r"-(?:[a-z]{2}|[a-z]{4}|[0-9]{3})$")


@dataclass(frozen=True)
class Language:
    """One language file."""

    name: str
    """What clients type: the first of `tags`, or the file's name where two files share that."""
    title: str
    """The name in English, for example "English (America)"."""
    path: str
    """The file below `lang`, for example "gmw/en-US"."""
    tags: tuple[tuple[str, int], ...]
    """BCP 47 tags in lower case with espeak's priorities; a low one is a good match."""


@dataclass(frozen=True)
class VoiceName:
    """A voice that exists."""

    language: Language
    variant: str | None = None
    """The variant's file below `voices/!v`."""

    def __str__(self) -> str:
        return self._joined(self.language.name)

    @property
    def path(self) -> str:
        """What the library calls this voice."""
        return self._joined(self.language.path)

    def _joined(self, language: str) -> str:
        return language if self.variant is None else f"{language}+{self.variant}"


def find_voice(name: str) -> VoiceName | None:
    """Return the voice of this name, or None if a part of it does not exist.

    Case does not matter, "_" may stand for "-", and a language's name may be any tag that
    stands for it: "zh" finds Mandarin, "en" British English, "de-AT" German.
    """
    first, plus, second = name.partition("+")
    language = find_language(first)
    if language is None:
        return None
    if not plus:
        return VoiceName(language)
    variant = variants().get(second.strip().casefold())
    return None if variant is None else VoiceName(language, variant)


def find_language(tag: str) -> Language | None:
    """Return the language that speaks this tag best, ignoring its region or script if need be."""
    known = known_tag(tag)
    ranked = sorted(
        # A name that is no tag, such as "yue-latn-jyutping", comes first for itself.
        (0 if language.name == known else priority, language.name, language)
        for language in languages()
        for own, priority in (*language.tags, (language.name, 0))
        if own == known
    )
    return ranked[0][2] if ranked else None


def known_tag(tag: str) -> str | None:
    """Return what espeak knows of a tag: "en_US" as "en-us", "de-AT" as "de"; None if nothing."""
    tag = tag.strip().lower().replace("_", "-")
    known = {own for language in languages() for own, _ in (*language.tags, (language.name, 0))}
    while tag not in known:
        shorter = _REGION_OR_SCRIPT.sub("", tag)
        if shorter == tag:
            return None
        tag = shorter
    return tag


@functools.cache
def languages() -> tuple[Language, ...]:
    """Return every language that can be spoken, sorted by name."""
    data = _data()
    root = data / "lang"
    found = []
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        fields = list(_fields(file))
        tags = tuple(_tag(value) for key, value in fields if key == "language")
        dictionary = dict(fields).get("dictionary", tags[0][0].partition("-")[0])
        # Some builds lack dictionaries; without one, espeak turns any text into silence.
        if (data / f"{dictionary}_dict").is_file() and tags[0][0] not in _CRASHES:
            title = dict(fields).get("name", file.name)
            found.append((file.relative_to(root).as_posix(), title, tags))
    shared = Counter(tags[0][0] for _, _, tags in found)
    made = (
        Language(
            name=tags[0][0] if shared[tags[0][0]] == 1 else path.rpartition("/")[2].lower(),
            title=title,
            path=path,
            tags=tags,
        )
        for path, title, tags in found
    )
    return tuple(sorted(made, key=lambda language: language.name))


@functools.cache
def variants() -> dict[str, str]:
    """Return every variant: its name in lower case → its file's name."""
    return {file.name.casefold(): file.name for file in sorted(_variants_folder().iterdir())}


def gender(voice: VoiceName) -> str:
    """Return "male" or "female"; espeak's languages are male unless a variant says otherwise."""
    if voice.variant is not None:
        for key, value in _fields(_variants_folder() / voice.variant):
            if key == "gender":
                return value.split()[0].lower()
    return "male"


def steady_range(voice: VoiceName, pitch: int, pitch_range: int, *, any_voice: bool = False) -> int:
    """Return the pitch range, narrowed if it would take the voice below 20 Hz.

    At very low pitches eSpeak NG 1.52 writes beyond its table of harmonics. How low a voice gets
    is computed as `SetPitch2` in wavegen.c does.

    :param any_voice: the text may switch to other voices.
    """
    files = [_file(voice)]
    if any_voice:
        files += (_file(VoiceName(language)) for language in languages())
        files += (_variants_folder() / name for name in variants().values() if len(name) == 2)
    limit = float(pitch_range)
    for low, high in {_pitches(file) for file in files}:
        if high > low:
            base = (low - 9) * 2 ** (pitch / 50 - 1)
            limit = min(limit, 50 + 50 * 4096 * (base - _LOWEST_HZ) / (18 * 108 * (high - low)))
    return max(0, int(limit))


@functools.cache
def _pitches(file: Path) -> tuple[int, int]:
    """Return the lowest and the highest pitch that a voice file asks for, in hertz."""
    low, high, *_ = dict(_fields(file)).get("pitch", "82 118").split()
    return int(low), int(high)


def _file(voice: VoiceName) -> Path:
    if voice.variant is not None:  # it starts from espeak's defaults, not from the language's
        return _variants_folder() / voice.variant
    return _data() / "lang" / voice.language.path


def bcp47(tag: str) -> str:
    """Return a tag in the customary case: "en-US", "fa-Latn" (RFC 5646, section 2.1.1)."""
    language, *rest = tag.split("-")
    private = False
    for subtag in rest:
        cased = {2: subtag.upper(), 4: subtag.title()}.get(len(subtag), subtag)
        language += f"-{subtag if private else cased}"
        private = private or len(subtag) == 1
    return language


def _data() -> Path:
    import espeakng_loader  # noqa: PLC0415 - the plugin must import without touching the library

    return Path(espeakng_loader.get_data_path())


def _variants_folder() -> Path:
    return _data() / "voices" / "!v"


def _fields(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a voice file as keys and values, as `ReadVoiceFile` in voices.c does."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.partition("//")[0].split(None, 1)
        if len(words) == 2 and not line.startswith("#"):
            yield words[0], words[1].strip()


def _tag(value: str) -> tuple[str, int]:
    tag, _, priority = value.partition(" ")
    return tag.lower(), int(priority or 5)
