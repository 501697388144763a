"""The truth about every event across all lives; and the ledger of one life, in the order of the files."""

from __future__ import annotations

import json
from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from gameball_async import DeadLetter, Delivered, DeliveryError, Dropped, OutcomeUnknown, Receipt, Rejected, Stats
from gameball_async._core.receipts import SharedOutcome
from gameball_async._journal import StoredEvent

from ..gameball import EPOCH
from ..ledger import Ledger, Outcome, Placed, Trace, held_bytes
from ..plan import Track
from .folder import File, Folder


@attrs.define(eq=False, kw_only=True)
class Story:
    """What became of one event in all lives.

    Attributes:
        asked: what was asked for.
        life: the life that was asked.
        key: its file and its seq there, once it is on its way to the disk.
        is_promised: whether the caller was told that it is durable.
        is_abandoned: whether its call raised or was cancelled.
        outcomes: what was said of it, with the life that said so.
        applied: how often the server counted it.
        is_announced: whether somebody was told that it may count twice, or a counter has it.
    """

    asked: Track
    life: int
    key: tuple[int, int] | None = None
    is_promised: bool = False
    is_abandoned: bool = False
    outcomes: list[tuple[int, Outcome]] = attrs.Factory(list[tuple[int, Outcome]])
    applied: int = 0
    is_announced: bool = False


@attrs.define(eq=False, kw_only=True)
class Kept(Placed):
    """One event in one life.

    Attributes:
        story: all that is known of it.
        key: its file and its seq there.
        group: equal for events that must go together.
        is_buffered: whether the buffer took it.
        buffered_at: when.
        sealed_with: the seqs of the batch that an earlier life has sealed it in.
        is_refused: whether the disk refused it.
        stored_at: when it was accepted, by the wall clock of the life that stored it; None if that is this one.
    """

    story: Story
    key: tuple[int, int] | None = None
    group: object = None
    is_buffered: bool = False
    buffered_at: float = 0.0
    sealed_with: tuple[int, ...] = ()
    is_refused: bool = False
    stored_at: float | None = None

    @property
    def is_restored(self) -> bool:
        """Whether it came in a sealed batch of an earlier life."""
        return bool(self.sealed_with)


class History:
    """All lives on one folder.

    Args:
        folder: what is durable.
        fail: takes what is wrong.
    """

    def __init__(self, folder: Folder, fail: Callable[[str], None]) -> None:
        self.folder = folder
        self.stories: dict[int, Story] = {}
        self._firsts: dict[str, tuple[int, int]] = {}
        self._fail = fail

    def applied(self, story: Story) -> None:
        """Note that the server counted an event; later ones wait for it, until an earlier life has given it up."""
        story.applied += 1
        if story.applied > 1 or story.key is None:
            return
        player = story.asked.player
        if story.key < self._firsts.get(player, (0, 0)) and not story.outcomes:
            self._fail(f"event {story.asked.number} arrives for the first time after a later one of {player}")
        self._firsts[player] = max(story.key, self._firsts.get(player, (0, 0)))

    def check_end(self) -> None:
        """After the last life nothing lies anywhere, and every promise was kept."""
        self.folder.check()
        if self.folder.events or self.folder.files or self.folder.strangers():
            self._fail(
                f"the folder holds {self.folder.events} events in {len(self.folder.files)} files at the end, and "
                f"{self.folder.strangers()}"
            )
        letters = self.folder.dead_letters()
        for story in self.stories.values():
            self._check(story, letters.get(story.key or (0, 0)))
        for key in letters:
            if not any(story.key == key for story in self.stories.values()):
                self._fail(f"the dead letter {key} is nobody's")

    def _check(self, story: Story, letter: DeadLetter | None) -> None:
        number = story.asked.number
        outcome = story.outcomes[-1][1] if story.outcomes else None
        if story.is_promised and outcome is None:
            self._fail(f"event {number} was durable, and nothing came of it")
        if story.applied > 1 and not story.is_announced:
            self._fail(f"event {number} was applied {story.applied} times, and nobody was told")
        self._check_letter(story, outcome, letter)

    def _check_letter(self, story: Story, outcome: Outcome | None, letter: DeadLetter | None) -> None:
        number = story.asked.number
        if letter is not None:
            self._check_content(story, letter)
            if isinstance(outcome, Delivered) and story.key not in self.folder.doubtful:
                self._fail(f"event {number} is a dead letter and was delivered")
        elif isinstance(outcome, DeliveryError) and not self._was_never_stored(story):
            self._fail(f"event {number} failed and is no dead letter: {outcome!r}")

    def _was_never_stored(self, story: Story) -> bool:
        outcome = story.outcomes[-1][1]
        return isinstance(outcome, Dropped) and "could not be stored" in str(outcome)

    def _check_content(self, story: Story, letter: DeadLetter) -> None:
        said = [str(outcome) for _, outcome in story.outcomes if isinstance(outcome, DeliveryError)]
        if letter.reason not in said:
            self._fail(
                f"the dead letter of event {story.asked.number} says {letter.reason!r}, its receipts said {said}"
            )
        event, asked = letter.event, story.asked
        found = event and (event.player_unique_id, event.name, event.metadata)
        if found != (asked.player, asked.name, asked.metadata):
            self._fail(f"the dead letter of event {asked.number} is {found}")


class JournalLedger(Ledger):
    """Every event of one life, what was found in the folder included.

    Args:
        life: the number of the life.
        history: all lives.
    """

    def __init__(
        self, now: Callable[[], float], fail: Callable[[str], None], trace: Trace, life: int, history: History
    ) -> None:
        super().__init__(now, fail, trace)
        self._life = life
        self._clock = 0.0
        self.history = history
        self.kept: dict[int, Kept] = {}
        self.by_key: dict[tuple[int, int], Kept] = {}
        self.sent_together: dict[object, list[Kept]] = {}

    # ---------------------------------------------------------------- acceptance

    def asked(self, track: Track) -> Kept:
        """Note that an event is going to be placed."""
        story = self.history.stories[track.number] = Story(asked=track, life=self._life)
        return self._keep(story)

    def _keep(self, story: Story) -> Kept:
        kept = Kept(asked=story.asked, story=story)
        self.kept[story.asked.number] = self.events[story.asked.number] = kept
        return kept

    def found(self, file: File, clock: float) -> None:
        """Note what is in a file that an earlier life has left; the wall clock is wrong by some seconds."""
        self._clock = clock
        sealed = {seq: batch.members for batch in file.sealed.values() for seq in batch.members}
        for row in file.rows.values():
            story = self.history.stories[number_of(row.encoded)]
            self._check_found(story, file, row)
            kept = self._keep(story)
            kept.group = (file.number, row.together or row.seq)
            kept.sealed_with = sealed.get(row.seq, ())
            kept.unsettled_attempt = kept.is_restored
            kept.stored_at = row.accepted_at
            self._place(kept, (file.number, row.seq), len(row.encoded), self._opened_at(kept), None)
            self._trace.note("found", kept.asked.number, row.player_unique_id, row.name, kept.is_restored)

    def _opened_at(self, kept: Kept) -> float:
        """When it was accepted, as this life sees it: an event of a time to come is as old as one of now."""
        assert kept.stored_at is not None
        return self._now() - max(0.0, EPOCH + self._now() + self._clock - kept.stored_at)

    def _check_found(self, story: Story, file: File, row: StoredEvent) -> None:
        number, key = story.asked.number, (file.number, row.seq)
        if story.key != key or (row.player_unique_id, row.name) != (story.asked.player, story.asked.name):
            self._fail(f"event {number} lies in {key}, and was put in {story.key}")
        if story.outcomes and not file.was_forced:
            self._fail(f"event {number} has its outcome, and lies in the folder after a full close")
        if (story.is_abandoned or row.seq not in file.acknowledged) and not file.was_forced:
            self._fail(f"the call of event {number} failed, and it lies in the folder after a full close")

    def queued(self, number: int, key: tuple[int, int]) -> Kept:
        """Note that an event is on its way to the disk."""
        kept = self.kept[number]
        kept.key = kept.story.key = kept.group = key
        kept.accepted_at = self._now()  # the age of an event is that of its call
        self.by_key[key] = kept
        return kept

    def accepted_from(self, kept: Kept, shared: SharedOutcome, encoded: bytes) -> None:
        """Note that the client counts an event of this life as its own."""
        assert kept.key is not None
        if kept.order is not None:
            self._fail(f"event {kept.asked.number} was accepted twice")
        if kept.story.is_abandoned:
            self._fail(f"event {kept.asked.number} was accepted although its call raised or was cancelled")
        self._place(kept, kept.key, len(encoded), kept.accepted_at, Receipt(shared, kept.asked.name))
        self._trace.note("accepted", kept.asked.number, kept.asked.player, kept.asked.name)

    def _place(self, kept: Kept, key: tuple[int, int], size: int, at: float, receipt: Receipt | None) -> None:
        kept.order, kept.accepted_at, kept.key = len(self.accepted), at, key
        kept.size, kept.receipt = held_bytes(kept.asked, size), receipt
        self.by_key[key] = kept
        self.accepted.append(kept)
        self.pending[kept.asked.number] = kept
        queue = self.queues.setdefault(kept.asked.player, deque())
        if queue and _key(queue[-1]) > key:  # an earlier call waited for the disk, or for its turn
            ordered = list(queue)
            insort(ordered, kept, key=_key)
            queue.clear()
            queue.extend(ordered)
        else:
            queue.append(kept)

    def buffered(self, key: tuple[int, int], shared: SharedOutcome) -> None:
        """Note that the buffer took an event."""
        kept = self.by_key.get(key)
        if kept is None or kept.order is None:
            self._fail(f"the buffer took {key}, which nobody has accepted")
            return
        if kept.is_buffered:
            self._fail(f"the buffer took event {kept.asked.number} twice")
        kept.is_buffered, kept.buffered_at = True, self._now()
        if kept.stored_at is not None:
            kept.accepted_at = self._opened_at(kept)
        if kept.receipt is None:
            kept.receipt = Receipt(shared, kept.asked.name)
        self._trace.note("buffered", kept.asked.number)

    def refused(self, encoded: bytes, shared: SharedOutcome) -> None:
        """Note that an accepted event is given up before it comes into the buffer."""
        kept = self.kept[number_of(encoded)]
        kept.is_refused = True
        if kept.receipt is None:
            kept.receipt = Receipt(shared, kept.asked.name)

    def first_outside(self) -> list[Kept]:
        """The events of the next request that lies outside of the buffer."""
        spilled = [self.kept[number] for number in self.pending if not self.kept[number].is_buffered]
        first = min(spilled, key=_key, default=None)
        if first is None:
            return []
        return [kept for kept in spilled if kept.group == first.group]

    # ---------------------------------------------------------------- outcomes

    def _settle(self, placed: Placed) -> None:
        super()._settle(placed)
        kept = self.kept[placed.asked.number]
        outcome: Any = kept.outcome
        kept.story.outcomes.append((self._life, outcome))
        kept.story.is_announced |= getattr(outcome, "maybe_duplicate", False) or getattr(
            outcome, "may_have_arrived", False
        )

    def note_promises(self) -> None:
        """Remember which receipts say that their event is durable, and check that it is so."""
        for placed in self.accepted:
            kept = self.kept[placed.asked.number]
            if kept.story.life == self._life and not kept.story.is_promised and kept.receipt and kept.receipt.durable:
                self.promise(kept)

    def promise(self, kept: Kept) -> None:
        """Note that somebody was told that an event is durable; it has to be so."""
        kept.story.is_promised = True
        assert kept.key is not None
        file = next((file for file in self.history.folder.files if file.number == kept.key[0]), None)
        if file is not None and kept.key[1] not in file.acknowledged:
            self._fail(f"event {kept.asked.number} is called durable and is not")

    # ---------------------------------------------------------------- conservation

    def check(self, stats: Stats) -> None:
        """Conservation: the client's accounts are the truth, and so is where it says that its events are."""
        inside = [self.kept[number] for number in self.pending if self.kept[number].is_buffered]
        truth = {
            "accepted": len(self.accepted),
            "delivered": self.outcomes[Delivered],
            "rejected": self.outcomes[Rejected],
            "dropped": self.outcomes[Dropped],
            "unknown": self.outcomes[OutcomeUnknown],
            "pending": len(self.pending),
            "buffered_events": len(inside),
            "journaled_events": len(self.pending) - len(inside),
        }
        self._check_bytes(stats, inside)
        for account, expected in truth.items():
            if (told := getattr(stats, account)) != expected:
                self._fail(f"stats say {account}={told}, the truth is {expected}")

    def check_resolved_once(self) -> None:
        """No receipt changed its mind."""
        for placed in self.accepted:
            shared = placed.receipt._shared if placed.receipt else None
            outcome = shared.outcome_of(placed.asked.name) if shared else None
            if outcome is not placed.outcome:
                self._fail(f"the receipt of event {placed.asked.number} changed its outcome")


def _key(placed: Placed) -> tuple[int, int]:
    assert isinstance(placed, Kept)
    assert placed.key is not None
    return placed.key


def number_of(encoded: bytes) -> int:
    """The number of an event, from its bytes."""
    ((_, metadata),) = json.loads(b"{" + encoded + b"}").items()
    number: int = metadata["n"]
    return number
