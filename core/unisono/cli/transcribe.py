"""`unisono transcribe`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, get_args

import click

from ..errors import SpeechError
from ..fields import TranscriptFormat, TranscriptionFields
from ..kernel import Kernel
from ..transcription import TranscriptionCall
from ..transcripts import render_transcript
from ..types import Task
from .engine import EngineCommand, real_stdout, run
from .options import config_options, given
from .output import Writer, new_file
from .terminal import explain, is_terminal, warn

_SUFFIXES = {".txt": "text", ".srt": "srt", ".vtt": "vtt", ".json": "verbose_json"}
_SKIP = ("model", "response_format", "stream")


@click.command(
    cls=EngineCommand,
    task=Task.TRANSCRIPTION,
    fields=TranscriptionFields,
    skip=_SKIP,
    epilog="Other models have other options: see `unisono transcribe --help --model MODEL`.",
)
@click.argument("files", nargs=-1, type=click.Path(allow_dash=True))
@click.option("-m", "--model", help="Model that listens; without it the configured default.")
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    help="File to write, whose suffix chooses the format; or, for several FILES, the directory.",
)
@click.option(
    "-f",
    "--format",
    "--response-format",
    "format_",
    type=click.Choice(get_args(TranscriptFormat)),
    help="Format; without it the output's suffix, or text.",
)
@click.option("--translate", is_flag=True, help="Write the transcript in English.")
@config_options
@click.pass_obj
def transcribe(
    kernel: Kernel,
    /,
    files: tuple[str, ...],
    model: str | None,
    output: str | None,
    format_: str | None,
    translate: bool,
    **flags: Any,
) -> None:
    """Write down what is said in FILES, or in the audio on the standard input.

    A file that cannot be transcribed does not keep the others from it; the exit status tells.
    """
    form = format_ or _SUFFIXES.get(Path(output or "").suffix.lower(), "text")
    raw = {"model": model, "response_format": form, **given(flags)}
    call = kernel.prepare_transcription(raw, translate=translate)
    if call.ignored:
        warn(f"Without effect for this model: {', '.join(call.ignored)}")
    jobs = _targets(files or ("-",), output, form)
    if "-" in jobs and (sys.stdin is None or is_terminal(sys.stdin)):
        raise click.UsageError(
            "There is nothing to transcribe: give FILES, as in `unisono transcribe talk.mp3`, or "
            "pipe one in."
        )
    failed: list[str] = []
    run(kernel, _transcribe(kernel, call, jobs, failed))
    if failed:
        raise SystemExit(1)


async def _transcribe(
    kernel: Kernel, call: TranscriptionCall, jobs: dict[str, Path | None], failed: list[str]
) -> None:
    with real_stdout() as stdout:
        for name, target in jobs.items():
            try:
                if target is None:
                    await _one(kernel, call, name, stdout)
                else:
                    with new_file(target) as stream:
                        await _one(kernel, call, name, stream)
            except BrokenPipeError:
                raise
            except (SpeechError, OSError) as error:
                failed.append(name)
                place = "the standard input" if name == "-" else repr(name)
                where = "" if isinstance(error, OSError) else f"{place}: "
                click.echo(f"Error: {where}{explain(error)}", err=True)


async def _one(kernel: Kernel, call: TranscriptionCall, name: str, target: Writer) -> None:
    segments = []
    with _opened(name) as source, _progress(Path(name).name) as show:
        stream = await kernel.open_transcription(call, source)
        async with aclosing(stream):
            async for segment in stream:
                segments.append(segment)
                show(segment.end / stream.duration)
    rendered = render_transcript(stream.transcript(segments), call.fields)
    target.write((rendered.rstrip("\n") + "\n").encode())
    target.flush()


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """Open a recording; what cannot seek is read to its end first."""
    with sys.stdin.buffer if name == "-" else Path(name).open("rb") as stream:
        yield stream if stream.seekable() else io.BytesIO(stream.read())


@contextmanager
def _progress(label: str) -> Iterator[Any]:
    """Show a bar on the standard error if somebody looks at it."""
    if not is_terminal(sys.stderr):
        yield lambda done: None
        return
    with click.progressbar(length=1000, label=label, file=sys.stderr) as bar:
        yield lambda done: bar.update(round(1000 * done) - bar.pos)
        bar.update(1000 - bar.pos)


def _targets(files: tuple[str, ...], output: str | None, form: str) -> dict[str, Path | None]:
    """Say where each transcript goes; None is the standard output.

    :raises click.UsageError: if two would go to the same place.
    """
    if output is None:
        return dict.fromkeys(files)
    folder = Path(output)
    if len(files) == 1 and not folder.is_dir() and not output.endswith(("/", os.sep)):
        return {files[0]: folder}
    if not folder.is_dir() and (folder.suffix.lower() in _SUFFIXES or folder.exists()):
        raise click.UsageError(f"{output!r}: several FILES need a directory to write to.")
    suffix = next((s for s, known in _SUFFIXES.items() if known == form), ".json")
    targets: dict[str, Path | None] = {}
    for name in files:
        target = folder / (("stdin" if name == "-" else Path(name).stem) + suffix)
        if target in targets.values() and name not in targets:
            raise click.UsageError(f"{name!r}: another transcript is called {target.name!r} too.")
        targets[name] = target
    folder.mkdir(parents=True, exist_ok=True)
    return targets
