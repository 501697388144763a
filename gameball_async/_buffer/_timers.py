"""Players that wait for a time, soonest first; whoever leaves before it is forgotten soon."""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

_T = TypeVar("_T")

_FEW = 64
"""Entries that are kept however many of them are stale."""


class TimerHeap(Generic[_T]):
    """A heap of times. Leaving is O(1): the entry stays behind, until it is due or most entries are stale."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _T]] = []
        self._entry_of: dict[_T, int] = {}
        self._numbers = itertools.count()

    def add(self, item: _T, at: float) -> None:
        """Let an item wait that does not wait yet."""
        number = self._entry_of[item] = next(self._numbers)
        heapq.heappush(self._heap, (at, number, item))

    def remove(self, item: _T) -> None:
        """Forget an item that waits."""
        del self._entry_of[item]
        if len(self._heap) > 2 * len(self._entry_of) + _FEW:
            self._heap = [entry for entry in self._heap if self._is_valid(entry)]
            heapq.heapify(self._heap)

    def next_at(self) -> float | None:
        """The soonest time, or None if nothing waits."""
        while self._heap and not self._is_valid(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def soonest(self) -> _T:
        """The item that `next_at` spoke of."""
        return self._heap[0][2]

    def in_order(self) -> list[_T]:
        """Every item that waits, soonest first."""
        return [item for _, number, item in sorted(self._heap) if self._entry_of.get(item) == number]

    def _is_valid(self, entry: tuple[float, int, _T]) -> bool:
        return self._entry_of.get(entry[2]) == entry[1]
