"""Speakers whose voices the upstream is told."""

from __future__ import annotations

import base64
import io
import wave
from operator import itemgetter

import openai
import pytest

MEETING = {"response_format": "diarized_json", "features": ["diarization", "known_speakers"]}


def data_url(file):
    return f"data:audio/wav;base64,{base64.b64encode(file).decode()}"


def test_the_sdk_gets_known_speakers_by_their_names(front, wav):
    transcript = front.client().audio.transcriptions.create(
        model="meeting",
        file=wav(3.0, rate=16_000),
        response_format="diarized_json",
        known_speaker_names=["Ada", "Grace"],
        known_speaker_references=[data_url(wav(2.0)), data_url(wav(3.0))],
    )
    assert [segment.speaker for segment in transcript.segments] == ["Ada", "Grace", "Ada"]


def test_known_speakers_are_sent_as_the_sdk_sends_them(write, stub, wav):
    stub.answer = lambda line, asked: line.answer({"text": "", "segments": []})
    fields = {
        "response_format": "diarized_json",
        "known_speaker_names": ["Ada", "Grace"],
        "known_speaker_references": [data_url(wav(s, rate=16_000)) for s in (2.0, 3.0)],
    }
    write(MEETING, **fields)
    with openai.OpenAI(base_url=stub.url, api_key="none") as client:
        client.audio.transcriptions.create(model="there", file=b"", **fields)
    ours, theirs = (sorted(asked.form()[0], key=itemgetter(0)) for asked in stub.asked)
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    assert ours[:2] == theirs[:2] == [("known_speaker_names[]", n) for n in ("Ada", "Grace")]
    references = [value for name, value in ours if name == "known_speaker_references[]"]
    for reference, seconds in zip(references, (2.0, 3.0), strict=True):
        head, _, data = reference.partition(",")
        assert head == "data:audio/wav;base64"
        with wave.open(io.BytesIO(base64.b64decode(data))) as audio:
            assert audio.getparams()[:3] == (1, 2, 16_000)
            assert audio.getnframes() / 16_000 == pytest.approx(seconds, abs=0.2)


def test_a_recording_that_openai_would_refuse_is_refused_here(front, wav):
    with pytest.raises(openai.BadRequestError, match="'Ada'") as caught:
        front.client().audio.transcriptions.create(
            model="meeting",
            file=wav(3.0, rate=16_000),
            response_format="diarized_json",
            known_speaker_names=["Ada"],
            known_speaker_references=[data_url(wav(1.0))],
        )
    assert caught.value.param == "known_speaker_references"


def test_a_long_recording_is_one_upload_so_labels_stay(write, stub):
    stub.answer = lambda line, asked: line.answer({"text": "", "segments": []})
    write(MEETING, seconds=400.0, response_format="diarized_json")
    assert len(stub.asked) == 1
