"""Checks of arguments: settings of a client that cannot work raise, and texts with spaces around them are logged."""

from __future__ import annotations

import inspect
import re
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from ._config import Batching, Journal, PathLike, Retry
from ._core.draft import BeforeSend
from ._core.job_answers import readable_job_id
from ._core.receipts import JobId
from ._core.stats import Observer
from ._core.texts import NAME
from ._log import fields, logger
from .errors import ConfigurationError

if TYPE_CHECKING:
    from ._engine.delivery import HTTPClient

_T = TypeVar("_T")

OnInvalid = Literal["raise", "report"]

_log = logger("gameball_async")


class PaddingLog:
    """Logs that a text was given with spaces around it: once for ids, for names and for each kind of contact."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def note(self, what: str, padding: str) -> None:
        """Log it, without the text itself, which may be personal data."""
        if what in self._logged:
            return
        self._logged.add(what)
        argument = "name" if what == NAME else what.partition(" ")[0]
        strip = f"{argument}.strip({'' if padding.isspace() else ascii(padding)})"
        _log.warning(
            "%s has spaces or invisible characters around it (%s), so Gameball takes it for another one than without "
            "them: pass %s. This is logged once.",
            what.partition(" (")[0],
            ascii(padding),
            strip,
            extra=fields("padding", argument=argument),
        )


def checked_type(argument: str, value: _T, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise ConfigurationError(f"{argument} is of type {type(value).__name__}: give {kind.__name__}(...).")
    return value


def checked_retry(retry: Retry, batching: Batching) -> Retry:
    checked_type("retry", retry, Retry)
    if batching.linger >= retry.give_up_after:
        raise ConfigurationError(
            f"Batching(linger={batching.linger:g}) is not less than Retry(give_up_after={retry.give_up_after:g}): "
            "every event would be given up before it is sent, lower linger or raise give_up_after."
        )
    return retry


def checked_observer(observer: Observer) -> Observer:
    checked_type("observer", observer, Observer)
    for name in vars(Observer):
        if inspect.iscoroutinefunction(getattr(observer, name)):
            raise ConfigurationError(
                f"the observer's {name} is a coroutine function: give a plain one, it is not awaited."
            )
    return observer


def checked_http_client(http_client: HTTPClient) -> HTTPClient:
    from ._engine.delivery import HTTPClient  # noqa: PLC0415 it imports httpx

    return checked_type("http_client", http_client, HTTPClient)


def checked_journal(journal: str | PathLike | Journal | None, batching: Batching) -> Journal | None:
    if journal is None:
        return None
    if batching.when_full not in ("wait", "raise"):
        raise ConfigurationError(
            f"Batching(when_full={batching.when_full!r}) does not go with a journal, which keeps what memory cannot "
            "hold: choose when_full='wait' or 'raise'."
        )
    return journal if isinstance(journal, Journal) else Journal(journal)


def checked_timeout(timeout: float, name: str = "timeout", *, zero: bool = False) -> float:
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not is_number or not (timeout > 0 or (zero and timeout == 0)):
        raise ConfigurationError(f"{name} is {timeout!r}: give a number of seconds.")
    return timeout


def checked_before_send(before_send: BeforeSend | None) -> BeforeSend | None:
    """Refuse a hook that cannot be called, or that would have to be awaited."""
    if before_send is None:
        return None
    if not callable(before_send):
        raise ConfigurationError(f"before_send is of type {type(before_send).__name__}: give a function.")
    called: object = before_send
    while isinstance(called, partial):
        called = cast("partial[object]", called).func
    if any(map(inspect.iscoroutinefunction, (called, type(called).__call__))):
        raise ConfigurationError("before_send is a coroutine function: give a plain one, it is not awaited.")
    return before_send


def checked_on_invalid(on_invalid: OnInvalid) -> OnInvalid:
    """Refuse an unknown choice."""
    if on_invalid not in ("raise", "report"):
        raise ConfigurationError(f"on_invalid is {on_invalid!r}: give 'raise' or 'report'.")
    return on_invalid


def checked_job(job: JobId) -> JobId:
    """Refuse what is no id of a job: it would make another path of the request."""
    number = readable_job_id(job)
    if number is None:
        raise ConfigurationError(
            f"job is {job!r}: give the id of a job, from Delivered.job or Observer.on_job; events sent alone have none."
        )
    return number


def checked_lang(lang: str | None) -> str | None:
    """Refuse what is no language tag, and so perhaps no header."""
    if lang is not None and not (isinstance(lang, str) and re.fullmatch(r"[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8})*", lang)):
        raise ConfigurationError(f"lang is {lang!r}: give a language such as 'en' or 'ar-EG'.")
    return lang
