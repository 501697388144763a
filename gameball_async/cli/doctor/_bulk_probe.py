"""Send one real event as a bulk request, follow its job, and report what the documentation leaves open.

Gameball documents two ways to ask for a job's status, with different bodies. Which of them an account has, and whether
it has bulk requests at all, is only known after such a request.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from typing import cast

import attrs
import httpx

from ... import JobOptions, __version__
from ..._core.bulk_jobs import job_id
from ..._core.outcome import Answer, Decision, halt_remedy, read_answer
from ..._core.wire import dialect
from ..._endpoint import proxy_for
from .._options import SECRET_KEY, KeyOptions
from .._terminal import UsageProblem, duration, printable
from ._connectivity import PATIENCE
from ._findings import Finding, fail, ok, skip, warn

POLL_INTERVAL = 1.0
"""Seconds between two requests for the status."""

_LONGEST_MESSAGE = 200  # characters

_MOST_MISSES = 3
"""Rounds in which no path knows the job; a job may be known a little later than it is accepted."""

_ENDED = frozenset({"completed", "failed", "stopped"})
_RUNNING = frozenset({"pending", "processing", "queued", "running"})

_LISTS = (("results", "errors"), ("successful", "failed"))

_DOCUMENTS: Mapping[str, tuple[str, ...]] = {
    "API reference": ("batchId", "totalItems", "processedItems"),
    'tutorial "Batch APIs"': ("operation", "totalCount", "errorCount"),
}
"""Gameball's documents, and fields of a status that only one of them has."""

_UNCONFIRMED = "Bulk requests work, but outcomes cannot be confirmed: use mode='single' where you need them."


@attrs.frozen(kw_only=True)
class BulkOptions:
    """The event that is sent, and how long its job is followed.

    Attributes:
        player: the player of the event.
        event: its name.
        wait: seconds to follow the job, at most.
    """

    player: str
    event: str
    wait: float = 60.0


def bulk_options(*, bulk: bool, player: str | None, event: str | None, wait: float) -> BulkOptions | None:
    """Convert the options of the command; None without `--bulk`.

    Raises:
        UsageProblem: if they do not fit each other.
    """
    if not bulk:
        if player is not None or event is not None:
            raise UsageProblem("--player and --event are for --bulk: add it to send this event.")
        return None
    if player is None or event is None:
        raise UsageProblem("--bulk sends a real event: name one that rewards nothing, with --player and --event.")
    if math.isnan(wait):
        raise UsageProblem("--wait is not a number: give seconds.")
    return BulkOptions(player=player, event=event, wait=wait)


def bulk_findings(options: BulkOptions, keys: KeyOptions, api_version: str, base_url: str) -> Iterator[Finding]:
    """Send the event, follow its job, and yield each finding."""
    api = dialect(api_version)
    if not api.takes_bulk:
        yield fail("bulk_request", f"{api_version} has no bulk requests", "Use --api-version v4.0 or v4.1.")
        return
    if keys.secret_key is None:
        remedy = f"Set {SECRET_KEY}, or put it into the file of --keys-file."
        yield fail("bulk_request", "there is no secret key, and bulk requests need both keys", remedy)
        return
    url = base_url.rstrip("/") + api.path_of("")
    headers = api.headers(keys.api_key or "", keys.secret_key)
    headers |= {"Accept-Encoding": "identity", "User-Agent": f"gameball-async/{__version__} doctor"}
    proxy = proxy_for(url)
    address = None if proxy is None else proxy.url
    trust = httpx.create_ssl_context() if url.startswith("https:") else False
    with httpx.Client(headers=headers, timeout=PATIENCE, verify=trust, trust_env=False, proxy=address) as client:
        yield from _Probe(options, client, url, (*keys.secrets(), options.player)).findings()


@attrs.frozen
class _Probe:
    """One bulk request and the status of its job."""

    options: BulkOptions
    client: httpx.Client
    url: str
    secrets: tuple[str, ...]

    def findings(self) -> Iterator[Finding]:
        started = time.monotonic()
        events: dict[str, object] = {self.options.event: {}}
        response = self._ask(
            "POST", JobOptions().submit, {"body": [{"customerId": self.options.player, "events": events}]}
        )
        job = job_id(response.content)
        yield _acceptance(response, job)
        if response.answer.verdict is Decision.DELIVERED and job is not None:
            yield from self._follow(job, started)
        else:
            yield from (skip(check, "there is no job") for check in ("job_status", "job_end", "job_items"))

    def _follow(self, job: int | str, started: float) -> Iterator[Finding]:
        """Ask for the job's status until it has ended, or the time is over."""
        paths, seen, misses = JobOptions().status, list[str](), 0
        while True:
            responses = {path: self._ask("GET", path.format(job=job)) for path in paths}
            found = {path: response for path, response in responses.items() if response.is_status}
            misses = 0 if found else misses + 1
            if found:
                paths = tuple(found)  # the other one is not asked again
                seen = list(dict.fromkeys([*seen, next(iter(found.values())).state]))
            seconds = time.monotonic() - started
            has_ended = bool(found) and seen[-1].lower() in _ENDED
            if has_ended or misses >= _MOST_MISSES or seconds >= self.options.wait:
                break
            time.sleep(POLL_INTERVAL)
        if not found:
            yield _no_status(responses)
            yield from (skip(check, "the status is unknown") for check in ("job_end", "job_items"))
            return
        path, response = next(iter(found.items()))
        yield ok("job_status", f"{path} answers, {response.vocabulary}: {', '.join(seen)}")
        yield _end(seen[-1], seconds)
        yield _items(response) if has_ended else skip("job_items", "the job has not ended")

    def _ask(self, method: str, path: str, body: object = None) -> _Response:
        try:
            content = None if body is None else json.dumps(body)
            response = self.client.request(method, self.url + path, content=content)
        except httpx.HTTPError as error:
            return _Response(Answer(verdict=Decision.AMBIGUOUS, words=type(error).__name__), {})
        answer = read_answer(
            response.status_code,
            response.headers,
            response.content,
            complete=True,
            wall_now=time.time(),
            secrets=self.secrets,
            keeps_content=True,
        )
        return _Response(answer, answer.content)


@attrs.frozen
class _Response:
    """The response to one request."""

    answer: Answer
    content: Mapping[str, object]

    @property
    def state(self) -> str:
        """The status of a job, as it is worded."""
        state = self.content.get("status")
        return printable(state)[:40] if isinstance(state, str) else ""

    @property
    def is_status(self) -> bool:
        return self.answer.verdict is Decision.DELIVERED and bool(self.state)

    @property
    def vocabulary(self) -> str:
        """Which of Gameball's documents has the words of a status."""
        known = {document: sum(key in self.content for key in keys) for document, keys in _DOCUMENTS.items()}
        best = max(known, key=lambda document: known[document])
        return f"in the words of Gameball's {best}" if known[best] else "in words that Gameball does not document"


def _acceptance(response: _Response, job: int | str | None) -> Finding:
    """What the answer to the bulk request means."""
    check, answer = "bulk_request", response.answer
    if answer.verdict is Decision.DELIVERED:
        if job is not None:
            return ok(check, f"accepted as job {job} (HTTP {answer.status})")
        remedy = "Use mode='single', and report it to Gameball: its documentation promises a jobId."
        return fail(check, f"accepted without a job's number (HTTP {answer.status})", remedy)
    words = "not accepted" if answer.status is not None else "not answered"
    match answer.status:
        case 401 | 403:
            remedy = f"{halt_remedy(answer)}. Bulk requests need both keys, and perhaps another plan: ask Gameball."
        case 404 | 405:
            remedy = "Check --base-url. If it is right, this account has no bulk requests: ask Gameball about them."
        case 429:
            remedy = "The limit for such requests is used up: try again in a minute."
        case None:
            remedy = "It may have arrived all the same: look into the Events Log of Gameball's dashboard."
        case _:
            remedy = "Correct what the answer says, or ask Gameball."
    return fail(check, f"{words} ({printable(answer.summary)})", remedy)


def _no_status(last: Mapping[str, _Response]) -> Finding:
    """Neither path has answered with a status."""
    answers = ", ".join(f"{path}: {printable(response.answer.summary)}" for path, response in last.items())
    statuses = {response.answer.status for response in last.values()}
    if statuses & {401, 403}:
        return fail("job_status", f"refused ({answers})", "Check both keys. The event was accepted all the same.")
    if statuses <= {404, 405}:
        remedy = f"Ask Gameball for the path, and give it as JobOptions(status=...). {_UNCONFIRMED}"
        return fail("job_status", f"no path knows the job ({answers})", remedy)
    return fail("job_status", f"not readable ({answers})", f"Try again later. {_UNCONFIRMED}")


def _end(state: str, seconds: float) -> Finding:
    check = "job_end"
    match state.lower():
        case "completed":
            return ok(check, f"completed within {max(seconds, 1):.0f} s")
        case "failed" | "stopped":
            return fail(check, f"{state} after {seconds:.0f} s", "Look at the items; ask Gameball about this job.")
        case word if word in _RUNNING:
            remedy = "Give more time with --wait, and set JobOptions(patience=...) to more than that."
            return fail(check, f"still {state} after {duration(seconds)}", remedy)
        case _:
            remedy = "Report it to the maintainers of gameball_async: the client knows no such word."
            return fail(check, f"{state!r} is no documented status", remedy)


def _items(response: _Response) -> Finding:
    """Whether the status lists the items, so that failures can be assigned to players."""
    check, content = "job_items", {**response.content, **_object(response.content.get("response"))}
    for successes, failures in _LISTS:
        if failed := content.get(failures):
            words = f"the item is listed as failed in {failures!r}: {_message(failed)}"
            return fail(check, words, "Correct the event, or ask Gameball.")
        if content.get(successes):
            return ok(check, f"successful items are listed in {successes!r}")
    if content.get("failedItems") or content.get("errorCount"):
        return fail(check, "the item has failed, and the status does not list it", _UNCONFIRMED)
    return warn(
        check,
        "the status counts items, and does not list them",
        "Failed items of a job cannot be identified, so all of the job then counts as unconfirmed.",
    )


def _message(failed: object) -> str:
    entry = _object(cast("list[object]", failed)[0] if isinstance(failed, list) else None)
    words = [entry[key] for key in ("error", "message") if isinstance(entry.get(key), str)]
    return printable(words[0])[:_LONGEST_MESSAGE] if words else "without a message"


def _object(value: object) -> Mapping[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else dict[str, object]()
