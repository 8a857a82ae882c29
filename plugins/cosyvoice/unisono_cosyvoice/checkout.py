"""Import CosyVoice from a checkout of its repository.

Its modules import much that only training needs (lightning, hydra, pyarrow, pyworld, matplotlib,
gdown, wget), and modelscope, which would download what is not there. Stand-ins take the places of
the few modules that do so, and no more than that needs to be installed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from unisono import EngineUnavailable

from . import mending

logger = logging.getLogger(__name__)

MATCHA = Path("third_party/Matcha-TTS")


TRAINING = (
    "matcha.hifigan.models",
    "cosyvoice.hifigan.discriminator",
    "cosyvoice.hifigan.hifigan",
    "cosyvoice.dataset.processor",
)
"""What the files of models name besides the models themselves."""


@dataclass(frozen=True)
class Checkout:
    """The modules of upstream that this plugin uses."""

    cli: Any
    """cosyvoice.cli.cosyvoice"""
    frontend: Any
    """cosyvoice.cli.frontend"""
    common: Any
    """cosyvoice.utils.common"""


def problems(source_dir: Path) -> Iterator[str]:
    """Say what is wrong with a checkout, and which packages are missing; imports none."""
    if not (source_dir / "cosyvoice/cli/cosyvoice.py").is_file():
        yield (
            "The setting source_dir must name a checkout of CosyVoice: git clone --recursive "
            "https://github.com/FunAudioLLM/CosyVoice"
        )
    elif not (source_dir / MATCHA / "matcha").is_dir():
        yield (f"The checkout has no {MATCHA}. In it, run: git submodule update --init --recursive")
    missing = [name for name in REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        yield (
            f"The interpreter of the model lacks {', '.join(missing)}. Install the requirements of "
            "CosyVoice in a virtualenv, and name its interpreter in the model's setting python."
        )


REQUIRED = (
    "conformer",
    "diffusers",
    "einops",
    "hyperpyyaml",
    "inflect",
    "librosa",
    "omegaconf",
    "onnxruntime",
    "torch",
    "torchaudio",
    "tqdm",
    "transformers",
    "whisper",
    "x_transformers",
)
"""Packages that upstream cannot speak without, by the names they are imported as."""


def load(source_dir: Path) -> Checkout:
    """Import upstream's modules and mend them.

    :raises EngineUnavailable: if they are not there or cannot be imported.
    """
    present = sys.modules.get("cosyvoice")
    if present is not None and source_dir not in map(_root, present.__path__):
        raise EngineUnavailable(
            'Another checkout of CosyVoice is loaded here. Set runner = "process" for this model.'
        )
    try:
        with _quiet_root_logger():
            return _import(source_dir)
    except Exception as error:  # whatever the packages of this interpreter make of each other
        logger.warning("CosyVoice cannot be imported.", exc_info=True)
        what = f" of {error.name!r}" if isinstance(error, ImportError) else ""
        raise EngineUnavailable(
            f"CosyVoice cannot be imported ({type(error).__name__}{what}): `unisono doctor` says "
            "what to install, the server's log more."
        ) from error


def _import(source_dir: Path) -> Checkout:
    # Before the packages of the interpreter: there is an unrelated "cosyvoice" among those of PyPI.
    for folder in (source_dir, source_dir / MATCHA):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    _import_torchaudio()
    if "matcha.utils" not in sys.modules:
        importlib.import_module("matcha")
        package = _stand_in("matcha.utils")
        package.__path__ = [str(source_dir / MATCHA / "matcha/utils")]
        _stand_in("matcha.utils.pylogger", get_pylogger=logging.getLogger)
        for name in TRAINING:
            importlib.import_module(name.rpartition(".")[0])
            _stand_in(name)
        mending.mend_spectrogram(importlib.import_module("matcha.utils.audio"))
    with _no_modelscope():
        cli = importlib.import_module("cosyvoice.cli.cosyvoice")
    checkout = Checkout(
        cli,
        importlib.import_module("cosyvoice.cli.frontend"),
        importlib.import_module("cosyvoice.utils.common"),
    )
    mending.mend_frontend(checkout.cli, checkout.frontend)
    mending.mend_qwen(importlib.import_module("cosyvoice.llm.llm"))
    return checkout


class _StandIn(ModuleType):
    """A module that has every class, none of which does anything."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)  # whoever looks for the module expects one

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _Nothing:
    """What stands in for classes and functions; hyperpyyaml insists on classes."""

    def __init__(self, *_: object, **__: object) -> None:
        pass


def _stand_in(name: str, **names: Any) -> ModuleType:
    module = _StandIn(name)
    vars(module).update(names)
    sys.modules[name] = module
    # hyperpyyaml finds what a file names by going from a package to its attributes.
    parent, _, leaf = name.rpartition(".")
    setattr(sys.modules[parent], leaf, module)
    return module


@contextlib.contextmanager
def _no_modelscope() -> Iterator[None]:
    """Hide modelscope, but not from others who use it."""
    present = sys.modules.get("modelscope")
    sys.modules["modelscope"] = _StandIn("modelscope")
    try:
        yield
    finally:
        if present is None:
            del sys.modules["modelscope"]
        else:
            sys.modules["modelscope"] = present


def _import_torchaudio() -> None:
    """Import as much of torchaudio as upstream needs.

    Its compiled part is of one version of torch and CUDA only, and is not needed: without it the
    package is put there as a frame for the rest, which is Python.
    """
    found = importlib.util.find_spec("torchaudio")
    if found is None or "torchaudio" in sys.modules:
        return
    try:
        importlib.import_module("torchaudio")
    except OSError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio"] = importlib.util.module_from_spec(found)


@contextlib.contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Undo that upstream makes the whole program log everything to the standard error."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def _root(package: str) -> Path:
    return Path(package).absolute().parent
