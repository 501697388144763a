"""Where a request is received, judged and answered in three steps; no socket and no sleep here, time comes in."""

from __future__ import annotations

import hashlib
import logging
import random
from typing import TYPE_CHECKING

import attrs

from ._faults import FaultScript, Plan
from ._limits import LimitWindows
from ._memory import RequestRecord, SandboxMemory
from ._responses import EFFECTS, PlannedResponse, Refusal, refused, success
from ._validator import ParsedRequest, read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._api_versions import Dialect
    from ._faults import Fault
    from ._limits import Limits, Use


_log = logging.getLogger(__name__)


@attrs.frozen
class AcceptedKeys:
    """What the headers must hold; None accepts anything that is not empty."""

    api_key: str | None = attrs.field(default=None, repr=False)
    secret_key: str | None = attrs.field(default=None, repr=False)

    def refusal(self, dialect: Dialect, headers: Mapping[str, str]) -> Refusal | None:
        """The rule that the keys of a request break, if any; v3.0 and v4.0 need no SecretKey."""
        api_key, secret_key = headers.get("apikey", ""), headers.get("secretkey", "")
        if not api_key:
            return Refusal("api_key_missing", "Unauthorized access. Please authenticate to proceed.")
        if self.api_key not in {None, api_key}:
            return Refusal("api_key_wrong", "Unauthorized access. Please authenticate to proceed.")
        if dialect.needs_secret and not secret_key:
            return Refusal("secret_key_missing", "The Secret key is required.")
        if secret_key and self.secret_key not in {None, secret_key}:
            return Refusal("secret_key_wrong", "The Secret key is not valid.")
        return None


@attrs.define(eq=False)
class InFlight:
    """A request from its arrival to its end.

    Args:
        number: counted by arrival.
        start: when its body had arrived, in seconds.
        path: the route.
        dialect: the version, or None on a route that does not exist.
        headers: by lower-case name.
        digest: of the body.
        reading: what the body says.
        is_gone: tells whether the client has left.
        plan: what the script has in store.
        blocked: whether the player's previous request was still in progress.
    """

    number: int
    start: float
    path: str
    dialect: Dialect | None
    headers: Mapping[str, str] = attrs.field(repr=False)
    digest: str
    reading: ParsedRequest
    is_gone: Callable[[], bool] = attrs.field(repr=False)
    plan: Plan = attrs.field(factory=Plan)
    blocked: bool = False
    applied: bool = False
    ended: bool = False


class RequestHandler:
    """The one place where requests, rules, faults and memory meet; used from one thread, the ledger from any.

    Args:
        keys: what the headers must hold.
        limits: the rate limit, or None for none.
        seed: of the faults' random numbers.
        on_request: called with the record of each request that ends.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        *,
        keys: AcceptedKeys,
        limits: Limits | None,
        seed: int,
        on_request: Callable[[RequestRecord], None] | None,
        now: Callable[[], float],
    ) -> None:
        self.memory = SandboxMemory()
        self._keys = keys
        self._limits = limits
        self._seed = seed
        self._on_request = on_request
        self._now = now
        self._windows = LimitWindows(limits)
        self._in_progress: dict[str, InFlight] = {}
        self.script()

    def script(self, *faults: Fault) -> None:
        """Replace the script; its clock and its random numbers start anew. Safe from any thread."""
        self._script = FaultScript(faults, random.Random(self._seed), self._now())  # noqa: S311 - no secret is drawn

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of the script."""
        return self._script.faults

    def switch(self, fault: Fault, *, on: bool) -> None:
        """Add a fault before the others or take it out; the others go on as they were."""
        if on:
            self._script.put_first(fault, self._now())
        else:
            self._script.take_out(fault)

    def struck(self, fault: Fault) -> int | None:
        """How many requests a fault has struck, or None if it is not at work."""
        return self._script.struck(fault)

    def use(self) -> list[Use]:
        """How full the rate windows are."""
        return self._windows.use(self._now())

    def reset(self) -> None:
        """Forget what was held, logged and counted; the script stays. Safe from any thread."""
        self.memory.reset()
        self._windows = LimitWindows(self._limits)

    def arrive(
        self, dialect: Dialect | None, path: str, headers: Mapping[str, str], body: bytes, is_gone: Callable[[], bool]
    ) -> InFlight:
        """First step: number and read a request, and occupy its player."""
        reading = ParsedRequest() if dialect is None else read(dialect, headers.get("content-type", ""), body)
        now = self._now()
        digest = hashlib.sha256(body).hexdigest()
        visit = InFlight(self.memory.open(), now, path, dialect, headers, digest, reading, is_gone)
        if dialect is not None:
            visit.plan = self._script.plan(reading.player, reading.names, now)
            self._occupy(visit)
        return visit

    def _occupy(self, visit: InFlight) -> None:
        if visit.reading.player is None:
            return
        other = self._in_progress.setdefault(visit.reading.player, visit)
        visit.blocked = other is not visit
        # a client that gave the other one up cannot know how far it got: it is told 2001, but broke no rule
        if visit.blocked and not other.is_gone():
            self.memory.violate(visit.number, _CONCURRENT)

    def decide(self, visit: InFlight) -> PlannedResponse:
        """Second step: judge a request, apply it if nothing speaks against it, and choose the answer."""
        if visit.dialect is None:
            refusal = Refusal("route", f"Nothing listens at {visit.path}.")
            self.memory.violate(visit.number, refusal)
            return PlannedResponse(404, reason=refusal.detail)
        refusals = self._refusals(visit, visit.dialect)
        effect = EFFECTS[visit.plan.fault.kind] if visit.plan.fault else None
        if not refusals and (effect is None or effect.applies):
            self._apply(visit)
        answer = success(visit.dialect)
        if refusals:
            retry_after = self._limits.retry_after if self._limits and refusals[0].kind == "rate" else None
            answer = refused(refusals[0], visit.dialect, visit.number, retry_after)
        if effect is None or visit.plan.fault is None:
            return answer
        return effect.answer(visit.plan.fault, visit.dialect, visit.number, answer)

    def _refusals(self, visit: InFlight, dialect: Dialect) -> list[Refusal]:
        """All that speaks against a request, first what is answered first; noted on the way."""
        # the keys of a probe are those of a client, its empty body and its place in the rate limit are not
        is_probe = _is_probe(visit)
        full = self._windows.full(self._now()) if is_probe else self._windows.admit(self._now())
        broken = [
            self._keys.refusal(dialect, visit.headers),
            None if full is None else Refusal("rate", full),
            visit.reading.refusal,
        ]
        refusals = [refusal for refusal in broken if refusal is not None]
        for refusal in broken[:1] if is_probe else refusals:
            if refusal is not None:
                self.memory.violate(visit.number, refusal)
        return [*refusals, _CONCURRENT] if visit.blocked else refusals

    def _apply(self, visit: InFlight) -> None:
        if visit.reading.player is not None:
            self.memory.apply(visit.number, visit.reading.player, visit.reading)
            visit.applied = True

    def end(self, visit: InFlight, answer: PlannedResponse | None) -> None:
        """Third step, just before the last byte: free the player and log the request; does so once.

        Args:
            visit: the request.
            answer: what is sent, or None if the sandbox stops in the midst of it.
        """
        if visit.ended:
            return
        visit.ended = True
        player = visit.reading.player
        if player is not None and self._in_progress.get(player) is visit:
            del self._in_progress[player]
        record = self._record(visit, answer)
        self.memory.close(record)
        self._report(record)

    def _record(self, visit: InFlight, answer: PlannedResponse | None) -> RequestRecord:
        return RequestRecord(
            number=visit.number,
            start=visit.start,
            end=self._now(),
            path=visit.path,
            player=visit.reading.player,
            events=visit.reading.names,
            status=answer.status if answer else None,
            code=answer.code if answer else None,
            applied=visit.applied,
            fault=visit.plan.fault.kind if visit.plan.fault else None,
            digest=visit.digest,
            left=visit.is_gone(),
            reason=answer.reason if answer else None,
        )

    def _report(self, record: RequestRecord) -> None:
        if self._on_request is None:
            return
        try:
            self._on_request(record)
        except Exception:  # noqa: BLE001 - the callback is the user's: whatever it raises is told, and harms no request
            _log.exception("on_request has failed for request %d; the request goes on", record.number)


def _is_probe(visit: InFlight) -> bool:
    """Whether this is the empty request of `gameball-async doctor`, which is refused on purpose and breaks no rule."""
    agent = visit.headers.get("user-agent", "")
    return visit.digest == _EMPTY and agent.startswith("gameball-async/") and agent.endswith(" doctor")


_EMPTY = hashlib.sha256(b"{}").hexdigest()
_CONCURRENT = Refusal("concurrent", "Another request of the same player is in progress.")
