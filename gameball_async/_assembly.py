"""Make the parts of a client's engine that a client may not need: what they import is imported on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._config import Batching, Journal
from ._core.buffer import Buffer
from ._endpoint import Endpoint
from ._engine.storage import MemoryStorage, Storage, StorageCallbacks

if TYPE_CHECKING:
    from ._engine.delivery import Delivery, HTTPClient


def make_delivery(endpoint: Endpoint, timeout: float, http_client: HTTPClient | None) -> Delivery:
    """Make what sends requests; it imports httpx, which a client needs when it starts."""
    from ._engine.delivery import Delivery  # noqa: PLC0415 on demand

    return Delivery(endpoint.url, endpoint.headers, timeout=timeout, secrets=endpoint.secrets, http_client=http_client)


def make_storage(
    endpoint: Endpoint, journal: Journal | None, buffer: Buffer, batching: Batching, callbacks: StorageCallbacks
) -> Storage:
    """Make the storage of accepted events: in memory, or a journal, which imports SQLite."""
    if journal is None or endpoint.switched_off_by is not None:
        return MemoryStorage(buffer, batching, callbacks)
    from ._journal import JournalWriter, journal_storage  # noqa: PLC0415 on demand

    writer = JournalWriter(journal, endpoint.account)
    return journal_storage.JournalStorage(writer, journal, buffer, batching, callbacks)
