"""Receives, judges and answers requests in three steps. No sockets and no sleeps; the time is an argument."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable, Mapping, Sequence

import attrs

from ._faults import Fault, FaultScript, Plan, RouteName
from ._job_status import status_body, stop_body
from ._jobs import Job, JobSettings
from ._memory import RequestRecord, SandboxMemory
from ._preview import Reward, RewardBook
from ._responses import EFFECTS, ApiRoute, Dialect, PlannedResponse, Refusal, compact, refused, success
from ._rules import Limits, LimitWindows, ParsedRequest, Use, read, read_bulk, read_preview

_log = logging.getLogger(__name__)

_EMPTY = hashlib.sha256(b"{}").hexdigest()
_CONCURRENT = Refusal("concurrent", "Another request of the same player is in progress.")
_NO_JOB = Refusal("no_job", "The job was not found.")
_NO_CUSTOMER = Refusal("no_customer", "The customer was not found.")

_READERS: Mapping[RouteName, Callable[[Dialect, str, bytes], ParsedRequest]] = {
    "events": read,
    "batch": read_bulk,
    "preview": read_preview,
}
"""How bodies are parsed; requests about a job have none."""


@attrs.frozen
class AcceptedKeys:
    """The keys that requests must have; None accepts any key that is not empty."""

    api_key: str | None = attrs.field(default=None, repr=False)
    secret_key: str | None = attrs.field(default=None, repr=False)

    def refusal(self, headers: Mapping[str, str], *, needs_secret: bool) -> Refusal | None:
        """Return the rule that the keys of a request break, or None."""
        api_key, secret_key = headers.get("apikey", ""), headers.get("secretkey", "")
        if not api_key:
            return Refusal("api_key_missing", "Unauthorized access. Please authenticate to proceed.")
        if self.api_key not in {None, api_key}:
            return Refusal("api_key_wrong", "Unauthorized access. Please authenticate to proceed.")
        if needs_secret and not secret_key:
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
        path: as it was asked for.
        route: what it asks for, or None if there is nothing at its path.
        job_id: the job's id in the path, if it is about a job.
        headers: by lower-case name.
        digest: of the body.
        parsed: the content of the body.
        is_gone: whether the client has disconnected.
        plan: what the fault script does to it.
        blocked: whether the player's previous request was still in progress.
        job: the job that it created or is about.
    """

    number: int
    start: float
    path: str
    route: ApiRoute | None
    job_id: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    digest: str
    parsed: ParsedRequest
    is_gone: Callable[[], bool] = attrs.field(repr=False)
    plan: Plan = attrs.field(factory=Plan)
    blocked: bool = False
    job: Job | None = None
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
        jobs: JobSettings,
        rewards: Mapping[str, int | Reward | Sequence[Reward]],
        seed: int,
        on_request: Callable[[RequestRecord], None] | None,
        now: Callable[[], float],
    ) -> None:
        self.memory = SandboxMemory()
        self.jobs = jobs
        self._keys = keys
        self._limits = limits
        self._seed = seed
        self._on_request = on_request
        self._now = now
        self._rewards = RewardBook(rewards)
        self._reset_windows()
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

    def use(self) -> tuple[list[Use], list[Use]]:
        """Return how full the rate windows are: those of requests with events, and those of the others."""
        now = self._now()
        events, others = self._windows, self._other_windows
        return events.use(now) if events else [], others.use(now) if others else []

    def reset(self) -> None:
        """Delete all events, jobs, records and counts, but not the script. Callable from any thread."""
        self.memory.reset()
        self._reset_windows()

    def _reset_windows(self) -> None:
        self._windows = self._other_windows = None
        if (limits := self._limits) is not None:
            self._windows = LimitWindows(limits.per_second, limits.per_30_seconds)
            self._other_windows = LimitWindows(limits.others_per_second, limits.others_per_30_seconds)

    def arrive(
        self,
        route: ApiRoute | None,
        path: str,
        job_id: str,
        headers: Mapping[str, str],
        body: bytes,
        is_gone: Callable[[], bool],
    ) -> InFlight:
        """First step: number and parse a request, and mark its player as busy."""
        reader = None if route is None else _READERS.get(route.name)
        parsed = ParsedRequest()
        if route is not None and reader is not None:
            parsed = reader(route.dialect, headers.get("content-type", ""), body)
        now = self._now()
        digest = hashlib.sha256(body).hexdigest()
        request = InFlight(self.memory.open(), now, path, route, job_id, headers, digest, parsed, is_gone)
        if route is not None:
            request.plan = self.script.plan(route.name, parsed.players, parsed.names, now)
            if route.name == "events":
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
        """Second step: judge a request, do what it asks for if it is valid, and choose the response."""
        route = request.route
        if route is None:
            refusal = Refusal("route", f"Nothing listens at {request.path}.")
            self.memory.violate(request.number, refusal)
            return PlannedResponse(404, reason=refusal.detail)
        refusals = self._refusals(request, route)
        fault = request.plan.fault
        effect = EFFECTS[fault.kind] if fault else None
        response = success(route.dialect)
        if refusals:
            retry_after = self._limits.retry_after if self._limits and refusals[0].kind == "rate" else None
            response = refused(refusals[0], route.dialect, request.number, retry_after)
        elif effect is None or effect.applies:
            response = self._perform(request, route)
        if effect is None or fault is None:
            return response
        return effect.respond(fault, route.dialect, request.number, response)

    def _refusals(self, request: InFlight, route: ApiRoute) -> list[Refusal]:
        """Return the broken rules, the one to answer first, and record them as violations."""
        broken = [
            self._keys.refusal(request.headers, needs_secret=route.needs_secret),
            self._excess(request, route),
            request.parsed.refusal,
        ]
        refusals = [refusal for refusal in broken if refusal is not None]
        for refusal in broken[:1] if request.is_probe else refusals:
            if refusal is not None:
                self.memory.violate(request.number, refusal)
        return [*refusals, _CONCURRENT] if request.blocked else refusals

    def _excess(self, request: InFlight, route: ApiRoute) -> Refusal | None:
        """Count a request in the rate windows, or return which of them is full."""
        windows = self._windows if route.name == "events" else self._other_windows
        if windows is None:
            return None
        # a probe has a client's keys, but its empty body and its place in the rate windows do not count
        full = windows.full(self._now()) if request.is_probe else windows.admit(self._now())
        return None if full is None else Refusal("rate", full)

    def _perform(self, request: InFlight, route: ApiRoute) -> PlannedResponse:
        """Do what a valid request asks for, and return the response without a fault."""
        match route.name:
            case "events":
                self._apply(request)
                return success(route.dialect)
            case "batch":
                return PlannedResponse(200, compact({"jobId": self._accept(request).id}))
            case "status" | "stop":
                return self._about_job(request, route)
            case "preview":
                return self._preview(request, route)

    def _apply(self, request: InFlight) -> None:
        if request.parsed.player is not None:
            self.memory.apply(request.number, request.parsed.player, request.parsed)
            request.applied = True

    def _accept(self, request: InFlight) -> Job:
        items = request.parsed.items
        for refusal in filter(None, (item.refusal for item in items)):
            self.memory.violate(request.number, refusal)
        self.memory.accepted()
        job = self.memory.jobs.accept(request.number, items, self.jobs, self._seed, self._now())
        request.applied, request.job = True, job
        return job

    def _about_job(self, request: InFlight, route: ApiRoute) -> PlannedResponse:
        if not self.jobs.has(route.pair):
            return PlannedResponse(404, reason="This path does not exist, as the settings of jobs say.")
        jobs = self.memory.jobs
        job = request.job = jobs.find(request.job_id)
        if job is None or not jobs.poll(job, self._now(), is_counted=route.name == "status"):
            return refused(_NO_JOB, route.dialect, request.number)
        if route.name == "status":
            return PlannedResponse(200, compact(status_body(job)))
        jobs.stop(job, self._now())
        return PlannedResponse(200, compact(stop_body(job, route.pair)))

    def _preview(self, request: InFlight, route: ApiRoute) -> PlannedResponse:
        parsed = request.parsed
        if parsed.player is None or not self.memory.holds(parsed.player):
            return refused(_NO_CUSTOMER, route.dialect, request.number)
        language = request.headers.get("lang", "")
        return PlannedResponse(200, compact(self._rewards.preview(parsed, language, self.memory.has_received)))

    def advance(self, job: Job) -> float | None:
        """Process the items of a job that are due; return the seconds until the next ones, or None."""
        now = self._now()
        self.memory.jobs.advance(job, now)
        due = job.due()
        return None if due is None else max(0.0, due - now)

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
            route=request.route.name if request.route else None,
            items=len(request.parsed.items),
            job=request.job.id if request.job else None,
        )
        self.memory.close(record)
        try:
            if self._on_request is not None:
                self._on_request(record)
        except Exception:  # noqa: BLE001 a bug in the user's callback must not affect the request
            extra = {"gameball_kind": "sandbox"}
            _log.exception("on_request raised for request %d; the request continues", record.number, extra=extra)
