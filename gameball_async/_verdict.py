"""What one attempt showed, in the terms of this library: about its batch, and about the server."""

from __future__ import annotations

from enum import Enum, auto

import attrs


class Decision(Enum):
    """What becomes of the batch."""

    DELIVERED = auto()
    REFUSED = auto()
    """Gameball will not take it as it is: split it, or reject its last event."""
    BUSY = auto()
    """Another request for the same player is under way: a short wait, and it goes again."""
    FAILED = auto()
    """It was not applied: it goes again, and again."""
    AMBIGUOUS = auto()
    """Nobody can tell whether it was applied."""
    RATE_LIMITED = auto()
    """It was not applied, and nothing may be sent for a while."""
    HALT = auto()
    """Not this batch but this client is refused."""
    INTERRUPTED = auto()
    """It was cancelled here on its way; like AMBIGUOUS, and it says nothing about the server."""
    NOT_SENT = auto()
    """It was cancelled here before its first byte."""

    @property
    def label(self) -> str:
        """Its name in words, as people read it."""
        return self.name.lower().replace("_", " ")


FAILURES = frozenset({Decision.FAILED, Decision.AMBIGUOUS})
"""What a server brings about that is in trouble or cannot be reached."""


class ServerHealth(Enum):
    """What an attempt says about the server, whatever it means for its own batch."""

    WORKING = auto()
    """It answered as a server does that works; a refusal is such an answer."""
    TROUBLED = auto()
    """It failed, or could not be reached."""
    PAUSE = auto()
    """It asked for a pause: a 429, or any Retry-After."""
    HALT = auto()
    """It refuses this client: key, plan, version or account."""
    NONE = auto()
    """The attempt was interrupted here and says nothing."""


HEALTH = {
    Decision.DELIVERED: ServerHealth.WORKING,
    Decision.REFUSED: ServerHealth.WORKING,
    Decision.BUSY: ServerHealth.WORKING,
    Decision.FAILED: ServerHealth.TROUBLED,
    Decision.AMBIGUOUS: ServerHealth.TROUBLED,
    Decision.RATE_LIMITED: ServerHealth.PAUSE,
    Decision.HALT: ServerHealth.HALT,
    Decision.INTERRUPTED: ServerHealth.NONE,
    Decision.NOT_SENT: ServerHealth.NONE,
}
"""What each verdict says about the server."""


@attrs.frozen(kw_only=True)
class Answer:
    """One attempt's result, told in the terms of this library.

    Attributes:
        verdict: what becomes of the batch.
        status: the HTTP status; None if there was no answer.
        code: Gameball's error code, if the body had one.
        words: the server's or the transport's own words, cleaned.
        retry_after: seconds that the server asked to wait, if it did.
        foreign: the type of a successful answer's body that is not JSON, as Gameball's are; empty if it is.
    """

    verdict: Decision
    status: int | None = None
    code: int | None = None
    words: str = ""
    retry_after: float | None = None
    foreign: str = ""

    @property
    def health(self) -> ServerHealth:
        """What it says about the server."""
        return ServerHealth.PAUSE if self._asks_for_a_pause else HEALTH[self.verdict]

    @property
    def _asks_for_a_pause(self) -> bool:
        return self.retry_after is not None and self.verdict is not Decision.HALT

    @property
    def summary(self) -> str:
        """Status, code and words in one phrase."""
        parts = [f"HTTP {self.status}" if self.status else "no answer"]
        if self.code is not None:
            parts.append(f"code {self.code}")
        return ", ".join(parts) + (f": {self.words}" if self.words else "")
