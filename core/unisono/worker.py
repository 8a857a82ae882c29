"""A model in a process of its own: `python -m unisono.worker`, which the server starts.

The same runner as in the server, behind a pipe. Imports nothing of HTTP, of codecs or of the
configuration, so that it runs in a virtualenv that knows only the plugin and what that needs.

Standard input brings messages (`wire`) and, when it ends, the end of this process. Answers go to
what was the standard output; what anybody prints goes to the standard error.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import importlib.metadata
import json
import logging
import os
import platform
import signal
import sys
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict, replace
from types import ModuleType
from typing import Any

import numpy as np

from . import __version__
from .engine import METHODS, Engine, Settings, concurrency
from .errors import EngineUnavailable, PromptError, SpeechError
from .lanes import Lane
from .parsing import validate
from .requests import SpeechRequest
from .runner import EngineRunner, ThreadRunner
from .types import AudioChunk, Feature, Task
from .wire import PROTOCOL, pack, pack_error, pack_info, reader, unpack_info

ENTRY_POINT_GROUP = "unisono"
_PDEATHSIG = 1
"""prctl(2): PR_SET_PDEATHSIG."""


class Worker:
    """The worker's side of the conversation."""

    def __init__(self, answers: asyncio.StreamWriter) -> None:
        self._answers = answers
        self._runner: EngineRunner | None = None
        self._engine: type[Engine] | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._going: dict[int, asyncio.Event] = {}
        self._samples: dict[int, list[bytes]] = {}

    def take(self, message: tuple[Any, ...]) -> None:
        """Begin to do what a message says."""
        kind, id_, *rest = message
        if kind == "samples":
            self._samples.setdefault(id_, []).append(rest[0])
        elif kind == "cancel":
            self._samples.pop(id_, None)
            # Not its own business: one that is cancelled before its first step never runs.
            task = self._tasks.pop(id_, None)
            if task is None:
                self.send("end", id_)
            else:
                task.cancel()
                task.add_done_callback(lambda _: self.send("end", id_))
        elif kind in ("pause", "resume"):
            going = self._going.get(id_)
            if going is not None:
                going.clear() if kind == "pause" else going.set()
        else:
            self._tasks[id_] = task = asyncio.create_task(self._do(kind, id_, rest))
            task.add_done_callback(lambda _: self._forget(id_))

    def send(self, *message: Any) -> None:
        """Answer."""
        self._answers.write(pack(*message))

    def _forget(self, id_: int) -> None:
        self._tasks.pop(id_, None)
        self._going.pop(id_, None)

    async def _do(self, kind: str, id_: int, rest: list[Any]) -> None:
        try:
            if kind == "load":
                await self._load(*rest)
                self.send("value", id_, None)
            elif kind == "unload":
                if self._runner is not None:
                    await self._runner.unload()
                self.send("value", id_, None)
            elif kind == "forget":
                self.send("value", id_, await self._loaded.forget_voices())
            elif kind == "ping":
                self.send("value", id_, None)
            elif kind == METHODS[Task.SPEECH]:
                await self._speak(id_, rest[0])
            elif kind in METHODS.values():
                await self._listen(kind, id_, rest[0])
            else:
                raise EngineUnavailable(f"The worker process does not know {kind!r}.")
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and id_ not in self._tasks:
                raise
            # Also a cancellation of the engine's own: an end would say that the audio is whole.
            if not isinstance(error, SpeechError):
                logging.getLogger(__name__).error("%s failed.", kind, exc_info=error)
            self.send("error", id_, *pack_error(error))

    @property
    def _loaded(self) -> EngineRunner:
        if self._runner is None:
            raise EngineUnavailable("The worker process has no model.")
        return self._runner

    async def _load(
        self, name: str, module: str | None, info: Any, settings: Mapping[str, Any], voices: int
    ) -> None:
        engine = find_engine(name, module)
        model = unpack_info(info)
        typed = validate(engine.settings_type, settings)
        self._engine = engine
        lane = Lane(engine.lane or model.id)
        runner = ThreadRunner(engine(model, typed), lane, name, voices)
        await runner.load()
        self._runner = runner

    async def _speak(self, id_: int, request: SpeechRequest) -> None:
        request = replace(request, params=self._params(request.params))
        features = self._loaded.model.features
        for turn in request.turns:
            needed = Feature.PROMPT_TEXT_REQUIRED in features and request.params.needs_prompt_text
            if needed and turn.voice.audio is not None and not turn.voice.text:
                raise PromptError("ref_text: the model needs it.", param="ref_text")
        async with aclosing(self._loaded.synthesize(request)) as chunks:
            async for chunk in chunks:
                samples = np.ascontiguousarray(chunk.samples)
                form = chunk.sample_rate, chunk.channels, samples.ndim
                self.send("chunk", id_, *form, samples.tobytes(), chunk.words)
                await self._pause(id_)
        self.send("end", id_)

    async def _listen(self, method: str, id_: int, request: Any) -> None:
        blocks = self._samples.pop(id_, [])
        audio = AudioChunk(np.frombuffer(b"".join(blocks), np.float32), request.audio.sample_rate)
        blocks.clear()
        request = replace(request, audio=audio, params=self._params(request.params))
        async with aclosing(getattr(self._loaded, method)(request)) as items:
            async for item in items:
                self.send("item", id_, item)
                await self._pause(id_)
        self.send("end", id_)

    def _params(self, given: Mapping[str, Any]) -> Any:
        assert self._engine is not None
        return validate(self._engine.params_type, given)

    async def _pause(self, id_: int) -> None:
        """Wait while the reader is behind, or the pipe is full."""
        await self._answers.drain()
        await self._going.setdefault(id_, _set()).wait()


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


class _Relay(logging.Handler):
    """Sends what is logged to the server, which logs it under the model's name."""

    def __init__(self, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._worker = worker
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, from any thread."""
        try:
            text = self.format(record)
            self._loop.call_soon_threadsafe(
                self._worker.send, "log", 0, record.levelno, record.name, text
            )
        except RuntimeError:  # the loop has closed
            pass


def find_engine(name: str, module: str | None) -> type[Engine]:
    """Return an engine class of a module, or of whatever plugin provides it here.

    :raises EngineUnavailable: if none does; the message says what is there.
    """
    reasons = []
    if module is not None:
        engine = _engines(importlib.import_module(module)).get(name)
        if engine is not None:
            return engine
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            engine = _engines(entry_point.load()).get(name)
        except Exception as error:
            reasons.append(f"plugin {entry_point.name!r} fails: {type(error).__name__}: {error}")
            continue
        if engine is not None:
            return engine
    raise EngineUnavailable(
        f"No plugin in this environment has an engine {name!r}"
        + (f" ({'; '.join(reasons)})." if reasons else ".")
    )


def _engines(plugin: ModuleType | object) -> dict[str, type[Engine]]:
    register: Any = vars(plugin).get("register_engines") or getattr(
        type(plugin), "register_engines", None
    )
    if register is None:
        return {}
    found = register() if isinstance(plugin, ModuleType) else register(plugin)
    return {engine.name: engine for engine in found}


def describe(name: str, module: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a model is that only this environment knows."""
    engine = find_engine(name, module)
    typed: Settings = validate(engine.settings_type, settings)
    info = engine.describe(typed)
    return {
        "version": __version__,
        "protocol": PROTOCOL,
        "problems": list(engine(info, typed).problems()),
        "info": pack_info(info),
        "params": engine.params_type.model_json_schema(),
        "settings": engine.settings_type.model_json_schema(),
        "doc": engine.__doc__,
        "concurrency": concurrency(engine, info),
        "weights": [asdict(each) for each in engine.weights(typed)],
    }


async def _serve(questions: int, answers: int) -> None:
    loop = asyncio.get_running_loop()
    incoming = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(incoming), os.fdopen(questions, "rb", 0)
    )
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(answers, "wb", 0)
    )
    worker = Worker(asyncio.StreamWriter(transport, protocol, None, loop))
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[_Relay(worker, loop)], force=True
    )
    worker.send("hello", 0, PROTOCOL, __version__, platform.python_version())
    messages = reader()
    while data := await incoming.read(1 << 18):
        messages.feed(data)
        for message in messages:
            worker.take(message)
    # The server has closed its end, or is gone; what an engine still does serves nobody.
    os._exit(0)


def _describe() -> None:
    """Answer the question on the standard input, in JSON, as the last line of the output."""
    question = json.load(sys.stdin)
    said: dict[str, Any]
    try:
        said = describe(question["engine"], None, question["settings"])
    except Exception as error:
        said = {"error": str(error)}
    print(json.dumps(said))


def main() -> None:
    """Serve the parent process until it closes the pipe, or dies."""
    if sys.argv[1] == "describe":
        _describe()
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        # An engine may hold the interpreter for a minute, in which nobody sees the pipe close.
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)
    questions, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what an engine starts may read its input
    os.dup2(2, 1)  # libraries print, and answers are no place for it
    asyncio.run(_serve(questions, answers))


if __name__ == "__main__":
    main()
