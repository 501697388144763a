"""Fixtures of the client's tests."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from functools import partial

import pytest
import trustme

from gameball_async.sandbox import Sandbox

from .kinds import CALLS, KINDS, Call, Make


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every test marked with `anyio` runs on both."""
    return str(request.param)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox without rate limits; the tests of pacing make their own."""
    with Sandbox(limits=None) as sandbox:
        yield sandbox


@pytest.fixture
def tls_url() -> Iterator[str]:
    """The address of a TLS server whose certificate no known authority signed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    listener = socket.create_server(("127.0.0.1", 0))

    def shake_hands() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(1)  # a client that closes in the midst of it may leave the handshake hanging
            with contextlib.suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(1)

    thread = threading.Thread(target=shake_hands)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, sandbox: Sandbox) -> Make:
    """Make a client or a recorder."""
    return partial(KINDS[request.param], sandbox)


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> Call:
    return CALLS[request.param]
