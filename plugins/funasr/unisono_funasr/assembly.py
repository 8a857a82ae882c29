"""The models of one recognizer are loaded and put together."""

from __future__ import annotations

from collections.abc import Sequence

from . import nano
from .checkpoints import find_folder, parts_of
from .families import stand_ins
from .loading import Component, load, torch_device
from .options import FunASRSettings
from .prints import Listener
from .recognizer import Recognizer

VAD_CLASSES = ("FsmnVADStreaming",)
PUNCTUATION_CLASSES = ("CTTransformer",)
SPEAKER_CLASSES = ("CAMPPlus",)


def assemble(settings: FunASRSettings, languages: tuple[str, ...]) -> Recognizer:
    """Load what the settings name; downloads nothing.

    :raises EngineUnavailable: if a library, a file or the device is missing.
    """
    parts = parts_of(settings)
    # All must be here before the first takes seconds to load.
    folders = {
        field: find_folder(name, settings.revision if field == "model" else None, field)
        for field, name in parts.named()
    }
    device = torch_device(settings.device)

    def part(field: str, classes: Sequence[str], **overrides: object) -> Component | None:
        if field not in folders:
            return None
        return load(
            folders[field],
            classes,
            field=field,
            device=device,
            threads=settings.threads,
            overrides=overrides,
        )

    own = nano.overrides(folders["model"]) if parts.family.class_name == "FunASRNano" else {}
    model = part("model", stand_ins(parts.family), **own)
    assert model is not None
    speakers = part("spk_model", SPEAKER_CLASSES)
    longest = settings.max_segment_seconds or parts.family.longest
    return Recognizer(
        parts,
        languages,
        model,
        part("vad_model", VAD_CLASSES, max_single_segment_time=round(longest * 1000)),
        part("punc_model", PUNCTUATION_CLASSES),
        Listener(speakers) if speakers else None,
    )
