"""The ready file of the sandbox: there, complete, while it accepts requests."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

from .conftest import Process, invoke

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_it_has_the_environment_of_a_service_and_goes_with_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sandbox.env"
    path.write_text("of a sandbox that was killed")
    process = Process("sandbox", "--host", "0.0.0.0", "--port", "0", "--ready-file", path)
    process.wait_for(b"The sandbox listens at ")
    environment = dict(line.split("=", 1) for line in path.read_text().splitlines())
    assert list(environment) == ["GAMEBALL_BASE_URL", "GAMEBALL_API_KEY", "GAMEBALL_SECRET_KEY"]
    assert environment["GAMEBALL_BASE_URL"].startswith("http://127.0.0.1:")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    sent = invoke("track", "player123", "review", "--api-version", "v4.1")
    assert sent.exit_code == 0
    process.interrupt(signal.SIGTERM)
    assert process.end() == 0
    assert list(tmp_path.iterdir()) == []


def test_that_of_another_sandbox_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.env"
    process = Process("sandbox", "--port", "0", "--ready-file", path)
    process.wait_for(b"The sandbox listens at ")
    path.write_text("another's")
    process.interrupt()
    assert process.end() == 0
    assert path.read_text() == "another's"


def test_an_old_one_is_removed_by_a_sandbox_that_cannot_start(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.env"
    path.write_text("of a sandbox that was killed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = invoke("sandbox", "--port", taken.getsockname()[1], "--ready-file", path)
    assert result.exit_code == 1
    assert not path.exists()


def test_one_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    result = invoke("sandbox", "--port", "0", "--ready-file", tmp_path / "none" / "sandbox.env")
    assert result.exit_code == 1
    assert "sandbox.env" in result.stderr
    assert "No such file or directory" in result.stderr
