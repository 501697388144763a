"""What the assertions accept, and word for word what they say when they fail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from textwrap import dedent
from typing import Any
from unittest.mock import ANY
from uuid import UUID

import pytest

from gameball_async import Metadata
from gameball_async.testing import Recorder


class Colour(Enum):
    RED = "red"


ORDER: Metadata = {"total_amount": 99, "category": ("shoes", "sale")}


@pytest.fixture
def recorder() -> Recorder:
    """Of an order and a review by one player, and a review by another with a mobile number."""
    recorder = Recorder()
    recorder.track_nowait("player123", "place_order", ORDER)
    recorder.track_nowait("player123", "review", {"rating": 5})
    recorder.track_nowait("player456", "review", {"rating": 5}, mobile="+20123")
    return recorder


# ---------------------------------------------------------------- what matches


def test_an_event_matches_by_the_keys_that_are_given(recorder: Recorder) -> None:
    recorder.assert_tracked("player123", "place_order")
    recorder.assert_tracked("player123", "place_order", total_amount=99)
    recorder.assert_tracked("player123", "place_order", {"total_amount": 99}, category=["shoes", "sale"])
    recorder.assert_tracked("player123", "review", times=1)
    recorder.assert_tracked("player123", "sign_up", times=0)


VALUES: list[tuple[Any, Any]] = [
    (1, 1.0),
    (Decimal("1.00"), 1),
    (Decimal("0.1"), 0.1),
    (0.1, Decimal("0.1")),
    (("a", 1), ["a", 1]),
    ([Decimal("0.1"), date(2026, 1, 31)], [0.1, "2026-01-31"]),
    (Colour.RED, "red"),
    ("red", Colour.RED),
    (datetime(2026, 1, 31, tzinfo=UTC), "2026-01-31T00:00:00+00:00"),
    ("2026-01-31", date(2026, 1, 31)),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (9.499999, pytest.approx(9.5)),
    ("anything", ANY),
    ([1, 2], [1, ANY]),
]


@pytest.mark.parametrize(("tracked", "expected"), VALUES, ids=repr)
def test_values_are_compared_as_gameball_would_receive_them(tracked: Any, expected: Any) -> None:
    recorder = Recorder()
    recorder.track_nowait("player123", "event", {"key": tracked})
    recorder.assert_tracked("player123", "event", key=expected)


@pytest.mark.parametrize(("tracked", "expected"), [(1, "1"), ("a", ["a"]), (["a"], "a"), ([1], [1, 2]), (1, None)])
def test_what_gameball_would_receive_otherwise_does_not_match(tracked: Any, expected: Any) -> None:
    recorder = Recorder()
    recorder.track_nowait("player123", "event", {"key": tracked})
    with pytest.raises(AssertionError):
        recorder.assert_tracked("player123", "event", key=expected)


def test_a_matcher_does_not_match_a_key_that_is_missing(recorder: Recorder) -> None:
    with pytest.raises(AssertionError, match="key 'rooms': expected <ANY>, but it is missing"):
        recorder.assert_tracked("player123", "review", rooms=ANY)


def test_keys_that_are_no_names_or_are_named_like_an_option_stand_in_a_dict() -> None:
    metadata: Metadata = {"total amount": 1, "times": 2, "exact": 3, "mobile": "4", "name": 5, "self": 6, "player": 7}
    recorder = Recorder()
    recorder.track_nowait("player123", "event", metadata)
    recorder.assert_tracked("player123", "event", metadata, exact=True, times=1, mobile=None)
    recorder.assert_tracked("player123", "event", self=6, name=5, player=7)


def test_exact_means_no_other_key(recorder: Recorder) -> None:
    recorder.assert_tracked("player123", "review", rating=5, exact=True)
    recorder.assert_tracked("player123", "place_order", ORDER, exact=True)
    recorder.assert_not_tracked("player123", "review", exact=True)
    recorder.assert_not_tracked("player123", "place_order", total_amount=99, exact=True)


def test_the_contact_is_compared_if_it_is_given(recorder: Recorder) -> None:
    recorder.assert_tracked("player456", "review")
    recorder.assert_tracked("player456", "review", mobile="+20123", email=None)
    recorder.assert_tracked("player123", "review", mobile=None)
    recorder.assert_not_tracked("player456", "review", mobile=None)
    recorder.assert_not_tracked("player123", "review", mobile="+20123")


def test_nothing_of_a_player_can_be_asserted(recorder: Recorder) -> None:
    recorder.assert_not_tracked("player789")
    recorder.assert_not_tracked("player123", ..., rooms=2)
    recorder.assert_not_tracked("player123", "sign_up")
    Recorder().assert_nothing_tracked()


# ---------------------------------------------------------------- what is said

SAID: list[tuple[Callable[[Recorder], None], str]] = [
    (
        lambda recorder: recorder.assert_tracked("player123", "place_order", total_amount=100, rooms=2),
        """
        event 'place_order' of player 'player123' with {'total_amount': 100, 'rooms': 2} was not tracked.
        The nearest, number 1, differs:
          key 'total_amount': expected 100, tracked 99
          key 'rooms': expected 2, but it is missing
        Tracked:
          1. event 'place_order' of player 'player123' with {'total_amount': 99, 'category': ['shoes', 'sale']}
          2. event 'review' of player 'player123' with {'rating': 5}
          3. event 'review' of player 'player456' with {'rating': 5}
        """,
    ),
    (
        lambda recorder: recorder.assert_tracked("player123", "reviews", rating=5),
        """
        event 'reviews' of player 'player123' with {'rating': 5} was not tracked.
        The nearest, number 2, differs:
          event: expected 'reviews', tracked 'review'
        Tracked:
          1. event 'place_order' of player 'player123' with {'total_amount': 99, 'category': ['shoes', 'sale']}
          2. event 'review' of player 'player123' with {'rating': 5}
          3. event 'review' of player 'player456' with {'rating': 5}
        """,
    ),
    (
        lambda recorder: recorder.assert_tracked("player789", "review", mobile="+20123"),
        """
        event 'review' of player 'player789', mobile '+20123' was not tracked.
        The nearest, number 3, differs:
          player: expected 'player789', tracked 'player456'
        Tracked:
          1. event 'place_order' of player 'player123' with {'total_amount': 99, 'category': ['shoes', 'sale']}
          2. event 'review' of player 'player123' with {'rating': 5}
          3. event 'review' of player 'player456' with {'rating': 5}
        """,
    ),
    (
        lambda recorder: recorder.assert_tracked("player123", "review", {"rating": "5"}, exact=True, email="a@b.test"),
        """
        event 'review' of player 'player123' with exactly {'rating': '5'}, email 'a@b.test' was not tracked.
        The nearest, number 2, differs:
          key 'rating': expected '5', tracked 5
          email: expected 'a@b.test', tracked None
        Tracked:
          1. event 'place_order' of player 'player123' with {'total_amount': 99, 'category': ['shoes', 'sale']}
          2. event 'review' of player 'player123' with {'rating': 5}
          3. event 'review' of player 'player456' with {'rating': 5}
        """,
    ),
    (
        lambda recorder: recorder.assert_tracked("player123", "review", exact=True),
        """
        event 'review' of player 'player123' with exactly {} was not tracked.
        The nearest, number 2, differs:
          key 'rating': tracked 5, but not expected
        Tracked:
          1. event 'place_order' of player 'player123' with {'total_amount': 99, 'category': ['shoes', 'sale']}
          2. event 'review' of player 'player123' with {'rating': 5}
          3. event 'review' of player 'player456' with {'rating': 5}
        """,
    ),
    (
        lambda recorder: recorder.assert_tracked("player123", "review", times=2),
        """
        event 'review' of player 'player123' was tracked once, expected 2 times.
        The nearest, number 3, differs:
          player: expected 'player123', tracked 'player456'
        Tracked:
          1. event 'place_order' of player 'player123' with {'total_amount': 99, 'category': ['shoes', 'sale']}
        * 2. event 'review' of player 'player123' with {'rating': 5}
          3. event 'review' of player 'player456' with {'rating': 5}
        """,
    ),
    (
        lambda recorder: recorder.assert_tracked("player123", "place_order", times=0),
        """
        event 'place_order' of player 'player123' was tracked once, expected never.
        Tracked:
        * 1. event 'place_order' of player 'player123' with {'total_amount': 99, 'category': ['shoes', 'sale']}
          2. event 'review' of player 'player123' with {'rating': 5}
          3. event 'review' of player 'player456' with {'rating': 5}
        """,
    ),
    (
        lambda recorder: recorder.assert_tracked("player789", "sign_up", times=1),
        """
        event 'sign_up' of player 'player789' was not tracked, expected once.
        Tracked:
          1. event 'place_order' of player 'player123' with {'total_amount': 99, 'category': ['shoes', 'sale']}
          2. event 'review' of player 'player123' with {'rating': 5}
          3. event 'review' of player 'player456' with {'rating': 5}
        """,
    ),
    (
        lambda recorder: recorder.assert_not_tracked("player123", "review"),
        """
        event 'review' of player 'player123' should not have been tracked.
        Tracked:
          2. event 'review' of player 'player123' with {'rating': 5}
        """,
    ),
    (
        lambda recorder: recorder.assert_not_tracked("player456"),
        """
        an event of player 'player456' should not have been tracked.
        Tracked:
          3. event 'review' of player 'player456' with {'rating': 5}
        """,
    ),
    (
        lambda recorder: recorder.assert_nothing_tracked(),
        """
        nothing should have been tracked.
        Tracked:
          1. event 'place_order' of player 'player123' with {'total_amount': 99, 'category': ['shoes', 'sale']}
          2. event 'review' of player 'player123' with {'rating': 5}
          3. event 'review' of player 'player456' with {'rating': 5}
        """,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("assertion", "words"), SAID)
def test_a_failing_assertion_says_what_differs(
    assertion: Callable[[Recorder], None], words: str, recorder: Recorder
) -> None:
    with pytest.raises(AssertionError) as caught:
        assertion(recorder)
    assert str(caught.value) == dedent(words).strip()


def test_if_nothing_was_tracked_the_recorder_may_be_the_wrong_one() -> None:
    with pytest.raises(AssertionError) as caught:
        Recorder().assert_tracked("player123", "review")
    assert str(caught.value) == (
        "event 'review' of player 'player123' was not tracked, and nothing else was: "
        "does the code under test use this recorder?"
    )


def test_of_many_events_the_latest_are_listed_and_long_ones_are_shortened() -> None:
    recorder = Recorder()
    for number in range(25):
        recorder.track_nowait("player123", f"event{number}", {"text": "x" * 200})
    with pytest.raises(AssertionError) as caught:
        recorder.assert_tracked("nobody", "nothing")
    first, title, *listed = str(caught.value).splitlines()
    assert first == "event 'nothing' of player 'nobody' was not tracked."
    assert title == "Tracked, after 15 more:"
    assert [line.partition(".")[0].strip() for line in listed] == [str(number) for number in range(16, 26)]
    assert {(len(line), line[-1]) for line in listed} == {(166, "…")}


def test_the_failing_line_is_the_tests_own(recorder: Recorder) -> None:
    with pytest.raises(AssertionError) as caught:
        recorder.assert_tracked("player123", "sign_up")
    shown = caught.traceback.filter(caught)
    assert [str(entry.path) for entry in shown] == [__file__]
