"""One simulation of the outbox: relays live through what the plan has for them, and the oracle looks at each step."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

from gameball_async._engine.delivery import Delivery
from gameball_async._engine.network import Transport
from gameball_async.outbox._outbox_storage import OutboxStorage

from .. import loops
from ..gameball import EPOCH
from ..ledger import Trace
from ..loops import START
from ..simulation import Result
from .applications import write
from .attempts import Attempts
from .database import Network
from .gameball import WorldGameball
from .oracle import Oracle
from .plan import DatabaseSpan, Happening, OutboxPlan, RelayPlan, make_plan
from .relays import RelayProcess
from .tables import Tables
from .truth import Truths
from .world import World

BACKEND = "asyncio"
"""The relay's driver knows no other."""


class OutboxResult(Result):
    """What came of one seed."""

    @property
    def replay(self) -> str:
        """The command that shows it again."""
        return f"python -m tests.simulation --outbox --seed {self.seed}"


def simulate_outbox(seed: int, backend: str = BACKEND, plan: OutboxPlan | None = None) -> Result:
    """Run one seed."""
    simulation = _Simulation(plan or make_plan(seed))
    simulation.run()
    oracle = simulation.oracle
    committed, requests = len(simulation.truths.committed), len(simulation.attempts.all)
    return OutboxResult(seed, backend, oracle.failures, simulation.trace, committed, requests)


class _Simulation:
    def __init__(self, plan: OutboxPlan) -> None:
        self._plan = plan
        self._world = World(plan.seed, self._fail)
        self.trace = Trace(self._now)
        self.truths = Truths(self._now, self._fail, self.trace)
        self.oracle = Oracle(plan, self._world, self.truths, self.trace)
        self._tables = Tables(self._world, Random(plan.seed + 3), self.oracle)
        self.attempts = Attempts(plan, self._tables, self.truths, self._now, self._fail, self.trace)
        self._network = Network(latest=plan.latest, timeout=plan.lease / 2)
        self._gameball: WorldGameball
        self._relays: list[RelayProcess] = []
        self._random = Random(plan.seed + 5)

    def _now(self) -> float:
        return self._world.now

    def _fail(self, what: str) -> None:
        self.oracle.fail(what)

    # ---------------------------------------------------------------- the run

    def run(self) -> None:
        """Play the plan from start to end, or to the first finding."""
        self.oracle.watch(self._tables, self.attempts, self._relays)
        self._gameball = WorldGameball(self._world, self._plan, self.attempts)
        try:
            with (
                _patched(self._plan, self._world, self._gameball, self._on_log),
                mock.patch.object(OutboxStorage, "seal", self._watched_seal(OutboxStorage.seal)),
            ):
                try:
                    self._schedule()
                    self._world.run(START + self._plan.lasts)
                    if not self._world.is_over:
                        self._end()
                finally:
                    self._world.is_over = True
                    self._world.end()
        except Exception as error:  # noqa: BLE001 whatever comes out is a finding
            self.oracle.failures.append("".join(traceback.format_exception(error)))

    def _watched_seal(self, seal: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def watched_seal(storage: OutboxStorage, *arguments: Any) -> None:
            await seal(storage, *arguments)
            for relay in self._relays:
                if relay.process is self._world.running:
                    self.attempts.lives[relay.process.name] = storage
                    await relay.sealed()

        return watched_seal

    def _on_log(self, record: logging.LogRecord) -> None:
        process = self._world.running
        if process is not None and not self._world.is_over:
            self.trace.note("log", process.name, record.levelname, record.getMessage())

    def _schedule(self) -> None:
        for number, relay in enumerate(self._plan.relays):
            self._world.at(START + relay.starts_at, partial(self._start, number, 0, relay))
        self.truths.writing = len(self._plan.writings)
        for writing in self._plan.writings:
            script = write(writing, self._tables, self.truths)
            self._world.at(START + writing.at, partial(self._world.begin, script))
        self._begin_span(self._plan.database)

    # ---------------------------------------------------------------- relays

    def _start(self, number: int, life: int, plan: RelayPlan) -> None:
        relay = RelayProcess(f"relay{number}.{life}", self._world, self._plan, self._tables, self._network, self.oracle)
        self._relays.append(relay)
        relay.start(self.attempts.ids)
        self.trace.note("start", relay.process)
        for happening in plan.happenings:
            if START + happening.at > self._world.now:
                self._world.at(START + happening.at, partial(self._happen, relay, number, life, plan, happening))

    def _happen(self, relay: RelayProcess, number: int, life: int, plan: RelayPlan, happening: Happening) -> None:
        if relay.has_ended or self.oracle.is_calm:
            return
        self.trace.note(happening.what, relay.process, f"{happening.lasts:.4f} s")
        over_after = partial(self._world.after, happening.lasts)
        match happening.what:
            case "kill" | "stop":
                relay.kill() if happening.what == "kill" else relay.stop()
                if happening.lasts < self._plan.lasts:
                    over_after(partial(self._restart, number, life + 1, plan))
            case "suspend" | "sleep":
                relay.suspend(asleep=happening.what == "sleep")
                over_after(partial(self._resume, relay))
            case "suspend before a request":
                relay.suspend_before_request(lambda: over_after(partial(self._resume, relay)))
            case "cut off":
                self._network.cut_off.add(relay.process.name)
                over_after(lambda: self._network.cut_off.discard(relay.process.name))

    def _restart(self, number: int, life: int, plan: RelayPlan) -> None:
        if not self.oracle.is_calm and not any(relay.process.name == f"relay{number}.{life}" for relay in self._relays):
            self._start(number, life, plan)

    def _resume(self, relay: RelayProcess) -> None:
        self.trace.note("resume", relay.process)
        relay.process.resume()

    # ---------------------------------------------------------------- the database

    def _begin_span(self, spans: tuple[DatabaseSpan, ...]) -> None:
        if self.oracle.is_calm:
            return
        span = spans[0] if spans else DatabaseSpan(0.0, {}, 1.0, is_down=False)
        self._network.odds, self._tables.slowness = span.odds, span.slowness
        if span.is_down and not self._tables.server.is_down:
            self._tables.server.restart()
        self._tables.server.is_down = span.is_down
        self.oracle.is_database_calm = not spans
        if spans:
            self.trace.note("database", span.odds, span.slowness, "down" if span.is_down else "")
            self._world.at(START + span.until, partial(self._begin_span, spans[1:]))

    # ---------------------------------------------------------------- the end

    def _end(self) -> None:
        """Stop the faults, wait until nothing is left, and stop the relays."""
        self.trace.note("calm")
        self._begin_span(())
        self.oracle.is_calm = self._gameball.is_calm = True
        self.oracle.calm_at = self._world.now
        self._network.cut_off.clear()
        for relay in self._relays:
            relay.suspend_before_request(None)
            if relay.process.is_suspended:
                self._resume(relay)
        if all(relay.has_ended or relay.is_stopping for relay in self._relays):
            self._start(99, 0, RelayPlan(0.0, ()))
        if self._wait(self.oracle.is_drained, self.oracle.drain_bound(), self.oracle.fail_undrained) and self._stop():
            self._world.run(self._world.now + self._plan.latest + 1)
            self._clean_up()
        if not self._world.is_over:
            self.oracle.check_end()

    def _clean_up(self) -> None:
        """Let another relay remove seals that were written late, after their events had gone."""
        if self.oracle.has_seals():
            self._start(98, 0, RelayPlan(0.0, ()))
            bound = self._plan.lease + 2
            if self._wait(lambda: not self.oracle.has_seals(), bound, self.oracle.fail_undrained):
                self._stop()

    def _stop(self) -> bool:
        for relay in self._relays:
            if not relay.has_ended:
                relay.stop()
        return self._wait(
            lambda: all(relay.has_ended for relay in self._relays),
            self.oracle.STOP_BOUND,
            lambda: self.oracle.fail(f"a relay does not stop\n{self._world.who_waits()}"),
        )

    def _wait(self, condition: Callable[[], bool], seconds: float, fail: Callable[[], None]) -> bool:
        """Run until something is true; False if the run is over."""
        bound = self._world.now + seconds
        while not self._world.is_over and not condition():
            if self._world.now >= bound:
                fail()
                break
            self._world.run(min(bound, self._world.now + 0.5))
        return not self._world.is_over


@contextmanager
def _patched(
    plan: OutboxPlan, world: World, gameball: WorldGameball, on_log: Callable[[logging.LogRecord], None]
) -> Generator[None]:
    """Put the relays into the world: its time, its network, its chance."""

    def new_transport(delivery: Delivery) -> Transport:
        return gameball.transport(delivery)

    with ExitStack() as patches:
        patch = partial(_enter, patches)
        patches.enter_context(loops._ordered_cancellation())
        patches.enter_context(_logged(on_log))
        patch("gameball_async._engine.flusher.random", Random(plan.seed + 2).random)
        patch("gameball_async._engine.delivery.time", SimpleNamespace(time=lambda: EPOCH + world.now))
        patch("gameball_async.outbox._relay.suspension_proof_clock", lambda: world.now)
        patch("gameball_async.outbox._outbox_storage._PAGE", plan.page)
        patches.enter_context(mock.patch.object(Delivery, "_new_transport", new_transport))
        yield


def _enter(patches: ExitStack, target: str, value: object) -> None:
    patches.enter_context(mock.patch(target, value))


@contextmanager
def _logged(emit: Callable[[logging.LogRecord], None]) -> Generator[None]:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            emit(record)

    log, handler = logging.getLogger("gameball_async"), Handler()
    log.addHandler(handler)
    propagates, log.propagate = log.propagate, False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagates
