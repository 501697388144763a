"""Proxies of the environment: who goes through one, who never does, and which variable is wrong; on real sockets."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from gameball_async import AsyncGameball, ConfigurationError
from gameball_async._endpoint import proxy_for
from gameball_async.sandbox import Sandbox

from .raw_server import RawServer, response
from .support import QUICK, SOON, until

PROXY = "http://user:password@proxy.example:3128"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def client(url: str, key: str = "key") -> AsyncGameball:
    return AsyncGameball(key, base_url=url, batching=SOON, retry=QUICK, rate=None)


# ---------------------------------------------------------------- this machine

LOCAL = [
    "127.0.0.1",
    "127.1",
    "127.0.0.1.",
    "0.0.0.0",
    "0",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0177.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "foo.localhost",
    "foo.LocalHost.",
    "ip6-localhost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0.0.0.0]",
    "\uff11\uff12\uff17.0.0.1",
]

REMOTE = [
    "api.gameball.co",
    "localhost.example",
    "notlocalhost",
    "localhost-2",
    "10.0.0.1",
    "128.0.0.1",
    "beef",
    "[fe80::1]",
    "[::ffff:10.0.0.1]",
    "[2001:db8::127.0.0.1]",
]


@pytest.mark.parametrize("host", LOCAL)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "all_proxy"])
def test_an_address_of_this_machine_has_no_proxy_however_it_is_written(
    host: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, PROXY)
    assert proxy_for(f"http://{host}:8000/api") is None


@pytest.mark.parametrize("host", REMOTE)
def test_any_other_address_has_one(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    proxy = proxy_for(f"https://{host}:8000/api")
    assert proxy is not None
    assert (proxy.address, proxy.variable) == ("proxy.example:3128", "HTTPS_PROXY")
    assert "password" not in repr(proxy)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "[::ffff:127.0.0.1]", "127.1", "2130706433"])
async def test_no_key_for_this_machine_goes_through_a_proxy(
    host: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(lambda _, __: response(b"{}")) as proxy:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(variable, proxy.url)
        async with client(sandbox.url.replace("127.0.0.1", host)) as gameball:
            assert (await gameball.send("player123", {"event": None})).status == 200
    assert proxy.connections == 0
    assert len(sandbox.requests) == 1


# ---------------------------------------------------------------- exceptions

EXCEPTIONS = [
    ("*", "api.gameball.co", True),
    ("a, *", "api.gameball.co", True),
    ("gameball.co", "api.gameball.co", True),
    (".gameball.co", "api.gameball.co", True),
    (".gameball.co", "gameball.co", True),
    ("*.gameball.co", "api.gameball.co", True),
    ("api*.co", "api.gameball.co", True),
    ("GAMEBALL.CO.", "api.gameball.co", True),
    (" a ,\tgameball.co ", "api.gameball.co", True),
    ("a gameball.co", "api.gameball.co", True),
    ("ball.co", "api.gameball.co", False),
    ("gameball.com", "api.gameball.co", False),
    ("gameball.co:443", "api.gameball.co", True),
    ("gameball.co:8443", "api.gameball.co", False),
    ("gameball.co:8443", "api.gameball.co:8443", True),
    ("https://api.gameball.co/", "api.gameball.co", True),
    ("10.1.2.3", "10.1.2.3", True),
    ("10.1.2.3:443", "10.1.2.3", True),
    ("10.1.2.3:80", "10.1.2.3", False),
    ("10.0.0.0/8", "10.1.2.3", True),
    ("10.0.0.0/8", "11.1.2.3", False),
    ("10.1.2.3/8", "10.9.9.9", True),
    ("10.*", "10.1.2.3", True),
    ("fe80::/10", "[fe80::1]", True),
    ("[fe80::]/10", "[fe80::1]", True),
    ("[fe80::/10]", "[fe80::1]", True),
    ("fe80::/10", "[2001:db8::1]", False),
    ("fe80::/10", "api.gameball.co", False),
    ("2001:db8::1", "[2001:DB8:0::1]", True),
    ("[2001:db8::1]", "[2001:db8::1]", True),
    ("[2001:db8::1]:443", "[2001:db8::1]", True),
    ("[2001:db8::1]:80", "[2001:db8::1]", False),
    ("10.1.2.3", "[::ffff:10.1.2.3]", True),
    ("[::1]", "api.gameball.co", False),
    ("", "api.gameball.co", False),
    (",,", "api.gameball.co", False),
    # nothing that can be read
    ("[::", "api.gameball.co", False),
    ("///,:,.,[/]/3,%,a:b:c,10.0.0.0/99", "api.gameball.co", False),
    ("10.0.0.0/99", "10.0.0.1", False),
]


@pytest.mark.parametrize(("exceptions", "host", "expected"), EXCEPTIONS)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_exceptions_are_read_by_this_table(
    name: str,
    exceptions: str,
    host: str,
    expected: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv(name, exceptions)
    assert (proxy_for(f"https://{host}/api") is None) == expected


@pytest.mark.anyio
@pytest.mark.parametrize("exceptions", ["fe80::/10", "[::1]", "127.0.0.1,[::1]:80,fd00::/8"])
async def test_a_client_starts_with_any_exceptions_and_uses_the_proxy(
    exceptions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(lambda _, __: response(b"{}")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", exceptions)
        async with client("http://api.gameball.invalid") as gameball:
            assert (await gameball.send("player123", {"event": None})).status == 200
    assert proxy.events == ["event"]


# ---------------------------------------------------------------- what is wrong


@pytest.mark.anyio
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("value", ["gopher://user:password@nowhere", "http://user:password@proxy:port", "http://[::1"])
async def test_a_proxy_that_cannot_be_used_is_told_with_its_variable_and_without_its_value(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    gameball = client("https://api.gameball.invalid")
    with pytest.raises(ConfigurationError, match=rf"\b{variable}\b") as caught:
        await gameball.start()
    assert not any(word in str(caught.value) for word in ("password", "nowhere", "SSL_CERT"))
    await gameball.aclose()


@pytest.mark.anyio
async def test_a_socks_proxy_names_the_package_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://user:password@127.0.0.1:1080")
    gameball = client("https://api.gameball.invalid")
    with pytest.raises(ConfigurationError, match=r'ALL_PROXY.*pip install "httpx\[socks\]"'):
        await gameball.start()
    await gameball.aclose()


@pytest.mark.anyio
async def test_a_proxy_for_another_scheme_is_of_no_interest(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://nowhere")
    async with client(sandbox.url) as gameball:
        assert (await gameball.send("player123", {"event": None})).status == 200


# ---------------------------------------------------------------- what was sent


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A proxy that takes a connection, reads what comes, and closes it without a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.anyio
async def test_a_proxy_that_fails_before_the_tunnel_stands_has_received_no_request(
    silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a byte of the request has left, so its outcome is known."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
    gameball = client("https://api.gameball.invalid")
    await gameball.start()
    await gameball.track("player123", "event")
    await until(lambda: gameball.stats().retries)
    assert gameball.stats().ambiguous == 0
    await gameball.aclose(timeout=0)
