from __future__ import annotations

import pytest

from unisono import RequestError


def seconds(samples) -> float:
    return len(samples) / 22050


def document(content: str, attributes: str = "") -> str:
    return f"<speak{attributes}>{content}</speak>"


@pytest.mark.parametrize(("time", "expected"), [("500ms", 0.5), ("1.5s", 1.5), (".25s", 0.25)])
def test_a_break_lasts_as_long_as_it_says(audio, time, expected):
    short = audio(document('Hello <break time="100ms"/> world'), ssml=True)
    long = audio(document(f'Hello <break time="{time}"/> world'), ssml=True)

    assert seconds(long) - seconds(short) == pytest.approx(expected - 0.1, abs=0.05)


def test_a_break_alone_is_silence(audio):
    silence = audio(document('<break time="1s"/>'), ssml=True)

    assert seconds(silence) > 0.5
    assert not silence.any()


def test_voices_change_within_a_document(audio, pitch_of):
    female = audio(document('<voice gender="female">Hello my dear</voice>'), ssml=True)
    male = audio(document("Hello my dear"), ssml=True)

    assert pitch_of(female) > 1.3 * pitch_of(male)


@pytest.mark.parametrize("attribute", ['name="fr-fr"', 'xml:lang="fr"', 'xml:lang="fr-MC"'])
def test_a_document_switches_languages(audio, attribute):
    text = "Qu'est-ce que c'est que ça"
    french = seconds(audio(text, "fr-fr"))
    assert seconds(audio(text, "en-us")) > 1.3 * french

    switched = audio(document(f"<voice {attribute}>{text}</voice>"), "en-us", ssml=True)

    assert seconds(switched) == pytest.approx(french, rel=0.04)


def test_the_language_of_the_document_keeps_the_variant_of_the_voice(audio, pitch_of):
    plain = audio("Hello my dear", "en-us+f3")
    same = audio(document("Hello my dear", ' xml:lang="en"'), "en-us+f3", ssml=True)

    assert pitch_of(same) == pytest.approx(pitch_of(plain), rel=0.05)


def test_prosody_changes_rate_pitch_and_volume(audio, pitch_of):
    text = "The birch canoe slid on the smooth planks."
    plain = audio(document(text), ssml=True)

    slow = audio(document(f'<prosody rate="60%">{text}</prosody>'), ssml=True)
    high = audio(document(f'<prosody pitch="+6st">{text}</prosody>'), ssml=True)
    soft = audio(document(f'<prosody volume="-6dB">{text}</prosody>'), ssml=True)

    assert seconds(slow) > 1.4 * seconds(plain)
    assert 1.2 < pitch_of(high) / pitch_of(plain) < 1.5
    assert (soft**2).mean() ** 0.5 == pytest.approx((plain**2).mean() ** 0.5 / 2, rel=0.15)


def test_nested_prosody_adds_up(audio, pitch_of):
    once = audio(document('<prosody pitch="+30%">Hello my dear</prosody>'), ssml=True)
    twice = audio(
        document('<prosody pitch="+30%"><prosody pitch="+30%">Hello my dear</prosody></prosody>'),
        ssml=True,
    )

    assert pitch_of(twice) > 1.1 * pitch_of(once)


def test_the_lowest_and_liveliest_prosody_is_harmless(say):
    low = '<voice gender="male" variant="1">Hello</voice> <p xml:lang="fr">Bonjour</p>'

    for voice in ("en-us", "en-us+rob", "fr-fr+Annie"):
        text = document(f'<prosody pitch="-99%" range="+999%">{low}</prosody>' * 3)
        assert say(text, voice, ssml=True)


def test_words_are_those_of_the_text_without_markup(say):
    text = document(
        'AT&amp;T <emphasis level="strong">größer</emphasis> <sub alias="World Wide Web">WWW</sub>'
        '<break time="200ms"/><say-as interpret-as="characters">abc</say-as> <mark name="x"/>now'
    )

    found = [word.text for chunk in say(text, words=True, ssml=True) for word in chunk.words]

    assert found == ["AT&T", "größer", "World", "Wide", "Web", "abc", "now"]


def test_spelling_out_takes_longer_than_the_word(audio):
    spelled = audio(document('<say-as interpret-as="spell-out">table</say-as>'), ssml=True)

    assert seconds(spelled) > 1.5 * seconds(audio(document("table"), ssml=True))


def test_a_complete_document_is_accepted(say):
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!--a comment-->\n'
        '<speak version="1.1" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="en-US">\n'
        "<p><s>Hello.</s><s>Good bye &#233; <![CDATA[a < b]]></s></p>\n</speak>\n"
    )

    assert say(text, ssml=True)


@pytest.mark.parametrize(
    "text",
    [
        "Hello",
        "<speak>Hello",
        "<speak>one</speak><speak>two</speak>",
        "<p>Hello</p>",
        "<speak><speak>Hello</speak></speak>",
        '<!DOCTYPE speak [<!ENTITY e "x">]><speak>&e;</speak>',
        "<speak>&nbsp;</speak>",
        "<speak>&#1;</speak>",
        '<speak><audio src="/etc/passwd"/>Hello</speak>',
        '<speak xml:base="/etc">Hello</speak>',
        '<speak><voice name="../../etc/passwd">Hello</voice></speak>',
        '<speak><voice name="de+f3">Hello</voice></speak>',
        '<speak xml:lang="tlh">Hello</speak>',
        '<speak><break time="1h"/></speak>',
        '<speak><break time="60s"/></speak>',
        '<speak><prosody rate="99999%">Hello</prosody></speak>',
        '<speak><prosody pitch="-100%">Hello</prosody></speak>',
        '<speak><prosody pitch="200Hz">Hello</prosody></speak>',
        '<speak><prosody contour="x">Hello</prosody></speak>',
        '<speak><say-as interpret-as="date">Hello</say-as></speak>',
        f"<speak>{'<p>' * 20}Hello{'</p>' * 20}</speak>",
    ],
)
def test_a_document_that_espeak_would_not_honour_is_refused(say, text):
    with pytest.raises(RequestError) as caught:
        say(text, ssml=True)

    assert caught.value.param == "input"
    assert caught.value.code == "invalid_ssml"


def test_dialogue_with_hyphens_does_not_crash_the_danish_voice(say):
    assert say(document('"-casa" <p>-casa</p> (-casa)'), "da", ssml=True)


@pytest.mark.parametrize("text", ["<speak/>", "<speak> <p> </p> </speak>"])
def test_an_empty_document_is_refused(say, text):
    with pytest.raises(RequestError) as caught:
        say(text, ssml=True)

    assert caught.value.code == "empty_input"


def test_markup_is_read_aloud_when_the_input_is_not_said_to_be_ssml(audio):
    text = document("Hello")

    assert seconds(audio(text)) > 2 * seconds(audio(text, ssml=True))
