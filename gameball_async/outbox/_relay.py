"""The relay: owns shards of the outbox by a lease, and runs the flusher on their events."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

import anyio

from .._arguments import checked_observer, checked_retry, checked_timeout, checked_type
from .._config import Batching, RateLimit, Retry
from .._core.pacing import BreakerState, Pacing, SharedPacing
from .._core.receipts import Notifier
from .._core.stats import ObservedClient, Observer, Stats
from .._endpoint import Endpoint
from .._engine.backends import AsyncioBackend, current_backend, load_anyio
from .._engine.callbacks import OnFailure
from .._engine.flusher import Flusher
from .._engine.reporting import Reporting
from .._log import fields, logger
from ..errors import ConfigurationError, LifecycleError
from ._outbox_storage import Lease, OutboxStorage, Repeating
from ._port import SHARDS, Membership, OutboxDatabase, RelayReport
from ._relay_stats import NOTHING, RateMeter, RelayObserver, summed, without_pending

if TYPE_CHECKING:
    from .._engine.delivery import Delivery

_T = TypeVar("_T")

_log = logger("gameball_async.relay")

QUIET = 30.0
"""Seconds before another relay may use the part of the rate limit that belongs to a shard: the longest window."""

HANDOVER_TIMEOUT = 10.0
"""Seconds that requests in flight may take when shards are handed over; orchestrators commonly kill after thirty."""

_LEAST_LEASE = 1.0


class Relay:
    """Delivers the events of an outbox, beside any number of other relays.

    Args:
        dsn: where the database is, as libpq takes it: ``postgresql://user@host/name``.
        api_key: the account's API key; by default the environment's ``GAMEBALL_API_KEY``.
        secret_key: as for `AsyncGameball`.
        api_version: as for `AsyncGameball`.
        base_url: as for `AsyncGameball`.
        lease: seconds after which other relays take over the shards of one that has died. Ten outlive a restart of the
            database, and any pause of the interpreter.
        rate: the account's limits. All relays share them by their shards, so `share` is the part that is left to
            relays if other programs send events too; None switches pacing off.
        batching: how events are merged and how many are held in memory.
        retry: when and how long a failed request is tried again; the age of an event counts from its insertion.
        on_failure: is called with each event that will not arrive, beside the row in `gameball_dead`.
        observer: is called with what the relay does, see `Observer`.
        timeout: seconds without progress after which an attempt is given up.
        name: how `relay status` calls this relay; by default the host's name and the process's id.

    Raises:
        ConfigurationError: if a key, the address, the version or a setting cannot work.
    """

    def __init__(  # noqa: PLR0913 the settings of a client, as `AsyncGameball` has them
        self,
        dsn: str | OutboxDatabase,
        api_key: str | None = None,
        *,
        secret_key: str | None = None,
        api_version: str | None = None,
        base_url: str | None = None,
        lease: float = 10.0,
        rate: RateLimit | None = RateLimit(),  # noqa: B008 frozen
        batching: Batching = Batching(),  # noqa: B008 frozen
        retry: Retry = Retry(),  # noqa: B008 frozen
        on_failure: OnFailure | None = None,
        observer: Observer | None = None,
        timeout: float = 30.0,
        name: str | None = None,
    ) -> None:
        self._endpoint = Endpoint.checked(api_key, secret_key, api_version, base_url)
        if self._endpoint.switched_off_by is not None:
            raise ConfigurationError(
                f"{self._endpoint.switched_off_by} switches sending off, and a relay only sends: unset it, or stop the "
                "relay."
            )
        self._lease_seconds = checked_timeout(lease, "lease")
        if not _LEAST_LEASE <= self._lease_seconds < math.inf:
            raise ConfigurationError(f"lease={lease:g} cannot work: give at least {_LEAST_LEASE:g} seconds.")
        self._limits = () if rate is None else checked_type("rate", rate, RateLimit).windows()
        self._batching = checked_type("batching", batching, Batching)
        self._is_bulk = self._batching.mode != "single"
        if self._is_bulk:
            self._endpoint.check_bulk(f"Batching(mode={self._batching.mode!r})")
        self._other_limits = () if rate is None else rate.others()
        self._retry = checked_retry(retry, self._batching)
        self._on_failure = on_failure
        self._timeout = checked_timeout(timeout)
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._database = _connected(dsn, self._lease_seconds) if isinstance(dsn, str) else dsn
        self._repeating = Repeating()
        self._pacing = Pacing(self._limits)
        self._shared_pacing = SharedPacing(self._other_limits)
        self._usable = SHARDS
        self._observed = ObservedClient(
            base_url=self._endpoint.base_url, api_version=self._endpoint.dialect.version, stats=self.stats
        )
        self._observer = None if observer is None else RelayObserver(checked_observer(observer), self._observed)
        self._reporting = Reporting(observer, self._observed, lambda: self.stats().pending)  # of its start and end
        self._flusher: Flusher | None = None
        self._storage: OutboxStorage | None = None
        self._ended = NOTHING
        self._is_ending = False  # whether the present flusher starts no further request
        self._is_stopping = False
        self._has_run = False
        self._stopped = Notifier()
        self._membership: Membership | None = None
        self._clock = suspension_proof_clock
        self._renewing = anyio.Lock()
        self._rate_meter = RateMeter()

    # ---------------------------------------------------------------- public

    async def run(self) -> None:
        """Deliver until `stop` was called, or the task is cancelled; asyncio only.

        While the database is unavailable it tries again. When it was declared dead by other relays, because it was
        suspended or cut off for longer than its lease, it starts over.

        Raises:
            ConfigurationError: if the tables are missing or may not be used, no HTTP client can be made, or the event
                loop is one that psycopg cannot use: trio's, or on Windows asyncio's default.
            LifecycleError: if it runs already, or has run.
        """
        _check_loop()
        if self._has_run:
            raise LifecycleError("a relay runs once: make a new one.")
        self._has_run = True
        await load_anyio()
        self._reporting.started()
        try:
            while not self._is_stopping:
                await self._unless_stopped(self._database.check)  # an upgrade of the tables ends leases
                await self._run_with_lease()
        except BaseExceptionGroup as errors:
            raise _innermost(errors) from None
        finally:
            with anyio.move_on_after(1, shield=True):
                await self._database.close()
            self._reporting.closed(anyio.current_time())

    def stop(self) -> None:
        """Start no further request, finish those in flight, hand over the shards, and let `run` return.

        Takes ten seconds at most. What a request in flight has not answered by then counts as ambiguous. To be called
        in the loop's thread, by ``loop.add_signal_handler(signal.SIGTERM, relay.stop)`` for one.
        """
        self._is_stopping = True
        self._stopped.ring()  # and a task of `run` acts on it: this may be called by a signal handler of the loop

    @property
    def is_ready(self) -> bool:
        """Whether this relay is registered, and reads every shard that it owns."""
        return self._membership is not None and not self._is_stopping

    @property
    def shards(self) -> int:
        """The number of shards that this relay owns."""
        return 0 if self._membership is None else len(self._membership.shards)

    def stats(self) -> Stats:
        """An immutable snapshot of what the relay has done and holds, since its start.

        Events count as accepted when they are read. Those that it hands over unsettled are counted out again.
        """
        return self._ended if self._flusher is None else summed(self._ended, self._flusher.stats())

    def __repr__(self) -> str:
        return f"<Relay {self._name!r} {self._endpoint.dialect.version} at {self._endpoint.base_url}>"

    # ---------------------------------------------------------------- with one lease

    async def _run_with_lease(self) -> None:
        """Register, and deliver until `stop` was called or the lease is lost."""
        relay = await self._unless_stopped(partial(self._database.register, self._name, self._lease_seconds))
        if relay is None:
            return
        lease = Lease(relay, self._clock)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_when, lease.lost, tasks.cancel_scope)
                await self._unless_stopped(partial(self._renew, lease))
                tasks.start_soon(self._renew_forever, lease)
                while not self._is_stopping:
                    await self._run_flusher(lease)
                    await self._release_surplus(lease)
                tasks.cancel_scope.cancel()
        finally:
            self._membership = None
            with anyio.move_on_after(1, shield=True):
                if not lease.is_lost:
                    await self._hand_over(lease)
        if lease.is_lost:
            _log.warning(
                "other relays have declared this one dead, because it was suspended or cut off from the database for "
                "longer than its lease of %g s: it starts over.",
                self._lease_seconds,
                extra=fields("relay", cause="lease lost"),
            )

    async def _run_flusher(self, lease: Lease) -> None:
        """Run one flusher, until `stop` was called or shards have to be released."""
        flusher = Flusher(
            batching=self._batching,
            retry=self._retry,
            pacing=self._pacing,
            shared_pacing=self._shared_pacing,
            make_storage=partial(OutboxStorage, self._database, self._repeating, lease),
            endpoint=self._endpoint,
            make_delivery=partial(self._make_delivery, lease),
            on_failure=self._on_failure,
            observer=self._observer,
        )
        backend, storage = current_backend(), cast("OutboxStorage", flusher.storage)
        flusher.now = backend.now
        self._flusher, self._storage, self._is_ending = flusher, storage, False
        if self._membership is not None:
            storage.add(self._membership.shards)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(storage.run)
                tasks.start_soon(self._end_when_stopped)
                await flusher.run(backend, lambda: None)
                tasks.cancel_scope.cancel()
        finally:
            self._ended, self._flusher, self._storage = without_pending(self.stats()), None, None

    async def _end_when_stopped(self) -> None:
        await self._stopped_once()
        self._end_flusher()

    def _end_flusher(self) -> None:
        """Let the present flusher start no further request, and end."""
        if self._flusher is not None and not self._is_ending:
            self._is_ending = True
            self._flusher.sends_new = False
            self._flusher.close(self._flusher.now() + HANDOVER_TIMEOUT)

    async def _release_surplus(self, lease: Lease) -> None:
        """Release the shards that other relays are to have; no request of theirs is in flight any more."""
        if self._membership is None or self._is_stopping:
            return
        async with self._renewing:  # a renewal that began before would still list these shards
            surplus = sorted(self._membership.shards)[self._fair_share(self._membership) :]
            await self._unless_stopped(partial(self._database.release, lease.relay, surplus, self._quiet))
        await self._unless_stopped(partial(self._renew, lease))

    async def _hand_over(self, lease: Lease) -> None:
        """Release all shards and leave, so that no relay has to wait for the end of the lease."""
        try:
            await self._database.release(lease.relay, range(SHARDS), self._quiet)
            await self._database.declare_dead(lease.relay)
        except Exception as error:  # noqa: BLE001 then the others wait for the lease
            cause = type(error).__name__
            _log.warning("the shards could not be handed over (%s)", cause, extra=fields("relay", cause=cause))

    def _fair_share(self, membership: Membership) -> int:
        limits = (*self._limits, *self._other_limits) if self._is_bulk else self._limits
        return fair_share(membership.relays, min((requests for requests, _ in limits), default=SHARDS))

    @property
    def _quiet(self) -> float:
        return QUIET if self._limits else 0.0

    # ---------------------------------------------------------------- membership

    async def _renew_forever(self, lease: Lease) -> None:
        interval = min(0.5, self._lease_seconds / 4)
        while True:
            await anyio.sleep(interval)
            await self._repeating(partial(self._renew, lease))

    async def _renew(self, lease: Lease) -> None:
        """Renew the lease, and act on what has changed among the relays."""
        async with self._renewing:
            while True:
                began = self._clock()
                membership = await self._database.renew(lease.relay, self._lease_seconds, self._report())
                if membership is None:
                    lease.lose()
                    return
                lease.extend(began + self._lease_seconds)
                if membership.expired:
                    await self._database.declare_dead()
                elif not await self._claim(lease, membership):
                    break
        self._take_note(lease, membership)

    async def _claim(self, lease: Lease, membership: Membership) -> bool:
        """Claim free shards; False if there are none, or this relay has enough."""
        wanted = min(self._fair_share(membership) - len(membership.shards), membership.free)
        if wanted <= 0 or self._is_ending or self._is_stopping:
            return False
        return bool(await self._database.claim(lease.relay, wanted, self._quiet))

    def _take_note(self, lease: Lease, membership: Membership) -> None:
        known = set(self._membership.shards) if self._membership is not None else set[int]()
        self._membership = membership
        self._use_limits(sum(quiet <= 0 for quiet in membership.shards.values()))
        if self._flusher is None or self._storage is None:
            return
        if known - set(membership.shards):
            lease.lose()  # the owners were changed by hand
            return
        if new := sorted(set(membership.shards) - known):
            self._storage.add(new)
        if len(membership.shards) > self._fair_share(membership):
            self._end_flusher()
        own = self._paused(self._flusher)
        if membership.paused > own + 1:
            self._flusher.settlement.pause(membership.paused, self._flusher.now())
            self._flusher.wake()

    def _use_limits(self, usable: int) -> None:
        """Use the parts of the rate limit that belong to this many shards."""
        if usable != self._usable:
            self._usable = usable
            self._pacing.resize(_part(self._limits, usable))
            # without bulk requests of its own, a relay still follows the jobs of those that it took over from
            self._shared_pacing.resize(_part(self._other_limits, usable, least=0 if self._is_bulk else 1))
            if self._flusher is not None:
                self._flusher.wake()

    def _report(self) -> RelayReport:
        delivered = self.stats().delivered
        paused = 0.0 if self._flusher is None else self._paused(self._flusher)
        return RelayReport(paused=paused, delivered=delivered, rate=self._rate_meter.rate(delivered, self._clock()))

    @staticmethod
    def _paused(flusher: Flusher) -> float:
        """Seconds for which Gameball asked not to send."""
        breaker = flusher.breaker
        return max(0.0, breaker.until - flusher.now()) if breaker.state is BreakerState.PAUSED else 0.0

    # ---------------------------------------------------------------- making

    async def _unless_stopped(self, statement: Callable[[], Awaitable[_T]]) -> _T | None:
        """Run a statement, and repeat it for as long as the database is unavailable; None if `stop` is called."""
        results: list[_T] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when, self._stopped_once, tasks.cancel_scope)
            results.append(await self._repeating(statement))
            tasks.cancel_scope.cancel()
        return results[0] if results else None

    async def _stopped_once(self) -> None:
        while not self._is_stopping:
            await self._stopped.wait()

    def _make_delivery(self, lease: Lease) -> Delivery:
        from .._engine.delivery import Delivery  # noqa: PLC0415 it imports httpx, see `Flusher._load_delivery`

        endpoint = self._endpoint
        return Delivery(
            endpoint.url,
            endpoint.headers,
            timeout=self._timeout,
            secrets=endpoint.secrets,
            may_send=lambda: lease.is_valid,
        )


async def _cancel_when(happens: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
    await happens()
    scope.cancel()


def suspension_proof_clock() -> float:
    """Return seconds that count on while the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _check_loop() -> None:
    """Refuse event loops that psycopg cannot use; it would say so at each connection."""
    if not isinstance(current_backend(), AsyncioBackend):
        raise ConfigurationError("a relay needs asyncio: run it with asyncio.run().")
    if sys.platform == "win32" and isinstance(asyncio.get_running_loop(), asyncio.ProactorEventLoop):
        raise ConfigurationError(
            "on Windows a relay needs another event loop: asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)."
        )


def _connected(dsn: str, lease: float) -> OutboxDatabase:
    try:
        from ._postgres import PostgresOutbox  # noqa: PLC0415 it imports psycopg
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'A relay needs {error.name}: pip install "gameball-async[outbox]"', name=error.name
        ) from error
    return PostgresOutbox(dsn, timeout=lease / 2)


def _part(limits: Sequence[tuple[int, float]], shards: int, *, least: int = 0) -> list[tuple[int, float]]:
    """Return the part of the limits that belongs to this many shards."""
    return [(max(least, requests * shards // SHARDS), seconds) for requests, seconds in limits]


def fair_share(relays: int, fewest: int) -> int:
    """Return the shards that a relay owns at most.

    Each relay that owns any must have a request in each window. So of many relays some own none, and stand by.

    Args:
        relays: those that live.
        fewest: requests that the account has in the smaller window.
    """
    for owners in range(relays, 1, -1):
        share = math.ceil(SHARDS / owners)
        rest = (SHARDS - 1) % share + 1  # what is left for the last one
        if fewest * rest >= SHARDS:
            return share
    return SHARDS


def _innermost(error: BaseException) -> BaseException:
    """The first error that task groups have wrapped."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
