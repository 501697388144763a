"""aiohttp's server: the client lives in a cleanup context, and handlers find it under a typed key.

::

    async def place_order(request: web.Request) -> web.Response:
        await request.config_dict[GAMEBALL].track("player123", "place_order", {"total_amount": 100})
        return web.Response()

    app = web.Application()
    app.cleanup_ctx.append(gameball_context())

``request.config_dict`` finds it from a subapp as well, ``request.app`` only in the app itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from .. import AsyncGameball
from ._lifespan import Client, living, missing

try:
    from aiohttp import web
except ModuleNotFoundError as error:
    raise missing("aiohttp", error) from error

__all__ = ["GAMEBALL", "gameball_context"]

GAMEBALL = web.AppKey("GAMEBALL", AsyncGameball)
"""Where the app keeps its client."""


def gameball_context(
    *, client: Client = AsyncGameball, key: web.AppKey[AsyncGameball] = GAMEBALL, close_timeout: float = 10
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Make a cleanup context in which a client lives: ``app.cleanup_ctx.append(gameball_context())``.

    Args:
        client: a function that makes the client, such as ``lambda: AsyncGameball(journal="journal")``;
            by default `AsyncGameball`, which takes the key from ``GAMEBALL_API_KEY``. Or a client.
        key: where the app keeps it, if an app has several.
        close_timeout: seconds that the close may take. Ten, as for `AsyncGameball.aclose`.

    Returns:
        The cleanup context. Contexts that need the client come behind it, for they end before it.
    """

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with living(client, close_timeout) as gameball:
            app[key] = gameball
            yield

    return context
