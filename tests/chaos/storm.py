"""A storm of calls: thousands of players, calls cancelled at random; and the oracle over what the sandbox holds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from random import Random

import anyio
import attrs

from gameball_async import (
    AsyncGameball,
    Batching,
    BufferFull,
    ClientClosed,
    CloseReport,
    Delivered,
    DeliveryError,
    Dropped,
    Event,
    FlushTimeout,
    OutcomeUnknown,
    Receipt,
    Rejected,
    Retry,
)
from gameball_async.sandbox import Fault, RequestRecord, Sandbox

ENOUGH = 600  # events accepted, at least, however slow the machine is
PRODUCERS = 60
PLAYERS = 3000
NAMES = 8
BUFFER = 300
GUILTY = "guilty"
"""An event that Gameball refuses for good."""

REFUSAL = Fault.status(400, code=3000, events={GUILTY})
"""First in every script, so that a request with a guilty event is never applied."""


@attrs.frozen
class Figures:
    """A storm in numbers."""

    accepted: int
    cancelled: int
    delivered: int
    rejected: int
    repeated_requests: int
    requests: int
    ambiguous: int
    players: int


class Storm:
    """The calls, and what each of them came to.

    Args:
        url: where the client sends to.
        seed: decides what is called and when it is cancelled.
        timeout: the client's, in seconds.
    """

    def __init__(self, url: str, seed: int, *, timeout: float = 0.5) -> None:
        self.seed = seed
        self.gameball = AsyncGameball(
            "chaos-key",
            base_url=url,
            rate=None,
            timeout=timeout,
            on_failure=self._note_failure,
            batching=Batching(linger=0.01, max_events=20, buffer_events=BUFFER, wait_timeout=0.05),
            # innocent batches draw many 5xx here; to split or reject them is not what is tested
            retry=Retry(initial=0.05, maximum=0.3, max_attempts=10**6, give_up_after=math.inf),
        )
        self._placed: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self._receipts: dict[int, Receipt] = {}
        self._sent: set[int] = set()
        self._perhaps: set[int] = set()
        self._number = 0
        self._failed: Counter[int] = Counter()
        self.is_closing = False

    def _note_failure(self, event: Event, _: DeliveryError) -> None:
        self._failed[event.metadata["number"]] += 1

    # ---------------------------------------------------------------- the calls

    async def rage(self, seconds: float) -> None:
        """Call for so long, and on a slow machine until enough was accepted."""
        async with anyio.create_task_group() as tasks:
            for producer in range(PRODUCERS):
                tasks.start_soon(self._produce, producer, anyio.current_time() + seconds)

    async def _produce(self, producer: int, until: float) -> None:
        """Call for players of its own, so that the order of their events is defined."""
        random = Random(f"{self.seed} {producer}")
        while anyio.current_time() < until or self._is_too_calm():
            player = f"player{producer + PRODUCERS * random.randrange(PLAYERS // PRODUCERS)}"
            kind = random.random()
            patience = random.choice([0.1, 0, random.random() * 0.01])
            with anyio.move_on_after(patience), suppress(ClientClosed):
                if kind < 0.7:
                    await self._track(random, player)
                elif kind < 0.9:
                    await self._send(random, player)
                elif kind < 0.99:
                    self._track_nowait(random, player)
                else:
                    await self._flush(random)
            self._check_bounds()
            await anyio.sleep(random.random() * 0.04)

    def _is_too_calm(self) -> bool:
        return not self.is_closing and self.gameball.stats().accepted < ENOUGH

    def _next_event(self, random: Random, player: str) -> tuple[str, int]:
        self._number += 1
        name = GUILTY if random.random() < 0.01 else f"event{random.randrange(NAMES)}"
        self._placed[player].append((name, self._number))
        return self._placed[player][-1]

    async def _track(self, random: Random, player: str) -> None:
        name, number = self._next_event(random, player)
        with suppress(BufferFull):
            self._receipts[number] = await self.gameball.track(player, name, {"number": number})

    def _track_nowait(self, random: Random, player: str) -> None:
        name, number = self._next_event(random, player)
        with suppress(BufferFull):
            self._receipts[number] = self.gameball.track_nowait(player, name, {"number": number})

    async def _send(self, random: Random, player: str) -> None:
        """A `send` that is cancelled may or may not have been accepted: nobody was told."""
        events = dict(self._next_event(random, player) for _ in range(2))
        numbers = set(events.values())
        self._perhaps |= numbers
        try:
            await self.gameball.send(player, {name: {"number": number} for name, number in events.items()})
            self._sent |= numbers
        except BufferFull:
            self._perhaps -= numbers
        except Rejected:
            assert GUILTY in events
        except (Dropped, OutcomeUnknown):
            assert self.is_closing

    async def _flush(self, random: Random) -> None:
        with suppress(FlushTimeout):
            await self.gameball.flush(random.random() * 0.5)

    def _check_bounds(self) -> None:
        stats = self.gameball.stats()
        assert stats.accepted == stats.delivered + stats.rejected + stats.dropped + stats.unknown + stats.pending
        assert stats.buffered_events <= BUFFER
        assert stats.in_flight <= 10

    # ---------------------------------------------------------------- the oracle

    async def check(self, sandbox: Sandbox) -> Figures:
        """After everything is settled: assert that every event is where it belongs; returns the numbers."""
        assert self.gameball.stats().pending == 0
        held = {
            player: [(event.name, int(str(event.metadata["number"]))) for event in events]
            for player, events in sandbox.holdings().items()
        }
        copies = Counter(number for events in held.values() for _, number in events)
        assert set(held) <= set(self._placed)
        for player, placed in self._placed.items():
            self._check_player(placed, held.get(player, []))
        await self._check_receipts(copies)
        repeated = self._check_requests(sandbox)
        return self._figures(copies, held, repeated)

    async def check_closed(self, sandbox: Sandbox, report: CloseReport) -> int:
        """After a close in the midst of it: everything accepted is held, rejected or reported; returns how much is."""
        reported = {entry.event.metadata["number"]: entry.error for entry in report.undelivered}
        uncertain = {number for number, error in reported.items() if error.may_have_arrived}
        assert all(receipt.done for receipt in self._receipts.values())
        holdings = sandbox.holdings()
        for player, placed in self._placed.items():
            held = [event.metadata["number"] for event in holdings.get(player, [])]
            numbers = [number for _, number in placed]
            assert list(dict.fromkeys(held)) == [number for number in numbers if number in set(held)]
            accepted = {number for number in numbers if number in self._receipts or number in self._sent}
            assert accepted <= set(held) | set(self._failed)
            assert set(held) & set(reported) <= uncertain
        stats = self.gameball.stats()
        assert stats.accepted == stats.delivered + stats.rejected + stats.dropped + stats.unknown
        assert self._failed.total() == len(self._failed) == stats.rejected + stats.dropped + stats.unknown
        self._check_requests(sandbox)
        return len(reported)

    def _check_player(self, placed: list[tuple[str, int]], held: list[tuple[str, int]]) -> None:
        """Everything that was surely accepted and is innocent is held, in order, and nothing that was not accepted."""
        found = {number for _, number in held}
        expected = [
            (name, number)
            for name, number in placed
            if name != GUILTY
            and (number in self._receipts or number in self._sent or (number in self._perhaps and number in found))
        ]
        assert list(dict.fromkeys(held)) == expected

    async def _check_receipts(self, copies: Counter[int]) -> None:
        """Every receipt is resolved, and tells the truth."""
        assert all(receipt.done for receipt in self._receipts.values())
        for number, receipt in self._receipts.items():
            try:
                outcome: Delivered | Rejected = await receipt
            except Rejected as error:
                outcome = error
            assert isinstance(outcome, Delivered) == (number in copies)
            assert copies[number] <= 1 or (isinstance(outcome, Delivered) and outcome.maybe_duplicate)
            assert self._failed[number] == isinstance(outcome, Rejected)

    def _check_requests(self, sandbox: Sandbox) -> int:
        """One request at a time for each player, and none applied twice but for a lost answer; returns those."""
        assert {violation.kind for violation in sandbox.violations} <= {"concurrent"}
        requests = sandbox.requests
        for own in _by_player(requests).values():
            for earlier, later in pairwise(own):
                assert earlier.end <= later.start or earlier.left, (earlier, later)
        bodies = Counter(request.digest for request in requests if request.applied)
        repeated = bodies.total() - len(bodies)
        assert repeated <= self.gameball.stats().ambiguous
        return repeated

    def _figures(self, copies: Counter[int], held: dict[str, list[tuple[str, int]]], repeated: int) -> Figures:
        stats = self.gameball.stats()
        rejected = [number for number in self._failed if number in self._receipts]
        rejected_perhaps = [number for number in self._failed if number in self._perhaps]
        assert stats.accepted == stats.delivered + stats.rejected
        assert stats.delivered == len(copies)
        assert stats.rejected == len(rejected) + len(rejected_perhaps) == self._failed.total()
        return Figures(
            accepted=stats.accepted,
            cancelled=self._number - stats.accepted,
            delivered=stats.delivered,
            rejected=stats.rejected,
            repeated_requests=repeated,
            requests=stats.requests,
            ambiguous=stats.ambiguous,
            players=len(held),
        )


def _by_player(requests: Iterable[RequestRecord]) -> dict[str | None, list[RequestRecord]]:
    by_player: dict[str | None, list[RequestRecord]] = defaultdict(list)
    for request in sorted(requests, key=lambda request: request.start):
        by_player[request.player].append(request)
    return by_player
