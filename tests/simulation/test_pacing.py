"""The whole client under pressure, behind a network whose latency has a heavy tail: no window ever holds too many."""

from __future__ import annotations

import bisect
from random import Random

import anyio
import httpx
import pytest

from gameball_async import AsyncGameball, Batching

from .loops import BACKENDS, Keeper, run

PLAYERS = 1500
"""Each has one event, so that the requests fill half a minute's window, and a part of the next one."""


class Counting(httpx.AsyncBaseTransport):
    """A server that counts in sliding windows of its own, far away.

    Attributes:
        arrivals: when each request reached it.
    """

    def __init__(self, seed: int) -> None:
        self.arrivals: list[float] = []
        self._random = Random(seed)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(self._way())
        self.arrivals.append(anyio.current_time())
        await anyio.sleep(self._way())
        return httpx.Response(200, request=request)

    def _way(self) -> float:
        """Seconds there or back: mostly a few milliseconds, now and then a thousand times that."""
        return min(10.0, 0.005 * self._random.paretovariate(1.1))

    def most_in_any(self, seconds: float) -> int:
        arrivals = self.arrivals
        return max(end + 1 - bisect.bisect_right(arrivals, at - seconds) for end, at in enumerate(arrivals))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_server_never_counts_101_in_a_second_nor_1201_in_half_a_minute(backend: str, seed: int) -> None:
    server, said = Counting(seed), list[str]()
    keeper = Keeper(lambda: None, said.append)

    async def main() -> None:
        batching = Batching(linger=0, buffer_events=PLAYERS)
        async with (
            httpx.AsyncClient(transport=server, trust_env=False) as http_client,
            AsyncGameball(
                "key", base_url="http://gameball.invalid", batching=batching, http_client=http_client
            ) as client,
        ):
            for number in range(PLAYERS):
                await client.track(f"player{number}", "event")
            await client.flush()
        keeper.is_over = True

    run(main, backend, keeper, seed)
    assert said == []
    assert len(server.arrivals) == PLAYERS
    assert server.most_in_any(1.0) <= 100
    assert 0.98 * 1200 <= server.most_in_any(30.0) <= 1200
