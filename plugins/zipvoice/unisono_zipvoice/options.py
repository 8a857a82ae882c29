"""What an operator sets for a model, and what a client may ask for with each request."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from unisono import Params, Settings

GUIDANCE = {
    "zipvoice": 1.0,
    "zipvoice_distill": 3.0,
    "zipvoice_dialog": 1.5,
    "zipvoice_dialog_stereo": 1.5,
}
"""Upstream's guidance_scale for each model."""


class ZipVoiceSettings(Settings):
    """Which model of ZipVoice this is, and where its files lie."""

    model: Literal["zipvoice", "zipvoice_distill", "zipvoice_dialog", "zipvoice_dialog_stereo"] = (
        Field("zipvoice", description="Which of upstream's models.")
    )
    model_dir: Path | None = Field(
        None,
        description="Folder with tokens.txt, model.json and the weights: text_encoder.onnx and "
        "fm_decoder.onnx, or for dialogue upstream's checkpoint; without one they come from the "
        "hub.",
    )
    revision: str | None = Field(
        None, description="Branch, tag or commit of the hub's repository; its main branch without."
    )
    vocoder: Path | None = Field(
        None,
        description="Vocos as an ONNX file; without one vocos_24khz.onnx in model_dir, or the "
        "hub's.",
    )
    int8: bool = Field(
        False, description="Take the 8-bit variants of the ONNX files: faster, and less clear."
    )
    source_dir: Path | None = Field(
        None,
        description="Clone of github.com/k2-fsa/ZipVoice, for the dialogue models, which need "
        "torch and upstream's requirements.",
    )
    checkpoint: str = Field(
        "model.pt", description="Name of the dialogue models' checkpoint in model_dir."
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Where to compute; cuda needs onnxruntime-gpu, or torch with CUDA."
    )
    threads: int = Field(0, ge=0, description="Threads to compute with; 0 is as many as there are.")
    num_steps: int = Field(
        8, ge=1, le=32, description="num_steps of requests that set none; upstream's tools take 16."
    )
    max_prompt_seconds: float = Field(
        3.0,
        gt=0.5,
        le=20,
        description="Longest reference, in seconds of sound; 1 to 3 are best, longer ones are "
        "slower.",
    )

    @property
    def dialogue(self) -> bool:
        """Whether the model takes several turns at once."""
        return self.model in ("zipvoice_dialog", "zipvoice_dialog_stereo")


class ZipVoiceParams(Params):
    """Per-request options of ZipVoice."""

    num_steps: int | None = Field(
        None,
        ge=1,
        le=32,
        description="Number of steps in which noise becomes speech, to which the time it takes is "
        "proportional: usually 8; zipvoice_distill does with 4.",
    )
    guidance_scale: float | None = Field(
        None,
        ge=0,
        le=10,
        description="How closely to keep to the text and the reference, a factor: usually 1 for "
        "zipvoice, 3 for zipvoice_distill, 1.5 for dialogue.",
    )
    t_shift: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Crowds the steps towards the noise, a factor: 1 spaces them evenly.",
    )
    remove_long_silence: bool = Field(
        True, description="Shorten pauses of more than 2 seconds to 2 seconds."
    )
    max_duration: float | None = Field(
        None,
        ge=5,
        le=100,
        description="Longest stretch that is spoken at once, in seconds and with the reference: "
        "usually 25, and 40 for dialogue; a shorter one is heard earlier.",
    )
    volume_multiplier: float = Field(
        1.0, ge=0, le=10, description="Factor on the loudness; what gets too loud is clipped."
    )
