"""`doctor --bulk` sends one real event as a bulk request, follows its job, and reports what Gameball leaves open."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gameball_async.cli.doctor import _bulk_probe
from gameball_async.sandbox import Fault, JobSettings, Sandbox

from .conftest import KEY, invoke
from .stub import Stub, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "secret-key-0123456789"
PLAYER = "player123"
CHECKS = ["bulk_request", "job_status", "job_end", "job_items"]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY, secret_key=SECRET, limits=None, jobs=JobSettings(latency=0)) as running:
        yield running


@pytest.fixture(autouse=True)
def _environment_of_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_SECRET_KEY", SECRET)
    monkeypatch.setenv("GAMEBALL_API_VERSION", "v4.0")
    monkeypatch.setattr(_bulk_probe, "POLL_INTERVAL", 0.01)


def doctor(url: str, *args: object) -> dict[str, dict[str, Any]]:
    """Run the doctor and return its findings about the bulk request by check."""
    options = ("--json", "--base-url", url, "--bulk", "--player", PLAYER, "--event", "visit", *args)
    result = invoke("doctor", *options)
    found = {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert result.exit_code == (1 if any(finding["verdict"] == "fail" for finding in found.values()) else 0)
    for finding in found.values():
        assert (finding["remedy"] is not None) == (finding["verdict"] in ("warn", "fail")), finding
    assert PLAYER not in result.stdout
    assert SECRET not in result.stdout
    return {check: finding for check, finding in found.items() if check in CHECKS}


def verdicts(found: dict[str, dict[str, Any]]) -> str:
    return " ".join(found[check]["verdict"] for check in CHECKS)


def test_a_job_that_is_completed_is_well_and_its_event_has_arrived(sandbox: Sandbox) -> None:
    found = doctor(sandbox.url)
    assert verdicts(found) == "ok ok ok ok"
    assert found["bulk_request"]["words"].startswith("accepted as job ")
    words = "batches/{job}/status answers, in the words of Gameball's API reference: "
    assert found["job_status"]["words"].startswith(words)
    assert found["job_items"]["words"] == "the item is listed as successful, in 'results'"
    assert [event.name for event in sandbox.holdings()[PLAYER]] == ["visit"]
    assert sandbox.violations == []


def test_the_other_path_and_words_are_recognized(sandbox: Sandbox) -> None:
    sandbox.set_jobs(JobSettings(latency=0, vocabulary="tutorial", paths="tutorial", capitalised=True))
    found = doctor(sandbox.url)
    assert verdicts(found) == "ok ok ok ok"
    words = 'batch/{job} answers, in the words of Gameball\'s tutorial "Batch APIs": '
    assert found["job_status"]["words"].startswith(words)
    assert found["job_status"]["words"].endswith("completed")
    assert found["job_items"]["words"] == "the item is listed as successful, in 'response.successful'"


def test_items_that_are_not_listed_are_a_warning(sandbox: Sandbox) -> None:
    sandbox.set_jobs(JobSettings(latency=0, itemised=False))
    assert verdicts(doctor(sandbox.url)) == "ok ok ok warn"
    sandbox.set_jobs(JobSettings(latency=0, itemised=False, failing_items=1))
    assert verdicts(doctor(sandbox.url)) == "ok ok ok fail"


@pytest.mark.parametrize("vocabulary", ["openapi", "tutorial"])
def test_a_failed_item_is_shown_with_its_message(sandbox: Sandbox, vocabulary: str) -> None:
    sandbox.set_jobs(JobSettings.from_json({"latency": 0, "vocabulary": vocabulary, "failing_items": 1}))
    found = doctor(sandbox.url)
    assert verdicts(found) == "ok ok ok fail"
    assert "The item could not be processed." in found["job_items"]["words"]


def test_a_job_that_fails_is_a_failure(sandbox: Sandbox) -> None:
    sandbox.set_jobs(JobSettings(latency=0, failing_jobs=1))
    found = doctor(sandbox.url)
    assert found["job_end"]["verdict"] == "fail"
    assert found["job_end"]["words"].startswith("failed after")


def test_a_job_that_does_not_end_is_followed_for_the_time_of_wait(sandbox: Sandbox) -> None:
    sandbox.set_jobs(JobSettings(latency=0, stuck_jobs=1))
    found = doctor(sandbox.url, "--wait", "0.1")
    assert verdicts(found) == "ok ok fail skip"
    assert "--wait" in found["job_end"]["remedy"]


def test_a_job_without_a_status_is_a_failure_that_names_both_paths(sandbox: Sandbox) -> None:
    sandbox.set_jobs(JobSettings(latency=0, lost_jobs=1))
    found = doctor(sandbox.url)
    assert verdicts(found) == "ok fail skip skip"
    for words in ("batches/{job}/status: HTTP 404", "batch/{job}: HTTP 404"):
        assert words in found["job_status"]["words"]
    assert "Batching(jobs=JobOptions(status=(...,)))" in found["job_status"]["remedy"]


@pytest.mark.parametrize(
    ("fault", "words", "remedy"),
    [
        (Fault.status(403, code=8000), "HTTP 403, code 8000", "perhaps another plan: ask Gameball"),
        (Fault.status(401, code=1001), "HTTP 401, code 1001", "Bulk requests need both keys"),
        (Fault.status(404), "HTTP 404", "this account has no bulk requests"),
        (Fault.status(429), "HTTP 429", "try again in a minute"),
        (Fault.status(413, code=3000), "HTTP 413, code 3000", "Correct what the answer says"),
        (Fault.reset_after(), "no answer", "look into the Events Log"),
    ],
    ids=["plan", "secret", "404", "429", "413", "reset"],
)
def test_a_bulk_request_that_is_not_accepted_has_a_remedy(
    sandbox: Sandbox, fault: Fault, words: str, remedy: str
) -> None:
    sandbox.script(Fault.from_json({**fault.to_json(), "routes": ["batch"]}))
    found = doctor(sandbox.url)
    assert verdicts(found) == "fail skip skip skip"
    assert words in found["bulk_request"]["words"]
    assert remedy in found["bulk_request"]["remedy"]


def test_a_status_that_is_refused_is_a_failure(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(403, code=1002, routes=["status"]))
    found = doctor(sandbox.url)
    assert verdicts(found) == "ok fail skip skip"
    assert found["job_status"]["words"].startswith("refused (batches/{job}/status: HTTP 403, code 1002")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", "fail skip skip skip"),
        (b'{"jobId": "a/b"}', "fail skip skip skip"),
        (b'{"jobId": 7, "status": "Exploded"}', "ok ok fail skip"),
        (b'{"jobId": 7, "status": "completed", "failed": 3}', "ok ok ok fail"),
        (b'{"jobId": "0a-b", "status": "completed", "response": {"failed": [{"error": 1}]}}', "ok ok ok fail"),
    ],
    ids=["no job", "no identifier", "unknown word", "no list", "no message"],
)
def test_an_answer_that_nobody_documents_is_reported(body: bytes, expected: str) -> None:
    with serving(Stub(status=200, body=body)) as stub:
        assert verdicts(doctor(f"http://127.0.0.1:{stub.port}", "--wait", "0.05")) == expected


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--bulk"], "name one that rewards nothing, with --player and --event"),
        (["--bulk", "--player", "p"], "name one that rewards nothing"),
        (["--player", "p", "--event", "visit"], "--player and --event are for --bulk"),
        (["--bulk", "--player", "p", "--event", "visit", "--wait", "nan"], "--wait is not a number"),
    ],
    ids=["neither", "no event", "no bulk", "nan"],
)
def test_nothing_is_sent_without_a_named_player_and_event(sandbox: Sandbox, args: list[str], message: str) -> None:
    result = invoke("doctor", "--base-url", sandbox.url, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr.replace("\n", " ")
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GAMEBALL_API_VERSION", "v3.0", "v3.0 has no bulk requests"),
        ("GAMEBALL_SECRET_KEY", "", "there is no secret key"),
        ("GAMEBALL_API_KEY", "", "api_key is missing"),
    ],
)
def test_what_bulk_requests_need_is_checked_first(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    found = doctor(sandbox.url)
    assert found["bulk_request"]["verdict"] == "fail"
    assert words in found["bulk_request"]["words"]
    assert sandbox.holdings() == {}


def test_an_event_that_cannot_be_sent_is_not(sandbox: Sandbox) -> None:
    result = invoke("doctor", "--json", "--base-url", sandbox.url, "--bulk", "--player", " ", "--event", "visit")
    assert '"bulk_request", "verdict": "fail"' in result.stdout
    assert sandbox.holdings() == {}
