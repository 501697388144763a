"""How the command is entered: by its name, by `python -m`, and without the packages of its extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gameball_async import __version__

from .conftest import invoke


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)


BY_MODULE = "import runpy; runpy.run_module('gameball_async', run_name='__main__', alter_sys=True)"
BY_NAME = "import gameball_async.cli; gameball_async.cli.main()"


@pytest.mark.parametrize("entry", [BY_NAME, BY_MODULE], ids=["gameball-async", "python -m gameball_async"])
@pytest.mark.parametrize(
    ("package", "args", "extras"),
    [("click", ["--help"], "cli"), ("rich", ["--help"], "cli"), ("uvicorn", ["sandbox"], "cli,sandbox")],
)
def test_a_missing_extra_is_named_with_what_installs_it(entry: str, package: str, args: list[str], extras: str) -> None:
    done = python(f"import sys; sys.modules[{package!r}] = None; {entry}", *args)
    assert done.returncode == 2
    assert done.stderr == (
        f"gameball-async needs {package!r}, which is not installed: pip install 'gameball-async[{extras}]'\n"
    )


def test_a_package_that_is_no_extra_s_is_not_blamed_on_one() -> None:
    done = python(f"import sys; import gameball_async; sys.modules['gzip'] = None; {BY_NAME}", "--help")
    assert "ModuleNotFoundError: import of gzip halted" in done.stderr


@pytest.mark.parametrize("module", ["gameball_async", "gameball_async.cli"])
def test_python_m_is_the_command(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"gameball-async, version {__version__}\n"


def test_the_version_is_the_package_s() -> None:
    assert __version__ in invoke("--version").output
