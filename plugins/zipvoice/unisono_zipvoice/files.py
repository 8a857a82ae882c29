"""Where the files of a model lie: in folders of the operator's, or in the cache of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unisono import EngineUnavailable, Weights, find_weights

from .options import ZipVoiceSettings

ENCODER = "text_encoder.onnx"
DECODER = "fm_decoder.onnx"
VOCODER = "vocos_24khz.onnx"

REPOSITORY = "k2-fsa/ZipVoice"
VOCODER_REPOSITORY = "wetdog/vocos-mel-24khz-onnx"
"""ZipVoice's vocoder (charactr/vocos-mel-24khz) as ONNX; upstream publishes none."""
_HUB_VOCODER = "mel_spec_24khz.onnx"


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model; all exist."""

    tokens: Path
    config: Path
    acoustic: tuple[Path, ...]
    """Encoder and decoder as ONNX, or one checkpoint of upstream's."""
    vocoder: Path


def weights_of(settings: ZipVoiceSettings) -> list[Weights]:
    """Say what comes from the hub: what the operator has no folder for."""
    weights = []
    if settings.model_dir is None:
        names = (*acoustic_names(settings), "model.json", "tokens.txt")
        files = tuple(f"{settings.model}/{name}" for name in names)
        weights.append(Weights(REPOSITORY, settings.revision, files))
    if settings.vocoder is None and not _beside(settings).is_file():
        weights.append(Weights(VOCODER_REPOSITORY, None, (_HUB_VOCODER,)))
    return weights


def find_files(settings: ZipVoiceSettings) -> ModelFiles:
    """Find all files; downloads nothing.

    :raises EngineUnavailable: naming what is missing, and how to get it.
    """
    missing = list(missing_files(settings))
    if missing:
        raise EngineUnavailable(missing[0])
    found = {weights.repo: find_weights(weights) for weights in weights_of(settings)}
    folder = settings.model_dir or found[REPOSITORY] / settings.model
    if VOCODER_REPOSITORY in found:
        vocoder = found[VOCODER_REPOSITORY] / _HUB_VOCODER
    else:
        vocoder = settings.vocoder or _beside(settings)
    acoustic = tuple(folder / name for name in acoustic_names(settings))
    return ModelFiles(folder / "tokens.txt", folder / "model.json", acoustic, vocoder)


def missing_files(settings: ZipVoiceSettings) -> Iterator[str]:
    """Say which of the operator's own files are not there."""
    if settings.model_dir is not None:
        names = (*acoustic_names(settings), "model.json", "tokens.txt")
        lost = [name for name in names if not (settings.model_dir / name).is_file()]
        if lost:
            yield f"The folder of model_dir has no {', '.join(lost)}; the README says what to do."
    if settings.vocoder is not None and not settings.vocoder.is_file():
        yield f"There is no file {settings.vocoder.name!r} where vocoder says."
    if settings.dialogue:
        if settings.source_dir is None:
            yield "Dialogue models run through upstream: set source_dir to a clone of ZipVoice."
        elif not (settings.source_dir / "zipvoice" / "models").is_dir():
            yield "The folder of source_dir is no clone of ZipVoice: it has no zipvoice/models."


def acoustic_names(settings: ZipVoiceSettings) -> tuple[str, ...]:
    """Return the names of the files that hold the weights."""
    if settings.dialogue:
        return (settings.checkpoint,)
    names = ENCODER, DECODER
    return tuple(name.replace(".onnx", "_int8.onnx") for name in names) if settings.int8 else names


def _beside(settings: ZipVoiceSettings) -> Path:
    return (settings.model_dir or Path()) / VOCODER
