"""Trials: one change in a copy of the project, and the tests of the core until one of them fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import attrs

from .mutations import Mutation

ROOT = Path(__file__).parents[2]

PYTEST = ("pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", "--timeout", "60")
IGNORED = ("--ignore", "tests/client/test_pacing.py", "--ignore", "tests/client/test_faults.py")
"""Slow ones, whose subject is simulated as well."""

STAGES: dict[str, tuple[str, ...]] = {
    "20 simulated seeds": ("tests.simulation", "--first", "0", "--seeds", "20", "--jobs", "1"),
    "frozen": (*PYTEST, "tests/frozen"),
    "unit": (*PYTEST, "tests/unit", "--ignore", "tests/unit/journal", "--ignore", "tests/unit/test_import_law.py"),
    "journal": (*PYTEST, "tests/unit/journal"),
    "100 simulated seeds": ("tests.simulation", "--first", "20", "--seeds", "100", "--jobs", "1"),
    "client": (*PYTEST, "tests/client", "tests/observer", *IGNORED),
}
"""Modules to run with `python -m`, quick ones first.

The recorded traces are none of them: they differ after any change, and so do not show that a test knows what is right.
"""

LONGEST = 600.0
"""Seconds of a stage: more is an endless loop."""


@attrs.frozen
class Failure:
    """The stage that failed, and what it printed last."""

    stage: str
    said: str


class Copy:
    """A copy of the project, in which one module at a time is changed.

    Args:
        folder: where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder / "project"
        ignored = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "node_modules", "*.egg-info")
        shutil.copytree(ROOT, self._root, ignore=ignored)

    def try_out(self, mutation: Mutation) -> Failure | None:
        """Make one change, and run the stages until one of them notices it."""
        path = self._root / mutation.path
        path.write_text(mutation.after, encoding="utf-8")
        try:
            return self.run(_order(mutation.path))
        finally:
            path.write_text(mutation.before, encoding="utf-8")

    def run(self, stages: Iterable[str]) -> Failure | None:
        """Run stages, until one of them fails."""
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
                return Failure(stage, f"no end after {LONGEST:.0f} s")
            if process.returncode:
                return Failure(stage, "\n".join(output.splitlines()[-20:]))
        return None


def _order(path: str) -> list[str]:
    """The stages, and that of the journal first for its modules."""
    return sorted(STAGES, key=lambda stage: not (stage == "journal" and "journal" in path))
