"""The status of a job of a bulk request: how to read what Gameball says, and what it means for each item."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import Enum, auto
from typing import cast

import msgspec

from .receipts import JobId
from .stats import JobState

# ---------------------------------------------------------------- what Gameball says

_ENDED = {
    **dict.fromkeys(("completed", "complete", "done", "finished"), JobState.COMPLETED),
    "failed": JobState.FAILED,
    **dict.fromkeys(("stopped", "canceled", "cancelled", "aborted"), JobState.STOPPED),
}
"""Both documented vocabularies ("completed", "failed", "stopped"), and what else such a state is called. Any other word
is a job that has not ended: "pending" or "running", and also "success" and "error", which may be about the request."""

_RUNNING = re.compile(
    r"pending|queued|waiting|scheduled|created|accepted|new|start(ed|ing)|active|running|processing|in[ _]?progress"
    r"|stopping"
)
"""What a job is called that has not ended."""

_FAILED_ITEM = re.compile(
    r"fail(ed|ure)|error|stopped|cancell?ed|aborted|rejected|refused|denied|invalid|not[ _]?found|unsuccessful"
)
_PROCESSED_ITEM = re.compile(r"success(ful)?|succeeded|ok|completed?|done|finished|processed|created")
"""What an item is called that has failed, or was processed; any other word leaves that open."""

_STATUS = ("status", "state")
_CUSTOMER = ("customerid", "playeruniqueid", "customer", "id")
_COUNTS = ("faileditems", "errorcount", "failedcount", "failed", "errors")
_MESSAGE = ("message", "error", "errormessage", "reason", "detail", "errors")
_PROGRESS = ("processeditems", "finishedcount", "progress")
_ENVELOPES = ("data", "result", "job", "batch", "response")


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What Gameball says of a job.

    Attributes:
        state: how it has ended; None if it has not.
        failed: the players of items that have failed.
        succeeded: the players of items that it lists as successful.
        unclear: the players of items that it lists in words that say neither.
        failed_count: how many items have failed, as the status says it.
        progress: a number that grows while the job progresses.
        message: what it says of a failed item, or of the job; it may hold personal data.
        word: what it calls the state, in lower case.
        is_known: whether that is a known word.
    """

    state: JobState | None
    failed: frozenset[str] = frozenset()
    succeeded: frozenset[str] = frozenset()
    unclear: frozenset[str] = frozenset()
    failed_count: int = 0
    progress: float = 0.0
    message: str = ""
    word: str = ""
    is_known: bool = True


def job_id(content: Mapping[str, object]) -> JobId | None:
    """Return the id in the answer to a bulk request; None without a readable one."""
    found = (readable_job_id(fields.get(key)) for fields in _levels(content) for key in ("jobid", "batchid", "id"))
    return next((job for job in found if job is not None), None)


def readable_job_id(value: object) -> JobId | None:
    """Return a value as the id of a job; None if it can be none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _GREATEST_ID:
        return value
    if isinstance(value, str) and _JOB_ID.fullmatch(text := value.strip()):
        return parsed_job_id(text)
    return None


_JOB_ID = re.compile(r"[A-Za-z0-9_][\w.~:=+@-]{0,127}", re.ASCII)
"""Ids that a path and a text column of PostgreSQL can hold as they are; those documented are numbers."""

_GREATEST_ID = 10**128


def parsed_job_id(text: str) -> JobId:
    """Return the id in a text: digits are a number."""
    return int(text) if text.isascii() and text.isdigit() and str(int(text)) == text else text


def read_status(content: Mapping[str, object]) -> JobStatus | None:
    """Read the status of a job in either documented form, or in between; None if it is no status."""
    outer, *inner = _levels(content)
    for fields in (*inner, outer):  # the status of an envelope is that of the request
        word = _first(fields, _STATUS)
        if isinstance(word, str) and word.strip():
            return _status(word.strip().lower(), fields)
    return None


def _status(word: str, fields: Mapping[str, object]) -> JobStatus:
    players = {True: set[str](), False: set[str](), None: set[str]()}  # by whether their item has failed
    unnamed = 1 if fields.get("errors") and isinstance(fields["errors"], dict | str) else 0  # not as documented
    lists, messages = _lowered(fields.get("response")), list[str]()
    for found, has_failed in (
        *((item, True) for each in (lists, fields) for item in _items(each.get("failed"))),
        *((item, False) for each in (lists, fields) for item in _items(each.get("successful"))),
        *((item, True) for item in _items(fields.get("errors"))),
        *((item, _has_failed(item)) for item in _items(fields.get("results"))),
    ):
        customer = _first(_lowered(found), _CUSTOMER)
        if isinstance(customer, str | int) and not isinstance(customer, bool):
            players[has_failed].add(str(customer))
        else:
            unnamed += has_failed is True
        if has_failed and not messages and (message := _message(found)):
            messages.append(message)
    counted = max(_number(each.get(key)) for each in (fields, lists) for key in _COUNTS)
    failed = players[True]
    return JobStatus(
        state=_ENDED.get(word),
        failed=frozenset(failed),
        succeeded=frozenset(players[False] - failed),
        unclear=frozenset(players[None] - failed - players[False]),
        failed_count=max(int(counted), len(failed) + unnamed),
        progress=sum(_number(fields.get(key)) for key in _PROGRESS),
        message=messages[0] if messages else _message(fields),
        word=word,
        is_known=word in _ENDED or _RUNNING.fullmatch(word) is not None,
    )


def _levels(content: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """The object itself, and those in it that may hold what is looked for, with keys in lower case."""
    outer = _lowered(content)
    yield outer
    for key in _ENVELOPES:
        if inner := _lowered(outer.get(key)):
            yield inner


def _lowered(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        return {}
    return {key.lower(): inner for key, inner in cast("dict[str, object]", value).items()}


def _items(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _first(fields: Mapping[str, object], keys: Iterable[str]) -> object:
    return next((fields[key] for key in keys if fields.get(key) is not None), None)


def _has_failed(item: object) -> bool | None:
    """Whether an item of `results` has failed; None if that is unclear."""
    fields = _lowered(item)
    if isinstance(success := fields.get("success"), bool):
        return not success
    word = _first(fields, _STATUS)
    if isinstance(word, str) and word.strip().isdecimal():
        word = float(word.strip()[:9])
    if isinstance(word, bool):
        return not word
    if isinstance(word, int | float):
        return word >= _FIRST_REFUSAL
    if word is None:
        return bool(fields.get("error") or fields.get("errors"))
    word = str(word).strip().lower()
    return True if _FAILED_ITEM.fullmatch(word) else False if _PROCESSED_ITEM.fullmatch(word) else None


_FIRST_REFUSAL = 400
"""The first HTTP status that is a refusal, where an item has a number for its status."""


def _message(item: object) -> str:
    """What an item, or a job, says of its failure: a text, or one in a list or an object."""
    for _ in range(_MOST_NESTED):
        if isinstance(item, list):
            item = next(iter(cast("list[object]", item)), None)
        elif isinstance(item, dict):
            item = _first(_lowered(cast("object", item)), _MESSAGE)
    return item if isinstance(item, str) else ""


_MOST_NESTED = 5
"""Objects and lists around a message, at most."""


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return 0.0
    number = float(max(-_GREATEST_NUMBER, min(value, _GREATEST_NUMBER))) if isinstance(value, int) else value
    return number if math.isfinite(number) else 0.0


_GREATEST_NUMBER = 10**15
"""JSON has greater ones, which a float cannot hold."""


# ---------------------------------------------------------------- what that means for the items


class ItemOutcome(Enum):
    """What the status of a job that has ended says of one item."""

    CONFIRMED = auto()
    """It was processed."""
    FAILED = auto()
    """It has failed, perhaps after a part of it was applied."""
    UNKNOWN = auto()
    """The job was stopped, and the item is not listed as processed."""
    UNNAMED = auto()
    """Some items have failed, and the status does not say which."""


class EndedJob:
    """The status of a job that has ended, read for its items.

    Args:
        status: what Gameball says.
        players: those of the items without an outcome.
        is_whole: whether these are all items of the job.
    """

    def __init__(self, status: JobStatus, players: Collection[str], *, is_whole: bool) -> None:
        named = set(players)
        # a job is stopped because the rest of it is not to be sent
        self.failed = status.failed & named if status.state is not JobState.STOPPED else frozenset[str]()
        self._succeeded = status.succeeded & named
        self._unclear = status.unclear & named if status.state is JobState.COMPLETED else frozenset[str]()
        names_failed = len(self.failed if is_whole else status.failed) >= status.failed_count
        names_succeeded = bool(self._succeeded) and len(self._succeeded) + status.failed_count >= len(named)
        self._of_others = ItemOutcome.UNNAMED
        if status.state is JobState.STOPPED:
            self._of_others = ItemOutcome.UNKNOWN
        elif status.state is JobState.FAILED or (names_succeeded and not names_failed):
            self._of_others = ItemOutcome.FAILED
        elif names_failed and not self._succeeded:  # else it lists what was processed, and these are not there
            self._of_others = ItemOutcome.CONFIRMED

    def of(self, player: str) -> ItemOutcome:
        """Return what became of one item."""
        if player in self._succeeded:
            return ItemOutcome.CONFIRMED
        if player in self._unclear:
            return ItemOutcome.UNNAMED
        return ItemOutcome.FAILED if player in self.failed else self._of_others
