"""The body of a job's status in both documented vocabularies, and of the answer to a stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from ._jobs import Job, JobState
from ._responses import Pair

_TUTORIAL_WORDS: Mapping[JobState, str] = {
    "pending": "queued",
    "processing": "running",
    "completed": "completed",
    "failed": "failed",
    "stopped": "stopped",
}

_SUCCESS = "Events processed"


def status_body(job: Job) -> dict[str, object]:
    """Return the answer to a request for a job's status."""
    return _BODIES[job.settings.vocabulary](job)


def stop_body(job: Job, pair: Pair | None) -> dict[str, object]:
    """Return the answer to a stop; the tutorials show none."""
    if pair == "tutorial":
        return {}
    state = _state(job)
    return {"batchId": str(job.id), "status": state, "message": f"The batch is {state.lower()}."}


def _openapi(job: Job) -> dict[str, object]:
    """The body in Gameball's OpenAPI file, whose arrays have no schema: their elements here are assumed."""
    return {
        "batchId": str(job.id),
        "status": _state(job),
        "progress": 100 * job.processed // len(job.players),
        "totalItems": len(job.players),
        "processedItems": job.processed,
        "failedItems": len(job.failed),
        "results": [{"customerId": player, "status": "success", "message": _SUCCESS} for player in _successful(job)],
        "errors": list(_failed(job)),
    }


def _tutorial(job: Job) -> dict[str, object]:
    """The body in the tutorials "Batch APIs"; items are listed when the job has finished."""
    response: dict[str, object] | None = None
    if job.finished is not None and job.settings.itemised:
        successful = [{"customerId": player, "message": _SUCCESS} for player in _successful(job)]
        response = {"successful": successful, "failed": list(_failed(job))}
    return {
        "operation": "events",
        "errorCount": len(job.failed),
        "totalCount": len(job.players),
        "finishedCount": job.processed,
        "startedAt": _date(job.started),
        "createdAt": _date(job.created),
        "status": _state(job),
        "response": response,
    }


_BODIES: Mapping[Pair, Callable[[Job], dict[str, object]]] = {"openapi": _openapi, "tutorial": _tutorial}


def _state(job: Job) -> str:
    state = job.state if job.settings.vocabulary == "openapi" else _TUTORIAL_WORDS[job.state]
    return state.capitalize() if job.settings.capitalised else state


def _successful(job: Job) -> Iterator[str | None]:
    if job.settings.itemised:
        failed = {item.position for item in job.failed}
        yield from (job.players[position] for position in job.order[: job.processed] if position not in failed)


def _failed(job: Job) -> Iterator[dict[str, str | None]]:
    if job.settings.itemised:
        yield from ({"customerId": item.player, "message": item.message} for item in job.failed)


def _date(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
