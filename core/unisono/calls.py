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
from .fields import Fields, parse
from .languages import primary_subtag
from .spellings import respelled
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


def prepare(
    raw: Mapping[str, Any],
    fields_type: type[F],
    task: Task,
    catalog: Catalog,
    *,
    needs: Mapping[str, Feature],
    hints: Mapping[str, Feature | None],
    spellings: Mapping[str, str],
    strict: bool,
) -> Call[F]:
    """Find the model and validate the request against it.

    :param needs: field → the feature without which it is refused.
    :param hints: field → the feature without which it is ignored; None means always.
    :param spellings: other servers' names of fields.
    :param strict: refuse what would be ignored.
    :raises RequestError: naming the field.
    """
    raw = respelled(raw, spellings)
    name = raw.get("model")
    if name is not None and not isinstance(name, str):
        raise RequestError("model: a string is expected.", param="model")
    entry = catalog.resolve(name or None, task)
    parsed = parse(
        raw, fields_type, entry.params_type, elsewhere=catalog.options(task), model=entry.id
    )
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
    others = f"Models that have it: {', '.join(able)}." if able else "No installed model has it."
    return f"Model {entry.id!r} has no {feature.value.replace('_', ' ')}. {others}"


def check_language(entry: Entry, language: str, *, param: str = "language") -> None:
    """Refuse a language that the model does not know.

    :param param: the field that named it.
    :raises RequestError: listing the model's languages.
    """
    if not knows(entry, language):
        known = {primary_subtag(tag) for tag in entry.info.languages}
        raise RequestError(
            f"Model {entry.id!r} does not know the language {language!r}. It knows: "
            f"{', '.join(sorted(known))}.",
            param=param,
            code="unsupported_language",
        )


def knows(entry: Entry, language: str) -> bool:
    """Whether a model knows a language; one that names none may know it."""
    known = {primary_subtag(tag) for tag in entry.info.languages}
    return not known or primary_subtag(language) in known
