"""An engine that only another environment knows: asked there what it is, run there later."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field, WithJsonSchema, create_model

from . import __version__
from .engine import Batch, Engine, Settings
from .errors import EngineUnavailable
from .requests import SpeechRequest
from .spawn import program
from .types import AudioChunk, ModelInfo, Params, Segment, SpeakerTurn, Weights, Word
from .wire import unpack_info

ASK_SECONDS = 60.0


class ForeignSettings(Settings):
    """Settings that the other environment validates."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ForeignParams(Params):
    """Options that the other environment validates."""

    @property
    def needs_prompt_text(self) -> bool:
        """Leave that to the other environment: only there somebody knows."""
        return False


def foreign_engine(
    name: str, python: str, settings: Mapping[str, Any], variables: Mapping[str, str]
) -> type[Engine]:
    """Return a class that stands for an engine of another environment.

    Starts that interpreter and waits for it.

    :param variables: what its processes have in their environment besides.
    :raises EngineUnavailable: if it does not run, or does not know the engine; says what to do.
    """
    said = ask(name, python, settings, variables)
    info = unpack_info(said["info"])
    weights = [Weights(**each) for each in said["weights"]]

    class Foreign(ForeignEngine):
        params_type = _params(said["params"])
        # However it serves several requests at once, from here it looks like a batch.
        max_batch_size = said["concurrency"]

        @classmethod
        def describe(cls, settings: Any) -> ModelInfo:
            return info

        @classmethod
        def weights(cls, settings: Any) -> Sequence[Weights]:
            return weights

    Foreign.name = name
    Foreign.__doc__ = said["doc"]
    return Foreign


class ForeignEngine(Engine):
    """Never made: its models run in processes of the environment that knows them."""

    runner = "process"
    settings_type = ForeignSettings

    def synthesize(self, request: SpeechRequest) -> Iterator[AudioChunk]:
        """Run elsewhere."""
        raise NotImplementedError

    def transcribe(self, request: Any) -> Iterator[Segment]:
        """Run elsewhere."""
        raise NotImplementedError

    def align(self, request: Any) -> Iterator[Word]:
        """Run elsewhere."""
        raise NotImplementedError

    def diarize(self, request: Any) -> Iterator[SpeakerTurn]:
        """Run elsewhere."""
        raise NotImplementedError

    def open_batch(self) -> Batch[Any, Any]:
        """Run elsewhere."""
        raise NotImplementedError


def _params(schema: Mapping[str, Any]) -> type[Params]:
    """Make a type with the same fields and the same documentation, which accepts any value."""
    fields: dict[str, Any] = {}
    for name, field in schema.get("properties", {}).items():
        kind = list[Any] if field.get("type") == "array" else Any
        default = Field(field.get("default"), description=field.get("description", name))
        fields[name] = (Annotated[kind, WithJsonSchema(dict(field))], default)
    made: type[Params] = create_model(
        schema.get("title", "ForeignParams"), __base__=ForeignParams, **fields
    )
    return made


def ask(
    name: str, python: str, settings: Mapping[str, Any], variables: Mapping[str, str]
) -> dict[str, Any]:
    """Return what `worker.describe` says under another interpreter.

    :param variables: as for `foreign_engine`.
    :raises EngineUnavailable: if it does not run, or does not know the engine; says what to do.
    """
    question = json.dumps({"engine": name, "settings": dict(settings)}, default=str)
    try:
        done = subprocess.run(
            [python, *program(python), "describe"],
            input=question,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=False,
        )
    except OSError as error:
        raise EngineUnavailable(
            f"the interpreter {python!r} does not run ({error.strerror}); correct `python`."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EngineUnavailable(
            f"the interpreter {python!r} did not answer within {ASK_SECONDS:g} s."
        ) from error
    lines = done.stdout.strip().splitlines()
    try:
        said: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EngineUnavailable(
            f"the environment of {python!r} cannot describe engine {name!r}: {last} Run: {python} "
            f"-m pip install unisono=={__version__} unisono-{name.replace('_', '-')}"
        ) from None
    if "error" in said:
        raise EngineUnavailable(f"in the environment of {python!r}: {said['error']}")
    return said
