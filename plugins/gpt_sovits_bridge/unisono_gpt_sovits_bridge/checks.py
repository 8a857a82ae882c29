"""What `unisono doctor` asks of a model: its servers and its directory."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx2

from .generations import GENERATIONS, recognised, start_command
from .link import connection
from .options import GptSovitsSettings
from .servers import Server

_PATIENCE = 5.0
"""Seconds; a server that speaks a whole text at once answers nobody until it is done."""


def problems(settings: GptSovitsSettings) -> Iterator[str]:
    """Say what would keep a model from working. Blocks."""
    directory = settings.refs_local_dir
    if directory is not None:
        directory = directory.expanduser()
        if not directory.is_dir():
            yield f"refs_local_dir: there is no directory {str(directory)!r}; make it."
        elif not os.access(directory, os.W_OK | os.X_OK):
            yield f"refs_local_dir: {str(directory)!r} cannot be written to."
    arguments = connection(settings)
    arguments["timeout"] = httpx2.Timeout(_PATIENCE, connect=settings.connect_seconds)
    found: dict[str, str] = {}
    with httpx2.Client(**arguments) as client:
        for url in settings.urls:
            answer = _ask(client, url, settings)
            if answer in GENERATIONS:
                found[url] = answer
            else:
                yield answer
    for url, name in found.items():
        if settings.api not in ("auto", name):
            yield (
                f"{GENERATIONS[name].script} serves at {url}: api should be {name!r}, not "
                f"{settings.api!r}."
            )
    if len(set(found.values())) > 1:
        yield f"Servers of one model should be of one kind, not {found}."


def _ask(client: httpx2.Client, url: str, settings: GptSovitsSettings) -> str:
    """Return the generation's name, or the problem."""
    place = Server(url).place
    try:
        response = client.get(f"{url}/openapi.json")
        known = recognised(response.json()) if response.status_code == 200 else None
        if known is not None:
            return known[0].name
        status = client.get(f"{url}/control").status_code
    except (httpx2.ConnectError, httpx2.ConnectTimeout):
        return f"Nobody answers at {url}. Start it: {start_command(place, GENERATIONS.values())}"
    except httpx2.TimeoutException:
        return f"{url} takes connections and does not answer: it is busy, or it hangs."
    except (httpx2.HTTPError, ValueError) as error:
        return f"{url} does not answer as it should: {type(error).__name__}."
    if status in (200, 400):
        return "v1" if status == 200 else "v2"
    return f"What serves at {url} is no GPT-SoVITS."
