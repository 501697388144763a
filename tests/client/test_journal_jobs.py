"""The journal as a storage of bulk requests: which job a sealed batch belongs to survives the process."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gameball_async import Batching, Journal
from gameball_async._core.batch import Batch
from gameball_async._core.buffer import Buffer
from gameball_async._core.events import EncodedEvent, encode_event
from gameball_async._core.receipts import Delivered, Notifier
from gameball_async._engine.backends import current_backend
from gameball_async._engine.storage import StorageCallbacks
from gameball_async._journal import JournalWriter
from gameball_async._journal.journal_storage import JournalStorage

pytestmark = pytest.mark.anyio

BATCHING = Batching(linger=0)


class Opened:
    """A journal and the buffer that it fills.

    Attributes:
        restored: the batches that an earlier process had sealed.
    """

    def __init__(self, folder: Path) -> None:
        self.restored: list[Batch] = []
        self._progress = Notifier()
        self.buffer = Buffer(BATCHING, lambda _player, _mobile, _email: 0, lambda _: None)
        callbacks = StorageCallbacks(
            now=current_backend().now,
            on_progress=self._progress.ring,
            on_restored=self.restored.append,
            on_refused=lambda _events, _error: None,
            on_missing=lambda _: None,
        )
        journal = Journal(folder)
        self.storage = JournalStorage(JournalWriter(journal), journal, self.buffer, BATCHING, callbacks)

    async def track(self, player: str, name: str = "review") -> None:
        accepted = self.storage.accept(
            EncodedEvent(player, name, encode_event(name, {}), None, None), current_backend().now()
        )
        assert accepted is not None
        await self.storage.durable(accepted)

    async def take(self) -> list[Batch]:
        """Take every batch that is due, once everything is in the buffer."""
        while self.storage.spilled:
            await self._progress.wait()
        taken: list[Batch] = []
        while (batch := self.buffer.take(current_backend().now())) is not None:
            taken.append(batch)
        return taken

    def deliver(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self.buffer.settle(batch, Delivered(status=200), current_backend().now())
            self.storage.ack(batch)


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Opened]:
    journal = Opened(folder)
    await journal.storage.serve(current_backend())
    try:
        yield journal
    finally:
        await journal.storage.close()


def players(batches: Sequence[Batch]) -> list[str]:
    return [batch.player_unique_id for batch in batches]


async def test_the_batches_of_an_accepted_job_are_followed_by_the_next_process(tmp_path: Path) -> None:
    async with opened(tmp_path) as first:
        for player in ("a", "b", "c"):
            await first.track(player)
        batches = await first.take()
        await first.storage.seal_all(batches)
        await first.storage.record_job(batches[:2], 17)

    async with opened(tmp_path) as second:
        assert [(batch.player_unique_id, batch.job, batch.ambiguous) for batch in second.restored] == [
            ("a", 17, False),
            ("b", 17, False),
            ("c", None, True),
        ]
        await second.track("a", "order")
        assert players(await second.take()) == ["c"]
        assert second.buffer.due_at(current_backend().now()) == math.inf

        second.deliver(second.restored)
        assert players(await second.take()) == ["a"]

    async with opened(tmp_path) as third:
        assert third.restored == []
        assert players(await third.take()) == ["a"]


async def test_a_job_may_have_items_of_several_files(tmp_path: Path) -> None:
    async with opened(tmp_path) as first:
        await first.track("a")

    async with opened(tmp_path) as second:
        await second.track("b")
        batches = await second.take()
        assert len({batch.segment for batch in batches}) == 2
        await second.storage.seal_all(batches)
        await second.storage.record_job(batches, "0b6e")

    async with opened(tmp_path) as third:
        assert [(batch.player_unique_id, batch.job) for batch in third.restored] == [("a", "0b6e"), ("b", "0b6e")]


async def test_an_item_of_a_failed_job_is_sealed_again_without_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as first:
        await first.track("a")
        [batch] = batches = await first.take()
        await first.storage.seal_all(batches)
        await first.storage.record_job(batches, 17)
        batch.job, batch.ambiguous, batch.is_recorded = None, True, False
        await first.storage.seal(batch)

    async with opened(tmp_path) as second:
        [batch] = second.restored
        assert (batch.job, batch.ambiguous) == (None, True)


async def test_the_parts_of_an_item_that_was_split_have_no_job(tmp_path: Path) -> None:
    async with opened(tmp_path) as first:
        await first.track("a", "order")
        await first.track("a", "review")
        batches = await first.take()
        await first.storage.seal_all(batches)
        await first.storage.record_job(batches, 17)
        batches[0].job, batches[0].ambiguous = None, True
        first.buffer.split(batches[0])
        first.storage.retry(batches[0])

    async with opened(tmp_path) as second:
        assert second.restored == []
        assert players(await second.take()) == ["a"]
