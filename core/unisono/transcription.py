"""What a transcription request says, judged before its audio is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .calls import Call, check_language, missing, named_model, prepare
from .catalog import Catalog
from .config import Config
from .entries import Entry
from .errors import RequestError, UnsupportedFeature
from .fields import TranscriptionFields
from .parsing import validate
from .spellings import TRANSCRIPTION_SPELLINGS, respelled
from .types import Feature, Params, Task

NEEDS = {"keywords": Feature.HOTWORDS}
HINTS = {"prompt": Feature.TEXT_PROMPT, "temperature": Feature.TEMPERATURE}
STREAMABLE = ("json", "text", "diarized_json")


@dataclass(frozen=True)
class TranscriptionCall(Call[TranscriptionFields]):
    """A transcription request that its model can answer, if need be with the help of others."""

    translate: bool = False
    """Whether the transcript is wanted in English."""
    aligner: Entry | None = None
    """Finds when words are heard, where that is wanted and the model cannot say."""
    diarizer: Entry | None = None
    """Finds who speaks, likewise."""
    diarizer_params: Params = field(default_factory=Params)

    @property
    def said_language(self) -> str | None:
        """BCP 47 tag of the speech, if the client named one."""
        several = self.fields.languages
        return self.fields.language or (several[0] if len(several) == 1 else None)

    @property
    def language(self) -> str | None:
        """BCP 47 tag of the speech, if the client named one or the model knows only one."""
        known = self.entry.info.languages
        return self.said_language or (known[0] if len(known) == 1 else None)

    @property
    def turn_by_turn(self) -> bool:
        """Whether the model hears one speaker at a time: no words will tell where one begins."""
        return self.diarizer is not None and not _has(self.entry, Feature.WORD_TIMESTAMPS)

    @property
    def listener(self) -> Entry:
        """Who tells the speakers apart."""
        return self.diarizer or self.entry


def prepare_transcription(
    raw: Mapping[str, Any], catalog: Catalog, config: Config, *, translate: bool = False
) -> TranscriptionCall:
    """Validate a transcription request: model, fields, options.

    :param translate: the transcript is wanted in English.
    :raises RequestError: naming the field.
    """
    raw = respelled(raw, TRANSCRIPTION_SPELLINGS)
    entry = named_model(raw, Task.TRANSCRIPTION, catalog)
    hints: dict[str, Feature | None] = dict(HINTS)
    languages = raw.get("languages")
    # An engine is told one language or none.
    if isinstance(languages, list) and (len(languages) > 1 or raw.get("language") is not None):
        hints["languages"] = None
    diarizer, own, theirs = _divided(raw, entry, catalog)
    by_turn = diarizer is not None and not _has(entry, Feature.WORD_TIMESTAMPS)
    if by_turn and raw.get("chunking_strategy") != "auto":  # the turns are the pieces
        hints["chunking_strategy"] = None
    strict = config.server.strict
    found = prepare(
        own, entry, TranscriptionFields, catalog, needs=NEEDS, hints=hints, strict=strict
    )
    call = TranscriptionCall(
        **vars(found),
        translate=translate,
        diarizer=diarizer,
        diarizer_params=validate(diarizer.params_type, theirs) if diarizer else Params(),
    )
    if call.fields.languages and not any(map(entry.knows, call.fields.languages)):
        check_language(entry, call.fields.languages[0], param="languages")
    _check_form(call.fields)
    _check_features(call, catalog)
    return replace(call, aligner=_aligner(call, catalog))


def _divided(
    raw: Mapping[str, Any], entry: Entry, catalog: Catalog
) -> tuple[Entry | None, dict[str, Any], dict[str, Any]]:
    """Return the model that tells the speakers apart if another must; its fields come last."""
    wanted = raw.get("response_format") == "diarized_json"
    diarizer = catalog.diarizer(entry) if wanted else None
    theirs = set(diarizer.params_type.model_fields) if diarizer else set()
    theirs -= set(entry.params_type.model_fields)
    return (
        diarizer,
        {name: value for name, value in raw.items() if name not in theirs},
        {name: value for name, value in raw.items() if name in theirs and value is not None},
    )


def _check_form(fields: TranscriptionFields) -> None:
    """Refuse what the response format cannot carry."""
    form = fields.response_format
    carriers = {
        "timestamp_granularities": "verbose_json",
        "include": "json",
        "known_speaker_names": "diarized_json",
        "known_speaker_references": "diarized_json",
    }
    for name, carrier in carriers.items():
        if getattr(fields, name) and form != carrier:
            raise RequestError(
                f"{name}: only response_format {carrier!r} carries that.", param=name
            )
    if fields.stream and form not in STREAMABLE:
        raise RequestError(
            f"response_format: {form!r} cannot be streamed; these can: {', '.join(STREAMABLE)}.",
            param="response_format",
        )
    names, references = fields.known_speaker_names, fields.known_speaker_references
    if references and len(references) != len(names):
        raise RequestError(
            f"known_speaker_references: {len(references)} recordings for {len(names)} names.",
            param="known_speaker_references",
        )
    if len(set(names)) < len(names):
        raise RequestError(
            "known_speaker_names: a name is there twice.", param="known_speaker_names"
        )


def _check_features(call: TranscriptionCall, catalog: Catalog) -> None:
    """Refuse what neither the model nor its helpers can do."""
    needed = []
    if call.translate:
        needed.append(("model", call.entry, Feature.TRANSLATION))
    if call.fields.include:
        needed.append(("include", call.entry, Feature.LOGPROBS))
    if call.fields.response_format == "diarized_json" and call.diarizer is None:
        needed.append(("response_format", call.entry, Feature.DIARIZATION))
    if call.fields.known_speaker_names:
        needed.append(("known_speaker_names", call.listener, Feature.KNOWN_SPEAKERS))
    for param, entry, feature in needed:
        if not _has(entry, feature):
            raise UnsupportedFeature(missing(entry, feature, catalog), param=param)


def _aligner(call: TranscriptionCall, catalog: Catalog) -> Entry | None:
    """Return the model that finds words that are wanted and that the model has no times for.

    :raises UnsupportedFeature: if there is none for the language.
    """
    wanted = "word" in call.fields.timestamp_granularities
    if not wanted or _has(call.entry, Feature.WORD_TIMESTAMPS):
        return None
    # A translation is not what is heard.
    aligner = None if call.translate else catalog.aligner(call.language)
    if aligner is None:
        message = missing(call.entry, Feature.WORD_TIMESTAMPS, catalog)
        others = [e for e in catalog.entries if e.info.task is Task.ALIGNMENT]
        if others and not call.translate:
            found = (f"{e.id!r} for {', '.join(e.info.languages) or 'any'}" for e in others)
            message += f" With `language`, words can be found by: {'; '.join(found)}."
        raise UnsupportedFeature(message, param="timestamp_granularities")
    return aligner


def _has(entry: Entry, feature: Feature) -> bool:
    return feature in entry.info.features
