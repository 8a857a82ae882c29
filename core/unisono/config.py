"""The one typed settings tree: a TOML file, the environment, and what the caller overrides.

Precedence: overrides (command line) > `UNISONO_<SECTION>__<KEY>` > the file > defaults.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .errors import ConfigError
from .sections import Defaults, Limits, ModelConfig, Plugins, Server, Voices

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "unisono.toml"
ENV_PREFIX = "UNISONO_"
ENV_FILE = "UNISONO_CONFIG"
_SECRET = re.compile(r"key|token|secret|password", re.IGNORECASE)


class Config(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    server: Server = Field(default_factory=Server)
    limits: Limits = Field(default_factory=Limits)
    defaults: Defaults = Field(default_factory=Defaults)
    plugins: Plugins = Field(default_factory=Plugins)
    voices: Voices = Field(default_factory=Voices)
    auto_pull: bool = Field(
        False, description="Download the weights of a model when it is first asked for."
    )
    aliases: dict[str, str] = Field({}, description="Further names of models: alias = model.")
    models: dict[str, ModelConfig] = Field({}, description="Models to serve, by id.")

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _file: Path | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave the merging to `load`, which also remembers where each value came from."""
        return (init_settings,)

    @classmethod
    def load(
        cls, path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Config:
        """Read the configuration.

        :param path: the file; without one `$UNISONO_CONFIG`, `./unisono.toml`, or `unisono.toml`
            in the user's configuration directory, whichever comes first, or none.
        :param overrides: values that win, nested as in the file; None values do not count.
        :raises ConfigError: naming the key and its source.
        """
        file = find_file(path)
        sources = [
            (f"{file}", _read(file) if file else {}),
            ("environment", _environment(cls)),
            ("command line", dict(overrides or {})),
        ]
        merged: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for origin, values in sources:
            for key, value in _flatten(values):
                if value is None:
                    continue
                _put(merged, key, value)
                name = ".".join(key)
                origins[name] = (
                    ENV_PREFIX + "__".join(key).upper() if origin == "environment" else origin
                )
        if file and not path and ENV_FILE not in os.environ:
            _check_owner(file, merged)
        try:
            config = cls(**merged)
        except ValidationError as error:
            raise ConfigError(_explain(error, origins)) from error
        config._origins.update(origins)
        config._file = file
        return config

    @property
    def file(self) -> Path | None:
        """The file that was read."""
        return self._file

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """Yield every key with its value and where it came from; secrets are masked."""
        for key, value in _flatten(self.model_dump(mode="json")):
            name = ".".join(key)
            secret = key[0] == "models" and any(map(_SECRET.search, key[2:]))
            yield name, "**********" if secret else value, self._origins.get(name, "default")


def find_file(path: str | Path | None = None) -> Path | None:
    """Say which configuration file applies, as `Config.load` documents.

    :raises ConfigError: if a file that was named does not exist.
    """
    named = path or os.environ.get(ENV_FILE)
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"There is no configuration file {str(named)!r}.")
        return Path(named)
    from platformdirs import user_config_path  # noqa: PLC0415 - only where it is needed

    for candidate in (Path(FILE_NAME), user_config_path("unisono") / FILE_NAME):
        if candidate.is_file():
            return candidate
    return None


def _check_owner(file: Path, values: Mapping[str, Any]) -> None:
    """Refuse to run programs that somebody else's file names, only because it lies here.

    :raises ConfigError: saying how to trust it.
    """
    models = values.get("models", {})
    runs = isinstance(models, dict) and any(
        isinstance(table, dict) and {"python", "env"} & table.keys() for table in models.values()
    )
    if runs and hasattr(os, "getuid") and file.stat().st_uid not in (0, os.getuid()):
        raise ConfigError(
            f"{file} names programs to run and belongs to another user; if you trust it, name it: "
            f"--config {file}"
        )


def unknown_variables() -> list[str]:
    """Return the environment variables that look like ours and mean nothing."""
    known = {ENV_FILE, *(f"{ENV_PREFIX}{name}".upper() for name in Config.model_fields)}
    names = (name for name in os.environ if name.startswith(ENV_PREFIX))
    return sorted(name for name in names if name.split("__")[0] not in known)


def _read(file: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
    return values


def _environment(settings: type[BaseSettings]) -> dict[str, Any]:
    try:
        return EnvSettingsSource(settings)()
    except ValueError as error:  # SettingsError, which older versions do not export
        raise ConfigError(f"A table in one variable must be JSON: {error}.") from error


def _flatten(
    values: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, (*above, key))
        else:
            yield (*above, key), value


def _put(tree: dict[str, Any], key: tuple[str, ...], value: Any) -> None:
    for name in key[:-1]:
        inner = tree.get(name)
        tree = tree.setdefault(name, {}) if isinstance(inner, dict) or inner is None else {}
    # An empty table adds nothing to one that is there; it must not replace it.
    if key and not (value == {} and isinstance(tree.get(key[-1]), dict)):
        tree[key[-1]] = value


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        name = ".".join(map(str, problem["loc"]))
        origin = _origin(name.rpartition(".")[0] if problem["type"] == "missing" else name, origins)
        lines.append(f"{name}: {problem['msg']}" + (f" (from {origin})" if origin else ""))
    return "The configuration is wrong: " + "\n".join(lines)


def _origin(name: str, origins: Mapping[str, str]) -> str | None:
    """Say where a value came from, or else the list that it is in, or the first key under it."""
    above = [key for key in origins if f"{name}.".startswith(f"{key}.")]
    below = [key for key in origins if key.startswith(f"{name}.")]
    nearest = [*sorted(above, key=len, reverse=True), *below]
    return origins[nearest[0]] if nearest else None
