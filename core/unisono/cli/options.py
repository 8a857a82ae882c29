"""The options that commands share, and flags generated from pydantic fields.

A flag is made from the JSON schema that OpenAPI shows too: one declaration serves both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import click
from pydantic import BaseModel

C = TypeVar("C", bound=Callable[..., Any])


def config_options(function: C) -> C:
    """Add `--config` and `--set` to a command."""
    function = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a key of the configuration, for example models.narrator.engine=espeak; "
        'lists as ["a","b"].',
    )(function)
    return click.option(
        "--config",
        "config_file",
        type=click.Path(dir_okay=False),
        help="Configuration file; without it unisono.toml here or in your configuration directory.",
    )(function)


def overrides(
    assignments: Iterable[str], sections: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the nested values of `KEY=VALUE` assignments and of further sections.

    :raises click.UsageError: if an assignment is none.
    """
    tree: dict[str, Any] = {name: dict(values) for name, values in (sections or {}).items()}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not _KEY.fullmatch(key):
            raise click.UsageError(f"--set takes KEY=VALUE, not {assignment!r}.")
        *path, name = [part.strip('"') for part in _KEY_PART.findall(key)]
        place = tree
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise click.UsageError(f"--set {assignment!r}: {part!r} has a value already.")
        place[name] = _value(value, f"--set {assignment}")
    return tree


_KEY_PART = re.compile(r'"[^"]+"|[^."]+')
"""A part of a dotted key; one that contains dots itself is quoted, as in TOML."""
_KEY = re.compile(rf"({_KEY_PART.pattern})(\.({_KEY_PART.pattern}))*")


def _value(text: str, where: str) -> Any:
    """Read a list, a table or a quoted string as JSON; whatever else stays text, which pydantic
    judges.
    """
    if not text.startswith(("[", "{", '"')):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{where}: no valid JSON ({error}).") from error


def _from_json(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    return _value(value, param.opts[0]) if isinstance(value, str) else value


PREFIX = "field_"
"""Begins the destination of a generated flag, so that none collides with a command's own."""


def field_options(
    model: type[BaseModel], skip: Collection[str] = (), taken: Collection[str] = (), **extra: Any
) -> Iterator[click.Option]:
    """Yield one flag for each field. Values stay text: pydantic judges them, as for REST.

    :param skip: fields without a flag.
    :param taken: flags that exist; a field of that name gets `--with-<name>` instead.
    :param extra: further arguments of every option.
    """
    schema = model.model_json_schema(by_alias=False)
    for name, field in schema.get("properties", {}).items():
        if name in skip:
            continue
        dashed = name.replace("_", "-")
        flag = f"--with-{dashed}" if f"--{dashed}" in taken else f"--{dashed}"
        shapes = list(_shapes(field, schema.get("$defs", {})))
        types = {shape.get("type") for shape in shapes}
        help_ = " ".join([field.get("description", ""), _limits(field, shapes)]).strip()
        if "boolean" in types:
            names = [f"{flag}/--no-{flag[2:]}", PREFIX + name]
            yield click.Option(names, default=None, help=help_, **extra)
        else:
            yield click.Option(
                [flag, PREFIX + name],
                multiple="array" in types,
                callback=_from_json if types == {"object"} else None,
                metavar=_metavar(shapes),
                help=help_,
                **extra,
            )


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields whose generated flags the user set."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in values.items()
        if name.startswith(PREFIX) and value not in (None, ())
    }


def _shapes(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the alternatives of a schema without null; of a list, with its items' limits."""
    for nested in ("anyOf", "oneOf", "allOf"):
        for shape in schema.get(nested, ()):
            yield from _shapes(shape, defs)
    if "$ref" in schema:
        yield from _shapes(defs[schema["$ref"].rpartition("/")[2]], defs)
    elif schema.get("type") == "array":
        items = next(_shapes(schema.get("items", {}), defs), {})
        yield {**items, "type": "array", "items": items}
    elif schema.get("type", "null") != "null" or "enum" in schema or "const" in schema:
        yield schema


def _metavar(shapes: Iterable[Mapping[str, Any]]) -> str:
    words: dict[str, None] = {}
    for shape in shapes:
        if "const" in shape or "enum" in shape:
            words.update((str(value), None) for value in shape.get("enum", [shape.get("const")]))
        else:
            kind = shape.get("items", shape).get("type")
            words[_WORDS.get(str(kind), "TEXT")] = None
    return f"[{'|'.join(words)}]" if len(words) > 1 else next(iter(words), "TEXT")


_WORDS = {"integer": "INTEGER", "number": "NUMBER", "object": "JSON"}


_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


def _limits(field: Mapping[str, Any], shapes: Iterable[Mapping[str, Any]]) -> str:
    notes = [f"{words} {s[key]}" for s in shapes for key, words in _BOUNDS.items() if key in s]
    default = field.get("default")
    if default not in (None, [], ""):
        shown = str(default).lower() if isinstance(default, bool) else default
        notes.append(f"default: {shown}")
    return f"[{', '.join(notes)}]" if notes else ""
