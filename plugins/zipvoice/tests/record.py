"""Record what upstream makes of tiny random weights, for the tests of unisono-zipvoice.

    python record.py --source-dir ZipVoice --out tests/data

Needs what ZipVoice needs, and this plugin (PYTHONPATH).
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

TEXT = "Hello there, my friend. 你好，世界！"
PROMPT_TEXT = "This is a sample of my voice"
LONG_TEXT = " ".join(
    ["One, two three. Then a few more, and five; six! Is that seven, eight or ten? 我们是小米人。"]
    * 3
)
SHARED = ("text_encoder.onnx",)
STRIDE = 37
"""Every so many frames of the features are kept, ten times as many samples of a waveform."""
SEED = 7
MODEL = {
    "fm_decoder_downsampling_factor": [1, 2, 1],
    "fm_decoder_num_layers": [1, 1, 1],
    "fm_decoder_cnn_module_kernel": [7, 5, 7],
    "fm_decoder_feedforward_dim": 24,
    "fm_decoder_num_heads": 2,
    "fm_decoder_dim": 16,
    "text_encoder_num_layers": 1,
    "text_encoder_feedforward_dim": 24,
    "text_encoder_cnn_module_kernel": 5,
    "text_encoder_num_heads": 2,
    "text_encoder_dim": 16,
    "query_head_dim": 8,
    "value_head_dim": 6,
    "pos_head_dim": 4,
    "pos_dim": 8,
    "time_embed_dim": 16,
    "text_embed_dim": 16,
    "feat_dim": 100,
}
ONE_STACK = {
    "fm_decoder_downsampling_factor": [1],
    "fm_decoder_num_layers": [1],
    "fm_decoder_cnn_module_kernel": [7],
}
"""Of the distilled model; the rest is as in `MODEL`."""
VOCOS = """\
feature_extractor:
  class_path: vocos.feature_extractors.MelSpectrogramFeatures
  init_args: {sample_rate: 24000, n_fft: 1024, hop_length: 256, n_mels: 100, padding: center}
backbone:
  class_path: vocos.models.VocosBackbone
  init_args: {input_channels: 100, dim: 8, intermediate_dim: 12, num_layers: 1}
head:
  class_path: vocos.heads.ISTFTHead
  init_args: {dim: 8, n_fft: 1024, hop_length: 256, padding: center}
"""


def recording() -> np.ndarray:
    """Return a reference in 16 bits: a wavering tone between silences, one of 2.5 seconds."""
    random = np.random.default_rng(0)
    time = np.arange(round(0.5 * 24_000)) / 24_000
    tone = 0.08 * np.sin(2 * np.pi * (140 + 60 * time) * time) + 0.01 * random.standard_normal(
        len(time)
    )
    silence = np.zeros(24_000)
    parts = (silence[:7_777], tone[:5_000], np.zeros(60_000), tone[5_000:], silence[:9_999])
    return np.trunc(np.concatenate(parts) * 32768).astype(np.int16)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sys.path.insert(0, str(options.source_dir))
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder), options.out)


def record(folder: Path, out: Path) -> None:
    import soundfile
    import torch
    import zipvoice.bin.infer_zipvoice as upstream
    from vocos import Vocos
    from zipvoice.models.zipvoice import ZipVoice
    from zipvoice.models.zipvoice_distill import ZipVoiceDistill
    from zipvoice.tokenizer.tokenizer import EmiliaTokenizer
    from zipvoice.utils.feature import VocosFbank

    from unisono_zipvoice import export

    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(out / "tokens.txt", folder)
    (folder / "config.yaml").write_text(VOCOS)
    tokenizer = EmiliaTokenizer(folder / "tokens.txt")
    sizes = {"vocab_size": tokenizer.vocab_size, "pad_id": tokenizer.pad_id}
    torch.manual_seed(1)
    vocoder = Vocos.from_hparams(str(folder / "config.yaml"))
    _randomize(vocoder)
    torch.save(vocoder.state_dict(), folder / "pytorch_model.bin")
    vocoder = export.load_vocoder(folder)
    export.export_vocoder(vocoder, folder)

    wav = folder / "prompt.wav"
    soundfile.write(wav, recording(), 24_000, subtype="PCM_16")
    extractor = VocosFbank()
    arrays: dict[str, np.ndarray] = {"recording": recording()}
    prompt = upstream.load_prompt_wav(str(wav), 24_000)
    cleaned = upstream.remove_silence(prompt, 24_000, only_edge=False, trail_sil=200)
    normal, _ = upstream.rms_norm(cleaned, 0.1)
    arrays["cleaned_crc32"] = np.array(
        zlib.crc32(np.round(cleaned[0].numpy() * 32768).astype("<i2").tobytes())
    )
    features = extractor.extract(normal, 24_000).numpy() * np.float32(0.1)
    arrays["features_length"], arrays["features"] = np.array(len(features)), features[::STRIDE]
    texts = (TEXT, PROMPT_TEXT, LONG_TEXT)
    lists = {text: tokenizer.texts_to_tokens([text])[0] for text in texts}

    saved: dict[str, np.ndarray] = {}
    shared: torch.nn.Module | None = None
    clean = upstream.remove_silence
    upstream.batchify_tokens = lambda tokens, *_: ([[one] for one in tokens], range(len(tokens)))
    for kind in ("zipvoice", "zipvoice_distill"):
        torch.manual_seed(3)
        distilled = kind == "zipvoice_distill"
        config = {**MODEL, **ONE_STACK} if distilled else MODEL
        (folder / "model.json").write_text(json.dumps({"model": config}))
        model = (ZipVoiceDistill if distilled else ZipVoice)(**config, **sizes)
        _randomize(model)
        with torch.no_grad():
            model.fm_decoder.out_proj.weight /= 32  # logarithmic spectra are no larger
            if distilled:  # one file serves both
                model.text_encoder.load_state_dict(shared.text_encoder.state_dict())
                model.embed.load_state_dict(shared.embed.state_dict())
        shared = model
        torch.save({"model": model.state_dict()}, folder / "model.pt")
        model.eval()
        cases = {"": (TEXT, 1.0, 1.0), "_fast": (TEXT, 1.7, 2.0)}
        if not distilled:
            cases["_long"] = (LONG_TEXT, 1.0, 1.0)
        for suffix, (text, speed, guidance) in cases.items():
            random = np.random.default_rng(SEED)
            torch_randn = torch.randn

            def noise(
                *shape: int, random: np.random.Generator = random, **_: object
            ) -> torch.Tensor:
                batch = [
                    random.standard_normal(shape[1:], dtype=np.float32) for _ in range(shape[0])
                ]
                return torch.from_numpy(np.stack(batch))

            def keep(audio: torch.Tensor, rate: int, **options: object) -> torch.Tensor:
                if options["trail_sil"] == 0:
                    saved["whole"] = audio[0].numpy()
                return clean(audio, rate, **options)

            torch.randn, upstream.remove_silence = noise, keep
            try:
                with torch.inference_mode():
                    upstream.generate_sentence(
                        save_path="spoken.wav",
                        prompt_text=PROMPT_TEXT,
                        prompt_wav=str(wav),
                        text=text,
                        model=model,
                        vocoder=vocoder,
                        tokenizer=tokenizer,
                        feature_extractor=extractor,
                        device=torch.device("cpu"),
                        num_step=4,
                        guidance_scale=guidance,
                        speed=speed,
                        remove_long_sil=False,
                    )
            finally:
                torch.randn, upstream.remove_silence = torch_randn, clean
            arrays[f"{kind}{suffix}_length"] = np.array(len(saved["whole"]))
            arrays[kind + suffix] = saved["whole"][:: 10 * STRIDE]
        loaded = export.load_model(folder, "model.pt", distilled=distilled)
        export.export_model(loaded, folder, distilled=distilled)
        for name in ("text_encoder.onnx", "fm_decoder.onnx"):
            _compress(folder / name, out / (name if name in SHARED else f"{kind}_{name}"))
    _compress(folder / "vocos_24khz.onnx", out / "vocos_24khz.onnx")
    np.savez_compressed(out / "recorded.npz", **arrays)
    (out / "tokens.json").write_text(json.dumps(lists, ensure_ascii=False, indent=1) + "\n")


def _randomize(module: object) -> None:
    """Make weights random, of a sensible size, and so round that files of them compress."""
    import torch

    for tensor in module.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim > 1:
            size = tensor[0].numel() ** -0.5
            tensor.copy_((torch.randn(tensor.shape) * 4).round() * size / 4)


def _compress(source: Path, target: Path) -> None:
    import onnx

    model = onnx.load(str(source))
    for node in model.graph.node:
        node.name = node.doc_string = ""
    data = lzma.compress(model.SerializeToString(), preset=9 | lzma.PRESET_EXTREME)
    target.with_name(f"{target.name}.xz").write_bytes(data)


if __name__ == "__main__":
    main()
