"""A shop's backend with FastAPI: the client lives in the lifespan, and handlers track."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException

from gameball_async import AsyncGameball, DeliveryError, LifecycleError

from . import book


def make_app(make_client: Callable[[], AsyncGameball]) -> FastAPI:
    """The app, with three ways to track an event."""
    clients: list[AsyncGameball] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        gameball = make_client()
        clients.append(gameball)
        await gameball.start()
        try:
            yield
        finally:
            book.closed(await gameball.aclose(book.CLOSE_TIMEOUT), gameball.stats())

    async def track(player: str, number: int) -> None:
        try:
            await clients[0].track(player, *book.event(number))
        except LifecycleError as error:
            raise HTTPException(503) from error
        book.accepted(player, number)

    def track_in_a_thread(player: str, number: int) -> None:
        try:
            clients[0].track_threadsafe(player, *book.event(number))
        except LifecycleError as error:
            raise HTTPException(503) from error
        book.accepted(player, number)

    async def track_and_wait(player: str, number: int) -> None:
        receipt = await clients[0].track(player, *book.event(number))
        book.accepted(player, number)
        try:
            await receipt
        except DeliveryError as error:
            raise HTTPException(502) from error

    app = FastAPI(lifespan=lifespan)
    app.post("/track/{player}/{number}")(track)
    app.post("/plain/{player}/{number}")(track_in_a_thread)
    app.post("/wait/{player}/{number}")(track_and_wait)
    return app


app = make_app(book.client)
