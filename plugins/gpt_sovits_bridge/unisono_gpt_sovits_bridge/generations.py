"""The two HTTP contracts of GPT-SoVITS, api.py and api_v2.py, as data.

Source: RVC-Boss/GPT-SoVITS at 48b1a01. Of both programs there are older versions with fewer
fields, which neither refuses; so a server's own list of fields, where it gives one, has the last
word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from unisono import EngineUnavailable, PromptError, RequestError

SEEDS = 2**32
"""Seeds that api_v2.py tells apart."""


@dataclass(frozen=True)
class Reference:
    """The voice of a request as a server gets it: always whole, or it takes another one."""

    path: str
    """On the server."""
    text: str
    language: str
    name: str | None = None
    """In the configuration, if it comes from there."""


@dataclass(frozen=True)
class Wish:
    """What one request wants of a server, whichever generation that is."""

    text: str
    language: str
    reference: Reference
    options: Mapping[str, Any]
    """Those that the client set, by the names of `GptSovitsParams`."""
    speed: float
    seed: int | None
    text_needed: bool
    """Whether the model wants the reference's transcript."""


@dataclass(frozen=True)
class Generation:
    """One of the two programs."""

    name: str
    script: str
    path: str
    """Where it speaks."""
    mark: str
    """A path that only this one has."""
    fields: tuple[str, str, str, str, str]
    """Its names for text, language, reference, transcript of that, language of that."""
    speed: str
    seed: str | None
    options: Mapping[str, str]
    """Our name of an option → its own."""
    constants: Mapping[str, Any]
    """What it is told always, unless the client says otherwise."""
    transcript_needed: bool
    """Whether it takes its default voice for a reference without a transcript."""

    def body(self, wish: Wish, known: frozenset[str] | None) -> dict[str, Any]:
        """Say it in this program's words.

        :param known: the fields that the server says it has.
        :raises RequestError: naming an option that it does not have.
        """
        reference = wish.reference
        if (wish.text_needed or self.transcript_needed) and not reference.text:
            self._lacks_transcript(reference)
        values = [wish.text, wish.language, reference.path, reference.text, reference.language]
        body: dict[str, Any] = dict(zip(self.fields, values, strict=True))
        for name, value in self.constants.items():
            if known is None or name in known:
                body[name] = value
        for name, value in wish.options.items():
            body[self._field(name, self.options.get(name), known)] = value
        if wish.speed != 1.0:
            body[self._field("speed", self.speed, known)] = wish.speed
        if wish.seed is not None:
            body[self._field("seed", self.seed, known)] = wish.seed % SEEDS
        return body

    def seeded(self, known: frozenset[str] | None) -> bool:
        """Whether it takes a seed."""
        return self.seed is not None and (known is None or self.seed in known)

    def _field(self, name: str, field: str | None, known: frozenset[str] | None) -> str:
        if field is None or (known is not None and field not in known):
            raise RequestError(
                f"{name}: the GPT-SoVITS server behind this model ({self.script}) has no such "
                "option.",
                param=name,
                code="unsupported_option",
            )
        return field

    def _lacks_transcript(self, reference: Reference) -> None:
        if reference.name is not None:
            raise EngineUnavailable(
                f"The operator should set text for the voice {reference.name!r}: this GPT-SoVITS "
                "server does not speak without it."
            )
        raise PromptError(
            "ref_text: the GPT-SoVITS server behind this model needs what is said in the "
            "recording, word for word.",
            param="ref_text",
            code="missing_ref_text",
        )


V2 = Generation(
    name="v2",
    script="api_v2.py",
    path="/tts",
    mark="/tts",
    fields=("text", "text_lang", "ref_audio_path", "prompt_text", "prompt_lang"),
    speed="speed_factor",
    seed="seed",
    options={
        name: name
        for name in (
            "top_k",
            "top_p",
            "temperature",
            "repetition_penalty",
            "text_split_method",
            "batch_size",
            "batch_threshold",
            "split_bucket",
            "fragment_interval",
            "parallel_infer",
            "sample_steps",
            "super_sampling",
            "streaming_mode",
            "overlap_length",
            "min_chunk_length",
        )
    },
    # A WAV says its rate, which the server alone knows; raw PCM does not.
    constants={"media_type": "wav", "streaming_mode": 1},
    transcript_needed=False,
)
V1 = Generation(
    name="v1",
    script="api.py",
    path="/",
    mark="/change_refer",
    fields=("text", "text_language", "refer_wav_path", "prompt_text", "prompt_language"),
    speed="speed",
    seed=None,
    options={
        "top_k": "top_k",
        "top_p": "top_p",
        "temperature": "temperature",
        "sample_steps": "sample_steps",
        "super_sampling": "if_sr",
        "cut_punc": "cut_punc",
    },
    constants={},
    transcript_needed=True,
)
GENERATIONS = {each.name: each for each in (V1, V2)}


def start_command(place: str, generations: Iterable[Generation] = (V2,)) -> str:
    """Say how to start a server at `host:port`."""
    host, _, port = place.rpartition(":")
    commands = [f"python {each.script} -a {host.strip('[]')} -p {port}" for each in generations]
    return " or ".join(commands)


def recognised(openapi: object) -> tuple[Generation, frozenset[str] | None] | None:
    """Tell from /openapi.json which program serves, and which fields it takes."""
    for generation in (V2, V1):
        if generation.mark in _at(openapi, "paths"):
            return generation, _fields(openapi, generation.path) or None
    return None


def _fields(openapi: object, path: str) -> frozenset[str]:
    """Return the fields of the path: GET lists them, and POST as far as it has a schema."""
    operations = _at(openapi, "paths", path)
    parameters = operations.get("get", {}).get("parameters", [])
    body = _at(operations, "post", "requestBody", "content", "application/json", "schema")
    schema = _at(openapi, *str(body.get("$ref", "")).removeprefix("#/").split("/"))
    return frozenset(each["name"] for each in parameters).union(_at(schema, "properties"))


def _at(tree: object, *keys: str) -> dict[str, Any]:
    """Return what lies at the end of some keys, if it is a dict, or else an empty one."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else {}
