"""Send one real event as a bulk request, and follow its job.

Gameball documents two ways to ask for a job's status, with different bodies. Which of them an account has, and whether
it has bulk requests at all, is only known after such a request.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import attrs
import httpx

from ... import JobOptions, __version__
from ..._core.job_answers import job_id
from ..._core.outcome import Answer, Decision, read_answer
from ..._core.wire import LONGEST_ANSWER, dialect
from ..._endpoint import proxy_for
from .._options import SECRET_KEY, KeyOptions, refuse_if_switched_off
from .._terminal import UsageProblem
from ._connectivity import PATIENCE, read_body
from ._findings import Finding, fail, skip
from ._job_findings import BulkResponse, JobHistory, acceptance

POLL_INTERVAL = 1.0
"""Seconds between two requests for the status."""

LONGEST_STATUS = 16 * 1024 * 1024
"""Bytes of a job's status that are read, as many as the client reads."""

_MOST_MISSES = 3
"""Rounds in which no path knows the job; a job may be known a little later than it is accepted."""

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
"""Errors after which not one byte of the request can have been read; after all others it may have been."""


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
        UsageProblem: if they do not fit each other, or if the environment switches sending off.
    """
    if not bulk:
        if player is not None or event is not None:
            raise UsageProblem("--player and --event are for --bulk: add it to send this event.")
        return None
    if player is None or event is None:
        raise UsageProblem("--bulk sends a real event: name one that rewards nothing, with --player and --event.")
    if math.isnan(wait):
        raise UsageProblem("--wait is not a number: give seconds.")
    refuse_if_switched_off()
    return BulkOptions(player=player, event=event, wait=wait)


def bulk_findings(options: BulkOptions, keys: KeyOptions, api_version: str, base_url: str) -> Iterator[Finding]:
    """Send the event, follow its job, and yield each finding."""
    check, api = "bulk_request", dialect(api_version)
    if not api.takes_bulk:
        yield fail(check, f"{api_version} has no bulk requests", "Use --api-version v4.0 or v4.1.")
        return
    if keys.secret_key is None:
        remedy = f"Set {SECRET_KEY}, or put it into the file of --keys-file."
        yield fail(check, "there is no secret key, and bulk requests need both keys", remedy)
        return
    url = base_url.rstrip("/") + api.path_of("")
    headers = api.headers(keys.api_key or "", keys.secret_key)
    headers |= {"Accept-Encoding": "identity", "User-Agent": f"gameball-async/{__version__} doctor"}
    try:
        client = _client(url, headers)
    except (httpx.InvalidURL, OSError, ValueError, ImportError) as error:  # of the environment's proxy or certificates
        yield fail(check, f"not sent ({type(error).__name__})", "Correct what is reported above.")
        return
    with client:
        yield from _Probe(options, client, url, (*keys.secrets(), options.player)).findings()


def _client(url: str, headers: dict[str, str]) -> httpx.Client:
    proxy = proxy_for(url)
    address = None if proxy is None else proxy.url
    trust = httpx.create_ssl_context() if url.startswith("https:") else False
    return httpx.Client(headers=headers, timeout=PATIENCE, verify=trust, trust_env=False, proxy=address)


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
        body = {"body": [{"customerId": self.options.player, "events": events}]}
        response = self._ask("POST", JobOptions().submit, LONGEST_ANSWER, body)
        job = job_id(response.answer.content)
        yield acceptance(response, job, self.secrets)
        if response.answer.verdict is Decision.DELIVERED and job is not None:
            yield from self._follow(quote(str(job), safe=""), started).findings()
        else:
            yield from (skip(check, "there is no job") for check in ("job_status", "job_end", "job_items"))

    def _follow(self, job: str, started: float) -> JobHistory:
        """Ask for the job's status until it has ended, is not known, or the time is over."""
        history, paths, misses = JobHistory(self.options.player, self.secrets), JobOptions().status, 0
        while True:
            responses = self._look_at(job, paths)
            seconds = time.monotonic() - started
            found = history.note(responses, seconds)
            is_miss = not found and not any(response.is_temporary for response in responses.values())
            misses = misses + 1 if is_miss else 0
            paths = (*found, *(path for path in paths if path not in found))
            left = self.options.wait - seconds
            asked = max(response.answer.retry_after or 0.0 for response in responses.values())
            if history.has_ended or misses >= _MOST_MISSES or left <= 0 or asked > left:
                return history
            time.sleep(min(max(POLL_INTERVAL, asked), left))

    def _look_at(self, job: str, paths: Iterable[str]) -> dict[str, BulkResponse]:
        """Ask for the status once, as the client does: at the next path only if this one does not have it."""
        responses = dict[str, BulkResponse]()
        for path in paths:
            response = responses[path] = self._ask("GET", path.replace("{job}", job), LONGEST_STATUS)
            if response.status is not None or not response.is_elsewhere:
                break
        return responses

    def _ask(self, method: str, path: str, longest: int, body: object = None) -> BulkResponse:
        content = None if body is None else json.dumps(body)
        try:
            with self.client.stream(method, self.url + path, content=content) as response:
                received, is_complete = read_body(response, longest)
        except httpx.HTTPError as error:
            is_sent = not isinstance(error, _NEVER_SENT)
            verdict = Decision.AMBIGUOUS if is_sent else Decision.FAILED
            return BulkResponse(Answer(verdict=verdict, words=type(error).__name__), is_sent=is_sent)
        answer = read_answer(
            response.status_code,
            response.headers,
            received,
            complete=is_complete,
            wall_now=time.time(),
            secrets=self.secrets,
            limit=longest,
            keeps_content=True,
        )
        return BulkResponse(answer, is_complete=is_complete, is_too_long=len(received) == longest)
