"""The program of the worker process: runs the methods of a `Recognizer` for its parent.

Pickles on standard input: one (method, arguments) at a time. Pickles on standard output, for each
call: ("yield", item) …, and then ("return", None) or ("raise", error).
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from unisono import RequestError

from .recognizer import Recognizer


def main() -> None:
    """Serve until the parent closes its end of the pipe, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the library's grammar scanner prints what it cannot read
    recognizer = Recognizer()
    with suppress(EOFError, BrokenPipeError):
        while True:
            method, arguments = pickle.load(calls)
            _answer(getattr(recognizer, method)(*arguments), calls, answers)


def _answer(items: Iterator[object], calls: BinaryIO, answers: BinaryIO) -> None:
    try:
        with _ending_with(calls):
            for item in items:
                _send(answers, "yield", item)
    except BrokenPipeError:
        raise
    except RequestError as error:
        _send(answers, "raise", error)
    except Exception as error:
        traceback.print_exc()
        _send(answers, "raise", RuntimeError(f"{type(error).__name__}: {error}"))
    else:
        _send(answers, "return", None)


def _send(answers: BinaryIO, kind: str, value: object) -> None:
    pickle.dump((kind, value), answers)
    answers.flush()


@contextmanager
def _ending_with(pipe: BinaryIO) -> Iterator[None]:
    """End this process as soon as the pipe closes; meanwhile nobody may write to it.

    No thread could watch the pipe: decoding holds the GIL. So the kernel sends SIGIO, whose
    default action on Linux is to terminate (fcntl(2), signal(7)). Elsewhere an orphan
    finishes its utterance first.
    """
    if sys.platform != "linux":
        yield
        return
    import fcntl  # noqa: PLC0415 - Windows has none

    flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        yield
    finally:
        fcntl.fcntl(pipe, fcntl.F_SETFL, flags)
