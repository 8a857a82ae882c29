"""Whisper's codes of languages, which are not quite BCP 47."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# openai/whisper, whisper/tokenizer.py, `LANGUAGES`; Cantonese came with large-v3.
_CODES = """
en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th
ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr
pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt
haw ln ha ba jw su yue
"""
CODES: Sequence[str] = _CODES.split()
CANTONESE = "yue"

_OTHER_TAGS: Mapping[str, str] = {
    "cmn": "zh",
    "fil": "tl",
    "in": "id",
    "iw": "he",
    "jv": "jw",
    "nb": "no",
}
"""Tags for languages that Whisper knows by another code."""


def tags(*, cantonese: bool) -> tuple[str, ...]:
    """Return the BCP 47 tags of all languages of a multilingual model."""
    known = [code for code in CODES if cantonese or code != CANTONESE]
    return (*known, *_OTHER_TAGS)


def code_of(tag: str) -> str:
    """Return Whisper's code of a BCP 47 tag: "zh" for "cmn-Hans-CN"."""
    primary = tag.replace("_", "-").partition("-")[0].lower()
    return _OTHER_TAGS.get(primary, primary)


def tag_of(code: str) -> str:
    """Return the BCP 47 tag of Whisper's code."""
    return "jv" if code == "jw" else code  # ISO 639 withdrew jw in 2001
