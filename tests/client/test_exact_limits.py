"""A request of exactly `max_bytes` is sent; one byte more is refused before it is accepted."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from gameball_async import AsyncGameball, Batching, InvalidEvent

pytestmark = pytest.mark.anyio

EVENTS = {"review": {"note": "x" * 2000}, "write_review": {}}
CONTACT = {"mobile": "+10005550100", "email": "jon.snow@example.com"}


class Bodies(httpx.MockTransport):
    """Accepts every request, and keeps its body."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.all: list[bytes] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.all.append(request.content)
        return httpx.Response(200)


async def sent(calls: str, max_bytes: int, journal: Path | None) -> bytes:
    """The one request of a client with this limit."""
    bodies = Bodies()
    batching = Batching(linger=0, max_bytes=max_bytes)
    async with (
        httpx.AsyncClient(transport=bodies) as http_client,
        AsyncGameball("key", http_client=http_client, rate=None, batching=batching, journal=journal) as gameball,
    ):
        try:
            match calls:
                case "send":
                    await gameball.send("player-1", EVENTS, **CONTACT)
                case "track":
                    await (await gameball.track("player-1", "review", EVENTS["review"], **CONTACT))
                case _:
                    await gameball.track_nowait("player-1", "review", EVENTS["review"], **CONTACT)
        except InvalidEvent:
            assert gameball.stats().accepted == 0
            raise
    [body] = bodies.all
    return body


@pytest.mark.parametrize("has_journal", [False, True], ids=["memory", "journal"])
@pytest.mark.parametrize("calls", ["track", "track_nowait", "send"])
async def test_a_request_of_exactly_max_bytes_is_sent_and_one_byte_less_refuses_it(
    calls: str, *, has_journal: bool, tmp_path: Path
) -> None:
    journal = tmp_path if has_journal else None
    body = await sent(calls, 100_000, journal)

    assert await sent(calls, len(body), journal) == body
    with pytest.raises(InvalidEvent, match=rf"makes a request of {len(body):,} bytes"):
        await sent(calls, len(body) - 1, journal)
