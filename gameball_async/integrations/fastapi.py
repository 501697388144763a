"""FastAPI: the client runs in the app's lifespan, and handlers get it as a dependency.

::

    app = FastAPI(lifespan=gameball_lifespan())

    @app.post("/orders")
    async def place_order(gameball: Gameball) -> None:
        await gameball.track("player123", "place_order", {"total_amount": 100})

In tests, override `get_gameball`: ``app.dependency_overrides[get_gameball] = lambda: recorder``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

from .. import AsyncGameball
from . import missing

try:
    from fastapi import Depends
    from fastapi.requests import HTTPConnection

    from . import starlette
except ModuleNotFoundError as error:
    raise missing("fastapi", error) from error

__all__ = ["Gameball", "gameball_lifespan", "gameball_named", "get_gameball"]

gameball_lifespan = starlette.gameball_lifespan


def gameball_named(name: str) -> Callable[[HTTPConnection], Awaitable[AsyncGameball]]:
    """Create the dependency for a named client: ``Annotated[AsyncGameball, Depends(gameball_named("outlet"))]``.

    Args:
        name: as passed to `gameball_lifespan`.

    Returns:
        The dependency. Without such a client it raises `NotStarted`.
    """

    async def get_named(connection: HTTPConnection) -> AsyncGameball:  # a plain function would cost a thread
        return starlette.get_gameball(connection, name)

    return get_named


get_gameball = gameball_named("gameball")
"""The dependency behind `Gameball`."""

Gameball: TypeAlias = Annotated[AsyncGameball, Depends(get_gameball)]
"""The app's client, as the type of a handler's argument; in a `def` handler call its `track_threadsafe`."""
