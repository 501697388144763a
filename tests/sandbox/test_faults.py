"""Each kind of fault does what its row says, in the shape of the version, applying or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import httpx
import pytest

from gameball_async.sandbox import Fault, Limits, Sandbox
from gameball_async.sandbox._faults import Kind
from gameball_async.sandbox._responses import EFFECTS

from .support import V3, V4, body, received, track

if TYPE_CHECKING:
    import socket

    from .support import Calls


def _applied(sandbox: Sandbox) -> bool:
    held = sandbox.holdings() != {}
    assert [record.applied for record in sandbox.requests] == [held]
    return held


def test_every_kind_but_latency_has_its_row_and_every_kind_its_constructor() -> None:
    assert set(EFFECTS) == set(get_args(Kind)) - {"latency"}
    assert all(callable(getattr(Fault, kind)) for kind in get_args(Kind))


# the fault, the status and whether the events are applied, and the body in v3 and in v4 (request number 1)
_WORDS = "This answer was scripted."
ANSWERED = [
    (Fault.status(500), 500, False, b"", b""),
    (Fault.status(401), 401, False, b"{}", b""),
    (
        Fault.status(503, code=5003, words="Be back soon."),
        503,
        False,
        b'{"code":5003,"message":"Be back soon."}',
        b'{"code":5003,"type":"SERVER_ERROR","message":"Be back soon.","requestId":"sandbox-1"}',
    ),
    (
        Fault.busy(),
        422,
        False,
        b'{"code":2001,"message":"Another request is in progress."}',
        b'{"code":2001,"type":"REQUEST_ERROR","message":"Another request is in progress.","requestId":"sandbox-1"}',
    ),
    (
        Fault.success_false(words="No."),
        200,
        False,
        b'{"response":{},"Success":false,"ErrorMsg":"No.","ErrorCode":13}',
        b'{"success":false,"message":"No."}',
    ),
    (Fault.redirect(), 307, False, b"", b""),
    (Fault.fail_after_applying(), 500, True, b"", b""),
    (
        Fault.fail_after_applying(503, code=5003),
        503,
        True,
        b'{"code":5003,"message":"This answer was scripted."}',
        b'{"code":5003,"type":"SERVER_ERROR","message":"This answer was scripted.","requestId":"sandbox-1"}',
    ),
    (Fault.drip(0.001, size=4), 200, True, b"{}  ", b'{"success":true,"message":"Events processed"}'),
    (Fault.huge(100), 200, True, b"{}".ljust(100), b'{"success":true,"message":"Events processed"}'.ljust(100)),
    (Fault.latency(0.0, 0.001), 200, True, b"{}", b'{"success":true,"message":"Events processed"}'),
]


@pytest.mark.parametrize("path", [V3, V4])
@pytest.mark.parametrize(
    ("fault", "status", "applied", "v3_body", "v4_body"), ANSWERED, ids=[row[0].kind for row in ANSWERED]
)
def test_a_fault_with_an_answer_gives_it_in_the_shape_of_the_version(
    *,
    sandbox: Sandbox,
    http: httpx.Client,
    path: str,
    fault: Fault,
    status: int,
    applied: bool,
    v3_body: bytes,
    v4_body: bytes,
) -> None:
    sandbox.script(fault)

    answer = track(http, path=path)

    assert (answer.status_code, answer.content) == (status, v3_body if path == V3 else v4_body)
    assert _applied(sandbox) is applied
    assert [record.status for record in sandbox.requests] == [status]
    assert [record.fault for record in sandbox.requests] == [None if fault.kind == "latency" else fault.kind]
    assert sandbox.violations == []


@pytest.mark.parametrize("value", [0, 2, 1.5, -1, 10**30, "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_retry_after_is_sent_as_it_is_written(sandbox: Sandbox, http: httpx.Client, value: float | str) -> None:
    sandbox.script(Fault.status(429, retry_after=value))

    assert track(http).headers["Retry-After"] == str(value)


def test_a_gateways_page_is_html_and_may_carry_retry_after(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.html(retry_after=3))

    answer = track(http)

    assert (answer.status_code, answer.headers["Content-Type"], answer.headers["Retry-After"]) == (
        502,
        "text/html",
        "3",
    )
    assert answer.content.startswith(b"<html>")
    assert not _applied(sandbox)


def test_a_redirect_points_to_another_host(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.redirect("https://elsewhere.invalid/login", status=302))

    answer = track(http)

    assert (answer.status_code, answer.headers["Location"]) == (302, "https://elsewhere.invalid/login")


@pytest.mark.parametrize(("fault", "applied"), [(Fault.reset_before(), False), (Fault.reset_after(), True)])
def test_a_reset_is_a_tcp_rst_and_no_byte_is_answered(
    sandbox: Sandbox,
    calls: Calls,
    fault: Fault,
    applied: bool,  # noqa: FBT001 - a column of the table
) -> None:
    sandbox.script(fault)
    connection = calls.open()

    # an orderly end would be an empty read instead
    with pytest.raises(ConnectionResetError):
        connection.recv(1)
    assert _applied(sandbox) is applied
    assert [record.status for record in sandbox.requests] == [None]


@pytest.mark.parametrize("fault", [Fault.truncate(), Fault.truncate(players="p")])
def test_a_truncated_answer_ends_before_its_content_length(sandbox: Sandbox, calls: Calls, fault: Fault) -> None:
    sandbox.script(fault)

    head, _, rest = received(calls.open("p")).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: 66" in head
    assert rest == b"{"
    assert _applied(sandbox)
    assert [record.status for record in sandbox.requests] == [200]


def test_a_truncated_answer_is_an_error_to_an_http_client(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.truncate())

    with pytest.raises(httpx.RemoteProtocolError):
        track(http)


def test_a_hanging_request_is_answered_by_nothing_until_the_client_leaves(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.hang())

    with pytest.raises(httpx.ReadTimeout):
        http.post(V3, content=body(), headers={"Content-Type": "application/json"}, timeout=0.05)

    sandbox.wait_for(lambda tally: tally.in_flight == 0)
    assert not _applied(sandbox)


def test_a_dripping_answer_comes_byte_by_byte(sandbox: Sandbox, calls: Calls) -> None:
    sandbox.script(Fault.drip(0.02, size=5))
    connection = calls.open()
    # without the answers' head, which comes in one piece
    got = [connection.recv(65536).rpartition(b"\r\n\r\n")[2]]
    while sum(map(len, got)) < 5:
        got.append(connection.recv(65536))

    assert b"".join(got) == b"{}   "
    assert len(got) > 2


def test_a_client_that_leaves_a_dripping_answer_ends_it(sandbox: Sandbox, calls: Calls) -> None:
    sandbox.script(Fault.drip(0.01, size=10_000))
    connection = calls.open()
    connection.recv(1)
    connection.close()

    sandbox.wait_for(lambda tally: tally.in_flight == 0)

    assert [record.left for record in sandbox.requests] == [True]


def test_latency_delays_the_request_by_what_was_drawn(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.latency(0.03, 0.05), Fault.latency(0.02))
    track(http)

    (record,) = sandbox.requests

    assert record.end - record.start >= 0.05


def test_half_of_the_latency_passes_before_the_request_is_applied(sandbox: Sandbox, calls: Calls) -> None:
    sandbox.script(Fault.latency(20.0))
    connection = calls.open()

    assert sandbox.holdings() == {}
    sandbox.stop()
    assert [(record.applied, record.status) for record in sandbox.requests] == [(False, None)]
    assert _is_cut(connection)


def test_half_of_the_latency_passes_after_the_request_is_applied(sandbox: Sandbox, calls: Calls) -> None:
    sandbox.script(Fault.latency(0.6))
    calls.open()

    sandbox.wait_for(lambda tally: tally.applied == 1)

    assert sandbox.stats().in_flight == 1


def test_latency_adds_to_the_fault_that_decides_the_answer(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.status(503), Fault.latency(0.05), Fault.status(500))

    answer = track(http)

    (record,) = sandbox.requests
    assert answer.status_code == 503
    assert record.end - record.start >= 0.05


@pytest.mark.parametrize("fault", [Fault.status(500), Fault.fail_after_applying(), Fault.html(), Fault.success_false()])
def test_a_fault_hides_no_violation(sandbox: Sandbox, http: httpx.Client, fault: Fault) -> None:
    sandbox.script(fault)

    http.post(V3, json={"playerUniqueId": "p", "events": {"e": {"k": None}}})

    assert [violation.kind for violation in sandbox.violations] == ["null_value"]
    assert sandbox.holdings() == {}


def test_a_struck_request_counts_in_the_rate_windows() -> None:
    with (
        Sandbox(limits=Limits(1, 1)) as sandbox,
        httpx.Client(headers={"APIKey": "k"}, trust_env=False, verify=False) as http,
    ):
        http.base_url = httpx.URL(sandbox.url)
        sandbox.script(Fault.status(500, times=1))
        track(http)

        assert track(http).status_code == 429


def test_other_routes_are_not_struck(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.status(500))

    assert http.post("/api/v9/integrations/event").status_code == 404


def test_two_tries_of_the_same_bytes_have_the_same_digest_and_others_have_not(
    sandbox: Sandbox, http: httpx.Client
) -> None:
    sandbox.script(Fault.status(500, times=1))
    for name in ("one", "one", "two"):
        track(http, "p", name)

    first, second, third = (record.digest for record in sandbox.requests)

    assert first == second != third


def _is_cut(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
