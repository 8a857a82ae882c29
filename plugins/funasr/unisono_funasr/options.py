"""What an operator sets for a model, and what a client may ask for with each request."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from unisono import Params, Settings

from .checkpoints import AUTO
from .families import FamilyName

_Chunks = Annotated[int, Field(ge=0, le=60)]


class FunASRSettings(Settings):
    """Which models work together, and where they run."""

    model: str = Field(
        description="Name of a preset, repository on the Hugging Face hub, or a folder with a "
        "model of FunASR."
    )
    revision: str | None = Field(
        None, description="Branch, tag or commit of the repository of `model`."
    )
    family: FamilyName | None = Field(
        None, description="What the model is, where neither its name nor its files tell."
    )
    vad_model: str = Field(
        AUTO,
        min_length=1,
        description="Detector of speech: `fsmn-vad`, a repository or a folder; `auto` is fsmn-vad, "
        "`none` leaves it out: audio is then cut where it is quiet.",
    )
    punc_model: str = Field(
        AUTO,
        min_length=1,
        description="Writes punctuation: `ct-punc`, a repository or a folder; `auto` is ct-punc "
        "for models that write none, `none` leaves it out.",
    )
    spk_model: str = Field(
        AUTO,
        min_length=1,
        description="Tells speakers apart: `cam++`, a repository or a folder; `auto` is cam++ for "
        "paraformer-zh-spk and none for others.",
    )
    languages: tuple[str, ...] | None = Field(
        None,
        description="BCP 47 tags of what the model was trained for; unset, those of its family.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="Where it computes: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1` "
        "or `mps`.",
    )
    threads: int = Field(4, ge=1, le=256, description="Threads on the CPU (ncpu).")
    max_segment_seconds: float | None = Field(
        None,
        ge=5,
        le=120,
        description="Speech without a pause is cut after so many seconds; unset, 30 for SenseVoice "
        "and Fun-ASR-Nano and 60 for others.",
    )


class FunASRParams(Params):
    """Options of one transcription. What is not set is as Xinference has it."""

    use_itn: bool = Field(
        True,
        description="Write numbers as digits, and punctuation. SenseVoice and Fun-ASR-Nano only.",
    )
    ban_emo_unk: bool = Field(
        False, description="Always name an emotion, however unsure. SenseVoice only."
    )
    batch_size_s: int | None = Field(
        None,
        ge=1,
        le=3600,
        description="Audio to read at once, in seconds; unset, one piece on a CPU, and on a GPU 60 "
        "for SenseVoice and Fun-ASR-Nano and 300 for others.",
    )
    merge_vad: bool | None = Field(
        None,
        description="Read short pieces of speech together; unset, yes for SenseVoice and no for "
        "others. Needs a detector of speech.",
    )
    merge_length_s: float = Field(
        15.0, ge=1, le=60, description="How long merged pieces may become, in seconds."
    )
    preset_spk_num: int | None = Field(
        None,
        ge=1,
        le=15,
        description="How many people speak, if that is known. Those whose voices are known count, "
        "but need not be heard. Models with speakers only.",
    )
    max_length: int = Field(
        512, ge=1, le=2048, description="Most tokens of a piece of speech. Fun-ASR-Nano only."
    )
    chunk_size: tuple[_Chunks, _Chunks, _Chunks] = Field(
        (0, 10, 5),
        description="Of streaming models: audio looked back at, read at once and looked ahead at, "
        "each in units of 60 ms; the second is 1 or more.",
    )
    encoder_chunk_look_back: int = Field(
        4, ge=-1, le=100, description="Chunks that a streaming encoder looks back at; -1 is all."
    )
    decoder_chunk_look_back: int = Field(
        1, ge=-1, le=100, description="Chunks that a streaming decoder looks back at; -1 is all."
    )
