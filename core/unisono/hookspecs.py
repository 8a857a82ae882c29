"""The hooks that a plugin may implement.

An engine plugin implements `register_engines` and a class, nothing else. `resolve_voice_prompt`,
`synthesize`, `transcribe`, `align` and `diarize` are called for every request; the kernel's own
implementations come last, so a plugin can answer before them or wrap them
(`@hookimpl(wrapper=True)`).

A hook may gain arguments in a minor release: declare only those that you use.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click
    from fastapi import FastAPI

    from .engine import Engine
    from .kernel import Kernel
    from .requests import (
        AlignmentRequest,
        DiarizationRequest,
        SpeechRequest,
        TranscriptionRequest,
    )
    from .runner import EngineRunner
    from .types import AudioChunk, ModelInfo, Segment, SpeakerTurn, Word
    from .voice import VoicePrompt, VoiceReference

hookspec = pluggy.HookspecMarker("unisono")
hookimpl = pluggy.HookimplMarker("unisono")


@hookspec
def register_engines() -> Iterable[type[Engine]]:  # type: ignore[empty-body]
    """Return the engine classes of this plugin. Called once at start-up."""


@hookspec(firstresult=True)
def resolve_voice_prompt(reference: VoiceReference, model: ModelInfo) -> VoicePrompt | None:
    """Turn what the client sent into a voice prompt, or return None to let the next plugin try.

    Called on a worker thread, so it may read files or the network. Return a recording as it was
    found: the kernel decodes, resamples, trims, measures and remembers it::

        @hookimpl
        def resolve_voice_prompt(reference, model):
            if isinstance(reference.audio, str) and reference.audio.startswith("s3://"):
                return VoicePrompt(recording=bucket.read(reference.audio))
            return None

    :param reference: what the client sent.
    :param model: the model that will speak.
    :raises PromptError: if this plugin is the right one and the reference cannot be used.
    """


@hookspec(firstresult=True)
def synthesize(
    engine: EngineRunner, request: SpeechRequest
) -> AsyncGenerator[AudioChunk, None] | None:
    """Answer one speech request with a stream, or return None to leave it to the next plugin.

    Called on the event loop, once for each segment of a text that the kernel splits. Return a
    stream; do not `yield` from the hook itself, except once in a wrapper::

        @hookimpl(wrapper=True)
        def synthesize(engine, request):
            stream = yield
            return louder(stream)      # an async generator that closes `stream` when it ends

    :param engine: the loaded model; `engine.model` describes it.
    :param request: validated against the model's features and Params.
    """


@hookspec(firstresult=True)
def transcribe(
    engine: EngineRunner, request: TranscriptionRequest
) -> AsyncGenerator[Segment, None] | None:
    """Answer one transcription request with a stream, or return None. As for `synthesize`.

    :param engine: the loaded model; `engine.model` describes it.
    :param request: validated against the model's features and Params.
    """


@hookspec(firstresult=True)
def align(engine: EngineRunner, request: AlignmentRequest) -> AsyncGenerator[Word, None] | None:
    """Find when the words of a text are heard, or return None. As for `synthesize`.

    Called for each segment of a transcript whose words are wanted and whose model has no times
    for them.

    :param engine: the loaded model; `engine.model` describes it.
    :param request: what is heard, and what was said.
    """


@hookspec(firstresult=True)
def diarize(
    engine: EngineRunner, request: DiarizationRequest
) -> AsyncGenerator[SpeakerTurn, None] | None:
    """Find who speaks when, or return None. As for `synthesize`.

    Called for each piece of a recording whose speakers are wanted and whose transcription model
    knows none.

    :param engine: the loaded model; `engine.model` describes it.
    :param request: what is heard, and whose voices are known.
    """


@hookspec
def register_routes(app: FastAPI, kernel: Kernel) -> None:
    """Add routes to the HTTP application, for protocols other than OpenAI's.

    WebSockets work if a library for them is installed (`pip install websockets`).
    Called once when the application is made, on the main thread, after the kernel's own routes.
    Errors of `unisono.errors` that a route raises get OpenAI's shape; authentication applies.

    :param app: the application.
    :param kernel: what the routes call to speak and to write.
    """


@hookspec
def register_commands(cli: click.Group) -> None:
    """Add commands to `unisono`. Called at each start of the command line: import nothing heavy.

    :param cli: the group of all commands.
    """
