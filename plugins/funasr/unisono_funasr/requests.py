"""What a request may ask of a model; what would have no effect is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from unisono import RequestError

from .checkpoints import Parts
from .options import FunASRParams

_STREAMING = ("chunk_size", "encoder_chunk_look_back", "decoder_chunk_look_back")
_PIECES = ("batch_size_s", "merge_vad", "merge_length_s")


def check(params: FunASRParams, parts: Parts) -> None:
    """Refuse options that this model does not have.

    :raises RequestError: naming the option.
    """
    given, family = params.model_fields_set, parts.family
    if not family.streams:
        _refuse(given, _STREAMING, "this model does not stream")
    if not family.punctuates:
        _refuse(given, ["use_itn"], "this model writes words alone")
    if family.class_name != "SenseVoiceSmall":
        _refuse(given, ["ban_emo_unk"], "this model hears no emotions")
    if family.class_name != "FunASRNano":
        _refuse(given, ["max_length"], "this model has no language model")
    if not parts.speakers:
        _refuse(given, ["preset_spk_num"], "this model does not tell speakers apart")
    if not parts.vad:
        _refuse(given, _PIECES, "this model has no detector of speech")
    elif not merges(params, parts):
        _refuse(given, ["merge_length_s"], "merge_vad is not set")


def merges(params: FunASRParams, parts: Parts) -> bool:
    """Whether short pieces of speech are read together."""
    return parts.family.merges if params.merge_vad is None else params.merge_vad


def _refuse(given: Collection[str], names: Iterable[str], reason: str) -> None:
    for name in names:
        if name in given:
            raise RequestError(f"{name}: has no effect, because {reason}.", param=name)
