"""The engine that writes: its options, and how a request reaches the recognizer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from unisono import (
    Engine,
    Feature,
    ModelInfo,
    Params,
    RequestError,
    Segment,
    Settings,
    Task,
    TranscriptionRequest,
)

from .loading import ModelSettings, load

if TYPE_CHECKING:
    from .recognizer import Recognizer


class PocketsphinxParams(Params):
    """Options of one transcription."""

    grammar: str | None = Field(
        None,
        min_length=1,
        max_length=20_000,
        description="JSGF grammar: the transcript is one of the sentences that its public rules "
        'allow, or empty. For example "#JSGF V1.0; grammar g; public <g> = go (left | right);".',
    )
    keyphrases: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        [],
        max_length=100,
        description="Phrases to spot: the transcript has them and nothing else. A phrase may "
        'have a threshold of its own: "go forward /1e-20/".',
    )
    keyphrase_threshold: float = Field(
        1e-10,
        ge=1e-300,
        le=1.0,
        description="How sure a key phrase must be, as the ratio of its probability to that of "
        "any other speech: lower finds more and errs more; long phrases need less (1e-30).",
    )


class PocketsphinxSettings(ModelSettings):
    """Where the model lies; the wheel of PocketSphinx carries one for American English."""

    language_model: Path | None = Field(
        None, description="N-gram model, ARPA or binary; unset, the bundled one."
    )


class PocketsphinxEngine(Engine):
    """CMU PocketSphinx. Long audio is cut at pauses, and each utterance is sent when it is done."""

    name = "pocketsphinx"
    runner = "process"  # decoding an utterance holds the interpreter, for seconds
    params_type = PocketsphinxParams
    settings_type = PocketsphinxSettings

    def __init__(self, model: ModelInfo, settings: PocketsphinxSettings) -> None:
        super().__init__(model, settings)
        self._recognizer: Recognizer | None = None

    @classmethod
    def presets(cls) -> Mapping[str, Settings]:
        return {"pocketsphinx": PocketsphinxSettings()}

    @classmethod
    def describe(cls, settings: PocketsphinxSettings) -> ModelInfo:
        return ModelInfo(
            Task.TRANSCRIPTION,
            languages=(settings.language,),
            features=frozenset({Feature.WORD_TIMESTAMPS, Feature.LOGPROBS}),
        )

    def load(self) -> None:
        from .recognizer import Recognizer  # noqa: PLC0415 - it needs the library

        # We read grammars ourselves; the library's reader would open files that they import.
        os.environ["JSGF_PATH"] = os.devnull
        self._recognizer = load(Recognizer, self.settings, self.model.id)

    def unload(self) -> None:
        self._recognizer = None

    def transcribe(self, request: TranscriptionRequest) -> Iterator[Segment]:
        params: PocketsphinxParams = request.params
        if params.grammar is not None and params.keyphrases:
            raise RequestError(
                "grammar and keyphrases exclude each other; send one of them.", param="keyphrases"
            )
        if "keyphrase_threshold" in params.model_fields_set and not params.keyphrases:
            raise RequestError("keyphrase_threshold needs keyphrases.", param="keyphrase_threshold")
        recognizer = self._recognizer
        assert recognizer is not None
        with recognizer.listening_for(
            params.grammar, params.keyphrases, params.keyphrase_threshold
        ):
            yield from recognizer.transcribe(request)
