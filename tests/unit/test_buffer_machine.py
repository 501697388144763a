"""The buffer against a naive model that scans everything: any calls in any order, compared after each."""

from __future__ import annotations

import itertools
import math
import random
from collections import deque
from collections.abc import Iterator, Sized
from typing import cast

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gameball_async import Batching, Delivered, Dropped, DropReason, InvalidEvent, OutcomeUnknown, Receipt, Rejected
from gameball_async._core.batch import Batch, BatchState
from gameball_async._core.buffer import Buffer
from gameball_async._core.events import EncodedEvent, encode_event
from gameball_async._core.receipts import Counters, Outcome
from gameball_async._core.wire import dialect

from .strategies import examples

SPOKEN = dialect("v3.0")
LINGER = 1.0
FAR = 100.0

OUTCOMES: list[Outcome] = [
    Delivered(status=200),
    Rejected("no", status=422),
    Dropped("late", reason=DropReason.EXPIRED),
    OutcomeUnknown("who knows"),
]
FULL = Dropped("full", reason=DropReason.BUFFER_FULL)


@attrs.define(eq=False)
class ModelEvent:
    """One accepted event."""

    name: str
    encoded: bytes
    epoch: int
    outcome: Outcome | None = None
    receipt: Receipt | None = None


@attrs.define(eq=False)
class ModelBatch:
    """One request in the making."""

    player: str
    mobile: str | None
    email: str | None
    opened_at: float
    events: list[ModelEvent] = attrs.Factory(list["ModelEvent"])
    stage: BatchState = BatchState.OPEN
    is_restored: bool = False
    attempts: int = 0
    body: bytes | None = None
    real: Batch | None = None

    @property
    def names(self) -> list[str]:
        return [model_event.name for model_event in self.events]

    def wire(self) -> bytes:
        return SPOKEN.body(self.player, [model_event.encoded for model_event in self.events], self.mobile, self.email)

    def with_event(self, encoded: bytes, mobile: str | None, email: str | None) -> bytes:
        encodings = [*(model_event.encoded for model_event in self.events), encoded]
        return SPOKEN.body(self.player, encodings, mobile or self.mobile, email or self.email)


@attrs.define(eq=False)
class ModelPlayer:
    """A player's batches, oldest first, and where the oldest stands."""

    batches: list[ModelBatch]
    ready: bool = False
    in_flight: bool = False
    backs_off_until: float | None = None

    @property
    def head(self) -> ModelBatch:
        return self.batches[0]


def entries(part: object) -> int:
    """How many things the containers of an object of this project hold, and those of its parts."""
    held = 0
    for value in vars(part).values() if hasattr(part, "__dict__") else ():
        if isinstance(value, (dict, deque, list, set)):
            held += len(cast("Sized", value))
        elif type(value).__module__.startswith("gameball_async."):
            held += entries(value)
    return held


def differs(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


PLAYERS = ["p", "q", "r"]
NAMES = ["a", "b", "c", "dd"]
PADDINGS = [0, 0, 0, 0, 5, 30, 70]
CONTACTS = [None, None, None, None, None, "1", "2"]
STEPS = [0.1, 0.3, 0.6, 1.0, 3.0]
WAITS = [0.0, 0.3, 2.0, 5.0]
AGES = [0.5, 2.0, 4.0]
CONCLUSIONS = ["settle", "settle", "give_back", "split"]
RARITIES = ["drop_oldest", "drop_oldest", "look", "look", "refuse", "hurry", "skip_backoff", "expire"]

names = st.sampled_from(NAMES)
players = st.sampled_from(PLAYERS)
paddings = st.sampled_from(PADDINGS)
contacts = st.sampled_from(CONTACTS)


class BufferMachine(RuleBasedStateMachine):
    """Every rule is one call of the buffer, done to the model as well."""

    def __init__(self) -> None:
        super().__init__()
        self.batching = Batching(linger=LINGER, max_events=3, max_bytes=110, buffer_events=12, buffer_bytes=4_000)
        self.buffer = Buffer(self.batching, SPOKEN.overhead, self.on_due)
        self.players: dict[str, ModelPlayer] = {}
        self.order: list[ModelBatch] = []
        self.all: list[ModelEvent] = []
        self.refused: list[tuple[ModelEvent, Receipt]] = []
        self.now = 0.0
        self.epoch = 0
        self.epochs: list[int] = []
        self.stale: set[float] = set()
        self.wakes_at = math.inf

    def on_due(self, at: float) -> None:
        """What the flusher does with it: wake up then, if that is earlier than it had in mind."""
        self.wakes_at = min(self.wakes_at, at)

    # ------------------------------------------------------------ the model

    def pending(self) -> Iterator[ModelEvent]:
        return itertools.chain.from_iterable(batch.events for batch in self.order)

    def held(self, batch: ModelBatch) -> int:
        """What a batch counts with: texts, 450 bytes for each event, and its contact once."""
        contact = len(batch.mobile or "") + len(batch.email or "")
        texts = sum(len(each.encoded) + len(each.name) for each in batch.events)
        return texts + len(batch.events) * (len(batch.player) + 450) + contact

    def has_room(
        self, player: str, events: dict[str, bytes], mobile: str | None, email: str | None, joined: ModelBatch | None
    ) -> bool:
        """Whether events fit that join a batch, or are one of their own."""
        grown = ModelBatch(player, mobile, email, self.now)
        if joined is not None:
            grown.mobile, grown.email = mobile or joined.mobile, email or joined.email
            grown.events += joined.events
        grown.events += [ModelEvent(name, encoded, self.epoch) for name, encoded in events.items()]
        size = self.held(grown) + sum(self.held(batch) for batch in self.order if batch is not joined)
        pending = sum(1 for _ in self.pending())
        fits = size <= self.batching.buffer_bytes or not pending
        return fits and pending + len(events) <= self.batching.buffer_events

    def joined(
        self, player: str, name: str, encoded: bytes, mobile: str | None, email: str | None
    ) -> ModelBatch | None:
        """The batch that an event merges into."""
        tail = self.players[player].batches[-1] if player in self.players else None
        if (
            tail is None
            or tail.stage is not BatchState.OPEN
            or name in tail.names
            or len(tail.events) >= self.batching.max_events
            or differs(tail.mobile, mobile)
            or differs(tail.email, email)
            or len(tail.with_event(encoded, mobile, email)) > self.batching.max_bytes
        ):
            return None
        return tail

    def is_full(self, batch: ModelBatch) -> bool:
        return len(batch.events) >= self.batching.max_events or len(batch.wire()) >= self.batching.max_bytes

    def settle_places(self) -> None:
        """A head that waits for nothing is ready, and stays it."""
        for player in self.players.values():
            if player.in_flight:
                continue
            if player.backs_off_until is not None:
                if player.backs_off_until <= self.now:
                    player.backs_off_until, player.ready = None, True
                continue
            head = player.head
            lingers = (
                head.stage is BatchState.OPEN
                and len(player.batches) == 1
                and not self.is_full(head)
                and self.now < head.opened_at + LINGER
                and head.events[0].epoch == self.epoch
            )
            player.ready = player.ready or not lingers

    def due(self, player: ModelPlayer) -> float:
        if player.in_flight:
            return math.inf
        if player.backs_off_until is not None:
            return player.backs_off_until
        return self.now if player.ready else player.head.opened_at + LINGER

    def due_at(self) -> float:
        self.settle_places()
        return max(self.now, min(map(self.due, self.players.values()), default=math.inf))

    def open(self, player: str, mobile: str | None, email: str | None) -> ModelBatch:
        batch = ModelBatch(player, mobile, email, self.now)
        self.order.append(batch)
        if player in self.players:
            self.players[player].batches.append(batch)
        else:
            self.players[player] = ModelPlayer([batch])
        return batch

    def add(self, batch: ModelBatch, name: str, encoded: bytes, receipt: Receipt) -> None:
        model_event = ModelEvent(name, encoded, self.epoch, receipt=receipt)
        batch.events.append(model_event)
        self.all.append(model_event)

    def close(self, batch: ModelBatch, outcome: Outcome) -> None:
        """A batch has its outcome, or lost its last event."""
        for model_event in batch.events:
            model_event.outcome = outcome
        self.order.remove(batch)
        player = self.players[batch.player]
        if player.head is batch:
            if player.backs_off_until is not None:
                self.stale.add(player.backs_off_until)
            player.ready, player.in_flight, player.backs_off_until = False, False, None
        player.batches.remove(batch)
        if not player.batches:
            del self.players[batch.player]

    def flying(self) -> list[ModelBatch]:
        return [player.head for player in self.players.values() if player.in_flight]

    # ------------------------------------------------------------ offer

    @rule(offers=st.lists(st.tuples(players, names, paddings, contacts, contacts), min_size=1, max_size=4))
    def offer_some(self, offers: list[tuple[str, str, int, str | None, str | None]]) -> None:
        for arguments in offers:
            self.offer(*arguments)
            self.match_chains()
            self.knows_when_it_is_due()

    def offer(self, player: str, name: str, padding: int, mobile: str | None, email: str | None) -> None:
        encoded = encode_event(name, {"k": "x" * padding} if padding else None)
        if len(SPOKEN.body(player, [encoded], mobile, email)) > self.batching.max_bytes:
            with pytest.raises(InvalidEvent, match=rf"event '{name}' makes a request of .* bytes"):
                self.buffer.offer(EncodedEvent(player, name, encoded, mobile, email), self.now)
            return
        shared = self.buffer.offer(EncodedEvent(player, name, encoded, mobile, email), self.now)
        tail = self.joined(player, name, encoded, mobile, email)
        assert (shared is not None) == self.has_room(player, {name: encoded}, mobile, email, tail)
        if shared is None:
            return
        tail = tail or self.open(player, mobile, email)
        tail.mobile, tail.email = mobile or tail.mobile, email or tail.email
        self.add(tail, name, encoded, Receipt(shared, name))

    @rule(player=players, given=st.dictionaries(names, paddings, min_size=1, max_size=4), contact=contacts)
    def offer_batch(self, player: str, given: dict[str, int], contact: str | None) -> None:
        mobile, email = contact, contact
        events = {name: encode_event(name, {"k": "x" * padding}) for name, padding in given.items()}
        request = [EncodedEvent(player, name, encoded, mobile, email) for name, encoded in events.items()]
        body = SPOKEN.body(player, events.values(), mobile, email)
        if len(body) > self.batching.max_bytes or len(events) > self.batching.max_events:
            with pytest.raises(InvalidEvent):
                self.buffer.offer_batch(request, self.now)
            return
        shared = self.buffer.offer_batch(request, self.now)
        assert (shared is not None) == self.has_room(player, events, mobile, email, None)
        if shared is None:
            return
        batch = self.open(player, mobile, email)
        batch.stage = BatchState.CLOSED
        for name, encoded in events.items():
            self.add(batch, name, encoded, Receipt(shared, name))

    @rule(player=players, given=st.lists(names, min_size=1, unique=True), is_lost=st.booleans())
    def restore(self, player: str, given: list[str], is_lost: bool) -> None:  # noqa: FBT001 drawn
        """An earlier process may have sent it: it comes behind all others, and may leave from there at once."""
        events = {name: encode_event(name, None) for name in given}
        request = [EncodedEvent(player, name, encoded, None, None) for name, encoded in events.items()]
        real = self.buffer.restore(request, self.now, segment=1, seqs=tuple(range(len(given))))
        assert real.ambiguous
        batch = self.open(player, None, None)
        batch.stage, batch.is_restored = BatchState.CLOSED, True
        for name, encoded in events.items():
            self.add(batch, name, encoded, Receipt(real.shared, name))
        self.match_chains()
        if is_lost:
            self.settle_places()
            self.settle(batch, OUTCOMES[3])

    def refuse_newest(self, name: str) -> None:
        model_event = ModelEvent(name, encode_event(name, None), self.epoch, outcome=FULL)
        self.all.append(model_event)
        shared = self.buffer.refuse_newest(EncodedEvent("p", name, model_event.encoded, None, None), FULL)
        self.refused.append((model_event, Receipt(shared, name)))

    # ------------------------------------------------------------ take, and what follows

    @rule(untried_first=st.booleans())
    def take(self, untried_first: bool) -> None:  # noqa: FBT001 drawn
        self.settle_places()
        candidates = [player for player in self.players.values() if self.due(player) <= self.now]
        batch = self.buffer.take(self.now, untried_first=untried_first)
        assert (batch is not None) == bool(candidates)
        if batch is None:
            return
        player = self.players[batch.player_unique_id]
        assert player in candidates
        head = player.head
        if untried_first and any(not candidate.head.attempts for candidate in candidates):
            assert not head.attempts
        assert head.real is batch
        player.in_flight, player.ready = True, False
        head.stage = BatchState.SEALED
        head.attempts = batch.attempts = head.attempts + 1
        body = SPOKEN.body(batch.player_unique_id, batch.events.values(), batch.mobile, batch.email)
        assert head.body in (None, body), "sealed bytes never change"
        head.body = body

    @precondition(lambda self: self.flying())
    @rule(
        data=st.data(),
        what=st.sampled_from(CONCLUSIONS),
        outcome=st.sampled_from(OUTCOMES),
        wait=st.sampled_from(WAITS),
        ambiguous=st.booleans(),
    )
    def conclude(
        self,
        data: st.DataObject,
        what: str,
        outcome: Outcome,
        wait: float,
        ambiguous: bool,  # noqa: FBT001 drawn
    ) -> None:
        batch = data.draw(st.sampled_from(self.flying()))
        self.conclude_as(batch, what, outcome, wait, ambiguous=ambiguous)

    def conclude_as(self, batch: ModelBatch, what: str, outcome: Outcome, wait: float, *, ambiguous: bool) -> None:
        if what == "give_back":
            self.requeue(batch, wait)
        elif what == "split" and len(batch.events) > 1:
            self.split(batch, ambiguous=ambiguous)
        else:
            self.settle(batch, outcome)

    def settle(self, batch: ModelBatch, outcome: Outcome) -> None:
        self.buffer.settle(cast("Batch", batch.real), outcome, self.now)
        self.close(batch, outcome)

    def requeue(self, batch: ModelBatch, wait: float) -> None:
        self.buffer.requeue(cast("Batch", batch.real), self.now + wait)
        player = self.players[batch.player]
        player.in_flight, player.backs_off_until = False, self.now + wait

    def split(self, batch: ModelBatch, *, ambiguous: bool) -> None:
        real = cast("Batch", batch.real)
        real.ambiguous = ambiguous
        self.buffer.split(real)
        middle = len(batch.events) // 2
        halves = [
            ModelBatch(
                batch.player, batch.mobile, batch.email, batch.opened_at, part, BatchState.CLOSED, batch.is_restored
            )
            for part in (batch.events[:middle], batch.events[middle:])
        ]
        self.order[self.order.index(batch) : self.order.index(batch) + 1] = halves
        player = self.players[batch.player]
        player.batches[0:1] = halves
        player.in_flight, player.ready = False, True
        assert real.stage is BatchState.SETTLED
        assert [half.ambiguous for half in self.chain(batch.player)[:2]] == [ambiguous, ambiguous]

    # ------------------------------------------------------------ what comes between

    @rule(
        what=st.sampled_from(RARITIES),
        age=st.sampled_from(AGES),
    )
    def now_and_then(self, what: str, age: float) -> None:
        """One rule for all that is rare, so that buffers have time to fill."""
        match what:
            case "drop_oldest":
                self.drop_oldest()
            case "look":
                self.look()
            case "refuse":
                self.refuse_newest("a")
            case "hurry":
                self.flush_now()
            case "skip_backoff":
                self.skip_backoff()
            case _:
                self.expire(age)

    # ------------------------------------------------------------ time, flush

    @rule(by=st.sampled_from(STEPS))
    def time_passes(self, by: float) -> None:
        self.now += by

    def look(self) -> None:
        """The flusher looks when it may go on, and sleeps until then."""
        self.wakes_at = self.buffer.due_at(self.now)

    def flush_now(self) -> None:
        assert self.buffer.flush_now() == self.epoch
        self.epochs.append(self.epoch)
        self.epoch += 1
        self.skip_model_backoff()

    def skip_backoff(self) -> None:
        self.buffer.skip_backoff()
        self.skip_model_backoff()

    def skip_model_backoff(self) -> None:
        self.stale.clear()
        for player in self.players.values():
            if player.backs_off_until is not None:
                player.backs_off_until, player.ready = None, True

    # ------------------------------------------------------------ drop

    def drop_oldest(self) -> None:
        batch = next((batch for batch in self.order if batch.stage is not BatchState.SEALED), None)
        dropped = self.buffer.drop_oldest(FULL, self.now)
        assert (dropped is None) == (batch is None)
        if batch is None or dropped is None:
            return
        model_event = batch.events.pop(0)
        model_event.outcome = FULL
        assert (dropped.player_unique_id, dropped.name) == (batch.player, model_event.name)
        assert (dropped.mobile, dropped.email) == (batch.mobile, batch.email)
        assert dropped._encoded == model_event.encoded
        batch.stage = BatchState.CLOSED
        if not batch.events:
            self.close(batch, FULL)

    def expire(self, age: float) -> None:
        """Whatever is that old, but not what is in flight and what waits behind it."""
        for real in self.buffer.expired(self.now, age):
            batch = next(batch for batch in self.order if batch.real is real)
            assert batch.opened_at + age <= self.now
            assert not self.players[batch.player].in_flight
            assert self.players[batch.player].head is batch
            self.buffer.settle(real, OUTCOMES[2], self.now)
            self.close(batch, OUTCOMES[2])
            self.match_chains()
        left = [batch for batch in self.order if not self.players[batch.player].in_flight]
        assert all(batch.opened_at + age > self.now for batch in left)
        assert self.buffer.expires_at(age) == min((batch.opened_at + age for batch in left), default=math.inf)

    # ------------------------------------------------------------ what always holds

    def chain(self, player: str) -> list[Batch]:
        real: Batch | None = self.buffer._players[player].head
        chain: list[Batch] = []
        while real is not None:
            chain.append(real)
            real = real.following
        return chain

    @invariant()
    def match_chains(self) -> None:
        """Order per player, no name twice, merging until sealed, contacts, sizes to the byte."""
        assert set(self.buffer._players) == set(self.players)
        for name, player in self.players.items():
            chain = self.chain(name)
            assert len(chain) == len(player.batches)
            assert self.buffer._players[name].tail is chain[-1]
            for real, batch in zip(chain, player.batches, strict=True):
                assert batch.real in (None, real)
                batch.real = real
                assert list(real.events.items()) == [(each.name, each.encoded) for each in batch.events]
                assert (real.mobile, real.email, real.stage) == (batch.mobile, batch.email, batch.stage)
                assert real.opened_at == batch.opened_at
                assert real.size == len(batch.wire())
                if not batch.is_restored:
                    assert real.size <= self.batching.max_bytes
                    assert len(real.events) <= self.batching.max_events
                assert real.first_epoch == batch.events[0].epoch

    @invariant()
    def conserves(self) -> None:
        def settled(kind: type) -> int:
            return sum(isinstance(each.outcome, kind) for each in self.all)

        pending = list(self.pending())
        counts = self.buffer.counts
        assert {name: getattr(counts, name) for name in Counters.__slots__} == {
            "accepted": len(self.all),
            "delivered": settled(Delivered),
            "rejected": settled(Rejected),
            "dropped": settled(Dropped),
            "filtered": 0,
            "invalid": 0,
            "unconfirmed": 0,
            "unknown": settled(OutcomeUnknown),
            "pending": len(pending),
            "pending_bytes": sum(map(self.held, self.order)),
        }
        assert counts.accepted == counts.delivered + counts.rejected + counts.dropped + counts.unknown + counts.pending

    @invariant()
    def receipts_know_exactly_their_outcome(self) -> None:
        for each in self.all:
            if each.receipt is not None:
                assert each.receipt._shared.outcome_of(each.name) is each.outcome
                assert each.receipt.done == (each.outcome is not None)
        assert all(receipt.done for _, receipt in self.refused)

    @invariant()
    def epochs_are_counted_exactly(self) -> None:
        for epoch in self.epochs[-3:]:
            assert self.buffer.pending_until(epoch) == sum(each.epoch <= epoch for each in self.pending())

    @invariant()
    def knows_when_it_is_due(self) -> None:
        expected = self.due_at()
        assert self.wakes_at <= expected, "whoever sleeps is woken in time"
        looked = self.buffer.due_at(self.now)
        assert looked == expected or (looked < expected and looked in self.stale)
        if self.players and len(self.flying()) < len(self.players):
            assert looked < math.inf

    @invariant()
    def knows_its_oldest(self) -> None:
        assert self.buffer.oldest_at() == (self.order[0].opened_at if self.order else None)

    @invariant()
    def holds_nothing_when_nothing_is_pending(self) -> None:
        if not self.players:
            self.buffer.due_at(self.now + FAR)  # what waits in a queue of times is forgotten at its time
            self.stale.clear()
            assert entries(self.buffer) == 0

    def teardown(self) -> None:
        """Whatever is left can be given up, oldest first, and nothing remains."""
        for real in self.buffer.unsettled():
            assert real is self.order[0].real
            self.buffer.settle(real, FULL, self.now)
            self.close(self.order[0], FULL)
        self.conserves()
        self.holds_nothing_when_nothing_is_pending()


TestBufferMachine = BufferMachine.TestCase
TestBufferMachine.settings = examples(60, steps=40)


def walk(machine: BufferMachine, pick: random.Random) -> None:
    """One step of a random walk, much quicker than hypothesis takes it, and so many more of them."""
    steps = ["offer"] * 5 + ["take"] * 3 + ["conclude"] * 3 + ["time"] * 2 + ["send", "restore", "now and then"]
    match pick.choice(steps):
        case "offer":
            contact = pick.choice(CONTACTS), pick.choice(CONTACTS)
            machine.offer(pick.choice(PLAYERS), pick.choice(NAMES), pick.choice(PADDINGS), *contact)
        case "take":
            machine.take(untried_first=pick.random() < 0.5)
        case "conclude" if flying := machine.flying():
            chosen = pick.choice(CONCLUSIONS), pick.choice(OUTCOMES), pick.choice(WAITS)
            machine.conclude_as(pick.choice(flying), *chosen, ambiguous=pick.random() < 0.5)
        case "time":
            machine.time_passes(pick.choice(STEPS))
        case "send":
            given = dict.fromkeys(pick.sample(NAMES, pick.randint(1, 3)), 0)
            machine.offer_batch(pick.choice(PLAYERS), given, pick.choice(CONTACTS))
        case "restore":
            restored = pick.sample(NAMES, pick.randint(1, len(NAMES)))
            machine.restore(pick.choice(PLAYERS), restored, is_lost=pick.random() < 0.5)
        case _:
            machine.now_and_then(pick.choice(RARITIES), pick.choice(AGES))


def check(machine: BufferMachine) -> None:
    machine.match_chains()
    machine.conserves()
    machine.receipts_know_exactly_their_outcome()
    machine.epochs_are_counted_exactly()
    machine.knows_when_it_is_due()
    machine.knows_its_oldest()
    machine.holds_nothing_when_nothing_is_pending()


@pytest.mark.parametrize("seed", range(40))
def test_a_random_walk_never_leaves_the_model(seed: int) -> None:
    machine, pick = BufferMachine(), random.Random(seed)

    for _ in range(150):
        walk(machine, pick)
        check(machine)

    machine.teardown()
