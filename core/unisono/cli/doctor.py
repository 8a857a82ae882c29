"""`unisono doctor`: what keeps a model from working, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import click

from .. import __version__
from ..config import Config, unknown_variables
from ..entries import Entry, configured, presets
from ..errors import ConfigError, EngineUnavailable
from ..plugins import PluginManager
from ..weights import find_weights
from .listing import json_option, print_json
from .options import config_options, overrides


@dataclass(frozen=True)
class _Finding:
    """What was found about one thing."""

    what: str
    """For example "model 'narrator'"."""
    problems: tuple[str, ...]
    """None means that it is well."""


@click.command()
@json_option
@config_options
@click.pass_context
def doctor(
    ctx: click.Context, as_json: bool, config_file: str | None, assignments: tuple[str, ...]
) -> None:
    """Check every model without loading it: its plugin, its interpreter, its weights, its server.

    Models of presets count as optional; the status is 1 if anything else has a problem.
    """
    config = Config.load(config_file, overrides(assignments))
    plugins = PluginManager.discover(disabled=config.plugins.disabled)
    optional = list(_presets(config, plugins))
    findings = [*_environment(plugins), *_configured(config, plugins)]
    ill = any(finding.problems for finding in findings)
    if as_json:
        rows = [
            {
                "what": finding.what,
                "problems": list(finding.problems),
                "optional": finding in optional,
            }
            for finding in (*findings, *optional)
        ]
        print_json({"version": __version__, "findings": rows})
    else:
        _show(findings, "problem")
        _show(optional, "not ready")
        click.echo("Something needs mending." if ill else "All is well.")
    ctx.exit(int(ill))


def _show(findings: Iterable[_Finding], word: str) -> None:
    for finding in findings:
        click.echo(f"{finding.what}: {word if finding.problems else 'ok'}")
        for problem in finding.problems:
            click.echo(f"    {problem}")


def _environment(plugins: PluginManager) -> Iterator[_Finding]:
    for name in unknown_variables():
        yield _Finding(f"variable {name}", ("It is set, but means nothing to unisono.",))
    for status in plugins.statuses:
        failed = status.state.startswith("failed")
        yield _Finding(f"plugin {status.name!r}", (status.state,) if failed else ())


def _configured(config: Config, plugins: PluginManager) -> Iterator[_Finding]:
    for model_id, table in config.models.items():
        try:
            entry = configured(model_id, table, config, plugins)
        except ConfigError as error:
            yield _Finding(f"model {model_id!r}", (str(error),))
        else:
            yield _Finding(f"model {model_id!r}", tuple(_problems(entry)))


def _presets(config: Config, plugins: PluginManager) -> Iterator[_Finding]:
    for engine, plugin in plugins.engines.values():
        for entry in presets(engine, plugin, config, plugins):
            if entry.id not in config.models:
                yield _Finding(f"model {entry.id!r}", tuple(_problems(entry)))


def _problems(entry: Entry) -> Iterator[str]:
    for weights in entry.weights:
        try:
            find_weights(weights)
        except EngineUnavailable as error:
            yield str(error)
    if entry.isolation is None or entry.isolation.python is None:
        yield from _said(entry)
        return
    from ..foreign import ask  # noqa: PLC0415 - only for models of other environments
    from ..wire import PROTOCOL  # noqa: PLC0415

    try:
        variables = entry.isolation.environment(0)
        said = ask(entry.info.engine, str(entry.isolation.python), entry.values, variables)
    except EngineUnavailable as error:
        yield str(error)
        return
    if said["protocol"] != PROTOCOL:
        yield (
            f"Its environment has unisono {said['version']}, which does not understand this one. "
            f"Run: {entry.isolation.python} -m pip install unisono=={__version__}"
        )
    yield from said["problems"]


def _said(entry: Entry) -> Iterator[str]:
    try:
        yield from entry.engine(entry.info, entry.settings).problems()
    except Exception as error:  # foreign code
        yield f"Its engine cannot say: {type(error).__name__}: {error}"
