"""Starlette: the client runs in the app's lifespan, and handlers get it from the request.

::

    async def place_order(request: Request) -> Response:
        await get_gameball(request).track("player123", "place_order", {"total_amount": 100})
        return Response()

    app = Starlette(routes=[Route("/orders", place_order, methods=["POST"])], lifespan=gameball_lifespan())

The lifespan's state is ``{"gameball": client}``. Your own lifespan may yield the same instead; passed to
`gameball_lifespan`, it gets the client with ``get_gameball(app)``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any, TypeVar, overload
from weakref import WeakKeyDictionary

from .. import AsyncGameball, ConfigurationError, NotStarted
from . import Client, client_lifespan, missing

try:
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection
    from starlette.types import Lifespan, StatefulLifespan
except ModuleNotFoundError as error:
    raise missing("starlette", error) from error

__all__ = ["gameball_lifespan", "get_gameball"]

_App = TypeVar("_App")

_running: WeakKeyDictionary[Any, dict[str, AsyncGameball]] = WeakKeyDictionary()
"""The clients by name, of each app whose own lifespan runs within ours."""


@overload
def gameball_lifespan(
    *, client: Client = AsyncGameball, name: str = "gameball", close_timeout: float = 10
) -> StatefulLifespan[Any]: ...


@overload
def gameball_lifespan(
    inner: Lifespan[_App], /, *, client: Client = AsyncGameball, name: str = "gameball", close_timeout: float = 10
) -> StatefulLifespan[_App]: ...


def gameball_lifespan(
    inner: Lifespan[Any] | None = None,
    /,
    *,
    client: Client = AsyncGameball,
    name: str = "gameball",
    close_timeout: float = 10,
) -> StatefulLifespan[Any]:
    """Create a lifespan that runs a client: ``Starlette(lifespan=gameball_lifespan())``.

    Args:
        inner: the app's own lifespan. The client starts before it and closes after it; its state is kept. It gets the
            client with ``get_gameball(app)``.
        client: a function that creates the client, such as ``lambda: AsyncGameball(journal="journal")``;
            by default `AsyncGameball`, which takes the key from ``GAMEBALL_API_KEY``. Or a client: then the
            app can start only once, because a closed client cannot start again.
        name: the client's name in the lifespan's state, if an app has several clients.
        close_timeout: seconds that the close may take. Ten, as for `AsyncGameball.aclose`.

    Returns:
        The lifespan. It raises `ConfigurationError` if the app's own lifespan yields the same name.

    Raises:
        ConfigurationError: if a client is passed instead of the app's own lifespan.
    """
    if isinstance(inner, AsyncGameball):
        raise ConfigurationError("the first argument is the app's own lifespan: pass the client as client=...")

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[dict[str, Any]]:  # noqa: ANN401 any type of app
        async with client_lifespan(client, close_timeout) as gameball:
            clients = _running.setdefault(app, {})
            clients[name] = gameball
            try:
                async with nullcontext() if inner is None else inner(app) as state:
                    yield _with_client(dict(state or {}), name, gameball)
            finally:
                if clients.get(name) is gameball:  # the app may have been started a second time
                    del clients[name]

    return lifespan


def get_gameball(connection: HTTPConnection | Starlette, name: str = "gameball") -> AsyncGameball:
    """Return the client of the app that serves a request or a websocket; in a mounted app, that of the outermost app.

    Args:
        connection: the request or the websocket; or the app itself, in its own lifespan and in tasks that it starts.
        name: as passed to `gameball_lifespan`.

    Raises:
        NotStarted: if the app's lifespan has no such client.
    """
    clients: Mapping[str, AsyncGameball] = (
        _running.get(connection, {}) if isinstance(connection, Starlette) else connection.scope.get("state", {})
    )
    gameball = clients.get(name)
    if gameball is None:
        raise NotStarted(
            f"the app's lifespan has no client named {name!r}: pass lifespan=gameball_lifespan() to the outermost "
            "app, and enter it in tests: `with TestClient(app)`."
        )
    return gameball


def _with_client(state: dict[str, Any], name: str, gameball: AsyncGameball) -> dict[str, Any]:
    if name in state:
        raise ConfigurationError(f"the app's own lifespan also yields {name!r}: use another name for the client.")
    return {**state, name: gameball}
