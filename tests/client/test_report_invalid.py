"""`on_invalid="report"`: an event that cannot be sent breaks no handler, and is logged, counted and handed back."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from gameball_async import (
    AsyncGameball,
    Batching,
    ClientClosed,
    ConfigurationError,
    Dropped,
    DropReason,
    EventDraft,
    InvalidEvent,
)
from gameball_async.sandbox import Sandbox
from gameball_async.sync import Gameball

from .kinds import Call, Failures, Make, outcome_of, quick_client
from .support import assert_conserved

pytestmark = pytest.mark.anyio

LONE = "\ud800"


class Broken(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError


async def test_an_invalid_event_is_reported_and_the_handler_goes_on(make: Make, call: Call) -> None:
    failures = Failures()
    async with make(on_invalid="report", on_failure=failures.add) as gameball:
        receipt = await call(gameball, "player123", "review", {"gift": True, "rating": Decimal("4.50")})
        error = await outcome_of(receipt)
        assert (error.reason, error.may_have_arrived) == (DropReason.INVALID, False)
        assert isinstance(error.__cause__, InvalidEvent)
        assert str(error) == str(error.__cause__)
        assert str(error).startswith("event 'review', key 'gift': the value is a bool")
        assert (await (await call(gameball, "player123", "reserve"))).status == 200
        stats = gameball.stats()
        assert (stats.invalid, stats.accepted, stats.dropped, stats.delivered) == (1, 1, 0, 1)
        assert_conserved(stats)
        await gameball.flush()
    assert failures.seen == [(failures.seen[0][0], error)]
    event = failures.seen[0][0]
    assert (event.player_unique_id, event.name, event.metadata) == ("player123", "review", {"rating": 4.5})


@dataclass(init=False)
class Unset:
    rating: int


def unchanged(draft: EventDraft) -> EventDraft:
    return draft


class Unreadable:
    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)


@pytest.mark.parametrize("metadata", [Unset(), {"a": Unreadable()}], ids=["record", "value"])
@pytest.mark.parametrize("settings", [{}, {"defaults": {"channel": "web"}}, {"before_send": unchanged}])
async def test_metadata_that_cannot_be_read_breaks_no_handler(
    settings: dict[str, Any], metadata: Any, sandbox: Sandbox
) -> None:
    failures = Failures()
    async with quick_client(sandbox, on_invalid="report", on_failure=failures.add, **settings) as gameball:
        assert (await outcome_of(await gameball.track("player123", "review", metadata))).reason is DropReason.INVALID
        with pytest.raises(Dropped):
            await gameball.send("player123", {"review": metadata, "visit": None})
        assert gameball.stats().invalid == 2
        assert_conserved(gameball.stats())
    assert [event.name for event in sandbox.holdings()["player123"]] == ["visit"]
    assert len(failures.seen) == 2


HANDED_BACK: list[Any] = [
    ((None, "review", {"rating": 5}), ("", "review", {"rating": 5})),
    (("player123", 7, {"rating": 5}), ("player123", "", {"rating": 5})),
    ((f"p{LONE}", f"r{LONE}", {f"k{LONE}": 1, "rating": 5}), ("p?", "r?", {"rating": 5})),
    (("player123", "review", [1]), ("player123", "review", {})),
    (
        ("player123", "review", {1: 1, "": 1, "nested": {"a": 1}, "tags": ["a"]}),
        ("player123", "review", {"tags": ["a"]}),
    ),
]


@pytest.mark.parametrize(
    ("arguments", "handed_back"),
    HANDED_BACK,
    ids=["no player", "no name", "surrogates", "no dict", "several"],
)
async def test_the_event_handed_back_holds_what_can_be_sent(
    make: Make, arguments: tuple[Any, ...], handed_back: tuple[Any, ...]
) -> None:
    failures = Failures()
    async with make(on_invalid="report", on_failure=failures.add) as gameball:
        receipt = await gameball.track(*arguments)
        assert repr(receipt).endswith("done>")
        await gameball.flush()
    [(event, _)] = failures.seen
    assert (event.player_unique_id, event.name, event.metadata) == handed_back


async def test_what_before_send_made_invalid_is_reported_too(make: Make, call: Call) -> None:
    def spoil(draft: EventDraft) -> EventDraft:
        draft.metadata["gift"] = None
        return draft

    async with make(on_invalid="report", before_send=spoil) as gameball:
        assert (await outcome_of(await call(gameball, "player123", "review"))).reason is DropReason.INVALID
        assert gameball.stats().invalid == 1


async def test_an_event_that_is_too_large_is_reported_too(sandbox: Sandbox, call: Call) -> None:
    async with quick_client(sandbox, on_invalid="report") as gameball:
        error = await outcome_of(await call(gameball, "player123", "review", {"text": "x" * 300_000}))
        assert "makes a request of" in str(error)
        with pytest.raises(Dropped, match="101 events are more than"):
            await gameball.send("player123", {f"event{number}": None for number in range(101)})
        assert gameball.stats().invalid == 102


async def test_send_sends_the_others(make: Make) -> None:
    failures = Failures()
    async with make(on_invalid="report", on_failure=failures.add) as gameball:
        with pytest.raises(Dropped, match="key 'gift'"):
            await gameball.send("player123", {"review": {"gift": True}, "reserve": {"rooms": 2}})
        nothing: tuple[Any, ...] = ({}, None)
        for events in nothing:
            with pytest.raises(Dropped, match="at least one event"):
                await gameball.send("player123", events)
        with pytest.raises(Dropped, match="player_unique_id is None"):
            await gameball.send(None, {"a": None, "b": None})  # type: ignore[arg-type]
        stats = gameball.stats()
        assert (stats.delivered, stats.invalid) == (1, 5)
        await gameball.flush()
    assert [event.name for event, _ in failures.seen] == ["review", "", "", "a", "b"]


async def test_a_mapping_that_cannot_be_read_breaks_no_handler(make: Make) -> None:
    failures = Failures()
    async with make(on_invalid="report", on_failure=failures.add) as gameball:
        with pytest.raises(Dropped, match="the events cannot be read, the mapping raised RuntimeError: correct it"):
            await gameball.send("player123", Broken(review=None))
        assert gameball.stats().invalid == 1
        await gameball.flush()
    [(event, _)] = failures.seen
    assert (event.player_unique_id, event.name) == ("player123", "")


async def test_a_closed_client_raises_as_ever(make: Make) -> None:
    gameball = make(on_invalid="report")
    async with gameball:
        pass
    with pytest.raises(ClientClosed):
        await gameball.track("player123", "review", {"gift": True})
    assert gameball.stats().invalid == 0


async def test_each_kind_is_logged_once_a_minute_as_a_warning_without_values(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with quick_client(sandbox, on_invalid="report") as gameball:
        for _ in range(3):
            await gameball.track("player123", "review", {"gift": True})
            await gameball.track("player123", "review", {"email": {"jon.snow@example.com": 1}})  # type: ignore[dict-item]
    lines = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert {level for level, _ in lines} == {logging.WARNING}
    assert [(line[:40], "key 'gift'" in line) for _, line in lines] == [
        ("1 event will not arrive, 'review': event", True),
        ("1 event will not arrive, 'review': event", False),
        ("2 events will not arrive, the last one '", True),
        ("2 events will not arrive, the last one '", False),
    ]
    assert not any("jon" in line or "player123" in line for _, line in lines)


async def test_the_number_of_kinds_is_limited(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    async with quick_client(sandbox, on_invalid="report") as gameball:
        for number in range(200):
            await gameball.track("player123", f"event{number}", {"gift": True})
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 50 + 1 + 1
    assert lines[-1].startswith("149 events will not arrive")


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="on_invalid is 'ignore': give 'raise' or 'report'"):
        AsyncGameball("key", on_invalid="ignore")  # type: ignore[arg-type]


def test_the_synchronous_client_reports_too(sandbox: Sandbox) -> None:
    failures = Failures()
    with Gameball(
        "test-key", base_url=sandbox.url, on_invalid="report", on_failure=failures.add, batching=Batching(linger=0)
    ) as gameball:
        with pytest.raises(Dropped, match="key 'gift'"):
            gameball.track("player123", "review", {"gift": True}).result(timeout=30)
        assert gameball.stats().invalid == 1
    assert [event.name for event, _ in failures.seen] == ["review"]
