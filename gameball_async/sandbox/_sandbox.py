"""`Sandbox`, the class that users create, and the app that it serves: the API, the control interface and the page."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import Self, cast

import attrs
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from ._faults import Fault
from ._handler import AcceptedKeys, InFlight, RequestHandler
from ._jobs import Job, JobRecord, JobSettings
from ._memory import HeldEvent, RequestRecord, Tally, Violation
from ._page import PATH, AccessGuard, Json, Page, RootRedirect, bad_request, headers_of
from ._preview import Reward
from ._responses import ROUTES, ApiRoute, PlannedResponse
from ._rules import Limits
from ._server import InterruptibleSleep, ResponseWriter, ServerThread, Stopped, listen

_log = logging.getLogger(__name__)

_GAMEBALLS_LIMITS = Limits()
_USUAL_JOBS = JobSettings()


class Sandbox:
    """A strict fake of the Gameball API on a real socket, in its own thread.

    ::

        with Sandbox() as sandbox:
            ...  # send to sandbox.url
            assert sandbox.violations == []

    It keeps all requests in memory until `reset`.

    Args:
        host: the address to listen at.
        port: the port; 0 selects a free one, which a later `start` uses again.
        api_key: the only APIKey accepted; None accepts any that is not empty.
        secret_key: the only SecretKey accepted; None accepts any that is not empty.
        limits: the rate limits; None for none.
        jobs: what becomes of bulk requests; see also `set_jobs`.
        rewards: what previews answer, by event name: points, a `Reward`, or several.
        seed: the seed of the random numbers of faults and jobs.
        on_request: called with each request's record in the sandbox's thread, just
            before the end of its answer; exceptions are logged.
    """

    def __init__(  # noqa: PLR0913 all are optional
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        secret_key: str | None = None,
        limits: Limits | None = _GAMEBALLS_LIMITS,
        jobs: JobSettings = _USUAL_JOBS,
        rewards: Mapping[str, int | Reward | Sequence[Reward]] = MappingProxyType({}),
        seed: int = 0,
        on_request: Callable[[RequestRecord], None] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._handler = RequestHandler(
            keys=AcceptedKeys(api_key, secret_key),
            limits=limits,
            jobs=jobs,
            rewards=rewards,
            seed=seed,
            on_request=on_request,
            now=time.monotonic,
        )
        self._thread: ServerThread | None = None
        # set by `stop` to end a downtime; None while there is none
        self._downtime: threading.Event | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        if self._downtime is not None:
            return f"<Sandbox refusing connections at {self.url}>"
        state = "stopped" if self._thread is None else f"listening at {self.url}"
        return f"<Sandbox {state}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __del__(self) -> None:
        if getattr(self, "_thread", None) is not None:
            warnings.warn(f"{self!r} was not stopped: call stop(), or use it in a with block.", ResourceWarning, 2)

    def start(self) -> None:
        """Listen; when this returns, requests are served. After a `stop`, the port and the data are the same.

        Raises:
            OSError: if the address is not available.
            RuntimeError: if it is running already.
        """
        with self._lock:
            if self._thread is not None or self._downtime is not None:
                raise RuntimeError("the sandbox is already running: stop it first, or create a second one.")
            self._listen()

    def _listen(self) -> None:
        listener = listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        # a weak reference, so that a forgotten sandbox is collected and warns
        weakly = weakref.WeakMethod(self._refuse_connections)

        def refuse_connections(seconds: float) -> None:
            if (method := weakly()) is not None:
                method(seconds)

        app = functools.partial(create_app, self._handler, self._host, refuse_connections)
        thread = ServerThread(app, listener)
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """Close all connections and stop listening; requests in progress are abandoned. Idempotent."""
        with self._lock:
            if self._downtime is not None:
                self._downtime.set()
                self._downtime = None
            self._close()

    def _close(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def _refuse_connections(self, seconds: float) -> None:
        """Refuse connections for a time, in another thread: the caller is the server's, which has to end first."""
        arguments = (self._thread, seconds)
        threading.Thread(target=self._be_down, args=arguments, name="gameball-sandbox-downtime", daemon=True).start()

    def _be_down(self, thread: ServerThread | None, seconds: float) -> None:
        with self._lock:
            if self._thread is not thread:
                return  # it was stopped in the meantime
            self._close()
            downtime = self._downtime = threading.Event()
        downtime.wait(seconds)
        with self._lock:
            if self._downtime is not downtime:
                return
            self._downtime = None
            try:
                self._listen()
            except OSError:
                extra = {"gameball_kind": "sandbox"}
                _log.exception("the sandbox cannot listen at %s again: call start() to retry", self.url, extra=extra)

    @property
    def url(self) -> str:
        """The base address for a client, without a path.

        Raises:
            RuntimeError: if it has no port yet.
        """
        if self._port == 0:
            raise RuntimeError("the sandbox has no port yet: call start() first, or choose a port.")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def holdings(self) -> dict[str, list[HeldEvent]]:
        """The applied events: by player, in order. A snapshot."""
        return self._handler.memory.holdings()

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests that have ended, in the order they ended. A snapshot."""
        return self._handler.memory.requests()

    @property
    def violations(self) -> list[Violation]:
        """The rules that were broken, in order. A snapshot."""
        return self._handler.memory.violations()

    @property
    def jobs(self) -> list[JobRecord]:
        """The jobs of bulk requests, in the order they were accepted. A snapshot."""
        return self._handler.memory.jobs.records()

    def set_jobs(self, jobs: JobSettings) -> None:
        """Replace the settings of jobs; those accepted before keep theirs, but for `paths`."""
        self._handler.jobs = jobs

    def stats(self) -> Tally:
        """All counts. A snapshot."""
        return self._handler.memory.tally()

    def wait_for(self, condition: Callable[[Tally], bool], timeout: float = 5.0) -> None:
        """Block this thread until the sandbox's counts satisfy a condition.

        Args:
            condition: called whenever a request arrives or ends, or a job changes.
            timeout: seconds.

        Raises:
            TimeoutError: if they do not in time; the message has the counts.
        """
        if not self._handler.memory.wait_for(condition, timeout):
            raise TimeoutError(f"the condition was not met within {timeout:g} s: {self.stats()}.")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of the current script."""
        return self._handler.script.faults

    def script(self, *faults: Fault) -> None:
        """Replace the script of faults; without arguments, remove all faults.

        Time spans count from this call, and the random numbers restart from the seed.
        """
        self._handler.set_script(*faults)

    def reset(self) -> None:
        """Delete events, jobs, requests, violations and the rate windows, but not the script."""
        self._handler.reset()


# ---------------------------------------------------------------- the app

# a job is processed in about 50 steps of 10 to 250 ms: fewer steps with more items cost less CPU
_STEPS = 50
_SHORTEST_STEP, _LONGEST_STEP = 0.01, 0.25  # seconds


def create_app(
    handler: RequestHandler, host: str, refuse_connections: Callable[[float], None], sleeps: InterruptibleSleep
) -> Starlette:
    """Make the app. It needs a server that puts each connection's `transport` into the scope's state."""
    worker = JobWorker(handler, sleeps)
    not_found = _Api(handler, sleeps, worker, {})
    guarded = Router([*_Control(handler).routes(), *Page(handler, sleeps, refuse_connections).routes()])
    methods: dict[str, dict[str, ApiRoute]] = {}
    for route in ROUTES:
        methods.setdefault(route.path, {})[route.method] = route
    return Starlette(
        routes=[
            *(Route(path, _Api(handler, sleeps, worker, by_method)) for path, by_method in methods.items()),
            Mount(PATH, AccessGuard(guarded, host)),
            *(Route(path, RootRedirect(not_found)) for path in ("/", PATH.rstrip("/"))),
            Mount("/", not_found),
        ]
    )


class JobWorker:
    """Processes jobs in the server's event loop; those of an earlier run of the server continue."""

    def __init__(self, handler: RequestHandler, sleeps: InterruptibleSleep) -> None:
        self._handler = handler
        self._sleeps = sleeps
        self._tasks: set[asyncio.Task[None]] = set()
        for job in handler.memory.jobs.active():
            self.start(job)

    def start(self, job: Job) -> None:
        task = asyncio.create_task(self._work(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, job: Job) -> None:
        step = min(max(job.latency / _STEPS, _SHORTEST_STEP), _LONGEST_STEP)
        with suppress(Stopped):
            while (wait := self._handler.advance(job)) is not None:
                await self._sleeps.sleep(max(wait, step))


class _Api:
    """The API at one path, by method; anything else is a 404."""

    def __init__(
        self,
        handler: RequestHandler,
        sleeps: InterruptibleSleep,
        worker: JobWorker,
        routes: Mapping[str, ApiRoute],
    ) -> None:
        self._handler = handler
        self._sleeps = sleeps
        self._worker = worker
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            return
        writer = ResponseWriter(scope, receive, send, self._sleeps)
        route = self._routes.get(scope["method"])
        job_id = scope.get("path_params", {}).get("job", "")
        request = self._handler.arrive(route, scope["path"], job_id, headers_of(scope), body, writer.is_gone)
        try:
            await self._sleeps.sleep(request.plan.delay / 2)
            response = self._decide(request)
            await self._sleeps.sleep(request.plan.delay / 2)
            await writer.write(response, lambda: self._handler.end(request, response))
        except Stopped:
            await writer.gone()
        finally:
            self._handler.end(request, None)  # if the sandbox stopped, there was no response

    def _decide(self, request: InFlight) -> PlannedResponse:
        response = self._handler.decide(request)
        if request.job is not None and request.job.request == request.number:
            self._worker.start(request.job)
        return response


async def _body(receive: Receive) -> bytes | None:
    """Return the body, or None if the client disconnected before it was complete."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


class _Control:
    """The HTTP control interface for tests. It shows phone numbers and e-mail addresses."""

    def __init__(self, handler: RequestHandler) -> None:
        self._handler = handler

    def routes(self) -> list[Route]:
        return [
            Route("/holdings", self.holdings),
            Route("/requests", self.requests),
            Route("/violations", self.violations),
            Route("/jobs", self.jobs),
            Route("/job-settings", self.job_settings),
            Route("/job-settings", self.set_jobs, methods=["POST"]),
            Route("/stats", self.stats),
            Route("/faults", self.faults),
            Route("/faults", self.script, methods=["POST"]),
            Route("/faults", self.clear, methods=["DELETE"]),
            Route("/reset", self.reset, methods=["POST"]),
        ]

    async def holdings(self, _: Request) -> Response:
        held = self._handler.memory.holdings()
        return Json({player: _plain(events) for player, events in held.items()})

    async def requests(self, _: Request) -> Response:
        return Json(_plain(self._handler.memory.requests()))

    async def violations(self, _: Request) -> Response:
        return Json(_plain(self._handler.memory.violations()))

    async def jobs(self, _: Request) -> Response:
        return Json(_plain(self._handler.memory.jobs.records()))

    async def job_settings(self, _: Request) -> Response:
        return Json(self._handler.jobs.to_json())

    async def set_jobs(self, request: Request) -> Response:
        try:
            self._handler.jobs = JobSettings.from_json(json.loads(await request.body()))
        except ValueError as error:
            return bad_request(str(error))
        except RecursionError:
            return bad_request("the JSON is nested too deeply: send an object with fields of JobSettings.")
        return Json(self._handler.jobs.to_json())

    async def stats(self, _: Request) -> Response:
        tally = attrs.asdict(self._handler.memory.tally())
        return Json({**tally, "statuses": {str(key): count for key, count in tally["statuses"].items()}})

    async def faults(self, _: Request) -> Response:
        return Json([fault.to_json() for fault in self._handler.script.faults])

    async def script(self, request: Request) -> Response:
        try:
            given: object = json.loads(await request.body())
            several = cast("list[object]", given) if isinstance(given, list) else [given]
            faults = [Fault.from_json(value) for value in several]
        except ValueError as error:
            return bad_request(str(error))
        except RecursionError:
            return bad_request("the JSON is nested too deeply: send a fault, or an array of faults.")
        self._handler.set_script(*faults)
        return Json([fault.to_json() for fault in faults])

    async def clear(self, _: Request) -> Response:
        self._handler.set_script()
        return Json([])

    async def reset(self, _: Request) -> Response:
        self._handler.reset()
        return Json({})


def _plain(values: Iterable[attrs.AttrsInstance]) -> list[dict[str, object]]:
    return [attrs.asdict(value) for value in values]
