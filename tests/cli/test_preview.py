"""`preview` shows what an event would earn, and tracks nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gameball_async import CampaignPreview, CampaignProgress, EventPreview, Preview
from gameball_async.cli._preview_command import report
from gameball_async.sandbox import Fault, Reward, Sandbox

from .conftest import KEY, Process, invoke

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

COUPON = Reward(campaign="Review Coupon", coupon_type="Percentage", coupon_value=10)
POINTS = Reward(points=150, campaign="Review & Earn", translations={"ar": "قيّم واربح"}, ends="2026-08-31T23:59:59Z")
STREAK = Reward(points=500, campaign="Streak", progress=(40, 60))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    rewards: dict[str, Reward | list[Reward]] = {"review": [POINTS, COUPON], "visit": STREAK, "login": []}
    with Sandbox(api_key=KEY, limits=None, rewards=rewards) as running:
        yield running


def preview(sandbox: Sandbox, *args: object, player: str = "player123") -> Result:
    if player == "player123":
        assert invoke("track", player, "login", "--api-version", "v4.0", "--base-url", sandbox.url).exit_code == 0
    return invoke("preview", player, *args, "--base-url", sandbox.url)


def test_each_campaign_has_a_line(sandbox: Sandbox) -> None:
    result = preview(sandbox, "review", "rating:=5")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        '"review" would earn 150 points',
        "  Review & Earn: Rewarded, 150 points, until 2026-08-31 23:59 UTC",
        "  Review Coupon: NonPointsReward, coupon: Percentage 10",
    ]
    assert [event.name for event in sandbox.holdings()["player123"]] == ["login"]


def test_progress_and_no_reward_are_shown(sandbox: Sandbox) -> None:
    assert preview(sandbox, "visit").stdout.splitlines() == [
        '"visit" would earn 0 points',
        "  Streak: ProgressOnly, 0 points, 40 % now, 60 % after it, 500 points when completed",
    ]
    assert preview(sandbox, "login").stdout == '"login" would earn 0 points: no campaign\n'


def test_the_language_is_sent(sandbox: Sandbox) -> None:
    assert "قيّم واربح: Rewarded" in preview(sandbox, "review", "--lang", "ar").stdout


def test_json_has_everything(sandbox: Sandbox) -> None:
    result = preview(sandbox, "review", "--json")
    content = json.loads(result.stdout)
    assert (result.exit_code, content["total_points"]) == (0, 150)
    (event,) = content["events"]
    assert (event["name"], event["valid"]) == ("review", True)
    assert event["campaigns"][0]["ends_at"] == "2026-08-31T23:59:59+00:00"
    assert event["campaigns"][1]["coupon_value"] == 10


def test_an_unknown_event_exits_with_1(sandbox: Sandbox) -> None:
    result = preview(sandbox, "revew")
    assert (result.exit_code, result.stdout) == (1, '"revew" cannot be previewed: EventNotFound\n')


def test_an_unknown_player_is_an_error_without_their_id(sandbox: Sandbox) -> None:
    result = preview(sandbox, "review", player="player456")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Gameball does not know this player" in result.stderr
    assert "A sandbox knows players of whom it has an event: send one with track." in result.stderr
    assert "player456" not in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["review", "gift:=true"], "the value is a bool"),
        (["review", "gift"], '"gift" is not metadata'),
        (["review", "--lang", "a b"], "lang is 'a b'"),
        (["review", "--timeout", "nan"], "--timeout is not a number"),
        (["review", "--api-version", "v3.0"], "v3.0 has no previews: use --api-version v4.0 or v4.1."),
        (["review", "--api-version", "v4.1"], "v4.1 needs a secret_key"),
    ],
    ids=["value", "metadata", "language", "timeout", "v3.0", "v4.1"],
)
def test_a_wrong_usage_exits_with_2(sandbox: Sandbox, args: list[str], message: str) -> None:
    result = preview(sandbox, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr.replace("\n", " ")


def test_a_refusal_says_that_previews_are_available_on_request(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(403, code=8000, routes=["preview"]))
    result = preview(sandbox, "review")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "on request: contact your account team at Gameball" in result.stderr


def test_a_remedy_names_the_option(sandbox: Sandbox) -> None:
    sandbox.script(Fault.html(status=200, routes=["preview"]))
    result = preview(sandbox, "review")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Check --base-url" in result.stderr


def test_an_interruption_exits_with_130(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    process = Process("preview", "player123", "review", "--base-url", sandbox.url)
    sandbox.wait_for(lambda tally: tally.in_flight == 1, timeout=100)
    process.interrupt()
    assert process.end() == 130


def test_what_is_missing_or_hostile_is_printed_safely(capsys: pytest.CaptureFixture[str]) -> None:
    campaigns = (
        CampaignPreview(eligible=True, progress=CampaignProgress()),
        CampaignPreview(name="\x1b[2J", reward_type="Points", points=1, coupon_type="Fixed"),
    )
    assert report(Preview(events=(EventPreview(name="a\x1b", campaigns=campaigns),)), as_json=False)
    assert not report(Preview(events=(EventPreview(valid=False),)), as_json=False)
    assert report(Preview(), as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "'a\\x1b' would earn 0 points",
        "  a campaign without a name: eligible, an unknown part now, an unknown part after it",
        "  \\x1b[2J: not eligible, 1 point, coupon: Fixed",
        '"" cannot be previewed: Gameball gave no reason',
        "0 points",
    ]
