"""BCP 47 tags, and what GPT-SoVITS and m4t's clients call languages."""

from __future__ import annotations

from unisono import RequestError

LANGUAGES = ("zh", "en", "ja", "yue", "ko")
V1_LANGUAGES = ("zh", "en", "ja")
"""Of the first model version."""

# Of the two names that a language has there, those that take English words in between for
# English ("zh", not "all_zh"); a text without any sounds the same with both.
_UPSTREAM = {tag: tag for tag in LANGUAGES} | {"cmn": "zh"}
_TAGS = {
    "eng": "en",
    "jpn": "ja",
    "kor": "ko",
    "cmn": "zh",
    "zho": "zh",
    "auto_yue": "yue",
    "中文": "zh",
    "粤语": "yue",
    "英文": "en",
    "日文": "ja",
    "韩文": "ko",
    "中英混合": "zh",
    "粤英混合": "yue",
    "日英混合": "ja",
    "韩英混合": "ko",
    "多语种混合": "auto",
    "多语种混合(粤语)": "yue",
}
"""What api.py and SeamlessM4T call languages → tag; `auto` means none."""


def spoken(model_version: str) -> tuple[str, ...]:
    """Return the languages of a model version, as tags."""
    return V1_LANGUAGES if model_version == "v1" else LANGUAGES


def upstream_language(tag: str | None, model_version: str, param: str) -> str:
    """Return GPT-SoVITS's name of a language; without one, it finds out itself.

    In lower case: of POST it takes no other.

    :param param: the field that named it.
    :raises RequestError: if this version does not know it.
    """
    if tag is None:
        return "auto"
    name = _UPSTREAM.get(tag.replace("_", "-").partition("-")[0].lower())
    if name not in spoken(model_version):
        raise RequestError(
            f"{param}: GPT-SoVITS {model_version} does not know the language {tag!r}. It knows: "
            f"{', '.join(spoken(model_version))}.",
            param=param,
            code="unsupported_language",
        )
    return name


def tag_of(name: str) -> str:
    """Return the tag for a language as m4t's clients name it; what is unknown stays as it is."""
    plain = name.strip().removeprefix("all_")
    return _TAGS.get(plain.partition("_")[0], _TAGS.get(plain, plain))
