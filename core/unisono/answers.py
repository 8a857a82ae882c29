"""What another process has answered to one question, on its way to one coroutine."""

from __future__ import annotations

import asyncio
from typing import Any

from .errors import SpeechError


class Answers:
    """Items, and then the end or an error. Everything runs on the event loop."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.ended = False
        self.paused = False
        self._error: SpeechError | None = None
        self._news = asyncio.Event()

    def add(self, item: Any) -> None:
        """Take an item from the process."""
        self.items.append(item)
        self._news.set()

    def end(self, error: SpeechError | None = None) -> None:
        """Take the end, the first of which counts."""
        if not self.ended:
            self.ended, self._error = True, error
            self._news.set()

    async def take(self) -> list[Any]:
        """Wait for items and return all that are there; an empty list is the end.

        :raises SpeechError: what ended the answers, after those before it.
        """
        while not self.items:
            if self.ended:
                if self._error is not None:
                    raise self._error
                return []
            self._news.clear()
            await self._news.wait()
        items, self.items = self.items, []
        return items

    async def over(self) -> None:
        """Drop what comes, until the end."""
        while not self.ended:
            self.items.clear()
            self._news.clear()
            await self._news.wait()
