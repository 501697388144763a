"""Mistakes that work and help nobody: one line in the log says so when the client starts."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gameball_async import AsyncGameball

from .support import SOON

pytestmark = pytest.mark.anyio


async def lines(caplog: pytest.LogCaptureFixture, api_key: str = "a-key", **settings: Any) -> list[str]:
    gameball = AsyncGameball(api_key, batching=SOON, **settings)
    assert caplog.records == []
    async with gameball:
        await gameball.start()
    assert {record.levelno for record in caplog.records} <= {logging.WARNING}
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "base_url",
    ["http://api.gameball.co", "http://10.0.0.1:8080", "HTTP://api.gameball.co", "http://localhost.evil.test"],
)
async def test_an_address_of_another_machine_without_encryption_is_logged_once(
    base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    (line,) = await lines(caplog, base_url=base_url)
    assert "use https" in line


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.gameball.co",
        "http://127.0.0.1:1",
        "http://localhost.:1",
        "http://foo.localhost",
        "http://[::1]:1",
        "http://0.0.0.0:1",
    ],
)
async def test_encryption_and_this_machine_are_not_worth_a_line(
    base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await lines(caplog, base_url=base_url) == []


@pytest.mark.parametrize("key", ['"a-key"', "'a-key'", '"a-key', "a-key'", "`a-key`"])
@pytest.mark.parametrize("argument", ["api_key", "secret_key"])
async def test_a_key_in_quotation_marks_is_logged_once_and_not_shown(
    argument: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    (line,) = await lines(caplog, **{argument: key})
    assert line.startswith(f"{argument} is in quotation marks")
    assert "a-key" not in line


@pytest.mark.parametrize(
    "key", ["my-api-key", "your-api-key", "YOUR_API_KEY", "<your key>".replace(" ", "-"), "changeme"]
)
async def test_the_placeholder_of_an_example_is_logged_once(key: str, caplog: pytest.LogCaptureFixture) -> None:
    (line,) = await lines(caplog, key)
    assert "placeholder" in line
    assert "GAMEBALL_API_KEY" in line


@pytest.mark.parametrize("key", ["any-key", "a-key", "2f1c7d0e9b8a4c53", "monkey", "keymaster"])
async def test_other_keys_are_not_worth_a_line(key: str, caplog: pytest.LogCaptureFixture) -> None:
    assert await lines(caplog, key) == []
