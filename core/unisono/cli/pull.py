"""`unisono pull`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ..catalog import Catalog
from ..config import Config
from ..downloads import Progress, pull_weights
from ..errors import ModelNotFound
from ..plugins import PluginManager
from ..types import Weights
from ..weights import readable, select
from .options import config_options, overrides
from .terminal import is_terminal


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@config_options
def pull(models: tuple[str, ...], config_file: str | None, assignments: tuple[str, ...]) -> None:
    """Download the weights of each MODEL, and check those that are here.

    MODEL is the id of a model, or owner/name or owner/name@revision on the hub. What was
    interrupted goes on where it was.
    """
    config = Config.load(config_file, overrides(assignments))
    plugins = PluginManager.discover(
        disabled=config.plugins.disabled, required=config.plugins.required
    )
    catalog = Catalog(config, plugins)
    needed: list[Weights] = []
    for model in models:
        found = _find(model, catalog)
        if not found:
            click.echo(f"Model {model!r} needs no download.")
        needed += [weights for weights in found if weights not in needed]
    try:
        for weights in needed:
            with _progress(weights.repo) as progress:
                path = pull_weights(weights, progress)
            click.echo(f"{weights.repo}  {readable(_size(path, weights))}  {path}")
    except KeyboardInterrupt:
        click.echo("Interrupted; the same command goes on from here.", err=True)
        raise


def _size(folder: Path, weights: Weights) -> int:
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return sum(files[name].stat().st_size for name in select(files, weights.files))


def _find(name: str, catalog: Catalog) -> list[Weights]:
    """Return what a model needs, or else what is called so on the hub.

    :raises ModelNotFound: if it is neither.
    """
    try:
        entry = catalog.get(name)
    except ModelNotFound as error:
        repo, _, revision = name.partition("@")
        if repo.count("/") != 1:
            raise ModelNotFound(f"{error} On the hub, they are called owner/name.") from None
        weights = Weights(repo, revision or None)
        # A model needs perhaps not all the files, and says which.
        return _known(weights, catalog) or [weights]
    return list(entry.weights)


def _known(sought: Weights, catalog: Catalog) -> list[Weights]:
    found = [weights for entry in catalog.entries for weights in entry.weights]
    return [w for w in found if (w.repo, w.revision) == (sought.repo, sought.revision)]


@contextmanager
def _progress(label: str) -> Iterator[Progress]:
    """Show a bar on the standard error if somebody looks at it, else a line at the beginning."""
    if not is_terminal(sys.stderr):
        told = False

        def tell(done: int, total: int) -> None:
            nonlocal told
            if done < total and not told:
                click.echo(f"Downloading {label}: {readable(total - done)}", err=True)
                told = True

        yield tell
        return
    with click.progressbar(length=1, label=label, item_show_func=readable, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos, done)

        yield show
