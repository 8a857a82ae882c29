"""`unisono serve`."""

from __future__ import annotations

import gc
import logging
import socket
from typing import Any

import click

from .. import __version__
from ..catalog import Catalog
from ..config import unknown_variables
from ..sections import Server
from ..types import Task
from .options import config_options, field_options, given, overrides
from .terminal import LONG_FORMAT

logger = logging.getLogger("unisono")


@click.command()
@config_options
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much to log.",
)
def serve(
    config_file: str | None, assignments: tuple[str, ...], log_level: str, **fields: Any
) -> None:
    """Serve the OpenAI-compatible API for everything installed."""
    import uvicorn  # noqa: PLC0415

    from ..api import create_app  # noqa: PLC0415
    from ..kernel import Kernel  # noqa: PLC0415

    logging.basicConfig(level=log_level.upper(), format=LONG_FORMAT, force=True)
    # What uvicorn tells at "info", the lines below tell better.
    if log_level == "info":
        for noisy in ("uvicorn.error", "httpx2"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
    for name in unknown_variables():
        logger.warning("%s is set, but means nothing to unisono.", name)
    kernel = Kernel.from_config(
        config_file, overrides=overrides(assignments, {"server": given(fields)})
    )
    settings = kernel.config.server
    app = create_app(kernel)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http="httptools",
            access_log=settings.access_log,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=10,
        )
    )
    with _listen(settings.host, settings.port) as listener:
        click.echo(_greeting(kernel.catalog, listener.getsockname()), err=True)
        if not settings.api_keys and settings.host not in ("127.0.0.1", "::1", "localhost"):
            logger.warning("Whoever reaches this address may use it; server.api_keys is empty.")
        collect_rarely()
        server.run([listener])
    if not server.started:
        raise SystemExit(1)  # the log says why


serve.params += field_options(Server)


def collect_rarely() -> None:
    """Look for reference cycles rarely, and not among what stays anyway: requests leave hardly
    any, and looking took a quarter of a short request's time.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise click.ClickException(
            f"Cannot listen on port {port} of {host}: {error.strerror}. Choose another with --port."
        ) from error


def _greeting(catalog: Catalog, address: tuple[Any, ...]) -> str:
    lines = [f"unisono {__version__}"]
    for task in Task:
        ids = [entry.id for entry in catalog.entries if entry.info.task is task]
        default = catalog.default(task)
        ids.sort(key=lambda id_: default is None or id_ != default.id)
        lines.append(f"  {task.value}: {', '.join(ids) or 'none; install an engine plugin'}")
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    lines.append(f"Listening on http://{host}:{address[1]} (documentation at /docs)")
    return "\n".join(lines)
