from __future__ import annotations

import numpy as np
import pytest

from unisono import CancelToken, Feature, RequestError


def test_text_comes_chunk_by_chunk(write, three: np.ndarray) -> None:
    segments = write("streaming", three)
    assert len(segments) > 10
    for segment in segments:
        assert segment.text
        assert segment.start / 0.6 == pytest.approx(round(segment.start / 0.6))
        assert segment.end == pytest.approx(min(segment.start + 0.6, len(three) / 16_000))


def test_nothing_is_read_before_it_is_asked_for(
    loaded, request_of, three: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded("streaming")
    module = engine._loaded.model.module
    reads: list[None] = []
    original = module.inference

    def counted(*args, **options):
        reads.append(None)
        return original(*args, **options)

    monkeypatch.setattr(module, "inference", counted)
    cancel = CancelToken()
    stream = engine.transcribe(request_of(three, cancel=cancel))
    next(stream)
    assert len(reads) < 4
    cancel.cancel()
    assert list(stream) == []
    assert len(reads) < 4


def test_no_request_hears_what_was_said_in_another(loaded, request_of, write, three) -> None:
    expected = write("streaming", three)
    stream = loaded("streaming").transcribe(request_of(three[::-1].copy()))
    next(stream)
    stream.close()
    assert write("streaming", three) == expected


def test_the_client_chooses_the_chunks(write, three: np.ndarray) -> None:
    longer = write("streaming", three, chunk_size=[0, 20, 5])
    assert {round((segment.end - segment.start) / 0.6) for segment in longer[:-1]} == {2}
    texts = [
        "".join(s.text for s in write("streaming", three, **options))
        for options in ({}, {"encoder_chunk_look_back": 0}, {"decoder_chunk_look_back": 0})
    ]
    assert len(set(texts)) > 1


@pytest.mark.parametrize("samples", [1, 100, 959, 960, 9600, 9601])
def test_any_length_is_read(write, three: np.ndarray, samples: int) -> None:
    write("streaming", three[16_000 : 16_000 + samples])


def test_a_chunk_without_length_is_refused(write, three: np.ndarray) -> None:
    with pytest.raises(RequestError) as caught:
        write("streaming", three, chunk_size=[5, 0, 5])
    assert caught.value.param == "chunk_size"


def test_it_has_neither_keywords_nor_times_nor_speakers(loaded) -> None:
    features = loaded("streaming").model.features
    assert not features & {Feature.HOTWORDS, Feature.WORD_TIMESTAMPS, Feature.DIARIZATION}
