"""Turn ZipVoice's checkpoints into the ONNX files that this plugin runs.

    python -m unisono_zipvoice.export --source-dir ZipVoice --model-dir exp/zipvoice --out onnx

Needs what ZipVoice needs (torch, its requirements.txt), and `onnx`; the server needs none of that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .files import DECODER, ENCODER, VOCODER

_OPSET = 17


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m unisono_zipvoice.export", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--source-dir", type=Path, required=True, help="clone of github.com/k2-fsa/ZipVoice"
    )
    parser.add_argument(
        "--model-dir",
        type=Path,
        help="folder with the checkpoint, model.json and tokens.txt; none exports the vocoder only",
    )
    parser.add_argument("--checkpoint", default="model.pt", help="its name (default: model.pt)")
    parser.add_argument(
        "--model", choices=("zipvoice", "zipvoice_distill"), default="zipvoice", help="its kind"
    )
    parser.add_argument(
        "--vocos-dir", type=Path, help="folder with Vocos' config.yaml and pytorch_model.bin"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the ONNX files")
    parser.add_argument("--int8", action="store_true", help="write 8-bit variants as well")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(options.source_dir.resolve()))
    options.out.mkdir(parents=True, exist_ok=True)
    if options.model_dir is not None:
        distilled = options.model == "zipvoice_distill"
        model = load_model(options.model_dir, options.checkpoint, distilled=distilled)
        export_model(model, options.out, distilled=distilled, int8=options.int8)
        for name in ("model.json", "tokens.txt"):
            shutil.copy(options.model_dir / name, options.out / name)
    if options.vocos_dir is not None:
        export_vocoder(load_vocoder(options.vocos_dir), options.out)


def load_model(folder: Path, checkpoint: str, *, distilled: bool) -> Any:
    """Return upstream's module with the weights of a checkpoint, for inference."""
    import torch  # noqa: PLC0415
    from zipvoice.models.zipvoice import ZipVoice  # noqa: PLC0415
    from zipvoice.models.zipvoice_distill import ZipVoiceDistill  # noqa: PLC0415

    config = json.loads((folder / "model.json").read_text(encoding="utf-8"))["model"]
    lines = (folder / "tokens.txt").read_text(encoding="utf-8").splitlines()
    ids = dict(line.rsplit("\t", 1) for line in lines if line)
    kind = ZipVoiceDistill if distilled else ZipVoice
    model = kind(**config, vocab_size=len(ids), pad_id=int(ids["_"]))
    if checkpoint.endswith(".safetensors"):
        from safetensors.torch import load_file  # noqa: PLC0415

        weights = load_file(folder / checkpoint)
    else:
        weights = torch.load(folder / checkpoint, map_location="cpu", weights_only=True)
    model.load_state_dict(weights.get("model", weights))
    return model.eval()


def load_vocoder(folder: Path) -> Any:
    """Return Vocos for inference."""
    import torch  # noqa: PLC0415
    from vocos import Vocos  # noqa: PLC0415

    vocoder = Vocos.from_hparams(str(folder / "config.yaml"))
    weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    vocoder.load_state_dict(weights)
    return vocoder.eval()


def export_model(model: Any, folder: Path, *, distilled: bool, int8: bool = False) -> None:
    """Write the text encoder and the decoder; changes the model.

    Upstream's own `onnx_export` fails with a torch that exports through dynamo by default.
    """
    import torch  # noqa: PLC0415
    from zipvoice.bin.onnx_export import (  # noqa: PLC0415
        OnnxFlowMatchingModel,
        OnnxTextModel,
    )
    from zipvoice.utils.scaling_converter import convert_scaled_to_non_scaled  # noqa: PLC0415

    convert_scaled_to_non_scaled(model, inplace=True, is_onnx=True)
    texts = (torch.tensor([[2, 3, 4, 5]]), torch.tensor([[0, 1]]))
    _export(
        OnnxTextModel(model),
        (*texts, torch.tensor(10), torch.tensor(1.0)),
        folder / ENCODER,
        inputs=["tokens", "prompt_tokens", "prompt_features_len", "speed"],
        outputs=["text_condition"],
        dynamic={"tokens": "T", "prompt_tokens": "P", "text_condition": "L"},
    )
    frames = torch.randn(3, 1, 200, model.feat_dim)
    _export(
        OnnxFlowMatchingModel(model, distill=distilled),
        (torch.tensor(0.5), *frames, torch.tensor(1.0)),
        folder / DECODER,
        inputs=["t", "x", "text_condition", "speech_condition", "guidance_scale"],
        outputs=["v"],
        dynamic=dict.fromkeys(("x", "text_condition", "speech_condition", "v"), "L"),
    )
    if int8:
        from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

        for name in (ENCODER, DECODER):
            quantize_dynamic(
                folder / name,
                folder / name.replace(".onnx", "_int8.onnx"),
                op_types_to_quantize=["MatMul"],
                weight_type=QuantType.QInt8,
            )


def export_vocoder(vocoder: Any, folder: Path) -> None:
    """Write Vocos up to its inverse Fourier transform, which ONNX has no operator for."""
    import torch  # noqa: PLC0415

    class Spectrogram(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.out = vocoder.backbone, vocoder.head.out

        def forward(self, mels: Any) -> Any:
            magnitude, phase = self.out(self.backbone(mels)).transpose(1, 2).chunk(2, dim=1)
            return magnitude.exp().clip(max=1e2), phase.cos(), phase.sin()

    _export(
        Spectrogram().eval(),
        (torch.randn(1, 100, 64),),
        folder / VOCODER,
        inputs=["mels"],
        outputs=["mag", "x", "y"],
        dynamic={"mels": "T", "mag": "T", "x": "T", "y": "T"},
        time_axis=2,
    )


def _export(
    module: Any,
    example: tuple[Any, ...],
    path: Path,
    *,
    inputs: list[str],
    outputs: list[str],
    dynamic: dict[str, str],
    time_axis: int = 1,
) -> None:
    import torch  # noqa: PLC0415

    with torch.no_grad():
        torch.onnx.export(
            torch.jit.trace(module, example),
            example,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "N", time_axis: axis} for name, axis in dynamic.items()},
            opset_version=_OPSET,
            dynamo=False,
        )


if __name__ == "__main__":
    main()
