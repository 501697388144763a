"""The storage port: a storage that this package does not know runs the whole client over the sandbox."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gameball_async import (
    AsyncGameball,
    Batching,
    BufferFull,
    ClientClosed,
    DeliveryError,
    FlushTimeout,
    JournalError,
    Observer,
    OutcomeUnknown,
    Rejected,
    RequestStart,
    Retry,
)
from gameball_async._core.batch import Batch
from gameball_async._core.buffer import Buffer
from gameball_async._core.events import EncodedEvent
from gameball_async._core.receipts import SharedOutcome
from gameball_async._engine.backends import Backend
from gameball_async._engine.storage import Storage, StorageCallbacks
from gameball_async.sandbox import Fault, Sandbox

from .support import QUICK, SOON, assert_conserved, assert_well_behaved, track_all, until, workload

pytestmark = pytest.mark.anyio


class LogStorage(Storage):
    """Appends each step to one file: what was accepted, sealed, retried, acknowledged and dead-lettered."""

    is_persistent = True

    def __init__(self, path: Path, buffer: Buffer, batching: Batching, callbacks: StorageCallbacks) -> None:
        self._path, self._buffer, self._batching, self._callbacks = path, buffer, batching, callbacks
        self._seqs = itertools.count(1)
        self._open = False
        self.is_broken = False

    def accept(self, event: EncodedEvent, now: float) -> SharedOutcome | None:
        return self._accept((event,), self._buffer.offer, event, now)

    def accept_batch(self, events: Sequence[EncodedEvent], now: float) -> SharedOutcome | None:
        return self._accept(events, self._buffer.offer_batch, events, now)

    def _accept(self, events: Sequence[EncodedEvent], offer: Any, what: Any, now: float) -> SharedOutcome | None:
        self.check()
        seqs = tuple(itertools.islice(self._seqs, len(events)))
        shared: SharedOutcome | None = offer(what, now, 0, seqs)
        if shared is not None:
            for seq, event in zip(seqs, events, strict=True):
                self._write(
                    "accepted",
                    [seq],
                    event=[event.player, event.name, event.encoded.decode(), event.mobile, event.email],
                )
        return shared

    def full(self, remedy: str) -> BufferFull:
        return BufferFull(f"the log is full. {remedy}Track the event later.")

    def check(self) -> None:
        if self.is_broken:
            raise JournalError("the log is broken: repair it.")

    async def seal(self, batch: Batch) -> None:
        self._write("sealed", batch.seqs)

    def ack(self, batch: Batch) -> None:
        self._write("acked", batch.seqs)

    def retry(self, batch: Batch) -> None:
        self._write("retried", batch.seqs)

    def dead_letter(self, batch: Batch, error: DeliveryError) -> None:
        self._write("dead", batch.seqs, error=type(error).__name__)

    async def serve(self, backend: Backend) -> None:
        if self._open:
            return
        self._open = True
        for seq, (player, name, encoded, *contact) in self.left().items():
            event = EncodedEvent(player, name, encoded.encode(), *contact)
            assert self._buffer.offer(event, backend.now(), 0, (seq,))
        self._callbacks.on_progress()

    async def close(self) -> None:
        self._open = False
        self._buffer.interrupt(ClientClosed("the event is kept in the log."))
        self._write("closed", [])

    @property
    def is_open(self) -> bool:
        return self._open

    # ---------------------------------------------------------------- the file

    def _write(self, step: str, seqs: Sequence[int], **more: Any) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "seqs": list(seqs), **more}) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_text("utf-8").splitlines()] if self._path.exists() else []

    def left(self) -> dict[int, Any]:
        """The events without an outcome, by their seq."""
        events: dict[int, Any] = {}
        for line in self.lines():
            if line["step"] == "accepted":
                events[line["seqs"][0]] = line["event"]
            elif line["step"] in ("acked", "dead"):
                for seq in line["seqs"]:
                    del events[seq]
        self._seqs = itertools.count(max((seq for line in self.lines() for seq in line["seqs"]), default=0) + 1)
        return events

    def steps(self) -> list[str]:
        return [line["step"] for line in self.lines()]


class LoggedGameball(AsyncGameball):
    """A client with this storage."""

    log: LogStorage

    def __init__(self, folder: Path, sandbox: Sandbox, **settings: Any) -> None:
        self._log_path = folder / "log"
        settings = dict[str, Any](batching=SOON, retry=QUICK, rate=None) | settings
        super().__init__("test-key", base_url=sandbox.url, **settings)

    def _make_storage(self, buffer: Buffer, batching: Batching, callbacks: StorageCallbacks) -> LogStorage:
        self.log = LogStorage(self._log_path, buffer, batching, callbacks)
        return self.log


class Steps(Observer):
    """Writes each request into the log, between the steps of the storage."""

    gameball: LoggedGameball

    def on_request_start(self, client: object, start: RequestStart) -> None:  # noqa: ARG002 the interface
        self.gameball.log._write("sent", [], attempt=start.attempt)


async def test_a_batch_is_sealed_before_it_is_sent_and_acknowledged_after(sandbox: Sandbox, tmp_path: Path) -> None:
    steps = Steps()
    async with LoggedGameball(tmp_path, sandbox, observer=steps) as gameball:
        steps.gameball = gameball
        receipt = await gameball.track("player123", "place_order", {"total_amount": 100})
        gameball.track_nowait("player123", "review", mobile="+123")
        await receipt
    assert [step for step in gameball.log.steps() if step != "closed"] == [
        "accepted", "accepted", "sealed", "sent", "acked"
    ]  # fmt: skip
    assert not gameball.log.left()
    assert not receipt.durable


async def test_every_call_delivers_in_order_and_conserves(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.status(503, times=3), Fault.status(429, retry_after=0, times=1))
    placed = list(workload(300, 20))
    async with LoggedGameball(
        tmp_path, sandbox, batching=Batching(linger=0.01, buffer_events=50, wait_timeout=60)
    ) as gameball:
        await track_all(gameball, placed)
        delivered = await gameball.send("sender", {"first": None, "second": {"n": 1}})
        await gameball.flush()
        assert delivered.status == 200
        assert gameball.stats().delivered == len(placed) + 2
        assert_conserved(gameball.stats())
    assert_well_behaved(sandbox)
    assert not gameball.log.left()


async def test_what_fails_is_dead_lettered_and_a_split_batch_is_sealed_again(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.status(422, times=2))
    async with LoggedGameball(tmp_path, sandbox) as gameball:
        receipts = [await gameball.track("player123", name) for name in ("first", "second")]
        with pytest.raises(Rejected):
            await receipts[0]
        await receipts[1]
        assert_conserved(gameball.stats())
    steps = [step for step in gameball.log.steps() if step not in ("accepted", "closed")]
    assert steps == ["sealed", "retried", "sealed", "dead", "sealed", "acked"]


async def test_what_may_have_arrived_is_reported_and_dead_lettered(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.status(500, times=1))
    async with LoggedGameball(tmp_path, sandbox, retry=Retry(initial=0.02, ambiguous="report")) as gameball:
        with pytest.raises(OutcomeUnknown):
            await (await gameball.track("player123", "event"))
    assert gameball.log.lines()[-2]["error"] == "OutcomeUnknown"


async def test_a_storage_that_fails_refuses_events_and_ends_a_flush(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.stop()
    async with LoggedGameball(tmp_path, sandbox) as gameball:
        await gameball.track("player123", "event")
        with pytest.raises(FlushTimeout, match="1 event has no outcome"):
            await gameball.flush(timeout=0.1)
        gameball.log.is_broken = True
        for call in (gameball.track("p", "e"), gameball.send("p", {"e": None}), gameball.flush()):
            with pytest.raises(JournalError, match="repair it"):
                await call
        sandbox.start()


async def test_what_a_close_leaves_is_sent_by_the_next_client(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.stop()
    gameball = LoggedGameball(tmp_path, sandbox, batching=Batching(linger=0.01, buffer_events=2, wait_timeout=0.01))
    await gameball.start()
    kept = await gameball.track("player123", "event")
    await gameball.track("player123", "other")
    with pytest.raises(BufferFull, match="the log is full"):
        await gameball.track("player123", "third")
    await until(lambda: gameball.stats().requests)
    assert (await gameball.aclose(timeout=0)).kept == 2
    with pytest.raises(ClientClosed, match="kept in the log"):
        await kept
    sandbox.start()
    async with LoggedGameball(tmp_path, sandbox) as following:
        await following.flush()
        assert following.stats().delivered == 2
    assert set(sandbox.holdings()) == {"player123"}
    assert not following.log.left()
