"""What `import gameball_async` loads: only what every program needs."""

from __future__ import annotations

import subprocess
import sys
import typing

import pytest

import gameball_async

_LOADED = "import sys; import gameball_async; {use}; print(*sys.modules)"


def _loaded(use: str) -> set[str]:
    program = [sys.executable, "-c", _LOADED.format(use=use)]
    return set(subprocess.run(program, capture_output=True, text=True, check=True, timeout=100).stdout.split())


def test_an_import_loads_neither_a_journal_nor_http() -> None:
    loaded = _loaded("gameball_async.AsyncGameball('key', base_url='http://localhost:1')")
    assert "gameball_async._engine.flusher" in loaded
    assert not [name for name in loaded if name.startswith(("sqlite3", "gameball_async._journal", "httpx", "httpcore"))]


_STARTED = """
import sys, threading

class Recorder:
    def find_spec(self, name, path=None, target=None):
        if name in ("httpx", "tenacity", "anyio._backends._asyncio"):
            print(name, threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Recorder())
import asyncio
from gameball_async import AsyncGameball

async def main():
    async with AsyncGameball("key", base_url="http://127.0.0.1:9"):
        pass

if sys.argv[1] == "asyncio":
    asyncio.run(main())
else:
    import trio
    trio.run(main)
"""


@pytest.mark.parametrize(
    ("backend", "loaded"),
    [("asyncio", ["anyio._backends._asyncio", "tenacity", "httpx"]), ("trio", ["tenacity", "httpx"])],
)
def test_a_start_imports_in_a_thread(backend: str, loaded: list[str]) -> None:
    program = [sys.executable, "-c", _STARTED, backend]
    lines = subprocess.run(program, capture_output=True, text=True, check=True, timeout=100).stdout.splitlines()
    assert lines == [f"{name} False" for name in loaded]


@pytest.mark.parametrize("use", ["gameball_async.DeadLetters", "from gameball_async import inspect_journal"])
def test_a_name_of_the_journal_loads_it(use: str) -> None:
    assert "sqlite3" in _loaded(use)


def test_every_public_name_exists_and_is_listed() -> None:
    assert set(gameball_async.__all__) <= set(dir(gameball_async))
    for name in gameball_async.__all__:
        assert getattr(gameball_async, name) is getattr(gameball_async, name)


@pytest.mark.parametrize("method", ["__init__", "track", "send", "aclose"])
def test_type_hints_can_be_resolved_as_frameworks_do_that_inject_a_client(method: str) -> None:
    assert typing.get_type_hints(getattr(gameball_async.AsyncGameball, method))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gameball_async' has no attribute 'Gamebal'"):
        gameball_async.Gamebal  # noqa: B018 what is tested
