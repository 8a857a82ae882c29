"""One model that can be served: its engine, description and settings, and where it runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from .config import Config
from .engine import METHODS, Engine, Settings, concurrency
from .errors import ConfigError, EngineUnavailable
from .languages import primary_subtag
from .plugins import PluginManager
from .sections import ModelConfig
from .types import ModelInfo, Params, Task, Weights
from .voice import Voice

logger = logging.getLogger(__name__)
_PROCESSES = os.name == "posix"
"""Whether worker processes can be talked to: asyncio reads no standard input on Windows."""


@dataclass(frozen=True)
class Isolation:
    """How a model runs in processes of its own."""

    python: Path | None
    """Their interpreter; None means this one."""
    replicas: int
    env: Mapping[str, str | list[str]]

    def environment(self, replica: int) -> dict[str, str]:
        """Return the variables that one of the processes gets besides the server's own."""
        return {
            name: value if isinstance(value, str) else value[replica]
            for name, value in self.env.items()
        }


@dataclass(frozen=True)
class Entry:
    """One model that can be loaded."""

    info: ModelInfo
    engine: type[Engine]
    plugin: str
    settings: Settings
    keep_alive: float
    """Seconds that the model stays loaded when idle."""
    values: Mapping[str, Any]
    """The settings as they were written, for a process that validates them itself."""
    isolation: Isolation | None = None
    """None: it runs on a thread of this process."""
    module: str | None = None
    """Module of the plugin, where it is one."""
    distribution: str = ""
    """What provides the plugin, for `pip install`."""
    weights: tuple[Weights, ...] = ()
    """What must have been downloaded before it can be loaded."""

    @property
    def id(self) -> str:
        """The name that clients use."""
        return self.info.id

    @property
    def params_type(self) -> type[Params]:
        """The model's per-request options."""
        return self.engine.params_type

    def knows(self, language: str) -> bool:
        """Whether the model knows a language; one that names none may know it."""
        known = {primary_subtag(tag) for tag in self.info.languages}
        return not known or primary_subtag(language) in known

    @property
    def concurrency(self) -> int:
        """Requests that it serves at once."""
        at_once = concurrency(self.engine, self.info)
        return at_once * (self.isolation.replicas if self.isolation else 1)


def configured(model_id: str, table: ModelConfig, config: Config, plugins: PluginManager) -> Entry:
    """Return the model that a table of the configuration describes.

    :raises ConfigError: naming the key that is wrong.
    """
    engine, plugin = _engine(model_id, table, plugins)
    try:
        preset = engine.presets().get(model_id)
        started = preset.model_dump() if preset else {}
        settings = engine.settings_type.model_validate({**started, **table.settings})
        # As JSON: what was a default in Python may have to go to another process.
        values = {**(preset.model_dump(mode="json") if preset else {}), **table.settings}
        entry = _entry(model_id, engine, plugin, settings, values, plugins)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(["models", model_id, *map(str, first["loc"])])
        raise ConfigError(
            f"{key}: {first['msg']} (a setting of engine {engine.name!r})."
        ) from error
    except Exception as error:
        raise ConfigError(
            f"models.{model_id}: engine {engine.name!r} cannot describe it: "
            f"{type(error).__name__}: {error}"
        ) from error
    info = replace(entry.info, default_voice=table.default_voice or entry.info.default_voice)
    keep_alive = config.limits.keep_alive if table.keep_alive is None else table.keep_alive
    said = table.runner or ("process" if table.python else None)
    if said == "process" and not _PROCESSES:
        raise ConfigError(f"models.{model_id}: processes of their own need Linux or macOS.")
    wanted = said or _preferred(engine)
    isolation = Isolation(table.python, table.replicas, table.env) if wanted == "process" else None
    without_effect = {"replicas", "env"} & table.model_fields_set
    if isolation is None and without_effect:
        raise ConfigError(
            f'models.{model_id}.{min(without_effect)} is for runner = "process"; engine '
            f"{engine.name!r} runs on a thread without it."
        )
    return replace(entry, info=info, keep_alive=keep_alive, isolation=isolation)


def presets(
    engine: type[Engine], plugin: str, config: Config, plugins: PluginManager
) -> Iterable[Entry]:
    """Yield the models that an engine serves without configuration."""
    # Foreign code: an engine that cannot say what it is must not stop the others.
    try:
        found = dict(engine.presets())
    except Exception as error:
        logger.warning("The presets of engine %r are left out.", engine.name, exc_info=error)
        return
    isolation = Isolation(None, 1, {}) if _preferred(engine) == "process" else None
    for model_id, settings in found.items():
        try:
            values = settings.model_dump(mode="json")
            entry = _entry(model_id, engine, plugin, settings, values, plugins)
        except Exception as error:
            logger.warning(
                "Model %r of engine %r is left out.", model_id, engine.name, exc_info=error
            )
        else:
            yield replace(entry, keep_alive=config.limits.keep_alive, isolation=isolation)


def _preferred(engine: type[Engine]) -> str:
    return engine.runner if _PROCESSES else "thread"


def _engine(model_id: str, table: ModelConfig, plugins: PluginManager) -> tuple[type[Engine], str]:
    if table.engine in plugins.engines:
        return plugins.engines[table.engine]
    if table.python is not None:  # only its own environment may know it
        from .foreign import foreign_engine  # noqa: PLC0415 - rarely needed, and needs numpy

        variables = Isolation(table.python, table.replicas, table.env).environment(0)
        try:
            engine = foreign_engine(table.engine, str(table.python), table.settings, variables)
            return engine, table.engine
        except EngineUnavailable as error:
            raise ConfigError(f"models.{model_id}: {error}") from error
    failed = [s for s in plugins.statuses if s.state.startswith("failed")]
    why = "".join(f" Plugin {s.name!r} {s.state}." for s in failed)
    raise ConfigError(
        f"models.{model_id}.engine: no installed plugin has an engine {table.engine!r}. "
        f"Engines: {', '.join(plugins.engines) or 'none'}.{why}"
    )


def _entry(
    model_id: str,
    engine: type[Engine],
    plugin: str,
    settings: Settings,
    values: Mapping[str, Any],
    plugins: PluginManager,
) -> Entry:
    info = replace(engine.describe(settings), id=model_id, engine=engine.name)
    if not all(isinstance(voice, Voice) for voice in info.voices):
        raise TypeError("ModelInfo.voices holds something that is no Voice")
    if isinstance(info.languages, str):
        raise TypeError("ModelInfo.languages is a string; it must be a tuple of them")
    method = METHODS[info.task]
    batched = engine.max_batch_size > 1 and concurrency(engine, info) > 1
    if batched and info.task in (Task.SPEECH, Task.TRANSCRIPTION):
        method = "open_batch"
    if getattr(engine, method) is getattr(Engine, method):
        raise TypeError(f"{engine.__name__} does {info.task.value} and lacks {method!r}")
    module = plugins.get_plugin(plugin)
    status = next((s for s in plugins.statuses if s.name == plugin), None)
    return Entry(
        info,
        engine,
        plugin,
        settings,
        keep_alive=0.0,
        values=values,
        module=module.__name__ if isinstance(module, ModuleType) else None,
        distribution=status.distribution if status else f"unisono-{plugin.replace('_', '-')}",
        weights=tuple(engine.weights(settings)),
    )
