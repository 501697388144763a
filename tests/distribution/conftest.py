"""The sdist and the wheel, built once, and fresh environments with the wheel in them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BuildOnce: TypeAlias = "Callable[[str, Callable[[Path], None]], Path]"
EXTRAS: list[str] = sorted(PROJECT["optional-dependencies"])


@attrs.frozen
class Distributions:
    """Both files."""

    sdist: Path
    wheel: Path

    @classmethod
    def of(cls, folder: Path) -> Distributions:
        (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
        return cls(sdist, wheel)


@pytest.fixture(scope="session")
def distributions(build_once: BuildOnce) -> Distributions:
    """The sdist, and the wheel that is built from it; or those in the folder that GAMEBALL_DIST names."""
    if given := os.environ.get("GAMEBALL_DIST"):
        return Distributions.of(Path(given))

    def fill(folder: Path) -> None:
        # what builds it is installed with the tests: an isolated build would fetch it each time
        checked(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)

    return Distributions.of(build_once("dist", fill))


@attrs.frozen
class Environment:
    """A fresh environment; what runs in it sees neither this one nor the source tree."""

    folder: Path

    @property
    def scripts(self) -> Path:
        """Where its commands are."""
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.scripts / Path(sys.executable).name

    def run(self, *args: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run its interpreter, isolated, in its own folder."""
        return self._run([self.python, "-I", *args], variables)

    def script(self, *args: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command `gameball-async` as it was installed."""
        return self._run([self.scripts / "gameball-async", *args], variables)

    def _run(self, command: Sequence[object], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        hidden = ("PYTHON", "GAMEBALL", "NO_COLOR", "FORCE_COLOR")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        return subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env={**inherited, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )


@pytest.fixture(scope="session")
def bare(distributions: Distributions, build_once: BuildOnce) -> Environment:
    """An environment with the wheel and none of its extras."""
    return Environment(build_once("bare", lambda folder: install(folder, str(distributions.wheel))))


@pytest.fixture(scope="session")
def furnished(distributions: Distributions, build_once: BuildOnce) -> Environment:
    """An environment with the wheel, the command line and the sandbox."""
    return Environment(build_once("furnished", lambda folder: install(folder, f"{distributions.wheel}[cli,sandbox]")))


def install(folder: Path, requirement: str) -> None:
    """Make an environment and install something in it, with this environment's pip: a copy of its own takes seconds."""
    checked(sys.executable, "-m", "venv", "--without-pip", folder)
    # compiling everything takes longer than what is imported later
    options = ["--quiet", "--no-compile", "--disable-pip-version-check"]
    checked(sys.executable, "-m", "pip", "--python", Environment(folder).python, "install", *options, requirement)


def checked(*command: object) -> None:
    """Run a command, and tell what it says if it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
