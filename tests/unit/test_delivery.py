"""One attempt: what leaves, what each failure of the transport means, and that nothing foreign ever leaks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import anyio
import anyio.lowlevel
import httpcore
import httpx
import pytest
import respx

from gameball_async._core.outcome import Answer, Decision
from gameball_async._core.wire import LONGEST_ANSWER
from gameball_async._engine.delivery import Delivery
from gameball_async._engine.flusher import CONNECTIONS
from gameball_async._engine.network import Transport

pytestmark = pytest.mark.anyio

URL = "https://api.gameball.co/api/v3.0/integrations/event"
KEY, SECRET = "my-very-own-key", "my-very-own-secret"
HEADERS = {"APIKey": KEY, "SecretKey": SECRET, "Content-Type": "application/json", "User-Agent": "gameball-async/0"}
BODY = b'{"events":{"review":{}},"playerUniqueId":"player123"}'

DELIVERED, REFUSED, FAILED = Decision.DELIVERED, Decision.REFUSED, Decision.FAILED
AMBIGUOUS, HALT = Decision.AMBIGUOUS, Decision.HALT


def delivery(*, url: str = URL, http_client: httpx.AsyncClient | None = None, timeout: float = 10.0) -> Delivery:
    return Delivery(url, HEADERS, timeout=timeout, secrets=(KEY, SECRET), http_client=http_client)


async def post_once(**settings: Any) -> Answer:
    made = delivery(**settings)
    try:
        return await made.post(BODY)
    finally:
        await made.aclose()


class Stream(httpx.AsyncByteStream):
    """A body that comes in pieces, and what happens then."""

    def __init__(self, *pieces: bytes | Exception, closing: Exception | None = None) -> None:
        self._pieces = pieces
        self._closing = closing
        self.read = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await anyio.lowlevel.checkpoint()
            if isinstance(piece, Exception):
                raise piece
            self.read += len(piece)
            yield piece

    async def aclose(self) -> None:
        self.closed = True
        if self._closing is not None:
            raise self._closing


# ---------------------------------------------------------------- what leaves


@respx.mock
async def test_the_body_and_the_headers_leave_as_they_are() -> None:
    route = respx.post(URL).respond(200)

    answer = await post_once()

    request = route.calls.last.request
    assert answer == Answer(verdict=DELIVERED, status=200)
    assert request.content == BODY
    assert request.headers["Content-Length"] == str(len(BODY))
    assert {name: request.headers[name] for name in HEADERS} == HEADERS
    assert request.headers["Accept-Encoding"] == "identity"


@respx.mock
async def test_a_retry_is_identical() -> None:
    route = respx.post(URL).respond(503)
    made = delivery()

    await made.post(BODY)
    await made.post(BODY)

    first, second = (cast("httpx.Request", call.request) for call in cast("list[Any]", route.calls))
    assert (first.content, first.headers, first.url) == (second.content, second.headers, second.url)
    await made.aclose()


async def test_a_client_of_the_users_own_is_used_asks_for_plain_answers_and_stays_open() -> None:
    """A compressed answer could not be read, and its code would be lost."""
    requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as client:
        answer = await post_once(http_client=client)

        assert answer.verdict is DELIVERED
        assert not client.is_closed
        assert requests[0].headers["Accept-Encoding"] == "identity"


async def test_the_proxy_of_the_environment_is_honoured_but_never_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    for host, honoured in [
        ("https://api.gameball.co", True),
        ("http://10.0.0.1", True),
        ("http://127.0.0.1:8000", False),
        ("http://127.1.2.3", False),
        ("http://localhost:8000", False),
        ("http://[::1]:8000", False),
    ]:
        made = delivery(url=host + "/api/v3.0/integrations/event")
        transport = made._new_transport()
        assert isinstance(transport._connection, httpcore.AsyncHTTPProxy) is honoured, host
        await made.aclose()


async def test_certificates_are_loaded_once_and_for_https_alone() -> None:
    made, plain, again = delivery(), delivery(url="http://127.0.0.1:1/x"), delivery()
    before = plain._ssl

    await made.prepare()
    await again.prepare()
    await plain.prepare()

    assert made._ssl is again._ssl
    assert made._ssl.cert_store_stats()["x509_ca"] > 0
    assert plain._ssl is before


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (200, b"", {}, Answer(verdict=DELIVERED, status=200)),
        (200, b'{"success":false}', {}, Answer(verdict=REFUSED, status=200)),
        (
            422,
            b'{"code":2001,"message":"busy"}',
            {},
            Answer(verdict=Decision.BUSY, status=422, code=2001, words="busy"),
        ),
        (429, b"", {"Retry-After": "7"}, Answer(verdict=Decision.RATE_LIMITED, status=429, retry_after=7.0)),
        (503, b"", {"retry-after": "soon"}, Answer(verdict=FAILED, status=503)),
        (502, b"<html>Bad Gateway</html>", {}, Answer(verdict=FAILED, status=502)),
        (500, b"", {}, Answer(verdict=AMBIGUOUS, status=500)),
        (404, b"", {}, Answer(verdict=HALT, status=404)),
    ],
)
@respx.mock
async def test_an_answer_is_read(status: int, body: bytes, headers: dict[str, str], expected: Answer) -> None:
    respx.post(URL).respond(status, content=body, headers=headers)

    assert await post_once() == expected


@respx.mock
async def test_the_words_of_an_answer_never_hold_a_key() -> None:
    respx.post(URL).respond(401, json={"code": 1000, "message": f"bad keys {KEY} and {SECRET}"})

    assert (await post_once()).words == "bad keys *** and ***"


@respx.mock
async def test_nor_whatever_the_caller_calls_private() -> None:
    respx.post(URL).respond(422, json={"code": 3009, "message": "player123 is inactive"})
    made = delivery()

    assert (await made.post(BODY, ["player123"])).words == "*** is inactive"
    respx.post(URL).mock(side_effect=httpx.ReadError("while sending player123"))
    assert (await made.post(BODY, ["player123"])).words == "ReadError: while sending ***"
    await made.aclose()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("own", [False, True], ids=["our client", "a client that follows redirects"])
async def test_no_redirect_is_followed_because_the_keys_would_go_with_it(status: int, own: bool) -> None:  # noqa: FBT001
    with respx.mock(assert_all_called=False) as mocked:
        there = mocked.route(host="elsewhere.example").respond(200)
        mocked.post(URL).respond(status, headers={"Location": "https://elsewhere.example/event"})
        client = httpx.AsyncClient(follow_redirects=True) if own else None

        answer = await post_once(http_client=client)

        assert answer == Answer(verdict=HALT, status=status)
        assert not there.called
        if client is not None:
            await client.aclose()


@respx.mock
async def test_an_endless_answer_is_read_to_a_bound() -> None:
    stream = Stream(*[b"x" * 16_384] * 10_000)
    respx.post(URL).mock(return_value=httpx.Response(502, stream=stream))

    answer = await post_once()

    assert answer == Answer(verdict=FAILED, status=502)
    assert LONGEST_ANSWER <= stream.read <= LONGEST_ANSWER + 2 * 16_384
    assert stream.closed


@pytest.mark.parametrize("broken", [httpx.ReadError("reset"), httpx.RemoteProtocolError("cut"), httpx.ReadTimeout("")])
@pytest.mark.parametrize(
    ("status", "piece", "verdict"),
    [
        (200, b'{"success":tr', DELIVERED),
        (200, b"", DELIVERED),
        (422, b'{"code":20', FAILED),
        (422, b'{"code":3003,"message":"x"}', FAILED),
        (422, b'{"code":2001}', Decision.BUSY),
        (503, b"", FAILED),
        (500, b"", AMBIGUOUS),
        (401, b"", HALT),
    ],
)
@respx.mock
async def test_a_status_is_an_answer_even_if_the_body_breaks(
    status: int, piece: bytes, verdict: Decision, broken: Exception
) -> None:
    stream = Stream(piece, broken)
    respx.post(URL).mock(return_value=httpx.Response(status, stream=stream))

    answer = await post_once()

    assert (answer.verdict, answer.status) == (verdict, status)
    assert stream.closed


@respx.mock
async def test_a_status_is_an_answer_even_if_the_connection_cannot_be_closed() -> None:
    stream = Stream(b"{}", closing=httpx.CloseError("gone"))
    respx.post(URL).mock(return_value=httpx.Response(200, stream=stream))

    assert await post_once() == Answer(verdict=DELIVERED, status=200)


# ---------------------------------------------------------------- what fails

TRANSPORT: dict[type[httpx.HTTPError], Decision] = {
    # not one byte was read by anybody
    httpx.ConnectError: FAILED,
    httpx.ConnectTimeout: FAILED,
    httpx.PoolTimeout: FAILED,
    httpx.ProxyError: FAILED,
    httpx.UnsupportedProtocol: FAILED,
    httpx.LocalProtocolError: FAILED,
    # it may have been applied
    httpx.ReadTimeout: AMBIGUOUS,
    httpx.WriteTimeout: AMBIGUOUS,
    httpx.ReadError: AMBIGUOUS,
    httpx.WriteError: AMBIGUOUS,
    httpx.CloseError: AMBIGUOUS,
    httpx.RemoteProtocolError: AMBIGUOUS,
    # none of these is raised for what this client does, but a transport may raise anything
    httpx.DecodingError: AMBIGUOUS,
    httpx.TooManyRedirects: AMBIGUOUS,
    httpx.TransportError: AMBIGUOUS,
    httpx.TimeoutException: AMBIGUOUS,
    httpx.NetworkError: AMBIGUOUS,
    httpx.ProtocolError: AMBIGUOUS,
    httpx.RequestError: AMBIGUOUS,
    httpx.HTTPError: AMBIGUOUS,
}


def test_the_table_holds_every_error_of_httpx() -> None:
    def family(root: type[httpx.HTTPError]) -> set[type[httpx.HTTPError]]:
        return {root}.union(*map(family, root.__subclasses__()))

    assert {error for error in family(httpx.HTTPError) if error.__module__ == "httpx"} - {httpx.HTTPStatusError} == set(
        TRANSPORT
    )


@pytest.mark.parametrize(("error", "verdict"), TRANSPORT.items(), ids=lambda value: getattr(value, "__name__", None))
@respx.mock
async def test_each_error_of_the_transport_has_its_verdict(error: type[httpx.HTTPError], verdict: Decision) -> None:
    respx.post(URL).mock(side_effect=error(f"went wrong with {KEY}\nand {SECRET}"))

    answer = await post_once()

    assert (answer.verdict, answer.status, answer.code, answer.retry_after) == (verdict, None, None, None)
    assert answer.words.startswith(error.__name__)
    if issubclass(error, httpx.TransportError):
        assert answer.words == f"{error.__name__}: went wrong with *** and ***"


FOREIGN = [
    OSError("reset"),
    ConnectionResetError("reset"),
    RuntimeError("closed"),
    ValueError("odd"),
    KeyError("odd"),
    AssertionError("odd"),
    UnicodeError("odd"),
    TimeoutError("odd"),
    httpx.InvalidURL("odd"),
    httpx.StreamConsumed(),
    anyio.ClosedResourceError(),
    anyio.BrokenResourceError(),
    ExceptionGroup("odd", [ValueError("odd")]),
]


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
async def test_whatever_else_a_transport_raises_is_ambiguous_and_named_by_its_type_alone(error: Exception) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        assert await post_once(http_client=client) == Answer(verdict=AMBIGUOUS, words=type(error).__name__)


async def test_ctrl_c_passes_through() -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        with pytest.raises(KeyboardInterrupt):
            await post_once(http_client=client)


async def test_a_transport_that_exits_the_program_is_a_failed_attempt() -> None:
    """It runs in the client's background task, which is not a library's to end."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise SystemExit

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        answer = await post_once(http_client=client)

    assert (answer.verdict, answer.words) == (Decision.AMBIGUOUS, "SystemExit")


async def hang(_: httpx.Request) -> httpx.Response:
    await anyio.sleep_forever()
    raise AssertionError


async def test_an_attempt_that_makes_no_end_is_given_up_and_may_have_arrived() -> None:
    began = anyio.current_time()

    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as client:
        answer = await post_once(timeout=10.0, http_client=client)

    assert anyio.current_time() - began == pytest.approx(30.0)
    assert answer == Answer(verdict=AMBIGUOUS, words="nothing within 30 s")


@respx.mock
async def test_a_cancellation_passes_through() -> None:
    respx.post(URL).mock(side_effect=hang)
    made = delivery()

    with anyio.move_on_after(1) as scope:
        await made.post(BODY)

    assert scope.cancelled_caught
    await made.aclose()


# ---------------------------------------------------------------- connections


@respx.mock
async def test_a_connection_serves_one_request_after_another() -> None:
    respx.post(URL).respond(200)
    made = delivery()

    await made.post(BODY)
    (first,) = made._free
    await made.post(BODY)

    assert made._free == [first]
    await made.aclose()


@respx.mock
async def test_each_request_in_flight_has_a_connection_to_itself() -> None:
    breaker, waiting = anyio.Event(), 0

    async def wait(_: httpx.Request) -> httpx.Response:
        nonlocal waiting
        waiting += 1
        await breaker.wait()
        return httpx.Response(200)

    made = delivery()
    respx.post(URL).mock(side_effect=wait)
    async with anyio.create_task_group() as tasks:
        for _ in range(CONNECTIONS):
            tasks.start_soon(made.post, BODY)
        while waiting < CONNECTIONS:
            await anyio.lowlevel.checkpoint()
        assert made._free == []
        breaker.set()

    assert len(set(made._free)) == CONNECTIONS
    await made.aclose()


def opened(transport: Transport) -> object:
    return transport._connection


@respx.mock
@pytest.mark.parametrize("failure", [httpx.ConnectTimeout("full"), httpx.ReadError("broken")])
async def test_a_connection_without_an_answer_is_not_used_again(failure: Exception) -> None:
    """Its state is unknown: a slot may have leaked for good, an answer may still come."""
    respx.post(URL).respond(200)
    made = delivery()
    await made.post(BODY)
    (transport,) = made._free
    first = opened(transport)
    respx.post(URL).mock(side_effect=[failure, httpx.Response(200)])

    assert (await made.post(BODY)).status is None
    assert made._free == [transport]
    assert opened(transport) is not first
    assert (await made.post(BODY)).verdict is DELIVERED
    await made.aclose()


@respx.mock
async def test_a_connection_whose_request_was_cancelled_is_not_used_again() -> None:
    respx.post(URL).respond(200)
    made = delivery()
    await made.post(BODY)
    (transport,) = made._free
    first = opened(transport)
    respx.post(URL).mock(side_effect=hang)

    with anyio.move_on_after(0.01):
        await made.post(BODY)

    assert made._free == [transport]
    assert opened(transport) is not first
    await made.aclose()


@respx.mock
async def test_a_connection_that_fails_to_close_harms_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: object) -> None:
        raise OSError("cannot close")

    respx.post(URL).mock(side_effect=[httpx.ConnectTimeout("full"), httpx.Response(200)])
    made = delivery()
    monkeypatch.setattr(httpcore.AsyncHTTPConnection, "aclose", fail)

    with caplog.at_level(logging.WARNING, "gameball_async"):
        assert (await made.post(BODY)).verdict is FAILED
        assert [record.getMessage() for record in caplog.records] == ["closing connections failed: OSError"]
        assert (await made.post(BODY)).verdict is DELIVERED
    await made.aclose()


@respx.mock
async def test_closing_closes_all_connections() -> None:
    respx.post(URL).respond(200)
    made = delivery()
    await made.post(BODY)
    (transport,) = made._free
    first = opened(transport)

    await made.aclose()
    await made.aclose()

    assert opened(transport) is not first


@pytest.mark.parametrize("failure", [httpx.PoolTimeout("full"), hang])
async def test_a_client_of_the_users_own_is_never_replaced(failure: Exception | Callable[..., Any]) -> None:
    async with httpx.AsyncClient() as client:
        with respx.mock:
            respx.post(URL).mock(side_effect=failure)
            made = delivery(http_client=client)
            await made.post(BODY)
            await made.post(BODY)
            await made.aclose()

        assert not client.is_closed


async def test_a_client_of_the_users_own_that_is_closed_fails_with_that_word() -> None:
    client = httpx.AsyncClient()
    await client.aclose()

    answer = await post_once(http_client=client)

    assert answer == Answer(verdict=FAILED, words="the http_client that was given is closed")


async def test_a_request_that_cannot_be_built_was_never_sent() -> None:
    class Strange(httpx.AsyncClient):
        def build_request(self, *_: Any, **__: Any) -> httpx.Request:
            raise ValueError(f"no request with {KEY}")

    async with Strange() as http_client:
        made = delivery(http_client=http_client)

        answer = await made.post(BODY)

    assert answer == Answer(verdict=FAILED, words="ValueError")
