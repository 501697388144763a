"""`defaults` and `before_send`: what they change, drop and break, with every call and kind of client."""

from __future__ import annotations

import contextvars
import inspect
import logging
import threading
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio.to_thread
import pytest

from gameball_async import (
    AsyncGameball,
    Batching,
    ClientClosed,
    ConfigurationError,
    Conversion,
    Dropped,
    DropReason,
    EventDraft,
    InvalidEvent,
    ObservedClient,
    Observer,
    Rejected,
)
from gameball_async.sandbox import Fault, Sandbox
from gameball_async.sync import Gameball
from gameball_async.testing import Recorder

from .kinds import CALLS, Call, Failures, Make, outcome_of
from .kinds import quick_client as client
from .support import assert_conserved

pytestmark = pytest.mark.anyio

Hook = Callable[[EventDraft], Any]


class Channel(StrEnum):
    WEB = "web"


def shout(draft: EventDraft) -> EventDraft:
    draft.name = draft.name.upper()
    draft.metadata["channel"] = "app"
    draft.metadata.pop("card", None)
    draft.mobile = None
    draft.email = f"{draft.player_unique_id}@example.com"
    return draft


def drop(_: EventDraft) -> None:
    return None


def fail(_: EventDraft) -> EventDraft:
    raise KeyError("jon.snow@example.com")


# ---------------------------------------------------------------- defaults


async def test_defaults_are_in_every_event_and_its_own_values_win(make: Make, call: Call) -> None:
    tags = ["a"]
    defaults = {"channel": Channel.WEB, "rate": Decimal("1.10"), "tags": tags, "sizes": (1, Decimal("2.0"))}
    seen: list[EventDraft] = []

    def keep(draft: EventDraft) -> EventDraft:
        seen.append(draft)
        return draft

    async with make(defaults=defaults, before_send=keep) as gameball:
        tags.append("b")
        for number, metadata in enumerate(({"channel": "app", "total": 5}, {}, None)):
            await call(gameball, "player123", f"event{number}", metadata)
    common = {"rate": Decimal("1.10"), "tags": ["a"], "sizes": [1, Decimal("2.0")]}
    assert [draft.metadata for draft in seen] == [
        {"channel": "app", **common, "total": 5},
        {"channel": "web", **common},
        {"channel": "web", **common},
    ]


async def test_defaults_reach_gameball_with_every_call(sandbox: Sandbox) -> None:
    async with client(sandbox, defaults={"channel": Channel.WEB, "rate": Decimal("1.10")}) as gameball:
        for number, call in enumerate(CALLS.values()):
            await call(gameball, "player123", f"event{number}", {"number": number})
        await gameball.send("player123", {"event3": {"number": 3}, "event4": {"channel": "app", "number": 4}})
    held = sorted(sandbox.holdings()["player123"], key=lambda event: event.name)
    channels = ["web", "web", "web", "web", "app"]
    assert [event.metadata for event in held] == [
        {"channel": channel, "rate": 1.1, "number": number} for number, channel in enumerate(channels)
    ]


async def test_a_hook_that_changes_an_array_changes_neither_the_defaults_nor_the_callers(sandbox: Sandbox) -> None:
    def tag(draft: EventDraft) -> EventDraft:
        draft.metadata["tags"].append("new")
        draft.metadata["sizes"].append(3)
        return draft

    metadata = {"sizes": [1, 2]}
    async with client(sandbox, defaults={"tags": ["a"]}, before_send=tag) as gameball:
        for number in range(2):
            await gameball.track("player123", f"event{number}", metadata)
    assert metadata == {"sizes": [1, 2]}
    assert [event.metadata for event in sandbox.holdings()["player123"]] == [
        {"tags": ["a", "new"], "sizes": [1, 2, 3]}
    ] * 2


@pytest.mark.parametrize("make", [AsyncGameball, Gameball, Recorder])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"defaults": ["web"]}, "^defaults is a list: give a dict"),
        ({"defaults": {"gift": True}}, "^defaults, key 'gift': the value is a bool; .* send 0 or 1"),
        ({"defaults": {1: "web"}}, "^defaults: a metadata key is an int"),
        ({"before_send": "drop"}, "^before_send is of type str: give a function"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(make: Any, settings: dict[str, Any], words: str) -> None:
    key = {} if make is Recorder else {"api_key": "key"}
    with pytest.raises(ConfigurationError, match=words):
        make(**key, **settings)


def test_a_coroutine_function_is_refused() -> None:
    async def coroutine(draft: EventDraft) -> EventDraft:
        return draft

    class Instance:
        async def __call__(self, draft: EventDraft) -> EventDraft:
            return draft

    for hook in (coroutine, Instance()):
        with pytest.raises(ConfigurationError, match="before_send is a coroutine function: give a plain one"):
            AsyncGameball("key", before_send=hook)  # type: ignore[arg-type]


def test_the_recorder_and_the_synchronous_client_take_the_same_arguments() -> None:
    arguments = inspect.signature(AsyncGameball).parameters
    assert inspect.signature(Gameball).parameters == arguments
    for name in ("on_invalid", "on_failure", "defaults", "before_send", "conversion"):
        assert inspect.signature(Recorder).parameters[name].default == arguments[name].default
        assert inspect.signature(Recorder).parameters[name].annotation == arguments[name].annotation


# ---------------------------------------------------------------- the draft


def test_a_draft_shows_its_name_alone_and_keeps_its_player() -> None:
    draft = EventDraft("player123", "review", {"rating": 5}, email="jon.snow@example.com")
    assert repr(draft) == "EventDraft(name='review')"
    assert (draft.player_unique_id, draft.mobile, draft.email) == ("player123", None, "jon.snow@example.com")
    with pytest.raises(AttributeError):
        draft.player_unique_id = "player456"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        draft.metdata = {}  # type: ignore[attr-defined]
    assert EventDraft("player123", "review").metadata == {}


async def test_a_hook_changes_what_is_sent(sandbox: Sandbox, call: Call) -> None:
    async with client(sandbox, before_send=shout, defaults={"channel": "web"}) as gameball:
        receipt = await call(gameball, "player123", "review", {"card": "4111", "rating": 5})
        assert (await receipt).status == 200
    [event] = sandbox.holdings()["player123"]
    assert (event.name, event.metadata) == ("REVIEW", {"channel": "app", "rating": 5})
    assert event.email == "player123@example.com"


async def test_a_recorder_records_what_the_hook_returns() -> None:
    recorder = Recorder(before_send=shout, defaults={"channel": "web"}, started=True)
    await recorder.track("player123", "review", {"card": "4111"}, mobile="+1234567")
    recorder.assert_tracked(
        "player123", "REVIEW", channel="app", exact=True, mobile=None, email="player123@example.com"
    )


async def test_a_hook_may_return_another_draft(sandbox: Sandbox) -> None:
    def replace(draft: EventDraft) -> EventDraft:
        return EventDraft(draft.player_unique_id, "review", {"rating": 5})

    async with client(sandbox, before_send=replace) as gameball:
        await gameball.track("player123", "anything", {"text": "secret"})
    [event] = sandbox.holdings()["player123"]
    assert (event.name, event.metadata) == ("review", {"rating": 5})


async def test_the_hook_may_repair_values_and_what_it_returns_is_checked(make: Make, call: Call) -> None:
    def number(draft: EventDraft) -> EventDraft:
        draft.metadata = {key: int(value) if value is True else value for key, value in draft.metadata.items()}
        return draft

    async with make(before_send=number) as gameball:
        await call(gameball, "player123", "review", {"gift": True})
        with pytest.raises(InvalidEvent, match="key 'gift': the value is None"):
            await call(gameball, "player123", "review", {"gift": None})
        with pytest.raises(InvalidEvent, match="player_unique_id is None"):
            await call(gameball, None, "review")
        with pytest.raises(InvalidEvent, match="metadata is a list"):
            await call(gameball, "player123", "review", [])
        assert gameball.stats().accepted == 1


async def test_the_hook_runs_in_the_callers_thread_and_context(make: Make) -> None:
    tenant = contextvars.ContextVar("tenant", default="none")
    seen: list[tuple[str, threading.Thread]] = []

    def keep(draft: EventDraft) -> EventDraft:
        seen.append((tenant.get(), threading.current_thread()))
        return draft

    def in_thread(gameball: AsyncGameball) -> threading.Thread:
        tenant.set("north")
        gameball.track_threadsafe("player123", "review")
        return threading.current_thread()

    async with make(before_send=keep) as gameball:
        thread = await anyio.to_thread.run_sync(in_thread, gameball)
        tenant.set("south")
        await gameball.track("player123", "reserve")
    assert seen == [("north", thread), ("south", threading.current_thread())]


# ---------------------------------------------------------------- dropped on purpose


class Watching(Observer):
    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_track(self, client: ObservedClient, name: str) -> object:  # noqa: ARG002 the hook's
        self.seen.append(name)
        return "mark"

    def on_settled(self, client: ObservedClient, events: int, outcome: object) -> None:  # noqa: ARG002 likewise
        self.seen.append((events, type(outcome)))


async def test_a_dropped_event_is_counted_and_not_reported(
    make: Make, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    failures = Failures()
    async with make(before_send=drop, on_failure=failures.add) as gameball:
        receipt = await call(gameball, "player123", "review", {"rating": 5})
        error = await outcome_of(receipt)
        assert (str(error), error.reason) == ("before_send dropped the event.", DropReason.FILTERED)
        assert not receipt.durable
        await gameball.flush()
        stats = gameball.stats()
        assert (stats.accepted, stats.dropped, stats.filtered, stats.pending) == (1, 1, 1, 0)
        assert_conserved(stats)
    assert failures.seen == []
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_an_observer_sees_a_dropped_event_as_every_other(sandbox: Sandbox) -> None:
    watching = Watching()
    async with client(sandbox, before_send=drop, observer=watching) as gameball:
        await gameball.track("player123", "review")
    assert watching.seen == ["review", (1, Dropped)]


async def test_a_client_that_accepts_nothing_drops_nothing(sandbox: Sandbox) -> None:
    gameball = client(sandbox, before_send=drop)
    assert (await gameball.track("player123", "review")).done, "before the start events are accepted"
    async with gameball:
        pass
    with pytest.raises(ClientClosed) as caught:
        await gameball.track("player123", "review")
    assert caught.value.__suppress_context__
    assert gameball.stats().accepted == 1


async def test_a_journal_does_not_keep_a_dropped_event(sandbox: Sandbox, tmp_path: Path) -> None:
    def only_orders(draft: EventDraft) -> EventDraft | None:
        return draft if draft.name == "place_order" else None

    async with client(sandbox, before_send=only_orders, journal=tmp_path) as gameball:
        dropped = await gameball.track("player123", "review")
        kept = await gameball.track("player123", "place_order")
        assert (dropped.durable, kept.durable) == (False, True)
    stats = gameball.stats()
    assert (stats.accepted, stats.dropped, stats.delivered) == (2, 1, 1)


# ---------------------------------------------------------------- send


async def test_send_sends_the_others_and_raises_what_was_dropped(make: Make) -> None:
    def only_orders(draft: EventDraft) -> EventDraft | None:
        return draft if draft.name == "place_order" else None

    async with make(before_send=only_orders) as gameball:
        for events in ({"review": None, "place_order": None}, {"review": None}):
            with pytest.raises(Dropped) as caught:
                await gameball.send("player123", events)
            assert caught.value.reason is DropReason.FILTERED
        assert (await gameball.send("player123", {"place_order": None})).status == 200
        stats = gameball.stats()
        assert (stats.accepted, stats.delivered, stats.dropped) == (4, 2, 2)


async def test_send_raises_a_rejection_before_what_was_dropped(sandbox: Sandbox) -> None:
    def only_orders(draft: EventDraft) -> EventDraft | None:
        return draft if draft.name == "place_order" else None

    sandbox.script(Fault.status(422, code=3003))
    async with client(sandbox, before_send=only_orders) as gameball:
        with pytest.raises(Rejected):
            await gameball.send("player123", {"review": None, "place_order": None})


async def test_what_a_hook_makes_of_the_events_of_a_request_must_fit_together(make: Make) -> None:
    def merge(draft: EventDraft) -> EventDraft:
        draft.name = "review"
        return draft

    def give_contact(draft: EventDraft) -> EventDraft:
        draft.mobile = draft.name
        return draft

    async with make(before_send=merge) as gameball:
        with pytest.raises(InvalidEvent, match="two event names are equal"):
            await gameball.send("player123", {"a": None, "b": None})
        with pytest.raises(InvalidEvent, match="at least one event"):
            await gameball.send("player123", {})
    async with make(before_send=give_contact) as other:
        with pytest.raises(InvalidEvent, match="different values of mobile"):
            await other.send("player123", {"a": None, "b": None})
        assert other.stats().accepted == 0


async def test_an_events_own_dict_takes_the_place_of_that_of_the_defaults(sandbox: Sandbox) -> None:
    defaults: Any = {"address": {"city": "Cairo", "zip": "11511"}, "channel": "web"}
    own: Any = {"address": {"city": "Alexandria"}}
    async with client(sandbox, defaults=defaults, conversion=Conversion(nested="flatten")) as gameball:
        await gameball.track("player123", "review", own)
        await gameball.track("player123", "visit")
    review, visit = sandbox.holdings()["player123"]
    assert review.metadata == {"channel": "web", "address.city": "Alexandria"}
    assert visit.metadata == {"channel": "web", "address.city": "Cairo", "address.zip": "11511"}


# ---------------------------------------------------------------- a hook that fails


async def test_the_draft_of_an_earlier_event_is_not_sent_again(sandbox: Sandbox) -> None:
    drafts: list[EventDraft] = []

    def return_the_first(draft: EventDraft) -> EventDraft:
        drafts.append(draft)
        return drafts[0]

    async with client(sandbox, before_send=return_the_first) as gameball:
        await gameball.track("player123", "first")
        receipt = await gameball.track("player123", "second")
        with pytest.raises(Dropped, match="returned the draft of another event"):
            await receipt
    assert [event.name for event in sandbox.holdings()["player123"]] == ["first"]


async def test_the_draft_of_a_hook_that_raised_is_not_sent_later(sandbox: Sandbox) -> None:
    drafts: list[EventDraft] = []

    def fail_first(draft: EventDraft) -> EventDraft:
        drafts.append(draft)
        return drafts[0] if len(drafts) > 1 else fail(draft)

    async with client(sandbox, before_send=fail_first) as gameball:
        for words in ("before_send raised KeyError", "returned the draft of another event"):
            receipt = await gameball.track("player123", "review")
            with pytest.raises(Dropped, match=words):
                await receipt
    assert sandbox.holdings() == {}


async def test_a_hook_that_changes_nested_dicts_leaves_the_callers_as_they_are(sandbox: Sandbox) -> None:
    def hide(draft: EventDraft) -> EventDraft:
        draft.metadata["customer"]["address"]["street"] = "hidden"
        draft.metadata["lines"] = len([draft.metadata["lines"].pop().clear()])
        return draft

    own: Any = {"customer": {"address": {"street": "Baker Street"}}, "lines": [{"sku": 1}]}
    async with client(sandbox, before_send=hide, conversion=Conversion(nested="flatten")) as gameball:
        await gameball.track("player123", "review", own)
    assert own == {"customer": {"address": {"street": "Baker Street"}}, "lines": [{"sku": 1}]}
    [event] = sandbox.holdings()["player123"]
    assert event.metadata == {"customer.address.street": "hidden", "lines": 1}


async def test_send_raises_a_failure_before_what_the_hook_has_dropped(sandbox: Sandbox) -> None:
    def drop_or_fail(draft: EventDraft) -> EventDraft | None:
        return None if draft.name == "dropped" else fail(draft)

    async with client(sandbox, before_send=drop_or_fail) as gameball:
        with pytest.raises(Dropped) as caught:
            await gameball.send("player123", {"dropped": None, "fails": None})
    assert caught.value.reason is DropReason.BEFORE_SEND_FAILED


def test_a_partial_of_a_coroutine_function_is_refused() -> None:
    class Hook:
        async def __call__(self, prefix: str, draft: EventDraft) -> EventDraft:
            raise AssertionError(prefix, draft)

    with pytest.raises(ConfigurationError, match="before_send is a coroutine function"):
        AsyncGameball("key", before_send=cast("Any", partial(Hook(), "prefix")))


def give_dict(draft: EventDraft) -> Any:
    return draft.metadata


def give_other_player(draft: EventDraft) -> EventDraft:
    return EventDraft("player456", draft.name)


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (fail, "before_send raised KeyError, so the event is not sent: correct it."),
        (
            give_dict,
            "before_send returned a dict, so the event is not sent: return the draft, or None to drop the event.",
        ),
        (
            give_other_player,
            (
                "before_send returned the draft of another event, so the event is not sent: return the draft, or None "
                "to drop the event."
            ),
        ),
    ],
    ids=["raises", "returns a dict", "returns another player"],
)
async def test_an_event_whose_hook_fails_is_not_sent_and_not_lost_silently(
    make: Make, call: Call, hook: Hook, words: str
) -> None:
    failures = Failures()
    async with make(before_send=hook, defaults={"channel": "web"}, on_failure=failures.add) as gameball:
        receipt = await call(gameball, "player123", "review", {"rating": 5, "gift": True})
        error = await outcome_of(receipt)
        assert (str(error), error.reason) == (words, DropReason.BEFORE_SEND_FAILED)
        assert isinstance(error.__cause__, KeyError if hook is fail else type(None))
        with pytest.raises(Dropped, match="before_send"):
            await gameball.send("player123", {"reserve": None})
        stats = gameball.stats()
        assert (stats.accepted, stats.dropped, stats.filtered) == (2, 2, 0)
    assert [(event.player_unique_id, event.name, event.metadata, each) for event, each in failures.seen] == [
        ("player123", "review", {"channel": "web", "rating": 5}, error),
        ("player123", "reserve", {"channel": "web"}, failures.seen[1][1]),
    ]


async def test_a_hook_that_fails_is_logged_once_a_minute_without_personal_data(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(sandbox, before_send=fail) as gameball:
        for _ in range(3):
            await gameball.track("player123", "review")
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert lines == [
        "1 event will not arrive, 'review': before_send raised KeyError, so the event is not sent: correct it.",
        (
            "2 events will not arrive, the last one 'review': before_send raised KeyError, so the event is not sent: "
            "correct it."
        ),
    ]


async def test_what_is_no_exception_passes_through_and_leaves_nothing_behind(make: Make) -> None:
    def stop(_: EventDraft) -> EventDraft:
        raise SystemExit(3)

    async with make(before_send=stop) as gameball:
        with pytest.raises(SystemExit):
            await gameball.track("player123", "review")
        assert gameball.stats().accepted == 0


# ---------------------------------------------------------------- synchronous code


def test_the_synchronous_client_calls_the_hook_in_the_callers_thread(sandbox: Sandbox) -> None:
    threads: list[threading.Thread] = []

    def only_orders(draft: EventDraft) -> EventDraft | None:
        threads.append(threading.current_thread())
        return draft if draft.name == "place_order" else None

    with Gameball(
        "test-key",
        base_url=sandbox.url,
        defaults={"channel": "web"},
        before_send=only_orders,
        batching=Batching(linger=0),
    ) as gameball:
        assert gameball.track("player123", "place_order").result(timeout=30).status == 200
        with pytest.raises(Dropped, match="before_send dropped"):
            gameball.track("player123", "review").result(timeout=30)
        assert set(threads) == {threading.current_thread()}
        assert gameball.stats().filtered == 1
    assert [event.metadata for event in sandbox.holdings()["player123"]] == [{"channel": "web"}]
