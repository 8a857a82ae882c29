"""What an operator sets for a model, and what a client may ask for with each request."""

from __future__ import annotations

from pydantic import Field

from unisono import Params, Settings

from .checkpoints import Variant


class Qwen3TtsSettings(Settings):
    """Which checkpoint of Qwen3-TTS a model is."""

    model: str = Field(
        description="Repository on the Hugging Face hub, such as "
        "`mlx-community/Qwen3-TTS-12Hz-0.6B-Base-8bit`, or a folder."
    )
    revision: str | None = Field(
        None, description="Branch, tag or commit of the repository; its main branch without one."
    )
    variant: Variant | None = Field(
        None,
        description="What the checkpoint does: base clones voices, custom_voice has voices of its "
        "own, voice_design makes voices from descriptions. Only needed where its name does not "
        "say.",
    )


class Qwen3TtsParams(Params):
    """Per-request options of Qwen3-TTS. What is not set is as the checkpoint recommends."""

    temperature: float | None = Field(
        None,
        ge=0,
        le=2,
        description="Liveliness of the speech, a factor on the randomness of its codes: usually "
        "0.9; 0 always takes the likeliest code, which often does not end.",
    )
    top_k: int | None = Field(
        None,
        ge=0,
        le=2048,
        description="Number of likeliest codes that are considered: usually 50; 0 considers all.",
    )
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the probability that the codes considered hold together: usually 1.",
    )
    repetition_penalty: float | None = Field(
        None,
        ge=1,
        le=2,
        description="Divisor on the scores of the codes of the last 64 frames: usually 1.05, and "
        "1.5 when a reference is cloned together with its transcript.",
    )
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        le=8192,
        description="Longest speech for each segment of the text, in frames of 80 milliseconds; "
        "speech that has not ended by then is an error.",
    )
    x_vector_only_mode: bool = Field(
        False,
        description="Clone from the speaker embedding of the reference alone: needs no ref_text, "
        "and sounds less alike.",
    )

    @property
    def needs_prompt_text(self) -> bool:
        """Whether cloning uses what is said in the reference."""
        return not self.x_vector_only_mode
