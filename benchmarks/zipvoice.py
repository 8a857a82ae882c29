"""How fast ZipVoice speaks here: its real sizes, exported from upstream's code with random weights.

    python benchmarks/zipvoice.py --source-dir ZipVoice

Run it with an interpreter that has upstream's requirements, onnx, unisono and unisono-zipvoice. It
writes 1 GB into a temporary folder, or into --model-dir, to be used again. Times do not depend on
what the weights say.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

TEXT = "This is a sentence of the usual length, as people say it every day. "
PROMPT_TEXT = "This is a sample of my voice, as it is."
VOCOS = """\
feature_extractor:
  class_path: vocos.feature_extractors.MelSpectrogramFeatures
  init_args: {sample_rate: 24000, n_fft: 1024, hop_length: 256, n_mels: 100, padding: center}
backbone:
  class_path: vocos.models.VocosBackbone
  init_args: {input_channels: 100, dim: 512, intermediate_dim: 1536, num_layers: 8}
head:
  class_path: vocos.heads.ISTFTHead
  init_args: {dim: 512, n_fft: 1024, hop_length: 256, padding: center}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source-dir", type=Path, required=True)
    parser.add_argument("--model-dir", type=Path)
    parser.add_argument("--model", choices=["zipvoice", "zipvoice_distill"], default="zipvoice")
    parser.add_argument("--num-steps", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--sentences", type=int, default=1)
    parser.add_argument("--requests", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.model_dir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "vocos_24khz.onnx").exists():
            make(folder, arguments)
        measure(folder, arguments)


def make(folder: Path, arguments: argparse.Namespace) -> None:
    """Write a checkpoint of random weights, and what the command for export makes of it."""
    import torch

    sys.path.insert(0, str(arguments.source_dir.resolve()))
    from vocos import Vocos
    from zipvoice.models.zipvoice import ZipVoice
    from zipvoice.models.zipvoice_distill import ZipVoiceDistill

    from unisono_zipvoice import export

    root = Path(__file__).resolve().parents[1]
    tokens = (root / "plugins/zipvoice/tests/data/tokens.txt").read_text(encoding="utf-8")
    config = json.loads((arguments.source_dir / "egs/zipvoice/conf/zipvoice_base.json").read_text())
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary)
        (source / "tokens.txt").write_text(tokens, encoding="utf-8")
        (source / "model.json").write_text(json.dumps(config))
        (source / "config.yaml").write_text(VOCOS)
        kind = ZipVoiceDistill if arguments.model == "zipvoice_distill" else ZipVoice
        model = kind(**config["model"], vocab_size=len(tokens.splitlines()), pad_id=0)
        torch.save({"model": model.state_dict()}, source / "model.pt")
        vocoder = Vocos.from_hparams(str(source / "config.yaml"))
        torch.save(vocoder.state_dict(), source / "pytorch_model.bin")
        export.main(
            [
                *["--source-dir", str(arguments.source_dir), "--model", arguments.model],
                *["--model-dir", temporary, "--vocos-dir", temporary, "--out", str(folder)],
                "--int8",
            ]
        )


def measure(folder: Path, arguments: argparse.Namespace) -> None:
    from unisono import AudioChunk, SpeechRequest, Turn, VoicePrompt
    from unisono_zipvoice.engine import ZipVoiceEngine
    from unisono_zipvoice.options import ZipVoiceParams, ZipVoiceSettings

    samples = np.sin(np.arange(60_000) / 20 * (1 + np.arange(60_000) / 1e6)).astype(np.float32) / 5
    prompt = VoicePrompt(audio=AudioChunk(samples, 24_000), text=PROMPT_TEXT)
    print(f"{arguments.model}, {arguments.device}, {arguments.threads} threads, 2.5 s of reference")
    for int8 in (False, True):
        settings = ZipVoiceSettings(
            model=arguments.model,
            model_dir=folder,
            int8=int8,
            device=arguments.device,
            threads=arguments.threads,
        )
        engine = ZipVoiceEngine(ZipVoiceEngine.describe(settings), settings)
        began = time.perf_counter()
        engine.load()
        print(f"{'int8' if int8 else 'float32'}: loaded in {time.perf_counter() - began:.1f} s")
        prepared = engine.prepare_voice(prompt)
        assert prepared is not None
        voice = replace(prompt, prepared=prepared.features)
        for steps in arguments.num_steps:
            params = ZipVoiceParams(num_steps=steps, remove_long_silence=False)
            request = SpeechRequest((Turn(TEXT * arguments.sentences, voice),), params, seed=1)
            first, ratio, length = [], [], 0.0
            for _ in range(arguments.requests):
                began = time.perf_counter()
                chunks = engine.synthesize(request)
                length = next(chunks).seconds
                first.append(time.perf_counter() - began)
                length += sum(chunk.seconds for chunk in chunks)
                ratio.append((time.perf_counter() - began) / length)
            print(
                f"  {steps:2} steps: {statistics.median(ratio):.2f} s for each second of "
                f"{length:.1f}, first chunk after {statistics.median(first):.2f} s"
            )
        engine.unload()


if __name__ == "__main__":
    main()
