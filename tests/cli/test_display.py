"""Without a terminal there is a line now and then, and one at once when something is wrong."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from gameball_async.cli._progress import Bar, Display, LineDisplay, Progress, StallStatus, WarningsHandler

if TYPE_CHECKING:
    from collections.abc import Callable

WELL = Progress(delivered=1200, requests=600, retries=2, rejected=1, rate=40.0, share=0.5, remaining=65.0)
WAITING = Progress(status=StallStatus("waiting", is_problem=False))
TROUBLE = Progress(status=StallStatus("trouble", is_problem=True))


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[[list[tuple[float, Progress]]], list[str]]:
    """Show progress at these seconds, and return the lines printed."""

    def show(course: list[tuple[float, Progress]]) -> list[str]:
        display = LineDisplay()
        for now, progress in course:
            display.show(progress, now)
        return capsys.readouterr().err.splitlines()

    return show


def test_a_line_is_printed_every_ten_seconds(shown: Callable[[list[tuple[float, Progress]]], list[str]]) -> None:
    line = "1,200 events delivered, 600 requests, 40 events/s, 2 retried, 1 rejected, about 1 min 05 s to go"
    assert shown([(100.0 + second, WELL) for second in range(25)]) == [line, line]


def test_trouble_is_told_at_once_and_then_every_ten_seconds(
    shown: Callable[[list[tuple[float, Progress]]], list[str]],
) -> None:
    assert shown([(0.5, WELL), (1.0, TROUBLE), (2.0, TROUBLE), (10.9, TROUBLE), (11.0, TROUBLE)]) == ["trouble"] * 2


def test_waiting_for_the_pacing_is_not_told_as_trouble(
    shown: Callable[[list[tuple[float, Progress]]], list[str]],
) -> None:
    assert shown([(0.5, WELL), (1.0, WAITING), (2.0, WAITING)]) == []


def test_the_client_s_warnings_are_said_and_its_errors_left_to_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("gameball_async")
    with WarningsHandler(LineDisplay()):
        logger.warning("out of %s", "reach\x1b")
        logger.error("halted")
    assert capsys.readouterr().err == "out of reach\\x1b\n"
    assert not logger.handlers


@pytest.mark.parametrize("display", [LineDisplay(), Bar("events")], ids=["lines", "bar"])
def test_a_display_that_nobody_can_see_stops_nothing(display: Display, monkeypatch: pytest.MonkeyPatch) -> None:
    with io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True) as full:
        monkeypatch.setattr(sys, "stderr", full)
        with display, WarningsHandler(display):
            display.say("hello")
            display.show(TROUBLE, 100.0)
            logging.getLogger("gameball_async").warning("out of reach")
        monkeypatch.undo()
