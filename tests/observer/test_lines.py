"""What is worth a line in the log, and how often; without a loop."""

from __future__ import annotations

import logging
import math

import pytest

from gameball_async import ClientHalted, DeliveryError, Dropped, DropReason, OutcomeUnknown, Rejected
from gameball_async._core.outcome import Answer, Decision
from gameball_async._core.pacing import BreakerState
from gameball_async._engine.reporting import LogReporter
from gameball_async._log import LogThrottle

FAILED = Answer(verdict=Decision.FAILED, status=503)
DELIVERED = Answer(verdict=Decision.DELIVERED, status=200)
LIMITED = Answer(verdict=Decision.RATE_LIMITED, status=429)
REFUSED = Rejected("Gameball refused the event (HTTP 422). Correct the event.", status=422)
HALTED = ClientHalted("Gameball refuses this client (HTTP 401). Check the keys.", status=401, code=None)

Told = list[tuple[str, str]]


class Log:
    """Lines, and what they have told."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "gameball_async")
        self._caplog = caplog
        self.waiting = 7
        self.lines = LogReporter(lambda: self.waiting, "https://api.gameball.co")

    def out_of_reach(self, now: float) -> None:
        self.lines.not_open(BreakerState.OUTAGE, FAILED, None, now + 1, now)

    def paused(self, now: float, seconds: float) -> None:
        self.lines.not_open(BreakerState.PAUSED, LIMITED, None, now + seconds, now)

    def halted(self, now: float) -> None:
        self.lines.not_open(BreakerState.HALTED, FAILED, HALTED, now + 60, now)

    def told(self) -> Told:
        """The level and the text of each line since the last look."""
        told = [(record.levelname, record.getMessage()) for record in self._caplog.records]
        self._caplog.clear()
        return told


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


# ---------------------------------------------------------------- seldom


def test_the_first_is_told_at_once_and_the_others_a_minute_later_with_their_count() -> None:
    seldom = LogThrottle()
    assert (seldom.due_at, seldom.take(0)) == (math.inf, 0)
    seldom.count += 1
    assert (seldom.due_at, seldom.take(5)) == (-math.inf, 1)
    seldom.count += 3
    assert (seldom.due_at, seldom.take(64.9)) == (65, 0)
    assert seldom.take(65) == 3
    assert (seldom.due_at, seldom.take(1000)) == (math.inf, 0)


# ---------------------------------------------------------------- outages


def test_an_outage_is_one_line_when_it_begins_and_one_when_it_ends_whatever_is_between(log: Log) -> None:
    for second in range(5_000):
        log.out_of_reach(second)
    log.waiting = 1
    log.lines.recovered(5_000)
    begins = (
        "Gameball is out of reach at https://api.gameball.co (HTTP 503). 7 events are waiting; retries continue. If "
        "this lasts, check base_url and the network with `gameball-async doctor`."
    )
    ends = "Gameball answers again, after 5000 s and 5,000 failed requests. 1 event is waiting."
    assert log.told() == [("WARNING", begins), ("WARNING", ends)]


def test_outages_that_come_and_go_are_told_once_a_minute_with_their_number(log: Log) -> None:
    for second in range(100):
        log.out_of_reach(second)
        log.lines.recovered(second + 0.5)
    told = [text for _, text in log.told()]
    assert "(HTTP 503), after 59 short interruptions without a line." in told[2]
    assert [text.split(".")[0] for text in told] == [
        "Gameball is out of reach at https://api",
        "Gameball answers again, after 0 s and 1 failed request",
        "Gameball is out of reach at https://api",
        "Gameball answers again, after 0 s and 1 failed request",
    ]


def test_an_outage_soon_after_another_is_told_if_it_lasts(log: Log) -> None:
    log.out_of_reach(0)
    log.lines.recovered(1)
    log.told()
    for second in range(2, 60):
        log.out_of_reach(second)
    assert log.told() == []
    log.out_of_reach(60)
    log.lines.recovered(3_602)
    assert [text[:50] for _, text in log.told()] == [
        "Gameball is out of reach at https://api.gameball.c",
        "Gameball answers again, after 3600 s and 59 failed",
    ]


# ---------------------------------------------------------------- outages that do not trip the circuit breaker


def test_one_request_that_fails_is_a_line_after_three_seconds(log: Log) -> None:
    log.lines.request_starts(10)
    log.lines.failed(FAILED)
    log.lines.request_ends(1, 1, FAILED, 0.1, 10.1)
    assert log.lines.due_at == 13
    log.lines.log_outage(12.9)
    assert log.told() == []
    log.lines.log_outage(13)
    ((level, text),) = log.told()
    assert (level, text[:62]) == ("WARNING", "Gameball is out of reach at https://api.gameball.co (HTTP 503)")
    assert log.lines.due_at == math.inf
    log.lines.recovered(15)
    assert log.told() == [("WARNING", "Gameball answers again, after 5 s and 1 failed request. 7 events are waiting.")]


def test_an_answer_that_does_not_come_is_a_line_after_three_seconds(log: Log) -> None:
    log.lines.request_starts(10)
    log.lines.log_outage(13)
    assert "(no answer for 3 s)" in log.told()[0][1]


def test_a_success_begins_the_three_seconds_anew(log: Log) -> None:
    log.lines.request_starts(10)
    log.lines.request_starts(12)
    log.lines.failed(FAILED)
    log.lines.request_ends(1, 1, FAILED, 2, 12)
    log.lines.recovered(12.5)
    log.lines.request_ends(1, 1, DELIVERED, 0.5, 12.5)
    assert (log.lines.due_at, log.told()) == (math.inf, [])
    log.lines.request_starts(13)
    assert log.lines.due_at == 16


def test_a_request_that_was_cancelled_leaves_nothing_to_wait_for(log: Log) -> None:
    log.lines.request_starts(10)
    log.lines.request_ends(1, 1, Answer(verdict=Decision.INTERRUPTED), 1, 11)
    assert log.lines.due_at == math.inf


def test_a_request_that_is_not_repeated_begins_no_outage(log: Log) -> None:
    log.lines.request_starts(10)
    log.lines.failed(FAILED)
    log.lines.add_failed(["event"], OutcomeUnknown("who knows."))
    log.lines.request_ends(1, 1, FAILED, 1, 11)
    assert log.lines.due_at == -math.inf  # the loss
    log.lines.log_failed(11)
    assert log.lines.due_at == math.inf


def test_an_outage_in_which_nothing_waits_any_more_is_no_line(log: Log) -> None:
    log.lines.request_starts(10)
    log.lines.failed(FAILED)
    log.lines.request_ends(1, 1, FAILED, 0, 10)
    log.waiting = 0
    log.lines.log_outage(13)
    assert (log.told(), log.lines.due_at) == ([], math.inf)


def test_an_outage_that_was_logged_is_not_logged_again_when_the_gate_closes(log: Log) -> None:
    log.lines.request_starts(10)
    log.lines.failed(FAILED)
    log.lines.log_outage(13)
    log.told()
    for second in range(14, 1_000):
        log.out_of_reach(second)
        log.lines.log_outage(second)
    assert log.told() == []


def test_a_pause_that_a_failing_server_asks_for_is_a_line_after_three_seconds(log: Log) -> None:
    log.lines.request_starts(10)
    log.lines.not_open(BreakerState.PAUSED, FAILED, None, 30, 10)
    log.lines.log_outage(13)
    assert log.told()[0][1].startswith("Gameball asked for a pause, 20 s in all (HTTP 503).")


# ---------------------------------------------------------------- pauses and halts


def test_a_pause_that_a_rate_window_brings_about_is_no_line(log: Log) -> None:
    log.paused(0, 30)
    log.lines.recovered(30)
    assert log.told() == []


def test_a_long_pause_is_a_line_at_once_with_the_remedy(log: Log) -> None:
    log.paused(0, 300)
    log.lines.recovered(301)
    (begun, begins), (ended, ends) = log.told()
    assert (begun, ended) == ("WARNING", "WARNING")
    assert begins.startswith("Gameball asked for a pause, 300 s in all (HTTP 429). 7 events are waiting.")
    assert begins.endswith("RateLimit(share=...).")
    assert ends.startswith("Gameball answers again, after 301 s")


def test_short_pauses_without_an_end_become_a_line(log: Log) -> None:
    for second in range(31):
        log.paused(second, 1)
    ((level, text),) = log.told()
    assert level == "WARNING"
    assert text.startswith("Gameball asked for a pause, 31 s in all (HTTP 429).")


def test_an_outage_with_pauses_in_between_is_told_once_as_each(log: Log) -> None:
    for second in range(1_000):
        log.out_of_reach(second)
        log.paused(second + 0.5, 1)
    assert [text[:24] for _, text in log.told()] == ["Gameball is out of reach", "Gameball asked for a pau"]


def test_a_halt_is_an_error_at_once_even_in_an_outage(log: Log) -> None:
    log.out_of_reach(0)
    for second in range(1, 10):
        log.halted(second)
    log.lines.recovered(10)
    assert log.told()[1:-1] == [
        ("ERROR", f"{HALTED} A probe is sent every minute. 7 events are waiting."),
    ]


def test_the_end_of_what_was_not_told_is_not_told(log: Log) -> None:
    log.lines.recovered(1)
    log.paused(2, 1)
    log.lines.recovered(3)
    assert log.told() == []


def test_who_asks_for_more_hears_of_the_short_ones_too(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gameball_async")
    log.paused(2, 1)
    log.lines.recovered(3)
    assert log.told() == [
        ("DEBUG", "no requests for 1.0 s: HTTP 429"),
        ("DEBUG", "Gameball answers again, after 1 s and 1 failed request. 7 events are waiting."),
    ]


def test_what_was_delivered_in_a_pause_did_not_fail(log: Log) -> None:
    log.paused(0, 100)
    log.lines.not_open(BreakerState.PAUSED, Answer(verdict=Decision.DELIVERED, status=200), None, 100, 1)
    log.lines.recovered(100)
    assert "1 failed request." in log.told()[-1][1]


# ---------------------------------------------------------------- events that will not arrive


def test_a_thousand_refusals_are_a_line_at_first_and_a_count_each_minute(log: Log) -> None:
    for number in range(1_000):
        log.lines.add_failed([f"event{number}"], REFUSED)
        log.lines.log_failed(number / 10)
    log.lines.log_all(100)
    told = log.told()
    assert told == [
        ("ERROR", f"1 event will not arrive, 'event0': {REFUSED}"),
        ("ERROR", f"600 events will not arrive, the last one 'event600': {REFUSED}"),
        ("ERROR", f"399 events will not arrive, the last one 'event999': {REFUSED}"),
    ]


def test_events_that_fail_together_are_told_together(log: Log) -> None:
    error = Dropped("too old.", reason=DropReason.EXPIRED)
    for _ in range(2_000):
        log.lines.add_failed(["one", "two"], error)
    log.lines.log_failed(0)
    assert log.lines.due_at == math.inf
    assert log.told() == [("ERROR", "4,000 events will not arrive, the last one 'two': too old.")]


def test_each_kind_of_failure_is_told_for_itself(log: Log) -> None:
    errors: list[DeliveryError] = [
        REFUSED,
        Dropped("too old.", reason=DropReason.EXPIRED),
        Dropped("no room.", reason=DropReason.BUFFER_FULL),
        OutcomeUnknown("who knows."),
    ]
    for error in errors:
        log.lines.add_failed(["event"], error)
        log.lines.log_failed(0)
    assert log.told() == [
        ("ERROR", f"1 event will not arrive, 'event': {REFUSED}"),
        ("ERROR", "1 event will not arrive, 'event': too old."),
        ("WARNING", "1 event will not arrive, 'event': no room."),
        ("ERROR", "1 event may not have arrived, 'event': who knows."),
    ]


def test_it_says_when_there_is_more_to_tell(log: Log) -> None:
    log.lines.add_failed(["event"], REFUSED)
    log.lines.log_failed(5)
    assert log.lines.due_at == math.inf
    log.lines.add_failed(["event"], REFUSED)
    log.lines.log_failed(6)
    assert log.lines.due_at == 65


def test_a_name_is_shortened_and_breaks_no_line(log: Log) -> None:
    log.lines.add_failed(["a\nb" + "c" * 1_000], REFUSED)
    log.lines.log_failed(0)
    ((_, text),) = log.told()
    assert text.startswith("1 event will not arrive, 'a\\nbccc")
    assert len(text) < 200


# ---------------------------------------------------------------- the rest


def test_what_a_journal_keeps_is_told_if_there_is_anything(log: Log) -> None:
    log.lines.kept("the client was closed before delivery", "in the journal for the next client")
    log.waiting = 0
    log.lines.kept("the client was closed before delivery", "in the journal for the next client")
    assert log.told() == [
        ("WARNING", "the client was closed before delivery; 7 events are kept in the journal for the next client.")
    ]


def test_each_request_is_told_to_who_asks_for_that_alone(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    log.lines.request_ends(3, 1, FAILED, 0.25, 7)
    assert log.told() == []
    caplog.set_level(logging.DEBUG, "gameball_async.requests")
    log.lines.request_ends(3, 1, FAILED, 0.25, 7)
    assert log.told() == [("DEBUG", "3 events, attempt 1: failed (HTTP 503) in 0.250 s")]


def test_a_log_handler_may_let_events_fail_for_another_reason_while_losses_are_logged(log: Log) -> None:
    """A handler that tracks into a full buffer does so."""
    full = Dropped("the buffer was full.", reason=DropReason.BUFFER_FULL)

    class Tracking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 the name is the base class's
            log.lines.add_failed(["logged"], full)
            log.lines.log_failed(0)

    handler = Tracking()
    logging.getLogger("gameball_async").addHandler(handler)
    try:
        log.lines.add_failed(["review"], REFUSED)
        log.lines.add_failed(["order"], OutcomeUnknown("no answer."))
        log.lines.log_failed(0)
    finally:
        logging.getLogger("gameball_async").removeHandler(handler)
    log.lines.log_all(60)
    assert [text for _, text in log.told()] == [
        "1 event will not arrive, 'logged': the buffer was full.",
        "1 event will not arrive, 'review': Gameball refused the event (HTTP 422). Correct the event.",
        "1 event may not have arrived, 'order': no answer.",
        "2 events will not arrive, the last one 'logged': the buffer was full.",
    ]


def test_before_there_is_a_clock_the_same_is_logged_once(log: Log) -> None:
    """A client that was not started has none."""
    for _ in range(3):
        log.lines.add_failed(["review"], REFUSED)
        log.lines.log_failed(-math.inf)
    assert len(log.told()) == 1
    log.lines.log_failed(1000)
    assert [text[:8] for _, text in log.told()] == ["2 events"]
