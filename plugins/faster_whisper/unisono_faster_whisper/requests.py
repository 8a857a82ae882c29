"""From a request to the arguments of the library, which believes whatever it is told.

What it would drop without a word is refused here, and so is what would crash it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from unisono import RequestError, TranscriptionRequest

from .languages import code_of
from .options import CONTEXT, FasterWhisperParams

HOTWORD_TOKENS = 100
"""Most tokens of hotwords or of a prefix: with the text before, up to 223, and the control tokens
there remain 120 for a window. At 448 the library fails in the middle of a transcript."""
_PREVIOUS_TOKENS = CONTEXT // 2 - 1
_CONTROL_TOKENS = 5
_PROMPT_CHARS = 10_000
"""More than the last 223 tokens of a prompt are never used."""

_CONTROL = re.compile(r"<\|[^<>|]*\|>")
_VAD = "vad_"
_SEQUENTIAL = (
    "best_of",
    "compression_ratio_threshold",
    "log_prob_threshold",
    "no_speech_threshold",
    "condition_on_previous_text",
    "prompt_reset_on_temperature",
    "prefix",
    "max_initial_timestamp",
    "hallucination_silence_threshold",
)
"""Options that only models without batches have, under the library's names."""
_NAMES = (
    *_SEQUENTIAL,
    "beam_size",
    "patience",
    "length_penalty",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "suppress_blank",
    "without_timestamps",
    "max_new_tokens",
    "prepend_punctuations",
    "append_punctuations",
    "multilingual",
    "language_detection_threshold",
    "language_detection_segments",
)
_NOT_BATCHED = (*_SEQUENTIAL, "temperature_fallback", "vad_max_speech_duration_s")
_BATCHED = ("chunk_length",)


def arguments(
    request: TranscriptionRequest, model: Any, languages: tuple[str, ...]
) -> dict[str, Any]:
    """Return the arguments of the library's `transcribe` but for the audio.

    :raises RequestError: as `checked` does.
    """
    params: FasterWhisperParams = request.params
    found = {name: getattr(params, name) for name in _NAMES if name in params.model_fields_set}
    found["word_timestamps"] = (
        request.word_timestamps or params.hallucination_silence_threshold is not None
    )
    start = request.temperature or 0.0
    later = [value for value in params.temperature_fallback if value > start]
    checks = checked(request, model, languages, batched=False)
    return found | checks | {"temperature": [start, *later]}


def checked(
    request: TranscriptionRequest, model: Any, languages: tuple[str, ...], *, batched: bool
) -> dict[str, Any]:
    """Return what of a request must be looked at, as arguments of the library.

    :param model: a `faster_whisper.WhisperModel`.
    :param languages: the model's.
    :raises RequestError: naming the option that cannot be, or would have no effect.
    """
    params: FasterWhisperParams = request.params
    if batched:
        _refuse(params.model_fields_set, _NOT_BATCHED, "this model decodes in batches")
    else:
        _refuse(params.model_fields_set, _BATCHED, "this model does not decode in batches")
    return {
        "task": "translate" if request.translate else "transcribe",
        "suppress_tokens": _suppressed(params, model),
        **_language(request, params, languages),
        **_texts(request, params, model),
        **_parts(params, request.audio.seconds, batched),
    }


def _refuse(given: Iterable[str], names: Iterable[str], reason: str) -> None:
    for name in names:
        if name in given:
            raise RequestError(f"{name}: has no effect, because {reason}.", param=name)


def _suppressed(params: FasterWhisperParams, model: Any) -> list[int]:
    size = model.hf_tokenizer.get_vocab_size()
    for token in params.suppress_tokens:
        if token >= size:  # CTranslate2 would write there, out of bounds
            raise RequestError(
                f"suppress_tokens: {token} is no token; this model has {size}.",
                param="suppress_tokens",
            )
    return list(params.suppress_tokens)  # the library may add to it


def _language(
    request: TranscriptionRequest, params: FasterWhisperParams, languages: tuple[str, ...]
) -> dict[str, Any]:
    tag = languages[0] if len(languages) == 1 else request.language
    if tag is None:
        return {}
    if params.multilingual:
        raise RequestError(
            "multilingual detects the language of each window; "
            + ("send no language." if len(languages) > 1 else f"this model knows {tag!r} only."),
            param="multilingual",
        )
    return {"language": code_of(tag)}


def _texts(
    request: TranscriptionRequest, params: FasterWhisperParams, model: Any
) -> dict[str, Any]:
    hotwords = _clean(", ".join(word for word in request.hotwords if word.strip()), "keywords")
    prefix = _clean(params.prefix or "", "prefix")
    prompt = _clean((request.prompt or "")[-_PROMPT_CHARS:], "prompt")
    if hotwords and prefix:
        raise RequestError("prefix and keywords exclude each other; send one.", param="prefix")
    if prefix and params.clip_timestamps[:1] > [0.0]:
        raise RequestError("prefix needs the audio from its start.", param="prefix")
    found: dict[str, Any] = {}
    used = 0
    for name, text, field in (("hotwords", hotwords, "keywords"), ("prefix", prefix, "prefix")):
        if not text:
            continue
        used = _count(text, model) if len(text) <= _PROMPT_CHARS else HOTWORD_TOKENS + 1
        if used > HOTWORD_TOKENS:
            raise RequestError(
                f"{field}: too long for Whisper, which has room for {HOTWORD_TOKENS} tokens, some "
                f"{HOTWORD_TOKENS * 3 // 4} English words.",
                param=field,
            )
        found[name] = text
    if prompt:
        found["initial_prompt"] = prompt
    room = CONTEXT - _CONTROL_TOKENS - _PREVIOUS_TOKENS - used
    if params.max_new_tokens is not None and params.max_new_tokens > room:
        raise RequestError(
            f"max_new_tokens: beside the prompts there is room for {room}.", param="max_new_tokens"
        )
    return found


def _clean(text: str, field: str) -> str:
    if found := _CONTROL.search(text):
        raise RequestError(
            f"{field}: {found[0][:40]!r} looks like a control token of Whisper.", param=field
        )
    return text.encode("utf-8", "replace").decode("utf-8").strip()


def _count(text: str, model: Any) -> int:
    return len(model.hf_tokenizer.encode(f" {text}", add_special_tokens=False).ids)


def _parts(params: FasterWhisperParams, seconds: float, batched: bool) -> dict[str, Any]:
    """Return what says which parts of the audio are heard."""
    options = {
        name.removeprefix(_VAD): getattr(params, name)
        for name in params.model_fields_set
        if name.startswith(_VAD) and name != "vad_filter" and getattr(params, name) is not None
    }
    clips = params.clip_timestamps
    named = sorted(_VAD + name for name in options)
    if not params.vad_filter:
        _refuse(named, named, "vad_filter is false")
    elif clips:
        _refuse(named, named, "clip_timestamps says what is heard")
    if not clips:
        if batched and not params.vad_filter and seconds >= params.chunk_length:
            raise RequestError(
                f"vad_filter: this model needs it to cut audio of {params.chunk_length} seconds "
                "and more; without it, send clip_timestamps.",
                param="vad_filter",
            )
        if batched:  # given any, the library forgets its own default for batches
            options = {"min_silence_duration_ms": 160, **options}
        return {"vad_filter": params.vad_filter, "vad_parameters": options}
    if any(before >= after for before, after in pairwise(clips)):
        raise RequestError("clip_timestamps: the times must rise.", param="clip_timestamps")
    if clips[::2][-1] >= seconds:
        raise RequestError(
            f"clip_timestamps: the audio ends after {seconds:.2f} seconds.", param="clip_timestamps"
        )
    if not batched:
        return {"clip_timestamps": clips}
    ends = [*clips[1::2], seconds][: len(clips[::2])]
    pieces = [
        {"start": start, "end": min(end, seconds)}
        for start, end in zip(clips[::2], ends, strict=True)
    ]
    if any(piece["end"] - piece["start"] > 30 for piece in pieces):
        raise RequestError(
            "clip_timestamps: a part may last 30 seconds at most, as this model decodes in "
            "batches.",
            param="clip_timestamps",
        )
    return {"clip_timestamps": pieces}
