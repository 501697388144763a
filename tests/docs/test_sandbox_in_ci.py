"""The sandbox in CI: the files of the page are valid, and the steps of the workflow work and find a broken rule."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from .pages import DOCS, ROOT

FOLDER = ROOT / "examples" / "sandbox_ci"
WORKFLOW, COMPOSE = FOLDER / "workflow.yml", FOLDER / "compose.yaml"
CHECK, SHOW = "No rule was broken", "Show what has arrived"


def test_the_pages_show_the_files() -> None:
    shown = [block.text for block in DOCS["sandbox"].blocks() if block.info == "yaml"]
    assert shown == [WORKFLOW.read_text("utf-8"), COMPOSE.read_text("utf-8")]


@pytest.mark.parametrize(("schema", "path"), [("github-workflows", WORKFLOW), ("compose-spec", COMPOSE)])
def test_the_files_fit_their_schemas(schema: str, path: Path, tmp_path: Path) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    subprocess.run([*check, path], check=True)
    damaged = tmp_path / path.name
    damaged.write_text(path.read_text("utf-8").replace("  sandbox:\n", "  sandbox: 1\n").replace("steps:", "stages:"))
    assert subprocess.run([*check, damaged], check=False, capture_output=True).returncode == 1


class Job:
    """Runs the steps of a job as GitHub's runner does: bash -e, and variables from one step to the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._variables = folder / "github.env"
        self._variables.touch()
        self._groups: list[int] = []

    def run(self, script: str) -> tuple[int, str]:
        lines = [line.split("=", 1) for line in self._variables.read_text().splitlines()]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self._folder,
            env={**os.environ, "PATH": path, "GITHUB_ENV": str(self._variables), **dict(lines)},
            start_new_session=True,
        )
        self._groups.append(process.pid)
        out, _ = process.communicate()
        return process.returncode, out

    def end(self) -> None:
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue


@contextmanager
def job(folder: Path) -> Generator[Job]:
    """End what the steps have left in the background."""
    running = Job(folder)
    try:
        yield running
    finally:
        running.end()


def test_the_steps_of_the_workflow_start_a_sandbox_and_find_a_broken_rule(tmp_path: Path) -> None:
    workflow: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text("utf-8"))
    steps = {step["name"]: step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step}
    install = steps.pop("Install the sandbox")
    assert install == 'python -m pip install "gameball-async[cli,sandbox]"'
    with job(tmp_path) as runner:
        outputs = {name: runner.run(script) for name, script in steps.items()}
        assert [code for code, _ in outputs.values()] == [0] * len(steps), outputs
        assert 'accepted "place_order" (HTTP 200)' in outputs["Run the tests"][1]
        assert '"player123"  place_order  ->  200' in outputs[SHOW][1]
        event = """curl -s "$GAMEBALL_BASE_URL/api/v3.0/integrations/event" -H "APIKey: any" -d '{"events": {}}'"""
        assert runner.run(event)[0] == 0
        code, out = runner.run(steps[CHECK])
        assert code == 1, out
