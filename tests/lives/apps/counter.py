"""A backend with aiohttp: the client lives by signals, or in a cleanup context."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

from aiohttp import web

from gameball_async import AsyncGameball

from . import book

GAMEBALL = web.AppKey("gameball", AsyncGameball)


async def start(app: web.Application) -> None:
    app[GAMEBALL] = book.client()
    await app[GAMEBALL].start()


async def close(app: web.Application) -> None:
    gameball = app[GAMEBALL]
    book.closed(await gameball.aclose(book.CLOSE_TIMEOUT), gameball.stats())


async def live(app: web.Application) -> AsyncIterator[None]:
    await start(app)
    yield
    await close(app)


async def track(request: web.Request) -> web.Response:
    player, number = request.match_info["player"], int(request.match_info["number"])
    await request.app[GAMEBALL].track(player, *book.event(number))
    book.accepted(player, number)
    return web.Response()


def main(style: str) -> None:
    app = web.Application()
    app.router.add_post("/track/{player}/{number}", track)
    if style == "signals":
        app.on_startup.append(start)
        app.on_cleanup.append(close)
    else:
        app.cleanup_ctx.append(live)
    web.run_app(app, host="127.0.0.1", port=0)


main(sys.argv[1])
