"""Every error this library raises, as one tree; each message ends with the remedy.

::

    GameballError
    ├── ConfigurationError (ValueError)   a key, address, version or setting that cannot work
    ├── InvalidEvent (ValueError)         the event cannot be sent as it is; it was not accepted
    ├── BufferFull                        there was no room in time; the event was not accepted
    ├── JournalError                      the journal cannot be opened or written; the event was not accepted
    ├── FlushTimeout (TimeoutError)       flush() ran out of time; everything is still kept
    ├── ClientHalted                      Gameball refuses this client; everything is still kept
    ├── PreviewError                      there is no preview; no event was sent
    │   ├── CustomerNotFound              Gameball does not know the player
    │   └── PreviewTimeout (TimeoutError) there was no answer in time
    ├── JobError                          Gameball did not confirm that it stops a job
    ├── LifecycleError (RuntimeError)     the call cannot work here and now; the event was not accepted
    │   ├── NotStarted
    │   ├── ClientClosed
    │   ├── WrongLoop
    │   └── FlusherDied
    └── DeliveryError                     an accepted event will not arrive, or may not have arrived
        ├── Rejected                      Gameball refused it for good
        ├── Dropped                       it was given up here: buffer full, too old, by before_send, disabled
        └── OutcomeUnknown                it was sent, and it is unknown whether it was applied

No message holds a key, an e-mail address, a phone number or a player's id.
"""

from __future__ import annotations

from enum import StrEnum


class GameballError(Exception):
    """The root of all errors raised by gameball_async."""


class ConfigurationError(GameballError, ValueError):
    """A key, an address, a version or a setting cannot work; the message says which and what would."""


class InvalidEvent(GameballError, ValueError):
    """The event cannot be sent as it is. It was not accepted, and nothing else was touched."""


class BufferFull(GameballError):
    """There was no room for the event in time. It was not accepted: track it again, or let it go."""


class JournalError(GameballError):
    """The journal cannot be opened, read or written; the message says why, and what to do.

    The event at hand was not accepted. What the journal holds already is kept, and the client retries every second.
    """


class FlushTimeout(GameballError, TimeoutError):
    """`flush` ran out of time. Nothing is lost: what is unsettled stays in the buffer.

    Attributes:
        unsettled: events accepted before the call that have no outcome yet.
    """

    def __init__(self, message: str, *, unsettled: int) -> None:
        super().__init__(message)
        self.unsettled = unsettled


class ClientHalted(GameballError):
    """Gameball refuses this client's requests: a wrong key, plan, version or a disabled account.

    Events are still accepted and kept, and a probe goes out from time to time, so that a
    repaired account recovers by itself.

    Attributes:
        status: the HTTP status that Gameball answered.
        code: Gameball's own error code, if the answer had one.
    """

    def __init__(self, message: str, *, status: int, code: int | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class PreviewError(GameballError):
    """Gameball gave no preview. A preview sends no event, so nothing has changed, and it may be requested again.

    Attributes:
        status: the HTTP status that Gameball answered, if it did.
        code: Gameball's own error code, if the answer had one.
    """

    def __init__(self, message: str, *, status: int | None = None, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class CustomerNotFound(PreviewError):
    """Gameball does not know the player. Unlike `track`, a preview does not create a profile."""


class PreviewTimeout(PreviewError, TimeoutError):
    """There was no preview within the client's timeout; the status and code are those of the last answer."""


class JobError(GameballError):
    """Gameball did not confirm that it stops a job, which may continue.

    Attributes:
        status: the HTTP status that Gameball answered, if it did.
        code: Gameball's own error code, if the answer had one.
    """

    def __init__(self, message: str, *, status: int | None = None, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class LifecycleError(GameballError, RuntimeError):
    """The call cannot work in the client's present state or from where it was made."""


class NotStarted(LifecycleError):
    """The call needs a running client, and this one has not been started."""


class ClientClosed(LifecycleError):
    """The client is closing or closed and accepts nothing any more."""


class WrongLoop(LifecycleError):
    """The client lives in another event loop or thread than the caller."""


class FlusherDied(LifecycleError):
    """The background task ended before the client was closed; `__cause__` says why."""


class DeliveryError(GameballError):
    """An accepted event will not arrive, or may not have arrived; or, with `on_invalid="report"`, it is invalid.

    Attributes:
        status: the HTTP status of the answer that decided, if one did.
        code: Gameball's own error code of that answer, if it had one.
        may_have_arrived: True if an attempt ended without an answer that settles the matter.
            Gameball has no event id to compare; sending again may count twice.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: int | None = None, may_have_arrived: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.may_have_arrived = may_have_arrived


class Rejected(DeliveryError):
    """Gameball refused the event for good; the message holds Gameball's own words."""


class DropReason(StrEnum):
    """Why the client itself gave an accepted event up."""

    BUFFER_FULL = "buffer full"
    EXPIRED = "expired"
    CLOSED = "closed"
    FLUSHER_DIED = "flusher died"
    JOURNAL_FAILED = "journal failed"
    FILTERED = "filtered"
    BEFORE_SEND_FAILED = "before_send failed"
    DISABLED = "disabled"
    INVALID = "invalid"


class Dropped(DeliveryError):
    """The client gave the event up.

    Attributes:
        reason: why, as a `DropReason`.
        last_failure: why the latest request failed, such as "HTTP 503"; None if none did, or if
            that has nothing to do with it.
    """

    def __init__(
        self, message: str, *, reason: DropReason, may_have_arrived: bool = False, last_failure: str | None = None
    ) -> None:
        super().__init__(message, may_have_arrived=may_have_arrived)
        self.reason = reason
        self.last_failure = last_failure


class OutcomeUnknown(DeliveryError):
    """The event was sent, and it is unknown whether it was applied; sending it again could count it twice.

    Attributes:
        job: the id of the job that Gameball accepted with the event, if that was stopped or its item failed; None if
            the answer to its request got lost.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: int | None = None, job: int | str | None = None
    ) -> None:
        super().__init__(message, status=status, code=code, may_have_arrived=True)
        self.job = job
