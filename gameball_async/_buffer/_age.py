"""Every batch without an outcome, oldest first: which are too old, and which may be dropped.

What follows from that is the buffer's to do; here nothing is settled.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator

from ._batch import Batch, BatchState


class AgeIndex(OrderedDict[int, Batch]):
    """The oldest batch of each number, in order of opening: the parts of a split batch share its number."""

    def leave(self, batch: Batch) -> None:
        """A batch has its outcome: the next part of what it was split from takes its place, if there is one."""
        if self.get(batch.number) is not batch:
            return
        following = batch.following
        if following is not None and following.number == batch.number:
            self[batch.number] = following
        else:
            del self[batch.number]

    def rebase_clock(self, now: float) -> None:
        """Take the present time for the opening of every batch."""
        for batch in self.values():
            batch.opened_at = now

    def oldest_at(self) -> float | None:
        """When the oldest batch was opened, or None if there is none."""
        return next(iter(self.values())).opened_at if self else None

    def reaching(self, age: float, now: float, is_kept: Callable[[Batch], bool]) -> Iterator[Batch]:
        """The batches of at least that age, oldest first; each must leave before the next is asked for.

        Args:
            age: seconds.
            now: the present time.
            is_kept: whether a batch is to be left out, with the other parts of what it was split from.
        """
        # what is left out does not hide what is older and behind it: the wall clock, by which the age of events
        # of a journal is known, may have been set meanwhile
        others = (batch for batch in self.values() if not is_kept(batch))
        for old in list(itertools.takewhile(lambda batch: batch.opened_at + age <= now, others)):
            half, settled = self.get(old.number), None
            while half is not None and half is not settled and not is_kept(half):
                yield half
                half, settled = self.get(old.number), half

    def next_at(self, age: float, is_kept: Callable[[Batch], bool]) -> float:
        """When the next batch reaches that age, `inf` if there is none; see `reaching`."""
        oldest = next((batch for batch in self.values() if not is_kept(batch)), None)
        return math.inf if oldest is None else oldest.opened_at + age

    def unsealed(self) -> Batch | None:
        """The oldest batch that is not sealed; None if all are."""
        # a sealed batch is skipped, not the halves behind it; few are sealed: in flight, or backing off
        return next((batch for batch in self.parts() if batch.stage is not BatchState.SEALED), None)

    def parts(self) -> Iterator[Batch]:
        """Every batch, with all parts of what was split."""
        for batch in self.values():
            yield from batch.halves_behind()
