"""A worker whom Ctrl-C strikes while the client's own task is at work, in the midst of a request."""

from __future__ import annotations

import signal

import anyio
import httpx

from . import book


class Striker(httpx.AsyncHTTPTransport):
    """Interrupts the process once, after its fifth request."""

    requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        self.requests += 1
        if self.requests == 5:
            signal.raise_signal(signal.SIGINT)
        return response


async def main() -> None:
    async with httpx.AsyncClient(transport=Striker(), trust_env=False) as http_client:
        gameball = book.client(http_client)
        try:
            async with gameball:
                for number in range(300):
                    await gameball.track(f"player{number % 30}", *book.event(number))
                    book.accepted(f"player{number % 30}", number)
                await anyio.sleep_forever()
        finally:
            book.closed(await gameball.aclose(book.CLOSE_TIMEOUT), gameball.stats())


book.run(main)
