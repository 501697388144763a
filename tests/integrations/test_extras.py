"""One framework to each module, and what is said when it is not installed."""

from __future__ import annotations

import ast
import importlib
import sys
import tomllib
from pathlib import Path

import pytest

from gameball_async import integrations

FOLDER = Path(integrations.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FRAMEWORKS = ["aiohttp", "fastapi", "starlette"]


def foreign_imports(module: str) -> set[str]:
    """What a module imports from outside of the standard library and of this package."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    absolute = {
        node.module.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None
    }
    plain = {
        name.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    return (absolute | plain) - sys.stdlib_module_names - {"gameball_async"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_module_imports_its_framework_alone(framework: str) -> None:
    assert foreign_imports(framework) == {framework}


@pytest.mark.parametrize("module", ["__init__", "asgi"])
def test_what_they_share_and_what_needs_no_extra_import_no_framework(module: str) -> None:
    assert foreign_imports(module) == set()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_missing_framework_names_the_extra_to_install(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in {framework, *(name for name in sys.modules if name.startswith(f"{framework}."))}:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"gameball_async.integrations.{framework}", raising=False)
    with pytest.raises(ImportError, match=f'pip install "gameball-async\\[{framework}\\]"'):
        importlib.import_module(f"gameball_async.integrations.{framework}")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_extra_exists_and_installs_the_framework(framework: str) -> None:
    assert [requirement.partition(">=")[0] for requirement in PROJECT["optional-dependencies"][framework]] == [
        framework
    ]
