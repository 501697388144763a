"""The buffer by examples: who goes first, what merges, what a flush, a split and a drop mean."""

from __future__ import annotations

import gc
import itertools
import math
from typing import Any

import pytest

from gameball_async import (
    Batching,
    Delivered,
    Dropped,
    DropReason,
    InvalidEvent,
    LifecycleError,
    OutcomeUnknown,
    Receipt,
    Rejected,
)
from gameball_async._core.batch import Batch, BatchState
from gameball_async._core.buffer import Buffer
from gameball_async._core.events import EncodedEvent, encode_event
from gameball_async._core.wire import dialect

DELIVERED = Delivered(status=200)
FULL = Dropped("full", reason=DropReason.BUFFER_FULL)


class Bench:
    """A buffer and short ways to use it."""

    def __init__(self, **batching: Any) -> None:
        self.due: list[float] = []
        self.buffer = Buffer(
            Batching(**dict[str, Any](linger=10.0) | batching), dialect("v3.0").overhead, self.due.append
        )

    def offer(self, player: str, name: str, *, at: float = 0.0, **contact: Any) -> Receipt:
        receipt = self.try_offer(player, name, at=at, **contact)
        assert receipt is not None
        return receipt

    def try_offer(self, player: str, name: str, *, at: float = 0.0, **contact: Any) -> Receipt | None:
        event = EncodedEvent(player, name, encode_event(name, None), contact.get("mobile"), contact.get("email"))
        shared = self.buffer.offer(event, at)
        return None if shared is None else Receipt(shared, name)

    def restore(self, player: str, *names: str, at: float = 0.0) -> Batch:
        events = [EncodedEvent(player, name, encode_event(name, None), None, None) for name in names]
        return self.buffer.restore(events, at, 2, tuple(range(len(names))))

    def take(self, at: float, **how: bool) -> Batch:
        batch = self.buffer.take(at, **how)
        assert batch is not None
        return batch

    def taken(self, at: float) -> list[tuple[str, list[str]]]:
        """Everything that is due, taken and delivered in turn."""
        taken: list[tuple[str, list[str]]] = []
        while (batch := self.buffer.take(at)) is not None:
            taken.append((batch.player_unique_id, list(batch.events)))
            self.buffer.settle(batch, DELIVERED, at)
        return taken


# ---------------------------------------------------------------- merging, linger


def test_events_of_a_player_merge_into_one_request() -> None:
    bench = Bench()

    bench.offer("p", "a")
    bench.offer("p", "b")

    assert bench.taken(10.0) == [("p", ["a", "b"])]


def test_a_repeated_name_opens_the_next_request_and_never_overwrites() -> None:
    bench = Bench()

    for name in ("a", "b", "a", "b", "c"):
        bench.offer("p", name)

    assert bench.taken(10.0) == [("p", ["a", "b"]), ("p", ["a", "b", "c"])]


def test_a_batch_lingers_and_not_longer() -> None:
    bench = Bench()

    bench.offer("p", "a", at=1.0)
    bench.offer("p", "b", at=9.0)

    assert bench.buffer.due_at(9.0) == 11.0
    assert bench.due == [11.0]
    assert bench.buffer.take(10.999) is None
    assert bench.taken(11.0) == [("p", ["a", "b"])]


def test_an_empty_buffer_is_never_due() -> None:
    bench = Bench()

    assert bench.buffer.due_at(5.0) == math.inf
    assert bench.buffer.take(5.0) is None
    assert bench.buffer.oldest_at() is None


def test_without_linger_everything_is_due_at_once() -> None:
    bench = Bench(linger=0)

    bench.offer("p", "a", at=3.0)

    assert bench.buffer.due_at(3.0) == 3.0


def test_whatever_becomes_due_wakes_who_sleeps_until_something_is() -> None:
    bench = Bench(max_events=2)

    bench.offer("p", "a", at=1.0)
    bench.offer("p", "b", at=2.0)  # full
    bench.buffer.split(bench.take(3.0))
    bench.buffer.requeue(bench.take(4.0), 9.0)
    bench.buffer.skip_backoff()

    assert bench.due == [11.0, -math.inf, -math.inf, 9.0, -math.inf]


def test_while_pacing_holds_a_batch_back_it_keeps_merging() -> None:
    bench = Bench()

    bench.offer("p", "a")
    assert bench.buffer.due_at(10.0) == 10.0
    bench.offer("p", "b", at=15.0)

    assert bench.taken(20.0) == [("p", ["a", "b"])]


def test_a_batch_in_flight_merges_no_more() -> None:
    bench = Bench()
    bench.offer("p", "a")
    taken = bench.take(10.0)

    bench.offer("p", "b", at=10.0)

    assert list(taken.events) == ["a"]
    assert taken.stage is BatchState.SEALED


def test_a_full_batch_is_due_at_once() -> None:
    bench = Bench(max_events=2)

    bench.offer("p", "a")
    assert bench.buffer.due_at(0.0) == 10.0
    bench.offer("p", "b")

    assert bench.buffer.due_at(0.0) == 0.0


def test_a_batch_full_to_the_byte_is_due_at_once() -> None:
    exact = len(dialect("v3.0").body("p", [b'"a":{}', b'"b":{}'], None, None))
    bench = Bench(max_bytes=exact, buffer_bytes=1000)

    bench.offer("p", "a")
    bench.offer("p", "b")

    assert bench.buffer.due_at(0.0) == 0.0
    assert [batch.size for batch in [bench.take(0.0)]] == [exact]


def test_an_event_too_large_for_any_request_is_refused_and_touches_nothing() -> None:
    bench = Bench(max_bytes=60)
    bench.offer("p", "a")

    with pytest.raises(InvalidEvent) as caught:
        bench.buffer.offer(EncodedEvent("p", "b" * 70, encode_event("b" * 70, {"k": "secret"}), None, None), 0.0)

    assert str(caught.value) == (
        f"event {'b' * 60!r} makes a request of 121 bytes, Batching(max_bytes=60) allows no more: "
        "shorten its values, or raise max_bytes."
    )
    assert bench.taken(10.0) == [("p", ["a"])]


def test_more_events_in_one_send_than_a_request_may_hold_are_refused() -> None:
    bench = Bench(max_events=2)

    with pytest.raises(InvalidEvent) as caught:
        bench.buffer.offer_batch([EncodedEvent("p", name, b'"x":{}', None, None) for name in "abc"], 0.0)

    assert str(caught.value).startswith("3 events are more than Batching(max_events=2) allows in one request: ")
    assert bench.buffer.counts.accepted == 0


def test_a_further_batch_makes_the_one_before_it_due() -> None:
    bench = Bench()

    bench.offer("p", "a")
    bench.offer("p", "a")

    assert bench.buffer.due_at(0.0) == 0.0
    assert [list(bench.take(0.0).events)] == [["a"]]


def test_a_change_in_the_midst_of_another_is_refused_and_harms_neither() -> None:
    """A finalizer or a signal handler may call at any moment; here it is whoever is told that something is due."""
    refused: list[LifecycleError] = []

    def on_due(_: float) -> None:
        with pytest.raises(LifecycleError) as caught:
            buffer.offer(EncodedEvent("q", "a", b'"a":{}', None, None), 0.0)
        refused.append(caught.value)

    buffer = Buffer(Batching(), dialect("v3.0").overhead, on_due)

    assert buffer.offer(EncodedEvent("p", "a", b'"a":{}', None, None), 0.0) is not None

    assert len(refused) == 1
    assert "during another call" in str(refused[0])
    assert buffer.counts.accepted == 1


# ---------------------------------------------------------------- contacts


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"mobile": "1"}),
        ({"mobile": "1"}, {}),
        ({"mobile": "1"}, {"mobile": "1"}),
        ({"mobile": "1"}, {"email": "e"}),
        ({"mobile": "1", "email": "e"}, {"email": "e"}),
    ],
)
def test_equal_or_absent_contacts_merge(first: dict[str, Any], second: dict[str, Any]) -> None:
    bench = Bench()

    bench.offer("p", "a", **first)
    bench.offer("p", "b", **second)

    batch = bench.take(10.0)
    assert list(batch.events) == ["a", "b"]
    assert {"mobile": batch.mobile, "email": batch.email} == {"mobile": None, "email": None} | first | second
    assert [(event.mobile, event.email) for event in batch.as_events()] == [(batch.mobile, batch.email)] * 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"mobile": "1"}, {"mobile": "2"}),
        ({"email": "e"}, {"email": "f"}),
        ({"mobile": "1", "email": "e"}, {"mobile": "1", "email": "f"}),
    ],
)
def test_different_contacts_open_a_new_request(first: dict[str, Any], second: dict[str, Any]) -> None:
    bench = Bench()

    bench.offer("p", "a", **first)
    bench.offer("p", "b", **second)

    assert bench.taken(10.0) == [("p", ["a"]), ("p", ["b"])]


def test_a_contact_that_would_make_the_request_too_large_opens_a_new_one() -> None:
    body = dialect("v3.0").body("p", [b'"a":{}', b'"b":{}'], "1", None)
    bench = Bench(max_bytes=len(body) - 1, buffer_bytes=1000)

    bench.offer("p", "a")
    bench.offer("p", "b", mobile="1")

    assert bench.taken(10.0) == [("p", ["a"]), ("p", ["b"])]


# ---------------------------------------------------------------- order


def test_players_go_in_the_order_in_which_they_became_due() -> None:
    bench = Bench()

    bench.offer("p", "a", at=0.0)
    bench.offer("q", "a", at=1.0)
    bench.offer("r", "a", at=2.0)
    bench.offer("r", "a", at=3.0)  # r's first batch is due now

    assert [player for player, _ in bench.taken(13.0)] == ["r", "p", "q", "r"]


def test_a_player_has_at_most_one_request_in_flight_also_while_it_backs_off() -> None:
    bench = Bench()
    bench.offer("p", "a")
    bench.offer("p", "a")

    first = bench.take(0.0)
    assert bench.buffer.due_at(50.0) == math.inf
    assert bench.buffer.take(50.0) is None
    bench.buffer.requeue(first, 60.0)
    assert bench.buffer.take(59.0) is None
    assert bench.take(60.0) is first
    bench.buffer.settle(first, DELIVERED, 61.0)

    assert bench.take(61.0) is not first


def test_players_do_not_wait_for_each_other() -> None:
    bench = Bench(linger=0)
    bench.offer("p", "a")
    bench.offer("q", "a")

    bench.buffer.requeue(bench.take(0.0), 1000.0)

    assert bench.take(0.0).player_unique_id == "q"


def test_a_batch_behind_one_in_flight_lingers_from_its_own_opening_not_from_its_turn() -> None:
    bench = Bench()
    bench.offer("p", "a", at=0.0)
    first = bench.take(10.0)
    bench.offer("p", "b", at=11.0)
    bench.offer("q", "a", at=15.0)

    bench.buffer.settle(first, DELIVERED, 16.0)

    assert bench.buffer.due_at(16.0) == 21.0
    assert bench.taken(21.0) == [("p", ["b"])]
    assert bench.buffer.due_at(21.0) == 25.0


def test_a_probe_is_rather_a_batch_that_never_failed() -> None:
    bench = Bench(linger=0)
    bench.offer("p", "a")
    failed = bench.take(0.0)
    failed.attempts = 1
    bench.buffer.requeue(failed, 0.0)
    assert bench.buffer.due_at(0.0) == 0.0
    bench.offer("q", "a")

    assert bench.take(0.0, untried_first=True).player_unique_id == "q"
    assert bench.take(0.0, untried_first=True) is failed


def test_otherwise_a_retry_goes_when_it_is_its_turn() -> None:
    bench = Bench(linger=0)
    bench.offer("p", "a")
    failed = bench.take(0.0)
    failed.attempts = 1
    bench.buffer.requeue(failed, 0.0)
    assert bench.buffer.due_at(0.0) == 0.0
    bench.offer("q", "a")

    assert [bench.take(0.0).player_unique_id for _ in "pq"] == ["p", "q"]


# ---------------------------------------------------------------- flush


def test_a_flush_makes_everything_accepted_before_it_due_and_nothing_after_it() -> None:
    bench = Bench()
    bench.offer("p", "a")
    bench.offer("q", "a")
    failed = bench.take(10.0)
    bench.buffer.requeue(failed, 1000.0)

    bench.buffer.flush_now()
    bench.offer("r", "a", at=10.0)

    assert {player for player, _ in bench.taken(10.0)} == {"p", "q"}
    assert bench.buffer.due_at(10.0) == 20.0


def test_a_batch_behind_one_in_flight_does_not_linger_after_a_flush() -> None:
    bench = Bench()
    bench.offer("p", "a")
    first = bench.take(10.0)
    bench.offer("p", "b", at=10.0)

    bench.buffer.flush_now()
    bench.buffer.settle(first, DELIVERED, 11.0)

    assert bench.buffer.due_at(11.0) == 11.0


def test_a_flush_waits_for_what_was_accepted_before_it_alone() -> None:
    bench = Bench()
    bench.offer("p", "a")
    first = bench.buffer.flush_now()
    bench.offer("p", "b")  # joins the same request
    bench.offer("q", "a")
    second = bench.buffer.flush_now()

    assert (bench.buffer.pending_until(first), bench.buffer.pending_until(second)) == (1, 3)
    bench.buffer.settle(bench.take(0.0), DELIVERED, 0.0)
    assert (bench.buffer.pending_until(first), bench.buffer.pending_until(second)) == (0, 1)


def test_the_wait_of_a_batch_that_was_settled_meanwhile_is_not_skipped_to_anything() -> None:
    bench = Bench(linger=0)
    bench.offer("p", "a")
    batch = bench.take(0.0)
    bench.buffer.requeue(batch, 1000.0)
    bench.buffer.settle(batch, FULL, 1.0)

    bench.buffer.skip_backoff()

    assert bench.buffer.due_at(1.0) == math.inf


# ---------------------------------------------------------------- split


def test_a_split_batch_goes_in_halves_before_all_that_came_later() -> None:
    bench = Bench()
    receipts = [bench.offer("p", name) for name in "abcde"]
    bench.offer("p", "a")

    bench.buffer.split(bench.take(0.0))

    assert not any(receipt.done for receipt in receipts)
    assert bench.taken(10.0) == [("p", ["a", "b"]), ("p", ["c", "d", "e"]), ("p", ["a"])]
    assert all(receipt.done for receipt in receipts)


def test_splitting_again_finds_the_guilty_event_and_delivers_the_innocent() -> None:
    bench = Bench()
    receipts = {name: bench.offer("p", name) for name in "abcde"}
    rejected = Rejected("no", status=422)

    requests: list[str] = []
    while (batch := bench.buffer.take(10.0)) is not None:
        requests.append("".join(batch.events))
        if "d" not in batch.events:
            bench.buffer.settle(batch, DELIVERED, 10.0)
        elif len(batch.events) > 1:
            bench.buffer.split(batch)
        else:
            bench.buffer.settle(batch, rejected, 10.0)

    assert requests == ["abcde", "ab", "cde", "c", "de", "d", "e"]
    outcomes = {name: receipt._shared.outcome_of(name) for name, receipt in receipts.items()}
    assert outcomes == dict.fromkeys("abce", DELIVERED) | {"d": rejected}


def test_the_halves_of_a_batch_that_may_have_arrived_may_have_arrived() -> None:
    bench = Bench()
    bench.offer("p", "a")
    bench.offer("p", "b")
    batch = bench.take(10.0)
    batch.ambiguous = True

    bench.buffer.split(batch)

    assert bench.take(10.0).ambiguous


@pytest.mark.parametrize("flushes", list(itertools.product([False, True], repeat=5)))
def test_halves_are_counted_for_the_flushes_that_wait_for_their_events(flushes: tuple[bool, ...]) -> None:
    bench = Bench()
    accepted_before: dict[int, int] = {}
    for number, flush in enumerate(flushes):
        bench.offer("p", f"event{number}")
        if flush:
            accepted_before[bench.buffer.flush_now()] = number + 1

    bench.buffer.split(bench.take(10.0))
    for settled in (0, 2, 5):
        waiting = {epoch: bench.buffer.pending_until(epoch) for epoch in accepted_before}
        assert waiting == {epoch: max(0, count - settled) for epoch, count in accepted_before.items()}
        if settled < 5:
            bench.buffer.settle(bench.take(10.0), DELIVERED, 10.0)


# ---------------------------------------------------------------- drop


def test_the_oldest_event_is_dropped_first_and_its_batch_goes_on_without_it() -> None:
    bench = Bench()
    first, second = bench.offer("p", "a", mobile="1"), bench.offer("p", "b")

    dropped = bench.buffer.drop_oldest(FULL, 0.0)

    assert dropped is not None
    assert (dropped.player_unique_id, dropped.name, dropped.mobile, dropped.metadata) == ("p", "a", "1", {})
    assert (first.done, second.done) == (True, False)
    assert bench.taken(10.0) == [("p", ["b"])]


def test_a_dropped_name_does_not_come_back_into_its_batch() -> None:
    """Its first receipt knows that name as dropped."""
    bench = Bench()
    first = bench.offer("p", "a")
    bench.offer("p", "b")
    bench.buffer.drop_oldest(FULL, 0.0)

    again = bench.offer("p", "a")

    assert bench.taken(10.0) == [("p", ["b"]), ("p", ["a"])]
    assert (first._shared.outcome_of("a"), again._shared.outcome_of("a")) == (FULL, DELIVERED)


def test_what_is_sealed_is_not_dropped() -> None:
    bench = Bench(linger=0)
    bench.offer("p", "a")
    bench.offer("q", "a")
    bench.buffer.requeue(bench.take(0.0), 50.0)
    bench.take(0.0)

    assert bench.buffer.drop_oldest(FULL, 0.0) is None


def test_behind_a_sealed_half_the_other_half_can_be_dropped() -> None:
    bench = Bench(linger=0)
    bench.offer("p", "a")
    bench.offer("p", "b")
    bench.buffer.split(bench.take(0.0))
    bench.take(0.0)

    dropped = bench.buffer.drop_oldest(FULL, 0.0)

    assert dropped is not None
    assert dropped.name == "b"


@pytest.mark.parametrize("head", ["lingers", "waits", "is sent", "backs off", "was split"])
@pytest.mark.parametrize("queued", [1, 2, 3])
def test_a_restored_batch_leaves_its_player_s_queue_wherever_the_others_are(head: str, queued: int) -> None:
    bench = Bench(linger=10.0 if head == "lingers" else 0.0)
    for name in ("a", "b"):
        bench.offer("p", name)
    first = bench.take(10.0) if head in ("is sent", "backs off", "was split") else None
    for name in ("c", "d")[: queued - 1]:
        bench.offer("p", name)
        bench.offer("p", name)
    if first is not None and head == "backs off":
        bench.buffer.requeue(first, 20.0)
    if first is not None and head == "was split":
        bench.buffer.split(first)

    lost = bench.restore("p", "a", "x")
    bench.buffer.settle(lost, OutcomeUnknown("lost"), 10.0)
    bench.offer("p", "y", at=10.0)
    if first is not None and head == "is sent":
        bench.buffer.settle(first, DELIVERED, 10.0)

    sent = [name for _, names in bench.taken(100.0) for name in names]
    expected = ["a", "b", *("c", "c", "d", "d")[: 2 * (queued - 1)], "y"]
    assert sent == (expected[2:] if head == "is sent" else expected)
    assert (bench.buffer.counts.unknown, bench.buffer.counts.pending) == (2, 0)
    assert bench.buffer.oldest_at() is None


def test_a_restored_batch_leaves_from_between_two_others() -> None:
    bench = Bench(linger=0)
    bench.offer("p", "a")
    earlier, lost, later = bench.restore("p", "b"), bench.restore("p", "c"), bench.restore("p", "d")
    bench.offer("p", "e")

    bench.buffer.settle(lost, OutcomeUnknown("lost"), 0.0)

    assert bench.taken(0.0) == [("p", ["a"]), ("p", ["b"]), ("p", ["d"]), ("p", ["e"])]
    assert earlier.stage is later.stage is lost.stage is BatchState.SETTLED


def test_the_newest_event_can_be_refused_and_is_counted() -> None:
    bench = Bench()

    shared = bench.buffer.refuse_newest(EncodedEvent("p", "a", b'"a":{}', None, None), FULL)

    assert shared.outcome is FULL
    counts = bench.buffer.counts
    assert (counts.accepted, counts.dropped, counts.pending, counts.pending_bytes) == (1, 1, 0, 0)


def batches_alive() -> int:
    gc.collect()
    return sum(type(each) is Batch for each in gc.get_objects())  # `isinstance` would wake the proxies of other tests


def test_dropped_events_leave_nothing_behind_however_long_an_outage_lasts() -> None:
    """One retry waits until the circuit breaker closes; meanwhile the buffer is full, and the oldest are dropped."""
    bench = Bench(linger=0)
    bench.offer("first", "a")
    bench.buffer.requeue(bench.take(0.0), 0.0)
    before = batches_alive()

    for number in range(1000):
        bench.offer(f"player{number}", "a")
        bench.buffer.due_at(0.0)
        bench.buffer.drop_oldest(FULL, 0.0)

    assert batches_alive() < before + 100


# ---------------------------------------------------------------- room, age


def test_there_is_room_for_so_many_events_and_bytes() -> None:
    bench = Bench(buffer_events=3, max_bytes=50, buffer_bytes=1000)
    bench.offer("p", "a")
    left = 1000 - bench.buffer.counts.pending_bytes

    assert bench.buffer.has_room(2, left)
    assert not bench.buffer.has_room(3, 1)
    assert not bench.buffer.has_room(1, left + 1)


def test_an_empty_buffer_has_room_for_any_request_but_not_for_more_events() -> None:
    bench = Bench(buffer_events=2, max_bytes=50, buffer_bytes=50)

    assert bench.buffer.has_room(2, 51)
    assert not bench.buffer.has_room(3, 1)
    bench.offer("p", "a")
    assert bench.try_offer("p", "b") is None
    assert bench.buffer.counts.accepted == 1


def test_no_more_events_are_held_than_allowed() -> None:
    bench = Bench(buffer_events=2)
    bench.offer("p", "a")
    bench.offer("p", "b")
    assert bench.try_offer("p", "c") is None
    assert bench.buffer.counts.accepted == 2


def test_events_in_flight_take_up_room() -> None:
    bench = Bench(linger=0, buffer_events=1)
    bench.offer("p", "a")
    batch = bench.take(0.0)

    assert bench.try_offer("q", "a") is None
    bench.buffer.settle(batch, DELIVERED, 0.0)
    bench.offer("q", "a")


def test_a_batch_in_flight_does_not_expire() -> None:
    bench = Bench(linger=0)
    bench.offer("p", "a", at=0.0)
    bench.offer("q", "a", at=1.0)
    flying = bench.take(1.0)
    bench.offer("p", "b", at=2.0)

    assert [batch.player_unique_id for batch in bench.buffer.expired(7.0, 5.0)] == ["q"]
    assert len(list(bench.buffer.expired(6.999, 5.0))) == 1
    assert list(bench.buffer.expired(5.999, 5.0)) == []
    assert bench.buffer.expires_at(5.0) == 6.0
    assert flying not in bench.buffer.expired(100.0, 5.0)


def test_a_batch_behind_one_in_flight_does_not_expire_before_it() -> None:
    """A close reports what failed in each player's order."""
    bench = Bench(linger=0)
    for name in ("a", "a", "b", "b"):
        bench.offer("p", name)
    flying = bench.take(0.0)

    assert list(bench.buffer.expired(5.0, 5.0)) == []
    bench.buffer.settle(flying, DELIVERED, 5.0)
    for batch in bench.buffer.expired(5.0, 5.0):
        bench.buffer.settle(batch, FULL, 5.0)
    bench.offer("p", "c")

    assert bench.taken(5.0) == [("p", ["c"])]


def test_a_batch_in_flight_hides_no_older_one_that_came_after_it() -> None:
    """The age of a journal's events is known by the wall clock, which may be set; else a worker would wait for 0 s."""
    bench = Bench(linger=0)
    bench.offer("p", "a", at=3600.0)
    bench.take(3600.0)
    bench.offer("q", "a", at=0.0)

    assert bench.buffer.expires_at(5.0) == 5.0
    assert [batch.player_unique_id for batch in bench.buffer.expired(5.0, 5.0)] == ["q"]


def test_nothing_that_does_not_wait_ever_expires() -> None:
    bench = Bench()

    assert bench.buffer.expires_at(5.0) == math.inf


def test_before_the_start_there_is_no_clock_and_afterwards_everything_is_new() -> None:
    bench = Bench()
    bench.offer("p", "a", at=-math.inf)
    bench.offer("q", "a", at=-math.inf)

    bench.buffer.rebase_clock(100.0)

    assert bench.buffer.oldest_at() == 100.0
    assert bench.buffer.due_at(100.0) == 100.0
    assert bench.buffer.expires_at(5.0) == 105.0


def test_what_is_dropped_from_half_of_an_ambiguous_batch_may_have_arrived() -> None:
    bench = Bench(linger=0)
    bench.offer("p", "a")
    bench.offer("p", "b")
    batch = bench.take(0.0)
    batch.ambiguous = True
    bench.buffer.split(batch)
    error = Dropped("full", reason=DropReason.BUFFER_FULL)

    bench.buffer.drop_oldest(error, 0.0)

    assert error.may_have_arrived


def test_each_outcome_has_its_account() -> None:
    bench = Bench(linger=0)
    for outcome in (DELIVERED, Rejected("no"), FULL, OutcomeUnknown("who knows")):
        bench.offer("p", "a")
        bench.offer("p", "b")
        bench.buffer.settle(bench.take(0.0), outcome, 0.0)

    counts = bench.buffer.counts
    assert (counts.accepted, counts.pending, counts.pending_bytes) == (8, 0, 0)
    assert (counts.delivered, counts.rejected, counts.dropped, counts.unknown) == (2, 2, 2, 2)
