"""The metrics: what a reader collects is what `stats()` says, for one client and for several, and after the close."""

from __future__ import annotations

import gc
import threading
import weakref

import anyio
import anyio.to_thread
import pytest
from sniffio import current_async_library

from gameball_async import Batching, ClientHalted, ConfigurationError, Retry
from gameball_async._core import pacing
from gameball_async.integrations.otel import OpenTelemetry
from gameball_async.sandbox import Fault, Sandbox

from .support import Meters, client, until

pytestmark = pytest.mark.anyio

COUNTERS = {
    "gameball.client.accepted.events": "accepted",
    "gameball.client.delivered.events": "delivered",
    "gameball.client.rejected.events": "rejected",
    "gameball.client.dropped.events": "dropped",
    "gameball.client.filtered.events": "filtered",
    "gameball.client.invalid.events": "invalid",
    "gameball.client.unknown.events": "unknown",
    "gameball.client.requests": "requests",
    "gameball.client.retries": "retries",
    "gameball.client.ambiguous.requests": "ambiguous",
    "gameball.client.unconfirmed.events": "unconfirmed",
    "gameball.client.accepted.jobs": "jobs_accepted",
    "gameball.client.polls": "polls",
}
LEVELS = {
    "gameball.client.buffered.events": "buffered_events",
    "gameball.client.buffered.size": "buffered_bytes",
    "gameball.client.journaled.events": "journaled_events",
    "gameball.client.journal.size": "journal_bytes",
    "gameball.client.in_flight.requests": "in_flight",
    "gameball.client.unfinished.jobs": "jobs",
    "gameball.client.bulk": "bulk",
}
PUSHED = {
    "gameball.client.request.events",
    "messaging.client.operation.duration",
    "messaging.client.sent.messages",
}


# ---------------------------------------------------------------- one client


async def test_counts_and_levels_are_those_of_stats(sandbox: Sandbox, meters: Meters) -> None:
    sandbox.script(
        Fault.status(422, code=3003, events={"bad"}), Fault.reset_after(times=1), Fault.hang(players={"stuck"})
    )
    observer = OpenTelemetry(meter_provider=meters.provider)
    async with client(sandbox, observer, retry=Retry(ambiguous="report")) as gameball:
        for number in range(20):
            await gameball.track(f"player{number}", "bad" if number == 7 else "event")
        await until(lambda: gameball.stats().pending == 0)
        await gameball.track("stuck", "event")
        await until(lambda: gameball.stats().in_flight)
        stats = gameball.stats()
        assert (stats.unknown, stats.rejected, stats.delivered, stats.buffered_events) == (1, 1, 18, 1)
        for name, field in (COUNTERS | LEVELS).items():
            assert meters.number(name) == getattr(stats, field), name
        assert 0 < meters.number("gameball.client.oldest.age") < 30
        await gameball.aclose(timeout=0)


async def test_with_a_journal_its_size_and_what_lies_in_it_alone_are_told(
    sandbox: Sandbox, meters: Meters, tmp_path: object
) -> None:
    sandbox.stop()
    observer = OpenTelemetry(meter_provider=meters.provider)
    batching = Batching(linger=0, buffer_events=5)
    async with client(sandbox, observer, journal=tmp_path, batching=batching) as gameball:
        for number in range(20):
            await gameball.track("player123", f"event{number}")
        await until(lambda: gameball.stats().buffered_events)
        assert meters.number("gameball.client.journaled.events") == gameball.stats().journaled_events > 0
        assert meters.number("gameball.client.journal.size") > 0
        assert meters.number("gameball.client.accepted.events") == 20
        await gameball.aclose(timeout=0)


async def test_a_request_is_measured_with_its_duration_and_its_events(sandbox: Sandbox, meters: Meters) -> None:
    sandbox.script(Fault.status(503, times=1))
    async with client(sandbox, OpenTelemetry(meter_provider=meters.provider)) as gameball:
        await gameball.send("player123", {"place_order": None, "review": None})
    port = int(sandbox.url.rpartition(":")[2])
    server = {"server.address": "127.0.0.1", "server.port": port}
    operation = {
        **server,
        "messaging.system": "gameball",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    durations = meters.histograms("messaging.client.operation.duration")
    assert [dict(point.attributes or {}) for point in durations] == [{**operation, "error.type": "503"}, operation]
    assert [point.count for point in durations] == [1, 1]
    assert all(0 < point.sum < 30 for point in durations)
    assert durations[0].explicit_bounds == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    sizes = meters.histograms("gameball.client.request.events")
    assert [(dict(point.attributes or {}), point.sum) for point in sizes] == [
        ({**server, "error.type": "503"}, 2),
        (server, 2),
    ]
    assert [point.value for point in meters.numbers("messaging.client.sent.messages")] == [2, 2]


ERRORS = {
    "422": Fault.status(422, code=3003, times=1),
    "429": Fault.status(429, retry_after=0, times=1),
    "ambiguous": Fault.reset_before(times=1),
    "interrupted": Fault.hang(),
}


@pytest.mark.parametrize("error", ERRORS)
async def test_a_failed_request_has_its_status_as_its_error_or_its_verdict(
    error: str, sandbox: Sandbox, meters: Meters
) -> None:
    sandbox.script(ERRORS[error])
    async with client(sandbox, OpenTelemetry(meter_provider=meters.provider)) as gameball:
        await gameball.track("player123", "event")
        await until(lambda: gameball.stats().requests)
        await gameball.aclose(timeout=0 if error == "interrupted" else 5)
    told = [dict(point.attributes or {}) for point in meters.histograms("messaging.client.operation.duration")]
    assert {str(attributes["error.type"]) for attributes in told if "error.type" in attributes} == {error}


async def test_pauses_are_counted_and_shown_while_they_last(
    sandbox: Sandbox, meters: Meters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "HALT_PROBE_INTERVAL", 0.01)
    sandbox.script(Fault.status(401))
    async with client(sandbox, OpenTelemetry(meter_provider=meters.provider)) as gameball:
        assert paused(meters) == {"requested": 0, "outage": 0, "halt": 0}
        await gameball.track("player123", "event")
        with pytest.raises(ClientHalted):
            await gameball.flush()
        assert paused(meters) == {"requested": 0, "outage": 0, "halt": 1}
        sandbox.script()
        await until(lambda: not gameball.stats().halted)
        assert paused(meters) == {"requested": 0, "outage": 0, "halt": 0}
    (pauses,) = meters.numbers("gameball.client.pauses")
    assert (pauses.value, (pauses.attributes or {})["gameball.pause.reason"]) == (1, "halt")


def paused(meters: Meters) -> dict[str, float]:
    return {
        str((point.attributes or {})["gameball.pause.reason"]): point.value
        for point in meters.numbers("gameball.client.paused")
    }


# ---------------------------------------------------------------- several clients, closed clients


async def test_clients_with_the_same_attributes_are_added(sandbox: Sandbox, meters: Meters) -> None:
    """Whether they share an observer or not: an SDK makes each instrument once."""
    first, second = (OpenTelemetry(meter_provider=meters.provider) for _ in range(2))
    async with client(sandbox, first) as one, client(sandbox, second) as two, client(sandbox, first) as three:
        for number, gameball in enumerate((one, two, three)):
            await gameball.send(f"player{number}", {"event": None})
        assert meters.number("gameball.client.delivered.events") == 3
        await two.aclose()
        assert meters.number("gameball.client.delivered.events") == 3


async def test_attributes_tell_clients_apart(sandbox: Sandbox, meters: Meters) -> None:
    named = {
        name: OpenTelemetry(meter_provider=meters.provider, attributes={"shop": name}) for name in ("main", "outlet")
    }
    async with client(sandbox, named["main"]) as main, client(sandbox, named["outlet"]) as outlet:
        await main.send("player123", {"a": None})
        await outlet.send("player123", {"b": None, "c": None})
    counted = {
        str((point.attributes or {})["shop"]): point.value
        for point in meters.numbers("gameball.client.delivered.events")
    }
    assert counted == {"main": 1, "outlet": 2}
    told = [dict(point.attributes or {}) for point in meters.histograms("messaging.client.operation.duration")]
    assert sorted(str(attributes["shop"]) for attributes in told) == ["main", "outlet"]


async def test_what_a_closed_client_has_counted_is_told_and_its_levels_are_zero(
    sandbox: Sandbox, meters: Meters
) -> None:
    """Also if no reader has ever asked while it lived."""
    observer = OpenTelemetry(meter_provider=meters.provider)
    sandbox.script(Fault.hang(players={"stuck"}))
    for _ in range(3):
        async with client(sandbox, observer) as gameball:
            await gameball.send("player123", {"event": None})
            await gameball.track("stuck", "event")
            await gameball.aclose(timeout=0)
    assert meters.number("gameball.client.accepted.events") == 6
    assert meters.number("gameball.client.delivered.events") == 3
    assert meters.number("gameball.client.dropped.events") + meters.number("gameball.client.unknown.events") == 3
    for name in (*LEVELS, "gameball.client.oldest.age"):
        assert meters.number(name) == 0


async def test_a_closed_client_is_not_kept_alive(sandbox: Sandbox, meters: Meters) -> None:
    observer = OpenTelemetry(meter_provider=meters.provider)
    async with client(sandbox, observer) as gameball:
        await gameball.send("player123", {"event": None})
        engine = weakref.ref(gameball._lifecycle)
    gone = weakref.ref(gameball)
    del gameball
    gc.collect()
    assert (gone(), engine()) == (None, None)
    assert meters.number("gameball.client.delivered.events") == 1


async def test_a_client_that_is_forgotten_still_warns_and_leaves_its_counts(sandbox: Sandbox, meters: Meters) -> None:
    async def live() -> None:
        gameball = client(sandbox, OpenTelemetry(meter_provider=meters.provider), batching=Batching(linger=60))

        async def track_in_a_loop_that_ends() -> None:
            await gameball.start()
            await gameball.track("player123", "event")

        backend = current_async_library()
        await anyio.to_thread.run_sync(lambda: anyio.run(track_in_a_loop_that_ends, backend=backend))
        assert meters.number("gameball.client.accepted.events") == 1
        assert meters.number("gameball.client.buffered.events") == 1

    async def live_and_be_forgotten() -> None:
        await live()
        gc.collect()  # the cancellation's traceback knows it

    with pytest.warns(ResourceWarning, match="1 event has no outcome"):
        await live_and_be_forgotten()
    gc.collect()  # the warning knows it
    assert meters.number("gameball.client.accepted.events") == 1
    assert meters.number("gameball.client.buffered.events") == 0


async def test_a_provider_is_not_kept_alive(sandbox: Sandbox) -> None:
    meters = Meters()
    async with client(sandbox, OpenTelemetry(meter_provider=meters.provider)) as gameball:
        await gameball.send("player123", {"event": None})
    meters.provider.shutdown()
    gone = weakref.ref(meters.provider)
    del meters, gameball
    gc.collect()
    assert gone() is None


async def test_no_count_falls_while_readers_collect_from_other_threads(sandbox: Sandbox, meters: Meters) -> None:
    done, falls = threading.Event(), list[tuple[float, float]]()

    def read() -> None:
        latest = 0.0
        while not done.is_set():
            if (now := meters.number("gameball.client.accepted.events")) < latest:
                falls.append((latest, now))
            latest = now

    async with client(sandbox, OpenTelemetry(meter_provider=meters.provider)) as gameball:
        reader = threading.Thread(target=read)
        reader.start()
        try:
            for number in range(100):
                await gameball.track(f"player{number % 20}", "event")
                if number % 20 == 0:
                    await gameball.flush()
        finally:
            done.set()
            reader.join()
    assert falls == []
    assert meters.number("gameball.client.accepted.events") == 100


async def test_an_attribute_that_cannot_be_one_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="'shops' is of type list: use a string"):
        OpenTelemetry(attributes={"shops": ["main"]})  # type: ignore[dict-item] # pyright: ignore[reportArgumentType] the mistake
    with pytest.raises(ConfigurationError, match="the attribute name 7 is not a string: use a string"):
        OpenTelemetry(attributes={7: "main"})  # type: ignore[dict-item] # pyright: ignore[reportArgumentType] the mistake


async def test_a_provider_that_does_nothing_harms_nothing(sandbox: Sandbox) -> None:
    async with client(sandbox, OpenTelemetry()) as gameball:  # nobody has set a global one
        await gameball.send("player123", {"event": None})
        assert gameball.stats().delivered == 1


# ---------------------------------------------------------------- the documentation's names


async def test_every_metric_has_a_unit_and_a_description_and_is_in_the_namespace(
    sandbox: Sandbox, meters: Meters
) -> None:
    sandbox.script(Fault.status(429, retry_after=0, times=1))
    async with client(sandbox, OpenTelemetry(meter_provider=meters.provider)) as gameball:
        await gameball.send("player123", {"event": None})
    collected = meters.collect()
    assert collected.keys() == {
        *COUNTERS,
        *LEVELS,
        *PUSHED,
        "gameball.client.oldest.age",
        "gameball.client.paused",
        "gameball.client.pauses",
    }
    for metric in collected.values():
        assert metric.unit
        assert (metric.description or "").endswith(".")
