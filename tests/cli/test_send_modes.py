"""`send --mode`: bulk requests for backfills, what they cannot send, and what becomes of their jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import pytest

from gameball_async import RateLimit
from gameball_async.cli._lines import Draft
from gameball_async.cli._options import ClientOptions, Mode
from gameball_async.cli._progress import Progress, StallDetector
from gameball_async.sandbox import JobSettings, Sandbox

from .conftest import KEY, Process, events_of, invoke, numbers, rejected, written
from .test_small_parts import STATS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

MODES: tuple[Mode, ...] = ("single", "bulk", "auto")
SECRET = "secret-key-0123456789"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY, secret_key=SECRET, limits=None, jobs=JobSettings(latency=0)) as running:
        yield running


@pytest.fixture(autouse=True)
def _environment_of_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_SECRET_KEY", SECRET)
    monkeypatch.setenv("GAMEBALL_API_VERSION", "v4.0")


def send(sandbox: Sandbox, mode: str, *args: object) -> Result:
    return invoke("send", "--mode", mode, *args, "--base-url", sandbox.url)


def figures(result: Result) -> dict[str, str]:
    """Return the closing table."""
    lines = [line.rsplit(maxsplit=1) for line in result.stdout.splitlines() if len(line.split()) > 1]
    return {words.strip(): figure for words, figure in lines}


@pytest.mark.parametrize("mode", ["single", "bulk", "auto"])
def test_every_event_arrives_in_order(sandbox: Sandbox, tmp_path: Path, mode: str) -> None:
    path = written(tmp_path / "events.ndjson", events_of(players=40, each=5))
    result = send(sandbox, mode, path)
    assert result.exit_code == 0, result.output
    assert numbers(sandbox) == {f"player{player}": list(range(5)) for player in range(40)}
    assert sandbox.violations == []
    assert figures(result)["accepted by Gameball"] == "200"
    assert ("accepted as jobs" in figures(result)) == (mode == "bulk")
    assert list(tmp_path.iterdir()) == [path]


def test_an_embedded_sandbox_compares_what_bulk_requests_have_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GAMEBALL_SECRET_KEY")
    path = written(tmp_path / "events.ndjson", events_of(players=40, each=2))
    result = invoke("send", "--mode", "bulk", "--sandbox", path)
    assert result.exit_code == 0, result.output
    assert figures(result)["customers whose events differ"] == "0"
    assert figures(result)["rules broken"] == "0"


CONTACTS = (
    {"player": "p1", "event": "visit", "email": "a@example.com"},
    {"player": "p2", "event": "visit", "mobile": "+20100"},
    {"player": "p3", "event": "visit"},
)


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["sent", "dry run"])
def test_rows_with_contacts_are_rejected_in_bulk(sandbox: Sandbox, tmp_path: Path, options: tuple[str, ...]) -> None:
    path = written(tmp_path / "events.ndjson", CONTACTS)
    result = send(sandbox, "bulk", path, *options)
    assert result.exit_code == 1
    assert "bulk requests have no mobile and no email: send this row in another file" in " ".join(result.stdout.split())
    assert [row["line"] for row in rejected(tmp_path / "events.ndjson.rejects.ndjson")] == [1, 2]
    assert set(sandbox.holdings()) == (set() if options else {"p3"})


def test_rows_with_contacts_are_sent_by_auto(sandbox: Sandbox, tmp_path: Path) -> None:
    result = send(sandbox, "auto", written(tmp_path / "events.ndjson", CONTACTS))
    assert result.exit_code == 0, result.output
    assert sandbox.holdings()["p1"][0].email == "a@example.com"


@pytest.mark.parametrize("mode", ["bulk", "auto"])
@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("GAMEBALL_API_VERSION", "v3.0", "needs bulk requests: use --api-version v4.0 or v4.1."),
        ("GAMEBALL_SECRET_KEY", "", "needs both keys: set GAMEBALL_SECRET_KEY in the environment"),
    ],
    ids=["version", "key"],
)
def test_what_a_mode_needs_is_checked_before_anything_is_read(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    mode: str,
    variable: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(variable, value)
    path = written(tmp_path / "events.ndjson", events_of(players=1, each=1))
    result = send(sandbox, mode, path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"--mode {mode} {message}" in result.stderr.replace("\n", " ")
    assert list(tmp_path.iterdir()) == [path]


def test_failed_items_are_sent_again_singly_and_counted(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.set_jobs(JobSettings(latency=0, failing_players="player1"))
    result = send(sandbox, "bulk", written(tmp_path / "events.ndjson", events_of(players=3, each=1)))
    assert result.exit_code == 0, result.output
    assert figures(result)["may have been counted twice"] == "1"
    assert set(sandbox.holdings()) == {"player0", "player1", "player2"}


def test_events_of_jobs_with_an_unknown_end_are_counted_and_not_sent_again(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.set_jobs(JobSettings(latency=0, lost_jobs=1))
    result = send(sandbox, "bulk", written(tmp_path / "events.ndjson", events_of(players=3, each=1)))
    assert result.exit_code == 0, result.output
    assert figures(result)["of these, in jobs of unknown end"] == "3"
    assert "Look into the Events Log" in result.stdout
    assert numbers(sandbox) == {f"player{player}": [0] for player in range(3)}


def test_ctrl_c_does_not_send_the_events_of_an_accepted_job_again(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.set_jobs(JobSettings(latency=3600))
    path = written(tmp_path / "events.ndjson", events_of(players=3, each=2))
    options = ("--mode", "bulk", "--drain", "0.1", "--base-url", sandbox.url)
    process = Process("send", path, *options)
    process.wait_for(b"1 job under way")  # so the client has the answer too
    process.interrupt()
    assert process.end() == 130
    assert b"Nothing new is sent; 1 job may end within 0 s. Ctrl-C again stops at once." in process.err.replace(
        b"\n", b" "
    )
    assert len(json.loads((tmp_path / "events.ndjson.progress").read_text())["files"][0]["settled"]) > 0
    sandbox.set_jobs(JobSettings(latency=0))
    result = send(sandbox, "bulk", path, "--resume")
    assert result.exit_code == 0, result.output
    assert sum(request.items for request in sandbox.requests) == 6


# ---------------------------------------------------------------- progress


def test_the_windows_of_a_run_are_those_of_its_requests() -> None:
    rate = RateLimit(share=0.5)
    assert ClientOptions(rate=rate).windows() == ((50, 1.0), (600, 30.0))
    assert ClientOptions(rate=rate, mode="bulk").windows() == [(7, 1.0), (90, 30.0)]
    assert ClientOptions(rate=rate, mode="auto").windows() == ()


def test_only_bulk_refuses_contacts() -> None:
    draft = Draft("player123", "visit", email="a@example.com")
    refused = {mode: ClientOptions(mode=mode).refusal(draft) is not None for mode in MODES}
    assert refused == {"single": False, "bulk": True, "auto": False}
    assert ClientOptions(mode="bulk").refusal(Draft("player123", "visit")) is None


def test_waiting_for_jobs_is_no_problem_and_is_shown() -> None:
    detector = StallDetector()
    stats = attrs.evolve(STATS, jobs=2, delivered=0, rejected=0, buffered_events=5)
    assert detector.note(0, stats) is None
    status = detector.note(60, attrs.evolve(stats, requests=stats.requests + 9))
    assert status is not None
    assert (status.is_problem, status.text) == (False, "Waiting for 2 jobs that Gameball has accepted.")
    assert "2 jobs under way" in Progress(jobs=2).counters()
    assert "job" not in Progress().counters()
