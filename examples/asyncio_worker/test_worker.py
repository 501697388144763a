"""The worker's tests: with a recorder instead of the client, and once with a sandbox instead of Gameball."""

from __future__ import annotations

from pathlib import Path

import pytest

from gameball_async import BufferFull, ClientClosed, JournalError
from gameball_async.sandbox import Sandbox
from gameball_async.testing import Recorder

from .worker import answer, make_gameball

ORDER = b'{"order_id": "order-1", "customer": "player123", "total": "25.00"}\n'

pytestmark = pytest.mark.asyncio


async def test_an_order_is_tracked_and_forgotten_by_the_queue(gameball_recorder: Recorder) -> None:
    assert await answer(gameball_recorder, ORDER) == b"ok\n"
    gameball_recorder.assert_tracked("player123", "place_order", exact=True, order_id="order-1", total_amount=25)


@pytest.mark.parametrize("line", [b"rubbish\n", b"{}\n", b"\n", ORDER.replace(b"player123", b"")])
async def test_what_is_no_order_is_dropped(line: bytes, gameball_recorder: Recorder) -> None:
    """It would be none the next time either."""
    assert await answer(gameball_recorder, line) == b"drop\n"
    gameball_recorder.assert_nothing_tracked()


@pytest.mark.parametrize("error", [BufferFull("no room"), JournalError("no disk")], ids=["buffer", "journal"])
async def test_an_order_that_finds_no_room_stays_in_the_queue(
    error: BufferFull | JournalError, gameball_recorder: Recorder
) -> None:
    gameball_recorder.fail(error, times=1)
    assert await answer(gameball_recorder, ORDER) == b"again\n"
    assert await answer(gameball_recorder, ORDER) == b"ok\n"


async def test_an_order_that_comes_too_late_is_not_answered(gameball_recorder: Recorder) -> None:
    """So the queue gives it to another worker."""
    await gameball_recorder.aclose()
    with pytest.raises(ClientClosed):
        await answer(gameball_recorder, ORDER)


async def test_with_a_journal_an_answered_order_is_delivered_by_the_next_worker(
    gameball_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GAMEBALL_API_KEY", "any-key")
    monkeypatch.setenv("GAMEBALL_BASE_URL", gameball_sandbox.url)
    monkeypatch.setenv("GAMEBALL_JOURNAL", str(tmp_path / "journal"))
    async with make_gameball() as first:
        assert await answer(first, ORDER) == b"ok\n"
        assert (await first.aclose(timeout=0)).kept == 1
    async with make_gameball() as second:
        await second.flush()
    assert [event.metadata["order_id"] for event in gameball_sandbox.holdings()["player123"]] == ["order-1"]
