"""`unisono voices`: those that models have, and those of the voice store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click

from ..config import Config
from ..errors import RequestError
from ..sections import Voices
from ..store import StoredVoice, VoiceStore
from ..types import Task
from .archive import read_archive, write_archive
from .listing import json_option, print_json, read_catalog, show
from .options import config_options, overrides
from .output import new_file
from .terminal import is_terminal, warn

P = ParamSpec("P")
_NONE = "There are no stored voices; add one: unisono voices add NAME FILE"


class _Group(click.Group):
    """Commands, and what happens without one: `unisono voices [MODEL]`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let everything that begins with none of the commands go to `of`."""
        if not args or not (args[0] in self.commands or args[0] in ctx.help_option_names):
            args = ["of", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Group, subcommand_metavar="[MODEL] | COMMAND [ARGS]...")
def voices() -> None:
    """List the voices that MODEL, or the default model, has of its own; or store voices.

    A stored voice is a name for a recording, which every model that clones voices can speak
    with, or for a description, for models that design voices.
    """


def _with_store(
    function: Callable[Concatenate[VoiceStore, Voices, P], None],
) -> Callable[..., None]:
    """Make a command of a function that works on the configured store."""

    @config_options
    @wraps(function)
    def command(
        config_file: str | None, assignments: tuple[str, ...], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        with _store(config_file, assignments) as (store, settings):
            function(store, settings, *args, **kwargs)

    return command


@contextmanager
def _store(
    config_file: str | None, assignments: tuple[str, ...]
) -> Iterator[tuple[VoiceStore, Voices]]:
    settings = Config.load(config_file, overrides(assignments)).voices
    store = VoiceStore.configured(settings)
    try:
        yield store, settings
    finally:
        store.close()


@voices.command("of", hidden=True)
@click.argument("model", required=False)
@json_option
@config_options
def own_voices(
    model: str | None, as_json: bool, config_file: str | None, assignments: tuple[str, ...]
) -> None:
    """List the voices that MODEL, or the default model, has of its own."""
    entry = read_catalog(config_file, assignments).resolve(model, Task.SPEECH)
    rows = [
        {
            "voice": voice.name,
            "languages": list(voice.languages),
            "gender": voice.gender,
            "description": voice.description,
        }
        for voice in entry.info.voices
    ]
    show(rows, as_json, f"Model {entry.id!r} has no voices of its own.")


@voices.command("list")
@click.argument("model", required=False)
@json_option
@config_options
def list_voices(
    model: str | None, as_json: bool, config_file: str | None, assignments: tuple[str, ...]
) -> None:
    """List the stored voices, after those of MODEL or of the default model."""
    catalog = read_catalog(config_file, assignments)
    entry = catalog.resolve(model, Task.SPEECH) if model else catalog.default(Task.SPEECH)
    rows = []
    if entry is not None:
        for voice in entry.info.voices:
            languages = list(voice.languages)
            rows.append(_row(voice.name, entry.id, languages, None, voice.description))
    with _store(config_file, assignments) as (store, _):
        for stored in store.list():
            languages = [stored.language] if stored.language else []
            rows.append(_row(stored.name, "stored", languages, stored.duration, stored.description))
    show(rows, as_json, _NONE)


@voices.command()
@click.argument("name")
@click.argument("file", required=False, type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--text", help="What is said in the recording; many models need or use it.")
@click.option("--language", help="Language of the recording, as a BCP 47 tag.")
@click.option("--description", help="What the voice sounds like; enough for some models.")
@click.option("--consent", help="Whatever shows that the speaker agrees.")
@click.option("--replace", is_flag=True, help="Replace the voice of that name.")
@_with_store
def add(store: VoiceStore, settings: Voices, /, name: str, file: str | None, **fields: Any) -> None:
    """Store the recording FILE as voice NAME; `-` is the standard input.

    Without FILE the voice is only a description.
    """
    if file is None and not fields["description"]:
        raise click.UsageError("Name a recording, or describe the voice with --description.")
    recording = None if file is None else _read(file, settings.max_bytes)
    voice = store.add(name, recording, **fields)
    length = f", {voice.duration:.2f} seconds" if voice.duration else ""
    click.echo(f"Stored {voice.name} ({voice.id}{length}).")


@voices.command("show")
@click.argument("name")
@json_option
@_with_store
def show_voice(store: VoiceStore, _: Voices, /, name: str, as_json: bool) -> None:
    """Show all about the stored voice NAME."""
    voice = asdict(_find(store, name))
    if as_json:
        print_json(voice)
        return
    made = datetime.fromtimestamp(voice["created_at"], timezone.utc)
    voice["created_at"] = made.isoformat(sep=" ")
    for key, value in voice.items():
        if value is not None:
            click.echo(f"{key + ':':14}{' '.join(str(value).split())}")


@voices.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_with_store
def remove(store: VoiceStore, _: Voices, /, names: tuple[str, ...]) -> None:
    """Delete stored voices."""
    unknown = []
    for name in dict.fromkeys(names):
        voice = store.remove(name)
        if voice is None:
            unknown.append(name)
        else:
            click.echo(f"Deleted {voice.name}.")
    if unknown:
        raise click.ClickException(_unknown(*unknown))


@voices.command("export")
@click.argument("file", type=click.Path(dir_okay=False))
@click.argument("names", metavar="[NAME]...", nargs=-1)
@_with_store
def export_voices(store: VoiceStore, _: Voices, /, file: str, names: tuple[str, ...]) -> None:
    """Write stored voices, all or those named, to the zip FILE."""
    chosen = {voice.id: voice for voice in (_find(store, name) for name in names)}
    exported = list(chosen.values()) if names else store.list()
    if not exported:
        raise click.ClickException(_NONE)
    with new_file(Path(file)) as stream:
        write_archive(stream, store, exported)
    click.echo(f"Wrote {_count(len(exported))} to {file}.")


@voices.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Replace voices of the same names.")
@_with_store
def import_voices(store: VoiceStore, settings: Voices, /, file: str, replace: bool) -> None:
    """Store the voices of the zip FILE that `unisono voices export` wrote."""
    refused = total = 0
    for outcome in read_archive(Path(file), store, max_bytes=settings.max_bytes, replace=replace):
        total += 1
        if outcome.state == "refused":
            refused += 1
            warn(f"Refused {outcome.name!r}: {outcome.reason}")
        else:
            click.echo(f"{outcome.state.capitalize()} {outcome.name}.")
    if refused:
        raise click.ClickException(f"{refused} of {_count(total)} could not be imported.")


def _row(
    voice: str, origin: str, languages: list[str], seconds: float | None, description: str | None
) -> dict[str, Any]:
    return {
        "voice": voice,
        "from": origin,
        "languages": languages,
        "seconds": None if seconds is None else round(seconds, 2),
        "description": " ".join((description or "").split()) or None,
    }


def _read(file: str, most: int) -> bytes:
    """Return a file, or a little more of it than is accepted."""
    if file == "-" and is_terminal(sys.stdin):
        raise click.UsageError("Pipe a recording in, or name a file.")
    with click.open_file(file, "rb") as stream:
        content: bytes = stream.read(most + 1)
    return content


def _find(store: VoiceStore, name: str) -> StoredVoice:
    voice = store.get(name)
    if voice is None:
        raise RequestError(_unknown(name))
    return voice


def _unknown(*names: str) -> str:
    return f"There is no stored voice {', '.join(map(repr, names))}; see `unisono voices list`."


def _count(number: int) -> str:
    return f"{number} voice{'s' if number != 1 else ''}"
