"""`Recorder`: a client that records events instead of sending them, with scripted failures."""

from __future__ import annotations

from typing import Any

from .. import AsyncGameball, Event
from .._engine.callbacks import OnFailure
from .._engine.lifecycle import ClientState
from ._assertions import Assertions
from ._recording import Failure, RecorderLifecycle, RecordingEngine, Rule


class Recorder(Assertions, AsyncGameball):
    """Replaces the client in tests: it records events, and has assertions. No network, no thread, no task.

    ::

        recorder = Recorder()
        await checkout(recorder, player="player123", total=100)
        recorder.assert_tracked("player123", "place_order", total_amount=100)

    It is an `AsyncGameball` with another engine, so all calls have the client's arguments, checks and errors. Events
    are delivered at once, unless `fail` makes them fail.

    Args:
        on_failure: as for the client; called before the next `track`, `send`, `flush` or
            `aclose` returns. While one task is in it, the calls of other tasks do not wait.
        started: True creates a recorder that is started already, in any loop; by
            default `send`, `flush` and `track_threadsafe` need `start`, `run` or `async with` first.
    """

    def __init__(
        self,
        *,
        on_failure: OnFailure | None = None,
        started: bool = False,
    ) -> None:
        # the client's constructor is not called: a recorder has no key and no address, and its engine is another one
        self._recording = RecordingEngine(on_failure)
        self._lifecycle = RecorderLifecycle(self._recording, started=started)
        engine: Any = self._recording
        self._admission = self._storage = self._flusher = engine
        self._on_padded = _ignore

    @property
    def events(self) -> list[Event]:
        """Every accepted event, in order, with any outcome. A snapshot."""
        return list(self._recording.events)

    @property
    def closed(self) -> bool:
        """Whether it was closed, as a service must close its client before it ends."""
        return self._lifecycle.state is ClientState.CLOSED

    def reset(self) -> None:
        """Clear the recorded events, so that later assertions see only new ones; everything else stays."""
        self._recording.events.clear()

    def fail(
        self,
        error: Failure,
        *,
        player_unique_id: str | None = None,
        name: str | None = None,
        times: int | None = None,
    ) -> None:
        """Make events fail with an error from now on; if several calls match an event, the first one applies.

        - `Rejected`, `Dropped` and `OutcomeUnknown` are the event's outcome: its receipt and `send` raise
          it, and `on_failure` gets it.
        - `BufferFull` and `JournalError` are raised by `track`, `track_nowait`, `track_threadsafe` and
          `send`; the event is not accepted.
        - `ClientHalted` and `FlushTimeout` keep the event pending: `flush` raises the error, `recover`
          delivers the event, and `aclose` drops it.

        Args:
            error: the error, as the client would raise it.
            player_unique_id: only for this player; by default for all.
            name: only for events with this name; by default for all.
            times: for how many events; by default for any number, until `recover`.

        Raises:
            TypeError: if the client does not raise such an error there.
            ValueError: if `times` is below 1.
        """
        self._recording.script.add(Rule(error, player_unique_id, name, times))

    def recover(self) -> None:
        """Stop all failures, and deliver pending events; callable from any thread."""
        self._recording.recover()

    def __repr__(self) -> str:
        return f"<Recorder {self._lifecycle.state.name.lower()}, {len(self._recording.events)} tracked>"

    def __del__(self) -> None:
        """Do not warn: nothing is lost with a recorder."""


def _ignore(what: str, padding: str) -> None:
    """Ignore the spaces around a text, which the client logs."""
