"""When `mode="auto"` sends bulk requests: the decisions, one after another."""

from __future__ import annotations

import pytest

from gameball_async import Delivered
from gameball_async._core.bulk_jobs import DISTRUST, PROOF_ITEMS, AutoMode, AutoState
from gameball_async._core.receipts import joint_outcome

RATE = 10.0
MANY = 1000
"""Players that single requests do not serve soon."""


@pytest.fixture
def proving() -> AutoMode:
    mode = AutoMode(RATE, 500)
    assert mode.look(MANY, latency=0.0, now=0.0) is AutoState.PROVING
    assert mode.most_items == PROOF_ITEMS
    return mode


def test_one_proof_is_sent_at_a_time(proving: AutoMode) -> None:
    proving.sent(PROOF_ITEMS, now=0.0)
    assert proving.most_items == 0


def test_a_proof_that_was_not_sent_after_all_is_sent_later(proving: AutoMode) -> None:
    proving.sent(PROOF_ITEMS, now=0.0)
    proving.not_sent()
    assert proving.state is AutoState.PROVING
    assert proving.most_items == PROOF_ITEMS


def test_a_completed_job_is_the_proof(proving: AutoMode) -> None:
    proving.sent(PROOF_ITEMS, now=0.0)
    proving.completed(MANY, latency=1.0, now=1.0)
    assert proving.state is AutoState.ON
    assert proving.most_items == 500


def test_after_a_lost_job_there_are_no_bulk_requests_for_a_while_and_then_another_proof(proving: AutoMode) -> None:
    proving.completed(MANY, latency=1.0, now=1.0)
    proving.lost(now=2.0)
    assert proving.look(MANY, latency=1.0, now=2.0 + DISTRUST - 1) is AutoState.OFF
    assert proving.most_items == 0
    assert proving.look(MANY, latency=1.0, now=2.0 + DISTRUST) is AutoState.PROVING


def test_events_that_were_sent_together_are_confirmed_if_all_of_them_are() -> None:
    confirmed = Delivered(status=200, job=7)
    unconfirmed = Delivered(status=200, confirmed=False, job=8)
    assert joint_outcome([confirmed, confirmed]) == confirmed
    assert joint_outcome([confirmed, unconfirmed]) == unconfirmed
