"""Previews: one request each, tried again inside the client's timeout; what the answer means."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from .._core.events import EncodedEvent
from .._core.outcome import Answer, Decision, halt_remedy
from .._core.reward_preview import Preview, read_preview
from .._core.wire import Call
from .._endpoint import Endpoint
from ..errors import ClientClosed, CustomerNotFound, PreviewError, PreviewTimeout
from .lifecycle import Lifecycle

_RESOURCE = "events/reward-preview"

_LONGEST_PREVIEW = 1024 * 1024
"""Bytes of an answer that are read. A campaign takes about 300."""

_ANSWERED = (Decision.DELIVERED, Decision.REFUSED, Decision.HALT)
"""Verdicts that another request would not change; a preview changes nothing, so all others are tried again."""

_UNKNOWN_CUSTOMER = (7000, 101)
"""Codes of a 404, of v4 and v3."""

_NOT_ENABLED = (401, 403, 404, 405)
"""Statuses that an account without previews may get."""

_ON_REQUEST = "Gameball offers previews on request: contact your account team at Gameball"


class Previews:
    """Requests previews: paced with all other requests that are no events, and not in the order of a player's events.

    Args:
        endpoint: where requests go.
        lifecycle: of the client.
        timeout: seconds for all attempts of one preview.
    """

    def __init__(self, endpoint: Endpoint, lifecycle: Lifecycle, timeout: float) -> None:
        self._endpoint = endpoint
        self._lifecycle = lifecycle
        self._timeout = timeout

    def check(self) -> None:
        """Raise ConfigurationError if the client can have no previews."""
        self._endpoint.check_previews()

    async def request(self, events: Sequence[EncodedEvent], lang: str | None) -> Preview:
        """Request the preview of a player's events.

        Raises:
            PreviewError: if Gameball refuses, or does not answer in time.
            ClientHalted: if Gameball refuses the client.
            LifecycleError: if the client does not run, or is closed.
        """
        self._lifecycle.check_running()
        if not events:
            return Preview()
        player = events[0].player
        mobile = next((event.mobile for event in events if event.mobile is not None), None)
        email = next((event.email for event in events if event.email is not None), None)
        call = Call(
            method="POST",
            url=self._endpoint.url_of(_RESOURCE),
            body=self._endpoint.dialect.body(player, [event.encoded for event in events], mobile, email),
            headers={} if lang is None else {"lang": lang},
            longest_answer=_LONGEST_PREVIEW,
        )
        answer = await self._answer_to(call, (player, mobile, email))
        preview = read_preview(answer.content) if answer.verdict is Decision.DELIVERED else None
        if preview is None:
            raise _error(answer)
        return preview

    async def _answer_to(self, call: Call, private: tuple[str | None, ...]) -> Answer:
        flusher, attempts, answer = self._lifecycle.flusher, 0, None
        with anyio.move_on_after(self._timeout):
            while True:
                self._lifecycle.check_running()
                if flusher.settlement.halted is not None:
                    raise flusher.settlement.halted.with_traceback(None)
                try:
                    answer = await flusher.calls.request(call, private, is_urgent=False)
                except ClientClosed:
                    self._lifecycle.check_running()  # the task has perhaps died
                    raise
                if answer.verdict in _ANSWERED:
                    return answer
                attempts += 1
                await anyio.sleep(flusher.settlement.backoff_of_call(answer, attempts))
        raise _timeout_error(answer, self._timeout)


def _timeout_error(answer: Answer | None, timeout: float) -> PreviewTimeout:
    if answer is None:
        why = "it waited for the rate limit, for a pause that Gameball asked for, or for the answer"
        return PreviewTimeout(f"there was no preview within {timeout:g} s: {why}. Request it again later.")
    return PreviewTimeout(
        f"there was no preview within {timeout:g} s (the last answer: {answer.summary}): request it again later.",
        status=answer.status,
        code=answer.code,
    )


def _error(answer: Answer) -> PreviewError:
    """What an answer that is no preview means."""
    if answer.verdict is Decision.DELIVERED:
        message = f"HTTP {answer.status} brought no preview: check base_url, and that {_ON_REQUEST}."
        return PreviewError(message, status=answer.status, code=answer.code)
    if answer.status == 404 and answer.code in _UNKNOWN_CUSTOMER:  # noqa: PLR2004 the customer
        return CustomerNotFound(
            f"Gameball does not know this player ({answer.summary}): only an existing, active player has previews, and "
            "the first event that you track creates one.",
            status=answer.status,
            code=answer.code,
        )
    if answer.verdict is not Decision.HALT:
        message = f"Gameball refused the preview ({answer.summary}): correct the player or the events."
    elif answer.status in _NOT_ENABLED:
        message = f"Gameball refused the preview ({answer.summary}). {halt_remedy(answer)}. {_ON_REQUEST}."
    else:
        message = f"Gameball refused the preview ({answer.summary}). {halt_remedy(answer)}."
    return PreviewError(message, status=answer.status, code=answer.code)
