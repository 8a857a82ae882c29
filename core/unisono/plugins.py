"""Find plugins, keep the list of what they provide, and leave out those that are broken."""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pluggy

from . import builtin, hookspecs
from .engine import METHODS, Engine, Settings
from .errors import ConfigError, PluginError
from .fields import RESERVED
from .sections import ModelConfig
from .types import Params, Task

logger = logging.getLogger(__name__)
ENTRY_POINT_GROUP = "unisono"
_FIRST_RESULT = (*METHODS.values(), "resolve_voice_prompt")
_NEVER_NONE = (
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
    inspect.iscoroutinefunction,
)


@dataclass(frozen=True)
class PluginStatus:
    """One row of `unisono plugins`."""

    name: str
    distribution: str
    version: str
    state: str
    """"active", "disabled", or "failed: <reason>"."""
    engines: tuple[str, ...] = ()


class PluginManager(pluggy.PluginManager):
    """Pluggy's manager with unisono's hooks, discovery and statuses."""

    def __init__(self) -> None:
        super().__init__("unisono")
        self.add_hookspecs(hookspecs)
        self.register(builtin, "unisono")
        self.statuses: list[PluginStatus] = []
        self._engines: dict[str, tuple[type[Engine], str]] = {}
        self._own: list[object] = [builtin]

    @classmethod
    def discover(
        cls, *, disabled: Collection[str] = (), required: Collection[str] = ()
    ) -> PluginManager:
        """Load every installed plugin. One that fails is reported and left out.

        :param disabled: names of plugins to leave out without importing them.
        :param required: names of plugins without which there is no point in starting.
        :raises ConfigError: if a required plugin is missing or broken.
        """
        plugins = cls()
        for entry_point in _installed():
            plugins._discover(entry_point, disabled)
        states = {status.name: status.state for status in plugins.statuses}
        for name in required:
            state = states.get(name, f"not installed (try: pip install unisono-{name})")
            if state != "active":
                raise ConfigError(f"Plugin {name!r} of plugins.required is {state}.")
        return plugins

    @property
    def engines(self) -> dict[str, tuple[type[Engine], str]]:
        """Engine name → (class, name of the plugin that provides it)."""
        return dict(self._engines)

    @property
    def resolves_voices(self) -> bool:
        """Whether a plugin takes part in resolving voices, beside the kernel itself."""
        implementations = self.hook.resolve_voice_prompt.get_hookimpls()
        return any(each.plugin not in self._own for each in implementations)

    def add_own(self, *plugins: object) -> None:
        """Register hook implementations of the kernel, in place of those of an earlier kernel."""
        for plugin in self._own[1:]:
            self.unregister(plugin)
        self._own[1:] = plugins
        for plugin in plugins:
            self.register(plugin)
        self._end_with_builtin()

    def add(self, plugin: object, name: str) -> None:
        """Register a plugin and its engines, all or nothing.

        :raises PluginError: if a hook or an engine of it is not as it should be.
        """
        engines: dict[str, type[Engine]] = {}
        try:
            self.register(plugin, name)
            self.check_pending()  # a hook that does not exist, perhaps misspelt
            for engine in _engines_of(self, plugin):
                self._check(engine, name, engines)
                engines[engine.name] = engine
        except BaseException as error:
            if self.get_plugin(name) is plugin:  # pluggy keeps a plugin that it found invalid
                self.unregister(plugin)
            if isinstance(error, pluggy.PluginValidationError | ValueError):
                raise PluginError(str(error)) from error
            raise
        self._engines.update((engine.name, (engine, name)) for engine in engines.values())
        self._end_with_builtin()

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Refuse a first-result hook that is itself a generator or coroutine."""
        options = super().parse_hookimpl_opts(plugin, name)
        if options and not options["wrapper"] and not options["hookwrapper"]:
            function = getattr(plugin, name)
            hook = options["specname"] or name
            if hook in _FIRST_RESULT and any(kind(function) for kind in _NEVER_NONE):
                raise PluginError(
                    f"Hook {hook!r} must be a plain function that returns an answer or None. What "
                    "a generator or coroutine returns is never None: it would answer everything."
                )
        return options

    def _end_with_builtin(self) -> None:
        # Of several implementations with `trylast`, the one registered last runs last.
        self.unregister(builtin)
        self.register(builtin, "unisono")

    def _discover(
        self, entry_point: importlib.metadata.EntryPoint, disabled: Collection[str]
    ) -> None:
        name = entry_point.name
        engines: tuple[str, ...] = ()
        if name in disabled:
            self.set_blocked(name)
            state = "disabled"
        else:
            try:
                self.add(entry_point.load(), name)
                state = "active"
                engines = tuple(e for e, (_, plugin) in self._engines.items() if plugin == name)
            # A plugin is foreign code: whatever it raises must not keep the others from serving.
            except (Exception, SystemExit) as error:
                state = f"failed: {type(error).__name__}: {error}"
                logger.warning("Plugin %r is left out: %s: %s", name, type(error).__name__, error)
                logger.debug("Traceback of plugin %r", name, exc_info=error)
        dist = entry_point.dist
        self.statuses.append(
            PluginStatus(
                name,
                dist.metadata["Name"] if dist else "?",
                dist.version if dist else "?",
                state,
                engines,
            )
        )

    def _check(self, engine: object, plugin: str, siblings: Collection[str]) -> None:
        """Refuse an engine that could not be configured or called.

        :param siblings: names of the engines that the same plugin provides before this one.
        """
        if not (isinstance(engine, type) and issubclass(engine, Engine)):
            raise PluginError(f"register_engines returned {engine!r}, not a subclass of Engine.")
        name = getattr(engine, "name", None)
        if not (isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name)):
            raise PluginError(
                f"{engine.__qualname__}.name is {name!r}; it must be lower case letters, digits "
                "and underscores."
            )
        if name in self._engines or name in siblings:
            other = self._engines[name][1] if name in self._engines else plugin
            raise PluginError(
                f"Engine {name!r} is provided by plugin {other!r} and by {plugin!r}. Uninstall "
                "one, or name it in plugins.disabled."
            )
        _check_types(engine)
        reserved = frozenset().union(*(RESERVED[task] for task in _tasks(engine)))
        for field, declared in engine.params_type.model_fields.items():
            if field in reserved:
                raise PluginError(
                    f"{engine.params_type.__name__}.{field} collides with a field of the API; "
                    "give it another name."
                )
            if declared.is_required() or not declared.description:
                raise PluginError(
                    f"{engine.params_type.__name__}.{field} needs a default and a description."
                )
        for field in engine.settings_type.model_fields:
            if field in ModelConfig.model_fields:
                raise PluginError(
                    f"{engine.settings_type.__name__}.{field} collides with a key that every "
                    "model's table has; give it another name."
                )


def _tasks(engine: type[Engine]) -> set[Task]:
    """Return what an engine does; all that engines do for one that does not say so yet."""
    done = {
        task
        for task, method in METHODS.items()
        if getattr(engine, method) is not getattr(Engine, method)
    }
    return done or {Task.SPEECH, Task.TRANSCRIPTION}


def _check_types(engine: type[Engine]) -> None:
    """Refuse what would break every answer that describes the engine, or every call."""
    for type_, base in ((engine.params_type, Params), (engine.settings_type, Settings)):
        if not (isinstance(type_, type) and issubclass(type_, base)):
            raise PluginError(f"{type_!r} of engine {engine.name!r} must extend {base.__name__}.")
        try:
            type_.model_json_schema()
        except Exception as error:
            raise PluginError(f"{type_.__name__} has no JSON schema: {error}") from error
    for name in METHODS.values():
        method = getattr(engine, name)
        if inspect.iscoroutinefunction(method):
            raise PluginError(f"{method.__qualname__} is `async def` and must `yield`.")


def _installed() -> list[importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    unique: dict[tuple[str, str], importlib.metadata.EntryPoint] = {}
    for entry_point in found:  # an editable install can be listed twice
        unique.setdefault((entry_point.name, entry_point.value), entry_point)
    return sorted(unique.values(), key=lambda entry_point: entry_point.name)


def _engines_of(plugins: pluggy.PluginManager, plugin: object) -> Iterator[type[Engine]]:
    for implementation in plugins.hook.register_engines.get_hookimpls():
        if implementation.plugin is plugin:
            yield from cast("Iterable[type[Engine]]", implementation.function())
