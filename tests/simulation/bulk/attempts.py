"""Bulk requests, their items and polls, as the server sees them; and what the client knows of a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs
import msgspec

from ..replies import Meaning
from ..requests import Attempt
from .jobs import Job, State, Told

MOST_ITEMS = 1000


NAMELESS = frozenset({"ok_words", "ok_cut"})
"""What says that a bulk request is accepted, and does not name its job."""


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a bulk request."""

    body: list[msgspec.Raw]


@attrs.define(eq=False, kw_only=True)
class Item(Attempt):
    """One player's part of a bulk request; it ends when the client knows what became of it.

    Attributes:
        bulk: the request.
        is_failed: whether the client was told that it has failed.
        is_stopped: whether the client was told that its job was stopped before it was processed.
    """

    bulk: BulkRequest
    is_failed: bool = False
    is_stopped: bool = False


@attrs.define(eq=False, kw_only=True)
class BulkRequest(Attempt):
    """One bulk request.

    Attributes:
        items: of each player one.
        job: what Gameball has made of it; None if it was not accepted.
        accepted: the job as the client knows it; None until then.
    """

    items: Sequence[Item] = ()
    job: Job | None = None
    accepted: Accepted | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the client knows that it was accepted."""
        return self.is_nameless or self.accepted is not None

    @property
    def is_nameless(self) -> bool:
        """Whether the client knows that it was accepted, and not the name of its job."""
        return self.meaning is Meaning.DELIVERED and self.label in NAMELESS

    @property
    def is_retry(self) -> bool:
        """Whether all of its items were sent before."""
        return all(item.tries > 1 for item in self.items)


@attrs.define(eq=False, kw_only=True)
class Poll(Attempt):
    """One question for the status of a job.

    Attributes:
        kind: which of the documented paths it took.
        told: what the answer says.
    """

    job: Job | None
    kind: str
    told: Told | None = None

    @property
    def may_be_there(self) -> bool:
        """Whether this path has answered, or may have, so that there is no reason to try the other one."""
        return self.told is not None or self.meaning not in (Meaning.REFUSED, Meaning.DELIVERED)


@attrs.define(eq=False, kw_only=True)
class Accepted:
    """A job of which the client knows.

    Attributes:
        accepted_at: when the client knew.
        progressed_at: when the client was told last that it got further.
        latest: the processed items of which it was told then.
        missing: answers without a status, by path.
        end: the state that ended it, if the client was told.
        is_settled: whether all of its items have their outcome, or go their own ways.
    """

    job: Job
    bulk: BulkRequest
    accepted_at: float
    progressed_at: float
    latest: int = 0
    missing: Counter[str] = attrs.Factory(Counter[str])
    polls: list[Poll] = attrs.Factory(list[Poll])
    end: State | None = None
    has_unnamed: bool = False
    is_settled: bool = False
