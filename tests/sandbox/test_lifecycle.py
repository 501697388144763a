"""Starting and stopping: ready when start returns, quick to stop, the same port and holdings afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

import httpx
import pytest

from gameball_async.sandbox import Fault, RequestRecord, Sandbox
from gameball_async.sandbox._server import ServerThread, _Connection, listen

from .support import V3, body, track

if TYPE_CHECKING:
    from gameball_async.sandbox._server import InterruptibleSleep

    from .support import Calls


def _post(sandbox: Sandbox, *names: str) -> httpx.Response:
    headers = {"APIKey": "key", "Content-Type": "application/json"}
    return httpx.post(sandbox.url + V3, content=body("p", *names), headers=headers, trust_env=False, verify=False)


def test_it_is_ready_when_start_returns_and_unreachable_when_stop_returns() -> None:
    sandbox = Sandbox()
    sandbox.start()
    assert _post(sandbox).status_code == 200
    sandbox.stop()

    with pytest.raises(httpx.ConnectError):
        _post(sandbox)


def test_a_stopped_sandbox_starts_again_at_the_same_port_holding_what_it_held() -> None:
    sandbox = Sandbox()
    with sandbox:
        url = sandbox.url
        _post(sandbox, "before")
    with sandbox:
        assert sandbox.url == url
        _post(sandbox, "after")

        assert [event.name for event in sandbox.holdings()["p"]] == ["before", "after"]
        assert [record.number for record in sandbox.requests] == [1, 2]


def test_views_work_while_it_is_stopped(sandbox: Sandbox, http: httpx.Client) -> None:
    track(http)
    sandbox.stop()

    assert len(sandbox.holdings()["p"]) == len(sandbox.requests) == sandbox.stats().events == 1


@pytest.mark.parametrize("fault", [Fault.hang(), Fault.latency(60), Fault.drip(60)], ids=lambda fault: fault.kind)
def test_stopping_is_quick_whatever_is_in_flight(sandbox: Sandbox, calls: Calls, fault: Fault) -> None:
    sandbox.script(fault)
    for player in "abcdef":
        calls.open(player)

    started = time.monotonic()
    sandbox.stop()

    assert time.monotonic() - started < 30
    assert sandbox.stats().in_flight == 0
    assert len(sandbox.requests) == 6


def test_a_player_whose_request_was_cut_by_a_stop_is_free_after_the_start(sandbox: Sandbox, calls: Calls) -> None:
    sandbox.script(Fault.hang(times=1))
    calls.open("p")
    sandbox.stop()
    sandbox.start()

    assert _post(sandbox).status_code == 200


def test_stopping_logs_no_error(sandbox: Sandbox, calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    sandbox.script(Fault.latency(60))
    calls.open("p")
    sandbox.stop()

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "fault",
    [Fault.reset_before(), Fault.reset_after(), Fault.truncate(), Fault.hang(), Fault.drip(0.2)],
    ids=lambda fault: fault.kind,
)
def test_a_broken_connection_logs_no_error(
    sandbox: Sandbox, http: httpx.Client, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    sandbox.script(fault)
    with pytest.raises(httpx.TransportError), http.stream("POST", V3, content=body(), timeout=0.05) as answer:
        answer.read()
    sandbox.wait_for(lambda tally: tally.in_flight == 0)
    sandbox.stop()

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_client_that_leaves_before_its_connection_is_reset_logs_no_error(
    sandbox: Sandbox, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.script(Fault.latency(0.05), Fault.reset_after())
    calls.open().close()
    sandbox.wait_for(lambda tally: tally.arrived == 1 and tally.in_flight == 0)
    sandbox.stop()

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_stopping_twice_is_stopping_once(sandbox: Sandbox) -> None:
    sandbox.stop()
    sandbox.stop()

    assert repr(sandbox) == "<Sandbox stopped>"


def test_starting_twice_is_an_error_that_harms_nothing(sandbox: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="stop it first"):
        sandbox.start()

    assert _post(sandbox).status_code == 200


def test_two_sandboxes_do_not_know_each_other(sandbox: Sandbox) -> None:
    with Sandbox() as other:
        _post(other)

        assert other.url != sandbox.url
        assert sandbox.holdings() == {}


def test_a_port_that_is_taken_is_an_error_of_start(sandbox: Sandbox) -> None:
    port = int(sandbox.url.rpartition(":")[2])

    with pytest.raises(OSError, match="in use"):
        Sandbox(port=port).start()


def test_a_given_port_is_used_and_known_before_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sandbox = Sandbox(port=port)

    assert sandbox.url == f"http://127.0.0.1:{port}"
    with sandbox:
        assert _post(sandbox).status_code == 200


def test_without_a_port_there_is_no_address_before_the_start() -> None:
    with pytest.raises(RuntimeError, match=r"call start\(\) first"):
        _ = Sandbox().url


@pytest.mark.skipif(not socket.has_ipv6, reason="the machine has no IPv6")
def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert Sandbox(host="::1", port=8080).url == "http://[::1]:8080"


def test_a_forgotten_sandbox_warns() -> None:
    sandbox = Sandbox()
    sandbox.start()
    thread = sandbox._thread
    assert thread is not None
    with pytest.warns(ResourceWarning, match="was not stopped: call stop()"):
        del sandbox
    thread.stop()


def test_on_request_is_told_of_every_request_before_its_answer_is_read() -> None:
    told: list[RequestRecord] = []
    with Sandbox(on_request=told.append) as sandbox:
        _post(sandbox, "review")

        assert told == sandbox.requests
        assert [(record.player, record.events, record.status) for record in told] == [("p", ("review",), 200)]


def test_an_on_request_that_fails_is_logged_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(record: RequestRecord) -> None:
        raise LookupError(record.number)

    with Sandbox(on_request=fail) as sandbox:
        assert _post(sandbox).status_code == 200

    assert "on_request raised for request 1" in caplog.text


def test_a_reset_forgets_all_but_the_script_and_the_numbers_go_on(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.status(500, events="poison"))
    track(http)
    http.get("/elsewhere")
    sandbox.reset()

    assert (sandbox.holdings(), sandbox.requests, sandbox.violations) == ({}, [], [])
    assert sandbox.stats().arrived == 0
    assert track(http, "p", "poison").status_code == 500
    assert [record.number for record in sandbox.requests] == [3]


def test_a_reset_lets_requests_in_flight_end_into_the_cleared_ledger(sandbox: Sandbox, calls: Calls) -> None:
    sandbox.script(Fault.hang())
    connection = calls.open("p")
    sandbox.reset()
    connection.close()
    sandbox.wait_for(lambda tally: tally.in_flight == 0)

    assert sandbox.stats().arrived == len(sandbox.requests) == 1


def test_snapshots_do_not_change_under_the_reader(sandbox: Sandbox, http: httpx.Client) -> None:
    track(http)
    holdings, requests, violations = sandbox.holdings(), sandbox.requests, sandbox.violations
    track(http)
    http.get("/elsewhere")

    assert (len(holdings["p"]), len(requests), len(violations)) == (1, 1, 0)


def test_the_numbers_agree_with_the_views(sandbox: Sandbox, http: httpx.Client) -> None:
    track(http, "p", "one", "two")
    track(http, "q")
    http.get("/elsewhere")

    stats = sandbox.stats()

    assert (stats.arrived, stats.in_flight, stats.applied, stats.events, stats.players) == (3, 0, 2, 3, 2)
    assert (stats.violations, stats.statuses) == (1, {200: 2, 404: 1})


def test_waiting_in_vain_is_an_error_that_holds_the_numbers(sandbox: Sandbox) -> None:
    with pytest.raises(TimeoutError, match=r"within 0\.01 s: Tally\(arrived=0"):
        sandbox.wait_for(lambda tally: tally.arrived > 0, timeout=0.01)


def test_one_player_per_connection_can_be_served_from_many_threads(sandbox: Sandbox) -> None:
    def work(player: str) -> None:
        with httpx.Client(base_url=sandbox.url, headers={"APIKey": "key"}, trust_env=False, verify=False) as http:
            for number in range(10):
                track(http, player, f"event{number}")

    threads = [threading.Thread(target=work, args=(player,)) for player in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    held = {player: [event.name for event in events] for player, events in sandbox.holdings().items()}
    assert held == {player: [f"event{number}" for number in range(10)] for player in "abcdefgh"}
    assert sandbox.violations == []


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_a_missing_dependency_names_the_extra(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name.startswith("gameball_async.sandbox")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name == missing or name.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(ModuleNotFoundError, match=r'pip install "gameball-async\[sandbox\]"'):
        importlib.import_module("gameball_async.sandbox")


def test_stopping_while_connections_are_being_accepted_leaves_none_of_them_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sandbox = Sandbox()
    for _ in range(30):
        with contextlib.ExitStack() as stack:
            sandbox.start()
            port = int(sandbox.url.rpartition(":")[2])
            for _ in range(8):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            sandbox.stop()
    gc.collect()

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_server_that_cannot_start_says_why_in_the_callers_thread() -> None:
    def fail(_: InterruptibleSleep) -> NoReturn:
        raise LookupError("no app")

    with pytest.raises(RuntimeError, match="did not start") as caught:
        ServerThread(fail, listen("127.0.0.1", 0)).start()

    assert isinstance(caught.value.__cause__, LookupError)


def test_no_answer_waits_for_an_acknowledgement(monkeypatch: pytest.MonkeyPatch, http: httpx.Client) -> None:
    made = _Connection.connection_made
    options: list[int] = []

    def noted(connection: _Connection, transport: asyncio.Transport) -> None:
        made(connection, transport)
        options.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(_Connection, "connection_made", noted)
    track(http)

    # Nagle's algorithm would hold each answer's body back for 40 ms, until its head is acknowledged
    assert options == [1]


def _more_arrive(sandbox: Sandbox, count: int) -> None:
    arrived = sandbox.stats().arrived
    sandbox.wait_for(lambda tally: tally.arrived > arrived + count)


def test_stopping_and_starting_under_fire_leaves_no_socket_open_and_is_no_violation() -> None:
    sandbox = Sandbox(limits=None)
    sandbox.start()
    over = threading.Event()

    def work(player: str) -> None:
        while not over.is_set():
            with (
                contextlib.suppress(httpx.TransportError),
                httpx.Client(base_url=sandbox.url, headers={"APIKey": "key"}, trust_env=False, verify=False) as http,
            ):
                while not over.is_set():
                    track(http, player)

    threads = [threading.Thread(target=work, args=(player,)) for player in "abcd"]
    for thread in threads:
        thread.start()
    for _ in range(10):
        _more_arrive(sandbox, 5)
        sandbox.stop()
        sandbox.start()
    over.set()
    for thread in threads:
        thread.join()
    sandbox.stop()
    # an open socket would warn here, and a warning is a failure
    gc.collect()

    assert sandbox.violations == []
    assert sandbox.stats().in_flight == 0
