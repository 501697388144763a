"""`relay dead`: list, show, retry and purge."""

from __future__ import annotations

import json

import psycopg
import pytest
from cli.conftest import invoke


@pytest.fixture(autouse=True)
def _letters(connection: psycopg.Connection) -> None:
    """Letters 1 to 4; the last one is of another event, kind and player, and older."""
    connection.execute(
        "INSERT INTO gameball_dead "
        "(seq, player, name, metadata, mobile, email, accepted_at, kind, error, status, code) "
        "SELECT n, 'player-1', 'review', json_build_object('n', n), '+201000000', 'a@example.com', "
        "'2026-01-31 12:00:00Z', 'Rejected', 'Gameball refused the event.', 422, 3003 FROM generate_series(1, 3) n"
    )
    connection.execute(
        "INSERT INTO gameball_dead (seq, player, name, metadata, accepted_at, kind, error, at) VALUES "
        "(4, 'player-2', 'visit', '{}', '2026-01-31 12:00:00Z', 'OutcomeUnknown', 'The answer got lost.', "
        "'2026-01-31 12:05:00Z')"
    )


def left(connection: psycopg.Connection) -> list[int]:
    return [seq for (seq,) in connection.execute("SELECT seq FROM gameball_dead ORDER BY seq")]


def test_the_list_has_one_line_for_each_and_no_personal_data() -> None:
    result = invoke("relay", "dead", "list")

    lines = result.stdout.splitlines()
    assert lines[3] == "     4  2026-01-31 12:05:00Z  unknown   visit  The answer got lost."
    assert lines[4] == "4 dead letters, 4 shown."
    for personal in ("player-", "+2010", "example.com", '"n"'):
        assert personal not in result.output


def test_the_list_can_be_filtered_and_limited() -> None:
    assert "4 dead letters, 2 shown." in invoke("relay", "dead", "list", "--name", "review", "--limit", 2).stdout
    assert "4 dead letters, 1 shown." in invoke("relay", "dead", "list", "--kind", "unknown").stdout
    assert "4 dead letters, 0 shown." in invoke("relay", "dead", "list", "--kind", "dropped").stdout
    assert "player-2" in invoke("relay", "dead", "list", "--with-players").stdout


def test_the_list_in_json_has_one_object_per_line() -> None:
    letters = [json.loads(line) for line in invoke("relay", "dead", "list", "--json").stdout.splitlines()]

    assert [letter["id"] for letter in letters] == [1, 2, 3, 4]
    assert letters[0].keys() == {
        "id", "dead_since", "accepted_at", "kind", "event", "reason", "status", "code", "may_have_arrived",
    }  # fmt: skip
    assert [letter["may_have_arrived"] for letter in letters] == [False, False, False, True]
    with_players = invoke("relay", "dead", "list", "--json", "--with-players", "--limit", 1).stdout
    assert json.loads(with_players)["player_unique_id"] == "player-1"


def test_the_list_is_read_in_pages(connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gameball_async.outbox._operations._PAGE", 2)

    assert "4 dead letters, 4 shown." in invoke("relay", "dead", "list").stdout
    assert invoke("relay", "dead", "retry", "--all").stdout == "4 dead letters moved back to the events.\n"
    assert left(connection) == []


def test_one_letter_is_shown_with_its_metadata_and_without_contacts() -> None:
    shown = invoke("relay", "dead", "show", 2).stdout

    assert 'metadata:         {"n" : 2}' in shown
    assert "player:           player-1" in shown
    assert "mobile:           ***" in shown
    assert "example.com" not in shown
    assert "email:            a@example.com" in invoke("relay", "dead", "show", 2, "--with-contacts").stdout


def test_a_retry_moves_letters_back_in_their_order_as_new_events(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO gameball_event (player, name) VALUES ('player-1', 'waiting')")

    result = invoke("relay", "dead", "retry", 3, 1)

    assert result.stdout == "2 dead letters moved back to the events.\n"
    assert left(connection) == [2, 4]
    events = connection.execute(
        "SELECT name, metadata, mobile, email, accepted_at > now() - interval '1 hour' FROM gameball_event ORDER BY seq"
    ).fetchall()
    assert events == [
        ("waiting", {}, None, None, True),
        ("review", {"n": 1}, "+201000000", "a@example.com", True),
        ("review", {"n": 3}, "+201000000", "a@example.com", True),
    ]


def test_a_purge_deletes_for_good(connection: psycopg.Connection) -> None:
    assert invoke("relay", "dead", "purge", "--older-than", "1d", "--yes").stdout == "1 dead letter deleted.\n"
    assert left(connection) == [1, 2, 3]
    assert invoke("relay", "dead", "purge", "--name", "review", "--yes").stdout == "3 dead letters deleted.\n"
    assert connection.execute("SELECT count(*) FROM gameball_event").fetchone() == (0,)


def test_a_purge_asks_first(connection: psycopg.Connection) -> None:
    result = invoke("relay", "dead", "purge", "--all")

    assert result.exit_code == 1
    assert "Delete 4 dead letters for good?" in result.stderr
    assert left(connection) == [1, 2, 3, 4]


@pytest.mark.parametrize("command", ["retry", "purge"])
def test_which_letters_are_meant_must_be_said_in_one_way(connection: psycopg.Connection, command: str) -> None:
    for arguments in ((), ("1", "--all"), ("--all", "--name", "review"), ("1", "--kind", "rejected")):
        result = invoke("relay", "dead", command, *arguments)
        assert result.exit_code == 2
        assert "and only one of these" in result.stderr
    assert left(connection) == [1, 2, 3, 4]


@pytest.mark.parametrize("command", ["show", "retry", "purge"])
def test_a_letter_that_is_not_there_is_named(connection: psycopg.Connection, command: str) -> None:
    result = invoke("relay", "dead", command, 17)

    assert result.exit_code == 2
    assert "there is no dead letter 17" in result.stderr
    assert left(connection) == [1, 2, 3, 4]
