"""Train the tiny CAM++ of the tests: python make_tiny_campplus.py FOLDER."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import funasr  # noqa: F401 - registers its models
import numpy as np
import soxr
import torch
import yaml
from funasr.models.campplus.model import CAMPPlus
from funasr.utils.fbank import fbank

import unisono_espeak
from unisono import SpeechRequest, Turn, VoicePrompt

VARIANTS = (
    "m1 m3 m5 m7 f1 f2 f3 f4 f5 croak alex alicia denis hugo mario reed anika aunty boris grandma "
    "klatt linda max steph"
)
WORDS = (
    "north window purple seven music winter garden river simple forward question yellow thunder "
    "picture engine machine water morning people nothing always station village hundred letter "
    "quiet orange circle dragon summer follow between mountain finger paper silver travel kitchen "
    "doctor market bottle money number never father sister evening"
)
SIZES = {
    "feat_dim": 80,
    "embedding_size": 64,
    "growth_rate": 4,
    "bn_size": 2,
    "init_channels": 16,
}
WINDOW = 148
STEPS, BATCH, RATE = 800, 48, 1e-2
SCALE, MARGIN = 20, 0.3


def hear(draw: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features of windows, (windows, frames, bands), and who speaks in each."""
    (espeak,) = unisono_espeak.register_engines()
    settings = espeak.settings_type()
    engine = espeak(replace(espeak.describe(settings), id="espeak", engine="espeak"), settings)
    engine.load()
    windows, whose = [], []
    for number, variant in enumerate(VARIANTS.split()):
        for _ in range(4):
            turn = Turn(
                " ".join(draw.choice(WORDS.split(), 26)), VoicePrompt(preset=f"en-us+{variant}")
            )
            options = {"rate": int(draw.integers(150, 190)), "pitch": int(draw.integers(45, 55))}
            request = SpeechRequest((turn,), params=espeak.params_type(**options))
            chunks = list(engine.synthesize(request))
            samples = np.concatenate([chunk.samples for chunk in chunks])
            samples = soxr.resample(samples, chunks[0].sample_rate, 16_000)
            samples = samples[np.abs(samples).cumsum() > 0] * draw.uniform(0.3, 1)
            samples = samples + draw.normal(0, 10 ** draw.uniform(-5, -3), len(samples))
            features = fbank(torch.from_numpy(samples.astype(np.float32))[None], num_mel_bins=80)
            for window in features.split(WINDOW):
                if len(window) == WINDOW:
                    windows.append(window - window.mean(dim=0))
                    whose.append(number)
    return torch.stack(windows), torch.tensor(whose)


def train(draw: np.random.Generator) -> CAMPPlus:
    """Return a model; its head, which costs most, keeps the random weights that it starts with."""
    windows, whose = hear(draw)
    count = int(whose.max()) + 1
    model = CAMPPlus(**SIZES)
    for part in model.head.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        model.head.train()
        model.head(windows[draw.integers(0, len(windows), BATCH)].permute(0, 2, 1))
        model.head.eval()
        heads = torch.cat([model.head(some.permute(0, 2, 1)) for some in windows.split(32)])
    people = torch.nn.Parameter(torch.randn(count, SIZES["embedding_size"]) * 0.1)
    weights = [*model.xvector.parameters(), people]
    optimizer = torch.optim.AdamW(weights, RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    model.xvector.train()
    for step in range(STEPS):
        chosen = torch.from_numpy(draw.integers(0, len(whose), BATCH))
        length = int(draw.integers(60, WINDOW + 1))
        start = int(draw.integers(0, WINDOW + 1 - length))
        prints = model.xvector(heads[chosen][:, :, start : start + length])
        normal = torch.nn.functional.normalize
        cosines = normal(prints) @ normal(people).T
        margin = MARGIN * torch.nn.functional.one_hot(whose[chosen], count)
        loss = torch.nn.functional.cross_entropy(SCALE * (cosines - margin), whose[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(step, loss.item(), flush=True)
    return model.eval()


def main() -> None:
    """Train, and write the model as FunASR reads it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = train(np.random.default_rng(0))
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    torch.save(state, folder / "model.pt")
    front = {"frontend": "WavFrontend", "frontend_conf": {"fs": 16_000}}
    configuration = {"model": "CAMPPlus", "model_conf": SIZES, **front}
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration, sort_keys=False), "utf-8")
    files = {"init_param": "model.pt", "config": "config.yaml"}
    kind = {"framework": "pytorch", "task": "speaker-verification"}
    text = json.dumps({**kind, "file_path_metas": files}, indent=2)
    (folder / "configuration.json").write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    main()
