"""How fast CosyVoice 2 speaks here: upstream's code at its real sizes, with random weights.

    COSYVOICE_SOURCE_DIR=/opt/CosyVoice python benchmarks/cosyvoice.py

Run it with the interpreter of CosyVoice's virtualenv, in which onnx, unisono and unisono-cosyvoice
are installed. It writes 2.6 GB of weights into a temporary folder, or into --model-dir, to be used
again. Times do not depend on what weights say, but for how long the speech is: two tokens (80 ms)
for each byte of the text.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins/cosyvoice/tests"))

QWEN = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
}
"""Qwen2.5-0.5B."""
TOKENS = 6561
CONFIGURATION = "examples/libritts/cosyvoice2/conf/cosyvoice2.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model-dir", type=Path)
    parser.add_argument("--requests", type=int, default=3)
    parser.add_argument("--characters", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1, help="of torch, without a GPU")
    arguments = parser.parse_args()
    if "COSYVOICE_SOURCE_DIR" not in os.environ:
        sys.exit("COSYVOICE_SOURCE_DIR names no checkout of CosyVoice.")
    source = Path(os.environ["COSYVOICE_SOURCE_DIR"]).absolute()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.model_dir or Path(temporary) / "CosyVoice2"
        measure(source, folder, arguments)


def measure(source: Path, folder: Path, arguments: argparse.Namespace) -> None:
    import tiny_cosyvoice

    from unisono import AudioChunk, SpeechRequest, Turn, VoicePrompt
    from unisono_cosyvoice import checkout
    from unisono_cosyvoice.engine import CosyVoiceEngine
    from unisono_cosyvoice.options import CosyVoiceParams, CosyVoiceSettings

    checkout.load(source)
    if not folder.exists():
        text = (source / CONFIGURATION).read_text(encoding="utf-8")
        tiny_cosyvoice.build(folder, 2, text, QWEN, TOKENS)
    text = ("one two three four five six seven eight nine ten " * 99)[: arguments.characters]
    noise = np.random.default_rng(0).standard_normal(24_000 * 5).astype(np.float32) / 10
    for stream in (True, False):
        settings = CosyVoiceSettings(
            source_dir=source, model_dir=folder, stream=stream, cpu_threads=arguments.threads
        )
        engine = CosyVoiceEngine(CosyVoiceEngine.describe(settings), settings)
        engine.load()
        prompt = VoicePrompt(audio=AudioChunk(noise, 24_000), text="And so on.")
        began = time.monotonic()
        prepared = engine.prepare_voice(prompt)
        assert prepared is not None
        print(f"voice prepared in {time.monotonic() - began:.2f} s, {prepared.size} bytes")
        voice = replace(prompt, prepared=prepared.features)
        request = SpeechRequest((Turn(text, voice),), CosyVoiceParams())
        first, factors = [], []
        for _ in range(arguments.requests):
            began, spoken = time.monotonic(), 0.0
            for chunk in engine.synthesize(request):
                if not spoken:
                    first.append(time.monotonic() - began)
                spoken += chunk.seconds
            factors.append((time.monotonic() - began) / spoken)
        print(
            f"{'streaming' if stream else 'whole'}: first chunk "
            f"{statistics.median(first):.2f} s, RTF {statistics.median(factors):.2f}, "
            f"{spoken:.1f} s of speech"
        )
        engine.unload()


if __name__ == "__main__":
    main()
