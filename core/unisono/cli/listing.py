"""`unisono models`, `plugins` and `config`: what is there, and why."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from typing import Any

import click

from ..catalog import Catalog
from ..config import Config, unknown_variables
from ..plugins import PluginManager
from ..types import Task
from .options import config_options, overrides
from .terminal import warn

_NOTHING = "No engine is installed; try: pip install unisono-espeak"
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@json_option
@config_options
def models(as_json: bool, config_file: str | None, assignments: tuple[str, ...]) -> None:
    """List the models that are served."""
    catalog = read_catalog(config_file, assignments)
    rows = [
        {
            "model": entry.id,
            "task": entry.info.task.value,
            "engine": entry.info.engine,
            "languages": list(entry.info.languages),
            "voices": len(entry.info.voices),
            "features": sorted(feature.value for feature in entry.info.features),
        }
        for entry in catalog.entries
    ]
    aliases = {name: entry.id for name, entry in catalog.aliases.items()}
    defaults = {task.value: entry.id for task in Task if (entry := catalog.default(task))}
    if as_json:
        print_json({"models": rows, "defaults": defaults, "aliases": aliases})
        return
    _table(rows, _NOTHING)
    for task, target in defaults.items():
        click.echo(f"\nDefault for {task}: {target}")
    for target in dict.fromkeys(aliases.values()):
        names = ", ".join(name for name, to in aliases.items() if to == target)
        click.echo(f"\n{target} also answers to: {names}")


@click.command()
@json_option
@config_options
def plugins(as_json: bool, config_file: str | None, assignments: tuple[str, ...]) -> None:
    """List the installed plugins, and why one of them does not work."""
    config = Config.load(config_file, overrides(assignments))
    logging.getLogger(PluginManager.__module__).setLevel(logging.ERROR)  # the table tells it
    found = PluginManager.discover(disabled=config.plugins.disabled)
    rows = [
        {
            "plugin": status.name,
            "distribution": status.distribution,
            "version": status.version,
            "engines": list(status.engines),
            "state": " ".join(status.state.split()),
        }
        for status in found.statuses
    ]
    show(rows, as_json, "No plugin is installed; try: pip install unisono-espeak")


@click.command()
@json_option
@config_options
def config(as_json: bool, config_file: str | None, assignments: tuple[str, ...]) -> None:
    """Show the effective configuration, and where each value comes from."""
    loaded = Config.load(config_file, overrides(assignments))
    for name in unknown_variables():
        warn(f"{name} is set, but means nothing to unisono.")
    rows = [
        {"key": key, "value": "forever" if value == math.inf else value, "from": origin}
        for key, value, origin in loaded.rows()
    ]
    if as_json:
        print_json(rows)
        return
    click.echo(f"File: {loaded.file or 'none'}\n")
    _table([{**row, "value": json.dumps(row["value"], ensure_ascii=False)} for row in rows], "")


def read_catalog(config_file: str | None, assignments: Iterable[str]) -> Catalog:
    """Return the models without what it takes to run them."""
    config = Config.load(config_file, overrides(assignments))
    found = PluginManager.discover(
        disabled=config.plugins.disabled, required=config.plugins.required
    )
    return Catalog(config, found)


def show(rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    """Print rows of the same keys as a table or as JSON.

    :param nothing: what to say when there are none.
    """
    if as_json:
        print_json(rows)
    else:
        _table(rows, nothing)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _table(rows: list[dict[str, Any]], nothing: str) -> None:
    if not rows:
        click.echo(nothing)
        return
    cells = [[name.upper() for name in rows[0]]]
    cells += [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _cell(value: object, most: int = 4) -> str:
    if isinstance(value, list):
        more = f" +{len(value) - most}" if len(value) > most else ""
        return ", ".join(map(str, value[:most])) + more
    return "" if value is None else str(value)
