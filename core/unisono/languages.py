"""Language tags and the English names of languages."""

from __future__ import annotations

# The languages of Whisper with its own names for them (openai/whisper, whisper/tokenizer.py,
# `LANGUAGES`), because these are what OpenAI puts into `verbose_json`. The last line adds the
# BCP 47 tags that Whisper knows by another code.
_NAMES = """
af afrikaans, am amharic, ar arabic, as assamese, az azerbaijani, ba bashkir, be belarusian,
bg bulgarian, bn bengali, bo tibetan, br breton, bs bosnian, ca catalan, cs czech, cy welsh,
da danish, de german, el greek, en english, es spanish, et estonian, eu basque, fa persian,
fi finnish, fo faroese, fr french, gl galician, gu gujarati, ha hausa, haw hawaiian, he hebrew,
hi hindi, hr croatian, ht haitian creole, hu hungarian, hy armenian, id indonesian, is icelandic,
it italian, ja japanese, jw javanese, ka georgian, kk kazakh, km khmer, kn kannada, ko korean,
la latin, lb luxembourgish, ln lingala, lo lao, lt lithuanian, lv latvian, mg malagasy, mi maori,
mk macedonian, ml malayalam, mn mongolian, mr marathi, ms malay, mt maltese, my myanmar,
ne nepali, nl dutch, nn nynorsk, no norwegian, oc occitan, pa punjabi, pl polish, ps pashto,
pt portuguese, ro romanian, ru russian, sa sanskrit, sd sindhi, si sinhala, sk slovak,
sl slovenian, sn shona, so somali, sq albanian, sr serbian, su sundanese, sv swedish, sw swahili,
ta tamil, te telugu, tg tajik, th thai, tk turkmen, tl tagalog, tr turkish, tt tatar,
uk ukrainian, ur urdu, uz uzbek, vi vietnamese, yi yiddish, yo yoruba, yue cantonese, zh chinese,
cmn chinese, fil tagalog, jv javanese, nb norwegian
"""
_NAME_OF = dict(entry.strip().split(" ", 1) for entry in _NAMES.split(","))

# Of several tags the first is the usual one.
_TAG_OF = {name: tag for tag, name in reversed(_NAME_OF.items())}


def primary_subtag(tag: str) -> str:
    """Return the language of a BCP 47 tag in lower case: "zh" for "zh-Hant-TW".

    An underscore separates too, as in POSIX locales.
    """
    return tag.replace("_", "-").partition("-")[0].lower()


def language_name(tag: str) -> str:
    """Return the English name in lower case, "english" for "en-GB"; an unknown tag as it is."""
    return _NAME_OF.get(primary_subtag(tag), tag)


def language_tag(language: str) -> str:
    """Return the tag for an English name, "en" for "English"; anything else as it is."""
    return _TAG_OF.get(language.lower(), language)
