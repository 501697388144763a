"""`AsyncGameball`, the facade: validates, encodes and delegates to the engine."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio.abc

from ._arguments import (
    OnInvalid,
    PaddingLog,
    checked_before_send,
    checked_http_client,
    checked_job,
    checked_journal,
    checked_lang,
    checked_observer,
    checked_on_invalid,
    checked_retry,
    checked_timeout,
    checked_type,
)
from ._assembly import make_delivery, make_storage
from ._config import REJECTING, Batching, Conversion, Journal, PathLike, RateLimit, Retry
from ._core.buffer import Buffer
from ._core.draft import BeforeSend, NotSent, Preparation, encode_item
from ._core.events import EncodedEvent, Metadata, MetadataRecord, encode
from ._core.pacing import Pacing, SharedPacing
from ._core.receipts import Delivered, JobId, Receipt, SharedOutcome, joint_outcome
from ._core.reward_preview import Preview
from ._core.stats import CloseReport, Observer, Stats
from ._endpoint import Endpoint
from ._engine.callbacks import OnFailure
from ._engine.flusher import Flusher
from ._engine.lifecycle import CLOSE_TIMEOUT, ClientState, Lifecycle
from ._engine.previews import Previews
from ._engine.storage import Storage, StorageCallbacks
from ._log import counted
from ._process import register_client
from .errors import ClientClosed, LifecycleError

if TYPE_CHECKING:
    from ._engine.delivery import HTTPClient
else:
    HTTPClient = Any  # for `typing.get_type_hints`, which must not need httpx


class AsyncGameball:
    """An async client for Gameball's events: merged, paced, retried, in order per player.

    Constructing does no I/O; `async with`, `start` or `run` set it going.

    Args:
        api_key: the account's API key; by default the environment's ``GAMEBALL_API_KEY``.
        secret_key: sent whenever it is set, required by v4.1; by default ``GAMEBALL_SECRET_KEY``.
        api_version: ``"v3.0"``, ``"v4.0"`` or ``"v4.1"``; by default ``GAMEBALL_API_VERSION``, or else ``"v3.0"``.
        base_url: where the API lives; by default ``GAMEBALL_BASE_URL``, or else ``https://api.gameball.co``. Test and
            production differ by their key, not by this.
        enabled: False switches the client off: events are checked and not sent, their outcome is a `Dropped`, and no
            key is needed. By default ``GAMEBALL_ENABLED`` decides, 1 or 0, or else it is on.
        batching: how events are merged and how many are held, see `Batching`.
        retry: when and how long a failed request is tried again, see `Retry`.
        rate: the two windows that requests keep to, see `RateLimit`; None switches pacing off.
        journal: a folder in which events are kept on disk, so that they survive the process; or a
            `Journal` with the folder and its limits. By default events are in memory alone.
        on_invalid: ``"raise"`` lets the call raise `InvalidEvent`; ``"report"`` lets it succeed: the event's outcome is
            a `Dropped` with that cause, and it is logged, counted in `Stats.invalid`, and goes to `on_failure`.
        on_failure: a function or coroutine function called with each event that will not arrive
            and its `DeliveryError`, one after another. Keep it quick: what waits for it is not
            counted in the buffer. What it raises is logged and ignored.
        defaults: metadata for every event, such as ``{"channel": "web"}``; an event's own values win.
        before_send: is called with each event as an `EventDraft`, before it is checked and encoded, in the thread and
            context of the call. It returns the draft, perhaps changed, or None to drop the event: that is only
            counted. If it raises, the event is not sent; that is logged, and goes to `on_failure`.
        conversion: what becomes of booleans, None and nested dicts in metadata, see `Conversion`.
        observer: is called with what the client does, for metrics and traces, see `Observer`.
        http_client: an `httpx.AsyncClient` of your own, with its own limits and timeouts; it is
            not closed. By default the client makes one, and honours the usual proxy variables.
        timeout: seconds without progress after which an attempt is given up; three times that in all.
            Half a minute, because an answer that is given up is as unclear as a loss.

    Raises:
        ConfigurationError: if a key, the address, the version or a setting cannot work.
    """

    def __init__(  # noqa: PLR0913 the settings of a client, grouped where they belong together
        self,
        api_key: str | None = None,
        *,
        secret_key: str | None = None,
        api_version: str | None = None,
        base_url: str | None = None,
        enabled: bool | None = None,
        batching: Batching = Batching(),  # noqa: B008 frozen
        retry: Retry = Retry(),  # noqa: B008 frozen
        rate: RateLimit | None = RateLimit(),  # noqa: B008 frozen
        journal: str | PathLike | Journal | None = None,
        on_invalid: OnInvalid = "raise",
        on_failure: OnFailure | None = None,
        defaults: Metadata | None = None,
        before_send: BeforeSend | None = None,
        conversion: Conversion = REJECTING,
        observer: Observer | None = None,
        http_client: HTTPClient | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._endpoint = Endpoint.checked(api_key, secret_key, api_version, base_url, enabled=enabled)
        self._batching = checked_type("batching", batching, Batching)
        if self._batching.mode != "single":
            self._endpoint.check_bulk(f"Batching(mode={self._batching.mode!r})")
        self._retry = checked_retry(retry, self._batching)
        self._limits = () if rate is None else checked_type("rate", rate, RateLimit).windows()
        self._other_limits = () if rate is None else rate.others()
        self._journal = checked_journal(journal, self._batching)
        self._on_failure = on_failure
        self._observer = None if observer is None else checked_observer(observer)
        self._http_client = None if http_client is None else checked_http_client(http_client)
        self._timeout = checked_timeout(timeout)
        self._on_padded = PaddingLog().note
        self._lifecycle = self._new_lifecycle()
        self._preparation = Preparation(
            defaults,
            before_send=checked_before_send(before_send),
            reports_invalid=checked_on_invalid(on_invalid) == "report",
            switched_off_by=self._endpoint.switched_off_by,
            check=self._flusher.buffer.check_batch,
            conversion=checked_type("conversion", conversion, Conversion),
            takes_contact=self._batching.mode != "bulk",
        )
        encode_plainly = encode_item if self._batching.mode == "bulk" else encode
        self._encode = self._preparation.encode if self._preparation.is_needed else encode_plainly
        register_client(self, AsyncGameball._forget_parent)

    # ---------------------------------------------------------------- events

    async def track(
        self,
        player_unique_id: str,
        name: str,
        metadata: Metadata | MetadataRecord | None = None,
        *,
        mobile: str | None = None,
        email: str | None = None,
    ) -> Receipt:
        """Accept one event; it is sent soon, merged with others of its player.

        Waits only when the buffer is full, see `Batching`; with a journal, until the event is on
        disk. An event is accepted if and only if a receipt is returned; a call that raises or is
        cancelled leaves nothing behind. Before the client is started events are buffered only.

        Args:
            player_unique_id: the player's id, a string that is not blank. A guest has none: do not track guests.
            name: the event's name, a string that is not blank. A name that Gameball does not know yet
                appears in its dashboard and rewards nothing, so mind the spelling.
            metadata: numbers, strings, or lists and tuples of these, by key; or an object with such fields, such as a
                dataclass or a pydantic model. `Decimal`, `date`, `datetime`, `UUID`, `Enum` and the numbers of numpy
                are converted without loss. It is encoded at once: changing it later changes nothing.
            mobile: the player's mobile number, if and only if the account merges channels by it.
            email: the player's e-mail address, likewise.

        Returns:
            A receipt; await it for the outcome of this event. If you don't need the outcome, ignore it.

        Raises:
            InvalidEvent: if the event cannot be sent as it is.
            BufferFull: if there was no room for it in time.
            JournalError: if it could not be stored.
            LifecycleError: if the client is closed, or lives in another loop or thread.
        """
        try:
            event = self._encode(player_unique_id, name, metadata, mobile, email, self._on_padded)
        except NotSent as not_sent:
            return self._settle_not_sent(not_sent)
        lifecycle = self._lifecycle
        shared = self._admission.offer(event, lifecycle.accepting_now())
        if shared is None and lifecycle.state is ClientState.RUNNING:
            shared = await self._admission.wait_to_offer((event,), lifecycle.accepting_now)
        if shared is None:
            raise lifecycle.full
        if shared.is_durable is False:
            await self._storage.durable(shared)
        return Receipt(shared, event.name)

    def track_nowait(
        self,
        player_unique_id: str,
        name: str,
        metadata: Metadata | MetadataRecord | None = None,
        *,
        mobile: str | None = None,
        email: str | None = None,
    ) -> Receipt:
        """Accept one event as `track` does, without ever waiting.

        With a journal it is on disk soon after, see `Receipt.durable`; should that fail, it is `Dropped`.

        Raises:
            BufferFull: when full, or if other calls wait for room already.
            InvalidEvent: as `track` does.
            JournalError: if the journal cannot store anything at present.
            LifecycleError: as `track` does.
        """
        try:
            event = self._encode(player_unique_id, name, metadata, mobile, email, self._on_padded)
        except NotSent as not_sent:
            return self._settle_not_sent(not_sent)
        shared = self._admission.offer(event, self._lifecycle.accepting_now())
        if shared is None:
            raise self._lifecycle.full
        if shared.is_durable is False:
            self._storage.claim(shared)
        return Receipt(shared, event.name)

    def track_threadsafe(
        self,
        player_unique_id: str,
        name: str,
        metadata: Metadata | MetadataRecord | None = None,
        *,
        mobile: str | None = None,
        email: str | None = None,
    ) -> Receipt:
        """Accept one event as `track` does, called from a thread that is not the event loop's.

        The event is encoded in the calling thread. The call blocks until the loop has taken the event over, and as long
        as `track` would wait. The receipt can only be awaited in the client's loop.

        If a signal handler, a soft time limit or Ctrl-C raises during the call, the event is withdrawn and
        the call raises. If it is too late for that, the call returns the receipt instead; a
        `KeyboardInterrupt` or `SystemExit` it raises all the same.

        Raises:
            NotStarted: if the client does not run yet.
            WrongLoop: if it is called in the loop's own thread, which it would block.
            InvalidEvent: as `track` does.
            BufferFull: as `track` does.
        """
        prepared: EncodedEvent | NotSent
        try:
            prepared = self._encode(player_unique_id, name, metadata, mobile, email, self._on_padded)
        except NotSent as not_sent:
            prepared = not_sent
        return self._lifecycle.run_from_thread(partial(self._accept, prepared))

    async def _accept(self, prepared: EncodedEvent | NotSent) -> Receipt:
        """Accept an event as `track` does, which has this inlined."""
        if isinstance(prepared, NotSent):
            return self._settle_not_sent(prepared)
        lifecycle = self._lifecycle
        shared = self._admission.offer(prepared, lifecycle.accepting_now())
        if shared is None:
            shared = await self._admission.wait_to_offer((prepared,), lifecycle.accepting_now)
        if shared is None:
            raise lifecycle.full
        if shared.is_durable is False:
            await self._storage.durable(shared)
        return Receipt(shared, prepared.name)

    async def send(
        self,
        player_unique_id: str,
        events: Mapping[str, Metadata | MetadataRecord | None],
        *,
        mobile: str | None = None,
        email: str | None = None,
    ) -> Delivered:
        """Send events as one request of their own now, and wait for the outcome.

        Skips the linger, but respects player order and pacing.
        If the caller is cancelled while it waits for the outcome, the events are sent all the same.

        Args:
            player_unique_id: the player's id.
            events: metadata (or None) by event name, at least one.
            mobile: as for `track`.
            email: as for `track`.

        Returns:
            The outcome, if all of the events were delivered.

        Raises:
            DeliveryError: of the first event that was not delivered, when all have their outcome; of those that
                `before_send` has dropped, only if all others were delivered.
            InvalidEvent: if one of the events cannot be sent as it is; then none was accepted.
            BufferFull: as `track` does.
            LifecycleError: as `track` does; `send` needs a started client.
        """
        prepared = self._preparation.encode_request(player_unique_id, events, mobile, email, self._on_padded)
        self._lifecycle.check_running()
        request = [event for event in prepared if isinstance(event, EncodedEvent)]
        shared = await self._offer_request(request) if request else None
        not_sent = [each for each in prepared if isinstance(each, NotSent)]
        for each in not_sent:
            self._settle_not_sent(each)
        outcomes = [] if shared is None else [await shared.wait(event.name) for event in request]
        not_sent.sort(key=lambda each: each.is_meant)
        return joint_outcome([*outcomes, *(each.error for each in not_sent)])

    async def _offer_request(self, request: list[EncodedEvent]) -> SharedOutcome:
        lifecycle = self._lifecycle
        shared = self._admission.offer_batch(request, lifecycle.accepting_now())
        if shared is None:
            shared = await self._admission.wait_to_offer(request, lifecycle.accepting_now, together=True)
        if shared is None:
            raise lifecycle.full
        return shared

    def _settle_not_sent(self, not_sent: NotSent) -> Receipt:
        try:
            now = self._lifecycle.accepting_now()
        except LifecycleError as error:
            raise error from None
        return Receipt(self._admission.settle_not_sent(not_sent, now), not_sent.event.name)

    async def preview(
        self,
        player_unique_id: str,
        events: Mapping[str, Metadata | MetadataRecord | None],
        *,
        mobile: str | None = None,
        email: str | None = None,
        lang: str | None = None,
    ) -> Preview:
        """Ask Gameball what events would earn if they were tracked now. Nothing is tracked.

        The events are prepared as `send` does, with `defaults` and `before_send`; what that drops is left out. The
        request does not wait for the player's earlier events, and keeps to the limits and pauses. It is tried again
        for as long as the client's `timeout`. It needs v4.0 or v4.1, and Gameball offers it on request.

        Args:
            player_unique_id: the id of an active player that Gameball knows, at most 100 characters.
            events: metadata (or None) by event name, at least one.
            mobile: as for `track`; only to find the player.
            email: as for `track`, likewise.
            lang: the language of the campaigns' names, such as ``"en"``.

        Raises:
            CustomerNotFound: if Gameball does not know the player.
            PreviewTimeout: if Gameball does not answer in time; a `TimeoutError`.
            PreviewError: if Gameball refuses.
            ClientHalted: if Gameball refuses this client.
            InvalidEvent: if one of the events cannot be sent as it is.
            ConfigurationError: if the client has another API version, or is switched off.
            LifecycleError: as for `send`.
        """
        self._previews.check()
        request = self._preparation.encode_preview(player_unique_id, events, mobile, email, self._on_padded)
        return await self._previews.request(request, checked_lang(lang))

    async def stop_job(self, job: JobId) -> None:
        """Ask Gameball to stop a job of a bulk request; `Delivered.job` and `Observer.on_job` have its id.

        Its events that Gameball does not list as processed become `OutcomeUnknown`, and are not sent again.

        Raises:
            JobError: if Gameball did not confirm that it stops the job.
            ConfigurationError: if `job` is no id of a job, this client is switched off, or its version or keys are not
                those that jobs need.
            LifecycleError: if the client does not run.
        """
        number = checked_job(job)
        self._lifecycle.check_running()
        self._endpoint.check_stop()
        await self._flusher.follower.stop(number)

    # ---------------------------------------------------------------- life

    async def start(self) -> None:
        """Bind the client to the running loop and start its background task; again is allowed.

        Raises:
            ConfigurationError: if the environment's proxies or certificates cannot be used.
            LifecycleError: if it is closed, or runs in another loop; `FlusherDied` if it cannot begin.
        """
        await self._lifecycle.start()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run the client in the caller's task group, until `aclose`: ``await task_group.start(gameball.run)``.

        If the task group is cancelled first, the client closes: it delivers what is left, for ten
        seconds at most, before the cancellation continues.

        Raises:
            ConfigurationError: as `start` does.
            LifecycleError: if the client was started before, or is closed.
            JournalError: if the journal cannot be opened.
            FlusherDied: if it crashes.
        """
        await self._lifecycle.run(task_status)

    async def flush(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 the user's setting
        """Wait until every event accepted before the call is settled; linger and backoff are skipped.

        Args:
            timeout: seconds; None, the default, waits as long as it takes.

        Raises:
            FlushTimeout: if time runs out; a `TimeoutError` that says how many events are unsettled.
            ClientHalted: at once, if Gameball refuses this client.
            JournalError: at once, if the journal cannot store anything at present.
            LifecycleError: if the client does not run.
        """
        if self._lifecycle.state is ClientState.CLOSED:
            raise ClientClosed("the client is closed and holds nothing: flush before you close.")
        self._lifecycle.check_running()
        limit = None if timeout is None else checked_timeout(timeout, zero=True)
        await self._flusher.flush(limit, self._lifecycle.check_alive)

    def stop_sending(self) -> None:
        """Begin a close that starts no further request; await `aclose` to finish those in flight.

        For someone who has noticed a mistake in what is being sent. Nothing more is accepted. What was
        not sent, and what fails until then, is dropped by the close, or kept in the journal.

        Raises:
            WrongLoop: if the client runs in another loop.
        """
        self._lifecycle.stop_sending()

    async def aclose(self, timeout: float = CLOSE_TIMEOUT) -> CloseReport:  # noqa: ASYNC109 the user's setting
        """Accept nothing more, deliver what can be delivered in time, and end.

        Linger and backoff are skipped. If the client is halted, it does not wait. May be called
        from any task of the loop, more than once and at once: then the earliest deadline counts.

        In a task or scope that is cancelled already, as in a `finally`, it delivers all the same. A call that is
        cancelled continues in the background, unless it drains inline: if the client never started, or its task was
        cancelled, then what is left is given up. ``async with`` waits for the end in either case.

        Args:
            timeout: seconds, at most. Ten: orchestrators commonly kill after thirty.

        Returns:
            What could not be delivered, with the reasons; `on_failure` got it too.

        Raises:
            WrongLoop: if the client runs in another loop.
        """
        return await self._lifecycle.close(checked_timeout(timeout, zero=True))

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except LifecycleError:
            raise  # another caller closes it, or did
        except BaseException:  # it may have started, and `__aexit__` will not be called
            await self._close_at_exit()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close_at_exit()

    async def _close_at_exit(self) -> None:
        await self._lifecycle.close(CLOSE_TIMEOUT, shield=True)

    # ---------------------------------------------------------------- looking

    def stats(self) -> Stats:
        """An immutable snapshot of what the client has done and holds.

        Callable at any time and from any thread; only in the loop's own thread are all counts of one instant.
        """
        return self._flusher.stats()

    def __repr__(self) -> str:
        state = self._lifecycle.state.name.lower() + (", switched off" if self._endpoint.switched_off_by else "")
        return f"<AsyncGameball {self._endpoint.dialect.version} at {self._endpoint.base_url}, {state}>"

    def __del__(self) -> None:
        if not hasattr(self, "_lifecycle"):
            return  # the constructor raised
        state, pending = self._lifecycle.state, self._flusher.pending
        self._lifecycle.forget()
        if state is ClientState.RUNNING or (pending and state is not ClientState.CLOSED):
            warnings.warn(
                f"{self!r} was not closed, {counted(pending, 'event', 'have')} no outcome: use `async with`, or await "
                "aclose().",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    # ---------------------------------------------------------------- making

    def _new_lifecycle(self) -> Lifecycle:
        flusher = Flusher(
            batching=self._batching,
            retry=self._retry,
            pacing=Pacing(self._limits),
            shared_pacing=SharedPacing(self._other_limits),
            make_storage=self._make_storage,
            endpoint=self._endpoint,
            # not a method: the engine must not keep the client alive
            make_delivery=partial(make_delivery, self._endpoint, self._timeout, self._http_client),
            on_failure=self._on_failure,
            observer=self._observer,
        )
        self._flusher, self._admission, self._storage = flusher, flusher.admission, flusher.storage
        lifecycle = Lifecycle(flusher)
        self._previews = Previews(self._endpoint, lifecycle, self._timeout)
        return lifecycle

    def _make_storage(self, buffer: Buffer, batching: Batching, callbacks: StorageCallbacks) -> Storage:
        return make_storage(self._endpoint, self._journal, buffer, batching, callbacks)

    def _forget_parent(self) -> Lifecycle:
        """In a forked child: the parent sends what it holds; start again, and return the parent's."""
        parents, self._lifecycle = self._lifecycle, self._new_lifecycle()
        return parents
