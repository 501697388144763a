"""A relay delivers what commits in the outbox: merged, in order, once. What cannot be sent becomes a dead letter."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re

import psycopg
import pytest
import trio

from gameball_async import (
    Batching,
    ConfigurationError,
    Delivered,
    DeliveryError,
    Event,
    LifecycleError,
    ObservedClient,
    Observer,
    RateLimit,
    Retry,
)
from gameball_async.outbox import Relay, _outbox_storage
from gameball_async.outbox._port import (
    Changes,
    DatabaseUnavailable,
    Membership,
    OutboxPage,
    RelayReport,
    SealedBatch,
)
from gameball_async.outbox._postgres import PostgresOutbox
from gameball_async.outbox._relay import fair_share
from gameball_async.sandbox import Fault, Sandbox

from .postgres import PostgresServer
from .relays import append, arrived, by_player, count, duplicates, relay, running, until

pytestmark = pytest.mark.asyncio


@pytest.fixture
def dsn(relay_dsn: str) -> str:
    """The address for relays and for the transactions of applications."""
    return relay_dsn


def shop(players: int, events: int) -> list[tuple[str, str, int]]:
    """Events of many players in turn, with names that repeat after eight."""
    return [(f"player{number % players}", f"event{number // players % 8}", number) for number in range(events)]


async def test_a_backlog_is_merged_and_arrives_in_order(dsn: str, table: psycopg.Connection, sandbox: Sandbox) -> None:
    events = shop(50, 1200)  # 24 of each player, so three requests
    append(table, events)
    async with running(it := relay(dsn, sandbox)) as tasks:
        await until(lambda: not count(table, "gameball_event"), *tasks)
        assert arrived(sandbox) == by_player(events)
        assert len(sandbox.requests) == 150
        assert (it.stats().accepted, it.stats().delivered, it.stats().pending) == (1200, 1200, 0)
        assert count(table, "gameball_sent") == 0


async def test_events_that_commit_while_it_runs_are_delivered(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox
) -> None:
    async with running(it := relay(dsn, sandbox)) as tasks:
        await until(lambda: it.shards == 64, *tasks)
        for number in range(5):
            append(table, [("anna", "visit", number)])
            await until(lambda: not count(table, "gameball_event"), *tasks)
    assert arrived(sandbox) == {"anna": [("visit", number) for number in range(5)]}


async def test_a_late_commit_and_a_long_writer_hold_up_nothing(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox
) -> None:
    with psycopg.connect(dsn) as writer, psycopg.connect(dsn) as reader:
        append(writer, [("late", "visit", 1)])  # not committed yet
        reader.execute("SELECT pg_current_xact_id()")  # a transaction that holds the horizon back
        async with running(relay(dsn, sandbox)) as tasks:
            append(table, shop(10, 100))
            await until(lambda: not count(table, "gameball_event"), *tasks)
            assert arrived(sandbox) == by_player(shop(10, 100))
            append(table, shop(10, 100))
            await until(lambda: not count(table, "gameball_event"), *tasks)
            writer.commit()
            await until(lambda: "late" in arrived(sandbox), *tasks)
    assert sum(map(len, arrived(sandbox).values())) == 201


async def test_events_with_the_numbers_of_old_transactions_are_found(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a failover to a replica that lacks the last commits: the new primary uses their numbers again."""
    monkeypatch.setattr(_outbox_storage, "RESCAN", 0.5)
    async with running(relay(dsn, sandbox)) as tasks:
        append(table, [("anna", "visit", 1)])
        await until(lambda: not count(table, "gameball_event"), *tasks)
        table.execute(
            "INSERT INTO gameball_event (player, name, metadata, xid)"
            """ VALUES ('anna', 'order', '{"number": 2}', '4')"""
        )
        append(table, [("bert", "visit", 3)])
        await until(lambda: not count(table, "gameball_event"), *tasks)
    assert arrived(sandbox) == {"anna": [("visit", 1), ("order", 2)], "bert": [("visit", 3)]}


async def test_nothing_of_a_rolled_back_transaction_or_savepoint_is_sent(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox
) -> None:
    async with running(relay(dsn, sandbox)) as tasks:
        with psycopg.connect(dsn) as writer:
            append(writer, [("anna", "refused", 1)])
            writer.rollback()
            append(writer, [("anna", "order", 2)])
            with writer.transaction():
                append(writer, [("anna", "refused", 3)])
                raise psycopg.Rollback
            writer.commit()
        await until(lambda: arrived(sandbox), *tasks)
        append(table, [("anna", "review", 4)])
        await until(lambda: not count(table, "gameball_event"), *tasks)
    assert arrived(sandbox) == {"anna": [("order", 2), ("review", 4)]}


async def test_invalid_rows_of_other_programs_become_dead_letters(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[tuple[Event, DeliveryError]] = []

    def note(event: Event, error: DeliveryError) -> None:
        failures.append((event, error))

    table.execute(
        """INSERT INTO gameball_event (player, name, metadata) VALUES
        ('anna', 'array', '[1]'), ('anna', 'nested', '{"a": {"b": 1}}'), ('anna', 'boolean', '{"a": true}'),
        ('anna', 'nothing', '{"a": null}'), ('anna', 'huge', '{"a": 1e999}'), ('anna', ' ', '{}'), ('', 'nobody', '{}'),
        ('anna', 'blank key', '{" ": 1}'), ('anna', 'surrogate', '{"a": "\\ud800"}'), ('anna', 'large', '{"a": "%s"}')
        """.replace("%s", "x" * 10_000).encode()
    )
    append(table, [("anna", "order", 1)])
    small = Batching(linger=0.01, max_bytes=10_000)
    async with running(relay(dsn, sandbox, batching=small, on_failure=note)) as tasks:
        await until(lambda: not count(table, "gameball_event"), *tasks)
    assert arrived(sandbox) == {"anna": [("order", 1)]}
    assert count(table, "gameball_dead") == len(failures) == 10
    kinds = {row[0] for row in table.execute("SELECT kind FROM gameball_dead")}
    assert kinds == {"Dropped"}
    assert "anna" not in caplog.text


async def test_a_refused_event_is_isolated_and_becomes_a_dead_letter(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox
) -> None:
    sandbox.script(Fault.status(400, events="event3"))
    events = shop(1, 8)
    append(table, events)
    async with running(it := relay(dsn, sandbox)) as tasks:
        await until(lambda: not count(table, "gameball_event"), *tasks)
        assert it.stats().rejected == 1
    assert arrived(sandbox) == by_player(event for event in events if event[1] != "event3")
    dead = table.execute("SELECT player, name, metadata, kind, status FROM gameball_dead").fetchall()
    assert dead == [("player0", "event3", {"number": 3}, "Rejected", 400)]
    assert count(table, "gameball_sent") == 0


async def test_what_is_too_old_is_given_up_from_the_time_of_its_insertion(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox
) -> None:
    sandbox.script(Fault.status(503, players="anna"))
    append(table, [("anna", "old", 1)])
    table.execute("UPDATE gameball_event SET accepted_at = accepted_at - interval '2 days'")
    async with running(relay(dsn, sandbox, retry=Retry(initial=0.02, maximum=0.2, give_up_after=86_400))) as tasks:
        await until(lambda: count(table, "gameball_dead"), *tasks)
    assert table.execute("SELECT kind FROM gameball_dead").fetchall() == [("Dropped",)]


async def test_relays_share_the_shards_and_give_them_back(
    dsn: str, sandbox: Sandbox, table: psycopg.Connection
) -> None:
    first, second, third = (relay(dsn, sandbox, name=name) for name in ("first", "second", "third"))
    async with running(first) as tasks:
        await until(lambda: first.shards == 64, *tasks)
        async with running(second, third) as others:
            await until(lambda: sorted(it.shards for it in (first, second, third)) == [20, 22, 22], *tasks, *others)
            events = shop(40, 400)
            append(table, events)
            await until(lambda: not count(table, "gameball_event"), *tasks, *others)
            assert duplicates(sandbox, events) == set()
            assert all(it.stats().delivered for it in (first, second, third))
        await until(lambda: first.shards == 64, *tasks)
    assert count(table, "gameball_shard WHERE relay IS NOT NULL") == 0
    assert count(table, "gameball_relay WHERE NOT dead") == 0


async def test_a_relay_that_the_others_have_declared_dead_starts_over(
    dsn: str, sandbox: Sandbox, table: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(it := relay(dsn, sandbox)) as tasks:
        await until(lambda: it.shards == 64, *tasks)
        table.execute("UPDATE gameball_relay SET dead = true")
        append(table, shop(5, 10))
        await until(lambda: not count(table, "gameball_event"), *tasks)
    assert duplicates(sandbox, shop(5, 10)) == set()
    lines = [record for record in caplog.records if getattr(record, "gameball_cause", None) == "lease lost"]
    assert [record.levelno for record in lines] == [logging.WARNING]


class CountingObserver(Observer):
    """Notes what it is called for, and raises at the start and the end."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.clients: set[int] = set()

    def on_start(self, client: ObservedClient) -> None:
        self._note("start", client)
        raise ZeroDivisionError

    def on_settled(self, client: ObservedClient, events: int, outcome: Delivered | DeliveryError) -> None:  # noqa: ARG002
        self._note(f"settled {events}", client)

    def on_close(self, client: ObservedClient) -> None:
        self._note(f"close {client.stats().delivered}", client)
        raise ZeroDivisionError

    def _note(self, call: str, client: ObservedClient) -> None:
        self.calls.append(call)
        self.clients.add(id(client))


async def test_an_observer_sees_one_client_however_often_the_relay_starts_over(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox
) -> None:
    observer = CountingObserver()
    async with running(it := relay(dsn, sandbox, observer=observer)) as tasks:
        for number in range(2):
            append(table, [("anna", "visit", number)])
            await until(lambda: not count(table, "gameball_event"), *tasks)
            table.execute("UPDATE gameball_relay SET dead = true")
        await until(lambda: it.shards == 64, *tasks)
    assert observer.calls == ["start", "settled 1", "settled 1", "close 2"]
    assert len(observer.clients) == 1


class Unrenewable(PostgresOutbox):
    """A database that fails at each renewal of a lease."""

    async def renew(self, relay: int, lease: float, report: RelayReport) -> Membership | None:  # noqa: ARG002
        raise DatabaseUnavailable("it has gone")


async def test_stop_ends_a_relay_whose_database_has_gone_after_the_registration(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox
) -> None:
    async with running(relay(Unrenewable(dsn, timeout=1), sandbox)) as tasks:
        await until(lambda: count(table, "gameball_relay"), *tasks)
    assert count(table, "gameball_relay WHERE NOT dead") == 0


async def test_a_relay_runs_once(dsn: str, sandbox: Sandbox) -> None:
    async with running(it := relay(dsn, sandbox)) as tasks:
        await until(lambda: it.is_ready, *tasks)
        with pytest.raises(LifecycleError, match="make a new one"):
            await it.run()
    with pytest.raises(LifecycleError, match="make a new one"):
        await it.run()


async def test_a_relay_under_trio_names_asyncio(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigurationError, match=re.escape("asyncio.run()")):
        await asyncio.to_thread(trio.run, relay("postgresql:///x", sandbox).run)


async def test_a_database_without_the_tables_is_named(empty_database: str, postgres: PostgresServer) -> None:
    with pytest.raises(ConfigurationError, match="relay schema"):
        await Relay(postgres.dsn(empty_database), "test-key").run()


@pytest.mark.parametrize("dsn", ["postgresql://user:secret@host:port:5/x y z'", "host='a"])
async def test_an_address_that_cannot_be_read_is_refused_and_not_shown(dsn: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Relay(dsn, "test-key")
    assert "secret" not in str(raised.value)


async def test_a_relay_that_is_switched_off_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_ENABLED", "0")
    with pytest.raises(ConfigurationError, match="GAMEBALL_ENABLED"):
        Relay("postgresql:///x", "test-key")


@pytest.mark.parametrize("lease", [0, 0.5, -1, math.inf, math.nan, True])
async def test_a_lease_that_cannot_work_is_refused(lease: float) -> None:
    with pytest.raises(ConfigurationError, match="lease"):
        Relay("postgresql:///x", "test-key", lease=lease)


async def test_stop_may_be_called_by_a_signal_handler_of_the_loop(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox
) -> None:
    it = relay(dsn, sandbox)
    task = asyncio.create_task(it.run())
    await until(lambda: it.shards == 64, task)
    errors: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    loop.call_soon(it.stop)  # a callback is no task, as the handler of `add_signal_handler`
    await task
    assert not errors
    assert not count(table, "gameball_event")
    assert not table.execute("SELECT FROM gameball_shard WHERE relay IS NOT NULL").fetchall()


async def test_a_page_holds_nothing_whose_predecessor_may_have_committed_behind_the_page_before(
    dsn: str, table: psycopg.Connection
) -> None:
    outbox = PostgresOutbox(dsn, timeout=60)
    append(table, [("other", "visit", 0)])
    shard = shard_of(table, "anna")
    nothing = await outbox.tail(range(64), (await outbox.scan(shard, ("", 0), 9, None)).snapshot, 0, 9, None)
    with psycopg.connect(dsn) as late:
        append(late, [("anna", "visit", 1)])
        append(table, [("anna", "visit", 2), ("anna", "visit", 3)])
        scanned = await outbox.scan(shard, ("", 0), 1, None)
        tailed = await outbox.tail(range(64), nothing.snapshot, 0, 1, None)
        late.commit()
    append(table, [("anna", "visit", 4)])
    # visit 1 has committed behind the first pages, and so they do not go on to visit 4
    assert not nothing.rows
    assert numbers(scanned) == numbers(tailed) == [2]
    for page, rest in (
        (scanned, await outbox.scan(shard, ("anna", scanned.rows[0].seq), 9, scanned.snapshot)),
        (tailed, await outbox.tail(range(64), nothing.snapshot, tailed.rows[0].seq, 9, tailed.snapshot)),
    ):
        assert numbers(rest) == [3]
        assert numbers(await outbox.tail(range(64), page.snapshot, 0, 9, None)) == [1, 4]
    await outbox.close()


async def test_a_late_group_of_changes_neither_removes_nor_replaces_a_later_seal(
    dsn: str, table: psycopg.Connection
) -> None:
    outbox = PostgresOutbox(dsn, timeout=60)
    me, other = [await outbox.register(name, 60) for name in ("me", "other")]
    (shard,) = await outbox.claim(me, 1, 0)
    whole, half = (SealedBatch(shard, "anna", seqs, None, None) for seqs in ((1, 2), (1,)))

    async def write(relay: int, number: int, seal: SealedBatch | None = None) -> list[int]:
        changes = Changes(unseals={(shard, 1)}) if seal is None else Changes(seals={(shard, 1): seal})
        assert await outbox.write(relay, number, changes)
        return [seq for (seqs,) in table.execute("SELECT seqs FROM gameball_sent") for seq in seqs]

    assert await write(me, 1, whole) == [1, 2]
    assert await write(me, 2) == []
    assert await write(me, 2) == []  # a repetition
    assert await write(me, 3, half) == [1]
    assert await write(me, 1, whole) == [1]  # late
    assert await write(me, 2) == [1]  # late
    assert await write(other, 9) == [1]  # of a former owner
    await outbox.release(me, [shard], 0)
    assert len(await outbox.claim(other, 64, 0)) == 64
    assert await write(me, 2) == [1]
    assert await write(other, 1) == []  # the new owner has restored the batch
    await outbox.close()


def numbers(page: OutboxPage) -> list[int]:
    return [json.loads(row.metadata)["number"] for row in page.rows]


def shard_of(table: psycopg.Connection, player: str) -> int:
    row = table.execute("SELECT hashtextextended(%s, 0) & 63", (player,)).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("fewest", [1, 2, 3, 5, 8, 40, 64, 100])
@pytest.mark.parametrize("relays", [1, 2, 3, 4, 7, 10, 33, 64, 100])
async def test_each_relay_that_owns_shards_has_a_request_in_each_window(relays: int, fewest: int) -> None:
    share = fair_share(relays, fewest)
    owners, rest = divmod(64, share)
    smallest = rest or share
    assert fewest * smallest // 64 >= 1
    assert owners + (rest > 0) <= relays
    if fewest >= 64:
        assert share == -(-64 // relays)  # no relay stands by without need


async def test_relays_stand_by_that_would_have_no_request_in_a_window(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox
) -> None:
    relays = [relay(dsn, sandbox, rate=RateLimit(per_second=1), name=name) for name in ("one", "another")]
    async with running(*relays) as tasks:
        await until(lambda: any(each.shards == 64 for each in relays), *tasks)
        append(table, [("anna", "visit", 1)])
        await until(lambda: not count(table, "gameball_event"), *tasks)
    assert arrived(sandbox) == {"anna": [("visit", 1)]}


async def test_stop_before_the_database_answers_ends_the_run(sandbox: Sandbox) -> None:
    async with running(it := relay("postgresql://user@127.0.0.1:1/x", sandbox)):
        assert not it.is_ready
