"""Every way in which an event of `send` and `replay` can end: the table, the rejects, the exit code and `--resume`."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from urllib.request import Request, urlopen

import attrs
import pytest

from gameball_async.sandbox import Fault, JobSettings, Sandbox

from .conftest import FAST, KEY, events_of, invoke, numbers, rejected, written
from .test_dead_letters import EXPIRED, bury

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from pathlib import Path

    from click.testing import Result

    from gameball_async.sandbox import JobRecord, Tally

SECRET = "secret-key-0123456789"
WHOLE = "player0"
NEVER = JobSettings(latency=3600)
AT_ONCE = JobSettings(latency=0)

ACCEPTED = "accepted by Gameball"
UNCONFIRMED = "of these, in jobs of unknown end"
REFUSED = "refused by Gameball"
GIVEN_UP = "given up, could not be delivered"
UNKNOWN = "sent, of unknown outcome"
NOT_ANSWERED = "sent, but not answered"
NOT_SENT = "read, but not sent yet"
TWICE = "may have been counted twice"
ENDS = (
    ACCEPTED,
    REFUSED,
    "not valid, so not sent",
    "given up, could not be delivered",
    UNKNOWN,
    NOT_ANSWERED,
    NOT_SENT,
)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY, secret_key=SECRET, limits=None, jobs=AT_ONCE) as running:
        yield running


@pytest.fixture(autouse=True)
def _environment_of_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_SECRET_KEY", SECRET)
    monkeypatch.setenv("GAMEBALL_API_VERSION", "v4.0")


# ---------------------------------------------------------------- what happens during a run

Step = Literal["stop", "hang", "interrupt"]


def act(sandbox: Sandbox, steps: tuple[Step, ...]) -> None:
    for step in steps:
        match step:
            case "stop":  # the first job; later ones end at once
                sandbox.wait_for(lambda _: bool(sandbox.jobs and sandbox.jobs[0].polls), timeout=100)
                sandbox.set_jobs(AT_ONCE)
                stop_job(sandbox, sandbox.jobs[0].id)
            case "hang":  # from the second job on
                sandbox.wait_for(lambda _: bool(sandbox.jobs and sandbox.jobs[0].polls), timeout=100)
                sandbox.script(Fault.hang(routes={"batch"}))
            case "interrupt":
                sandbox.wait_for(is_under_way(sandbox), timeout=100)
                os.kill(os.getpid(), signal.SIGINT)


def is_under_way(sandbox: Sandbox) -> Callable[[Tally], bool]:
    """Return whether a request hangs, or the client has asked for the status of an unfinished job."""

    def check(tally: Tally) -> bool:
        if any(fault.kind == "hang" for fault in sandbox.faults):
            return tally.in_flight > 0 and all(is_known(sandbox, job) for job in sandbox.jobs)
        return any(job.polls and not job.finished for job in sandbox.jobs)

    return check


def is_known(sandbox: Sandbox, job: JobRecord) -> bool:
    """Whether the client was answered that the job has ended."""
    return job.finished is not None and any(
        request.route == "status" and request.job == job.id and request.start >= job.finished
        for request in sandbox.requests
    )


def stop_job(sandbox: Sandbox, job: int) -> None:
    """Stop a job as Gameball's dashboard does."""
    headers = {"APIKey": KEY, "SecretKey": SECRET}
    url = f"{sandbox.url}/api/v4.0/integrations/batches/{job}/stop"
    with urlopen(Request(url, method="POST", headers=headers)) as answer:
        answer.read()


@contextmanager
def during(sandbox: Sandbox, steps: tuple[Step, ...]) -> Generator[None]:
    """Do this in another thread while the command runs."""
    thread = threading.Thread(target=act, args=(sandbox, steps), daemon=True)
    thread.start()
    yield
    thread.join(100)
    assert not thread.is_alive()


# ---------------------------------------------------------------- send


@attrs.frozen(kw_only=True)
class Case:
    """What happens to two events of one player, and what the command has to say.

    Attributes:
        figures: those of the table that are not zero.
        code: the exit code.
        held: the numbers of the events that are held, in order.
        after: those that are held after `--resume`, if something was left.
    """

    name: str
    mode: str
    ambiguous: str = "resend"
    jobs: JobSettings = AT_ONCE
    faults: tuple[Fault, ...] = ()
    steps: tuple[Step, ...] = ()
    figures: Mapping[str, int]
    code: int
    held: list[int]
    after: list[int] | None = None
    words: str = ""


REFUSAL = Fault.status(422, code=3003, words="No such product.", routes={"events"})
FAILING = JobSettings(latency=0, failing_players=WHOLE)
APPLIED = JobSettings(latency=0, failing_players=WHOLE, partial=1.0)
"""Items that are applied, and listed as failed."""
HANG = (Fault.hang(),)
"""No answer: the first event waits for it, and the second one for the first."""


def both(**case: Any) -> list[Case]:
    """Return a case for each policy; it does not matter."""
    return [Case(ambiguous=policy, **case) for policy in ("resend", "report")]


CASES = [
    *both(name="confirmed", mode="single", figures={ACCEPTED: 2}, code=0, held=[0, 1]),
    *both(name="confirmed", mode="bulk", figures={ACCEPTED: 2}, code=0, held=[0, 1]),
    *both(name="confirmed", mode="auto", figures={ACCEPTED: 2}, code=0, held=[0, 1]),
    *both(
        name="refused",
        mode="single",
        faults=(attrs.evolve(REFUSAL, times=1),),
        figures={ACCEPTED: 1, REFUSED: 1},
        code=1,
        held=[1],
        words="1 row will not arrive: see",
    ),
    *both(
        name="lost job",
        mode="bulk",
        jobs=JobSettings(latency=0, lost_jobs=1),
        figures={ACCEPTED: 2, UNCONFIRMED: 2},
        code=0,
        held=[0, 1],
        words="they are not sent again",
    ),
    *both(
        name="stopped job",
        mode="bulk",
        jobs=NEVER,
        steps=("stop",),
        figures={ACCEPTED: 1, UNKNOWN: 1},
        code=1,
        held=[1],
        words="job 1 was stopped",
    ),
    Case(
        name="stopped job, then an interrupt",
        mode="bulk",
        jobs=NEVER,
        steps=("hang", "stop", "interrupt"),
        figures={UNKNOWN: 1, NOT_ANSWERED: 1},
        code=130,
        held=[],
        after=[1],
        words="1 event had been sent and not answered: Gameball may have counted them",
    ),
    Case(
        name="stopped job, then an interrupt",
        mode="bulk",
        ambiguous="report",
        jobs=NEVER,
        steps=("hang", "stop", "interrupt"),
        figures={UNKNOWN: 2},
        code=1,
        held=[],
        words="2 rows may not have arrived: see",
    ),
    Case(
        name="failed items",
        mode="bulk",
        jobs=APPLIED,
        figures={ACCEPTED: 2, TWICE: 2},
        code=0,
        held=[0, 0, 1, 1],
    ),
    Case(
        name="failed items",
        mode="bulk",
        ambiguous="report",
        jobs=APPLIED,
        figures={UNKNOWN: 2},
        code=1,
        held=[0, 1],
        words="perhaps after it was applied",
    ),
    Case(
        name="failed jobs",
        mode="bulk",
        jobs=JobSettings(latency=0, failing_jobs=1),
        figures={ACCEPTED: 2, TWICE: 2},
        code=0,
        held=[0, 1],
    ),
    Case(
        name="failed jobs",
        mode="bulk",
        ambiguous="report",
        jobs=JobSettings(latency=0, failing_jobs=1),
        figures={UNKNOWN: 2},
        code=1,
        held=[],
        words="2 rows may not have arrived: see",
    ),
    Case(
        name="failed items that are refused",
        mode="bulk",
        jobs=FAILING,
        faults=(REFUSAL,),
        figures={REFUSED: 2},
        code=1,
        held=[],
        words="2 rows may not have arrived: see",
    ),
    Case(
        name="failed item, then an interrupt",
        mode="bulk",
        jobs=APPLIED,
        faults=(Fault.hang(routes={"events"}),),
        steps=("interrupt",),
        figures={NOT_ANSWERED: 1, NOT_SENT: 1},
        code=130,
        held=[0],
        after=[0, 0, 1],
    ),
    Case(
        name="unfinished job, then an interrupt",
        mode="bulk",
        jobs=NEVER,
        steps=("interrupt",),
        figures={ACCEPTED: 1, UNCONFIRMED: 1, NOT_SENT: 1},
        code=130,
        held=[],
        after=[1],
    ),
    *(
        case
        for mode, route in (("single", "events"), ("bulk", "batch"), ("auto", "events"))
        for case in (
            Case(
                name="lost answer",
                mode=mode,
                faults=(Fault.reset_after(times=1, routes={route}),),  # type: ignore[arg-type]
                figures={ACCEPTED: 2, TWICE: 1},
                code=0,
                held=[0, 0, 1],
            ),
            Case(
                name="lost answer",
                mode=mode,
                ambiguous="report",
                faults=(Fault.reset_after(times=1, routes={route}),),  # type: ignore[arg-type]
                figures={ACCEPTED: 1, UNKNOWN: 1},
                code=1,
                held=[0, 1],
                words="1 row may not have arrived: see",
            ),
            Case(
                name="no answer, then an interrupt",
                mode=mode,
                faults=HANG,
                steps=("interrupt",),
                figures={NOT_ANSWERED: 1, NOT_SENT: 1},
                code=130,
                held=[],
                after=[0, 1],
                words="1 event had been sent and not answered",
            ),
            Case(
                name="no answer, then an interrupt",
                mode=mode,
                ambiguous="report",
                faults=HANG,
                steps=("interrupt",),
                figures={UNKNOWN: 1, NOT_SENT: 1},
                code=130,
                held=[],
                after=[1],
                words="1 row may not have arrived: see",
            ),
        )
    ),
    Case(
        name="lost answer, then refused",
        mode="single",
        faults=(Fault.reset_after(times=1), attrs.evolve(REFUSAL, times=1)),
        figures={ACCEPTED: 1, REFUSED: 1},
        code=1,
        held=[0, 1],
        words="1 row may not have arrived: see",
    ),
    Case(
        name="lost answer, then refused",
        mode="single",
        ambiguous="report",
        faults=(Fault.reset_after(times=1), attrs.evolve(REFUSAL, times=1)),
        figures={REFUSED: 1, UNKNOWN: 1},
        code=1,
        held=[0],
        words="1 row will not arrive, and 1 row may not have arrived: see",
    ),
]


def table(result: Result) -> dict[str, int]:
    """Return the figures of the closing table."""
    lines = [line.rsplit(maxsplit=1) for line in result.stdout.splitlines() if len(line.split()) > 1]
    return {words.strip(): int(figure) for words, figure in lines if figure.isdigit()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.mode}-{case.ambiguous}-{case.name}")
def test_an_event_is_in_the_table_as_it_ended_and_resume_sends_what_is_left(
    sandbox: Sandbox, tmp_path: Path, case: Case
) -> None:
    path = written(tmp_path / "events", events_of(players=1, each=2))
    options = ("--mode", case.mode, "--ambiguous", case.ambiguous, "--base-url", sandbox.url, *FAST)
    sandbox.set_jobs(case.jobs)
    sandbox.script(*case.faults)
    with during(sandbox, case.steps):
        result = invoke("send", path, *options, "--drain", "0.1")
    found = table(result)
    assert result.exit_code == case.code, result.output
    assert {label: found[label] for label in (*ENDS, UNCONFIRMED, TWICE) if found.get(label)} == case.figures
    assert found["Rows read"] == sum(found.get(label, 0) for label in ENDS) == 2
    assert numbers(sandbox).get(WHOLE, []) == case.held
    assert case.words in " ".join(result.stdout.split())
    assert count_rejected(tmp_path) == case.figures.get(REFUSED, 0) + case.figures.get(UNKNOWN, 0)
    assert (tmp_path / "events.progress").exists() == (case.after is not None)
    if case.after is not None:
        sandbox.set_jobs(AT_ONCE)
        sandbox.script()
        again = invoke("send", path, *options, "--resume")
        assert numbers(sandbox)[WHOLE] == case.after
        assert table(again)["Rows read"] == sum(table(again).get(label, 0) for label in ENDS) == 2
        assert again.exit_code == (1 if case.figures.get(UNKNOWN) else 0)
        assert count_rejected(tmp_path) == case.figures.get(UNKNOWN, 0)
        assert not (tmp_path / "events.progress").exists()


def count_rejected(folder: Path) -> int:
    path = folder / "events.rejects.ndjson"
    return len(rejected(path)) if path.exists() else 0


def test_a_stopped_job_of_auto_is_not_sent_again(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.set_jobs(NEVER)
    path = written(tmp_path / "events", events_of(players=15, each=1))
    few = ("--per-second", "10", "--per-30-seconds", "30")  # so that some players are more than single requests serve
    with during(sandbox, ("stop",)):
        result = invoke("send", path, "--mode", "auto", "--base-url", sandbox.url, *few)
    (job,) = sandbox.jobs
    assert result.exit_code == 1
    assert (table(result)[UNKNOWN], table(result)[ACCEPTED]) == (job.items, 15 - job.items)
    assert count_rejected(tmp_path) == job.items
    assert len(numbers(sandbox)) == 15 - job.items


def test_after_an_interrupt_the_number_is_of_events_without_an_outcome(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.hang())
    path = written(tmp_path / "events", events_of(players=1, each=3))
    with during(sandbox, ("interrupt",)):
        result = invoke("send", path, "--mode", "bulk", "--drain", "0.1", "--base-url", sandbox.url)
    words = "Stopping: 3 events have no outcome yet. Nothing new is sent; 1 request in flight may end within"
    assert words in " ".join(result.stderr.split())
    assert (table(result)[NOT_ANSWERED], table(result)[NOT_SENT]) == (1, 2)


# ---------------------------------------------------------------- replay


REPLAYED = {
    ACCEPTED: "accepted by Gameball, so removed",
    REFUSED: "refused by Gameball, so kept",
    UNKNOWN: "sent, of unknown outcome, so kept",
    NOT_ANSWERED: "sent, but not answered, so kept",
    NOT_SENT: "not sent yet, so kept",
    TWICE: TWICE,
}


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.mode == "single"], ids=lambda case: f"{case.ambiguous}-{case.name}"
)
def test_a_replayed_event_is_in_the_table_as_it_ended_and_stays_unless_it_was_accepted(
    sandbox: Sandbox, tmp_path: Path, case: Case
) -> None:
    letters = bury(tmp_path, (WHOLE, "visit", {"n": 0}), (WHOLE, "visit", {"n": 1}), error=EXPIRED)
    command = ("dead-letters", "replay", tmp_path, "--all", "--ambiguous", case.ambiguous, "--base-url", sandbox.url)
    sandbox.script(*case.faults)
    with during(sandbox, case.steps):
        result = invoke(*command, *FAST, "--drain", "0.1")
    found, accepted = table(result), case.figures.get(ACCEPTED, 0)
    assert result.exit_code == case.code, result.output
    assert {label: found[name] for label, name in REPLAYED.items() if found.get(name)} == case.figures
    assert found["Dead letters read"] == 2
    assert len(letters) == 2 - accepted
    assert numbers(sandbox).get(WHOLE, []) == case.held
    assert ("had been sent and not answered" in result.stdout) == (NOT_ANSWERED in case.figures)
    counts_twice = f"{accepted} event{'s' if accepted > 1 else ''} may have arrived before, and so may count twice."
    assert (counts_twice in result.stdout) == (accepted > 0)
    if len(letters):
        sandbox.script()
        assert invoke(*command, *FAST).exit_code == 0
        assert len(letters) == 0
