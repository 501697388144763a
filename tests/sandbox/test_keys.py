"""Who is let in: the keys each version demands, and what a request without them is told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import httpx
import pytest

from gameball_async.sandbox import Sandbox
from gameball_async.sandbox._handler import AcceptedKeys

from .support import V3, V4, V41, body

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def guarded() -> Iterator[Sandbox]:
    with Sandbox(api_key="right-key", secret_key="right-secret") as running:
        yield running


def _send(sandbox: Sandbox, path: str, headers: dict[str, str]) -> httpx.Response:
    sandbox.reset()
    sent = {"Content-Type": "application/json", **headers}
    return httpx.post(sandbox.url + path, content=body(path=path), headers=sent, trust_env=False, verify=False)


@pytest.mark.parametrize(
    ("path", "headers", "kind", "status", "code"),
    [
        (V3, {}, "api_key_missing", 403, None),
        (V3, {"APIKey": ""}, "api_key_missing", 403, None),
        (V3, {"APIKey": "wrong-key"}, "api_key_wrong", 401, None),
        (V3, {"APIKey": "right-key", "SecretKey": "wrong"}, "secret_key_wrong", 401, None),
        (V4, {}, "api_key_missing", 401, 1000),
        (V4, {"APIKey": "wrong-key"}, "api_key_wrong", 401, 1000),
        (V4, {"APIKey": "right-key", "SecretKey": "wrong"}, "secret_key_wrong", 401, 1001),
        (V41, {"SecretKey": "right-secret"}, "api_key_missing", 401, 1000),
        (V41, {"APIKey": "right-key"}, "secret_key_missing", 401, 1001),
        (V41, {"APIKey": "right-key", "SecretKey": "wrong"}, "secret_key_wrong", 401, 1001),
    ],
)
def test_a_request_without_the_right_keys_is_refused_and_noted(
    guarded: Sandbox, path: str, headers: dict[str, str], kind: str, status: int, code: int | None
) -> None:
    answer = _send(guarded, path, headers)

    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert [violation.kind for violation in guarded.violations] == [kind]
    assert guarded.holdings() == {}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (V3, {"APIKey": "right-key"}),
        (V3, {"apikey": "right-key", "secretkey": "right-secret"}),
        (V4, {"ApiKey": "right-key"}),
        (V4, {"APIKey": "right-key", "SecretKey": "right-secret"}),
        (V41, {"APIKey": "right-key", "SecretKey": "right-secret"}),
    ],
)
def test_the_right_keys_are_let_in_however_their_headers_are_spelt(
    guarded: Sandbox, path: str, headers: dict[str, str]
) -> None:
    assert _send(guarded, path, headers).status_code == 200


@pytest.mark.parametrize("path", [V3, V4, V41])
def test_without_configured_keys_any_are_let_in(module_sandbox: Sandbox, path: str) -> None:
    assert _send(module_sandbox, path, {"APIKey": "any", "SecretKey": "any"}).status_code == 200


def test_keys_appear_in_no_record_no_repr_and_no_log(guarded: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        _send(guarded, V41, {"APIKey": "sent-key", "SecretKey": "sent-secret"})

    shown = (
        caplog.text
        + repr(guarded)
        + repr(AcceptedKeys("right-key", "right-secret"))
        + repr(guarded.requests)
        + repr(guarded.violations)
    )
    assert not any(key in shown for key in ("sent-key", "sent-secret", "right-key", "right-secret"))
