"""One representative case of each error and of the usual lines in the log, with the whole text.

Users match on types, codes and reasons. They read these texts: after a change of one, read all of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from gameball_async import (
    AsyncGameball,
    Batching,
    DeliveryError,
    Event,
    GameballError,
    Journal,
    RateLimit,
    Retry,
    validate_event,
)

KEY = "api-key-0123456789"
PLAYER = "player-4711"
ANOTHER = "player-4712"
AT_ONCE = Batching(linger=0)
ONE_EVENT: dict[str, Any] = {"max_events": 1, "buffer_events": 1, "max_bytes": 1000, "buffer_bytes": 1000}
MANY_IN_ONE: dict[str, Any] = {**ONE_EVENT, "max_events": 9}

SETTINGS: dict[str, Callable[[], Any]] = {
    "no key": AsyncGameball,
    "a key with a line break": lambda: AsyncGameball("a\nkey"),
    "a version that is not known": lambda: AsyncGameball("key", api_version="v5"),
    "v4.1 without a secret key": lambda: AsyncGameball("key", api_version="v4.1"),
    "an address without a scheme": lambda: AsyncGameball("key", base_url="api.gameball.co"),
    "an address without TLS": lambda: AsyncGameball("key", base_url="http://api.gameball.co"),
    "a timeout of nothing": lambda: AsyncGameball("key", timeout=0),
    "an on_failure that is none": lambda: AsyncGameball("key", on_failure=1),  # type: ignore[arg-type]
    "an observer that is none": lambda: AsyncGameball("key", observer=1),  # type: ignore[arg-type]
    "a batching that is none": lambda: AsyncGameball("key", batching=1),  # type: ignore[arg-type]
    "a client of another library": lambda: AsyncGameball("key", http_client=1),  # type: ignore[arg-type]
    "a linger below zero": lambda: Batching(linger=-1),
    "no events in a request": lambda: Batching(max_events=0),
    "a word that is no choice": lambda: Batching(when_full="block"),  # type: ignore[arg-type]
    "a buffer below one request": lambda: Batching(buffer_bytes=1000),
    "a maximum below the first wait": lambda: Retry(initial=2, maximum=1),
    "a jitter above one": lambda: Retry(jitter=2),
    "a linger beyond the end of all tries": lambda: AsyncGameball(
        "key", batching=Batching(linger=10), retry=Retry(give_up_after=5)
    ),
    "a share above one": lambda: RateLimit(share=2),
    "a share that leaves nothing": lambda: RateLimit(per_second=1, share=0.1),
    "a journal without a folder": lambda: Journal(""),
    "a journal that is too small": lambda: Journal("folder", max_bytes=1),
}

EVENTS: dict[str, tuple[Any, ...]] = {
    "no player": (None, "review"),
    "a player that is a number": (1, "review"),
    "an empty player": ("", "review"),
    "a blank name": ("player", " "),
    "a name with a lone surrogate": ("player", "\ud800"),
    "metadata that is a list": ("player", "review", []),
    "a key that is a number": ("player", "review", {1: 2}),
    "a value that is a mapping": ("player", "review", {"stars": {}}),
    "a value that is None": ("player", "review", {"stars": None}),
    "a value that is no number": ("player", "review", {"stars": float("nan")}),
    "a value of bytes": ("player", "review", {"stars": b""}),
    "a value that is true": ("player", "review", {"stars": True}),
}


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {record.levelname}: {record.getMessage()}")


@contextmanager
def _logged() -> Generator[list[str]]:
    log, handler = logging.getLogger("gameball_async"), _Lines()
    log.addHandler(handler)
    propagates, log.propagate = log.propagate, False
    try:
        yield handler.lines
    finally:
        log.removeHandler(handler)
        log.propagate = propagates


def describe() -> str:
    """The text of all messages."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            *_section("settings", {name: _raised(make) for name, make in SETTINGS.items()}),
            *_section("events", {name: _raised(partial(validate_event, *event)) for name, event in EVENTS.items()}),
            *_section("calls", {name: asyncio.run(_call(case, Path(folder))) for name, case in CALLS.items()}),
        ]
        return "\n".join(lines).replace(folder, "FOLDER") + "\n"


def _section(title: str, cases: dict[str, list[str]]) -> Iterator[str]:
    for name, lines in cases.items():
        yield from (f"# {title}: {name}", "", *lines, "")


def _raised(call: Callable[[], Any]) -> list[str]:
    unset = {name: value for name, value in os.environ.items() if not name.startswith("GAMEBALL")}
    try:
        with mock.patch.dict(os.environ, unset, clear=True):
            call()
    except GameballError as error:
        return [_text(error)]
    return ["accepted"]


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


# -------------------------------------------------------------------- calls


class _Case:
    """What a case works with: a client whose requests are answered as it wants, and what was said."""

    def __init__(self, folder: Path, http_client: httpx.AsyncClient) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.answer = httpx.Response(200)
        self.hangs = False
        self.seconds = 0.0
        self._http_client = http_client

    def client(self, **settings: Any) -> AsyncGameball:
        given: dict[str, Any] = {"batching": AT_ONCE, "on_failure": self._on_failure} | settings
        return AsyncGameball(KEY, http_client=self._http_client, rate=None, **given)

    def _on_failure(self, event: Event, error: DeliveryError) -> None:
        self.said.append(f"on_failure {event.name}: {_text(error)}")

    async def say(self, call: Awaitable[object]) -> None:
        try:
            await call
        except GameballError as error:
            self.said.append(_text(error))

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if self.hangs:
            await asyncio.sleep(3600)
        await asyncio.sleep(self.seconds)
        if self.answer.status_code == 0:
            raise httpx.ReadError("the connection broke", request=request)
        return self.answer


async def _call(case: Callable[[_Case], Awaitable[None]], folder: Path) -> list[str]:
    cases: list[_Case] = []

    async def handle(request: httpx.Request) -> httpx.Response:
        return await cases[0].handle(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http_client:
        cases.append(_Case(folder, http_client))
        with _logged() as lines:
            await case(cases[0])
        return [*cases[0].said, *lines] or ["nothing is said"]


async def _until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 what is waited for sets no event
        await asyncio.sleep(0.001)  # other threads, such as a journal's, must get the interpreter too


async def _not_started(case: _Case) -> None:
    gameball = case.client()
    receipt = await gameball.track(PLAYER, "review")

    async def wait() -> None:
        await receipt

    await case.say(wait())
    await case.say(gameball.flush())
    await gameball.aclose()


async def _not_started_with_a_journal(case: _Case) -> None:
    await case.say(case.client(journal=case.folder / "journal").track(PLAYER, "review"))


async def _closed(case: _Case) -> None:
    async with case.client() as gameball:
        pass
    await case.say(gameball.track(PLAYER, "review"))


async def _own_thread(case: _Case) -> None:
    async with case.client() as gameball:
        try:
            gameball.track_threadsafe(PLAYER, "review")
        except GameballError as error:
            case.said.append(_text(error))


async def _another_loop(case: _Case) -> None:
    async with case.client() as gameball:

        def track() -> None:
            asyncio.run(case.say(gameball.track(PLAYER, "review")))

        await asyncio.to_thread(track)


async def _full(case: _Case) -> None:
    case.hangs = True
    async with case.client(batching=Batching(linger=0, when_full="raise", **ONE_EVENT)) as gameball:
        await gameball.track(PLAYER, "review")
        await _until(lambda: gameball.stats().in_flight)
        await case.say(gameball.track(PLAYER, "review"))
        await gameball.aclose(0)


async def _drop_oldest(case: _Case) -> None:
    async with case.client(batching=Batching(linger=60, when_full="drop_oldest", **MANY_IN_ONE)) as gameball:
        await gameball.track(PLAYER, "first")
        await gameball.track(ANOTHER, "second")


async def _drop_newest(case: _Case) -> None:
    async with case.client(batching=Batching(linger=60, when_full="drop_newest", **MANY_IN_ONE)) as gameball:
        await gameball.track(PLAYER, "first")
        await gameball.track(ANOTHER, "second")


async def _too_large(case: _Case) -> None:
    async with case.client(batching=Batching(max_bytes=1000)) as gameball:
        await case.say(gameball.track(PLAYER, "review", {"text": "x" * 1000}))
        await case.say(gameball.send(PLAYER, {}))
        await case.say(gameball.send(PLAYER, {f"event{number}": None for number in range(101)}))


async def _flush_timeout(case: _Case) -> None:
    case.hangs = True
    async with case.client() as gameball:
        await gameball.track(PLAYER, "review")
        await _until(lambda: gameball.stats().in_flight)
        await case.say(gameball.flush(0))
        await gameball.aclose(0)


async def _closed_with_a_request_in_flight_and_one_waiting(case: _Case) -> None:
    case.hangs = True
    async with case.client() as gameball:
        await gameball.track(PLAYER, "first")
        await _until(lambda: gameball.stats().in_flight)
        await gameball.track(PLAYER, "second")
        await gameball.aclose(0)


async def _answered(case: _Case, status: int, body: dict[str, Any] | None = None, **settings: Any) -> None:
    case.answer = httpx.Response(status, json=body) if status else httpx.Response(0)
    async with case.client(**settings) as gameball:
        await case.say(gameball.send(PLAYER, {"review": {"stars": 5}}))


async def _rejected(case: _Case) -> None:
    await _answered(case, 422, {"code": 3001, "message": "The player does not exist."})


async def _rejected_without_words(case: _Case) -> None:
    await _answered(case, 400)


async def _unknown(case: _Case) -> None:
    await _answered(case, 0, retry=Retry(ambiguous="report"))


async def _expired(case: _Case) -> None:
    case.seconds = 0.6
    await _answered(case, 503, retry=Retry(give_up_after=0.5))


async def _halted(case: _Case) -> None:
    case.answer = httpx.Response(401, json={"code": 1000, "message": "Invalid key."})
    async with case.client() as gameball:
        await gameball.track(PLAYER, "review")
        await case.say(gameball.flush())
        await gameball.aclose(0)


async def _redirected(case: _Case) -> None:
    case.answer = httpx.Response(307, headers={"Location": "https://elsewhere.invalid/"})
    async with case.client() as gameball:
        await gameball.track(PLAYER, "review")
        await case.say(gameball.flush())
        await gameball.aclose(0)


async def _journal_is_a_file(case: _Case) -> None:
    path = case.folder / "a-file"
    path.write_bytes(b"")
    await case.say(case.client(journal=path).start())


async def _kept(case: _Case) -> None:
    case.hangs = True
    async with case.client(journal=case.folder / "kept") as gameball:
        await gameball.track(PLAYER, "review")
        await _until(lambda: gameball.stats().in_flight)
        await gameball.aclose(0)


async def _raising(case: _Case) -> None:
    def fail(_: Event, __: DeliveryError) -> None:
        raise RuntimeError("never shown")

    case.answer = httpx.Response(422)
    async with case.client(on_failure=fail) as gameball:
        await gameball.track(PLAYER, "review")


async def _padded(case: _Case) -> None:
    async with case.client() as gameball:
        await gameball.track(PLAYER, " review ")


CALLS: dict[str, Callable[[_Case], Awaitable[None]]] = {
    "a client that was not started": _not_started,
    "a client with a journal that was not started": _not_started_with_a_journal,
    "a client that was closed": _closed,
    "track_threadsafe in the client's own thread": _own_thread,
    "track in another loop": _another_loop,
    "a full buffer": _full,
    "a full buffer that drops the oldest": _drop_oldest,
    "a full buffer that drops the newest": _drop_newest,
    "events that fit in no request": _too_large,
    "a flush that is out of time": _flush_timeout,
    "a close that is out of time": _closed_with_a_request_in_flight_and_one_waiting,
    "a refused event": _rejected,
    "a refused event without a reason": _rejected_without_words,
    "a lost answer": _unknown,
    "an event that is too old": _expired,
    "a refused client": _halted,
    "a redirect": _redirected,
    "a journal where a file is": _journal_is_a_file,
    "a close that keeps events in the journal": _kept,
    "an on_failure that raises": _raising,
    "a name with white space around it": _padded,
}
