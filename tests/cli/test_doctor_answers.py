"""What `doctor --bulk` says of each answer: to the bulk request, to the question for the status, and of each item."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gameball_async._core.job_answers import EndedJob, ItemOutcome, read_status
from gameball_async.cli.doctor import _bulk_probe, _connectivity

from .conftest import KEY, invoke
from .job_server import ACCEPTED, HANG, JOB, NOT_FOUND, RESET, JobServer, Reply, answer, serving_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "secret-key-0123456789"
PLAYER = "player123"
CHECKS = ("bulk_request", "job_status", "job_end", "job_items")

PAGE = Reply(body=b"<html>Log in</html>", headers={"Content-Type": "text/html"})
REDIRECT = Reply(status=307, headers={"Location": "http://elsewhere.example/"})
CUT = Reply(body=b'{"jobId": 7, "status": "compl', ending="cut")
HUGE = Reply(body=b'{"x": "' + b"x" * 70_000 + b'"}', headers={"Content-Type": "application/json"})


class JumpingClock:
    """A clock that jumps over every pause; requests take no time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> JumpingClock:
    monkeypatch.setenv("GAMEBALL_SECRET_KEY", SECRET)
    monkeypatch.setenv("GAMEBALL_API_VERSION", "v4.0")
    monkeypatch.setattr(_bulk_probe, "LONGEST_STATUS", 65_536)
    clock = JumpingClock()
    monkeypatch.setattr(_bulk_probe, "time", clock)
    return clock


@pytest.fixture
def server() -> Iterator[JobServer]:
    with serving_jobs(JobServer()) as running:
        yield running


def doctor(url: str, *, wait: float = 3) -> dict[str, dict[str, Any]]:
    """Run the command and return its findings about the bulk request by check; the exit code has to fit them."""
    event = ("--bulk", "--player", PLAYER, "--event", "visit", "--wait", wait)
    result = invoke("doctor", "--json", "--base-url", url, *event)
    findings = json.loads(result.stdout)["findings"]
    assert result.exit_code == (1 if any(finding["verdict"] == "fail" for finding in findings) else 0)
    for finding in findings:
        assert (finding["remedy"] is not None) == (finding["verdict"] in ("warn", "fail")), finding
        assert (finding["remedy"] or ".")[-1] == ".", finding
        assert "base_url" not in (finding["remedy"] or ""), "the command has options"
    assert PLAYER not in result.stdout
    return {finding["check"]: finding for finding in findings if finding["check"] in CHECKS}


def verdicts(found: dict[str, dict[str, Any]]) -> str:
    return " ".join(found[check]["verdict"] for check in CHECKS)


# ------------------------------------------------------------------ the bulk request

SUBMITTED: dict[str, tuple[Reply, str, str]] = {
    "no job": (answer(ok=1), "accepted without a job's number (HTTP 200)", "Use mode='single', and report it"),
    "empty": (Reply(), "accepted without a job's number (HTTP 200)", "Use mode='single', and report it"),
    "text": (
        Reply(body=b"OK", headers={"Content-Type": "text/plain"}),
        "accepted without a job's number (HTTP 200 with text/plain)",
        "Use mode='single'",
    ),
    "cut": (CUT, "without a readable number of its job (HTTP 200, cut off)", "The event was accepted: look into"),
    "huge": (HUGE, "accepted without a job's number (HTTP 200 with application/json, too long)", "Use mode='single'"),
    "success: false": (answer(success=False, message="No."), "not accepted (HTTP 200: No.)", "Correct what the answer"),
    "page": (PAGE, "not accepted (HTTP 200 with text/html)", "Check --base-url, and whether a login page"),
    "307": (REDIRECT, "not accepted (HTTP 307)", "Correct --base-url."),
    "400": (answer(400, code=5, message="Off."), "not accepted (HTTP 400, code 5: Off.)", "Correct what the answer"),
    "401": (Reply(status=401), "not accepted (HTTP 401)", "Bulk requests need both keys"),
    "403, code 1001": (answer(403, code=1001), "not accepted (HTTP 403, code 1001)", "Set GAMEBALL_SECRET_KEY."),
    "403, code 8000": (answer(403, code=8000), "not accepted (HTTP 403, code 8000)", "perhaps another plan"),
    "404": (NOT_FOUND, "not accepted (HTTP 404)", "this account has no bulk requests"),
    "404, code 3": (answer(404, code=3), "not accepted (HTTP 404, code 3)", "Correct what the answer says"),
    "405": (Reply(status=405), "not accepted (HTTP 405)", "this account has no bulk requests"),
    "407": (Reply(status=407), "not accepted (HTTP 407)", "A proxy wants a user and a password"),
    "408": (Reply(status=408), "not accepted (HTTP 408)", "Try again later."),
    "413": (Reply(status=413), "not accepted (HTTP 413)", "Correct what the answer says"),
    "422, code 2001": (answer(422, code=2001), "(HTTP 422, code 2001)", "try again in a few seconds"),
    "429": (Reply(status=429), "not accepted (HTTP 429)", "try again in a minute."),
    "429 for 90 s": (Reply(status=429, headers={"Retry-After": "90"}), "(HTTP 429)", "try again in 1 min 30 s."),
    "500": (Reply(status=500), "not accepted (HTTP 500)", "Try again later. It may have arrived all the same"),
    "500, code 5000": (answer(500, code=5000), "not accepted (HTTP 500, code 5000)", "Try again later."),
    "503": (Reply(status=503), "not accepted (HTTP 503)", "Try again later."),
    "reset": (RESET, "not answered (no answer: ReadError)", "It may have arrived all the same: look into the Events"),
}


@pytest.mark.parametrize(("submit", "words", "remedy"), SUBMITTED.values(), ids=SUBMITTED)
def test_a_bulk_request_that_brings_no_job(server: JobServer, submit: Reply, words: str, remedy: str) -> None:
    server.submit = submit
    found = doctor(server.url)
    assert verdicts(found) == "fail skip skip skip"
    assert words in found["bulk_request"]["words"]
    assert remedy in found["bulk_request"]["remedy"]
    assert not [request for request in server.asked if request.startswith("GET")]


def test_a_bulk_request_without_an_answer_may_have_arrived(server: JobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bulk_probe, "PATIENCE", 1.0)
    server.submit = HANG
    found = doctor(server.url)
    assert verdicts(found) == "fail skip skip skip"
    assert found["bulk_request"]["words"] == "not answered (no answer: ReadTimeout)"
    assert "It may have arrived all the same" in found["bulk_request"]["remedy"]


def test_without_a_connection_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = doctor(f"http://127.0.0.1:{port}")
    assert verdicts(found) == "fail skip skip skip"
    assert found["bulk_request"]["words"] == "not sent (no answer: ConnectError)"
    assert found["bulk_request"]["remedy"].startswith("Nothing was sent.")


@pytest.mark.parametrize(
    ("variable", "value"), [("HTTP_PROXY", "nonsense://proxy.example"), ("HTTP_PROXY", "http://proxy.example:port")]
)
def test_settings_with_which_nothing_can_be_sent_are_reported(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("NO_PROXY", "")
    found = doctor("http://gameball.invalid")
    assert found["bulk_request"]["words"].startswith("not sent (")
    assert found["bulk_request"]["remedy"] == "Correct what is reported above."


@pytest.mark.parametrize("value", ["0", "off"])
def test_a_switch_in_the_environment_refuses_it_before_anything_is_sent(
    server: JobServer, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("GAMEBALL_ENABLED", value)
    result = invoke("doctor", "--base-url", server.url, "--bulk", "--player", PLAYER, "--event", "visit")
    assert (result.exit_code, result.stdout) == (2, "")
    message = f"GAMEBALL_ENABLED={value} switches sending off: set GAMEBALL_ENABLED=1 for this command to send."
    assert message in " ".join(result.stderr.split())
    assert server.asked == []


# ------------------------------------------------------------------ the status

_NO_PATH = "no path knows the job (batches/{job}/status: HTTP 404, batch/{job}: HTTP "
_SET_PATH = "set it in your program: Batching(jobs=JobOptions(status=(...,)))"

UNREADABLE: dict[str, tuple[Reply, str, str]] = {
    "404": (NOT_FOUND, _NO_PATH, _SET_PATH),
    "400": (Reply(status=400), _NO_PATH, _SET_PATH),
    "405": (Reply(status=405), _NO_PATH, _SET_PATH),
    "410": (Reply(status=410), _NO_PATH, _SET_PATH),
    "501": (Reply(status=501), _NO_PATH, _SET_PATH),
    "307": (REDIRECT, "refused (", "Correct --base-url. The event was accepted all the same."),
    "401": (Reply(status=401), "refused (", "Gameball does not accept the API key"),
    "403": (Reply(status=403), "refused (", "GAMEBALL_SECRET_KEY"),
    "page": (PAGE, "refused (batches/{job}/status: HTTP 404, batch/{job}: HTTP 200 with text/html)", "--base-url"),
    "429": (Reply(status=429), "not readable (", "Try again in a minute. The event was accepted"),
    "429 for an hour": (Reply(status=429, headers={"Retry-After": "3600"}), "not readable (", "again in 1 h 00 min."),
    "500": (Reply(status=500), "not readable (", "Try again later. The event was accepted"),
    "503": (Reply(status=503), "not readable (", "a client would keep asking"),
    "reset": (RESET, "not readable (", "Try again later."),
    "cut": (CUT, "batch/{job}: HTTP 200, cut off)", "Try again later."),
    "huge": (HUGE, "answered, but not with a status (", "Report it to the maintainers of gameball_async"),
    "no status": (answer(jobId=JOB), "answered, but not with a status (", "counts such events as delivered without"),
    "array": (Reply(body=b"[]"), "answered, but not with a status (", "Report it to the maintainers"),
    "empty": (Reply(), "answered, but not with a status (", "Report it to the maintainers"),
}


@pytest.mark.parametrize(("reply", "words", "remedy"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_status_that_cannot_be_read(server: JobServer, reply: Reply, words: str, remedy: str) -> None:
    server.others = [reply]
    found = doctor(server.url)
    assert verdicts(found) == "ok fail skip skip"
    assert words in found["job_status"]["words"]
    assert remedy in found["job_status"]["remedy"]


def test_a_status_that_does_not_come_is_not_readable(server: JobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bulk_probe, "PATIENCE", 1.0)
    server.statuses = [HANG]
    found = doctor(server.url, wait=0.5)
    assert verdicts(found) == "ok fail skip skip"
    assert "batches/{job}/status: no answer: ReadTimeout" in found["job_status"]["words"]


@pytest.mark.parametrize(
    "first", [Reply(status=503), Reply(status=429), RESET, CUT, NOT_FOUND], ids=["503", "429", "reset", "cut", "404"]
)
def test_a_failure_that_passes_is_not_reported(server: JobServer, first: Reply) -> None:
    done = answer(status="completed", results=[{"customerId": PLAYER}])
    server.statuses = [first, answer(status="pending"), first, done]
    found = doctor(server.url, wait=10)
    assert verdicts(found) == "ok ok ok ok"
    assert found["job_status"]["words"].endswith("pending, completed")


@pytest.mark.parametrize(
    ("reply", "has_other"),
    [(NOT_FOUND, True), (Reply(status=400), True), (answer(jobId=JOB), True), (Reply(status=401), False)],
    ids=["404", "400", "no status", "401"],
)
def test_the_other_path_is_asked_where_the_client_asks_it(server: JobServer, reply: Reply, *, has_other: bool) -> None:
    server.statuses, server.others = [reply], [answer(status="completed", results=[{"customerId": PLAYER}])]
    found = doctor(server.url)
    assert verdicts(found) == ("ok ok ok ok" if has_other else "ok fail skip skip")
    assert (f"GET batch/{JOB}" in server.asked) is has_other


def test_a_pause_that_the_server_asks_for_is_kept(server: JobServer, clock: JumpingClock) -> None:
    busy = Reply(status=429, headers={"Retry-After": "7"})
    server.statuses = [busy, answer(status="completed", results=[{"customerId": PLAYER}])]
    assert verdicts(doctor(server.url, wait=10)) == "ok ok ok ok"
    assert clock.pauses == [7.0]


def test_a_pause_longer_than_the_time_to_wait_ends_it(server: JobServer, clock: JumpingClock) -> None:
    server.statuses = [Reply(status=429, headers={"Retry-After": "11"})]
    assert verdicts(doctor(server.url, wait=10)) == "ok fail skip skip"
    assert clock.pauses == []


LOST: dict[str, tuple[Reply, str, str]] = {
    "404": (NOT_FOUND, "the job has disappeared after 3 s (", "Ask Gameball how long it keeps jobs. The client counts"),
    "410": (Reply(status=410), "the job has disappeared after 3 s (", "look into the Events Log"),
    "503": (Reply(status=503), "not known after 3 s (batches/{job}/status: HTTP 503", "Try again later."),
    "401": (Reply(status=401), "not known after 3 s (batches/{job}/status: HTTP 401", "Try again later."),
    "reset": (RESET, "not known after 3 s (batches/{job}/status: no answer: ", "look into the Events Log"),
    "no status": (answer(jobId=JOB), "not known after 3 s (batches/{job}/status: HTTP 200", "Try again later."),
}


@pytest.mark.parametrize(("reply", "words", "remedy"), LOST.values(), ids=LOST)
def test_a_job_whose_status_was_readable_and_is_not_any_more(
    server: JobServer, reply: Reply, words: str, remedy: str
) -> None:
    server.statuses = [answer(status="processing"), reply]
    found = doctor(server.url)
    assert verdicts(found) == "ok ok fail skip"
    assert words in found["job_end"]["words"]
    assert found["job_end"]["words"].endswith("; the last status was 'processing'")
    assert remedy in found["job_end"]["remedy"]


OPENAPI = "in the words of Gameball's API reference: "
TUTORIAL = 'in the words of Gameball\'s tutorial "Batch APIs": '
BOTH = "in words of both of Gameball's documents: "
NEITHER = "in words that Gameball does not document: "

VOCABULARIES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "completed": ([{"status": "completed"}], BOTH + "completed"),
    "failed": ([{"status": "FAILED"}], BOTH + "failed"),
    "by its fields": ([{"status": "completed", "totalItems": 1}], OPENAPI + "completed"),
    "by other fields": ([{"status": "completed", "operation": "events"}], TUTORIAL + "completed"),
    "pending": ([{"status": "Pending"}, {"status": "Completed"}], OPENAPI + "pending, completed"),
    "running": ([{"status": "running"}, {"status": "completed"}], TUTORIAL + "running, completed"),
    "stopped": ([{"status": "stopped"}], TUTORIAL + "stopped"),
    "mixed": ([{"status": "pending"}, {"status": "running"}, {"status": "failed"}], BOTH + "pending, running, failed"),
    "done": ([{"status": "done"}], NEITHER + "done"),
    "state": ([{"state": "completed"}], BOTH + "completed"),
    "envelope": ([{"success": True, "data": {"status": "completed"}}], BOTH + "completed"),
}


@pytest.mark.parametrize(("bodies", "words"), VOCABULARIES.values(), ids=VOCABULARIES)
def test_the_document_is_named_that_has_the_words_of_a_status(
    server: JobServer, bodies: list[dict[str, Any]], words: str
) -> None:
    server.statuses = [answer(**body) for body in bodies]
    assert doctor(server.url, wait=10)["job_status"]["words"] == f"batches/{{job}}/status answers, {words}"


ENDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "completed": ({"status": "completed"}, "ok", "completed within 1 s"),
    "done": ({"status": "done"}, "ok", "done within 1 s"),
    "failed": ({"status": "failed"}, "fail", "failed after 0 s"),
    "failed because": ({"status": "failed", "message": "Too bad."}, "fail", "failed after 0 s: Too bad."),
    "cancelled": ({"status": "cancelled"}, "fail", "cancelled after 0 s"),
    "running": ({"status": "running"}, "fail", "still running after 3 s"),
    "unknown": ({"status": "exploded"}, "fail", "'exploded' after 3 s, which is no documented status"),
}


@pytest.mark.parametrize(("body", "verdict", "words"), ENDS.values(), ids=ENDS)
def test_the_end_of_a_job(server: JobServer, body: dict[str, Any], verdict: str, words: str) -> None:
    server.statuses = [answer(**body)]
    end = doctor(server.url)["job_end"]
    assert (end["verdict"], end["words"]) == (verdict, words)


@pytest.mark.parametrize(
    ("patience", "words"),
    [
        (
            1800.0,
            "Follow the next one longer, with --wait 60. A client follows a job until it has made no progress for 30",
        ),
        (2.0, "In your program, set Batching(jobs=JobOptions(patience=...)) to more seconds than a job takes"),
    ],
)
def test_the_advice_for_a_job_that_does_not_end_can_be_followed(
    server: JobServer, monkeypatch: pytest.MonkeyPatch, patience: float, words: str
) -> None:
    monkeypatch.setattr("gameball_async.cli.doctor._job_findings.PATIENCE_OF_CLIENT", patience)
    server.statuses = [answer(status="pending")]
    assert doctor(server.url)["job_end"]["remedy"].startswith(words)


# ------------------------------------------------------------------ the item

ME, OTHER = {"customerId": PLAYER}, {"customerId": "someone-else"}
BAD = {**ME, "message": "No such event."}

ITEMS: dict[str, tuple[dict[str, Any], str, str]] = {
    "results": ({"results": [ME]}, "ok", "the item is listed as successful, in 'results'"),
    "successful": ({"response": {"successful": [ME]}}, "ok", "listed as successful, in 'response.successful'"),
    "data": ({"data": {"status": "completed", "results": [ME]}}, "ok", "as successful, in 'data.results'"),
    "result failed": (
        {"results": [{**BAD, "status": "failed"}], "errors": []},
        "fail",
        "as failed, in 'results': No such",
    ),
    "errors": ({"results": [], "errors": [BAD]}, "fail", "the item is listed as failed, in 'errors': No such event."),
    "both lists": ({"results": [ME], "errors": [BAD]}, "fail", "as failed, in 'results' and 'errors': No such event."),
    "response.failed": ({"response": {"failed": [{**ME, "error": "Bad."}]}}, "fail", "in 'response.failed': Bad."),
    "no message": ({"errors": [ME]}, "fail", "the item is listed as failed, in 'errors': without a message"),
    "nothing": ({}, "warn", "the job is completed, and its status does not list the item"),
    "empty lists": ({"results": [], "errors": []}, "warn", "its status does not list the item"),
    "no failures": ({"failedItems": 0}, "warn", "its status does not list the item"),
    "count": ({"failedCount": 1}, "fail", "the item has failed, and the status does not name it: without a message"),
    "another player": (
        {"results": [OTHER]},
        "warn",
        "the job is completed, and its status lists another player's item",
    ),
    "another failed": ({"errors": [{**OTHER, "error": "Bad."}]}, "fail", "another player's item as failed: Bad."),
    "no name": ({"errors": [{"message": "Bad."}]}, "fail", "the status does not name it: Bad."),
    "unclear": (
        {"results": [{**ME, "status": "maybe"}]},
        "fail",
        "listed, in 'results', in words that the client does",
    ),
    "failed job": ({"status": "failed"}, "fail", "the job has failed, and its status does not list the item as"),
    "failed job with it": ({"status": "failed", "results": [ME]}, "ok", "the item is listed as successful"),
    "stopped job": ({"status": "stopped"}, "fail", "the job was stopped, and its status does not list the item as"),
    "stopped job with it": ({"status": "stopped", "results": [ME]}, "ok", "the item is listed as successful"),
}

ADVICE = {
    ItemOutcome.CONFIRMED: (None, "The client counts it as delivered."),
    ItemOutcome.FAILED: ("the client sends such an item again, alone and as a possible duplicate.",),
    ItemOutcome.UNKNOWN: ("The client does not send it again, and raises OutcomeUnknown",),
    ItemOutcome.UNNAMED: ("counts such events as delivered without confirmation, and does not send them again",),
}
"""What the remedy says of the client, by what the client makes of the item."""


@pytest.mark.parametrize(("body", "verdict", "words"), ITEMS.values(), ids=ITEMS)
def test_an_item_is_what_the_client_makes_of_it(
    server: JobServer, body: dict[str, Any], verdict: str, words: str
) -> None:
    body = {"status": "completed"} | body
    server.statuses = [answer(**body)]
    item = doctor(server.url)["job_items"]
    assert item["verdict"] == verdict
    assert words in item["words"]
    status = read_status(body)
    assert status is not None
    advice = ADVICE[EndedJob(status, [PLAYER], is_whole=True).of(PLAYER)]
    assert any(part in item["remedy"] if part and item["remedy"] else part is item["remedy"] for part in advice)


# ------------------------------------------------------------------ a server's words

PRIVATE = ("a@mail.test", "+491701234567", SECRET, PLAYER)
WORDS = f"bad {' '.join(PRIVATE)} {KEY}"
KIND = {"Content-Type": "text/a@mail.test"}

SPOKEN: dict[str, dict[str, Any]] = {
    "message of a refusal": {"submit": answer(400, code=5, message=WORDS)},
    "message of a failure": {"submit": answer(500, code=5000, message=WORDS)},
    "type of a page": {"submit": Reply(body=b"<html>", headers=KIND)},
    "type of a text": {"submit": Reply(body=b"Hello", headers=KIND)},
    "job": {"submit": answer(jobId="a@mail.test")},
    "message of a refused status": {"statuses": [answer(401, code=1000, message=WORDS)]},
    "message of a lost job": {"statuses": [answer(status="pending"), answer(404, code=3, message=WORDS)]},
    "type of a status": {"statuses": [Reply(body=b"<html>", headers=KIND)]},
    "word": {"statuses": [answer(status=WORDS)]},
    "word before the end": {"statuses": [answer(status=WORDS), NOT_FOUND]},
    "message of a job": {"statuses": [answer(status="failed", message=WORDS)]},
    "message of an item": {"statuses": [answer(status="completed", errors=[{"customerId": PLAYER, "message": WORDS}])]},
    "message of a result": {
        "statuses": [answer(status="completed", results=[{"customerId": PLAYER, "status": "failed", "error": WORDS}])]
    },
    "message of a nameless item": {"statuses": [answer(status="completed", errors=[WORDS])]},
    "name of a list": {"statuses": [Reply(body=json.dumps({"status": "completed", WORDS: [ME]}).encode())]},
    "type of the empty request's answer": {"probe": Reply(body=b"Hello", headers=KIND)},
    "message of the empty request's answer": {"probe": answer(401, code=1000, message=WORDS)},
    "redirect": {"probe": Reply(status=307, headers={"Location": f"http://x.example/{WORDS}"})},
    "date": {"probe": Reply(status=400, headers={"Date": WORDS})},
    "pause": {"submit": Reply(status=429, headers={"Retry-After": WORDS})},
}


@pytest.mark.parametrize("replies", SPOKEN.values(), ids=SPOKEN)
@pytest.mark.parametrize("options", [("--json",), ()], ids=["json", "text"])
def test_personal_data_in_a_server_s_words_is_hidden(
    server: JobServer, replies: dict[str, Any], options: tuple[str, ...]
) -> None:
    for name, reply in replies.items():
        setattr(server, name, reply)
    event = ("--bulk", "--player", PLAYER, "--event", "visit", "--wait", "3")
    output = invoke("doctor", "--base-url", server.url, *event, *options).output
    assert [private for private in PRIVATE if private in output] == []


@pytest.mark.parametrize("error", [httpx.RemoteProtocolError, httpx.ProxyError])
def test_personal_data_in_a_line_that_is_no_answer_is_hidden(error: type[httpx.HTTPError]) -> None:
    result = _connectivity.ProbeResult(
        scheme="http", host="x", port=80, path="", with_key=True, secrets=(KEY, SECRET), error=error(WORDS)
    )
    assert [private for private in (*PRIVATE[:3], KEY) if private in result.reason] == []


def test_an_accepted_bulk_request_names_its_job(server: JobServer) -> None:
    assert doctor(server.url)["bulk_request"]["words"] == f"accepted as job {JOB} (HTTP 200)"
    server.submit = answer(jobId="550e8400-e29b-41d4-a716-446655440000")
    words = doctor(server.url)["bulk_request"]["words"]
    assert words == "accepted as job 550e8400-e29b-41d4-a716-446655440000 (HTTP 200)"
    assert server.asked.count("GET batches/550e8400-e29b-41d4-a716-446655440000/status") == 3
    assert ACCEPTED.body == b'{"jobId": 7}'
