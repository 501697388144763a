"""Several lives on one folder: each plays its plan and ends, some by a crash; the last one settles everything."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import traceback
from contextlib import ExitStack
from functools import partial
from unittest import mock

import anyio
import anyio.abc
import attrs
import httpx

from gameball_async import AsyncGameball, FlusherDied, GameballError, Journal, JournalError
from gameball_async._engine.delivery import Delivery

from .. import loops
from ..gameball import EPOCH, SimulatedGameball, SimulatedTransport
from ..hooks import determined
from ..ledger import Trace
from ..plan import Close
from ..simulation import Result, _logged
from .disk import SimulatedDisk
from .history import History
from .oracle import JournalOracle
from .plan import JournalPlan, LifePlan, make_journal_plan
from .process import Process
from .users import JournalUsers

_SEGMENT = re.compile(r"\d{15}-\d+-[0-9a-f]{8}")
"""The name of a segment, which is another one each time."""


@attrs.frozen
class JournalResult(Result):
    """What came of one seed of lives with a journal on one loop."""

    @property
    def replay(self) -> str:
        """The command that shows it again."""
        return f"{super().replay} --journal"

    @property
    def headline(self) -> str:
        """The seed, and what is wrong."""
        return f"journal {super().headline}"


def simulate_journal(seed: int, backend: str, plan: JournalPlan | None = None) -> JournalResult:
    """Run the lives of one seed on one loop."""
    service = _Service(plan or make_journal_plan(seed), backend)
    service.run()
    return JournalResult(seed, backend, service.failures, service.trace, service.events, service.requests)


class _Keeper(loops.Keeper):
    """After a crash tasks may still wait for a little while, each for its own timer."""

    def idle(self, next_timer: float) -> None:
        if self.is_over and next_timer < math.inf:
            self.now = max(self.now, next_timer)
        super().idle(next_timer)


@attrs.define
class _Clock:
    """The virtual time, which goes on from life to life."""

    now: float = loops.START


class _Service:
    """All lives of one seed."""

    def __init__(self, plan: JournalPlan, backend: str) -> None:
        self._plan = plan
        self._backend = backend
        self._clock = _Clock()
        self.failures: list[str] = []
        self.trace = Trace(lambda: self._clock.now)
        self.events = self.requests = 0
        self._disk = SimulatedDisk(self.trace.note, self._fail)
        self._history = History(self._disk.folder, self._fail)

    def _fail(self, what: str) -> None:
        self.failures.append(what)
        self.trace.note("FAILED", what.splitlines()[0])

    def run(self) -> None:
        """Play one life after another, to the end or to the first finding."""
        try:
            self._play()
        finally:
            self._disk.remove()

    def _play(self) -> None:
        for number, life in enumerate(self._plan.lives):
            self.trace.note("life", number, life.ending)
            self._history.folder.check()
            played = _Life(life, number, self._backend, self._history, self._disk, self.trace, self._clock)
            played.run()
            self.failures += played.oracle.failures
            if self._disk.left_open and not self._disk.is_dead and not self.failures:
                self._fail(f"after the end {self._disk.left_open} are open")
            self.events += len(played.oracle.ledger.accepted)
            self.requests += len(played.oracle.requests.all)
            if self.failures:
                return
        self._history.check_end()


class _Life:
    def __init__(
        self,
        life: LifePlan,
        number: int,
        backend: str,
        history: History,
        disk: SimulatedDisk,
        trace: Trace,
        clock: _Clock,
    ) -> None:
        self._life = life
        self._plan = life.plan
        self._backend = backend
        self._keeper = _Keeper(self._idle, self._stuck)
        self._keeper.now = clock.now
        self._clock = clock
        self._scope: anyio.CancelScope | None = None
        self._flushers_scope: anyio.CancelScope | None = None
        self._is_refused = False
        seed = self._plan.seed
        self._folder = history.folder.path
        self._process = Process(disk, life.disk, seed, self._time, trace.note)
        self.oracle = JournalOracle(life, number, history, self._process, trace, self._time, self._stop)
        self._users = JournalUsers(self.oracle, backend, clock.now)
        self._server: SimulatedGameball

    def _time(self) -> float:
        self._clock.now = self._keeper.now
        return self._keeper.now

    def _idle(self) -> None:
        self._time()
        self.oracle.idle()

    def _stuck(self, what: str) -> None:
        if self.oracle.is_crashed:  # the disk never answers again, and yet everything that waits has to end
            self.oracle.failures.append(f"after the crash: {what}")
        else:
            self.oracle.fail(what)

    def _stop(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    # ---------------------------------------------------------------- the run

    def run(self) -> None:
        """Play this life from start to end, or to the first finding."""
        seed = self._plan.seed
        with ExitStack() as patches:
            patches.enter_context(_logged(self._on_log))
            patches.enter_context(determined(seed, self._wall_time))
            patches.enter_context(self._process.mounted(self._wall_time, self._life.chunk))
            patches.enter_context(mock.patch.object(Delivery, "_new_transport", self._new_transport))
            try:
                loops.run(self._main, self._backend, self._keeper, seed)
            except Exception as error:  # noqa: BLE001 whatever comes out of the client is a finding
                if not self.oracle.is_crashed:
                    self.oracle.failures.append("".join(traceback.format_exception(error)))
        self._time()
        if self.oracle.failures or self.oracle.is_crashed:
            self.oracle.forget()

    def _wall_time(self) -> float:
        return EPOCH + self._keeper.now

    def _on_log(self, record: logging.LogRecord) -> None:
        if not self.oracle.is_crashed:
            message = _SEGMENT.sub("<segment>", record.getMessage().replace(str(self._folder), "<folder>"))
            self.oracle.trace.note("log", message)
            if "damaged" in message or "skipped" in message:
                self.oracle.fail(f"the log says: {message}")

    def _new_transport(self) -> SimulatedTransport:
        return SimulatedTransport(self._server, self._plan.timeout)

    def _new_http_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self._server, trust_env=False)

    async def _main(self) -> None:
        with anyio.CancelScope() as self._scope:
            async with anyio.create_task_group() as world:
                self._server = SimulatedGameball(self._plan, self.oracle.requests)
                async with self._new_http_client() as http_client:
                    self.oracle.watch(self._client(None if self._plan.own_pool else http_client))
                    world.start_soon(self._process.run)
                    await anyio.lowlevel.checkpoint()
                    await self._live()
                world.cancel_scope.cancel()
        await self._let_die()
        self._keeper.is_over = True

    async def _let_die(self) -> None:
        """After a crash: the flusher's task must be gone before the loop is."""
        if self.oracle.is_crashed and self._backend == "asyncio":
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task() and task.get_name() == "gameball_async flusher":
                    task.cancel()

    def _client(self, http_client: httpx.AsyncClient | None) -> AsyncGameball:
        plan = self._plan
        return AsyncGameball(
            "key",
            secret_key="secret" if plan.api_version == "v4.1" else "",
            api_version=plan.api_version,
            base_url="http://gameball.invalid",
            batching=plan.batching,
            retry=plan.retry,
            rate=plan.rate,
            timeout=plan.timeout,
            journal=Journal(self._folder, max_bytes=self._life.max_bytes),
            on_failure=self._users.callback,
            http_client=http_client,
        )

    async def _live(self) -> None:
        async with anyio.create_task_group() as tasks:
            await self._start(tasks)
            if not self._is_refused:
                for script in self._plan.scripts:
                    tasks.start_soon(self._users.act, script)
            await self._end()
        if self._life.ending == "exit":
            self.oracle.crash()
            await anyio.sleep_forever()  # until the scope's cancellation arrives
        await self._users.call_later()
        await self.oracle.check_end()

    # ---------------------------------------------------------------- start

    async def _start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Start the client in one of its ways; with a folder that cannot be opened it says so."""
        if self._plan.run_in_group:
            await tasks.start(self._run_in_group)
        else:
            async with anyio.create_task_group() as starts:
                for cancel in self._plan.starts:
                    starts.start_soon(self._users.cancellable, self.oracle.gameball.start, cancel)
            try:
                await self.oracle.gameball.start()
            except JournalError:
                self._is_refused = self.oracle.life.is_killed = True
                if not self._life.disk.refuses:
                    raise
        self.oracle.life.is_started = True

    async def _run_in_group(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.CancelScope() as self._flushers_scope:
            try:
                await self.oracle.gameball.run(task_status=task_status)
            except FlusherDied as error:
                if self._life.ending != "dies":
                    self.oracle.fail(f"run raised {error!r}")

    # ---------------------------------------------------------------- end

    async def _end(self) -> None:
        if self._life.ending == "drain" and not self._is_refused:
            await self._drain()
        else:
            await anyio.sleep(self._plan.ends_after)
        if self._life.ending == "cancel" and self._plan.killed_after is None:
            self._kill_flusher()
        await self._close()

    async def _drain(self) -> None:
        """Stop the faults of the server and of the disk: everything has to arrive, what earlier lives left included."""
        await anyio.sleep(self._plan.lasts)
        self._server.is_calm = self._process.disk.is_calm = True
        self.oracle.trace.note("calm")
        await self._users.done.wait()
        ledger, bound = self.oracle.ledger, self.oracle.requests.drain_bound()
        with anyio.move_on_after(bound):
            while ledger.pending:
                try:
                    await self._users.flush(None)
                except GameballError:
                    await anyio.sleep(1)
                await anyio.sleep(0.2)
                ledger.collect()
        if ledger.pending:
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
            for close in self._plan.closes if self._life.ending != "drain" else ():
                tasks.start_soon(self._users.cancellable, partial(self._users.close, close), close.cancel)
            if self._life.ending == "cancel" and self._plan.killed_after is not None:
                await anyio.sleep(self._plan.killed_after)
                self._kill_flusher()
        await self._users.close(Close(0.0, 100.0))
        if self._life.ending != "exit":
            await self._users.close(Close(0.0, 0.0))
