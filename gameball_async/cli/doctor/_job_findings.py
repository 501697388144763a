"""What the answer to a bulk request and the statuses of its job mean, for the event and for the client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

import attrs

from ... import JobOptions, JobState
from ..._core.job_answers import EndedJob, ItemOutcome, JobStatus, read_status
from ..._core.outcome import Answer, Decision, access_problem, halt_remedy
from ..._core.redaction import redact_message
from .._options import SECRET_KEY
from .._terminal import duration
from ._findings import Finding, fail, ok, skip, warn

PATIENCE_OF_CLIENT = JobOptions().patience
"""Seconds without progress after which a client stops following a job."""

_LONGEST_WORD = 40  # characters of a status

_NO_SUCH_PATH = frozenset({400, 404, 405, 410, 501})
"""Answers of a path that does not show a job's status."""

_TEMPORARY = frozenset({Decision.FAILED, Decision.AMBIGUOUS, Decision.RATE_LIMITED, Decision.BUSY})

_DOCUMENTS: Mapping[str, tuple[frozenset[str], tuple[str, ...]]] = {
    "API reference": (
        frozenset({"pending", "processing", "completed", "failed"}),
        ("batchId", "totalItems", "processedItems"),
    ),
    'tutorial "Batch APIs"': (
        frozenset({"queued", "running", "completed", "failed", "stopped"}),
        ("operation", "totalCount", "errorCount"),
    ),
}
"""Gameball's documents: the words of a status, and fields that only one of them has."""

_EVENTS_LOG = "look into the Events Log of Gameball's dashboard"
_UNCONFIRMED = "counts such events as delivered without confirmation, and does not send them again"
_SENT_AGAIN = "By default the client sends such an item again, alone and as a possible duplicate."


@attrs.frozen
class BulkResponse:
    """The response to one request.

    Attributes:
        answer: what it says.
        is_complete: whether its body was read to the end, or is too long.
        is_too_long: whether the rest of its body was not read.
        is_sent: whether the request may have arrived.
    """

    answer: Answer
    is_complete: bool = attrs.field(default=True, kw_only=True)
    is_too_long: bool = attrs.field(default=False, kw_only=True)
    is_sent: bool = attrs.field(default=True, kw_only=True)

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may be answered otherwise in a moment."""
        return self.answer.status not in _NO_SUCH_PATH and (self.answer.verdict in _TEMPORARY or not self.is_complete)

    @property
    def is_elsewhere(self) -> bool:
        """Whether a status that is not in it may be at another path."""
        return self.answer.verdict is Decision.DELIVERED or self.answer.status in _NO_SUCH_PATH

    @property
    def status(self) -> JobStatus | None:
        """The status of a job, as the client reads it."""
        return read_status(self.answer.content) if self.answer.verdict is Decision.DELIVERED else None

    @property
    def summary(self) -> str:
        """Status, code and words in one phrase."""
        cut = ", too long" if self.is_too_long else "" if self.is_complete else ", cut off"
        kind = f" with {self.answer.foreign}" if self.answer.foreign else ""
        return f"{self.answer.summary}{kind}{cut}"


# ---------------------------------------------------------------- the bulk request


def acceptance(response: BulkResponse, job: int | str | None, secrets: Iterable[str]) -> Finding:
    """Return what the answer to the bulk request means."""
    check, answer = "bulk_request", response.answer
    if answer.verdict is not Decision.DELIVERED:
        words = "not accepted" if answer.status is not None else "not answered" if response.is_sent else "not sent"
        return fail(check, f"{words} ({response.summary})", _remedy(response))
    if job is not None:
        # a number is printed as it is, because Gameball is asked with it
        name = redact_message(job, secrets) if isinstance(job, str) and "@" in job else job
        return ok(check, f"accepted as job {name} (HTTP {answer.status})")
    if not response.is_complete:
        remedy = f"Try again later. The event was accepted: {_EVENTS_LOG}."
        return fail(check, f"accepted, without a readable number of its job ({response.summary})", remedy)
    remedy = "Use mode='single', and report it to Gameball: its documentation promises a jobId."
    return fail(check, f"accepted without a job's number ({response.summary})", remedy)


def _remedy(response: BulkResponse) -> str:  # noqa: PLR0911 a table
    """Say what to do after a bulk request that was not accepted."""
    answer = response.answer
    match answer.verdict:
        case Decision.HALT if access_problem(answer) is not None:
            return _halt_remedy(answer) + " Bulk requests need both keys, and perhaps another plan: ask Gameball."
        case Decision.HALT if answer.status in _NO_SUCH_PATH:
            return "Check --base-url. If it is right, this account has no bulk requests: ask Gameball about them."
        case Decision.HALT:
            return _halt_remedy(answer)
        case Decision.RATE_LIMITED:
            return f"The limit for such requests is used up: try again {_later(answer)}."
        case Decision.BUSY:
            return "Another request for this player is being processed: try again in a few seconds."
        case Decision.REFUSED:
            return "Correct what the answer says, or ask Gameball."
        case _ if not response.is_sent:
            return "Nothing was sent. Correct what is reported above, and try again."
        case _ if answer.status is None:
            return f"It may have arrived all the same: {_EVENTS_LOG}."
        case _:
            return f"Try again later. It may have arrived all the same: {_EVENTS_LOG} first."


def _halt_remedy(answer: Answer) -> str:
    """The remedy after an answer that halts a client, with the names of options and variables."""
    remedy = halt_remedy(answer).replace("base_url", "--base-url").replace("api_version", "--api-version")
    return remedy.replace("secret_key", SECRET_KEY) + "."


def _later(answer: Answer) -> str:
    return "in a minute" if answer.retry_after is None else f"in {duration(max(answer.retry_after, 1))}"


# ---------------------------------------------------------------- its job


class JobHistory:
    """The statuses of a job, and what they mean.

    Args:
        player: the player of the only item.
        secrets: what must not be printed.
    """

    def __init__(self, player: str, secrets: tuple[str, ...]) -> None:
        self._player = player
        self._secrets = secrets
        self._words: list[str] = []
        self._found: tuple[str, JobStatus, Mapping[str, object]] | None = None
        self._is_found = False
        self._latest: Mapping[str, BulkResponse] = {}
        self._seconds = 0.0

    def note(self, responses: Mapping[str, BulkResponse], seconds: float) -> list[str]:
        """Note the responses to one round of requests, by path, and return the paths that show a status."""
        self._latest, self._seconds = responses, seconds
        found = {path: status for path, response in responses.items() if (status := response.status) is not None}
        self._is_found = bool(found)
        if found:
            path, status = next(iter(found.items()))
            self._found = path, status, responses[path].answer.content
            self._words = list(dict.fromkeys([*self._words, status.word]))
        return list(found)

    @property
    def has_ended(self) -> bool:
        """Whether the job has."""
        return self._is_found and self._found is not None and self._found[1].state is not None

    def findings(self) -> Iterator[Finding]:
        """Yield what is known of the status, the end, and the item."""
        if self._found is None:
            yield self._no_status()
            yield from (skip(check, "the status is unknown") for check in ("job_end", "job_items"))
            return
        path, status, content = self._found
        words = ", ".join(self._masked(word)[:_LONGEST_WORD] for word in self._words)
        yield ok("job_status", f"{path} answers, {_vocabulary(self._words, content)}: {words}")
        yield self._end(status) if self._is_found else self._lost(status)
        yield self._item(status, content) if self.has_ended else skip("job_items", "the job has not ended")

    def _masked(self, words: str) -> str:
        return redact_message(words, self._secrets)

    def _answers(self) -> str:
        return ", ".join(f"{path}: {response.summary}" for path, response in self._latest.items())

    def _no_status(self) -> Finding:
        """No path has answered with a status."""
        check, answers = "job_status", self._answers()
        latest = [response.answer for response in self._latest.values()]
        halted = [answer for answer in latest if answer.verdict is Decision.HALT and answer.status not in _NO_SUCH_PATH]
        if any(response.is_temporary for response in self._latest.values()):
            when = next((_later(answer) for answer in latest if answer.verdict is Decision.RATE_LIMITED), "later")
            remedy = f"Try again {when}. The event was accepted; a client would keep asking how its job ends."
            return fail(check, f"not readable ({answers})", remedy)
        if halted:
            return fail(
                check, f"refused ({answers})", f"{_halt_remedy(halted[0])} The event was accepted all the same."
            )
        if all(answer.status in _NO_SUCH_PATH for answer in latest):
            remedy = (
                "Ask Gameball for the path, and set it in your program: Batching(jobs=JobOptions(status=(...,))). "
                f"Without it the client {_UNCONFIRMED}: use mode='single' where you need their outcomes."
            )
            return fail(check, f"no path knows the job ({answers})", remedy)
        remedy = (
            f"Report it to the maintainers of gameball_async: the client {_UNCONFIRMED}. "
            "Use mode='single' where you need their outcomes."
        )
        return fail(check, f"answered, but not with a status ({answers})", remedy)

    def _lost(self, status: JobStatus) -> Finding:
        """There was a status, and then none."""
        check, answers = "job_end", self._answers()
        last = f"the last status was {self._masked(status.word)[:_LONGEST_WORD]!r}"
        if all(response.answer.status in _NO_SUCH_PATH for response in self._latest.values()):
            words = f"the job has disappeared after {duration(self._seconds)} ({answers}); {last}"
            remedy = f"Ask Gameball how long it keeps jobs. The client {_UNCONFIRMED}; {_EVENTS_LOG}."
            return fail(check, words, remedy)
        remedy = f"Try again later. For the event that was sent, {_EVENTS_LOG}."
        return fail(check, f"not known after {duration(self._seconds)} ({answers}); {last}", remedy)

    def _end(self, status: JobStatus) -> Finding:
        check, word = "job_end", self._masked(status.word)[:_LONGEST_WORD]
        because = f": {self._masked(status.message)}" if status.message and not status.failed else ""
        match status.state:
            case JobState.COMPLETED:
                return ok(check, f"{word} within {duration(max(self._seconds, 1))}")
            case JobState.FAILED:
                remedy = f"Ask Gameball about this job. {_SENT_AGAIN}"
                return fail(check, f"{word} after {duration(self._seconds)}{because}", remedy)
            case JobState.STOPPED:
                remedy = "Find out who stopped it, or ask Gameball about this job. The client does not send it again."
                return fail(check, f"{word} after {duration(self._seconds)}{because}", remedy)
            case _ if not status.is_known:
                words = f"{word!r} after {duration(self._seconds)}, which is no documented status"
                remedy = "Report it to the maintainers of gameball_async: the client takes such a job for unfinished."
                return fail(check, words, remedy)
            case _:
                return fail(check, f"still {word} after {duration(self._seconds)}", _more_patience(self._seconds))

    def _item(self, status: JobStatus, content: Mapping[str, object]) -> Finding:  # noqa: PLR0911 a table
        """What the status of a job that has ended says of the item."""
        check, player = "job_items", self._player
        place = " and ".join(repr(self._masked(found)) for found in dict.fromkeys(_places(content, player)))
        listed = f", in {place}" if place else ""
        message = self._masked(status.message) or "without a message"
        match EndedJob(status, [player], is_whole=True).of(player):
            case ItemOutcome.CONFIRMED if player in status.succeeded:
                return ok(check, f"the item is listed as successful{listed}")
            case ItemOutcome.CONFIRMED:
                remedy = (
                    "The client counts it as delivered. If items of a job fail and are not listed either, it cannot "
                    "identify them: then it counts all events of the job as delivered without confirmation."
                )
                if status.succeeded or status.unclear:
                    return warn(check, "the job is completed, and its status lists another player's item", remedy)
                return warn(check, "the job is completed, and its status does not list the item", remedy)
            case ItemOutcome.FAILED if player in status.failed:
                remedy = f"Correct the event, or ask Gameball. {_SENT_AGAIN}"
                return fail(check, f"the item is listed as failed{listed}: {message}", remedy)
            case ItemOutcome.FAILED:
                words = "the job has failed, and its status does not list the item as successful"
                return fail(check, words, f"Ask Gameball about this job. {_SENT_AGAIN}")
            case ItemOutcome.UNKNOWN:
                words = "the job was stopped, and its status does not list the item as successful"
                remedy = f"The client does not send it again, and raises OutcomeUnknown: {_EVENTS_LOG}."
                return fail(check, words, remedy)
            case ItemOutcome.UNNAMED if player in status.unclear:
                remedy = f"Report it to the maintainers of gameball_async. The client {_UNCONFIRMED}."
                return fail(check, f"the item is listed{listed}, in words that the client does not know", remedy)
            case ItemOutcome.UNNAMED if status.failed:
                words = f"the status lists another player's item as failed: {message}"
                remedy = f"Ask Gameball how it names players there. The client {_UNCONFIRMED}."
                return fail(check, words, remedy)
            case ItemOutcome.UNNAMED:
                words = f"the item has failed, and the status does not name it: {message}"
                remedy = f"The client cannot identify the failed items of a job, so it {_UNCONFIRMED}."
                return fail(check, words, f"{remedy} Use mode='single' where you need their outcomes.")


def _more_patience(waited: float) -> str:
    """Say how to follow a job longer, here or in a program."""
    if waited >= PATIENCE_OF_CLIENT:
        return (
            "In your program, set Batching(jobs=JobOptions(patience=...)) to more seconds than a job takes, or use "
            "mode='single'."
        )
    return (
        f"Follow the next one longer, with --wait {max(60.0, 10 * waited):.0f}. A client follows a job until it has "
        f"made no progress for {PATIENCE_OF_CLIENT / 60:.0f} minutes."
    )


def _vocabulary(words: Sequence[str], content: Mapping[str, object]) -> str:
    """Which of Gameball's documents has the words of a status; its fields decide if both have."""
    used = {word.strip().lower() for word in words}
    known = frozenset[str]().union(*(documented for documented, _ in _DOCUMENTS.values()))
    if not used <= known:
        return "in words that Gameball does not document"
    having = [name for name, (documented, _) in _DOCUMENTS.items() if used <= documented]
    by_fields = [name for name in having if any(field in content for field in _DOCUMENTS[name][1])]
    if len(having) != 1 and len(by_fields) == 1:
        having = by_fields
    return f"in the words of Gameball's {having[0]}" if len(having) == 1 else "in words of both of Gameball's documents"


_DEEPEST = 3
"""Objects inside each other in which the item is searched."""


def _places(content: Mapping[str, object], player: str, depth: int = 1) -> Iterator[str]:
    """The lists with an item of the player, such as `response.failed`."""
    for key, value in content.items():
        if isinstance(value, list):
            items = cast("list[object]", value)
            if any(isinstance(item, dict) and _names(cast("dict[str, object]", item), player) for item in items):
                yield key
        elif isinstance(value, dict) and depth < _DEEPEST:
            for place in _places(cast("dict[str, object]", value), player, depth + 1):
                yield f"{key}.{place}"


def _names(item: Mapping[str, object], player: str) -> bool:
    return any(isinstance(value, str | int) and str(value) == player for value in item.values())
