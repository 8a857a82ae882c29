"""One model of FunASR in memory: a recognizer, or one that detects, punctuates or tells speakers.

Of the library only `AutoModel.build_model` and the models' own `inference` are used. What is above
them (`generate`) fetches what a string names, keeps options of one call for the next, and cannot
be cancelled.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unisono import EngineUnavailable

from .checkpoints import NO_LIBRARY

logger = logging.getLogger(__name__)

RATE = 16_000
"""Hertz of everything that these models read."""
_MISSING = "miss key in ckpt"
Samples = npt.NDArray[np.float32]


class Component:
    """A loaded model. Nothing of one call is left for the next."""

    def __init__(self, module: Any, configuration: Mapping[str, Any]) -> None:
        self.module = module
        self.configuration = configuration

    @property
    def class_name(self) -> str:
        """FunASR's name of the class."""
        return type(self.module).__name__

    @property
    def tokenizer(self) -> Any:
        """What turns text into numbers."""
        return self.configuration["tokenizer"]

    @property
    def on_gpu(self) -> bool:
        """Whether reading several pieces at once is faster."""
        return bool(self.configuration["device"] != "cpu")

    def infer(self, inputs: Sequence[Any], **options: Any) -> list[dict[str, Any]]:
        """Return what the model makes of each input, or nothing if it finds nothing in any.

        :param inputs: arrays or tensors; never a string that came from outside, which the library
            takes for a path or an address.
        :param options: of this call alone.
        """
        import torch  # noqa: PLC0415

        keys = [str(index) for index in range(len(inputs))]
        with torch.no_grad():
            found = self.module.inference(
                data_in=list(inputs), key=keys, **{**self.configuration, **options}
            )
        # Where there is not one token, some return no pair of results and statistics.
        results: list[dict[str, Any]] = found[0] if found else []
        return results


def load(
    folder: Path,
    classes: Sequence[str],
    *,
    field: str,
    device: str,
    threads: int,
    overrides: Mapping[str, Any] | None = None,
) -> Component:
    """Load one model. Touches no network and runs no code of the folder.

    :param classes: FunASR's names of the classes that will do.
    :param field: the setting that names the model, for messages.
    :param device: as PyTorch has it.
    :param overrides: of the model's configuration.
    :raises EngineUnavailable: if the library is missing, or the files are no such model.
    """
    printed = io.StringIO()
    # The output belongs to whoever runs us: a transcript goes there, say.
    with redirect_stdout(printed):
        build_model = _library()
        try:
            module, configuration = build_model(
                **{
                    **(overrides or {}),
                    "model": str(folder),
                    "device": device,
                    "ncpu": threads,
                    "disable_update": True,
                    "trust_remote_code": False,  # or config.yaml could say yes
                }
            )
        except Exception as error:  # whatever is wrong with the files
            logger.exception("FunASR cannot load the model in %s.", folder)
            raise EngineUnavailable(
                f"FunASR cannot load what the setting {field} names; the server's log says why."
            ) from error
    component = Component(module, configuration)
    missing = printed.getvalue().count(_MISSING)
    if missing:
        logger.warning("%s: %d tensors are not in the file and stay random.", field, missing)
    if component.class_name not in classes:
        raise EngineUnavailable(
            f"{field}: a {component.class_name} is no {' or '.join(classes)}, which is needed here."
        )
    # Without its weights the library goes on with random ones.
    if not os.path.isfile(str(configuration.get("init_param"))):
        raise EngineUnavailable(f"The model that the setting {field} names has no weights.")
    return component


def _library() -> Callable[..., tuple[Any, dict[str, Any]]]:
    try:
        from funasr import AutoModel  # noqa: PLC0415
    except ImportError:
        raise EngineUnavailable(NO_LIBRARY) from None
    build_model: Callable[..., tuple[Any, dict[str, Any]]] = AutoModel.build_model
    return build_model


def torch_device(wanted: str) -> str:
    """Return the device that a setting means.

    :raises EngineUnavailable: if it is not there; the library would go on with the CPU.
    """
    try:
        import torch  # noqa: PLC0415
    except ImportError:
        raise EngineUnavailable(NO_LIBRARY) from None
    gpus = torch.cuda.device_count()
    if wanted == "auto":
        return "cuda:0" if gpus else "cpu"
    kind, _, number = wanted.partition(":")
    if kind == "cuda" and int(number or 0) >= gpus:
        raise EngineUnavailable(f"device is {wanted!r}, and PyTorch finds {gpus} GPUs here.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise EngineUnavailable("device is 'mps', and PyTorch finds no such GPU here.")
    return wanted
