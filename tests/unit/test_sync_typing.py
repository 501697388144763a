"""What a type checker sees of `sync.Gameball`; mypy and pyright check this file, and it runs as well."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import assert_type

import httpx
import pytest

from gameball_async import (
    Batching,
    CloseReport,
    ConfigurationError,
    Delivered,
    DeliveryError,
    Event,
    InvalidEvent,
    Journal,
    Metadata,
    RateLimit,
    Stats,
)
from gameball_async.sync import Gameball, SyncReceipt


def client() -> Gameball:
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    return Gameball("key", http_client=httpx.AsyncClient(transport=transport), batching=Batching(linger=0))


def test_the_calls_of_a_synchronous_client_have_these_types() -> None:
    with client() as gameball:
        assert_type(gameball, Gameball)
        assert_type(gameball.start(), None)
        metadata: Metadata = {"total": Decimal("9.50"), "day": date(2026, 1, 31), "tags": ["a", "b"]}
        receipt = assert_type(gameball.track("player123", "review", metadata, mobile="+1234567"), SyncReceipt)
        assert_type(receipt.result(timeout=30), Delivered)
        assert_type(receipt.done, bool)
        assert_type(receipt.durable, bool)
        assert_type(gameball.send("player123", {"review": None, "reserve": {"rooms": 2}}), Delivered)
        assert_type(gameball.flush(timeout=5), None)
        assert_type(gameball.stats(), Stats)
        assert_type(gameball.close(timeout=5), CloseReport)


async def keep(event: Event, error: DeliveryError) -> None: ...


def test_its_arguments_are_those_of_the_async_client() -> None:
    Gameball("key", secret_key="secret", api_version="v4.1", base_url="https://example.com", journal=Journal("journal"))
    Gameball(api_key="key", rate=RateLimit(share=1 / 4), on_failure=keep, timeout=5)
    with pytest.raises(ConfigurationError):
        Gameball("key", rate="fast")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Gameball("key", "secret")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Gameball("key", colour="red")  # type: ignore[call-arg]
    with pytest.raises(InvalidEvent), client() as gameball:
        gameball.track("player123", "review", {"nothing": None})  # type: ignore[dict-item]
