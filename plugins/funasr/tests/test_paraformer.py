from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from tiny_funasr import pause, say

from unisono import CancelToken, RequestError, Word
from unisono_funasr.punctuation import Sentences
from unisono_funasr.reading import join, spread, timed

ALL = ["paraformer", "contextual", "bicif", "seaco"]
MARKS = set("，。？、,.?")


def bare(text: str) -> str:
    return "".join(letter for letter in text if letter not in MARKS and not letter.isspace())


@pytest.mark.parametrize("name", ALL)
def test_the_text_comes_sentence_by_sentence(write, three: np.ndarray, name: str) -> None:
    segments = write(name, three)
    assert len(segments) > 1
    assert all(segment.text[-1] in "。？.?" for segment in segments)
    assert all(not set(segment.text[:-1]) & set("。？") for segment in segments)
    assert all(0 < segment.start < segment.end < 11.05 for segment in segments)
    assert all(a.end <= b.start for a, b in pairwise(segments))
    assert {segment.language for segment in segments} == {"zh"}


@pytest.mark.parametrize("name", ["bicif", "seaco"])
def test_words_have_times_within_the_utterances(write, three: np.ndarray, name: str) -> None:
    segments = write(name, three, word_timestamps=True)
    words = [word for segment in segments for word in segment.words]
    assert "".join(word.text for word in words) == "".join(bare(s.text) for s in segments)
    assert all(a.end <= b.start + 1e-6 for a, b in pairwise(words))
    assert write(name, three)[0].words == ()
    for start, end in ((3.6, 4.9), (7.9, 9.1)):
        assert not [word for word in words if word.start < end and word.end > start]


def test_without_punctuation_each_piece_is_a_segment(loaded, request_of, three) -> None:
    engine = loaded("seaco", punc_model="none")
    segments = list(engine.transcribe(request_of(three)))
    assert len(segments) == 3
    assert not any(set(segment.text) & MARKS for segment in segments)


def test_punctuation_changes_no_word(loaded, request_of, three: np.ndarray) -> None:
    with_marks = loaded("bicif").transcribe(request_of(three))
    without = loaded("bicif", punc_model="none").transcribe(request_of(three))
    assert "".join(bare(s.text) for s in with_marks) == "".join(bare(s.text) for s in without)


def test_pieces_may_be_read_together(write, three: np.ndarray) -> None:
    alone = write("seaco", three)
    together = write("seaco", three, batch_size_s=300)
    assert len(bare("".join(s.text for s in together))) > 0
    assert together[0].start == pytest.approx(alone[0].start, abs=0.2)


@pytest.mark.parametrize("name", ["contextual", "seaco"])
def test_keywords_reach_the_model_and_no_later_request(write, loaded, three, name: str) -> None:
    model = loaded(name)._loaded.model
    write(name, three, hotwords=("魔搭", "小艾"))
    ids = model.tokenizer.tokens2ids
    assert model.module.hotword_list == [ids([*"魔搭"]), ids([*"小艾"]), [model.module.sos]]
    write(name, three)
    assert model.module.hotword_list is None


def test_a_keyword_that_the_model_cannot_write_is_refused(write, three: np.ndarray) -> None:
    with pytest.raises(RequestError, match="'魔龘'") as caught:
        write("seaco", three, hotwords=("魔搭", "魔龘"))
    assert caught.value.param == "keywords"


def test_options_of_one_request_do_not_last(write, loaded, three: np.ndarray) -> None:
    before = write("seaco", three, word_timestamps=True)
    configuration = dict(loaded("seaco")._loaded.model.configuration)
    write("seaco", three, hotwords=("魔搭",), batch_size_s=100, merge_vad=True, merge_length_s=5)
    assert write("seaco", three, word_timestamps=True) == before
    assert loaded("seaco")._loaded.model.configuration == configuration


def test_sentences_are_sent_before_the_audio_is_read_to_its_end(
    loaded, request_of, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded("bicif")
    component = engine._loaded.model
    reads: list[None] = []
    original = component.module.inference

    def counted(*args, **options):
        reads.append(None)
        return original(*args, **options)

    monkeypatch.setattr(component.module, "inference", counted)
    audio = np.concatenate([np.concatenate([say(*"你好世界"), pause(2.5)]) for _ in range(8)])
    stream = engine.transcribe(request_of(audio))
    next(stream)
    assert len(reads) <= 2
    list(stream)
    assert len(reads) == 8


def test_a_cancelled_request_reads_no_further_piece(loaded, request_of, three) -> None:
    cancel = CancelToken()
    stream = loaded("bicif", punc_model="none").transcribe(request_of(three, cancel=cancel))
    next(stream)
    cancel.cancel()
    assert list(stream) == []


def test_a_request_that_was_cancelled_before_it_began_yields_nothing(
    loaded, request_of, three
) -> None:
    cancel = CancelToken()
    cancel.cancel()
    assert list(loaded("bicif").transcribe(request_of(three, cancel=cancel))) == []


# What sentences are made of


def test_a_sentence_waits_for_the_words_that_may_belong_to_it(loaded) -> None:
    sentences = Sentences(loaded("bicif")._loaded.punctuation)
    first = list(sentences.add(spread("你好世界", 0.0, 1.0)))
    rest = [*sentences.add(spread("大家好", 1.0, 2.0)), *sentences.finish()]
    assert "".join(bare(s.text) for s in (*first, *rest)) == "你好世界大家好"
    assert list(sentences.finish()) == []


def test_no_sentence_goes_on_after_a_long_silence(loaded) -> None:
    sentences = Sentences(loaded("bicif")._loaded.punctuation)
    early = list(sentences.add(spread("你好世界", 0.0, 1.0)))
    late = list(sentences.add(spread("大家好", 60.0, 61.0)))
    assert "".join(bare(s.text) for s in (*early, *late)).startswith("你好世界")
    assert all(s.words[-1].end - s.words[0].start < 2 for s in (*early, *late))


def test_text_without_an_end_does_not_pile_up(loaded) -> None:
    sentences = Sentences(loaded("bicif")._loaded.punctuation)
    spoken = (spread("你好世界" * 5, second, second + 1) for second in range(40))
    sent = [sentence for words in spoken for sentence in sentences.add(words)]
    assert sum(len(sentence.words) for sentence in sent) >= 800 - 420


def test_words_that_look_like_addresses_or_files_are_only_words(
    loaded, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("你好")
    monkeypatch.chdir(tmp_path)
    for text in ("http://127.0.0.1:9/a.txt", "secret", str(tmp_path / "secret")):
        sentences = Sentences(loaded("bicif")._loaded.punctuation)
        found = [*sentences.add([Word(text, 0.0, 1.0)]), *sentences.finish()]
        assert "".join(s.text for s in found).lower().rstrip(".?,") == text.lower()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["你", "好"], "你好"),
        (["hello", "world"], "hello world"),
        (["用", "wifi", "上", "网"], "用wifi上网"),
        (["一", "9", "8", "年", "ok", "3"], "一98年ok 3"),
    ],
)
def test_words_are_joined_as_they_are_written(words: list[str], text: str) -> None:
    assert join(words) == text


def test_words_are_spread_evenly_where_the_library_lost_count() -> None:
    words = timed(["你", "好"], [[100, 200], [200, 300], [300, 500]], 2.0)
    assert [(word.start, word.end) for word in words] == [
        (pytest.approx(0.1), pytest.approx(0.3)),
        (pytest.approx(0.3), pytest.approx(0.5)),
    ]
