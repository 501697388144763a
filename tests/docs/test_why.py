"""The page that compares with httpx in a BackgroundTask: its rows are what both do, on a real socket."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence

import anyio
import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from gameball_async import AsyncGameball, Batching, OutcomeUnknown, RateLimit, Retry
from gameball_async.sandbox import Fault, Limits, Sandbox

from .pages import DOCS, README
from .test_examples import run

PAGE = DOCS["why"]
ROWS = {row["What happens"]: row for row in PAGE.tables()["What happens to the events/What happens"]}

ORDERS = [f"player{number}" for number in range(50)]

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


@pytest.fixture
def app(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    return made_for(sandbox, monkeypatch)


def made_for(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The page's own app."""
    monkeypatch.setenv("GAMEBALL_API_KEY", "any-key")
    monkeypatch.setenv("GAMEBALL_BASE_URL", sandbox.url)
    (block,) = [block for block in PAGE.blocks() if "BackgroundTasks" in block.text]
    made = run(block)["app"]
    assert isinstance(made, FastAPI)
    return made


async def order(app: FastAPI, customers: Sequence[str], *, at_once: bool = False) -> None:
    """Place orders; each must be answered, whatever becomes of its task."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:

        async def place(customer: str) -> None:
            answer = await http.post("/orders", params={"customer": customer, "total": 100})
            answer.raise_for_status()

        if not at_once:
            for customer in customers:
                await place(customer)
            return
        async with anyio.create_task_group() as tasks:
            for customer in customers:
                tasks.start_soon(place, customer)


async def track(sandbox: Sandbox, customers: Sequence[str], *, retry: Retry, per_second: int = 100) -> list[str]:
    """The same orders with the client; returns what `on_failure` was told."""
    told: list[str] = []
    async with AsyncGameball(
        "any-key",
        base_url=sandbox.url,
        batching=Batching(linger=0),
        retry=retry,
        rate=RateLimit(per_second=per_second),
        on_failure=lambda _event, error: told.append(str(error)),
    ) as gameball:
        for customer in customers:
            await gameball.track(customer, "place_order", {"total_amount": 100})
    return told


QUICK = Retry(initial=0.01, maximum=0.1)


def held(sandbox: Sandbox) -> int:
    return sandbox.stats().events


# Each fault strikes both; then how many arrive from the tasks, and how many from the client.
FAULTS: dict[str, tuple[Fault | None, int, int]] = {
    "Nothing unusual": (None, 50, 50),
    "Gameball answers three requests with 503": (Fault.status(503, times=3), 47, 50),
    "Gameball refuses one event": (Fault.status(422, code=3003, words="No such total.", players={"player7"}), 49, 49),
    "An answer gets lost after the event was applied": (Fault.reset_after(times=1), 50, 51),
}


@pytest.mark.parametrize("what", FAULTS)
async def test_as_many_arrive_as_the_page_says(what: str, app: FastAPI, sandbox: Sandbox) -> None:
    fault, from_tasks, from_client = FAULTS[what]
    script = [] if fault is None else [fault]
    sandbox.script(*script)
    await order(app, ORDERS)
    assert held(sandbox) == from_tasks
    sandbox.reset()
    sandbox.script(*script)
    told = await track(sandbox, ORDERS, retry=QUICK)
    assert held(sandbox) == from_client
    assert [words for words in told if "No such total." not in words] == []
    assert ROWS[what]["BackgroundTask"].startswith(f"{from_tasks} arrive")
    assert ROWS[what]["This client"].startswith(f"{from_client} arrive")


async def test_the_readme_shows_rows_of_the_page_and_adds_no_word() -> None:
    rows = README.tables()["Why not just httpx?/What happens, to fifty orders"]
    assert len(rows) > 1
    for row in rows:
        what, from_tasks, from_client = row.values()
        whole = ROWS[what]
        assert words(from_tasks) <= words(whole["BackgroundTask"]), what
        assert words(from_client) <= words(whole["This client"]), what


def words(cell: str) -> set[str]:
    return set(re.findall(r"\w+", cell))


async def test_with_report_the_lost_answer_is_an_unknown_outcome_and_nothing_arrives_twice(sandbox: Sandbox) -> None:
    sandbox.script(Fault.reset_after(times=1))
    async with AsyncGameball("any-key", base_url=sandbox.url, retry=Retry(ambiguous="report")) as gameball:
        receipt = await gameball.track(ORDERS[0], "place_order")
        with pytest.raises(OutcomeUnknown):
            await receipt
        for customer in ORDERS[1:]:
            await gameball.track(customer, "place_order")
        await gameball.flush()
        assert (gameball.stats().unknown, gameball.stats().delivered) == (1, 49)
    assert held(sandbox) == len(ORDERS)


async def test_of_three_orders_of_one_customer_at_once_one_arrives_by_tasks_and_all_by_the_client(
    app: FastAPI, sandbox: Sandbox
) -> None:
    sandbox.script(Fault.latency(0.5))
    await order(app, ["player1"] * 3, at_once=True)
    assert held(sandbox) == 1
    assert sorted(str(request.code) for request in sandbox.requests) == ["2001", "2001", "None"]
    sandbox.reset()
    sandbox.script()
    assert await track(sandbox, ["player1"] * 3, retry=QUICK) == []
    assert held(sandbox) == 3
    assert sandbox.violations == []


async def test_above_the_limit_tasks_are_answered_429_and_the_client_keeps_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Sandbox(limits=Limits(per_second=10)) as strict:
        strict.script(Fault.latency(0.2))  # so that they overlap, and are counted in one second
        await order(made_for(strict, monkeypatch), ORDERS[:20], at_once=True)
        assert held(strict) < 20
        assert 429 in {request.status for request in strict.requests}
        strict.reset()
        strict.script()
        assert await track(strict, ORDERS[:20], retry=QUICK, per_second=10) == []
        assert held(strict) == 20
        assert strict.violations == []


async def test_a_server_that_stops_in_an_orderly_way_waits_for_its_tasks(app: FastAPI, sandbox: Sandbox) -> None:
    sandbox.script(Fault.latency(0.3))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:  # who connects before the start waits in its queue
        port = listener.getsockname()[1]
        async with anyio.create_task_group() as tasks, httpx.AsyncClient(trust_env=False, verify=False) as http:
            tasks.start_soon(server.serve, [listener])
            await http.post(f"http://127.0.0.1:{port}/orders", params={"customer": "player1", "total": 100})
            assert held(sandbox) == 0
            server.should_exit = True
    assert held(sandbox) == 1
