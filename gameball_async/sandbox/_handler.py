"""Receives, judges and answers requests in three steps. No sockets and no sleeps; the time is an argument."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable, Mapping

import attrs

from ._faults import Fault, FaultScript, Plan
from ._memory import RequestRecord, SandboxMemory
from ._responses import EFFECTS, Dialect, PlannedResponse, Refusal, refused, success
from ._rules import Limits, LimitWindows, ParsedRequest, Use, read

_log = logging.getLogger(__name__)

_EMPTY = hashlib.sha256(b"{}").hexdigest()
_CONCURRENT = Refusal("concurrent", "Another request of the same player is in progress.")


@attrs.frozen
class AcceptedKeys:
    """The keys that requests must have; None accepts any key that is not empty."""

    api_key: str | None = attrs.field(default=None, repr=False)
    secret_key: str | None = attrs.field(default=None, repr=False)

    def refusal(self, dialect: Dialect, headers: Mapping[str, str]) -> Refusal | None:
        """Return the rule that the keys of a request break, or None; v3.0 and v4.0 need no SecretKey."""
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
        dialect: the API version, or None on an unknown route.
        headers: by lower-case name.
        digest: of the body.
        parsed: the content of the body.
        is_gone: whether the client has disconnected.
        plan: what the fault script does to it.
        blocked: whether the player's previous request was still in progress.
    """

    number: int
    start: float
    path: str
    dialect: Dialect | None
    headers: Mapping[str, str] = attrs.field(repr=False)
    digest: str
    parsed: ParsedRequest
    is_gone: Callable[[], bool] = attrs.field(repr=False)
    plan: Plan = attrs.field(factory=Plan)
    blocked: bool = False
    applied: bool = False
    ended: bool = False

    @property
    def is_probe(self) -> bool:
        """Whether this is the empty request of `gameball-async doctor`, which expects a refusal and breaks no rule."""
        agent = self.headers.get("user-agent", "")
        return self.digest == _EMPTY and agent.startswith("gameball-async/") and agent.endswith(" doctor")


class RequestHandler:
    """Applies rules and faults to requests, and records them. Used in the server's thread; the memory in any."""

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
        self.set_script()

    def set_script(self, *faults: Fault) -> None:
        """Replace the script, and restart its clock and random numbers. Callable from any thread."""
        generator = random.Random(self._seed)  # noqa: S311 not used for secrets
        self.script = FaultScript(faults, generator, self._now())

    def switch(self, fault: Fault, *, on: bool) -> None:
        """Put a fault before the others, or remove it; the others keep their clocks and counts."""
        if on:
            self.script.add_first(fault, self._now())
        else:
            self.script.remove(fault)

    def use(self) -> list[Use]:
        """Return how full the rate windows are."""
        return self._windows.use(self._now())

    def reset(self) -> None:
        """Delete all events, records and counts, but not the script. Callable from any thread."""
        self.memory.reset()
        self._windows = LimitWindows(self._limits)

    def arrive(
        self, dialect: Dialect | None, path: str, headers: Mapping[str, str], body: bytes, is_gone: Callable[[], bool]
    ) -> InFlight:
        """First step: number and parse a request, and mark its player as busy."""
        parsed = ParsedRequest() if dialect is None else read(dialect, headers.get("content-type", ""), body)
        now = self._now()
        digest = hashlib.sha256(body).hexdigest()
        request = InFlight(self.memory.open(), now, path, dialect, headers, digest, parsed, is_gone)
        if dialect is not None:
            request.plan = self.script.plan(parsed.player, parsed.names, now)
            self._occupy(request)
        return request

    def _occupy(self, request: InFlight) -> None:
        if request.parsed.player is None:
            return
        other = self._in_progress.setdefault(request.parsed.player, request)
        request.blocked = other is not request
        # a client that gave up the other request cannot know whether it has ended: it gets 2001, but broke no rule
        if request.blocked and not other.is_gone():
            self.memory.violate(request.number, _CONCURRENT)

    def decide(self, request: InFlight) -> PlannedResponse:
        """Second step: judge a request, apply it if it is valid, and choose the response."""
        if request.dialect is None:
            refusal = Refusal("route", f"Nothing listens at {request.path}.")
            self.memory.violate(request.number, refusal)
            return PlannedResponse(404, reason=refusal.detail)
        refusals = self._refusals(request, request.dialect)
        fault = request.plan.fault
        effect = EFFECTS[fault.kind] if fault else None
        if not refusals and (effect is None or effect.applies):
            self._apply(request)
        response = success(request.dialect)
        if refusals:
            retry_after = self._limits.retry_after if self._limits and refusals[0].kind == "rate" else None
            response = refused(refusals[0], request.dialect, request.number, retry_after)
        if effect is None or fault is None:
            return response
        return effect.respond(fault, request.dialect, request.number, response)

    def _refusals(self, request: InFlight, dialect: Dialect) -> list[Refusal]:
        """Return the broken rules, the one to answer first, and record them as violations."""
        # a probe has a client's keys, but its empty body and its place in the rate windows do not count
        full = self._windows.full(self._now()) if request.is_probe else self._windows.admit(self._now())
        broken = [
            self._keys.refusal(dialect, request.headers),
            None if full is None else Refusal("rate", full),
            request.parsed.refusal,
        ]
        refusals = [refusal for refusal in broken if refusal is not None]
        for refusal in broken[:1] if request.is_probe else refusals:
            if refusal is not None:
                self.memory.violate(request.number, refusal)
        return [*refusals, _CONCURRENT] if request.blocked else refusals

    def _apply(self, request: InFlight) -> None:
        if request.parsed.player is not None:
            self.memory.apply(request.number, request.parsed.player, request.parsed)
            request.applied = True

    def end(self, request: InFlight, response: PlannedResponse | None) -> None:
        """Third step, just before the last byte: release the player and record the request. Idempotent.

        Args:
            request: the request.
            response: what is sent, or None if the sandbox stops before that.
        """
        if request.ended:
            return
        request.ended = True
        player = request.parsed.player
        if player is not None and self._in_progress.get(player) is request:
            del self._in_progress[player]
        record = RequestRecord(
            number=request.number,
            start=request.start,
            end=self._now(),
            path=request.path,
            player=player,
            events=request.parsed.names,
            status=response.status if response else None,
            code=response.code if response else None,
            applied=request.applied,
            fault=request.plan.fault.kind if request.plan.fault else None,
            digest=request.digest,
            left=request.is_gone(),
            reason=response.reason if response else None,
        )
        self.memory.close(record)
        try:
            if self._on_request is not None:
                self._on_request(record)
        except Exception:  # noqa: BLE001 a bug in the user's callback must not affect the request
            extra = {"gameball_kind": "sandbox"}
            _log.exception("on_request raised for request %d; the request continues", record.number, extra=extra)
