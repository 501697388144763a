"""ASGI apps without a lifespan, such as Django's: a wrapper runs the client, and views find it in the scope.

In ``asgi.py`` it is ``application = gameball_app(get_asgi_application())``, and in an async view
``await get_gameball(request.scope).track("player123", "place_order", {"total_amount": 100})``.

An app that has a lifespan keeps it: the client starts before it and closes after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

from .. import AsyncGameball, NotStarted
from . import Client, client_lifespan

__all__ = ["gameball_app", "get_gameball"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


def gameball_app(
    app: App, *, client: Client = AsyncGameball, name: str = "gameball", close_timeout: float = 10
) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """Wrap an ASGI app, so that a client starts and closes with the server.

    Args:
        app: the app, or another wrapper.
        client: a function that creates the client, such as ``lambda: AsyncGameball(journal="journal")``;
            by default `AsyncGameball`, which takes the key from ``GAMEBALL_API_KEY``. Or a client, for a single start.
        name: the client's name in ``scope["state"]``, if an app has several clients.
        close_timeout: seconds that the close may take. Ten, as for `AsyncGameball.aclose`.

    Returns:
        The wrapped app. If the client cannot start, the server reports that and exits.
    """
    running: dict[str, AsyncGameball] = {}

    async def wrapped(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(scope, receive, send)
        else:
            await app({**scope, "state": {**scope.get("state", {}), **running}}, receive, send)

    async def run_lifespan(scope: Message, receive: Receive, send: Send) -> None:
        received, sent = [await receive()], list[Message]()

        async def receive_again() -> Message:
            return received.pop() if received else await receive()

        async def send_if_started(message: Message) -> None:
            sent.append(message)
            if message["type"].startswith("lifespan.startup"):
                await send(message)

        try:
            async with client_lifespan(client, close_timeout) as gameball:
                running[name] = gameball
                await _lifespan_of(app, scope, receive_again, send_if_started, sent)
        except Exception as error:
            if not sent:  # else the server would take it for an app without a lifespan, and serve
                await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            raise
        finally:
            running.clear()
        for message in sent[1:]:  # the shutdown is complete when the client is closed
            await send(message)

    return wrapped


async def _lifespan_of(app: App, scope: Message, receive: Receive, send: Send, sent: list[Message]) -> None:
    """Run the app's lifespan. An app that raises or returns at once has none, says the specification."""
    try:
        await app(scope, receive, send)
    except Exception:
        if sent:
            raise
    if not sent:
        await send({"type": "lifespan.startup.complete"})
        while (await receive())["type"] != "lifespan.shutdown":
            pass
        await send({"type": "lifespan.shutdown.complete"})


def get_gameball(scope: Mapping[str, Any], name: str = "gameball") -> AsyncGameball:
    """Return the client of the app that serves a request: `get_gameball(request.scope)`.

    Args:
        scope: the scope of the request or websocket.
        name: as passed to `gameball_app`.

    Raises:
        NotStarted: if no client of this name runs.
    """
    gameball: AsyncGameball | None = scope.get("state", {}).get(name)
    if gameball is None:
        raise NotStarted(
            f"no client named {name!r} runs: wrap the app with gameball_app(), and serve it with a server that has "
            "lifespans switched on, such as uvicorn or hypercorn; Daphne has none."
        )
    return gameball
