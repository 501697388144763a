"""`preview` over real sockets: what is sent, what an answer means, and that events are not affected."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from gameball_async import (
    AsyncGameball,
    ClientClosed,
    ClientHalted,
    ConfigurationError,
    CustomerNotFound,
    EventDraft,
    EventPreview,
    FlushTimeout,
    InvalidEvent,
    NotStarted,
    Preview,
    PreviewError,
    PreviewTimeout,
    RateLimit,
    WrongLoop,
)
from gameball_async.sync import Gameball

from .raw_server import Peer, RawServer, response
from .support import QUICK, SOON, until

pytestmark = pytest.mark.anyio

EARNED = json.dumps({"totalPoints": 150, "events": [{"eventName": "review", "totalPoints": 150}]}).encode()
PREVIEW = Preview(total_points=150, events=(EventPreview(name="review", total_points=150),))

Answer = Callable[[Peer, bytes], bytes | None]


def client(server: RawServer, **settings: Any) -> AsyncGameball:
    settings = {"api_version": "v4.0", "batching": SOON, "retry": QUICK, "rate": None, "timeout": 30.0, **settings}
    return AsyncGameball("test-key", base_url=server.url, **settings)


def gameball_error(status: str, code: int, message: str = "no") -> bytes:
    return response(json.dumps({"code": code, "message": message}).encode(), status)


def always(answer: bytes) -> Answer:
    return lambda _peer, _body: answer


def one_after_the_other(*answers: bytes) -> Answer:
    """The last one again and again."""
    left = list(answers)
    return lambda _peer, _body: left.pop(0) if len(left) > 1 else left[0]


def is_preview(head: bytes) -> bool:
    return b"/reward-preview " in head.partition(b"\r\n")[0]


class TwoAnswers:
    """Answers previews and events differently."""

    def __init__(self, preview: bytes, event: bytes = response(b"{}")) -> None:
        self.preview = preview
        self.event = event

    def __call__(self, peer: Peer, _body: bytes) -> bytes:
        return self.preview if is_preview(peer.head) else self.event


# ---------------------------------------------------------------- the request


async def test_the_events_are_sent_as_send_does_and_nothing_is_tracked() -> None:
    heads: list[bytes] = []

    def answer(peer: Peer, _body: bytes) -> bytes:
        heads.append(peer.head)
        return response(EARNED)

    with RawServer(answer) as server:
        async with client(server, secret_key="secret", defaults={"channel": "web"}) as gameball:
            events = {"review": {"rating": 5}, "visit": None}
            preview = await gameball.preview("player123", events, mobile="+20", email="a@b.c", lang="ar-EG")
            stats = gameball.stats()
    assert preview == PREVIEW
    (_, body), head = *server.bodies, heads[0].lower()
    assert json.loads(body) == {
        "customerId": "player123",
        "events": {"review": {"channel": "web", "rating": 5}, "visit": {"channel": "web"}},
        "mobile": "+20",
        "email": "a@b.c",
    }
    assert head.startswith(b"post /api/v4.0/integrations/events/reward-preview http/1.1\r\n")
    for line in (b"apikey: test-key", b"secretkey: secret", b"lang: ar-eg", b"content-type: application/json"):
        assert line in head.split(b"\r\n")
    assert (stats.accepted, stats.requests) == (0, 0)


async def test_before_send_decides_what_leaves_the_process() -> None:
    def before_send(draft: EventDraft) -> EventDraft | None:
        draft.metadata.pop("card_number", None)
        return None if draft.name == "visit" else draft

    with RawServer(always(response(EARNED))) as server:
        async with client(server, before_send=before_send) as gameball:
            await gameball.preview("player123", {"review": {"card_number": "4111"}, "visit": None})
            assert await gameball.preview("player123", {"visit": None}) == Preview()
    assert [json.loads(body)["events"] for _, body in server.bodies] == [{"review": {}}]


async def test_a_failing_before_send_is_an_error_of_the_call() -> None:
    def before_send(_: EventDraft) -> EventDraft | None:
        raise KeyError("4111")

    with RawServer(always(response(EARNED))) as server:
        async with client(server, before_send=before_send) as gameball:
            with pytest.raises(PreviewError, match="before_send raised KeyError") as caught:
                await gameball.preview("player123", {"review": None})
    assert isinstance(caught.value.__cause__, KeyError)
    assert not server.bodies


@pytest.mark.parametrize("on_invalid", ["raise", "report"])
@pytest.mark.parametrize(
    ("player", "events"),
    [
        ("player123", {"review": {"gift": True}}),
        ("player123", {}),
        (" ", {"review": None}),
        ("p" * 101, {"review": {}}),
    ],
    ids=["value", "no event", "no player", "long player"],
)
async def test_what_cannot_be_previewed_is_refused_by_the_call(player: str, events: Any, on_invalid: str) -> None:
    with RawServer(always(response(EARNED))) as server:
        async with client(server, on_invalid=on_invalid) as gameball:
            with pytest.raises(InvalidEvent):
                await gameball.preview(player, events)
            assert await gameball.preview("p" * 100, {"review": None}) == PREVIEW
            assert gameball.stats().invalid == 0
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"api_version": "v3.0"}, "preview needs api_version 'v4.0' or 'v4.1', and this client has 'v3.0'"),
        ({"enabled": False}, "switched off by enabled=False"),
    ],
    ids=["v3", "switched off"],
)
async def test_a_client_without_previews_says_so(settings: dict[str, Any], message: str) -> None:
    with RawServer(always(response(EARNED))) as server:
        async with client(server, **settings) as gameball:
            with pytest.raises(ConfigurationError, match=message):
                await gameball.preview("player123", {"review": None})
    assert not server.bodies


async def test_a_language_that_is_none_is_refused() -> None:
    with RawServer(always(response(EARNED))) as server:
        async with client(server) as gameball:
            with pytest.raises(ConfigurationError, match="lang is 'en\\\\r\\\\nAPIKey: x'"):
                await gameball.preview("player123", {"review": None}, lang="en\r\nAPIKey: x")


# ---------------------------------------------------------------- answers


async def test_a_missing_customer_is_an_error_of_its_own() -> None:
    missing = gameball_error("404 Not Found", 7000, "customer player123 not found")
    with RawServer(always(missing)) as server:
        async with client(server) as gameball:
            with pytest.raises(CustomerNotFound, match="Gameball does not know this player") as caught:
                await gameball.preview("player123", {"review": None})
    assert (caught.value.status, caught.value.code) == (404, 7000)
    assert "player123" not in str(caught.value)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        gameball_error("401 Unauthorized", 1000),
        gameball_error("403 Forbidden", 1002),
        gameball_error("403 Forbidden", 8000),
        response(b"", "404 Not Found"),
    ],
    ids=["key", "forbidden", "plan", "route"],
)
async def test_a_refusal_says_that_previews_are_available_on_request_and_events_are_sent(refusal: bytes) -> None:
    with RawServer(TwoAnswers(refusal)) as server:
        async with client(server) as gameball:
            with pytest.raises(PreviewError, match="on request: contact your account team at Gameball"):
                await gameball.preview("player123", {"review": None})
            assert gameball.stats().halted is None
            await gameball.send("player123", {"review": None})


async def test_an_invalid_request_is_refused_without_a_retry() -> None:
    with RawServer(always(gameball_error("422 Unprocessable Entity", 3009, "customer is inactive"))) as server:
        async with client(server) as gameball:
            with pytest.raises(PreviewError, match="HTTP 422, code 3009: customer is inactive"):
                await gameball.preview("player123", {"review": None})
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b"[]", b"Events processed", b"\xff"], ids=["empty", "object", "array", "text", "binary"]
)
async def test_an_answer_that_is_no_preview_is_an_error_and_not_zero_points(answer: bytes) -> None:
    with RawServer(always(response(answer))) as server:
        async with client(server) as gameball:
            with pytest.raises(PreviewError, match="HTTP 200 brought no preview"):
                await gameball.preview("player123", {"review": None})


@pytest.mark.parametrize(
    "failure",
    [
        response(b"", "503 Service Unavailable"),
        response(b"", "500 Internal Server Error"),
        gameball_error("422 Unprocessable Entity", 2001),
        response(b"", "429 Too Many Requests", Retry_After="0.01"),
        b"",
    ],
    ids=["503", "500", "busy", "429", "reset"],
)
async def test_a_transient_failure_is_tried_again(failure: bytes) -> None:
    left = [failure]

    def answer(peer: Peer, _body: bytes) -> bytes | None:
        if not left:
            return response(EARNED)
        if not left.pop():
            peer.close()
            return None
        return failure

    with RawServer(answer) as server:
        async with client(server) as gameball:
            assert await gameball.preview("player123", {"review": None}) == PREVIEW
    assert len(server.bodies) == 2


async def test_without_an_answer_in_time_a_timeout_error_is_raised() -> None:
    with RawServer(lambda _peer, _body: None) as server:
        async with client(server, timeout=0.2) as gameball:
            with pytest.raises(TimeoutError, match=r"no preview within 0\.2 s") as caught:
                await gameball.preview("player123", {"review": None})
    assert isinstance(caught.value, PreviewTimeout)


async def test_a_timeout_names_the_last_failure() -> None:
    with RawServer(always(response(b"", "503 Service Unavailable"))) as server:
        async with client(server, timeout=2) as gameball:
            with pytest.raises(PreviewTimeout, match="the last answer: HTTP 503") as caught:
                await gameball.preview("player123", {"review": None})
    assert caught.value.status == 503


# ---------------------------------------------------------------- beside events


async def test_a_429_to_a_preview_pauses_events_too() -> None:
    limited = response(b"", "429 Too Many Requests", Retry_After="30")
    with RawServer(always(limited)) as server:
        async with client(server, timeout=2) as gameball:
            with pytest.raises(PreviewTimeout, match="the last answer: HTTP 429"):
                await gameball.preview("player123", {"review": None})
            assert gameball.stats().paused_until is not None
            await gameball.track("player123", "review")
            with pytest.raises(FlushTimeout):
                await gameball.flush(0.1)
            await gameball.aclose(0)
    assert len(server.bodies) == 1


async def test_a_pause_for_events_pauses_previews_too() -> None:
    limited = response(b"", "429 Too Many Requests", Retry_After="30")
    with RawServer(TwoAnswers(response(EARNED), limited)) as server:
        async with client(server, timeout=2) as gameball:
            await gameball.track("player123", "review")
            await until(lambda: gameball.stats().paused_until)
            with pytest.raises(PreviewTimeout, match="a pause that Gameball asked for"):
                await gameball.preview("player123", {"review": None})
            await gameball.aclose(0)
    assert len(server.bodies) == 1


async def test_a_halted_client_raises_at_once() -> None:
    with RawServer(TwoAnswers(response(EARNED), gameball_error("401 Unauthorized", 1000))) as server:
        async with client(server) as gameball:
            await gameball.track("player123", "review")
            await until(lambda: gameball.stats().halted)
            with pytest.raises(ClientHalted):
                await gameball.preview("player123", {"review": None})
            await gameball.aclose(0)


async def test_a_refused_preview_that_probes_after_a_pause_does_not_halt_the_client() -> None:
    limited = response(b"", "429 Too Many Requests", Retry_After="0.01")
    answer = TwoAnswers(limited)
    with RawServer(answer) as server:
        async with client(server) as gameball:

            def refuse_after_the_first(peer: Peer, body: bytes) -> bytes:
                found = answer(peer, body)
                answer.preview = gameball_error("403 Forbidden", 8000)
                return found

            server.answer = refuse_after_the_first
            with pytest.raises(PreviewError, match="code 8000"):
                await gameball.preview("player123", {"review": None})
            await gameball.send("player123", {"review": None})
            assert gameball.stats().halted is None


async def test_a_preview_does_not_wait_for_the_players_events() -> None:
    with RawServer(lambda peer, _body: response(EARNED) if is_preview(peer.head) else None) as server:
        async with client(server, timeout=10) as gameball:
            await gameball.track("player123", "review")
            await until(lambda: gameball.stats().in_flight)
            assert await gameball.preview("player123", {"review": None}) == PREVIEW
            assert gameball.stats().in_flight == 1
            await gameball.aclose(0)


async def test_many_previews_keep_to_the_limits_of_all_other_requests() -> None:
    rate = RateLimit(others_per_second=30, others_per_30_seconds=30)
    with RawServer(always(response(EARNED))) as server:
        async with client(server, rate=rate, timeout=0.5) as gameball:
            outcomes: list[object] = []

            async def preview(number: int) -> None:
                try:
                    outcomes.append(await gameball.preview(f"player{number}", {"review": None}))
                except PreviewTimeout as error:
                    outcomes.append(str(error))

            async with anyio.create_task_group() as tasks:
                for number in range(40):
                    tasks.start_soon(preview, number)
    assert outcomes.count(PREVIEW) <= len(server.bodies) <= 20  # two thirds of the window: bulk requests share it
    assert len(outcomes) == 40


async def test_a_cancelled_preview_harms_nothing() -> None:
    held = TwoAnswers(b"")
    with RawServer(lambda peer, body: held(peer, body) or None) as server:
        async with client(server) as gameball:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(gameball.preview, "player123", {"review": None})
                    await until(lambda: server.bodies)
                    scope.cancel()
            held.preview = response(EARNED)
            assert await gameball.preview("player123", {"review": None}) == PREVIEW
            await gameball.send("player123", {"review": None})


@pytest.mark.parametrize("waits_for", ["answer", "pause"])
async def test_a_close_ends_a_preview(waits_for: str) -> None:
    limited = response(b"", "429 Too Many Requests", Retry_After="30")
    ended: list[BaseException] = []
    with RawServer(lambda _peer, _body: limited if waits_for == "pause" else None) as server:
        async with client(server) as gameball, anyio.create_task_group() as tasks:

            async def preview() -> None:
                try:
                    await gameball.preview("player123", {"review": None})
                except ClientClosed as error:
                    ended.append(error)

            tasks.start_soon(preview)
            await until(lambda: server.bodies and (waits_for == "answer" or gameball.stats().paused_until))
            await gameball.aclose(0)
    assert len(ended) == 1


async def test_a_client_that_does_not_run_says_so() -> None:
    with RawServer(always(response(EARNED))) as server:
        gameball = client(server)
        with pytest.raises(NotStarted):
            await gameball.preview("player123", {"review": None})
        async with gameball:
            await checkpoint()
        with pytest.raises(ClientClosed):
            await gameball.preview("player123", {"review": None})


async def test_another_loop_is_refused() -> None:
    with RawServer(always(response(EARNED))) as server:
        async with client(server) as gameball:

            def elsewhere() -> None:
                anyio.run(gameball.preview, "player123", {"review": None})

            with pytest.raises(WrongLoop):
                await anyio.to_thread.run_sync(elsewhere)


# ---------------------------------------------------------------- synchronous code


def test_the_synchronous_client_has_previews() -> None:
    with (
        RawServer(always(response(EARNED))) as server,
        Gameball("test-key", api_version="v4.0", base_url=server.url) as gameball,
    ):
        assert gameball.preview("player123", {"review": None}, lang="en") == PREVIEW
