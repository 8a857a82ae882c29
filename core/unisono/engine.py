"""The interface of an engine plugin."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

from . import requests, types
from .voice import PreparedVoice, VoicePrompt


class Settings(BaseModel):
    """How an operator deploys one model: paths, URLs, device.

    Read from the model's table `[models.<id>]` and from `UNISONO_MODELS__<ID>__<FIELD>`. Give
    every field a description; give it a default wherever a sensible one exists.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


Q = TypeVar("Q")
A = TypeVar("A")


class Batch(Generic[Q, A]):
    """Several requests that one model serves together, step by step (continuous batching).

    All methods run on the model's worker thread. Requests join and leave between steps.
    """

    def accepts(self, request: Q) -> bool:
        """Say whether this request can run beside those in the batch.

        If not, it waits until the batch is empty, and so does everybody behind it. An empty batch
        accepts everything.
        """
        return True

    def add(self, key: int, request: Q) -> None:
        """Let a request join.

        :param key: names the request in this batch; never used twice.
        :raises RequestError: if this request is wrong; the others go on.
        """
        raise NotImplementedError

    def step(self) -> Iterable[tuple[int, A | Exception | None]]:
        """Advance the requests by one step of the model, and return what came of it.

        Each pair is a request's key and its next chunk or segment, or None for its end, or the
        exception that ended this request alone. Raising ends them all. A step should be short
        (of speech, 0.1 seconds); a request that has nothing yet simply does not appear.
        """
        raise NotImplementedError

    def remove(self, key: int) -> None:
        """Forget a request that nobody waits for any more. It has neither ended nor failed."""
        raise NotImplementedError

    def close(self) -> None:
        """Release what the batch holds. It is empty, or `step` raised."""


SpeechBatch: TypeAlias = Batch[requests.SpeechRequest, types.AudioChunk]
TranscriptionBatch: TypeAlias = Batch[requests.TranscriptionRequest, types.Segment]


class Engine:
    """A family of models that run the same way. The class describes; an instance is one model.

    Implement `describe`, and what its task is: `synthesize`, `transcribe` (or `open_batch` instead
    of either), `align` or `diarize`.

    Methods written with `def` all run on the model's own worker thread, `load` and `unload`
    included, one call at a time and a whole stream as one call: they may block, and libraries
    that are bound to one thread are safe. What its task is may instead be written with
    `async def`: it then runs on the event loop and must not block.

    Import heavy libraries inside `load`, so that listing models and starting a server stay fast.
    """

    name: ClassVar[str]
    """Name in configuration and in error messages: lower case, digits and underscores."""

    lane: ClassVar[str | None] = None
    """Engines that name the same lane share one worker thread. None gives each model its own."""

    runner: ClassVar[Literal["thread", "process"]] = "thread"
    """Where its models run unless the operator says otherwise. "process" for a library that holds
    the interpreter for long, or may take the process down with it.
    """

    max_concurrency: ClassVar[int] = 4
    """Requests that an `async def` engine serves at once. A `def` engine serves one."""

    max_batch_size: ClassVar[int] = 1
    """Requests that share one `Batch`; more than 1 means that `open_batch` is used. A model whose
    `ModelInfo.max_concurrency` is 1 has none.
    """

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

    @classmethod
    def weights(cls, settings: Any) -> Sequence[types.Weights]:
        """Say what the model of these settings needs from a hub; nothing if all is local.

        `unisono pull` downloads it. `load` finds it with `unisono.find_weights`, and never
        downloads anything itself.
        """
        return ()

    def problems(self) -> Iterable[str]:
        """Say what would keep the model from working, and what to do about it; load nothing.

        For `unisono doctor`, on a thread that may block: an upstream server that does not answer,
        a path that does not exist. Weights of a hub are looked for by the kernel.
        """
        return ()

    def load(self) -> Awaitable[None] | None:
        """Bring the model into memory. Called once before the first request.

        :raises EngineUnavailable: if weights or libraries are missing; say how to get them.
        """

    def unload(self) -> Awaitable[None] | None:
        """Release what `load` acquired. Never called while a request runs."""

    def prepare_voice(
        self, prompt: VoicePrompt
    ) -> PreparedVoice | Awaitable[PreparedVoice | None] | None:
        """Compute what speaking with this reference needs and does not depend on the text.

        Called before the first request with this voice, on the thread of `synthesize` (on the
        event loop if that is `async def`, which this then is, too). The kernel keeps the result
        while there is room and the model is loaded, and hands it over as `VoicePrompt.prepared`.

        :param prompt: with `audio`.
        :raises PromptError: if the reference cannot be used; say what is wrong with it.
        """
        return None

    def open_batch(self) -> Batch[Any, Any]:
        """Start a batch, on the model's worker thread, when requests wait and none is open."""
        raise NotImplementedError

    def synthesize(
        self, request: requests.SpeechRequest
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
        self, request: requests.TranscriptionRequest
    ) -> Iterator[types.Segment] | AsyncIterator[types.Segment]:
        """Yield segments in order of time, each as soon as it is final.

        Yield nothing for audio without speech. Cancellation is as for `synthesize`.

        :raises RequestError: if the request is wrong in a way that only the model can tell.
        """
        raise NotImplementedError

    def align(
        self, request: requests.AlignmentRequest
    ) -> Iterator[types.Word] | AsyncIterator[types.Word]:
        """Yield every word of the text, as it is written there, with its time, in order.

        Yield nothing if the text cannot be found in the audio. Cancellation is as for
        `synthesize`.
        """
        raise NotImplementedError

    def diarize(
        self, request: requests.DiarizationRequest
    ) -> Iterator[types.SpeakerTurn] | AsyncIterator[types.SpeakerTurn]:
        """Yield who speaks when, in order of the starts.

        Yield nothing for audio without speech. Cancellation is as for `synthesize`.

        :raises RequestError: if a known speaker's recording cannot be used.
        """
        raise NotImplementedError


METHODS: Mapping[types.Task, str] = {
    types.Task.SPEECH: "synthesize",
    types.Task.TRANSCRIPTION: "transcribe",
    types.Task.ALIGNMENT: "align",
    types.Task.DIARIZATION: "diarize",
}
"""The method of `Engine` that does a task."""


def concurrency(engine: type[Engine], model: types.ModelInfo) -> int:
    """Return how many requests one model of this engine serves at once."""
    if engine.max_batch_size > 1:
        return model.max_concurrency or engine.max_batch_size
    if inspect.isasyncgenfunction(getattr(engine, METHODS[model.task])):
        return model.max_concurrency or engine.max_concurrency
    return 1
