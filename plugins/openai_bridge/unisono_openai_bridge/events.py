"""Speech as server-sent events, which carry words too.

`speech.audio.delta` and `speech.audio.done` are OpenAI's; a delta's `words` are unisono's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from unisono import EngineUnavailable, Word

from .failures import Complaint, unexpected
from .pcm import Parts

if TYPE_CHECKING:
    import httpx2

EVENT_STREAM = "text/event-stream"


async def parts_of(response: httpx2.Response, model: str) -> Parts:
    """Yield the bytes of audio with their words.

    :param model: our id of the model, for messages.
    :raises EngineUnavailable: if an event says that the upstream failed, or none says that it is
        done.
    """
    async with aclosing(_events(response, model)) as events:
        async for event in events:
            if "error" in event:
                said = Complaint.read(event, secret=None)
                raise EngineUnavailable(
                    f"The upstream server of model {model!r} failed half-way{said.tail}"
                )
            if event.get("type") == "speech.audio.done":
                return
            if event.get("type") == "speech.audio.delta":
                try:
                    audio = base64.b64decode(event["audio"], validate=True)
                    words = tuple(_word(word) for word in event.get("words") or ())
                except (ValueError, TypeError, KeyError) as error:
                    raise unexpected(model, "sends events that hold no audio") from error
                yield audio, words
    raise unexpected(model, "broke off before its answer was complete")


async def _events(response: httpx2.Response, model: str) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the data of each event; the API puts it in one line."""
    async with aclosing(response.aiter_lines()) as lines:  # type: ignore[type-var]
        async for line in lines:
            name, _, value = line.partition(":")
            if name != "data" or value.strip() == "[DONE]":
                continue
            try:
                event = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise unexpected(model, "sends events that are no JSON") from error
            if isinstance(event, dict):
                yield event


def _word(word: dict[str, Any]) -> Word:
    return Word(str(word["word"]), float(word["start"]), float(word["end"]))
