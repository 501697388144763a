"""How long a retry waits; the only importer of tenacity."""

from __future__ import annotations

from collections.abc import Callable

import tenacity

from .._config import Retry
from .._core.outcome import Answer, Decision


class Backoff:
    """How long to wait before a batch, or the whole client, tries again; tenacity decides, and the flusher waits.

    Args:
        retry: the user's settings.
        random: gives numbers from 0 up to 1; tests give their own.
    """

    def __init__(self, retry: Retry, random: Callable[[], float]) -> None:
        self._retry = retry
        self._random = random
        self._exponential = tenacity.wait_exponential(
            multiplier=retry.initial, max=retry.maximum, exp_base=retry.multiplier
        )
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda answer: answer.verdict in _RETRIABLE),
            stop=lambda state: state.kwargs["solo_failures"] >= retry.max_attempts,
            wait=self._wait,
            retry_error_callback=lambda _: None,
        )

    def after(self, answer: Answer, *, attempts: int, solo_failures: int) -> float | None:
        """Seconds until a batch goes again, or None if it must not go again as it is.

        Args:
            answer: what the last attempt brought.
            attempts: requests sent with this batch so far.
            solo_failures: those that failed although other players' requests succeeded.
        """
        state = self._state(answer, attempts, solo_failures=solo_failures)
        self._retrying.begin()
        action = self._retrying.iter(state)
        return float(action) if isinstance(action, tenacity.DoSleep) else None

    def pause(self, answer: Answer, failed_probes: int) -> float:
        """Seconds that the whole client waits after an answer, if it has to."""
        is_limited = answer.verdict is Decision.RATE_LIMITED
        if answer.retry_after or (answer.retry_after is not None and not is_limited):
            return answer.retry_after
        if is_limited:  # also with a `Retry-After` of 0 or in the past, else each 429 would bring the next at once
            return max(_SHORTEST_PAUSE, self._spread(self._exponential(self._state(answer, failed_probes + 1))))
        return self._spread(self._exponential(self._state(answer, failed_probes + 1)))

    def _wait(self, state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None, "tenacity waits after an outcome"  # noqa: S101 an invariant
        match state.outcome.result().verdict:
            case Decision.RATE_LIMITED | Decision.HALT:
                return 0.0  # the whole client waits
            case Decision.BUSY:
                return self._spread(self._retry.initial)  # the other request is soon over
            case _:
                return self._spread(self._exponential(state))

    def _spread(self, seconds: float) -> float:
        return seconds * (1 - self._retry.jitter * self._random())

    def _state(self, answer: Answer, attempts: int, **known: int) -> tenacity.RetryCallState:
        state = tenacity.RetryCallState(self._retrying, None, (), known)
        state.attempt_number = attempts
        state.set_result(answer)
        return state


_SHORTEST_PAUSE = 1.0
"""Seconds after a 429 that names none: they clear the window of one second."""

_RETRIABLE = frozenset(Decision) - {Decision.DELIVERED, Decision.REFUSED}
