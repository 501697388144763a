"""What the client gives up or leaves, and when it is halted: what `send` says about it, and that the remedies work."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest

from gameball_async import Dropped, DropReason, OutcomeUnknown, Rejected
from gameball_async._core.outcome import Answer, Decision, halt_remedy
from gameball_async.cli._options import ClientOptions, Mode
from gameball_async.sandbox import Fault, Sandbox
from gameball_async.testing import Recorder

from .conftest import FAST, KEY, events_of, invoke, numbers, rejected, written
from .test_outcomes import (
    AT_ONCE,
    ENDS,
    GIVEN_UP,
    NOT_ANSWERED,
    NOT_SENT,
    REFUSED,
    SECRET,
    UNKNOWN,
    count_rejected,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY, secret_key=SECRET, limits=None, jobs=AT_ONCE) as running:
        yield running


@pytest.fixture(autouse=True)
def _environment_of_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_SECRET_KEY", SECRET)
    monkeypatch.setenv("GAMEBALL_API_VERSION", "v4.0")


MAYBE_APPLIED = "An earlier attempt may have been applied"


@pytest.mark.parametrize("ambiguous", ["resend", "report"])
@pytest.mark.parametrize(
    ("error", "label"),
    [
        (Rejected("no"), REFUSED),
        (Rejected("no", may_have_arrived=True), REFUSED),
        (OutcomeUnknown("stopped", job=7), UNKNOWN),
        (Dropped("no", reason=DropReason.CLOSED), NOT_SENT),
        (Dropped("no", reason=DropReason.FLUSHER_DIED), NOT_SENT),
        (Dropped("no", reason=DropReason.EXPIRED), GIVEN_UP),
        (Dropped("no", reason=DropReason.EXPIRED, may_have_arrived=True), GIVEN_UP),
        (Dropped("no", reason=DropReason.DISABLED), GIVEN_UP),
    ],
    ids=["refused", "refused later", "stopped job", "closed", "flusher died", "expired", "expired later", "disabled"],
)
def test_each_error_has_its_line_and_its_reason(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: Rejected | Dropped | OutcomeUnknown,
    label: str,
    ambiguous: str,
) -> None:
    use_recorder(monkeypatch, error)
    result = invoke("send", written(tmp_path / "events", events_of(1, 1)), "--ambiguous", ambiguous)
    assert result.exit_code == 1
    assert {name: table(result)[name] for name in ENDS if table(result).get(name)} == {label: 1}
    if label == NOT_SENT:
        assert_continues(result, tmp_path)
        return
    assert not (tmp_path / "events.progress").exists()
    assert ("1 row may not have arrived: see" in result.stdout) == error.may_have_arrived
    assert ("1 row will not arrive: see" in result.stdout) != error.may_have_arrived
    (row,) = rejected(tmp_path / "events.rejects.ndjson")
    assert row["reason"].startswith(str(error))
    assert (MAYBE_APPLIED in row["reason"]) == (error.may_have_arrived and label != UNKNOWN)


def test_a_run_that_leaves_something_is_no_success_and_can_be_continued(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_recorder(monkeypatch, OutcomeUnknown("the client was closed"))
    result = invoke("send", written(tmp_path / "events", events_of(1, 1)))
    assert result.exit_code == 1
    assert table(result)[NOT_ANSWERED] == 1
    assert_continues(result, tmp_path)


def use_recorder(monkeypatch: pytest.MonkeyPatch, error: Rejected | Dropped | OutcomeUnknown) -> None:
    """Let the command send to a recorder with which every event fails."""
    recorder = Recorder()
    recorder.fail(error)

    def gameball(_: ClientOptions) -> Recorder:
        return recorder

    monkeypatch.setattr(ClientOptions, "gameball", gameball)


def assert_continues(result: Result, folder: Path) -> None:
    assert "1 event has no outcome." in result.stdout
    assert "To continue, run the same command with --resume." in result.stdout
    assert (folder / "events.progress").exists()
    assert count_rejected(folder) == 0


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (404, None, "Check --base-url and --api-version; `gameball-async doctor --bulk` checks it."),
        (401, 1001, "Set GAMEBALL_SECRET_KEY; `gameball-async doctor --bulk` checks it."),
        (403, 8000, "Choose another --api-version or another plan; `gameball-async doctor --bulk` checks it."),
    ],
)
def test_where_bulk_requests_are_refused_the_remedy_works_as_it_is_printed(
    sandbox: Sandbox, tmp_path: Path, status: int, code: int | None, remedy: str
) -> None:
    sandbox.script(Fault.status(status, code=code, routes={"batch"}))
    command = ("send", written(tmp_path / "events", events_of(2, 2)), "--mode", "bulk", "--base-url", sandbox.url)
    for options in ((), ("--resume",)):  # the same command with --resume is refused again
        result = invoke(*command, *options)
        printed = " ".join(result.stdout.split())
        assert result.exit_code == 1
        assert remedy in printed
        assert not any(word in printed for word in ("Batching(", "base_url", "api_version", "secret_key"))
    assert "If Gameball refuses only bulk requests, run it with --mode single --resume." in printed
    assert invoke(*command, "--mode", "single", "--resume").exit_code == 0
    assert numbers(sandbox) == {"player0": [0, 1], "player1": [0, 1]}


@pytest.mark.parametrize("mode", ["single", "bulk", "auto"])
def test_no_remedy_names_an_argument_of_the_client(mode: Mode) -> None:
    statuses, codes = (302, 401, 403, 404, 405, 407), (None, 1, 50, 1000, 1001, 1002, 1006, 6000, 8000)
    for status, code in itertools.product(statuses, codes):
        answer = Answer(verdict=Decision.HALT, status=status, code=code)
        message = ClientOptions(mode=mode).reword(halt_remedy(answer))
        assert not re.search(r"[a-z]_[a-z]|\w\(", message), message


def test_the_client_s_warnings_name_options(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.status(401, code=1000, routes={"status"}, times=3))
    path = written(tmp_path / "events", events_of(1, 1))
    result = invoke("send", path, "--mode", "bulk", "--base-url", sandbox.url)
    assert "Check the keys and --base-url with `gameball-async doctor --bulk`." in " ".join(result.stderr.split())


def test_the_rows_with_contacts_are_sent_once_as_the_remedy_says(sandbox: Sandbox, tmp_path: Path) -> None:
    rows = [{"player": "p1", "event": "visit", "email": "a@example.com"}, {"player": "p2", "event": "visit"}]
    options = ("--base-url", sandbox.url, *FAST)
    result = invoke("send", written(tmp_path / "events", rows), "--mode", "bulk", *options)
    assert result.exit_code == 1
    assert "send this row in another file, with --mode single or auto." in " ".join(result.stdout.split())
    (row,) = rejected(tmp_path / "events.rejects.ndjson")
    (tmp_path / "rest").write_text(row["row"])
    assert invoke("send", tmp_path / "rest", "--mode", "auto", *options).exit_code == 0
    assert {player: len(events) for player, events in sandbox.holdings().items()} == {"p1": 1, "p2": 1}
