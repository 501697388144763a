"""The command `sandbox`: what it prints, which options it refuses, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from .conftest import FAST, Process, events_of, found, invoke, written

if TYPE_CHECKING:
    from pathlib import Path


def test_a_sandbox_whose_reader_has_left_serves_on_quietly(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "gameball_async.cli", "sandbox", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            url = found(rb"listens at (\S+)", process.stdout.readline())
            process.stdout.close()
            path = written(tmp_path / "events", events_of(players=2, each=1))
            assert invoke("send", path, "--base-url", url, *FAST).exit_code == 0
        finally:
            process.terminate()
        process.wait(30)
        assert process.stderr.read() == b""


def test_a_sandbox_ends_in_order_when_it_is_terminated() -> None:
    process = Process("sandbox", "--port", "0")
    process.wait_for(b"Ctrl-C stops it.")
    process.interrupt(signal.SIGTERM)
    assert process.end() == 0
    assert b"Stopped. It held 0 events" in process.out


def test_the_sandbox_says_where_it_listens_and_what_arrives_and_stops_quietly(tmp_path: Path) -> None:
    process = Process("sandbox", "--port", "0", "--fault", '{"kind": "busy", "times": 1}')
    process.wait_for(b"Ctrl-C stops it.")
    url = found(rb"listens at (\S+)", process.out)
    process.wait_for(b"gameball-async send FILE --base-url " + url.encode())
    path = written(tmp_path / "events", [{"player": "p\x1b", "event": name} for name in ("visit", "review")])
    assert Process("send", path, "--base-url", url).end() == 0
    process.wait_for(b"'p\\x1b'  visit, review  ->  422 code 2001 (busy, as scripted)\n")
    process.wait_for(b"'p\\x1b'  visit, review  ->  200\n")
    process.interrupt()
    assert process.end() == 0
    assert b"Stopped. It held 2 events of 1 player from 2 requests" in process.out
    assert process.err == b""


def test_the_sandbox_prints_bulk_requests_jobs_and_previews() -> None:
    jobs = '{"latency": 0, "failing_events": ["bad"]}'
    process = Process("sandbox", "--port", "0", "--jobs", jobs, "--reward", "visit=50")
    process.wait_for(b"Ctrl-C stops it.")
    base = found(rb"listens at (\S+)", process.out) + "/api/v4.0/integrations"
    with httpx.Client(headers={"APIKey": "a", "SecretKey": "s"}, trust_env=False, verify=False) as http:
        events: dict[str, object] = {"visit": {}, "bad": {}}
        items = [{"customerId": player, "events": events} for player in ("p", "q")]
        job = http.post(f"{base}/batch/events", json={"body": items}).json()["jobId"]
        process.wait_for(f"2 items in job {job}  visit, bad  ->  200\n".encode())
        assert http.get(f"{base}/batches/{job}/status").json()["failedItems"] == 2
        process.wait_for(f"status of job {job}  ->  200\n".encode())
        http.post(f"{base}/batches/{job + 1}/stop")
        process.wait_for(b"stop of no job  ->  404 code 4004\n")
        http.post(f"{base}/events", json={"customerId": "p", "events": {"review": {}}})
        preview = http.post(f"{base}/events/reward-preview", json={"customerId": "p", "events": {"visit": {}}})
        assert preview.json()["totalPoints"] == 50
        process.wait_for(b'"p"  preview of visit  ->  200\n')
    process.interrupt()
    assert process.end() == 0


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--jobs", '{"latency": -1}', b"JobSettings(latency=(-1.0, -1.0)) is invalid"),
        ("--jobs", "5", b"the settings of jobs are a JSON object"),
        ("--jobs", '{"speed": 1}', b"unexpected keyword argument 'speed'"),
        ("--reward", "place_order", b"such as place_order=100"),
    ],
)
def test_settings_of_jobs_and_rewards_that_cannot_be_are_refused(option: str, value: str, words: bytes) -> None:
    process = Process("sandbox", option, value)
    assert process.end() == 2
    assert words in process.err


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = Process("sandbox", "--port", port)
        assert process.end() == 1
    assert f"Error: port {port} of 127.0.0.1 is in use".encode() in process.err
    assert b"ddress already in use" in process.err
    assert b"--port" in process.err


def test_an_address_of_another_machine_is_told() -> None:
    process = Process("sandbox", "--host", "203.0.113.1", "--port", "0")  # of a network for documentation
    assert process.end() == 1
    assert b"cannot listen at 203.0.113.1" in process.err
    assert b"--host" in process.err


def test_a_fault_that_cannot_be_is_told() -> None:
    process = Process("sandbox", "--fault", '{"kind": "earthquake"}')
    assert process.end() == 2
    assert b"kind one of status, busy" in process.err
