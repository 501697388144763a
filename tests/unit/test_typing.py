"""What a user's type checker sees; mypy and pyright check this file, and it runs as well.

Every `type: ignore` here stands for something that a checker must refuse: mypy reports an unused one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple, assert_type
from uuid import UUID

import anyio
import attrs
import httpx
import msgspec
import pydantic
import pytest

from gameball_async import (
    AsyncGameball,
    Batching,
    ClientClosed,
    CloseReport,
    ConfigurationError,
    Conversion,
    Delivered,
    DeliveryError,
    DropReason,
    Event,
    EventDraft,
    InvalidEvent,
    Metadata,
    RateLimit,
    Receipt,
    Retry,
    Stats,
    Undelivered,
    validate_event,
)
from gameball_async.errors import ClientHalted, Dropped, FlushTimeout

from .strategies import Colour, Level, Size

pytestmark = pytest.mark.anyio


@dataclasses.dataclass
class Order:
    total: int


@attrs.frozen
class Visit:
    total: int


class Model(pydantic.BaseModel):
    total: int


class Pair(NamedTuple):
    total: int
    name: str


class Point(msgspec.Struct):
    north: float


def accept(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200)


def client_of(http_client: httpx.AsyncClient) -> AsyncGameball:
    return AsyncGameball("key", http_client=http_client, batching=Batching(linger=0))


async def test_the_calls_of_a_client_have_these_types() -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(accept)) as http, client_of(http) as gameball:
        assert_type(gameball, AsyncGameball)
        receipt = assert_type(await gameball.track("player123", "review"), Receipt)
        assert_type(receipt.done, bool)
        delivered = assert_type(await receipt, Delivered)
        assert_type(delivered.status, int)
        assert_type(delivered.attempts, int)
        assert_type(delivered.maybe_duplicate, bool)
        assert_type(gameball.track_nowait("player123", "review", mobile="+1234567", email=None), Receipt)
        assert_type(await gameball.send("player123", {"review": None, "reserve": {"rooms": 2}}), Delivered)
        assert_type(await gameball.flush(timeout=5), None)
        stats = assert_type(gameball.stats(), Stats)
        assert_type(stats.paused_until, datetime | None)
        assert_type(stats.halted, str | None)
        assert_type(stats.pending, int)
        assert_type(stats.filtered, int)
        assert_type(stats.invalid, int)
        report = assert_type(await gameball.aclose(), CloseReport)
        assert_type(report.undelivered, tuple[Undelivered, ...])
        assert_type([each.event for each in report.undelivered], list[Event])
        assert_type([each.error for each in report.undelivered], list[DeliveryError])

    assert report.undelivered == ()


async def test_a_client_can_be_started_and_run_in_these_ways() -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(accept)) as http:
        started = client_of(http)
        assert_type(await started.start(), None)
        assert started.stats().accepted == 0
        await started.aclose(timeout=1)

        running = client_of(http)
        async with anyio.create_task_group() as tasks:
            await tasks.start(running.run)
            await running.aclose()
        with pytest.raises(ClientClosed):
            await running.track("player123", "review")


def test_metadata_may_hold_whatever_is_converted() -> None:
    metadata: Metadata = {
        "text": "text",
        "whole": 1,
        "float": 0.5,
        "decimal": Decimal("9.50"),
        "date": date(2026, 1, 31),
        "datetime": datetime(2026, 1, 31),  # noqa: DTZ001
        "uuid": UUID(int=1),
        "enum": Colour.RED,
        "str enum": Size.LARGE,
        "int enum": Level.GOLD,
        "list": ["a", 1, Decimal(1)],
        "tuple": ("a", "b"),
    }
    plain: dict[str, str] = {"text": "text"}
    lists: dict[str, list[str]] = {"tags": ["a", "b"]}
    mixed: Mapping[str, str | int | list[str]] = {"rooms": 2, "tags": ["a"]}
    untyped: dict[str, Any] = {"rooms": 2}

    for each in (metadata, plain, lists, mixed, untyped):
        assert_type(validate_event("player123", "review", each), None)


def test_a_checker_refuses_what_is_refused_at_run_time() -> None:
    """Not all of it: a `bool` is an `int` to a checker, and `bytes` are a sequence of numbers."""
    with pytest.raises(InvalidEvent):
        validate_event("player123", "review", {"nothing": None})  # type: ignore[dict-item]
    with pytest.raises(InvalidEvent):
        validate_event("player123", "review", {"nested": {"a": 1}})  # type: ignore[dict-item]
    with pytest.raises(InvalidEvent):
        validate_event("player123", "review", [])  # type: ignore[arg-type]
    with pytest.raises(InvalidEvent):
        validate_event(123, "review")  # type: ignore[arg-type]
    with pytest.raises(InvalidEvent):
        validate_event("player123", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        validate_event("player123", "review", None, "+1234567")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="when_full"):
        Batching(when_full="never")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ambiguous"):
        Retry(ambiguous="perhaps")  # type: ignore[arg-type]


async def test_a_callback_may_be_a_function_or_a_coroutine_function() -> None:
    def function(event: Event, error: DeliveryError) -> None: ...

    async def coroutine(event: Event, error: DeliveryError) -> None: ...

    def wrong(event: Event) -> None: ...

    AsyncGameball("key", on_failure=function)
    AsyncGameball("key", on_failure=coroutine)
    AsyncGameball("key", on_failure=wrong)  # type: ignore[arg-type]

    def before_send(draft: EventDraft) -> EventDraft | None:
        assert_type(draft.player_unique_id, str)
        assert_type(draft.name, str)
        assert_type(draft.mobile, str | None)
        draft.metadata["channel"] = draft.metadata.get("channel", "web")
        return draft if draft.email is None else None

    async def awaited(draft: EventDraft) -> EventDraft:
        return draft

    AsyncGameball("key", defaults={"channel": "web"}, before_send=before_send)
    with pytest.raises(ConfigurationError):
        AsyncGameball("key", before_send=awaited)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        AsyncGameball("key", defaults={"gift": None})  # type: ignore[dict-item]
    conversion = Conversion(booleans="0/1", none="omit", nested="flatten")
    AsyncGameball("key", enabled=False, on_invalid="report", conversion=conversion)
    with pytest.raises(ConfigurationError):
        AsyncGameball("key", on_invalid="ignore")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        Conversion(none="null")  # type: ignore[arg-type]
    for record in (Order(5), Visit(5), Model(total=5), Pair(5, "a"), Point(1.5)):
        validate_event("player123", "review", record)
    AsyncGameball("key", rate=None)
    AsyncGameball("key", rate=RateLimit(share=1 / 4))


def test_errors_tell_their_facts_with_these_types() -> None:
    dropped = Dropped("late", reason=DropReason.EXPIRED)

    assert_type(dropped.reason, DropReason)
    assert_type(dropped.status, int | None)
    assert_type(dropped.code, int | None)
    assert_type(dropped.may_have_arrived, bool)
    assert_type(FlushTimeout("later", unsettled=1).unsettled, int)
    assert_type(ClientHalted("no", status=401, code=None).status, int)
    assert (dropped.reason, dropped.status, dropped.may_have_arrived) == (DropReason.EXPIRED, None, False)


def test_an_event_is_handed_back_with_these_types() -> None:
    event = Event("player123", "reserve", None, None, b'"reserve":{"rooms":2}')

    assert_type(event.player_unique_id, str)
    assert_type(event.name, str)
    assert_type(event.mobile, str | None)
    assert_type(event.metadata, dict[str, Any])
    assert event.metadata == {"rooms": 2}
