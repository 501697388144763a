"""One change at a time, even if Python runs a finalizer or a signal handler in the midst of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ..errors import LifecycleError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class NonReentrant(Protocol):
    """Whatever is changed by one call at a time."""

    is_changing: bool


_B = TypeVar("_B", bound=NonReentrant)


def non_reentrant(
    method: Callable[Concatenate[_B, _P], _T],
) -> Callable[Concatenate[_B, _P], _T]:
    """Refuse to begin a change in the midst of another: only a finalizer or a signal handler can try."""

    @wraps(method)
    def change(buffer: _B, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if buffer.is_changing:
            raise reentrant()
        buffer.is_changing = True
        try:
            return method(buffer, *args, **kwargs)
        finally:
            buffer.is_changing = False

    return change


def reentrant() -> LifecycleError:
    """The error for a change in the midst of another."""
    return LifecycleError(
        "track_nowait() was called by a finalizer or a signal handler in the midst of another call: let it wait for "
        "its end with loop.call_soon(), or loop.add_signal_handler()."
    )
