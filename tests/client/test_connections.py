"""When a connection is used again, and what a timer proves, over real sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anyio.lowlevel
import anyio.to_thread
import httpcore
import pytest
import trustme

from gameball_async import AsyncGameball, Batching, OutcomeUnknown, Rejected, Retry
from gameball_async._engine import delivery
from gameball_async._engine import network as network_module

from .raw_server import Peer, RawServer, response
from .support import SOON

pytestmark = pytest.mark.anyio

OK = response(b'{"success":true}')
BUSY = response(b"", "503 Service Unavailable")


def client(url: str, *, batching: Batching = SOON, timeout: float = 30, report: bool = False) -> AsyncGameball:
    retry = Retry(initial=0.01, maximum=0.02, ambiguous="report" if report else "resend")
    return AsyncGameball("key", base_url=url, batching=batching, retry=retry, rate=None, timeout=timeout)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["http", "https"])
def context(
    request: pytest.FixtureRequest, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ssl.SSLContext | None]:
    """A server's, which the client trusts; None for http."""
    if request.param == "http":
        yield None
        return
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    delivery._default_ssl_context.cache_clear()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    yield context
    delivery._default_ssl_context.cache_clear()


# ---------------------------------------------------------------- bytes beyond a response

SURPLUS = {
    "a second response": OK + OK,
    "half of a second response": OK + OK[:25],
    "the head of a second response": OK + b"HTTP/1.1 200 OK\r\n",
    "a body that is longer than it says": OK + b"surplus",
    "an empty line": OK + b"\r\n",
    "a 204 with a body": b"HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n" + OK,
    "a chunked response and another one": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + OK,
    "informational responses and another one": b"HTTP/1.1 100 X\r\n\r\nHTTP/1.1 103 X\r\n\r\n" + OK + OK,
    "a refusal and another response": response(b'{"code":3003}', "422 X") + OK,
}


@pytest.mark.parametrize("answer", SURPLUS)
async def test_bytes_beyond_a_response_answer_no_other_request(answer: str, context: ssl.SSLContext | None) -> None:
    answers = iter([SURPLUS[answer], BUSY, OK])
    with RawServer(lambda _, __: next(answers), context=context) as server:
        async with client(server.url) as gameball:
            with contextlib.suppress(Rejected):
                await gameball.send("player123", {"first": None})
            delivered = await gameball.send("player123", {"second": None})
            assert gameball.stats().ambiguous == 0
    assert (delivered.attempts, delivered.maybe_duplicate) == (2, False)
    assert server.events == ["first", "second", "second"]
    assert [number for number, _ in server.bodies] == [1, 2, 2]


async def test_bytes_that_arrive_later_answer_no_other_request(context: ssl.SSLContext | None) -> None:
    """They come between two requests, on a connection that was in order when the first was done."""
    is_done, is_sent = threading.Event(), threading.Event()
    answers = iter([BUSY, OK])

    def answer(peer: Peer, _: bytes) -> bytes | None:
        if peer.number > 1:
            return next(answers)
        peer.send(OK)
        assert is_done.wait(30)
        peer.send(OK)
        is_sent.set()
        return None

    with RawServer(answer, context=context) as server:
        async with client(server.url) as gameball:
            await gameball.send("player123", {"first": None})
            is_done.set()
            assert await anyio.to_thread.run_sync(is_sent.wait, 100)
            delivered = await gameball.send("player123", {"second": None})
    assert (delivered.attempts, delivered.maybe_duplicate) == (2, False)
    assert server.events == ["first", "second", "second"]


async def test_a_connection_in_order_is_used_again(context: ssl.SSLContext | None) -> None:
    with RawServer(lambda _, __: OK, context=context) as server:
        async with client(server.url) as gameball:
            for number in range(10):
                await gameball.send("player123", {f"event{number}": None})
    assert server.connections == 1


async def test_a_connection_that_the_server_announces_to_close_is_not_used_again(
    context: ssl.SSLContext | None,
) -> None:
    with RawServer(lambda _, __: response(b"{}", Connection="close"), context=context) as server:
        async with client(server.url, report=True) as gameball:
            for number in range(3):
                await gameball.send("player123", {f"event{number}": None})
    assert server.connections == 3


# ---------------------------------------------------------------- idle connections


async def test_a_connection_that_was_idle_is_not_used_again_even_if_the_clock_stood_still(
    context: ssl.SSLContext | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has dropped it, and nothing has said so: a machine that sleeps receives nothing."""

    def answer(peer: Peer, _: bytes) -> bytes | None:
        return None if peer.served else OK

    now, shift = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: now() + shift)
    with RawServer(answer, context=context) as server:
        async with client(server.url, report=True, timeout=10) as gameball:
            for number in range(5):
                delivered = await gameball.send("player123", {f"event{number}": None})
                assert (delivered.attempts, delivered.maybe_duplicate) == (1, False)
                shift += 2
    assert server.connections == 5


def test_idle_connections_expire_well_before_common_servers_close_them() -> None:
    """2 s is gunicorn's, the shortest of those that are widely used; 5 s is uvicorn's."""
    assert network_module.KEEP_ALIVE <= 2 / 2


@pytest.mark.parametrize("how", ["closed", "reset", "sending"])
async def test_a_connection_that_is_not_usable_any_more_is_noticed_before_the_first_byte(how: str) -> None:
    """Also between the moment when the pool looks at it and the moment when the request is written."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        network = network_module.Network()
        network.begin(30)
        stream = await network.connect_tcp("127.0.0.1", listener.getsockname()[1], 10)
        assert network.is_unsent
        connection, _ = listener.accept()
        await stream.write(b"POST / HTTP/1.1\r\n\r\n")
        assert network.is_unsent, "the head is written together with the body"
        await stream.write(b"{}")
        assert not network.is_unsent
        connection.sendall(b"x")
        await stream.read(1, 10)
        if how == "sending":
            connection.sendall(OK)
        else:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", how == "reset", 0))
            connection.close()
        while not stream.get_extra_info("is_readable"):
            await anyio.lowlevel.checkpoint()
        network.begin(30)
        await stream.write(b"POST / HTTP/1.1\r\n\r\n")
        with pytest.raises(httpcore.ConnectionNotAvailable):
            await stream.write(b"{}")
        await stream.aclose()
        connection.close()


async def test_a_server_that_speaks_before_the_request_gets_none() -> None:
    """Its words would be taken for the response."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        network = network_module.Network()
        stream = await network.connect_tcp("127.0.0.1", listener.getsockname()[1], 10)
        connection, _ = listener.accept()
        with connection:
            connection.sendall(OK)
            while not stream.get_extra_info("is_readable"):
                await anyio.lowlevel.checkpoint()
            await stream.write(b"POST / HTTP/1.1\r\n\r\n")
            with pytest.raises(httpcore.ConnectError):
                await stream.write(b"{}")
            assert network.is_unsent
        await stream.aclose()


# ---------------------------------------------------------------- timers


async def test_an_answer_that_comes_before_the_request_is_written_counts() -> None:
    """A server may refuse a large body without reading it, and the client is stuck in writing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(response(b'{"code":3000,"message":"too large"}', "413 X"))
            is_over.wait(30)
            connection.close()

        is_over = threading.Event()
        thread = threading.Thread(target=refuse)
        thread.start()
        batching = Batching(linger=0.01, max_bytes=32 * 1024 * 1024)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with client(url, batching=batching, timeout=0.3) as gameball:
            with pytest.raises(Rejected) as caught:
                await gameball.send("player123", {"event": {"text": "x" * (16 * 1024 * 1024)}})
        is_over.set()
        thread.join(10)
    assert (caught.value.status, caught.value.code, caught.value.may_have_arrived) == (413, 3000, False)


async def test_an_answer_that_trickles_in_for_ever_is_given_up() -> None:
    """Each byte comes in time, all of them never."""

    def trickle(peer: Peer, _: bytes) -> bytes | None:
        peer.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            peer.send(b"y")
            time.sleep(0.01)  # the server's pace; nothing waits for it

    with RawServer(trickle) as server:
        async with client(server.url, timeout=0.2, report=True) as gameball:
            with pytest.raises(OutcomeUnknown):
                await gameball.send("player123", {"event": None})


CHILD = """
    import json, sys
    from functools import partial

    import anyio
    from gameball_async import AsyncGameball, Batching, DeliveryError

    async def send(gameball, player):
        try:
            await gameball.send(player, {"event": None})
        except DeliveryError:
            pass

    async def main():
        batching = Batching(linger=0.01)
        async with AsyncGameball("key", base_url=sys.argv[1], batching=batching, rate=None, timeout=1) as gameball:
            async with anyio.create_task_group() as tasks:
                for number in range(4):
                    tasks.start_soon(send, gameball, f"player{number}")
            stats = gameball.stats()
        print(json.dumps([stats.requests, stats.ambiguous, stats.delivered, stats.rejected]))

    runtime = sys.argv[2]
    if runtime == "uvloop":
        anyio.run(main, backend="asyncio", backend_options={"use_uvloop": True})
    else:
        anyio.run(main, backend=runtime)
"""

LIMIT = 3.0
"""Seconds after which the child's requests are given up: three times its timeout."""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs a process that can be stopped")
@pytest.mark.parametrize("runtime", ["asyncio", "trio", "uvloop"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the child has a loop of its own
@pytest.mark.usefixtures("anyio_backend")
def test_an_answer_that_came_while_the_process_was_suspended_counts(
    runtime: str, context: ssl.SSLContext | None
) -> None:
    """All timers are overdue when it goes on, and the answers are in its sockets: two whole ones, two bodies."""
    requests, is_stopped = threading.Semaphore(0), threading.Event()
    body = b'{"success":false}'
    refusal = response(body)

    def answer(peer: Peer, request: bytes) -> bytes:
        is_split = b"player2" in request or b"player3" in request
        answer = refusal if b"player2" in request else OK
        head = len(answer) - len(answer.partition(b"\r\n\r\n")[2])
        if is_split:
            peer.send(answer[:head])
        requests.release()
        assert is_stopped.wait(30)
        return answer[head:] if is_split else answer

    with RawServer(answer, context=context) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CHILD), server.url, runtime], stdout=subprocess.PIPE, text=True
        )
        try:
            for _ in range(4):
                assert requests.acquire(timeout=100)
            os.kill(child.pid, signal.SIGSTOP)
            os.waitpid(child.pid, os.WUNTRACED)  # until it has stopped
            is_stopped.set()
            threading.Event().wait(1.1 * LIMIT)  # time that passes while it is stopped is what this is about
            os.kill(child.pid, signal.SIGCONT)
            output, _ = child.communicate(timeout=100)
        finally:
            child.kill()
    assert output == "[4, 0, 3, 1]\n"
