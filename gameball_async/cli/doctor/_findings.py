"""What the doctor says of one thing: a verdict, its words, and the remedy where one is needed."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from gameball_async.errors import ConfigurationError


class CheckStatus(StrEnum):
    """How one thing is."""

    OK = "ok"
    WARN = "warn"  # it works, and something should be known or done
    FAIL = "fail"  # events will not arrive like this, or not now
    SKIP = "skip"  # it was not checked; the words say why


@attrs.frozen
class Finding:
    """One line of the doctor's.

    Attributes:
        check: what was looked at; its name stays the same from version to version.
        verdict: how it is.
        words: what was seen. They hold no key, and nothing of one.
        remedy: what to do; None where nothing is to be done.
    """

    check: str
    verdict: CheckStatus
    words: str
    remedy: str | None = None


def ok(check: str, words: str) -> Finding:
    """Say that a thing is well."""
    return Finding(check, CheckStatus.OK, words)


def warn(check: str, words: str, remedy: str) -> Finding:
    """Say that a thing works, and that something should be done."""
    return Finding(check, CheckStatus.WARN, words, remedy)


def fail(check: str, words: str, remedy: str) -> Finding:
    """Say that a thing keeps events from arriving."""
    return Finding(check, CheckStatus.FAIL, words, remedy)


def refused(check: str, error: ConfigurationError) -> Finding:
    """Say that the client refuses a setting; its message is what is wrong, a colon, and the remedy."""
    words, _, remedy = str(error).partition(": ")
    return fail(check, words, remedy[:1].upper() + remedy[1:])


def skip(check: str, why: str) -> Finding:
    """Say that a thing was not checked."""
    return Finding(check, CheckStatus.SKIP, f"not checked: {why}")
