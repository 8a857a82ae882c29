"""What an operator sets for a model, and what a client may ask for with each request."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from unisono import Params, Settings

Kind = Literal["base", "sft", "instruct"]


class CosyVoiceSettings(Settings):
    """Where CosyVoice and the weights of one of its models are, and how they run."""

    source_dir: Path = Field(
        description="Checkout of CosyVoice, cloned with its submodules (third_party/Matcha-TTS)."
    )
    model_dir: Path = Field(
        description="Folder of the model, which has cosyvoice.yaml, cosyvoice2.yaml or "
        "cosyvoice3.yaml."
    )
    kind: Kind | None = Field(
        None,
        description="What a model of CosyVoice 1 was trained for: base clones, sft has voices, "
        "instruct has voices that follow instructions. Only needed where the name of its folder "
        "does not say.",
    )
    voices: tuple[str, ...] | None = Field(
        None,
        description="Speakers to offer as voices, the first being the default; without it, all "
        "those in the spk2info.pt of the model.",
    )
    speakers: Path | None = Field(
        None,
        description="A further spk2info.pt, whose speakers are offered as well; that of "
        "CosyVoice-300M-SFT gives CosyVoice 2 and 3 its seven voices.",
    )
    stream: bool = Field(
        True,
        description="Speak while the rest is still being computed. Without it each sentence comes "
        "as a whole: later, but in all at less cost.",
    )
    fp16: bool = Field(False, description="Compute in half precision; only on a GPU.")
    load_jit: bool = Field(
        False, description="Use the TorchScript files of the model; CosyVoice 1 and 2, on a GPU."
    )
    load_trt: bool = Field(
        False, description="Use TensorRT, which is built when first used; only on a GPU."
    )
    cpu_threads: int = Field(
        1,
        ge=1,
        le=256,
        description="Threads of torch where there is no GPU; more than one makes it much slower, "
        "because two of CosyVoice's own threads then fight for them.",
    )


class CosyVoiceParams(Params):
    """Per-request options of CosyVoice."""

    text_frontend: bool = Field(
        True,
        description="Let CosyVoice spell out numbers and cut the text into sentences. Texts with "
        "tags such as <|en|> are always left as they are.",
    )
