"""The interface of an engine plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from . import types


class Settings(BaseModel):
    """How an operator deploys one model: paths, URLs, device.

    Read from the model's table `[models.<id>]` and from `UNISONO_MODELS__<ID>__<FIELD>`. Give
    every field a description; give it a default wherever a sensible one exists.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class Engine:
    """A family of models that run the same way. The class describes; an instance is one model.

    Implement `describe`, and `synthesize` or `transcribe`.

    Methods written with `def` all run on the model's own worker thread, `load` and `unload`
    included, one call at a time and a whole stream as one call: they may block, and libraries
    that are bound to one thread are safe. A `synthesize` or `transcribe` written with
    `async def` runs on the event loop and must not block.

    Import heavy libraries inside `load`, so that listing models and starting a server stay fast.
    """

    name: ClassVar[str]
    """Name in configuration and in error messages: lower case, digits and underscores."""

    lane: ClassVar[str | None] = None
    """Engines that name the same lane share one worker thread. None gives each model its own."""

    max_concurrency: ClassVar[int] = 4
    """Requests that an `async def` engine serves at once. A `def` engine serves one."""

    params_type: ClassVar[type[types.Params]] = types.Params
    """Per-request options; call the class `<Name>Params`."""

    settings_type: ClassVar[type[Settings]] = Settings
    """Deployment options; call the class `<Name>Settings`."""

    # `Any`: a subclass annotates its own Settings type without quarrelling with this one.
    def __init__(self, model: types.ModelInfo, settings: Any) -> None:
        """Store the arguments. Do no I/O here.

        :param settings: an instance of `settings_type`.
        """
        self.model = model
        self.settings = settings

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        """Return the models that are served with no configuration at all: model id → settings."""
        return {}

    @classmethod
    def describe(cls, settings: Any) -> types.ModelInfo:
        """Say what the model of these settings is and can do. Loads and downloads nothing.

        Called once at start-up on the main thread. The catalogue fills in `id` and `engine`.
        """
        raise NotImplementedError

    def load(self) -> None:
        """Bring the model into memory. Called once before the first request.

        :raises EngineUnavailable: if weights or libraries are missing; say how to get them.
        """

    def unload(self) -> None:
        """Release what `load` acquired. Never called while a request runs."""

    def synthesize(
        self, request: types.SpeechRequest
    ) -> Iterator[types.AudioChunk] | AsyncIterator[types.AudioChunk]:
        """Yield speech as soon as it is ready; yield once if the model cannot stream.

        When the client goes, the iterator is closed at its next `yield`: release resources in
        `finally`. Poll `request.cancel.cancelled` if chunks are more than 0.1 seconds apart.
        An `async def` holds no timeout, task group or context variable across a `yield` (PEP 789):
        its chunks may be asked for from several tasks.

        :raises RequestError: if the request is wrong in a way that only the model can tell.
        """
        raise NotImplementedError

    def transcribe(
        self, request: types.TranscriptionRequest
    ) -> Iterator[types.Segment] | AsyncIterator[types.Segment]:
        """Yield segments in order of time, each as soon as it is final.

        Yield nothing for audio without speech. Cancellation is as for `synthesize`.

        :raises RequestError: if the request is wrong in a way that only the model can tell.
        """
        raise NotImplementedError
