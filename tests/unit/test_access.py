"""Where the API is and how it is entered: what an address and a key may be, and in which words they are refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gameball_async import ConfigurationError, __version__
from gameball_async._endpoint import Endpoint

DEFAULT = "https://api.gameball.co"
KEY, SECRET = "t0pkey", "t0psecret"


@pytest.fixture(autouse=True)
def _no_keys_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAMEBALL_API_KEY", raising=False)
    monkeypatch.delenv("GAMEBALL_SECRET_KEY", raising=False)


def endpoint(
    api_key: Any = KEY, secret_key: Any = None, *, api_version: Any = "v3.0", base_url: Any = DEFAULT
) -> Endpoint:
    return Endpoint.checked(api_key, secret_key, api_version, base_url)


def refusal(*keys: Any, **settings: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        endpoint(*keys, **settings)
    assert KEY not in str(caught.value)
    assert SECRET not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (DEFAULT, "https://api.gameball.co/api/v3.0/integrations/event"),
        ("https://api.gameball.co/", "https://api.gameball.co/api/v3.0/integrations/event"),
        ("https://api.gameball.co//", "https://api.gameball.co/api/v3.0/integrations/event"),
        ("https://api.dev.gameball.app", "https://api.dev.gameball.app/api/v3.0/integrations/event"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/v3.0/integrations/event"),
        ("http://[::1]:8080", "http://[::1]:8080/api/v3.0/integrations/event"),
        ("https://proxy.example/gameball", "https://proxy.example/gameball/api/v3.0/integrations/event"),
        ("https://proxy.example/apis", "https://proxy.example/apis/api/v3.0/integrations/event"),
        ("HTTPS://API.GAMEBALL.CO", "HTTPS://API.GAMEBALL.CO/api/v3.0/integrations/event"),
    ],
)
def test_requests_go_to_the_path_of_the_version_below_the_address(base_url: str, url: str) -> None:
    assert endpoint(base_url=base_url).url == url
    assert httpx.URL(url).path.endswith("/api/v3.0/integrations/event")


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.gameball.co",
        "//api.gameball.co",
        "ftp://api.gameball.co",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://:443",
        "https://api.gameball.co:0",
        "https://api.gameball.co:99999",
        "https://api.gameball.co:port",
        "https://[::1",
        7,
        b"https://api.gameball.co",
        ["https://api.gameball.co"],
        httpx.URL(DEFAULT),
    ],
)
def test_what_is_no_address_is_refused_with_an_example(base_url: Any) -> None:
    message = refusal(base_url=base_url)

    assert message == f"base_url is no http or https address: give one such as '{DEFAULT}'."


@pytest.mark.parametrize(
    "base_url",
    [
        f"https://user:{SECRET}@api.gameball.co",
        f"https://{SECRET}@api.gameball.co",
        f"https://api.gameball.co?key={SECRET}",
        f"https://api.gameball.co#{SECRET}",
    ],
)
def test_an_address_with_more_than_an_address_is_refused(base_url: str) -> None:
    assert "holds a user, a password, a query or a fragment" in refusal(base_url=base_url)


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v3.0", "/api/v4.1/integrations/events", "/gameball/api"])
def test_an_address_with_the_path_that_the_client_appends_is_refused(path: str) -> None:
    assert "which the client appends itself" in refusal(base_url=DEFAULT + path)


@pytest.mark.parametrize(
    "base_url",
    [
        f" {DEFAULT}",
        f"{DEFAULT} ",
        f"{DEFAULT}\n",
        f"\t{DEFAULT}",
        "https://api.game\nball.co",
        "https://api gameball.co",
        "https://api.gameball.co\x00",
        "https://\ud800.example",
        f"{DEFAULT}?",
        f"{DEFAULT}#",
    ],
    ids=ascii,
)
def test_an_address_that_no_request_could_go_to_is_refused_at_once(base_url: str) -> None:
    """Otherwise it looks like an outage: the events wait for an address that nobody will ever answer at."""
    refusal(base_url=base_url)


# ---------------------------------------------------------------- keys


def test_every_request_carries_the_key_and_says_who_sends_it() -> None:
    assert endpoint().headers == {
        "APIKey": KEY,
        "Content-Type": "application/json",
        "User-Agent": f"gameball-async/{__version__}",
    }


def test_the_secret_key_is_carried_whenever_there_is_one() -> None:
    assert endpoint(KEY, SECRET).headers["SecretKey"] == SECRET


def test_missing_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_API_KEY", "environment-key")
    monkeypatch.setenv("GAMEBALL_SECRET_KEY", "environment-secret")

    assert endpoint(None).secrets == ("environment-key", "environment-secret")
    assert endpoint(KEY, SECRET).secrets == (KEY, SECRET)
    assert endpoint(KEY, "").secrets == (KEY,)


def test_without_a_key_there_is_no_way_in(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = "api_key is missing: pass it, or set GAMEBALL_API_KEY in the environment."

    assert refusal(None) == expected
    assert refusal("") == expected
    monkeypatch.setenv("GAMEBALL_API_KEY", "")
    assert refusal(None) == expected


def test_v4_1_has_no_way_in_without_a_secret_key() -> None:
    expected = "v4.1 needs a secret_key: pass it, or set GAMEBALL_SECRET_KEY in the environment."

    assert refusal(api_version="v4.1") == expected
    assert refusal(KEY, "", api_version="v4.1") == expected
    assert endpoint(KEY, SECRET, api_version="v4.1").secrets == (KEY, SECRET)


BAD_KEYS: list[Any] = [
    *(f"{KEY}\n", f" {KEY}", f"{KEY} ", f"{KEY} {KEY}", f"{KEY}\t", f"{KEY}\x00", f"{KEY}\x7f", f"{KEY}é"),
    *(7, True, KEY.encode(), [KEY], object),
]


@pytest.mark.parametrize("bad", BAD_KEYS, ids=ascii)
def test_what_can_be_no_key_is_refused_without_showing_it(bad: Any) -> None:
    assert refusal(bad).startswith("api_key holds spaces, line ends or other characters no key has")
    assert refusal("fine", bad).startswith("secret_key holds spaces, line ends or other characters no key has")


def test_a_bad_key_of_the_environment_is_refused_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_API_KEY", f"{KEY}\n")

    assert refusal(None).startswith("api_key holds spaces")


def test_an_unknown_version_is_refused() -> None:
    assert refusal(api_version="v5.0").startswith("api_version is 'v5.0'")


def test_the_repr_shows_no_key() -> None:
    shown = repr(endpoint(KEY, SECRET))

    assert DEFAULT in shown
    assert KEY not in shown
    assert SECRET not in shown
