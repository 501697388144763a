"""The recorder and the client live the same scenarios, the client before a sandbox, and tell the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, cast

import anyio
import anyio.to_thread
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gameball_async import (
    AsyncGameball,
    Batching,
    BufferFull,
    ClientHalted,
    DeliveryError,
    Event,
    OutcomeUnknown,
    Rejected,
    Retry,
)
from gameball_async._core.events import encode_event
from gameball_async.sandbox import Fault, Sandbox
from gameball_async.testing import Recorder

pytestmark = pytest.mark.anyio

Told = list[str]
"""What a scenario saw, in order."""

Scenario = Callable[[AsyncGameball, Told], Awaitable[None]]


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    """One for all scenarios, which reset it."""
    with Sandbox(limits=None) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Iterator[Sandbox]:
    yield running_sandbox
    running_sandbox.script()
    running_sandbox.reset()


@attrs.frozen(kw_only=True)
class Trouble:
    """One thing that goes wrong, in the two ways to script it."""

    fault: Fault
    error: Rejected | OutcomeUnknown | ClientHalted | BufferFull
    batching: Batching = Batching(linger=0)  # noqa: RUF009 frozen
    retry: Retry = Retry(initial=0.01, maximum=0.02)  # noqa: RUF009 frozen
    times: int | None = None
    name: str | None = None


def keep(told: Told) -> Callable[[Event, DeliveryError], None]:
    def on_failure(event: Event, error: DeliveryError) -> None:
        told.append(f"{event.name} {event.metadata} {type(error).__name__}")

    return on_failure


async def of_both(scenario: Scenario, sandbox: Sandbox, trouble: Trouble | None = None) -> tuple[Told, Told]:
    """What the scenario tells of the recorder and of the client."""
    recorded, lived = Told(), Told()
    recorded_failures, lived_failures = Told(), Told()  # the client calls on_failure from a task of its own
    recorder = Recorder(on_failure=keep(recorded_failures))
    settings: dict[str, Any] = {"batching": Batching(linger=0)}
    if trouble is not None:
        recorder.fail(trouble.error, name=trouble.name, times=trouble.times)
        sandbox.script(trouble.fault)
        settings = {"batching": trouble.batching, "retry": trouble.retry}
    await scenario(recorder, recorded)
    gameball = AsyncGameball("key", base_url=sandbox.url, rate=None, on_failure=keep(lived_failures), **settings)
    await scenario(gameball, lived)
    held = [(player, each.name, each.metadata) for player, events in sandbox.holdings().items() for each in events]
    tracked = [(event.player_unique_id, event.name, event.metadata) for event in recorder.events]
    assert trouble is not None or sorted(held, key=repr) == sorted(tracked, key=repr)
    return recorded + recorded_failures, lived + lived_failures


async def assert_alike(scenario: Scenario, sandbox: Sandbox, trouble: Trouble | None = None) -> None:
    recorded, lived = await of_both(scenario, sandbox, trouble)
    assert recorded == lived
    assert recorded, "a scenario that tells nothing compares nothing"


async def attempt(told: Told, call: Callable[[], Any]) -> None:
    """Call, await what can be awaited, and tell the result or the error with its words."""
    try:
        result: object = call()
        result = await cast("Awaitable[object]", result) if isinstance(result, Awaitable) else result
    except Exception as error:  # noqa: BLE001 whatever it is, it is compared
        told.append(f"<{type(error).__name__}({', '.join(base.__name__ for base in type(error).__bases__)})>: {error}")
    else:
        told.append(repr(result))


async def kind(told: Told, call: Callable[[], Any]) -> None:
    """As `attempt`, without an error's words: they are scripted, or Gameball's own."""
    await attempt(told, call)
    told[-1] = told[-1].partition(")>: ")[0]


def counts(gameball: AsyncGameball, told: Told) -> None:
    stats = gameball.stats()
    told.append(f"{stats.accepted=} {stats.delivered=} {stats.rejected=} {stats.dropped=} {stats.unknown=}")
    told.append(f"{stats.pending=} halted={stats.halted is not None}")


async def in_a_thread(call: Callable[[], Any]) -> Any:
    return await anyio.to_thread.run_sync(call)


async def every_call(gameball: AsyncGameball, told: Told) -> None:
    await attempt(told, lambda: gameball.send("player123", {"sent": {"x": 1}}))
    await attempt(told, gameball.flush)
    await attempt(told, lambda: in_a_thread(lambda: gameball.track_threadsafe("player123", "thread").durable))
    await attempt(told, gameball.start)
    await attempt(told, lambda: gameball.track_nowait("player123", "nowait", {"x": 2}).durable)
    counts_before = gameball.stats().accepted
    await attempt(told, lambda: track(gameball, "tracked"))
    told.append(f"accepted: {gameball.stats().accepted - counts_before}")


async def track(gameball: AsyncGameball, name: str) -> str:
    receipt = await gameball.track("player123", name, {"x": 3}, mobile="+20123", email="a@b.example")
    return repr(await receipt)


# ---------------------------------------------------------------- life


async def test_what_a_new_one_allows(sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        await every_call(gameball, told)
        await attempt(told, gameball.aclose)
        counts(gameball, told)

    await assert_alike(scenario, sandbox)


async def test_what_a_running_one_allows(sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with gameball as entered:
            told.append(f"{entered is gameball}")
            await every_call(gameball, told)
            await attempt(told, gameball.start)
            await attempt(told, gameball.run)
            await attempt(told, lambda: gameball.track_threadsafe("player123", "own thread"))
        counts(gameball, told)

    await assert_alike(scenario, sandbox)


async def test_what_a_closed_one_allows(sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with gameball:
            pass
        await every_call(gameball, told)
        await attempt(told, gameball.run)
        await attempt(told, gameball.aclose)
        counts(gameball, told)

    await assert_alike(scenario, sandbox)


async def test_one_that_was_never_started_delivers_at_its_close(sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        receipt = gameball.track_nowait("player123", "early")
        await attempt(told, gameball.aclose)
        await attempt(told, lambda: receipt)
        counts(gameball, told)

    await assert_alike(scenario, sandbox)


async def test_running_in_the_callers_task_group(sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with anyio.create_task_group() as tasks:
            await tasks.start(gameball.run)
            await attempt(told, gameball.run)
            await attempt(told, gameball.start)
            await every_call(gameball, told)
            await gameball.aclose()
        counts(gameball, told)

    await assert_alike(scenario, sandbox)


async def test_a_cancelled_task_group(sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with anyio.create_task_group() as tasks:
            await tasks.start(gameball.run)
            tasks.cancel_scope.cancel()
        await every_call(gameball, told)
        await attempt(told, gameball.run)
        await attempt(told, gameball.aclose)
        await attempt(told, gameball.flush)

    await assert_alike(scenario, sandbox)


async def test_another_loop(sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async def elsewhere() -> None:
            await attempt(told, lambda: gameball.track("player123", "event"))
            await attempt(told, lambda: gameball.track_nowait("player123", "event"))
            await attempt(told, lambda: gameball.send("player123", {"event": None}))
            await attempt(told, gameball.flush)
            await attempt(told, gameball.start)
            await attempt(told, gameball.run)
            await attempt(told, gameball.aclose)

        async with gameball:
            await in_a_thread(lambda: anyio.run(elsewhere))
        counts(gameball, told)

    await assert_alike(scenario, sandbox)


async def test_no_loop_at_all(sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with gameball:
            await attempt(told, lambda: in_a_thread(lambda: gameball.track_nowait("player123", "event")))
            await attempt(told, lambda: in_a_thread(lambda: gameball.stats().accepted))

    await assert_alike(scenario, sandbox)


# ---------------------------------------------------------------- what is refused


BAD: list[tuple[Any, ...]] = [
    ("", "event"),
    (123, "event"),
    ("player\ud800", "event"),
    ("player123", ""),
    ("player123", None),
    ("player123", "event", []),
    ("player123", "event", {"": 1}),
    ("player123", "event", {"a": None}),
    ("player123", "event", {"a": float("nan")}),
    ("player123", "event", {"a": [True]}),
    ("player123", "event", {"a": 2**64}),
    ("player123", "event", {"a": {"b": 1}}),
    ("player123", "event", {"a": "\ud800"}),
]

BAD_CONTACTS: list[dict[str, Any]] = [{"mobile": ""}, {"mobile": 20123}, {"email": b"a@b.example"}]


@pytest.mark.parametrize("arguments", BAD, ids=ascii)
async def test_a_bad_event(arguments: tuple[Any, ...], sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        player, name, *metadata = arguments
        async with gameball:
            await attempt(told, lambda: gameball.track(*arguments))
            await attempt(told, lambda: gameball.track_nowait(*arguments))
            await attempt(told, lambda: in_a_thread(lambda: gameball.track_threadsafe(*arguments)))
            await attempt(told, lambda: gameball.send(player, {"good": None, name: metadata[0] if metadata else None}))
        counts(gameball, told)

    await assert_alike(scenario, sandbox)


@pytest.mark.parametrize("contact", BAD_CONTACTS, ids=ascii)
async def test_a_bad_contact(contact: dict[str, Any], sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with gameball:
            await attempt(told, lambda: gameball.track("player123", "event", **contact))
            await attempt(told, lambda: gameball.send("player123", {"event": None}, **contact))
        counts(gameball, told)

    await assert_alike(scenario, sandbox)


@pytest.mark.parametrize("events", [None, {}, [], "event"], ids=repr)
async def test_bad_events_to_send(events: Any, sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with gameball:
            await attempt(told, lambda: gameball.send("player123", events))

    await assert_alike(scenario, sandbox)


@pytest.mark.parametrize("seconds", [-1, True, "1", None, float("nan")], ids=repr)
async def test_a_bad_timeout(seconds: Any, sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with gameball:
            await attempt(told, lambda: gameball.flush(seconds))
            await attempt(told, lambda: gameball.aclose(seconds))
            await attempt(told, gameball.flush)

    await assert_alike(scenario, sandbox)


class Colour(Enum):
    RED = "red"
    HALF = Decimal("0.50")


class Size(StrEnum):
    LARGE = "large"


class Level(IntEnum):
    GOLD = 3


class Text(str):
    """A string of a type of its own."""

    __slots__ = ()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9)
scalars = (
    texts
    | texts.map(Text)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | decimals
    | st.sampled_from([Decimal(7), Decimal("1E+20"), Decimal("1E-20"), Decimal("-0"), Decimal("0.1234567890123456789")])
    | st.dates()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.uuids()
    | st.sampled_from([*Colour, *Size, *Level])
)
values = scalars | st.lists(scalars, max_size=4) | st.lists(scalars, max_size=4).map(tuple)
visible = st.characters(categories=["L", "N", "P", "S"], exclude_characters="\u115f\u1160\u2800\u3164\uffa0")
names = st.tuples(texts, visible, texts).map("".join)


@settings(max_examples=300, deadline=None)
@given(metadata=st.dictionaries(names | names.map(Text), values, max_size=5))
def test_every_value_is_recorded_as_the_client_would_send_it(metadata: dict[str, Any]) -> None:
    recorder = Recorder()
    recorder.track_nowait("player123", "event", metadata)
    (event,) = recorder.events
    sent = Event("player123", "event", None, None, encode_event("event", metadata))
    assert repr(event.metadata) == repr(sent.metadata)  # types too: 1 is not 1.0
    recorder.assert_tracked("player123", "event", metadata, exact=True)
    recorder.assert_tracked("player123", "event", sent.metadata, exact=True)


# ---------------------------------------------------------------- what goes wrong


@asynccontextmanager
async def closed_at_once(gameball: AsyncGameball, told: Told) -> AsyncGenerator[None]:
    """The body, then a close that does not wait, and what it reports."""
    await gameball.start()
    yield
    report = await gameball.aclose(timeout=0)
    told.extend(f"undelivered: {each.event.name} {type(each.error).__name__}" for each in report.undelivered)
    counts(gameball, told)


REJECTED = Trouble(
    fault=Fault.status(422, code=3003, words="no such rating", events={"review"}),
    error=Rejected("no such rating", status=422, code=3003),
    name="review",
)
UNKNOWN = Trouble(
    fault=Fault.reset_after(times=1),
    error=OutcomeUnknown("the answer got lost"),
    retry=Retry(ambiguous="report", initial=0.01),
    times=1,
)
HALTED = Trouble(fault=Fault.status(401, code=1000), error=ClientHalted("a wrong key", status=401, code=1000))
FULL = Trouble(
    fault=Fault.hang(),
    error=BufferFull("no room"),
    batching=Batching(buffer_events=1, linger=0, when_full="raise"),
    name="second",
)


@pytest.mark.parametrize("trouble", [REJECTED, UNKNOWN], ids=["rejected", "unknown"])
async def test_an_event_that_does_not_arrive(trouble: Trouble, sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with closed_at_once(gameball, told):
            await kind(told, lambda: gameball.send("player123", {"review": {"rating": 6}}))
            receipt = await gameball.track("player123", "reserve", {"rooms": 2})
            await attempt(told, lambda: receipt)
            await attempt(told, gameball.flush)

    await assert_alike(scenario, sandbox, trouble)


async def test_a_receipt_tells_of_a_rejection_as_often_as_it_is_asked(sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with closed_at_once(gameball, told):
            receipt = await gameball.track("player123", "review", {"rating": 6})
            for _ in range(2):
                with pytest.raises(Rejected) as caught:
                    await receipt
                told.append(f"{caught.value.status} {caught.value.code} {receipt!r}")

    await assert_alike(scenario, sandbox, REJECTED)


async def test_a_client_that_is_halted(sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with closed_at_once(gameball, told):
            receipt = await gameball.track("player123", "review")
            with pytest.raises(ClientHalted) as caught:
                await gameball.flush()
            told.append(f"{caught.value.status} {caught.value.code} {receipt!r}")
            counts(gameball, told)
        await attempt(told, lambda: receipt)

    await assert_alike(scenario, sandbox, HALTED)


async def test_a_full_buffer(sandbox: Sandbox) -> None:
    async def scenario(gameball: AsyncGameball, told: Told) -> None:
        async with gameball:
            await gameball.track("player123", "first")
            await kind(told, lambda: gameball.track("player123", "second"))
            await kind(told, lambda: gameball.track_nowait("player123", "second"))
            await kind(told, lambda: gameball.send("player123", {"second": None}))
            told.append(f"{gameball.stats().accepted}")
            await gameball.aclose(timeout=0)

    recorded, lived = await of_both(scenario, sandbox, FULL)
    assert recorded == [each for each in lived if not each.startswith("first")]
