"""What a model is and where, told from its name or its folder; nothing is loaded or downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from unisono import ConfigError, EngineUnavailable, Weights, find_weights

from .families import FAMILIES, Family, FamilyName, family_of_class, family_of_name

if TYPE_CHECKING:
    from .options import FunASRSettings

AUTO, NONE = "auto", "none"
VAD, PUNCTUATION, SPEAKERS = "fsmn-vad", "ct-punc", "cam++"
_NEEDED = ("funasr", "kaldi_native_fbank", "scipy", "torch")
NO_LIBRARY = "FunASR or PyTorch is missing: pip install unisono-funasr"
_MEGABYTES = 10**6


@dataclass(frozen=True)
class Checkpoint:
    """A model with a name."""

    weights: Weights
    megabytes: int
    """Of its weights, about."""
    family: FamilyName | None = None
    speakers: bool = False
    """Whether it tells speakers apart unless told otherwise."""


# Models: the table of Xinference (xinference/model/audio/model_spec.json), with its revisions, as
# weights are pickles and some are copies that others uploaded. The rest: FunASR's own names.
MODELS: Mapping[str, Checkpoint] = {
    "SenseVoiceSmall": Checkpoint(
        Weights("FunAudioLLM/SenseVoiceSmall", "3eb3b4eeffc2f2dde6051b853983753db33e35c3"),
        936,
        "sensevoice",
    ),
    "paraformer-zh": Checkpoint(
        Weights("funasr/paraformer-zh", "5ed094cdfc8f6a9b6b022bd08bc904ef862bc79e"),
        880,
        "paraformer",
    ),
    "paraformer-zh-hotword": Checkpoint(
        Weights(
            "JunHowie/speech_paraformer-large-contextual_asr_nat-zh-cn-16k-common-vocab8404",
            "26d622993683d7b0c517ee5ec9c1c8bdde76e324",
        ),
        880,
        "contextual",
    ),
    "paraformer-zh-long": Checkpoint(
        Weights(
            "JunHowie/speech_paraformer-large-vad-punc_asr_nat-zh-cn-16k-common-vocab8404-pytorch",
            "b6d8cb81645e34056cd3dda41e5624a740587de3",
        ),
        880,
        "bicif",
    ),
    "paraformer-zh-spk": Checkpoint(
        Weights(
            "JunHowie/speech_paraformer-large-vad-punc-spk_asr_nat-zh-cn",
            "36abd64af4392fe02bf76453bc86c081cf1ca6da",
        ),
        880,
        "bicif",
        speakers=True,
    ),
    "seaco-paraformer-zh": Checkpoint(
        Weights(
            "JunHowie/speech_seaco_paraformer_large_asr_nat-zh-cn-16k-common-vocab8404-pytorch",
            "42e6be00854cf8de0f40002794f99df2a444fa97",
        ),
        990,
        "seaco",
    ),
    "paraformer-zh-streaming": Checkpoint(
        Weights("funasr/paraformer-zh-streaming"), 880, "streaming"
    ),
    "Fun-ASR-Nano-2512": Checkpoint(Weights("FunAudioLLM/Fun-ASR-Nano-2512"), 2000, "nano"),
    "Fun-ASR-MLT-Nano-2512": Checkpoint(
        Weights("FunAudioLLM/Fun-ASR-MLT-Nano-2512"), 2000, "mlt_nano"
    ),
}
HELPERS: Mapping[str, Checkpoint] = {
    VAD: Checkpoint(Weights("funasr/fsmn-vad"), 2),
    PUNCTUATION: Checkpoint(Weights("funasr/ct-punc"), 1100),
    SPEAKERS: Checkpoint(Weights("funasr/campplus"), 28),
}
_KNOWN: Mapping[str, Checkpoint] = {**MODELS, **HELPERS}


@dataclass(frozen=True)
class Parts:
    """The models that work together, each a name, a repository or a folder."""

    family: Family
    model: str
    vad: str | None
    punctuation: str | None
    speakers: str | None

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield the settings that name them, with what they name."""
        settings = ("model", "vad_model", "punc_model", "spk_model")
        values = (self.model, self.vad, self.punctuation, self.speakers)
        yield from ((name, value) for name, value in zip(settings, values, strict=True) if value)


def parts_of(settings: FunASRSettings) -> Parts:
    """Say what a model consists of.

    :raises ConfigError: if that cannot be told, or does not fit together.
    """
    name = settings.model
    family = FAMILIES[settings.family or _family(name)]
    known = MODELS.get(name)
    spk = SPEAKERS if known and known.speakers else None
    punctuation = None if family.punctuates or family.streams else PUNCTUATION
    parts = Parts(
        family,
        name,
        _chosen(settings.vad_model, None if family.streams else VAD),
        _chosen(settings.punc_model, punctuation),
        _chosen(settings.spk_model, spk),
    )
    for field, value in parts.named():
        weights_of(value, settings.revision if field == "model" else None, field)
    if family.streams and (parts.vad or parts.punctuation or parts.speakers):
        raise ConfigError(
            "A streaming model reads everything in chunks: vad_model, punc_model and spk_model "
            "have no effect; leave them out."
        )
    if family.punctuates and parts.punctuation:
        raise ConfigError("punc_model: this model writes punctuation itself; leave it out.")
    if parts.speakers and not parts.vad:
        raise ConfigError("spk_model needs a vad_model.")
    return parts


def _chosen(value: str, default: str | None) -> str | None:
    return default if value == AUTO else None if value == NONE else value


def _family(name: str) -> FamilyName:
    if name in MODELS and (family := MODELS[name].family):
        return family
    folder = local_folder(name)
    found = family_of_class(_class_name(folder), folder.name) if folder else family_of_name(name)
    if found is None:
        raise ConfigError(
            f"model: what {name!r} is can be told from neither its name nor its config.yaml; say "
            f"it with `family`: {', '.join(FAMILIES)}."
        )
    return found


def _class_name(folder: Path) -> str:
    try:
        text = (folder / "config.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"^model:\s*['\"]?(\w+)", text, re.MULTILINE)
    return found[1] if found else ""


def local_folder(name: str) -> Path | None:
    """Return the folder that a setting names, or None for a known name or a repository."""
    if name in _KNOWN:
        return None
    path = Path(name).expanduser()
    # Something like "funasr/name" is a folder only if it is there.
    if path.is_absolute() or name.startswith((".", "~")) or path.is_dir():
        return path.absolute()
    return None


def weights_of(name: str, revision: str | None = None, field: str = "model") -> Weights | None:
    """Return what is to be downloaded, or None for a folder.

    :param field: the setting that names it.
    :raises ConfigError: if the name is none that is known, no folder and no repository.
    """
    if local_folder(name):
        return None
    if name in _KNOWN:
        weights = _KNOWN[name].weights
        return Weights(weights.repo, revision) if revision else weights
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ConfigError(
            f"{field}: {name!r} is neither a folder nor a repository such as 'funasr/campplus', "
            f"nor a name: {', '.join(_KNOWN)}."
        )
    return Weights(name, revision)


def find_folder(name: str, revision: str | None = None, field: str = "model") -> Path:
    """Return where a model is.

    :raises EngineUnavailable: if it is not on this machine, or not whole.
    """
    weights = weights_of(name, revision, field)
    folder = find_weights(weights) if weights else local_folder(name)
    if folder is None or not (folder / "config.yaml").is_file():
        raise EngineUnavailable(
            f"The folder that the setting {field} names has no config.yaml; it must hold a model "
            "of FunASR."
        )
    return folder


def obstacles(named: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Say what else than a download is needed before models can be loaded.

    :param named: the settings that name them, with what they name.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        yield NO_LIBRARY
    for field, name in named:
        if local_folder(name):
            try:
                find_folder(name, None, field)
            except EngineUnavailable as error:
                yield str(error)


def memory_of(names: Iterable[str]) -> int | None:
    """Return about how many bytes the weights of some models take, if that is known."""
    sizes = [_bytes(name) for name in names]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _bytes(name: str) -> int | None:
    if name in _KNOWN:
        return _KNOWN[name].megabytes * _MEGABYTES
    folder = local_folder(name)
    file = folder / "model.pt" if folder else None
    return file.stat().st_size if file and file.is_file() else None
