"""A call, one await after another: so that it can be cancelled in each of them."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any


@types.coroutine
def interrupted(call: Coroutine[Any, Any, None], in_await: int, interrupt: Callable[[], None]) -> Generator[Any, Any]:
    """Await a coroutine, and call a function when it begins to wait for the so-manieth time.

    Whatever the loop sends or throws at it meanwhile is passed on, as `await` itself does.
    """
    waits = 0
    go_on: Callable[[Any], Any] = call.send
    what: Any = None
    while True:
        try:
            waits_for = go_on(what)
        except StopIteration:
            return
        waits += 1
        if waits == in_await:
            interrupt()
        try:
            go_on, what = call.send, (yield waits_for)
        except BaseException as error:  # noqa: BLE001 a cancellation most of all
            go_on, what = call.throw, error
