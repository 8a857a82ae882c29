"""English phonemes from eSpeak NG, as `piper_phonemize` makes them, which ZipVoice learned from.

Piper's own eSpeak NG reports how each clause ends; the released one does not, so that is read off
the text it has consumed. eSpeak NG is under the GPL: see the README.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import shutil
import tempfile
import threading
import unicodedata
from ctypes import POINTER, byref, c_char_p, c_int
from pathlib import Path

from unisono import EngineUnavailable

NO_ESPEAK = "English needs eSpeak NG: pip install 'unisono-zipvoice[en]'"

_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_MNEMONICS, _IPA = 0, 2
_LANGUAGE_SWITCH = re.compile(r"\([^)]*\)?")
_CLAUSE_END = re.compile(r"\w[^\w.?!,;:–—]*([.?!,;:–—]+)[^\w.?!,;:–—]*$")
_lock = threading.Lock()  # the library keeps its state in globals


def phonemize(text: str, voice: str = "en-us") -> list[str]:
    """Return the phonemes of a text in IPA, one code point each, with its punctuation.

    :raises EngineUnavailable: if eSpeak NG is not installed.
    """
    phonemes: list[str] = []
    with _lock:
        spoken = _clauses(text, voice, _IPA)
        mnemonics = _clauses(text, voice, _MNEMONICS)
    for (ipa, clause), (mnemonic, _) in zip(spoken, mnemonics, strict=True):
        said = _as_piper(unicodedata.normalize("NFD", ipa), mnemonic)
        phonemes += _LANGUAGE_SWITCH.sub("", said) + _ending(clause)
    return phonemes


def _clauses(text: str, voice: str, mode: int) -> list[tuple[str, str]]:
    """Return the phonemes of each clause, and the clause."""
    espeak = load()
    if espeak.espeak_SetVoiceByName(voice.encode()) != 0:
        raise EngineUnavailable(f"eSpeak NG has no voice {voice!r}.")
    remaining = c_char_p(text.replace("\0", " ").encode(errors="replace"))
    clauses = []
    ahead = ""
    while (before := remaining.value) is not None:
        said = espeak.espeak_TextToPhonemes(byref(remaining), _CHARS_UTF8, mode) or b""
        after = remaining.value
        clause = ahead + before[: len(before) - len(after or b"")].decode()
        if after is not None:  # the first character of what follows was looked at
            clause, ahead = clause[:-1], clause[-1:]
        clauses.append((said.decode(), clause))
    return clauses


def _as_piper(ipa: str, mnemonic: str) -> str:
    """Tell the vowels of "more" and "or" apart, which eSpeak NG 1.52 writes alike."""
    vowels = re.findall("[oO]@|O:r", mnemonic)
    parts = ipa.split("ɔːɹ")
    if len(vowels) != len(parts) - 1:
        return ipa
    written = ("oːɹ" if vowel == "o@" else "ɔːɹ" for vowel in vowels)
    return "".join(part for pair in zip(parts, [*written, ""], strict=True) for part in pair)


def _ending(clause: str) -> str:
    """Return the punctuation at the end of a clause; pauses within a sentence bring a space."""
    found = _CLAUSE_END.search(clause)
    if found is None:
        return ""
    marks = re.sub("[–—]", ";", found[1])
    if marks.startswith(".."):
        return ""
    return f"{marks[0]} " if marks[0] in ",;:" else marks[0]


@functools.cache
def load() -> ctypes.CDLL:
    """Load a copy of the library of our own, once.

    What else uses eSpeak NG in this process shares its globals with whoever loads the same file,
    and may end the library under our feet.

    :raises EngineUnavailable: if it is not installed.
    """
    try:
        import espeakng_loader  # noqa: PLC0415 - an extra, and GPL
    except ImportError:
        raise EngineUnavailable(NO_ESPEAK) from None
    source = Path(espeakng_loader.get_library_path())
    folder = Path(tempfile.mkdtemp(prefix="unisono-zipvoice-"))
    try:
        espeak = ctypes.CDLL(os.fspath(shutil.copy(source, folder / source.name)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # Windows keeps what is in use
    for name, result, *arguments in (
        ("espeak_Initialize", c_int, c_int, c_int, c_char_p, c_int),
        ("espeak_SetVoiceByName", c_int, c_char_p),
        ("espeak_TextToPhonemes", c_char_p, POINTER(c_char_p), c_int, c_int),
    ):
        function = getattr(espeak, name)
        function.restype, function.argtypes = result, arguments
    encoding = "mbcs" if os.name == "nt" else "utf-8"
    data = os.fspath(espeakng_loader.get_data_path()).encode(encoding, "surrogateescape")
    if espeak.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data, _DONT_EXIT) < 0:
        raise EngineUnavailable("eSpeak NG does not find its data; reinstall espeakng-loader.")
    return espeak
