"""`unisono say`."""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager, aclosing
from io import BufferedRandom
from pathlib import Path
from typing import Any, get_args

import click

from ..fields import SpeechFields, SpeechFormat
from ..kernel import Kernel
from ..speech import SpeechCall
from ..types import Task
from . import output as outputs
from .engine import EngineCommand, real_stdout, run
from .options import config_options, given
from .terminal import is_terminal, warn

_SKIP = ("model", "input", "voice", "stream_format", "word_timestamps", "response_format")
_FORMATS: tuple[str, ...] = get_args(SpeechFormat)
_SUFFIXES = {"ogg": "opus", "oga": "opus", "wave": "wav", "raw": "pcm"}


@click.command(
    cls=EngineCommand,
    task=Task.SPEECH,
    fields=SpeechFields,
    skip=_SKIP,
    epilog="Other models have other options: see `unisono say --help --model MODEL`.",
)
@click.argument("text", required=False)
@click.option("-m", "--model", help="Model that speaks; without it the configured default.")
@click.option("-v", "--voice", help="Voice of the model; see `unisono voices`.")
@click.option(
    "-o",
    "--output",
    type=click.Path(allow_dash=True),
    help="File to write; its suffix chooses the format. `-` is the standard output.",
)
@click.option(
    "-f",
    "--format",
    "--response-format",
    "format_",
    type=click.Choice(_FORMATS),
    help="Format; without it the file's suffix, or wav.",
)
@config_options
@click.pass_obj
def say(
    kernel: Kernel,
    /,
    text: str | None,
    model: str | None,
    voice: str | None,
    output: str | None,
    format_: str | None,
    **flags: Any,
) -> None:
    """Speak TEXT, or what comes on the standard input.

    The speech goes to a file, to a pipe if there is one, or else to an audio player.
    """
    plays = output is None and is_terminal(sys.stdout)
    if output == "-" and is_terminal(sys.stdout):
        raise click.UsageError("Audio would confuse the terminal: pipe it, or name a file with -o.")
    if plays and format_ not in (None, "wav"):
        raise click.UsageError(f"--format {format_} is for a file or a pipe: name one with -o.")
    raw = {
        "input": _read_stdin() if text in (None, "-") else text,
        "model": model,
        "voice": voice,
        "response_format": format_ or _format_of(output),
        **given(flags),
    }
    if "ref_audio" in raw:
        raw["ref_audio"] = _recording(raw["ref_audio"])
    call = kernel.prepare_speech(raw)
    if call.ignored:
        warn(f"Without effect for this model: {', '.join(call.ignored)}")
    target: AbstractContextManager[outputs.Writer]
    if plays:
        target = outputs.player()
    elif output in (None, "-"):
        target = real_stdout()
    else:
        target = outputs.new_file(Path(str(output)))
    run(kernel, _speak(kernel, call, target))


async def _speak(
    kernel: Kernel, call: SpeechCall, target: AbstractContextManager[outputs.Writer]
) -> None:
    frames = 0
    with target as writer:
        stream = await kernel.open_speech(call)
        if stream.heard is not None:
            warn(f"The recording was understood as: {stream.heard}")
        rendered = kernel.render(stream)
        async with aclosing(rendered):
            async for part in rendered:
                writer.write(part.data)
                writer.flush()
                frames = part.frames
        if frames and isinstance(writer, BufferedRandom):  # a file: its beginning can be mended
            outputs.state_length(writer, call.fields.response_format, frames)


def _recording(value: str) -> bytes | str:
    """Read the file that --ref-audio names; a URL is left to the kernel."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", value) and not Path(value).exists():
        return value
    try:
        return Path(value).read_bytes()
    except OSError as error:
        raise click.UsageError(f"--ref-audio: {value!r}: {error.strerror}.") from error


def _read_stdin() -> str:
    if sys.stdin is None or is_terminal(sys.stdin):
        raise click.UsageError(
            'There is nothing to speak: give a TEXT, as in `unisono say "Hello"`, or pipe one in.'
        )
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"The standard input is not UTF-8: {error}.") from error


def _format_of(output: str | None) -> str:
    if output in (None, "-"):
        return "wav"
    suffix = Path(str(output)).suffix.lower().lstrip(".")
    form = _SUFFIXES.get(suffix, suffix)
    if form not in _FORMATS:
        raise click.UsageError(
            f"{output!r}: the suffix names no format; choose one with --format "
            f"({', '.join(_FORMATS)})."
        )
    return form
