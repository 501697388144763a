"""Those who call a client with a journal."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio

from gameball_async import CloseReport, Delivered

from ..plan import Close, Send, Step, Track
from ..users import Users
from .history import Kept
from .oracle import JournalOracle
from .plan import NUMBERS


class JournalUsers(Users):
    """Calls the client of one life, and tells the oracle of each call and of what it brought."""

    def __init__(self, oracle: JournalOracle, backend: str, began: float) -> None:
        super().__init__(oracle, backend)
        self._life = oracle
        self._began = began

    async def act(self, script: tuple[Step, ...]) -> None:
        """Play one script."""
        for step in script:
            await anyio.sleep_until(self._began + step.at)
            await self.cancellable(partial(self._do, step.act), step.cancel)
        self._acting -= 1
        if not self._acting:
            self.done.set()

    async def track(self, track: Track) -> None:
        """Track one event; unless it returns a receipt, nothing may be left of it."""
        kept = self._life.kept.asked(track)
        given = dict(track.metadata)
        returned = False
        try:
            with self._calling("nowait" if track.nowait else "track", (kept,), self._plan.batching.wait_timeout):
                method: Any = self._oracle.gameball.track_nowait if track.nowait else self._oracle.gameball.track
                result = method(track.player, track.name, given, mobile=track.mobile, email=track.email)
                receipt = result if track.nowait else await result
                returned = True
                self._check_receipt(kept, receipt, is_durable=not track.nowait)
        finally:
            self._abandon(kept, returned=returned)
        given["n"] = -1

    def _check_receipt(self, kept: Kept, receipt: Any, *, is_durable: bool) -> None:
        if self._life.is_crashed:
            return
        if kept.order is None:
            self._oracle.fail(f"track returned a receipt for event {kept.asked.number}, which is not counted")
        elif is_durable and not receipt.durable:
            self._oracle.fail(f"track returned before event {kept.asked.number} was durable")
        elif is_durable:
            self._life.kept.promise(kept)

    def _abandon(self, kept: Kept, *, returned: bool) -> None:
        """Note that a call failed: if the process had not crashed before, nothing of it may come back."""
        if returned or self._life.is_crashed:
            return
        if kept.order is not None:
            self._oracle.fail(f"the call of event {kept.asked.number} failed, and it counts as accepted")
        kept.story.is_abandoned = True
        self._oracle.trace.note("abandoned", kept.asked.number)

    async def send(self, send: Send) -> None:
        """Send events as one request."""
        placed = tuple(self._life.kept.asked(track) for track in send.events)
        first = send.events[0]
        events = {track.name: track.metadata for track in send.events}
        try:
            with self._calling("send", placed):
                outcome = await self._oracle.gameball.send(first.player, events, mobile=first.mobile, email=first.email)
                self._check_sent(outcome, placed)
        finally:
            for kept in placed:
                self._abandon(kept, returned=kept.order is not None)

    def _check_sent(self, outcome: Delivered, placed: tuple[Kept, ...]) -> None:
        self._ledger.collect()
        said = [kept.outcome for kept in placed]
        if not all(isinstance(each, Delivered) for each in said):
            self._oracle.fail(f"send returned {outcome}, its events have {said}")

    async def close(self, close: Close) -> None:
        """Close the client."""
        await anyio.sleep(close.after)
        self._oracle.calls.begin_close()
        self._oracle.trace.note("close", close.timeout)
        with self._calling("close", timeout=close.timeout):
            report: CloseReport = await self._oracle.gameball.aclose(close.timeout)
            self._ledger.collect()
            self._life.process.leave()
            self._life.closed_at = min(self._life.closed_at, self._oracle.now())
            self._oracle.calls.check_closed(report)
            self._oracle.trace.note("closed", len(report.undelivered), report.kept)

    async def await_receipt(self, placed: Any) -> None:
        """Await the outcome of one event, if somebody of this life holds its receipt."""
        if placed.story.life == self._life.number:
            await super().await_receipt(placed)

    def _follow_up(self, player: str, *, nowait: bool = True) -> Track:
        self._follow_ups += 1
        number = NUMBERS * (self._life.number + 1) - self._follow_ups
        return Track(number=number, player=player, name="follow_up", metadata={"n": number}, nowait=nowait)
