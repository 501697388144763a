"""The page on migrating: what it says of both versions is what the client and the sandbox do."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import anyio
import pytest

from gameball_async import AsyncGameball, ConfigurationError
from gameball_async._core.outcome import read_answer
from gameball_async.sandbox import Fault, Sandbox

from .pages import DOCS, code_in

TABLES = DOCS["migrate"].tables()
VERSIONS = {code_in(row["Version"])[0]: row for row in TABLES["From v3 to v4/Version"]}
CODES = TABLES["What changes in the answers/Meaning"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_has_the_path_that_the_page_gives(version: str) -> None:
    with Sandbox() as sandbox:

        async def track() -> None:
            async with AsyncGameball(
                "any-key", secret_key="any-secret", base_url=sandbox.url, api_version=version
            ) as gameball:
                await gameball.track("player123", "review")

        anyio.run(track)
        assert [request.path for request in sandbox.requests] == code_in(VERSIONS[version]["Path"])
        assert sandbox.violations == []  # such as a wrong name of the player's id


def test_the_page_tells_of_every_version() -> None:
    for version in VERSIONS:
        AsyncGameball("any-key", secret_key="any-secret", api_version=version)
    assert list(VERSIONS) == ["v3.0", "v4.0", "v4.1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_without_a_secret_key_can_be_made_where_it_is_not_always_needed(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GAMEBALL_SECRET_KEY", raising=False)
    needed = VERSIONS[version]["Keys"] == "Both, always"
    with pytest.raises(ConfigurationError) if needed else contextlib.nullcontext():
        AsyncGameball("any-key", api_version=version)


@pytest.mark.parametrize("row", CODES, ids=lambda row: row["Meaning"])
def test_the_client_reads_both_versions_codes_alike(row: dict[str, str]) -> None:
    (old,), (new,) = code_in(row["v3.0"]), code_in(row["v4"])
    verdicts = [
        read_answer(422, {}, json.dumps({"code": int(code)}).encode(), complete=True, wall_now=0).verdict
        for code in (old, new)
    ]
    assert verdicts[0] is verdicts[1]


@pytest.mark.parametrize("close_timeout", [0, 0.3], ids=["never sent", "sent and refused"])
def test_what_a_client_of_v3_left_in_a_journal_one_of_v4_sends(close_timeout: float, tmp_path: Path) -> None:
    with Sandbox() as sandbox:

        async def live(version: str) -> int:
            async with AsyncGameball(
                "any-key", base_url=sandbox.url, api_version=version, journal=tmp_path / "journal"
            ) as gameball:
                if version == "v3.0":
                    await gameball.track("player123", "review", {"rating": 5})
                    return (await gameball.aclose(timeout=close_timeout)).kept
                await gameball.flush()
                return gameball.stats().delivered

        sandbox.script(Fault.status(503))
        assert anyio.run(live, "v3.0") == 1
        assert bool(sandbox.requests) == bool(close_timeout)
        sandbox.script()
        assert anyio.run(live, "v4.0") == 1
        assert [event.metadata for event in sandbox.holdings()["player123"]] == [{"rating": 5}]
        assert sandbox.requests[-1].path == "/api/v4.0/integrations/events"
