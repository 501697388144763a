"""One change at a time: what a finalizer or a signal handler begins in the midst of one is refused."""

from __future__ import annotations

import pytest

from gameball_async import LifecycleError
from gameball_async._core.buffer import non_reentrant


class Tally:
    """Something that counts its changes, and tries another in the midst of each."""

    def __init__(self) -> None:
        self.is_changing = False
        self.changes = 0

    @non_reentrant
    def change(self) -> None:
        with pytest.raises(LifecycleError, match="during another call"):
            self.change()
        self.changes += 1

    @non_reentrant
    def fail(self) -> None:
        raise ZeroDivisionError


def test_a_change_in_the_midst_of_another_is_refused_and_the_other_goes_on() -> None:
    tally = Tally()

    tally.change()
    tally.change()

    assert tally.changes == 2


def test_a_change_that_fails_leaves_the_way_free() -> None:
    tally = Tally()

    with pytest.raises(ZeroDivisionError):
        tally.fail()
    tally.change()

    assert tally.changes == 1
