"""What every framework's module needs: a client that lives in a context, and the error of a missing extra."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from .. import AsyncGameball, ConfigurationError

Client: TypeAlias = AsyncGameball | Callable[[], AsyncGameball]
"""A client, or a function that makes one: then an app can be started more than once."""


@asynccontextmanager
async def living(client: Client, close_timeout: float) -> AsyncGenerator[AsyncGameball]:
    """Start a client, or one made now, and close it at the end."""
    if not (isinstance(close_timeout, (int, float)) and close_timeout >= 0):  # nan is refused as well
        raise ConfigurationError(f"close_timeout is {close_timeout!r}: give a number of seconds.")
    gameball: object = client if isinstance(client, AsyncGameball) or not callable(client) else client()
    if not isinstance(gameball, AsyncGameball):
        raise ConfigurationError(
            f"client gives a {type(gameball).__name__}: give an AsyncGameball, or a function that makes one."
        )
    async with gameball:  # waits for the end of the close below, whatever cancels it
        try:
            yield gameball
        finally:
            await gameball.aclose(close_timeout)


def missing(framework: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error that says which extra to install."""
    return ModuleNotFoundError(
        f'gameball_async.integrations.{framework} needs {error.name}: pip install "gameball-async[{framework}]"',
        name=error.name,
    )
