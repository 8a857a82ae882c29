"""What speech and transcription requests have in common before any engine is asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .catalog import Catalog
from .entries import Entry
from .errors import EngineFailed, RequestError, SpeechError, UnsupportedFeature
from .fields import Fields
from .languages import primary_subtag
from .parsing import parse
from .types import Feature, Params, Task

F = TypeVar("F", bound=Fields)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call(Generic[F]):
    """A request that its model can answer."""

    entry: Entry
    fields: F
    params: Params
    ignored: tuple[str, ...]
    """Fields that have no effect: unknown to everyone, or hints that this model cannot follow."""


def named_model(raw: Mapping[str, Any], task: Task, catalog: Catalog) -> Entry:
    """Return the model that a request names, or the default.

    :raises RequestError: if there is none, or it has another task.
    """
    name = raw.get("model")
    if name is not None and not isinstance(name, str):
        raise RequestError("model: a string is expected.", param="model")
    return catalog.resolve(name or None, task)


def prepare(
    raw: Mapping[str, Any],
    entry: Entry,
    fields_type: type[F],
    catalog: Catalog,
    *,
    needs: Mapping[str, Feature],
    hints: Mapping[str, Feature | None],
    strict: bool,
) -> Call[F]:
    """Validate a request against its model.

    :param raw: with everything by its own name.
    :param needs: field → the feature without which it is refused.
    :param hints: field → the feature without which it is ignored; None means always.
    :param strict: refuse what would be ignored.
    :raises RequestError: naming the field.
    """
    options = catalog.options(entry.info.task)
    parsed = parse(raw, fields_type, entry.params_type, elsewhere=options, model=entry.id)
    features = entry.info.features
    values = {key: getattr(parsed.fields, key) for key in parsed.fields.model_fields_set}
    given = {
        key for key, value in values.items() if value not in ([], "", None) and value is not False
    }
    for key, feature in needs.items():
        if key in given and feature not in features:
            raise UnsupportedFeature(missing(entry, feature, catalog), param=key)
    hinted = [key for key in hints if key in given and hints[key] not in features]
    ignored = (*parsed.ignored, *hinted)
    if strict and ignored:
        raise RequestError(
            f"Model {entry.id!r} has no use for {ignored[0][:99]!r}, and this server is strict.",
            param=ignored[0],
            code="unknown_field",
        )
    language = getattr(parsed.fields, "language", None)
    if language is not None:
        check_language(entry, language)
    return Call(entry, parsed.fields, parsed.params, ignored)


@contextmanager
def contained(entry: Entry) -> Iterator[None]:
    """Turn into `EngineFailed` what the hooks of plugins raise and should not."""
    try:
        yield
    except SpeechError:
        raise
    except Exception as error:
        logger.error("A request to model %r failed.", entry.id, exc_info=error)
        raise EngineFailed(
            f"A request to model {entry.id!r} failed with {type(error).__name__}; the server's "
            "log says more."
        ) from error


def missing(entry: Entry, feature: Feature, catalog: Catalog) -> str:
    """Say that a model lacks a feature, and which models have it."""
    able = [
        repr(other.id)
        for other in catalog.entries
        if other.info.task is entry.info.task and feature in other.info.features
    ]
    others = (
        f"Models that have it: {', '.join(able)}."
        if able
        else ("No installed model has it; install a plugin with one that does.")
    )
    return f"Model {entry.id!r} has no {feature.value.replace('_', ' ')}. {others}"


def check_language(entry: Entry, language: str, *, param: str = "language") -> None:
    """Refuse a language that the model does not know.

    :param param: the field that named it.
    :raises RequestError: listing the model's languages.
    """
    if not entry.knows(language):
        known = {primary_subtag(tag) for tag in entry.info.languages}
        raise RequestError(
            f"Model {entry.id!r} does not know the language {language!r}. It knows: "
            f"{', '.join(sorted(known))}.",
            param=param,
            code="unsupported_language",
        )
