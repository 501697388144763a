"""What is odd in a file that is read nevertheless: one warning with a count and the first line, and no player's id."""

from __future__ import annotations

import pytest

from gameball_async.cli._files import Findings
from gameball_async.cli._lines import Draft, InputRow

SPACES = "in the player's id: with and without them are two different players"
FLOAT = "a player's id that ends in .0"
EXPONENT = "different players get the same id"
SPELLING = "have a second spelling, such as full-width digits"


def messages(*players: str, event: str = "buy") -> list[str]:
    findings = Findings()
    for line, player in enumerate(players, 2):
        findings.check(InputRow(0, line, line, line - 1, b"", Draft(player, event)))
    return findings.messages(["orders.csv"])


@pytest.mark.parametrize(
    ("player", "words"),
    [
        ("17850 ", SPACES),
        (" 17850", SPACES),
        ("17850\t", SPACES),
        ("17850\u00a0", SPACES),
        ("17850\u200b", SPACES),
        ("\ufeff17850", SPACES),
        ("17 \u2009850", SPACES),
        ("jon  doe", SPACES),
        ("17850.0", FLOAT),
        ("-1.00", FLOAT),
        ("1.785E+04", EXPONENT),
        ("8,80123E+11", EXPONENT),
        ("1785\uff10", SPELLING),
        ("Zoe\u0301", SPELLING),
    ],
)
def test_an_id_that_is_probably_not_meant_is_warned_of_without_it(player: str, words: str) -> None:
    (message,) = messages("1", player, "2", player)
    assert message.startswith("Warning: orders.csv, line 3 and others: 2 rows with ")
    assert words in message
    assert player.strip() not in message or player == "17850.0"


@pytest.mark.parametrize(
    "player",
    ["17850", "jon doe", "jon@example.com", "C-17.50", "1.2.0", "v1.0", "1E5", "Zo\u00e9", "\u5c71\u7530", "0"],
)
def test_an_ordinary_id_is_not_warned_of(player: str) -> None:
    assert messages(player) == []


def test_one_row_is_one_row() -> None:
    (message,) = messages("a ")
    assert message.startswith("Warning: orders.csv, line 2: 1 row with ")


@pytest.mark.parametrize("event", [" buy", "buy\u00a0", "buy  now"])
def test_an_event_s_name_with_odd_spaces_is_warned_of(event: str) -> None:
    (message,) = messages("a", "b", event=event)
    assert message.startswith("Warning: orders.csv, line 2 and others: 2 rows with unusual spaces")
    assert "two different events to Gameball" in message
