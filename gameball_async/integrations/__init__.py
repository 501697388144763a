"""Integrations with frameworks, and what they share: a client's lifespan, and the error for a missing extra."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from .. import AsyncGameball, ConfigurationError

Client: TypeAlias = AsyncGameball | Callable[[], AsyncGameball]
"""A client, or a function that creates one, so that an app can be started more than once."""


@asynccontextmanager
async def client_lifespan(client: Client, close_timeout: float) -> AsyncGenerator[AsyncGameball]:
    """Start the client, or a new one, and close it at the end."""
    if not (isinstance(close_timeout, (int, float)) and close_timeout >= 0):  # refuses nan too
        raise ConfigurationError(f"close_timeout is {close_timeout!r}: pass a number of seconds.")
    gameball: object = client if isinstance(client, AsyncGameball) or not callable(client) else client()
    if not isinstance(gameball, AsyncGameball):
        raise ConfigurationError(
            f"client is or returns a {type(gameball).__name__}: pass an AsyncGameball, or a function that creates one."
        )
    async with gameball:  # waits for the close below, even if that is cancelled
        try:
            yield gameball
        finally:
            await gameball.aclose(close_timeout)


def missing(framework: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Return the error that names the extra to install."""
    return ModuleNotFoundError(
        f'gameball_async.integrations.{framework} needs {error.name}: pip install "gameball-async[{framework}]"',
        name=error.name,
    )
