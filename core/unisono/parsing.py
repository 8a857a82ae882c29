"""How a request is told apart into the fields that every model shares (`fields`), the options of
its engine, and what nobody knows.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import RequestError
from .fields import NEEDLESS, Fields
from .types import Params

F = TypeVar("F", bound=Fields)
V = TypeVar("V", bound=BaseModel)


@dataclass(frozen=True)
class Parsed(Generic[F]):
    """A validated request."""

    fields: F
    params: Params
    ignored: tuple[str, ...]
    """Fields of the request that nothing installed knows."""


def parse(
    raw: Mapping[str, Any],
    fields_type: type[F],
    params_type: type[Params],
    *,
    elsewhere: Mapping[str, Sequence[str]],
    model: str,
) -> Parsed[F]:
    """Validate a request for one model. Null values count as left out.

    :param elsewhere: option → the models that have it, for every installed engine.
    :param model: the id that answers, for messages.
    :raises RequestError: naming the field, if a value is wrong or belongs to another model.
    """
    fields: dict[str, Any] = {}
    params: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in raw.items():
        if value is None:
            continue
        if name in fields_type.model_fields:
            fields[name] = value
        elif name in params_type.model_fields:
            params[name] = value
        elif name in NEEDLESS:
            continue
        elif name in elsewhere:
            raise RequestError(
                f"Model {model!r} has no option {name!r}. Models that have it: "
                f"{', '.join(elsewhere[name])}.",
                param=name,
                code="unsupported_option",
            )
        else:
            ignored.append(name)
    return Parsed(validate(fields_type, fields), validate(params_type, params), tuple(ignored))


def from_form(pairs: Iterable[tuple[str, str]], *types: type[BaseModel]) -> dict[str, Any]:
    """Turn the text fields of a form into what a JSON body would say.

    Lists come as repeated `name[]` (the OpenAI SDKs) or repeated `name`; objects as
    `name[key]`; an empty value counts as left out, as forms send untouched inputs.

    :param types: the models whose list fields tell a list of one from a single value.
    """
    lists = {name for type_ in types for name in _list_fields(type_)}
    raw: dict[str, Any] = {}
    for key, value in pairs:
        if value == "":
            continue
        name, bracket, rest = key.partition("[")
        inner = rest.removesuffix("]")
        kind = dict if inner else list if bracket or name in lists else str
        if not isinstance(raw.setdefault(name, kind()), kind):
            raise RequestError(
                f"{name}: the field is given in two ways, plain and in brackets.", param=name
            )
        if inner:
            raw[name][inner] = value
        elif kind is list:
            raw[name].append(value)
        else:
            raw[name] = value
    return raw


def _list_fields(type_: type[BaseModel]) -> Iterable[str]:
    for name, field in type_.model_fields.items():
        alternatives = typing.get_args(field.annotation) or ()
        for annotation in (field.annotation, *alternatives):
            if (typing.get_origin(annotation) or annotation) in (list, tuple, set, frozenset):
                yield name


def validate(type_: type[V], values: Mapping[str, Any]) -> V:
    """Return the validated values.

    :raises RequestError: naming the first field that is wrong.
    """
    try:
        return type_.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else None
        where = ".".join(map(str, first["loc"]))
        given = "" if first["type"] == "missing" else f" (got {_shown(first['input'])})"
        raise RequestError(f"{where}: {first['msg']}{given}.", param=name) from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
