"""What a program owes its terminal: short messages, UTF-8 in pipes, a quiet end."""

from __future__ import annotations

import io
import logging
import sys
from typing import TextIO

import click

BROKEN_PIPE = 141
"""Exit status when the reader has gone: what a shell shows for a program that SIGPIPE ends."""
LONG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def prepare(*, debug: bool) -> None:
    """Set up the streams and the log.

    :param debug: log everything, with tracebacks; else only warnings, as one line each.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and not is_terminal(sys.stdout):
        # A file or a pipe outlives the locale of this terminal, which on Windows is not UTF-8.
        sys.stdout.reconfigure(encoding="utf-8")
    handler = logging.StreamHandler()
    if debug:
        handler.setFormatter(logging.Formatter(LONG_FORMAT))
    else:
        handler.setFormatter(_OneLine())
        handler.addFilter(lambda record: record.name not in _RETOLD)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("unisono").setLevel(logging.DEBUG if debug else logging.NOTSET)


def warn(message: str) -> None:
    """Print a warning in one line."""
    click.echo(f"Warning: {' '.join(message.split())}", err=True)


def is_terminal(stream: TextIO | None) -> bool:
    """Say whether a person is at the other end. A closed stream is None."""
    return stream is not None and stream.isatty()


def explain(error: Exception) -> str:
    """Return what to tell the user about an error that ends the command."""
    if isinstance(error, OSError):
        place = f"{str(error.filename)!r}: " if error.filename is not None else ""
        return f"{place}{error.strerror or error}."
    text = str(error)
    cause = error.__cause__
    if getattr(error, "status", 0) >= 500 and cause is not None:
        text += f" ({type(cause).__name__}: {cause}) Try `unisono --debug`."
    return text


# What they log about a failed request, a command reports as its own error.
_RETOLD = ("unisono.pool", "unisono.runner", "unisono.voice_index")


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.levelname.capitalize()}: {record.getMessage()}"
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            text += f" ({type(error).__name__}: {error})"
        return " ".join(text.split())
