"""What Gameball's answer means: is it Gameball's, does it let us in, do our clocks agree."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from .._keys import SECRET_KEY
from .._words import duration
from ._findings import CheckStatus, Finding, fail, ok, skip, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._way import ProbeResponse, ProbeResult

CLOCKS_MAY_DIFFER = 10.0
"""Seconds. A clock that is kept in step is off by milliseconds, the header tells whole seconds, the way takes some.

Beyond that, a `Retry-After` that is a date is misread by as much, and so is the age of what a journal holds.
"""

_REDIRECT, _REFUSAL, _FAILURE = range(300, 400), range(400, 500), range(500, 600)
_NOT_LET_IN = (401, 403)
_NOT_FOUND, _NO_METHOD, _PROXY_KEYS, _TOO_MANY = 404, 405, 407, 429


def findings(result: ProbeResult) -> Iterator[Finding]:
    """Say what the answer means, or that there is none."""
    yield answer(result)
    yield access(result)
    yield clock(result)


def answer(result: ProbeResult) -> Finding:
    """Whether what answers is Gameball's API, in the version that was chosen."""
    check = "answer"
    if result.answer is None:
        if result.peer is None or (result.scheme == "https" and result.tls is None):
            return skip(check, "it did not come so far")
        return fail(
            check,
            f"connected, and no answer ({result.reason})",
            "Try again in a minute. Events are kept meanwhile and sent later.",
        )
    came = result.answer
    said = f"HTTP {came.status}" + (f" with code {came.code}" if came.code is not None else "")
    said += f" with {came.foreign}" if came.foreign else ""
    verdict, words, remedy = next(meaning[1:] for meaning in _ANSWERS if meaning[0](came))
    return Finding(check, verdict, said + words, remedy)


_ANSWERS: tuple[tuple[Callable[[ProbeResponse], bool], CheckStatus, str, str | None], ...] = (
    (
        lambda came: came.status in _NOT_LET_IN,  # what that means, `access` tells
        CheckStatus.OK,
        "",
        None,
    ),
    (
        lambda came: came.status == _TOO_MANY,
        CheckStatus.WARN,
        ": the rate limit is used up",
        "Give each process of the account its --share. The events wait, they are not lost.",
    ),
    (
        lambda came: came.status == _PROXY_KEYS,
        CheckStatus.FAIL,
        ": a proxy wants a user and a password",
        "Give them in HTTPS_PROXY or HTTP_PROXY, or list the host in NO_PROXY.",
    ),
    (
        lambda came: (came.status == _NOT_FOUND and came.code is None) or came.status == _NO_METHOD,
        CheckStatus.FAIL,
        ": nothing takes events there",
        "Check --base-url and --api-version.",
    ),
    (
        lambda came: came.status in _REFUSAL,
        CheckStatus.OK,
        ": an empty request is refused, as it should be",
        None,
    ),
    (
        lambda came: came.status in _FAILURE,
        CheckStatus.FAIL,
        ": Gameball fails",
        "Try again later. Events are kept meanwhile and sent then.",
    ),
    (
        lambda came: came.status in _REDIRECT,
        CheckStatus.FAIL,
        ": it points elsewhere, where the client does not follow, as the key would go with it",
        "Give the address it points to as --base-url, if it is Gameball's.",
    ),
    (
        lambda came: bool(came.foreign),
        CheckStatus.FAIL,
        " instead of JSON: this is not Gameball's API",
        "Check --base-url, and whether a login page or a proxy is in between.",
    ),
    (
        lambda _: True,
        CheckStatus.WARN,
        " to an empty request, which Gameball refuses",
        "Check --base-url: is that Gameball's API?",
    ),
)
"""What an answer to the empty request means; the first that fits counts."""


# ---------------------------------------------------------------- what the answer tells

_SECRET_WANTED = fail(
    "access",
    "Gameball wants a secret key, or another one",
    f"Set {SECRET_KEY}: v4.1 needs it, and so does an account in High Security Mode.",
)
_DISABLED = fail(
    "access", "Gameball is disabled for this account", "Enable it in Gameball's dashboard. Events are kept meanwhile."
)
_NOT_IN_PLAN = fail("access", "the account's plan does not contain this", "Ask Gameball, or choose another plan.")
_BY_CODE = {
    50: _DISABLED,
    1001: _SECRET_WANTED,
    1006: _SECRET_WANTED,
    6000: _DISABLED,
    8000: _NOT_IN_PLAN,
}
_KEY_REFUSED = fail(
    "access",
    "Gameball does not accept the key",
    "Copy it again from Gameball's dashboard: keys that were renewed end at once. With two keys set, check that they "
    "are not in each other's place.",
)


def access(result: ProbeResult) -> Finding:
    """Whether Gameball lets this account in, as far as an empty request can tell."""
    came = result.answer
    if not result.with_key:
        return skip("access", "there is no key to try")
    if came is None:
        return skip("access", "there is no answer")
    if came.code in _BY_CODE:
        return _BY_CODE[came.code]
    if came.status in _NOT_LET_IN or came.code in (1000, 1002):
        return _KEY_REFUSED
    if came.status in _REFUSAL and came.code is not None and came.status != _TOO_MANY:
        return ok("access", "the key was let in, as far as an empty request can tell; the first event proves it")
    return skip("access", "the answer tells nothing of the key")


def clock(result: ProbeResult) -> Finding:
    """Whether this machine and Gameball agree on the time."""
    check, came = "clock", result.answer
    if came is None or came.date is None:
        return skip(check, "there is no answer" if came is None else "the answer has no date")
    try:
        date = parsedate_to_datetime(came.date)
        theirs = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return skip(check, "the answer's date cannot be read")
    # the server wrote whole seconds, at some moment between both of ours
    ahead, behind = came.sent_at - (theirs + 1), theirs - came.came_at
    if max(ahead, behind) <= CLOCKS_MAY_DIFFER:
        return ok(check, f"agrees with the server's, within {CLOCKS_MAY_DIFFER:g} s")
    words = f"{duration(ahead)} ahead of" if ahead > behind else f"{duration(behind)} behind"
    return warn(
        check,
        f"is {words} the server's",
        "Let NTP set it: pauses that Gameball asks for as a date, and the age of events in a journal, are wrong by it.",
    )
