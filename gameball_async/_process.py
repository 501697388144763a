"""What happens to clients when their process forks, and when it ends."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from ._engine.lifecycle import Lifecycle, lifecycles
from ._log import reminder

_Client = TypeVar("_Client")

_clients: WeakKeyDictionary[Any, Callable[[Any], Lifecycle]] = WeakKeyDictionary()
_parents_lifecycles: list[Lifecycle] = []  # never freed: that would close sockets which the parent uses


def register_client(client: _Client, forget_parent: Callable[[_Client], Lifecycle]) -> None:
    """Call this function with the client in a forked child; it returns the parent's lifecycle."""
    _clients[client] = forget_parent


def _forget_parents() -> None:
    reminder.forget()
    lifecycles.clear()
    for client, forget_parent in list(_clients.items()):
        _parents_lifecycles.append(forget_parent(client))


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_forget_parents)


@atexit.register
def _log_losses() -> None:
    """Log what is left in clients that were not closed."""
    for lifecycle in list(lifecycles):
        lifecycle.log_loss()
