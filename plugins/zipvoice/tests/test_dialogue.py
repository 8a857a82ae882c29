"""Dialogues, through a package with upstream's signatures and a torch of a few lines."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import httpx
import numpy as np
import pytest

import unisono_zipvoice
from unisono import (
    AudioChunk,
    Config,
    EngineUnavailable,
    Kernel,
    PromptError,
    RequestError,
    SpeechRequest,
    Turn,
    VoicePrompt,
)
from unisono.api import create_app
from unisono.plugins import PluginManager
from unisono_zipvoice.engine import ZipVoiceEngine
from unisono_zipvoice.options import ZipVoiceParams

RATE = 24_000
UPSTREAM = """
import numpy as np
import torch

CALLS = []


class ZipVoiceDialog:
    channels = 1

    def __init__(self, feat_dim=100, *, vocab_size, pad_id, spk_a_id, spk_b_id):
        CALLS.append({"speakers": (spk_a_id, spk_b_id), "vocab_size": vocab_size, "pad_id": pad_id})

    def load_state_dict(self, weights):
        CALLS.append({"weights": weights})

    def to(self, device):
        return self

    def eval(self):
        return self

    def sample(
        self, tokens, prompt_tokens, prompt_features, prompt_features_lens, features_lens=None,
        speed=1.0, t_shift=1.0, duration="predict", num_step=5, guidance_scale=0.5,
    ):
        assert prompt_features.shape[2] == 100 * self.channels
        assert prompt_features.shape[1] == prompt_features_lens[0]
        CALLS.append(
            {"tokens": tokens[0], "prompt": prompt_tokens[0], "num_step": num_step,
             "guidance_scale": guidance_scale, "features": np.asarray(prompt_features[0])}
        )
        ratio = prompt_features.shape[1] / len(prompt_tokens[0])
        frames = int(np.ceil(ratio * len(tokens[0]) / speed))
        left = torch.random.standard_normal((1, frames, 100)).astype(np.float32) * 0.3
        sides = [left, -left - 1][: self.channels]
        return torch.from_numpy(np.concatenate(sides, axis=2)), None, None, None


class ZipVoiceDialogStereo(ZipVoiceDialog):
    channels = 2
"""


class Tensor(np.ndarray):
    """What of a tensor is used."""

    def to(self, device: str) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> np.ndarray:
        return np.asarray(self)


class Torch(ModuleType):
    """What of torch is used."""

    random = np.random.default_rng()

    def manual_seed(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def from_numpy(self, array: np.ndarray) -> Tensor:
        return array.view(Tensor)

    def tensor(self, values: list[int], device: str) -> Tensor:
        return np.array(values).view(Tensor)

    def load(self, path: Path, *, map_location: str, weights_only: bool) -> dict[str, str]:
        assert weights_only
        return {"model": path.read_text()}

    def inference_mode(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a clone of upstream to import from."""
    models = tmp_path / "ZipVoice" / "zipvoice" / "models"
    models.mkdir(parents=True)
    for package in (models.parent, models):
        (package / "__init__.py").touch()
    (models / "zipvoice_dialog.py").write_text(UPSTREAM)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "torch", Torch("torch"))
    yield tmp_path / "ZipVoice"
    for name in [name for name in sys.modules if name.partition(".")[0] == "zipvoice"]:
        del sys.modules[name]


@pytest.fixture
def settings(folder: Callable[[str], Path], source: Path, tmp_path: Path) -> dict[str, Any]:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    tokens = (folder("zipvoice") / "tokens.txt").read_text(encoding="utf-8").splitlines()
    tokens += [f"[S1]\t{len(tokens)}", f"[S2]\t{len(tokens) + 1}"]
    (checkpoint / "tokens.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (checkpoint / "model.json").write_text(json.dumps({"model": {"feat_dim": 100}}))
    (checkpoint / "model.pt").write_text("weights")
    shutil.copy(folder("zipvoice") / "vocos_24khz.onnx", checkpoint)
    return {"source_dir": source, "model_dir": checkpoint}


@pytest.fixture
def engine(
    settings: dict[str, Any], make_engine: Callable[..., ZipVoiceEngine]
) -> Callable[..., ZipVoiceEngine]:
    def load(kind: str = "zipvoice_dialog") -> ZipVoiceEngine:
        loaded = make_engine(model=kind, **settings)
        loaded.load()
        return loaded

    return load


def calls() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sys.modules["zipvoice.models.zipvoice_dialog"].CALLS
    return found


def voice(seed: int, text: str | None = "This is one of us.") -> VoicePrompt:
    time = np.arange(RATE) / RATE
    samples = (0.3 * np.sin(2 * np.pi * (200 + 150 * seed) * time)).astype(np.float32)
    return VoicePrompt(audio=AudioChunk(samples, RATE), text=text, digest=str(seed))


ANNA, BEN = voice(0, "I am Anna."), voice(1, "And I am Ben.")


def speak(engine: ZipVoiceEngine, *turns: Turn, seed: int = 1, **params: Any) -> list[np.ndarray]:
    request = SpeechRequest(turns, ZipVoiceParams.model_validate(params), seed=seed)
    return [chunk.samples for chunk in engine.synthesize(request)]


def spoken(engine: ZipVoiceEngine, text: str) -> list[int]:
    assert engine._loaded is not None
    tokenizer = engine._loaded._tokenizer
    return tokenizer.encode(tokenizer.tokenize(text))


def test_a_dialogue_reaches_upstream_as_it_wants_it(engine) -> None:
    model = engine()
    speak(model, Turn("Hello Ben.", ANNA), Turn("Hello.", BEN), Turn("Bye", ANNA), num_steps=3)
    made, loaded, sampled = calls()
    assert made == {"speakers": (358, 359), "vocab_size": 360, "pad_id": 0}
    assert loaded == {"weights": "weights"}
    assert sampled["prompt"] == spoken(model, "[S1]I am Anna.[S2]And I am Ben.")
    assert sampled["tokens"] == spoken(model, "[S1]Hello Ben.[S2]Hello.[S1]Bye.")
    assert (sampled["num_step"], sampled["guidance_scale"]) == (3, 1.5)


def test_two_turns_of_one_speaker_are_one_so_that_speakers_alternate(engine) -> None:
    model = engine()
    speak(model, Turn("One.", ANNA), Turn("Two.", ANNA), Turn("Three.", BEN))
    assert calls()[-1]["tokens"] == spoken(model, "[S1]One. Two.[S2]Three.")


def test_the_mono_model_hears_one_voice_after_the_other(engine) -> None:
    speak(engine(), Turn("Hello.", ANNA), Turn("Hello.", BEN))
    features = calls()[-1]["features"]
    loudest = features[20:60].mean(axis=0).argmax(), features[110:160].mean(axis=0).argmax()
    assert loudest[0] < loudest[1]


def test_the_stereo_model_hears_each_voice_on_its_own_side(engine) -> None:
    (samples,) = speak(engine("zipvoice_dialog_stereo"), Turn("Hello.", ANNA), Turn("Hello.", BEN))
    assert samples.ndim == 2
    assert samples.shape[1] == 2
    assert not np.allclose(samples[:, 0], samples[:, 1])
    features = calls()[-1]["features"]
    left, right = features[:, :100].max(axis=1), features[:, 100:].max(axis=1)
    assert (left[20:60] > right[20:60]).all()
    assert (left[110:160] < right[110:160]).all()


def test_long_dialogues_are_streamed_where_the_first_speaker_begins(engine) -> None:
    turns = [Turn("This is a rather long line of one of the two.", who) for who in (ANNA, BEN)] * 6
    model = engine()
    chunks = speak(model, *turns, max_duration=20)
    sampled = [call["tokens"] for call in calls()[2:]]
    assert len(chunks) == len(sampled) > 1
    first = spoken(model, "[S1]")[0]
    assert all(tokens[0] == first for tokens in sampled)


def test_the_same_seed_gives_the_same_dialogue(engine) -> None:
    model, turns = engine(), (Turn("Hello.", ANNA), Turn("Hello.", BEN))
    one, same, other = (speak(model, *turns, seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_who_speaks_alone_has_both_parts_of_the_reference(engine) -> None:
    model = engine()
    speak(model, Turn("Hello.", ANNA))
    assert calls()[-1]["prompt"] == spoken(model, "[S1]I am Anna.[S2]I am Anna.")
    assert calls()[-1]["tokens"] == spoken(model, "[S1]Hello.")


def test_tags_in_a_text_do_not_change_the_speaker(engine) -> None:
    model = engine()
    speak(model, Turn("Hello [S2] there.", ANNA), Turn("Hello.", BEN))
    assert calls()[-1]["tokens"] == spoken(model, "[S1]Hello   there.[S2]Hello.")


@pytest.mark.parametrize(
    ("turns", "error", "message"),
    [
        (
            [Turn("A", voice(0)), Turn("B", voice(1)), Turn("C", voice(2))],
            RequestError,
            "two voices",
        ),
        ([Turn("A", ANNA), Turn("B", voice(1, None))], PromptError, "what is said"),
        ([Turn("A", ANNA), Turn("B", VoicePrompt())], PromptError, "recording"),
    ],
)
def test_what_is_no_dialogue_of_two_is_refused(engine, turns, error, message) -> None:
    with pytest.raises(error, match=message):
        speak(engine(), *turns)


def test_without_torch_the_model_is_unavailable(settings, make_engine, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineUnavailable, match=r"requirements\.txt"):
        make_engine(model="zipvoice_dialog", **settings).load()


@pytest.mark.anyio
async def test_a_dialogue_of_stored_voices_is_stereo_in_every_format(
    settings, my_voice, tmp_path
) -> None:
    plugins = PluginManager()
    plugins.add(unisono_zipvoice, "zipvoice")
    model = {"engine": "zipvoice", "model": "zipvoice_dialog_stereo"}
    model |= {key: str(value) for key, value in settings.items()}
    overrides: dict[str, Any] = {
        "voices": {"directory": str(tmp_path / "voices")},
        "models": {"zipvoice_dialog_stereo": model},
    }
    async with Kernel(Config.load(None, overrides), plugins) as kernel:
        transport = httpx.ASGITransport(create_app(kernel))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            for seed, name in enumerate(("anna", "ben")):
                (
                    await http.post(
                        "/v1/zipvoice/voices/register",
                        data={"name": name, "transcription": f"This is {name} speaking."},
                        files={"audio_file": ("voice.wav", my_voice(seed=seed))},
                    )
                ).raise_for_status()
            for response_format in ("mp3", "wav", "opus", "flac", "aac", "pcm"):
                answer = await http.post(
                    "/v1/zipvoice/audio/speech",
                    json={
                        "model": "zipvoice_dialog_stereo",
                        "input": "[S1] Hello Ben. [S2] Hello Anna.",
                        "voices": ["anna", "ben"],
                        "response_format": response_format,
                        "seed": 1,
                    },
                )
                assert answer.status_code == 200, answer.text
                if response_format == "pcm":
                    sides = np.frombuffer(answer.content, "<i2").reshape(-1, 2).T
                else:
                    with av.open(io.BytesIO(answer.content)) as container:
                        frames = container.decode(audio=0)
                        sides = np.concatenate([f.to_ndarray() for f in frames], axis=1)
                    if len(sides) == 1:  # interleaved
                        sides = sides.reshape(-1, 2).T
                assert sides.shape[0] == 2
                left, right = sides.astype(np.float64)
                assert np.abs(left).max() > 0, response_format
                assert np.corrcoef(left, right)[0, 1] < 0.9, response_format
