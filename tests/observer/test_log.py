"""The log of a client in trouble is short: a line when something begins and one when it ends, over a real socket."""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from gameball_async import AsyncGameball, Batching, ClientHalted, DeliveryError, Dropped, Event, Rejected, Retry
from gameball_async._core import pacing
from gameball_async._engine import reporting as flusher_lines
from gameball_async.sandbox import Fault, Sandbox

from .support import SOON, client, until

pytestmark = pytest.mark.anyio

AT_ONCE = Retry(initial=0.0001, maximum=0.0001)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a service sees that has configured nothing: warnings and errors."""
    return [
        f"{record.levelname} {record.getMessage()}"
        for record in caplog.records
        if record.name.startswith("gameball_async") and record.levelno >= logging.INFO
    ]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the next test runs on both, with fewer
async def test_hundreds_of_retries_in_an_outage_are_two_lines(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.script(Fault.status(503, times=500))
    async with client(sandbox, retry=AT_ONCE) as gameball:
        for number in range(100):
            await gameball.track(f"player{number % 50}", f"event{number}")
        await gameball.flush()
        assert gameball.stats().retries > 400
        assert gameball.stats().delivered == 100
    begins, ends = lines(caplog)
    assert begins == (
        f"WARNING Gameball is out of reach at {sandbox.url} (HTTP 503). 100 events are waiting; retries continue. If "
        "this lasts, check base_url and the network with `gameball-async doctor`."
    )
    assert ends.startswith("WARNING Gameball answers again, after ")


async def test_an_unreachable_address_is_two_lines_as_well(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    sandbox.stop()
    async with client(sandbox) as gameball:
        for number in range(20):
            await gameball.track(f"player{number}", "event")
        await until(lambda: gameball.stats().requests > 30)
        sandbox.start()
        await gameball.flush()
    begins, ends = lines(caplog)
    cause = "no answer: ConnectError: Connection refused"
    assert begins.startswith(f"WARNING Gameball is out of reach at {sandbox.url} ({cause})")
    assert "20 events are waiting" in begins
    assert ends.startswith("WARNING Gameball answers again, after ")


# ---------------------------------------------------------------- one event is enough


@pytest.fixture
def grow_impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """At first no outage lasts long enough to be logged; after the call each does."""
    monkeypatch.setattr(flusher_lines, "PATIENCE", math.inf)
    return lambda: monkeypatch.setattr(flusher_lines, "PATIENCE", 0.0)


@attrs.frozen
class Trouble:
    """A way in which Gameball cannot be reached.

    Args:
        words: what the line says of it.
        fault: what the sandbox does; None if it is not asked.
        address: where the client sends instead, made from the sandbox's address.
    """

    words: str
    fault: Fault | None = None
    address: Callable[[str], str] = attrs.field(default=str)


TROUBLES = {
    "refused": Trouble("ConnectError: Connection refused", address=lambda _: "http://127.0.0.1:1"),
    "no such name": Trouble("ConnectError: ", address=lambda _: "https://gameball.invalid"),
    "no TLS": Trouble("ConnectError: [SSL", address=lambda url: url.replace("http:", "https:")),
    "reset": Trouble("ReadError: Connection reset by peer", Fault.reset_before()),
    "500": Trouble("HTTP 500", Fault.status(500)),
    "503": Trouble("HTTP 503", Fault.status(503)),
    "a page of a gateway": Trouble("HTTP 502", Fault.html(502)),
}


@pytest.mark.parametrize("has_journal", [False, True], ids=["in memory", "with a journal"])
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_one_event_that_cannot_be_delivered_is_a_line_soon(
    trouble: str,
    *,
    has_journal: bool,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    grow_impatient: Callable[[], None],
) -> None:
    what = TROUBLES[trouble]
    if what.fault is not None:
        sandbox.script(what.fault)
    address = what.address(sandbox.url)
    settings: dict[str, Any] = {"journal": tmp_path} if has_journal else {}
    path = "" if what.fault is not None else "/secret-path"
    async with AsyncGameball("secret-key", base_url=address + path, batching=SOON, **settings) as gameball:
        await gameball.track("player-of-the-north", "event")
        await until(lambda: gameball.stats().requests and not gameball.stats().in_flight)
        grow_impatient()
        await until(lambda: lines(caplog))
        (line,) = lines(caplog)
        assert line.startswith(f"WARNING Gameball is out of reach at {address} (")
        assert what.words in line
        assert "1 event is waiting; retries continue." in line
        await gameball.aclose(timeout=0)
    assert len(lines(caplog)) == 2
    assert not re.search("secret|north", caplog.text)


@pytest.mark.parametrize("players", [1, 20])
async def test_an_answer_that_does_not_come_is_a_line_soon(
    players: int, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if there are so many that no worker is free to look at the clock."""
    monkeypatch.setattr(flusher_lines, "PATIENCE", 0.3)
    sandbox.script(Fault.hang())
    async with client(sandbox) as gameball:
        for number in range(players):
            await gameball.track(f"player{number}", "event")
        await until(lambda: gameball.stats().in_flight == min(players, 10))
        await until(lambda: lines(caplog))
        (line,) = lines(caplog)
        assert line.startswith(f"WARNING Gameball is out of reach at {sandbox.url} (no answer for ")
        await gameball.aclose(timeout=0)


@pytest.mark.parametrize("end", ["an answer", "a pause"])
async def test_the_end_of_what_was_logged_is_logged(
    end: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, grow_impatient: Callable[[], None]
) -> None:
    sandbox.script(Fault.status(503, retry_after=1 if end == "a pause" else None))
    async with client(sandbox) as gameball:
        await gameball.track("player123", "event")
        await until(lambda: gameball.stats().retries)
        grow_impatient()
        await until(lambda: lines(caplog))
        sandbox.script()
        await gameball.flush()
    begins, ends = lines(caplog)
    assert "(HTTP 503)" in begins
    assert ends.startswith("WARNING Gameball answers again, after ")
    assert ends.endswith(". 1 event is waiting.")


async def test_a_failure_that_a_retry_repairs_is_no_line(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    sandbox.script(Fault.reset_before(times=1), Fault.status(503, times=1), Fault.reset_after(times=1))
    async with client(sandbox) as gameball:
        await gameball.track("player123", "event")
        await gameball.flush()
        assert gameball.stats().retries == 3
    assert lines(caplog) == []


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault.reset_before(players={"unlucky"}), "no answer: ReadError: Connection reset by peer"),
        (Fault.busy(players={"unlucky"}), "HTTP 422, code 2001"),
    ],
    ids=["reset", "busy"],
)
async def test_one_player_whose_requests_always_fail_is_a_line_although_others_succeed(
    fault: Fault, cause: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, grow_impatient: Callable[[], None]
) -> None:
    del grow_impatient  # its fixture keeps outages out of the log
    sandbox.script(fault)
    async with client(sandbox, retry=AT_ONCE) as gameball:
        await gameball.track("unlucky", "review")
        while gameball.stats().retries < 20:
            await (await gameball.track("player123", "visit"))
        (line,) = lines(caplog)
        start = re.match(r"WARNING a request of 1 event fails again and again \((\d+) attempts; ", line)
        assert start is not None
        assert 5 <= int(start[1]) <= 20  # how many it takes until the other player has succeeded is the machine's
        assert line[start.end() :].startswith(cause)
        assert line.endswith(" while others succeed. It begins with 'review'; retries continue.")
        assert "unlucky" not in caplog.text
        await gameball.aclose(timeout=0)


LAST_FAILURES = {
    "HTTP 503": Fault.status(503),
    "no answer: the request was cancelled on its way": Fault.hang(),
}


@pytest.mark.parametrize("cause", LAST_FAILURES)
async def test_a_close_says_why_nothing_was_delivered(
    cause: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    failed: list[DeliveryError] = []

    def on_failure(_: Event, error: DeliveryError) -> None:
        failed.append(error)

    sandbox.script(LAST_FAILURES[cause])
    async with client(sandbox, on_failure=on_failure) as gameball:
        receipts = [await gameball.track(f"player{number}", "event") for number in range(11)]
        await until(lambda: gameball.stats().retries or gameball.stats().in_flight == 10)
        await until(lambda: gameball.stats().retries or LAST_FAILURES[cause].kind == "hang")
        report = await gameball.aclose(timeout=0)
    dropped = [error for error in failed if isinstance(error, Dropped)]
    assert {error.last_failure for error in dropped} == {report.last_failure} == {cause}
    assert all(f"closed before delivery ({cause}): track it again" in str(error) for error in dropped)
    assert [entry.error for entry in report.undelivered] == failed
    assert any(f"closed before delivery ({cause})" in line for line in lines(caplog))
    with pytest.raises(DeliveryError, match="closed before delivery"):
        await receipts[-1]


# ---------------------------------------------------------------- halts, pauses, losses


async def test_a_halt_is_an_error_and_its_end_a_warning(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "HALT_PROBE_INTERVAL", 0.01)
    sandbox.script(Fault.status(401, times=20))
    async with client(sandbox) as gameball:
        for number in range(20):
            await gameball.track(f"player{number}", "event")
        with pytest.raises(ClientHalted):
            await gameball.flush()
        await until(lambda: gameball.stats().delivered == 20)
    begins, ends = lines(caplog)
    assert begins.startswith("ERROR Gameball refuses this client (HTTP 401")
    assert begins.endswith("20 events are waiting.")
    assert ends.startswith("WARNING Gameball answers again, after ")


async def test_a_short_pause_is_no_line(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    sandbox.script(Fault.status(429, retry_after=0, times=3))
    async with client(sandbox) as gameball:
        for number in range(20):
            await gameball.track(f"player{number}", "event")
        await gameball.flush()
        assert gameball.stats().retries >= 3
    assert lines(caplog) == []


async def test_hundreds_of_refused_events_are_two_lines(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    sandbox.script(Fault.status(422, code=3003, words="no such rating"))
    async with client(sandbox) as gameball:
        receipts = [await gameball.track(f"player{number}", f"review{number}") for number in range(300)]
        for receipt in receipts:
            with pytest.raises(Rejected):
                await receipt
        assert len(lines(caplog)) == 1
    first, others = lines(caplog)
    assert first.startswith("ERROR 1 event will not arrive, 'review")
    assert first.endswith("(HTTP 422, code 3003: no such rating). Correct the event, or ask Gameball about it.")
    assert others.startswith("ERROR 299 events will not arrive, the last one 'review")


async def test_a_buffer_that_overflows_among_deliveries_is_one_line_and_a_count(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    batching = Batching(linger=0, buffer_events=5, when_full="drop_newest")
    async with client(sandbox, batching=batching) as gameball:
        for _ in range(20):
            for number in range(10):
                await gameball.track(f"player{number}", "event")
            await gameball.flush()
        dropped = gameball.stats().dropped
        assert dropped >= 100
    first, others = lines(caplog)
    assert first.startswith("WARNING 1 event will not arrive, 'event': the buffer was full")
    assert others.startswith(f"WARNING {dropped - 1} events will not arrive, the last one 'event'")


async def test_what_a_close_leaves_is_a_line_for_each_reason(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.script(Fault.hang())
    async with client(sandbox) as gameball:
        for number in range(100):
            await gameball.track(f"player{number}", "event")
        await until(lambda: gameball.stats().in_flight == 10)
        await gameball.aclose(timeout=0)
    dropped, unknown = sorted(lines(caplog), reverse=True)
    assert "90 events will not arrive" in unknown + dropped
    assert "10 events may not have arrived" in unknown + dropped


async def test_what_a_close_leaves_to_the_journal_is_a_warning(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, tmp_path: object
) -> None:
    sandbox.stop()
    async with client(sandbox, journal=tmp_path) as gameball:
        for number in range(10):
            await gameball.track(f"player{number}", "event")
        await until(lambda: gameball.stats().retries)
        report = await gameball.aclose(timeout=0)
    assert (report.kept, report.last_failure) == (10, "no answer: ConnectError: Connection refused")
    assert lines(caplog)[-1] == (
        "WARNING the client was closed before delivery (no answer: ConnectError: Connection refused); 10 events are "
        "kept in the journal for the next client."
    )


async def test_a_failing_on_failure_is_a_line_and_a_count(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    sandbox.script(Fault.status(422, code=3003))

    def on_failure(event: Event, error: DeliveryError) -> None:
        raise ZeroDivisionError(event, error)

    async with client(sandbox, on_failure=on_failure) as gameball:
        for number in range(50):
            await gameball.track(f"player{number}", "event")
        await gameball.flush()
    assert [line for line in lines(caplog) if "on_failure" in line] == [
        "ERROR on_failure raised ZeroDivisionError for event 'event'",
        "ERROR on_failure raised for 49 events, lastly ZeroDivisionError for event 'event'",
    ]


@pytest.mark.parametrize("where", ["handler", "filter"])
async def test_a_handler_or_a_filter_that_raises_harms_no_event(
    where: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError(record.name)

        def filter(self, record: logging.LogRecord) -> bool:
            if where == "filter":
                self.emit(record)
            return True

    log, broken = logging.getLogger("gameball_async"), Broken()
    log.addHandler(broken)
    log.setLevel(logging.DEBUG)
    try:
        sandbox.script(Fault.status(422, code=3003, times=1), Fault.status(503, times=50))
        async with client(sandbox, retry=AT_ONCE) as gameball:
            for number in range(30):
                await gameball.track(f"player{number}", "event")
            await gameball.flush()
            assert (gameball.stats().rejected, gameball.stats().delivered) == (1, 29)
    finally:
        log.removeHandler(broken)
        log.setLevel(logging.NOTSET)
    assert "ZeroDivisionError: gameball_async" in capsys.readouterr().err


async def test_where_logging_is_to_hide_its_own_errors_so_does_the_client(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(record: logging.LogRecord) -> None:
        raise ZeroDivisionError(record.name)

    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(logging.getLogger("gameball_async"), "handle", fail)
    sandbox.script(Fault.status(422, code=3003))
    async with client(sandbox) as gameball:
        await gameball.track("player123", "event")
        await gameball.flush()
        assert gameball.stats().rejected == 1
    assert capsys.readouterr().err == ""


async def test_who_asks_for_requests_sees_each(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gameball_async.requests")
    sandbox.script(Fault.status(503, times=1))
    async with client(sandbox) as gameball:
        await gameball.track("player123", "place_order")
        await gameball.track("player123", "review")
        await gameball.flush()
    told = [record.getMessage() for record in caplog.records if record.name == "gameball_async.requests"]
    assert [line.rpartition(" in ")[0] for line in told] == [
        "2 events, attempt 1: failed (HTTP 503)",
        "2 events, attempt 2: delivered (HTTP 200)",
    ]


async def test_a_service_that_has_configured_nothing_hears_of_trouble_on_stderr_and_of_nothing_else(
    sandbox: Sandbox,
) -> None:
    program = (
        "import anyio\n"
        "from gameball_async import AsyncGameball, Batching\n"
        "async def main():\n"
        f"    async with AsyncGameball('key', base_url={sandbox.url!r}, batching=Batching(linger=0)) as gameball:\n"
        "        await (await gameball.track('player123', 'place_order'))\n"
        "        await gameball.track('player123', 'review')\n"
        "anyio.run(main)\n"
    )
    sandbox.script(Fault.status(422, code=3003, events={"review"}))
    run = await anyio.run_process([sys.executable, "-c", program])
    assert run.stdout == b""
    (line,) = run.stderr.decode().splitlines()
    assert line.startswith("1 event will not arrive, 'review': Gameball refused the event (HTTP 422, code 3003")
