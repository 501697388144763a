"""Which lines of a file have an outcome: disjoint ranges, as few as there are gaps."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class RangeSet:
    """A set of line numbers, kept as ranges.

    Rows get their outcomes nearly in order, so there are about as many ranges as rows under way.

    Args:
        ranges: first and last line of each range, in order, with a gap between them.

    Raises:
        ValueError: if they are not in order, or touch.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            if first > last or (self._lasts and first <= self._lasts[-1] + 1) or first < 1:
                raise ValueError(f"lines {first} to {last} are out of order")
            self._firsts.append(first)
            self._lasts.append(last)

    def add(self, first: int, last: int) -> None:
        """Add the lines from `first` to `last`, both included."""
        at = bisect_left(self._lasts, first - 1)  # the first range that ends beside or after them
        end = bisect_right(self._firsts, last + 1)  # the first range that begins apart from them
        if at < end:
            first, last = min(first, self._firsts[at]), max(last, self._lasts[end - 1])
        self._firsts[at:end] = [first]
        self._lasts[at:end] = [last]

    def __contains__(self, line: int) -> bool:
        at = bisect_left(self._lasts, line)
        return at < len(self._firsts) and self._firsts[at] <= line

    def ranges(self) -> list[tuple[int, int]]:
        """Return first and last line of each range, in order."""
        return list(zip(self._firsts, self._lasts, strict=True))
