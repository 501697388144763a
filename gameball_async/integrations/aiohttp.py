"""aiohttp server: the client runs in a cleanup context, and handlers get it with a typed key.

::

    async def place_order(request: web.Request) -> web.Response:
        await request.config_dict[GAMEBALL].track("player123", "place_order", {"total_amount": 100})
        return web.Response()

    app = web.Application()
    app.cleanup_ctx.append(gameball_context())

``request.config_dict`` also works in a subapp, ``request.app`` only in the app itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from .. import AsyncGameball
from . import Client, client_lifespan, missing

try:
    from aiohttp import web
except ModuleNotFoundError as error:
    raise missing("aiohttp", error) from error

__all__ = ["GAMEBALL", "gameball_context"]

GAMEBALL = web.AppKey("GAMEBALL", AsyncGameball)
"""The key of the app's client."""


def gameball_context(
    *, client: Client = AsyncGameball, key: web.AppKey[AsyncGameball] = GAMEBALL, close_timeout: float = 10
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Create a cleanup context that runs a client: ``app.cleanup_ctx.append(gameball_context())``.

    Args:
        client: a function that creates the client, such as ``lambda: AsyncGameball(journal="journal")``;
            by default `AsyncGameball`, which takes the key from ``GAMEBALL_API_KEY``. Or a client.
        key: the client's key, if an app has several clients.
        close_timeout: seconds that the close may take. Ten, as for `AsyncGameball.aclose`.

    Returns:
        The cleanup context. Append contexts that need the client after it, so that they end before it.
    """

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with client_lifespan(client, close_timeout) as gameball:
            app[key] = gameball
            yield

    return context
