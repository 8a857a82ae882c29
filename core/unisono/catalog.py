"""What can be served: model id or alias → engine class, description, settings."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from .config import Config
from .entries import Entry, configured, presets
from .errors import ConfigError, ModelNotFound, RequestError
from .plugins import PluginManager
from .types import Feature, Params, Task
from .weights import are_here

logger = logging.getLogger(__name__)

OPENAI_MODELS: Mapping[str, Task] = {
    "tts-1": Task.SPEECH,
    "tts-1-hd": Task.SPEECH,
    "gpt-4o-mini-tts": Task.SPEECH,
    "whisper-1": Task.TRANSCRIPTION,
    "gpt-4o-transcribe": Task.TRANSCRIPTION,
    "gpt-4o-mini-transcribe": Task.TRANSCRIPTION,
    "gpt-4o-transcribe-diarize": Task.TRANSCRIPTION,
    "gpt-transcribe": Task.TRANSCRIPTION,
}
"""OpenAI's own model names, which fall back to the defaults. Dated ones (`…-2025-12-15`) too."""


class Catalog:
    """All models of the configuration and of the installed engines' presets.

    A model of the configuration replaces a preset of the same id. A preset whose engine cannot
    describe it is reported and left out; a mistake in the configuration is fatal.

    :raises ConfigError: for an unknown engine, wrong settings, or an alias to nothing.
    """

    def __init__(self, config: Config, plugins: PluginManager) -> None:
        self._entries: dict[str, Entry] = {}
        for model_id, table in config.models.items():
            self._entries[model_id] = configured(model_id, table, config, plugins)
        for engine, plugin in plugins.engines.values():
            for entry in presets(engine, plugin, config, plugins):
                kept = self._entries.setdefault(entry.id, entry)
                if kept is not entry and entry.id not in config.models:
                    logger.warning(
                        "Model %r of engine %r is left out, as engine %r has one of this id.",
                        *(entry.id, engine.name, kept.engine.name),
                    )
        self._defaults = {task: self._default(task, config) for task in Task}
        self.aliases = self._resolve_aliases(config.aliases)
        self._options = {task: self._find_options(task) for task in Task}

    @property
    def entries(self) -> list[Entry]:
        """Every model, those of the configuration first."""
        return list(self._entries.values())

    def default(self, task: Task) -> Entry | None:
        """Return the model for requests that name none."""
        return self._defaults[task]

    def get(self, name: str) -> Entry:
        """Return the model of this id or alias, whatever its task.

        :raises ModelNotFound: listing what exists.
        """
        entry = self._entries.get(name) or self.aliases.get(name) or self._dated(name)
        if entry is None:
            raise ModelNotFound(
                f"There is no model {name[:99]!r}. Models: {_ids(self._entries.values())}.",
                param="model",
            )
        return entry

    def resolve(self, name: str | None, task: Task) -> Entry:
        """Return the model that answers a request.

        :raises ModelNotFound: if there is none of this name, or none at all for the task.
        :raises RequestError: if the model has another task.
        """
        if name is None:
            entry = self.default(task)
            if entry is None:
                raise ModelNotFound(
                    f"No installed engine does {task.value}: install a plugin.", param="model"
                )
            return entry
        entry = self.get(name)
        if entry.info.task is not task:
            raise RequestError(
                f"Model {name!r} does {entry.info.task.value}, not {task.value}. Models for "
                f"{task.value}: {_ids(e for e in self.entries if e.info.task is task)}.",
                param="model",
                code="wrong_task",
            )
        return entry

    def of_engine(self, engine: str, name: object) -> Entry:
        """Return a speech model of one engine: the one of this id or alias, or else the first.

        :param engine: `Engine.name`, which is no model's name but may be sent as one.
        :raises ModelNotFound: if the engine has no such model.
        """
        own = [e for e in self.entries if e.info.engine == engine and e.info.task is Task.SPEECH]
        if own and (name in (None, "") or (name == engine and engine not in self._entries)):
            return own[0]
        entry = self.resolve(name, Task.SPEECH) if isinstance(name, str) else None
        if entry is None or entry not in own:
            raise ModelNotFound(
                f"Engine {engine!r} has no model {str(name)[:99]!r}. Its models: {_ids(own)}.",
                param="model",
            )
        return entry

    def options(self, task: Task) -> Mapping[str, Sequence[str]]:
        """Return option → ids of the models that have it, over all models of a task.

        Whoever transcribes may set the options of what tells the speakers apart.
        """
        return self._options[task]

    def aligner(self, language: str | None) -> Entry | None:
        """Return the model that finds words of a language: the default one, or else the first."""
        default = self.default(Task.ALIGNMENT)
        able = [entry for entry in self.entries if entry.info.task is Task.ALIGNMENT]
        able.sort(key=lambda entry: entry is not default)
        return next((entry for entry in able if language and entry.knows(language)), None)

    def diarizer(self, entry: Entry) -> Entry | None:
        """Return the model that tells the speakers apart for one that transcribes and cannot."""
        if entry.info.task is not Task.TRANSCRIPTION or Feature.DIARIZATION in entry.info.features:
            return None
        return self.default(Task.DIARIZATION)

    def params_types(self, entry: Entry) -> list[type[Params]]:
        """Return whose options a request to a model may have: its own, and its diarizer's."""
        return [each.params_type for each in (entry, self.diarizer(entry)) if each is not None]

    def _find_options(self, task: Task) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        listening = (Task.TRANSCRIPTION, Task.DIARIZATION)
        tasks = listening if task is Task.TRANSCRIPTION else (task,)
        for entry in self.entries:
            if entry.info.task in tasks:
                for name in entry.params_type.model_fields:
                    found[name].append(entry.id)
        return dict(found)

    def _default(self, task: Task, config: Config) -> Entry | None:
        able = [entry for entry in self.entries if entry.info.task is task]
        name: str | None = getattr(config.defaults, task.value)
        if name is None:
            # A model of the configuration is meant to be used; a preset may not even be here.
            ready = (e for e in able if e.id in config.models or are_here(e.weights))
            return next(iter([*ready, *able]), None)
        for entry in able:
            if entry.id == name:
                return entry
        raise ConfigError(
            f"defaults.{task.value} is {name!r}, which is no model for it. Models: {_ids(able)}."
        )

    def _resolve_aliases(self, configured: Mapping[str, str]) -> dict[str, Entry]:
        aliases = {}
        for name, task in OPENAI_MODELS.items():
            entry = self._defaults[task]
            if entry is not None and name not in self._entries:
                aliases[name] = entry
        for name, target in configured.items():
            if name in self._entries:
                raise ConfigError(f"aliases.{name}: a model has this id already.")
            if target not in self._entries:
                raise ConfigError(
                    f"aliases.{name}: there is no model {target!r}. "
                    f"Models: {_ids(self._entries.values())}."
                )
            aliases[name] = self._entries[target]
        return aliases

    def _dated(self, name: str) -> Entry | None:
        for known in sorted(OPENAI_MODELS, key=len, reverse=True):
            if name.startswith(f"{known}-20"):
                return self._entries.get(known) or self.aliases.get(known)
        return None


def _ids(entries: Iterable[Entry]) -> str:
    return ", ".join(repr(entry.id) for entry in entries) or "none; install an engine plugin"
