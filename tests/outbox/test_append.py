"""Events appended in the application's transaction, with every driver, as a role that may do nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from gameball_async import Conversion, InvalidEvent
from gameball_async.outbox import OutboxEvent, grants

from .applications import APPLICATIONS, Application
from .postgres import PostgresServer

INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "no player": ({"player_unique_id": None}, "do not track guests"),
    "a blank player": ({"player_unique_id": " \u200b"}, "player_unique_id is blank"),
    "a long player": ({"player_unique_id": "é" * 257}, "has 514 bytes, the outbox takes 512"),
    "NUL in the player": ({"player_unique_id": "player\0"}, "player_unique_id holds a NUL character"),
    "a lone surrogate in the player": ({"player_unique_id": "player\ud800"}, "player_unique_id holds a lone surrogate"),
    "no name": ({"name": ""}, "the event's name is an empty string"),
    "NUL in the name": ({"name": "place\0order"}, r"event 'place\\x00order': name holds a NUL character"),
    "a lone surrogate in the name": ({"name": "review\udfff"}, "lone surrogate"),
    "NUL in the mobile number": ({"mobile": "+1\0"}, "mobile holds a NUL character"),
    "NUL in the address": ({"email": "a\0@example.com"}, "email holds a NUL character"),
    "a lone surrogate in the address": ({"email": "\ud800@example.com"}, "lone surrogate"),
    "NaN": ({"metadata": {"total": float("nan")}}, "key 'total'"),
    "None": ({"metadata": {"total": None}}, "key 'total'"),
    "a nested dict": ({"metadata": {"items": {"sku": 1}}}, "key 'items'"),
    "a large int": ({"metadata": {"total": 2**63}}, "key 'total'"),
    "a lone surrogate in a value": ({"metadata": {"note": "\ud800"}}, "key 'note'"),
    "a blank key": ({"metadata": {" ": 1}}, "metadata key is blank"),
    "metadata of another type": ({"metadata": 5}, "metadata is an int"),
    "a large event": ({"metadata": {"note": "x" * 270_000}}, "makes a request of 270,0.. bytes, more than the 262,144"),
}
"""Arguments that `track` or PostgreSQL refuses, and a part of the message."""


class OrderCancelled(Exception):
    """What an application raises to roll back."""


@pytest.fixture
def role(postgres: PostgresServer, database: str) -> Iterator[str]:
    """A role that has an application's privileges on the outbox, and all on its own orders."""
    name = f"{database}_shop"
    postgres.execute("CREATE ROLE {} LOGIN", name)
    with postgres.connect(database) as connection:
        connection.execute("CREATE TABLE shop_order (number int PRIMARY KEY)")
        connection.execute(f'GRANT ALL ON shop_order TO "{name}"'.encode())
        connection.execute(grants(application=name).encode())
    yield name
    with postgres.connect(database) as connection:
        connection.execute(f'DROP OWNED BY "{name}"'.encode())
    postgres.execute("DROP ROLE {}", name)


@pytest.fixture(params=APPLICATIONS)
def application(
    request: pytest.FixtureRequest,
    postgres: PostgresServer,
    database: str,
    role: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Application]:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "examples.django_shop.settings")
    connect = APPLICATIONS[request.param]
    with connect(lambda driver: postgres.dsn(database, role, driver=driver)) as application:
        yield application


@pytest.fixture
def observer(postgres: PostgresServer, database: str) -> Iterator[psycopg.Connection]:
    """A connection that sees what was committed."""
    with postgres.connect(database) as connection:
        yield connection


def rows(observer: psycopg.Connection) -> list[tuple[Any, ...]]:
    """The events in the order of their seqs, with the metadata exactly as it was written."""
    query = "SELECT player, name, metadata::text, mobile, email FROM gameball_event ORDER BY seq"
    return observer.execute(query).fetchall()


def orders(observer: psycopg.Connection) -> list[int]:
    return [number for (number,) in observer.execute("SELECT number FROM shop_order ORDER BY number")]


# ---------------------------------------------------------------- transactions


def test_an_event_commits_with_the_order(application: Application, observer: psycopg.Connection) -> None:
    with application.transaction():
        application.place_order(1)
        application.event("player123", "place_order", {"total_amount": Decimal("100.10")}, email="a@example.com")
        assert rows(observer) == []

    assert orders(observer) == [1]
    assert rows(observer) == [("player123", "place_order", '{"total_amount":100.10}', None, "a@example.com")]


def test_an_event_is_rolled_back_with_the_order(application: Application, observer: psycopg.Connection) -> None:
    with suppress(OrderCancelled), application.transaction():
        application.place_order(1)
        application.event("player123", "place_order")
        application.events([OutboxEvent("player123", "review")])
        raise OrderCancelled

    assert orders(observer) == []
    assert rows(observer) == []


def test_a_savepoint_takes_back_what_came_after_it(application: Application, observer: psycopg.Connection) -> None:
    with application.transaction():
        application.event("player123", "first")
        with suppress(OrderCancelled), application.savepoint():
            application.place_order(1)
            application.event("player123", "second")
            raise OrderCancelled
        application.event("player123", "third")

    assert orders(observer) == []
    assert [name for _, name, *_ in rows(observer)] == ["first", "third"]


def test_two_transactions_of_a_session_are_two(application: Application, observer: psycopg.Connection) -> None:
    for name in ("first", "second"):
        with application.transaction():
            application.event("player123", name)

    assert [name for _, name, *_ in rows(observer)] == ["first", "second"]
    assert observer.execute("SELECT count(DISTINCT xid) FROM gameball_event").fetchone() == (2,)


# ---------------------------------------------------------------- many events

VARIED = [
    OutboxEvent(f"player{number % 7}", f"event{number}", {"number": number}, mobile=mobile, email=email)
    for number, (mobile, email) in enumerate(
        [(None, None), ("+201", None), (None, "a@example.com"), ("+2", "b@c.d")] * 50
    )
]


def test_many_events_keep_their_order(application: Application, observer: psycopg.Connection) -> None:
    with application.transaction():
        application.events(VARIED)

    assert rows(observer) == [event.row for event in VARIED]


def test_many_events_without_any_contact_are_stored(application: Application, observer: psycopg.Connection) -> None:
    with application.transaction():
        application.events([OutboxEvent("player123", "review", {"rating": 5})])

    assert rows(observer) == [("player123", "review", '{"rating":5}', None, None)]


def test_no_events_are_none(application: Application, observer: psycopg.Connection) -> None:
    with application.transaction():
        application.events([])

    assert rows(observer) == []


# ---------------------------------------------------------------- what is stored

TRICKY = r"""%s %(a)s $1 :name ::text {0} ? ' " \ \\ ''; -- $$ é€🎁""" + "\n\t\x01\x7f"


def test_texts_and_numbers_are_stored_exactly(application: Application, observer: psycopg.Connection) -> None:
    metadata: dict[str, Any] = {
        TRICKY: TRICKY,
        "nul": "\0",
        "z": Decimal("0.10"),
        "a": 2**63 - 1,
        "list": [1.0, "{1,2}", "NULL"],
    }
    event = OutboxEvent(TRICKY, TRICKY, metadata, mobile=TRICKY, email=TRICKY)
    with application.transaction():
        application.event(TRICKY, TRICKY, metadata, mobile=TRICKY, email=TRICKY)
        application.events([event, event])

    assert rows(observer) == [event.row] * 3
    assert event.row[0] == TRICKY
    assert event.row[2].endswith(r'"nul":"\u0000","z":0.10,"a":9223372036854775807,"list":[1.0,"{1,2}","NULL"]}')


def test_the_longest_player_and_the_largest_event_are_stored(
    application: Application, observer: psycopg.Connection
) -> None:
    player = "🎁" * 128
    with application.transaction():
        application.event(player, "n" * 3000, {"note": "x" * 258_000})

    ((stored, name, metadata, *_),) = rows(observer)
    assert (stored, len(name), len(metadata)) == (player, 3000, 258_000 + len('{"note":""}'))


def test_a_conversion_is_applied(application: Application, observer: psycopg.Connection) -> None:
    conversion = Conversion(booleans="0/1", none="omit")
    with application.transaction():
        application.event("player123", "review", {"verified": True, "rating": None}, conversion=conversion)

    assert rows(observer) == [("player123", "review", '{"verified":1}', None, None)]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(("change", "message"), INVALID.values(), ids=INVALID)
def test_an_invalid_event_is_refused_with_a_remedy(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"player_unique_id": "tops3cret", "name": "review", "email": "tops3cret@b.c"} | change
    with pytest.raises(InvalidEvent, match=message) as caught:
        OutboxEvent(**arguments)
    assert "tops3cret" not in str(caught.value)


def test_an_invalid_event_leaves_the_transaction_usable(application: Application, observer: psycopg.Connection) -> None:
    with application.transaction():
        application.place_order(1)
        for change, _ in INVALID.values():
            arguments: dict[str, Any] = {"player_unique_id": "player123", "name": "review"} | change
            with pytest.raises(InvalidEvent):
                application.event(arguments.pop("player_unique_id"), arguments.pop("name"), **arguments)
        application.event("player123", "place_order")

    assert orders(observer) == [1]
    assert [name for _, name, *_ in rows(observer)] == ["place_order"]


def test_the_repr_of_an_event_shows_its_name_alone() -> None:
    event = OutboxEvent("player123", "review", {"rating": 5}, mobile="+201", email="a@example.com")
    assert repr(event) == "OutboxEvent(name='review')"
