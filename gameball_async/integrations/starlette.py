"""Starlette: the client lives in the app's lifespan, and whoever holds a request finds it there.

::

    async def place_order(request: Request) -> Response:
        await get_gameball(request).track("player123", "place_order", {"total_amount": 100})
        return Response()

    app = Starlette(routes=[Route("/orders", place_order, methods=["POST"])], lifespan=gameball_lifespan())

It lies in the lifespan's state, ``{"gameball": client}``. A lifespan of your own that yields the same serves as well.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from typing import Any, TypeVar, overload

from .. import AsyncGameball, ConfigurationError, NotStarted
from ._lifespan import Client, living, missing

try:
    from starlette.requests import HTTPConnection
    from starlette.types import Lifespan, StatefulLifespan
except ModuleNotFoundError as error:
    raise missing("starlette", error) from error

__all__ = ["gameball_lifespan", "get_gameball"]

_App = TypeVar("_App")


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
    """Make a lifespan in which a client lives: ``Starlette(lifespan=gameball_lifespan())``.

    Args:
        inner: the app's own lifespan. The client is started before it and closed after it; what it
            yields is yielded as well.
        client: a function that makes the client, such as ``lambda: AsyncGameball(journal="journal")``;
            by default `AsyncGameball`, which takes the key from ``GAMEBALL_API_KEY``. Or a client:
            then the app can be started once only, for a closed client does not start again.
        name: its name in the lifespan's state, if an app has several.
        close_timeout: seconds that the close may take. Ten, as for `AsyncGameball.aclose`.

    Returns:
        The lifespan. When it begins it raises `ConfigurationError` if the name is taken.

    Raises:
        ConfigurationError: if a client is given in place of the app's own lifespan.
    """
    if isinstance(inner, AsyncGameball):
        raise ConfigurationError("the client stands where the app's own lifespan belongs: give it as client=...")

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[dict[str, Any]]:  # noqa: ANN401 the type of app is the caller's
        own = nullcontext() if inner is None else inner(app)
        async with living(client, close_timeout) as gameball, own as state:
            yield _joined(dict(state or {}), name, gameball)

    return lifespan


def get_gameball(connection: HTTPConnection, name: str = "gameball") -> AsyncGameball:
    """The client of the app that serves a request or a websocket; a mounted app finds that of the outermost.

    Args:
        connection: the request or the websocket.
        name: as given to `gameball_lifespan`.

    Raises:
        NotStarted: if no such client lives in the app's lifespan.
    """
    gameball: AsyncGameball | None = connection.scope.get("state", {}).get(name)
    if gameball is None:
        raise NotStarted(
            f"the app's lifespan holds no client named {name!r}: give lifespan=gameball_lifespan() to the outermost "
            "app, and in tests enter it: `with TestClient(app)`."
        )
    return gameball


def _joined(state: dict[str, Any], name: str, gameball: AsyncGameball) -> dict[str, Any]:
    if name in state:
        raise ConfigurationError(f"the app's own lifespan yields {name!r} as well: give the client another name.")
    return {**state, name: gameball}
