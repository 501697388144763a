"""What a server's answer means, over real sockets: compressed bodies, hooks that raise, pages instead of an API."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import httpx
import pytest

from gameball_async import AsyncGameball, ClientHalted, Delivered, DeliveryError, Rejected, Retry
from gameball_async.sandbox import Fault, Sandbox

from .raw_server import RawServer, response
from .support import SOON, until

pytestmark = pytest.mark.anyio

FAST = Retry(initial=0.01, maximum=0.02)


def client(url: str, http_client: httpx.AsyncClient | None = None) -> AsyncGameball:
    return AsyncGameball("key", base_url=url, batching=SOON, retry=FAST, rate=None, http_client=http_client)


async def outcome(gameball: AsyncGameball) -> Delivered | DeliveryError:
    try:
        return await gameball.send("player123", {"event": None})
    except DeliveryError as error:
        return error


# ---------------------------------------------------------------- compressed bodies


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", lambda body: gzip.compress(body, mtime=0)),
    "gzip of several members": ("gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
    "x-gzip in capitals": ("X-GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("deflate", raw_deflate),
    "br": ("br", lambda body: pytest.importorskip("brotli").compress(body)),
    "zstd": ("zstd", lambda body: pytest.importorskip("zstandard").compress(body)),
    "two codings": ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
    "identity": ("identity", bytes),
}


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_compressed_answer_means_what_it_says(coding: str) -> None:
    """A gateway compresses although the request asks for plain answers."""
    name, compress = CODINGS[coding]
    answers = iter(
        [
            response(compress(b'{"code":2001,"message":"busy"}'), "422 X", Content_Encoding=name),
            response(compress(b'{"code":3003,"message":"bad"}'), "422 X", Content_Encoding=name),
            response(compress(b'{"success":false,"code":3006}'), Content_Encoding=name),
            response(compress(b'{"success":true,"code":0,"message":""}'), Content_Encoding=name),
        ]
    )
    with RawServer(lambda _, __: next(answers)) as server:
        async with client(server.url) as gameball:
            busy_then_refused = await outcome(gameball)
            not_successful = await outcome(gameball)
            delivered = await outcome(gameball)
    assert isinstance(busy_then_refused, Rejected)
    assert (busy_then_refused.code, "bad" in str(busy_then_refused)) == (3003, True)
    assert isinstance(not_successful, Rejected)
    assert not_successful.code == 3006
    assert isinstance(delivered, Delivered)
    assert len(server.bodies) == 4


@pytest.mark.parametrize(
    ("status", "code"), [("401 X", 1000), ("422 X", 6000), ("403 X", 8000), ("400 X", 1000)], ids=str
)
async def test_a_compressed_refusal_of_the_client_halts_it(status: str, code: int) -> None:
    body = gzip.compress(b'{"code":%d}' % code)
    with RawServer(lambda _, __: response(body, status, Content_Encoding="gzip")) as server:
        async with client(server.url) as gameball:
            receipt = await gameball.track("player123", "event")
            await until(lambda: gameball.stats().halted)
            assert not receipt.done
            assert gameball.stats().rejected == 0
            await gameball.aclose(timeout=0)


async def test_a_compressed_404_with_a_code_is_about_the_event() -> None:
    body = gzip.compress(b'{"code":3017,"message":"no such event"}')
    with RawServer(lambda _, __: response(body, "404 X", Content_Encoding="gzip")) as server:
        async with client(server.url) as gameball:
            refused = await outcome(gameball)
    assert isinstance(refused, Rejected)
    assert (refused.status, refused.code) == (404, 3017)


UNDECODABLE = {
    "truncated": ("gzip", gzip.compress(b'{"code":3003,"message":"abcdefgh"}', mtime=0)[:20]),
    "corrupt": ("gzip", b"\x1f\x8b\x08\x00" + b"\xff" * 30),
    "not compressed": ("gzip", b'{"code":3003}'),
    "of an unknown coding": ("compress", b'{"code":3003}'),
    "of too many codings": (", ".join(["gzip"] * 9), b'{"code":3003}'),
    "of one unknown coding among known ones": ("gzip, nonsense", gzip.compress(b"{}", mtime=0)),
}


@pytest.mark.parametrize("case", UNDECODABLE)
async def test_a_refusal_whose_body_cannot_be_decoded_is_asked_again(case: str) -> None:
    """It may have been a 2001."""
    coding, body = UNDECODABLE[case]
    answers = iter([response(body, "422 X", Content_Encoding=coding), response(b"{}")])
    with RawServer(lambda _, __: next(answers)) as server:
        async with client(server.url) as gameball:
            delivered = await outcome(gameball)
    assert isinstance(delivered, Delivered)
    assert (delivered.attempts, delivered.maybe_duplicate) == (2, False)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_an_answer_without_a_body_may_name_a_coding(coding: str) -> None:
    answers = iter(
        [
            response(b"", Content_Encoding=coding),
            b"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n",
            response(b"", "422 X", Content_Encoding=coding),
        ]
    )
    with RawServer(lambda _, __: next(answers)) as server:
        async with client(server.url) as gameball:
            outcomes = [await outcome(gameball) for _ in range(3)]
    assert [type(each) for each in outcomes] == [Delivered, Delivered, Rejected]


# ---------------------------------------------------------------- not Gameball at all

LOGIN = b"<!DOCTYPE html><html><title>Please log in</title></html>"


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_page_instead_of_an_answer_halts_and_names_its_type(
    coding: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A login page, a captive portal or another server takes no events: none counts as delivered."""
    body = gzip.compress(LOGIN) if coding == "gzip" else LOGIN
    page = response(body, Content_Type="text/html; charset=utf-8", Content_Encoding=coding)
    with RawServer(lambda _, __: page) as server:
        async with client(server.url) as gameball:
            receipt = await gameball.track("player123", "event")
            with pytest.raises(ClientHalted, match="text/html"):
                await gameball.flush()
            assert not receipt.done
            assert gameball.stats().delivered == 0
            await gameball.aclose(timeout=0)
    (line,) = [record.getMessage() for record in caplog.records if "text/html" in record.getMessage()]
    assert "base_url" in line
    assert "gameball-async doctor" in line


async def test_an_answer_that_is_not_json_counts_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Gameball may answer with any body; a mistyped address may answer with any text."""
    with RawServer(lambda _, __: response(b"It works!", Content_Type="text/plain")) as server:
        async with client(server.url) as gameball:
            for _ in range(3):
                await gameball.send("player123", {"event": None})
    (record,) = [record for record in caplog.records if "text/plain" in record.getMessage()]
    assert record.levelname == "WARNING"
    assert "gameball-async doctor" in record.getMessage()


# ---------------------------------------------------------------- a client of the user's own


async def raise_unread(answer: httpx.Response) -> None:
    answer.raise_for_status()


async def read_and_raise(answer: httpx.Response) -> None:
    await answer.aread()
    answer.raise_for_status()


class ServiceError(Exception):
    """Without a response."""


async def raise_another(answer: httpx.Response) -> None:
    if answer.is_error:
        raise ServiceError(answer.status_code)


async def raise_from(answer: httpx.Response) -> None:
    try:
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise ServiceError from error


async def raise_a_group(answer: httpx.Response) -> None:
    try:
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise ExceptionGroup("hooks failed", [error]) from None


async def close_and_raise(answer: httpx.Response) -> None:
    await answer.aclose()
    answer.raise_for_status()


async def consume(answer: httpx.Response) -> None:
    async for _ in answer.aiter_raw():
        pass


async def parse(answer: httpx.Response) -> None:
    """Fails for each answer that is not JSON, also for a successful one."""
    if not await answer.aread() or not answer.json():
        raise ValueError


HOOKS = [raise_unread, read_and_raise, raise_another, raise_from, raise_a_group, close_and_raise, consume, parse]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "compressed"])
async def test_a_hook_that_raises_hides_no_answer(
    hook: Callable[[httpx.Response], Awaitable[None]], compress: Callable[[bytes], bytes]
) -> None:
    coding = "identity" if compress is bytes else "gzip"
    answers = iter(
        [
            response(compress(b'{"code":2001}'), "422 X", Content_Encoding=coding),
            response(b"", "429 X", Retry_After=0),
            response(b"", "503 X"),
            response(compress(b'{"code":3003,"message":"bad"}'), "422 X", Content_Encoding=coding),
            response(b""),
            response(compress(b'{"success":false}'), Content_Encoding=coding),
            response(compress(b'{"code":1000}'), "401 X", Content_Encoding=coding),
        ]
    )
    hooks = {"response": [hook]}
    with RawServer(lambda _, __: next(answers, response(b"", "401 X"))) as server:
        async with (
            httpx.AsyncClient(event_hooks=hooks, trust_env=False, verify=False) as http_client,
            client(server.url, http_client) as gameball,
        ):
            refused = await outcome(gameball)
            delivered = await outcome(gameball)
            not_successful = await outcome(gameball)
            await gameball.track("player123", "event")
            await until(lambda: gameball.stats().halted)
            stats = gameball.stats()
            await gameball.aclose(timeout=0)
            assert http_client.event_hooks == {"request": [], "response": [hook]}
    assert isinstance(refused, Rejected)
    assert (refused.status, refused.code) == (422, 3003)
    assert isinstance(delivered, Delivered)
    assert not delivered.maybe_duplicate
    assert isinstance(not_successful, Rejected)
    assert stats.ambiguous == 0


@pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning")  # httpx's own generator, under trio
async def test_a_hook_that_fails_on_a_body_it_cannot_decode_hides_no_status() -> None:
    answers = iter([response(b"plain", "503 X", Content_Encoding="gzip"), response(b"plain", Content_Encoding="gzip")])
    hooks = {"response": [read_and_raise]}
    with RawServer(lambda _, __: next(answers)) as server:
        async with (
            httpx.AsyncClient(event_hooks=hooks, trust_env=False, verify=False) as http_client,
            client(server.url, http_client) as gameball,
        ):
            delivered = await outcome(gameball)
    assert isinstance(delivered, Delivered)
    assert (delivered.attempts, delivered.maybe_duplicate) == (2, False)


class RaisingTransport(httpx.AsyncBaseTransport):
    """Raises for each status that is an error, as some wrappers do."""

    def __init__(self, *, is_read: bool) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self._is_read = is_read

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        answer.request = request
        if self._is_read:
            await answer.aread()
        answer.raise_for_status()
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read"])
async def test_a_transport_that_raises_hides_no_answer(is_read: bool, sandbox: Sandbox) -> None:  # noqa: FBT001
    sandbox.script(Fault.busy(times=1), Fault.status(422, code=3003))
    async with (
        httpx.AsyncClient(transport=RaisingTransport(is_read=is_read)) as http_client,
        client(sandbox.url, http_client) as gameball,
    ):
        refused = await outcome(gameball)
        assert gameball.stats().ambiguous == 0
    assert isinstance(refused, Rejected)
    assert refused.code == 3003


class TokenAuth(httpx.Auth):
    """Asks another server for a token first, and fails as that one does."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        answer = yield httpx.Request("POST", self._url)
        answer.raise_for_status()
        yield request


async def test_the_answer_to_another_request_is_not_gameballs(sandbox: Sandbox) -> None:
    """A token server's 401 says nothing about the key."""
    with RawServer(lambda _, __: response(b"", "401 X")) as tokens:
        async with (
            httpx.AsyncClient(auth=TokenAuth(tokens.url), trust_env=False, verify=False) as http_client,
            client(sandbox.url, http_client) as gameball,
        ):
            await gameball.track("player123", "event")
            await until(lambda: gameball.stats().retries)
            assert gameball.stats().halted is None
            await gameball.aclose(timeout=0)
    assert sandbox.requests == []


async def test_an_answer_before_a_second_attempt_does_not_count() -> None:
    """Digest authentication sends the request again; the 401 that asked for it is no refusal."""
    challenge = response(b"", "401 X", WWW_Authenticate='Digest realm="r", nonce="n"')
    answers = iter([challenge, response(b"")])
    with RawServer(lambda _, __: next(answers)) as server:
        async with (
            httpx.AsyncClient(auth=httpx.DigestAuth("user", "password"), trust_env=False, verify=False) as http_client,
            client(server.url, http_client) as gameball,
        ):
            assert isinstance(await outcome(gameball), Delivered)


@pytest.mark.parametrize("own", [False, True], ids=["our client", "the user's client"])
async def test_a_redirect_to_nowhere_is_a_redirect(own: bool) -> None:  # noqa: FBT001
    """httpx raises for an address that is none."""

    with RawServer(lambda _, __: response(b"", "302 Found", Location="https://[::1")) as server:
        async with (
            httpx.AsyncClient(trust_env=False, verify=False) as http_client,
            client(server.url, http_client if own else None) as gameball,
        ):
            await gameball.track("player123", "event")
            await until(lambda: gameball.stats().halted)
            assert gameball.stats().ambiguous == 0
            await gameball.aclose(timeout=0)
