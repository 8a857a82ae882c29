"""A recognizer in another process: decoding holds the GIL, which would stop the whole server.

The only module that knows of processes; a mechanism of the kernel's own can take its place.
"""

from __future__ import annotations

import math
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO, Any

from unisono import CancelToken, EngineUnavailable, RequestError

_POLL = 0.05
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from {} import main; main()"
_ENVIRONMENT = {"JSGF_PATH": os.devnull}
"""Where the library looks for the files that a grammar imports: nowhere."""


class _Cancelled(Exception):
    pass


class WorkerProcess:
    """Runs methods of a `Recognizer`. One call at a time, from any thread.

    The process is started when it is needed. It ends with `close`, with this process, and with a
    call that is not run to its end.

    :param options: for `Recognizer.load`.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def load(self) -> None:
        """Start the process and wait until the model is in its memory.

        :raises EngineUnavailable: if that fails; the process has then logged why.
        """
        for _ in self._guarded(self._ready(CancelToken())):
            pass

    def call(
        self, method: str, *arguments: object, cancel: CancelToken, seconds: float = math.inf
    ) -> Iterator[Any]:
        """Call a method and yield what it yields. Ends early, within 0.1 s, once `cancel` is set.

        :param seconds: how long the call may take once the model is loaded.
        :raises RequestError: if the method does.
        :raises TimeoutError: after so many seconds.
        :raises EngineUnavailable: if the process dies; the next call starts another.
        :raises RuntimeError: if the method fails in any other way.
        """
        return self._guarded(self._called((method, arguments), cancel, seconds))

    def close(self) -> None:
        """End the process and wait for its end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            with suppress(OSError):  # what it did not read any more
                _pipe(process.stdin).close()

    def _called(self, call: object, cancel: CancelToken, seconds: float) -> Iterator[Any]:
        if not cancel.cancelled:
            yield from self._ready(cancel)
            yield from self._ask(call, cancel, seconds)

    def _guarded(self, answers: Iterator[Any]) -> Iterator[Any]:
        """End the process unless the call ends properly: it cannot be interrupted."""
        try:
            yield from answers
        except RequestError:
            raise
        except _Cancelled:
            self.close()
        except BaseException:
            self.close()
            raise

    def _ready(self, cancel: CancelToken) -> Iterator[Any]:
        """Start the process if there is none. Yields nothing."""
        if self._process is None:
            self._start()
            try:
                yield from self._ask(("load", (self._options,)), cancel)
            except (RuntimeError, EngineUnavailable) as error:
                raise EngineUnavailable(
                    "PocketSphinx cannot load its model; see the log of the server."
                ) from error

    def _start(self) -> None:
        program = _PROGRAM.format(f"{__package__}.worker")
        try:
            # Not `multiprocessing`: it would import the parent's __main__ once more.
            self._process = process = subprocess.Popen(
                [sys.executable, "-c", program, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,  # Ctrl-C is for the parent, which ends this one
            )
        except OSError as error:
            raise EngineUnavailable("The process for PocketSphinx cannot be started.") from error
        self._answers = queue.SimpleQueue()
        arguments = (_pipe(process.stdout), self._answers)
        threading.Thread(
            target=_read, args=arguments, name="pocketsphinx-answers", daemon=True
        ).start()

    def _ask(self, call: object, cancel: CancelToken, seconds: float = math.inf) -> Iterator[Any]:
        assert self._process is not None
        calls, deadline = _pipe(self._process.stdin), time.monotonic() + seconds
        with suppress(OSError):  # that it is dead shows below
            pickle.dump(call, calls)
            calls.flush()
        while True:
            if cancel.cancelled:
                raise _Cancelled
            if time.monotonic() > deadline:
                raise TimeoutError
            try:
                kind, value = self._answers.get(timeout=_POLL)
            except queue.Empty:
                continue
            if kind == "raise":
                raise value
            if kind == "return":
                return
            if kind == "end":
                raise EngineUnavailable(
                    "The process of the recognizer died. Send the request again."
                )
            yield value


def _read(stream: IO[bytes], answers: queue.SimpleQueue[tuple[str, Any]]) -> None:
    """Hand on what the process answers, until its end. Waiting here needs no polling anywhere."""
    with stream, suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            answers.put(pickle.load(stream))
    answers.put(("end", None))


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
