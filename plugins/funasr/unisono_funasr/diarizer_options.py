"""What an operator sets for a model that tells speakers apart, and what a client may ask for."""

from __future__ import annotations

from pydantic import Field

from unisono import Params, Settings

from .checkpoints import SPEAKERS

MOST_SPEAKERS = 50


class FunASRDiarizerSettings(Settings):
    """Which model tells speakers apart, and where it runs."""

    model: str = Field(
        SPEAKERS,
        min_length=1,
        description="Makes voiceprints: `cam++`, a repository on the Hugging Face hub, or a folder "
        "with a CAM++ of FunASR.",
    )
    revision: str | None = Field(
        None, description="Branch, tag or commit of the repository of `model`."
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="Where it computes: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1` "
        "or `mps`.",
    )
    threads: int = Field(4, ge=1, le=256, description="Threads on the CPU (ncpu).")


class FunASRDiarizerParams(Params):
    """Options of one recording. Where the kernel cuts a long one, they hold for each piece."""

    speakers: int | None = Field(
        None,
        ge=1,
        le=MOST_SPEAKERS,
        description="How many people speak, if that is known. Those whose voices are known count, "
        "but need not be heard.",
    )
    min_speakers: int = Field(
        1, ge=1, le=MOST_SPEAKERS, description="How many people speak at least."
    )
    max_speakers: int | None = Field(
        None,
        ge=1,
        le=MOST_SPEAKERS,
        description="How many people speak at most; unset, as many as are heard.",
    )
    speaker_threshold: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Voices whose prints have less than this cosine similarity, on average, are "
        "different people: more finds more of them. It also decides who is a known speaker.",
    )
    min_speaker_seconds: float = Field(
        1.5,
        ge=0,
        le=60,
        description="Who speaks less than this, in seconds, is taken for one of the others.",
    )
    min_turn_seconds: float = Field(
        0.7,
        ge=0,
        le=10,
        description="A turn shorter than this, in seconds, goes to whoever speaks right before or "
        "after it.",
    )
    max_pause_seconds: float = Field(
        0.5,
        ge=0,
        le=10,
        description="Shorter pauses, in seconds, do not end a turn.",
    )
