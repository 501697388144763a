"""Trials: one change in a copy of the project, and the tests of the core until one of them fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from .mutations import Mutation

ROOT = Path(__file__).parents[2]

PYTEST = ("pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", "--timeout", "60")
STAGES: dict[str, tuple[str, ...]] = {
    "20 simulated seeds": ("tests.simulation", "--first", "0", "--seeds", "20", "--jobs", "1"),
    "frozen": (*PYTEST, "tests/frozen"),
    "unit": (*PYTEST, "tests/unit", "--ignore", "tests/unit/journal", "--ignore", "tests/unit/test_import_law.py"),
    "journal": (*PYTEST, "tests/unit/journal"),
    "100 simulated seeds": ("tests.simulation", "--first", "20", "--seeds", "100", "--jobs", "1"),
    "client": (*PYTEST, "tests/client", "tests/observer", "--ignore", "tests/client/test_pacing.py"),
}
"""Modules to run with `python -m`, quick ones first.

The recorded traces are none of them: they differ after any change, and so do not show that a test knows what is right.
"""

LONGEST = 600.0
"""Seconds of a stage: more is an endless loop."""


@attrs.frozen
class Verdict:
    """What came of one change.

    Attributes:
        killed_by: the stage that noticed it; None if none did.
        said: what that printed last.
    """

    mutation: Mutation
    killed_by: str | None
    said: str = ""


class Copy:
    """A copy of the project, in which one module at a time is changed.

    Args:
        folder: where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder / "project"
        ignored = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "node_modules", "*.egg-info")
        shutil.copytree(ROOT, self._root, ignore=ignored)

    def check(self) -> str | None:
        """Run the stages without a change; returns the stage that fails."""
        return self._run(STAGES)[0]

    def try_out(self, mutation: Mutation) -> Verdict:
        """Make one change, and run the stages until one of them notices it."""
        path = self._root / mutation.path
        path.write_text(mutation.after, encoding="utf-8")
        try:
            return Verdict(mutation, *self._run(_order(mutation.path)))
        finally:
            path.write_text(mutation.before, encoding="utf-8")

    def _run(self, stages: Sequence[str] | dict[str, tuple[str, ...]]) -> tuple[str | None, str]:
        environment = os.environ | {"PYTHONPATH": str(self._root), "PYTHONDONTWRITEBYTECODE": "1"}
        for stage in stages:
            process = subprocess.Popen(
                [sys.executable, "-m", *STAGES[stage]],
                cwd=self._root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            try:
                output, _ = process.communicate(timeout=LONGEST)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.communicate()
                return stage, f"no end after {LONGEST:.0f} s"
            if process.returncode:
                return stage, "\n".join(output.splitlines()[-5:])
        return None, ""


def _order(path: str) -> list[str]:
    """The stages, and that of the journal first for its modules."""
    return sorted(STAGES, key=lambda stage: not (stage == "journal" and "journal" in path))
