"""The real CosyVoice, with tiny weights.

Runs where the environment variable COSYVOICE_SOURCE_DIR names a checkout, in a virtualenv that has
what it needs: `pytest -m slow plugins/cosyvoice/tests/test_upstream.py`.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unisono import AudioChunk, CancelToken, SpeechRequest, Turn, VoicePrompt
from unisono_cosyvoice import checkout
from unisono_cosyvoice.engine import CosyVoiceEngine
from unisono_cosyvoice.options import CosyVoiceParams, CosyVoiceSettings

sys.path.insert(0, str(Path(__file__).parent))
import tiny_cosyvoice

SOURCE_DIR = os.environ.get("COSYVOICE_SOURCE_DIR")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SOURCE_DIR, reason="COSYVOICE_SOURCE_DIR names no checkout"),
]

TEXT = "Hello there, this is speech that a very small model says."
ALL = (1, 2, 3)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., CosyVoiceEngine]]:
    """Return a loaded engine: engine(version, **settings). All are in this one process."""
    source = Path(SOURCE_DIR or "").absolute()
    checkout.load(source)
    folder = tmp_path_factory.mktemp("models")
    loaded: dict[Any, CosyVoiceEngine] = {}

    def find(version: int, **settings: Any) -> CosyVoiceEngine:
        key = version, *settings.items()
        if key not in loaded:
            path = folder / f"tiny-{version}"
            if not path.exists():
                tiny_cosyvoice.build(path, version)
            values = CosyVoiceSettings(source_dir=source, model_dir=path, **settings)
            loaded[key] = CosyVoiceEngine(CosyVoiceEngine.describe(values), values)
            assert list(loaded[key].problems()) == []
            loaded[key].load()
            if version == 3:
                speak_for_a_while(loaded[key]._model._upstream.model.llm)
        return loaded[key]

    yield find
    for one in loaded.values():
        one.unload()
    for name in list(sys.modules):
        if name.partition(".")[0] in ("cosyvoice", "matcha"):
            del sys.modules[name]


def speak_for_a_while(language_model: Any) -> None:
    """Set the least length that version 3 leaves to its weights, which here are random."""
    draw = language_model.sampling_ids

    def sampling_ids(scores: Any, decoded: Any, *options: Any, **more: Any) -> Any:
        if len(decoded) < 50:
            scores[tiny_cosyvoice.TOKENS + 1] = -float("inf")
        return draw(scores, decoded, *options, **more)

    language_model.sampling_ids = sampling_ids


def recording(seconds: float = 3.0) -> AudioChunk:
    time_ = np.arange(round(seconds * 24_000)) / 24_000
    tone = 0.3 * np.sin(2 * np.pi * (200 + 40 * time_) * time_)
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(time_))
    return AudioChunk((tone + noise).astype(np.float32), 24_000)


def voice_of(engine: CosyVoiceEngine, text: str | None) -> VoicePrompt:
    prompt = VoicePrompt(audio=recording(), text=text)
    prepared = engine.prepare_voice(prompt)
    assert prepared is not None
    assert prepared.size > 10_000
    return replace(prompt, prepared=prepared.features)


def request(text: str, voice: VoicePrompt | None = None, **fields: Any) -> SpeechRequest:
    turn = Turn(text, voice or VoicePrompt(preset="英文女"))
    return SpeechRequest((turn,), CosyVoiceParams(), **fields)


def speak(engine: CosyVoiceEngine, *args: Any, **fields: Any) -> list[np.ndarray]:
    chunks = list(engine.synthesize(request(*args, **fields)))
    assert {chunk.sample_rate for chunk in chunks} == {engine.model.sample_rate}
    assert all(np.isfinite(chunk.samples).all() for chunk in chunks)
    return [chunk.samples for chunk in chunks]


def at_rest(engine: CosyVoiceEngine) -> bool:
    """Whether upstream keeps nothing of any call, and no thread of it runs."""
    model = engine._model._upstream.model
    kept = [value for name, value in vars(model).items() if name.endswith("_dict")]
    threads = [thread for thread in threading.enumerate() if "_run" in thread.name]
    return not any(kept) and not threads


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("version", ALL)
def test_every_way_of_speaking_speaks(engine, version, stream):
    model = engine(version, stream=stream)
    ways = [{}, {"voice": voice_of(model, None)}, {"voice": voice_of(model, "And so on.")}]
    ways += [{"voice": voice_of(model, None), "language": "en"}]
    if version > 1:
        ways += [{"voice": voice_of(model, "And so on."), "instructions": "Angrily."}]
        ways += [{"instructions": "Angrily."}]
    for way in ways:
        assert sum(map(len, speak(model, TEXT, **way))) > 0.2 * 22_050, way
        assert at_rest(model)


def test_instructions_lead_the_speakers_of_the_first_version(engine):
    assert speak(engine(1, kind="instruct"), TEXT, instructions="Angrily.")


def decoding_error(module: Any, encoder: Any) -> float:
    """Compare token by token with all at once."""
    torch = module.torch
    torch.manual_seed(0)
    positions = torch.randn(1, 12, tiny_cosyvoice.WIDTH)
    with torch.inference_mode():
        whole = encoder.model(
            inputs_embeds=positions, output_hidden_states=True, return_dict=True
        ).hidden_states[-1]
        cache, parts = None, []
        for begin, end in ((0, 5), *((n, n + 1) for n in range(5, 12))):
            count = end - begin
            mask = torch.tril(torch.ones((1, count, count))).to(torch.bool)
            part, cache = encoder.forward_one_step(positions[:, begin:end], mask, cache)
            parts.append(part)
        return float((torch.cat(parts, 1) - whole).abs().max())


def test_decoding_is_right_where_upstream_alone_is_wrong(engine):
    import transformers

    mended = sys.modules["cosyvoice.llm.llm"]
    encoder = engine(2)._model._upstream.model.llm.llm
    assert {parameter.dtype for parameter in encoder.parameters()} == {mended.torch.float32}
    assert decoding_error(mended, encoder) < 1e-5

    spec = importlib.util.spec_from_file_location("cosyvoice.llm.unmended", mended.__file__)
    unmended = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unmended)
    wrong = unmended.Qwen2Encoder(
        os.path.join(engine(2).settings.model_dir, "CosyVoice-BlankEN")
    ).float()
    wrong.load_state_dict(encoder.state_dict())
    if tuple(map(int, transformers.__version__.split(".")[:2])) >= (4, 53):
        assert decoding_error(unmended, wrong) > 1e-3


@pytest.mark.parametrize("version", [2, 3])
def test_a_cache_can_be_indexed(engine, version):
    upstream = engine(version)._model._upstream
    torch = sys.modules["cosyvoice.llm.llm"].torch
    encoder = upstream.model.llm.llm
    with torch.inference_mode():
        _, cache = encoder.forward_one_step(torch.zeros(1, 7, tiny_cosyvoice.WIDTH), None)

    assert cache[0][0].size(2) == 7


@pytest.mark.parametrize("version", ALL)
def test_the_same_seed_says_the_same(engine, version):
    model = engine(version)
    voice = voice_of(model, "And so on.")
    first, second, other = (
        np.concatenate(speak(model, TEXT, voice, seed=seed)) for seed in (3, 3, 4)
    )

    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("version", ALL)
def test_an_error_of_the_language_model_is_not_lost(engine, version, stream, monkeypatch):
    model = engine(version, stream=stream)
    calls = []

    def fail(*_: Any, **__: Any) -> int:
        calls.append(1)
        if len(calls) > 5:
            raise RuntimeError("the probability tensor is not a distribution")
        return 1

    language_model = model._model._upstream.model.llm
    monkeypatch.setattr(language_model, "sampling_ids", fail)
    began = time.monotonic()

    with pytest.raises(RuntimeError, match="not a distribution"):
        speak(model, TEXT)

    assert time.monotonic() - began < 20
    assert at_rest(model)


@pytest.mark.parametrize("version", ALL)
def test_closing_and_cancelling_free_everything(engine, version):
    model = engine(version)
    chunks = model.synthesize(request(" ".join([TEXT] * 4)))
    next(chunks)
    chunks.close()
    assert at_rest(model)

    cancel = CancelToken()
    threading.Timer(0.2, cancel.cancel).start()
    whole = list(model.synthesize(request(" ".join([TEXT] * 4), cancel=cancel)))
    assert sum(chunk.seconds for chunk in whole) < 10
    assert at_rest(model)


def test_later_requests_begin_as_soon_as_the_first(engine):
    model = engine(2)
    lengths = {len(speak(model, " ".join([TEXT] * 3))[0]) for _ in range(5)}

    assert len(lengths) == 1
    assert lengths.pop() < 1.1 * 24_000


def test_prepared_voices_go_with_those_who_hold_them(engine):
    torch = sys.modules["cosyvoice.llm.llm"].torch
    model = engine(2)

    def tensors() -> int:
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    speak(model, TEXT, voice_of(model, "And so on."))
    before = tensors()
    for _ in range(3):
        speak(model, TEXT, voice_of(model, "And so on."))

    assert tensors() - before < 10


def test_the_longest_prompt_speaks(engine):
    model = engine(2)
    prompt = VoicePrompt(audio=recording(30.0))
    prepared = model.prepare_voice(prompt)

    assert speak(model, "Hello.", replace(prompt, prepared=prepared.features))
