"""A cache that holds a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SizedCache(Generic[K, V]):
    """Keeps what was used last, as far as the budget goes. Any thread may call any method.

    :param budget: bytes; what alone is larger is not kept at all.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._changing = threading.Lock()

    def get(self, key: K) -> V | None:
        """Return what is kept under a key, which now counts as used last."""
        with self._changing:
            if key not in self._items:
                return None
            self._items.move_to_end(key)
            return self._items[key][0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value.

        :param size: bytes that it holds.
        """
        with self._changing:
            self._forget(key)
            if size > self._budget:
                return
            self._items[key] = value, size
            self._held += size
            while self._held > self._budget:
                self._forget(next(iter(self._items)))

    def clear(self) -> int:
        """Forget everything; return how many values there were."""
        with self._changing:
            count = len(self._items)
            self._items.clear()
            self._held = 0
            return count

    def _forget(self, key: K) -> None:
        if key in self._items:
            self._held -= self._items.pop(key)[1]
