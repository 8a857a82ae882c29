"""What an operator sets for a model, and what a client may ask for with each request."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unisono import Params, Settings

ComputeType = Literal[
    "default",
    "auto",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
]

CONTEXT = 448
"""Tokens that fit the decoder, prompt and new text together."""


class FasterWhisperSettings(Settings):
    """Which Whisper a model is, and where it runs."""

    model: str = Field(
        description="Size such as `small`, `large-v3` or `distil-large-v3`, repository on the "
        "Hugging Face hub, or a folder; the model must be in CTranslate2's format."
    )
    revision: str | None = Field(
        None, description="Branch, tag or commit of the repository; its main branch without one."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where it computes; auto takes a GPU if there is one."
    )
    device_index: int = Field(0, ge=0, description="Number of the GPU.")
    compute_type: ComputeType = Field(
        "default",
        description="Type of the weights and of the arithmetic: default is that of the files, or "
        "the nearest that the device has; auto the fastest that it has.",
    )
    cpu_threads: int = Field(
        0, ge=0, le=256, description="Threads of a model on the CPU; 0 leaves it to CTranslate2."
    )
    batched: bool = Field(
        False,
        description="Cut audio at pauses and decode several pieces at once, of one request or of "
        "several: faster, above all on a GPU. Temperatures and thresholds have no effect then.",
    )
    batch_size: int = Field(
        8,
        ge=1,
        le=256,
        description="Pieces that a batched model decodes at once, and requests that it serves at "
        "once.",
    )
    languages: tuple[str, ...] | None = Field(
        None,
        description="BCP 47 tags of the languages that the model was trained for; a single one is "
        "always used, and not detected. Unset, those that its name or its vocabulary tells.",
    )


class FasterWhisperParams(Params):
    """Options of one transcription. What is not set is as faster-whisper has it."""

    beam_size: int = Field(5, ge=1, le=16, description="Beams of the search, at temperature 0.")
    best_of: int = Field(
        5, ge=1, le=16, description="Samples to choose from, at temperatures above 0."
    )
    patience: float = Field(
        1.0,
        ge=1,
        le=4,
        description="Factor on the number of finished beams after which the search ends.",
    )
    length_penalty: float = Field(
        1.0,
        ge=0,
        le=2,
        description="Exponent of the length by which scores of beams are divided: more favours "
        "longer text.",
    )
    repetition_penalty: float = Field(
        1.0, ge=1, le=4, description="Divisor on the scores of tokens that occurred already."
    )
    no_repeat_ngram_size: int = Field(
        0, ge=0, le=32, description="Sequences of so many tokens occur once only; 0 is no limit."
    )
    temperature_fallback: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        [0.2, 0.4, 0.6, 0.8, 1.0],
        max_length=10,
        description="Temperatures to try, in turn and as far as they are above `temperature`, when "
        "a result is too repetitive or too improbable.",
    )
    compression_ratio_threshold: float = Field(
        2.4,
        ge=0,
        le=100,
        description="Text that gzip compresses more than so many times is too repetitive.",
    )
    log_prob_threshold: float = Field(
        -1.0,
        ge=-100,
        le=0,
        description="Text whose tokens have a lower mean log probability is too improbable.",
    )
    no_speech_threshold: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Windows with a higher probability of no speech are left out, unless their "
        "text is probable; 1 leaves none out.",
    )
    condition_on_previous_text: bool = Field(
        True,
        description="Decode each window of 30 seconds with the text before it as a prompt: more "
        "consistent, but mistakes may repeat themselves.",
    )
    prompt_reset_on_temperature: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Text that took a higher temperature is no prompt for what follows.",
    )
    prefix: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Text with which the transcript of the first 30 seconds begins.",
    )
    suppress_blank: bool = Field(True, description="Whether a window may not begin with a blank.")
    suppress_tokens: list[Annotated[int, Field(ge=-1)]] = Field(
        [-1],
        max_length=1000,
        description="Ids of tokens that are never written; -1 stands for symbols that are not "
        "spoken.",
    )
    without_timestamps: bool | None = Field(
        None,
        description="Write without timestamps: one segment for each window. Unset, yes for "
        "batched models, where text after the last timestamp would be lost, and no for others.",
    )
    max_initial_timestamp: float = Field(
        1.0, ge=0, le=30, description="Latest start of the first segment of a window, in seconds."
    )
    max_new_tokens: int | None = Field(
        None, ge=1, le=440, description="Most tokens of a window; without it, as many as fit."
    )
    hallucination_silence_threshold: float | None = Field(
        None,
        gt=0,
        le=30,
        description="Silence in seconds that is skipped when the text there seems made up.",
    )
    prepend_punctuations: str = Field(
        "\"'“¿([{-", max_length=100, description="Punctuation that belongs to the word after it."
    )
    append_punctuations: str = Field(
        "\"'.。,，!！?？:：”)]}、",
        max_length=100,
        description="Punctuation that belongs to the word before it.",
    )
    multilingual: bool = Field(
        False, description="Detect the language anew for each window: for mixed languages."
    )
    language_detection_threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Probability of a language that is enough; otherwise the next window is heard.",
    )
    language_detection_segments: int = Field(
        1, ge=1, le=20, description="Windows of 30 seconds to hear at most to detect the language."
    )
    clip_timestamps: list[Annotated[float, Field(ge=0, le=1e6)]] = Field(
        [],
        max_length=1000,
        description="Transcribe only these parts: start, end, start, end …, rising, in seconds; "
        "without the last end, to the end. vad_filter is not used then.",
    )
    vad_filter: bool = Field(
        True,
        description="Leave out what is not speech, by Silero's detector, as Whisper makes up text "
        "for silence. False for singing.",
    )
    vad_threshold: float = Field(
        0.5, gt=0, lt=1, description="Probability from which a piece of 32 ms is speech."
    )
    vad_neg_threshold: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Probability below which speech ends; unset, 0.15 below the other threshold.",
    )
    vad_min_speech_duration_ms: int = Field(
        0, ge=0, le=10_000, description="Shorter speech is left out, in milliseconds."
    )
    vad_max_speech_duration_s: float | None = Field(
        None,
        ge=5,
        le=3600,
        description="Speech without a pause is cut after so many seconds; unset, never.",
    )
    vad_min_silence_duration_ms: int | None = Field(
        None,
        ge=0,
        le=60_000,
        description="Shorter silence does not end speech, in milliseconds; unset, 2000, and 160 "
        "for batched models.",
    )
    vad_speech_pad_ms: int = Field(
        400, ge=0, le=2000, description="Kept around speech, in milliseconds."
    )
    chunk_length: int = Field(
        30, ge=5, le=30, description="Longest piece of a batched model, in seconds."
    )
