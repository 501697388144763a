"""What `import gameball_async` loads: only what every program needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gameball_async

_LOADED = "import sys; import gameball_async; {use}; print(*sys.modules)"


def _loaded(use: str) -> set[str]:
    program = [sys.executable, "-c", _LOADED.format(use=use)]
    return set(subprocess.run(program, capture_output=True, text=True, check=True, timeout=100).stdout.split())


def test_an_import_loads_no_journal() -> None:
    loaded = _loaded("gameball_async.AsyncGameball")
    assert "gameball_async._engine.delivery" in loaded
    assert not [name for name in loaded if name.startswith(("sqlite3", "gameball_async._journal"))]


@pytest.mark.parametrize("use", ["gameball_async.DeadLetters", "from gameball_async import inspect_journal"])
def test_a_name_of_the_journal_loads_it(use: str) -> None:
    assert "sqlite3" in _loaded(use)


def test_every_public_name_exists_and_is_listed() -> None:
    assert set(gameball_async.__all__) <= set(dir(gameball_async))
    for name in gameball_async.__all__:
        assert getattr(gameball_async, name) is getattr(gameball_async, name)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gameball_async' has no attribute 'Gamebal'"):
        gameball_async.Gamebal  # noqa: B018 what is tested
