"""One simulation: a plan is played against the simulated Gameball, and the oracle looks at every step."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest import mock

import anyio
import anyio.abc
import attrs
import httpx

from gameball_async import AsyncGameball, FlusherDied
from gameball_async._engine.delivery import Delivery

from . import loops
from .bulk.gameball import BulkGameball
from .bulk.plan import Mode, make_bulk_plan
from .bulk.requests import BulkRequests
from .gameball import EPOCH, SimulatedGameball, SimulatedTransport
from .hooks import determined, finalizers
from .ledger import Trace
from .oracle import Oracle
from .plan import Close, Plan, make_plan
from .users import Users


@attrs.frozen
class Result:
    """What came of one seed on one loop.

    Attributes:
        failures: what the oracle found wrong; the run ends with the first.
        trace: what happened.
        events: how many were accepted.
        requests: how many were sent.
        options: of the command that shows it again, beside seed and loop.
    """

    seed: int
    backend: str
    failures: list[str]
    trace: Trace
    events: int
    requests: int
    options: str = ""

    @property
    def replay(self) -> str:
        """The command that shows it again."""
        return f"python -m tests.simulation --seed {self.seed} --backend {self.backend}{self.options}"

    @property
    def headline(self) -> str:
        """The seed, and what is wrong."""
        return f"seed {self.seed} on {self.backend}: {self.failures[0] if self.failures else 'passed'}"

    def __str__(self) -> str:
        """What is wrong, how it came about, and how to see it again."""
        return "\n".join([self.headline, *self.failures[1:], *self.trace.lines(last=60), f"replay: {self.replay}"])


def simulate(seed: int, backend: str, plan: Plan | None = None) -> Result:
    """Run one seed on one loop."""
    simulation = _Simulation(plan or make_plan(seed), backend)
    simulation.run()
    oracle = simulation.oracle
    return Result(seed, backend, oracle.failures, oracle.trace, len(oracle.ledger.accepted), len(oracle.requests.all))


def simulate_bulk(seed: int, backend: str, mode: Mode | None = None) -> Result:
    """Run one seed of a client that sends bulk requests on one loop."""
    result = simulate(seed, backend, make_bulk_plan(seed, mode))
    return attrs.evolve(result, options=f" --mode {mode or 'any'}")


class _Simulation:
    def __init__(self, plan: Plan, backend: str) -> None:
        self._plan = plan
        self._backend = backend
        self._keeper = loops.Keeper(self._idle, self._stuck)
        self._scope: anyio.CancelScope | None = None
        self._flushers_scope: anyio.CancelScope | None = None
        self.oracle = Oracle(plan, lambda: self._keeper.now, self._stop)
        self._users = Users(self.oracle, backend)
        self._server: SimulatedGameball

    def _idle(self) -> None:
        self.oracle.idle()

    def _stuck(self, what: str) -> None:
        self.oracle.fail(what)

    def _stop(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    # ---------------------------------------------------------------- the run

    def run(self) -> None:
        """Play the plan from start to end, or to the first finding."""
        seed = self._plan.seed
        with ExitStack() as patches:
            patches.enter_context(_logged(self._users.on_log, logging.INFO if self._plan.jobs else logging.NOTSET))
            patches.enter_context(determined(seed, lambda: EPOCH + self._keeper.now))
            patches.enter_context(mock.patch.object(Delivery, "_new_transport", self._new_transport))
            if self._plan.finalizers:
                patches.enter_context(finalizers(self._users.finalize, seed))
            try:
                loops.run(self._main, self._backend, self._keeper, seed)
            except Exception as error:  # noqa: BLE001 whatever comes out of the client is a finding
                self.oracle.failures.append("".join(traceback.format_exception(error)))
        if self.oracle.failures:
            self.oracle.forget()

    def _new_transport(self) -> SimulatedTransport:
        return SimulatedTransport(self._server, self._plan.timeout)

    def _new_http_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self._server, trust_env=False)

    async def _main(self) -> None:
        with anyio.CancelScope() as self._scope:
            self._server = self._new_server()
            async with self._new_http_client() as http_client:
                self.oracle.watch(self._client(None if self._plan.own_pool else http_client))
                await self._play()
                await self._users.call_later()
                await self.oracle.check_end()
        self._keeper.is_over = True

    def _new_server(self) -> SimulatedGameball:
        requests = self.oracle.requests
        return (
            BulkGameball(self._plan, requests)
            if isinstance(requests, BulkRequests)
            else SimulatedGameball(self._plan, requests)
        )

    def _client(self, http_client: httpx.AsyncClient | None) -> AsyncGameball:
        plan = self._plan
        return AsyncGameball(
            "key",
            secret_key="secret" if plan.api_version == "v4.1" or plan.jobs else "",
            api_version=plan.api_version,
            base_url="http://gameball.invalid",
            batching=plan.batching,
            retry=plan.retry,
            rate=plan.rate,
            timeout=plan.timeout,
            on_failure=self._users.callback,
            http_client=http_client,
        )

    async def _play(self) -> None:
        for track in self._plan.before_start:
            await self._users.track(track)
        if self._plan.ending == "unstarted":
            await self._close()
            return
        async with anyio.create_task_group() as tasks:
            await self._start(tasks)
            for script in self._plan.scripts:
                tasks.start_soon(self._users.act, script)
            await self._end()

    # ---------------------------------------------------------------- start

    async def _start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Start the client in one of its ways: by `run`, or by one or several calls of `start`."""
        self.oracle.ledger.rebase_clock()
        if self._plan.run_in_group:
            await tasks.start(self._run_in_group)
        else:
            async with anyio.create_task_group() as starts:
                for cancel in self._plan.starts:
                    starts.start_soon(self._users.cancellable, self.oracle.gameball.start, cancel)
            try:
                await self.oracle.gameball.start()
            except FlusherDied:  # of what was tracked before it has died already
                if not self.oracle.life.is_killed:
                    raise
        self.oracle.life.is_started = True

    async def _run_in_group(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.CancelScope() as self._flushers_scope:
            try:
                await self.oracle.gameball.run(task_status=task_status)
            except FlusherDied as error:
                if self._plan.ending != "crash":
                    self.oracle.fail(f"run raised {error!r}")

    # ---------------------------------------------------------------- end

    async def _end(self) -> None:
        if self._plan.ending in ("drain", "flush"):
            await self._drain()
        else:
            await anyio.sleep(self._plan.ends_after)
        if self._plan.ending == "cancel" and self._plan.killed_after is None:
            self._kill_flusher()
        await self._close()

    async def _drain(self) -> None:
        """Stop the faults: everything has to arrive in the time that linger, backoff and pacing take."""
        await anyio.sleep(self._plan.lasts)
        self._server.is_calm = True
        self.oracle.trace.note("calm")
        await self._users.done.wait()
        ledger, accepted, bound = self.oracle.ledger, -1, 0.0
        while len(ledger.accepted) > accepted:  # what a callback has tracked meanwhile has a deadline of its own
            accepted, bound = len(ledger.accepted), self.oracle.requests.drain_bound()
            with anyio.move_on_after(bound):
                if self._plan.ending == "flush":
                    await self._users.flush(None)
                while ledger.pending:
                    await self._users.await_receipt(next(iter(ledger.pending.values())))
                    ledger.collect()
            if not ledger.pending:
                return
        self.oracle.fail(f"{bound:.4f} s after the faults stopped, these are pending: {list(ledger.pending)}")

    def _kill_flusher(self) -> None:
        """Cancel the flusher's own task, as a second Ctrl-C does; nobody can do that to a system task of trio.

        A client that runs in a task group closes when that is cancelled.
        """
        tasks = asyncio.all_tasks() if self._backend == "asyncio" else ()
        natives = [task for task in tasks if task.get_name() == "gameball_async flusher"]
        self.oracle.life.is_killed = bool(natives)
        self.oracle.trace.note("kill", self.oracle.life.is_killed)
        if self._flushers_scope is not None:
            self._flushers_scope.cancel()
        for task in natives:
            task.cancel()

    async def _close(self) -> None:
        """Close as often as the plan has it, some of it cancelled; then once more for good, and again."""
        async with anyio.create_task_group() as tasks:
            for close in self._plan.closes:
                tasks.start_soon(self._users.cancellable, partial(self._users.close, close), close.cancel)
            if self._plan.ending == "cancel" and self._plan.killed_after is not None:
                await anyio.sleep(self._plan.killed_after)
                self._kill_flusher()
        await self._users.close(Close(0.0, 100.0))
        await self._users.close(Close(0.0, 0.0))


@contextmanager
def _logged(emit: Callable[[logging.LogRecord], None], level: int = logging.NOTSET) -> Generator[None]:
    """Give the client's log records to the simulation, and to nobody else."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            emit(record)

    log, handler = logging.getLogger("gameball_async"), Handler()
    log.addHandler(handler)
    propagates, log.propagate = log.propagate, False
    log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagates
        log.setLevel(logging.NOTSET)
