"""The import rules: imports point downward only, and each third-party library is imported in one place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import attrs
import pytest

import gameball_async

PACKAGE = Path(gameball_async.__file__).parent

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "_version", "_log", "_platform"}),
    frozenset({"_config"}),
    frozenset({"_core"}),
    frozenset({"_endpoint"}),
    frozenset({"_engine"}),
    frozenset({"_journal"}),
    frozenset({"_arguments", "_assembly", "_process"}),
    frozenset({"_client"}),
    frozenset({"__init__"}),
    frozenset({"_loop_thread"}),
    frozenset({"outbox"}),
    frozenset({"sandbox", "cli", "integrations", "sync", "testing"}),
    frozenset({"__main__"}),
)
"""The parts of the package from the bottom up; a folder is one part. A new one needs a place here."""

EDGES = frozenset({"sandbox", "cli", "integrations", "sync", "testing"})
LAYER_OF = {part: layer for layer, parts in enumerate(LAYERS) for part in parts}
PURE = frozenset({"_core"})
PUBLIC = frozenset({"__init__", "errors", "outbox", "sandbox", "sync", "testing"})
"""The parts whose names users import, and so the edges."""

SHARED = {
    "gameball_async._core.job_answers": "the number of a job in an answer, and what its status says",
    "gameball_async._core.outcome": "what a response means",
    "gameball_async._core.redaction": "what is hidden in a server's words",
    "gameball_async._core.wire": "the paths, headers and needs of each API version",
    "gameball_async._endpoint": "which proxy a request goes through",
    "gameball_async._log": "singular and plural in messages",
    "gameball_async._platform": "how to lock and sync a file",
    "gameball_async.outbox._operations": "the state of an outbox, and its dead letters",
}
"""What the command line uses besides public names, with what is defined there once."""

ENGINE = frozenset(
    f"gameball_async.{name}"
    for name in (
        "_arguments",
        "_core.draft",
        "_core.events",
        "_core.receipts",
        "_endpoint",
        "_engine.backends",
        "_engine.callbacks",
        "_engine.lifecycle",
        "_engine.settlement",
    )
)
"""What `testing` uses besides public names: its recorder is a client whose engine is replaced."""

SYNC = frozenset({"gameball_async._loop_thread", "gameball_async._engine.lifecycle", "gameball_async._log"})
"""What `sync` uses besides public names: the thread of its client, its default for a close, and the log."""

LIBRARIES = {
    # `doctor` takes the way of the client to the API, step by step
    "httpx": {"_engine.delivery", "_engine.network", "cli"},
    "httpcore": {"_engine.network"},
    "tenacity": {"_engine.backoff"},
    "msgspec": {"_core"},
    "sqlite3": {"_journal"},
    "random": {"_engine.flusher", "sandbox"},
    "starlette": {"sandbox", "integrations"},
    "fastapi": {"integrations"},
    "aiohttp": {"integrations"},
    "opentelemetry": {"integrations"},
    "uvicorn": {"sandbox"},
    "click": {"cli"},
    "rich": {"cli"},
    "psycopg": {"outbox"},
    "sqlalchemy": {"outbox.sqlalchemy"},
    "django": {"outbox.django"},
    "asgiref": {"outbox.django"},
}
"""Libraries and the only parts or modules that may import them."""

IMPURE = frozenset(
    """
    time random secrets socket ssl select selectors asyncio trio anyio sniffio threading concurrent multiprocessing
    subprocess signal os io pathlib tempfile shutil logging contextvars sqlite3 httpx tenacity
    """.split()  # noqa: SIM905 a list of words
)
"""Modules that bring time, randomness, I/O or a loop."""


WAITING = {("gameball_async._core.receipts", "anyio")}
"""An outcome can be awaited, by tasks of either loop; nothing else in the core waits."""


@attrs.frozen
class Import:
    """One imported module, or one name imported from it."""

    importer: str
    module: str
    name: str | None
    line: int

    @property
    def part(self) -> str:
        return part_of(self.importer)

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}" + (f".{self.name}" if self.name else "")


def modules() -> dict[str, Path]:
    return {
        ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


MODULES = modules()
"""Files by dotted name; a folder's own file ends in `.__init__`."""


def part_of(module: str) -> str:
    return module.split(".")[1]


def imports_of(module: str, path: Path) -> Iterator[Import]:
    """All imports, also those inside of functions and of `if TYPE_CHECKING`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, None, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            target = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                yield Import(module, target, alias.name, node.lineno)


@cache
def imports() -> list[Import]:
    return [found for module, path in MODULES.items() for found in imports_of(module, path)]


def target_of(found: Import) -> str | None:
    """The module of the package that an import leads to, as in `MODULES`; None if it leads outside."""
    candidates = [f"{found.module}.{found.name}", f"{found.module}.{found.name}.__init__"] if found.name else []
    candidates += [found.module, f"{found.module}.__init__"]
    return next((candidate for candidate in candidates if candidate in MODULES), None)


@cache
def inner() -> list[tuple[Import, str]]:
    return [(found, target) for found in imports() if (target := target_of(found)) is not None]


@cache
def outer() -> list[Import]:
    return [found for found in imports() if target_of(found) is None]


def top(found: Import) -> str:
    return found.module.partition(".")[0]


def test_the_imports_are_found() -> None:
    assert ("_client", "gameball_async._engine.flusher") in {(found.part, target) for found, target in inner()}
    assert ("_engine", "gameball_async._core.buffer") in {(found.part, target) for found, target in inner()}
    assert ("_core", "gameball_async._core.batch") in {(found.part, target) for found, target in inner()}
    assert ("_engine", "httpx") in {(found.part, top(found)) for found in outer()}


def test_every_module_has_a_layer() -> None:
    assert {part_of(module) for module in MODULES} == set(LAYER_OF)


def test_imports_point_to_lower_layers_only() -> None:
    upwards = [
        str(found)
        for found, target in inner()
        if found.part != part_of(target)
        and LAYER_OF[part_of(target)] >= LAYER_OF[found.part]
        and not (found.part == "cli" and part_of(target) == "sandbox")  # its public face, see below
    ]

    assert upwards == []


def test_no_modules_import_each_other_in_a_cycle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found, target in inner():
        graph[found.importer].add(target)

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' -> '.join(error.args[1])}")


def test_every_import_of_the_package_leads_somewhere() -> None:
    assert [str(found) for found in outer() if top(found) == PACKAGE.name] == []


def test_the_sandbox_imports_nothing_of_the_client() -> None:
    assert [str(found) for found, target in inner() if found.part == "sandbox" and part_of(target) != "sandbox"] == []


def test_the_edges_use_public_names_only() -> None:
    """A public name is in the `__all__` of a public module; `errors` has none and is public as a whole."""
    private = [
        str(found)
        for found, target in inner()
        if found.part in EDGES
        and found.part != part_of(target)
        and not _is_public(found, target)
        and not (found.part == "cli" and target in SHARED)
        and not (found.importer.startswith("gameball_async.testing.") and target in ENGINE)
        and not (found.part == "sync" and target in SYNC)
    ]

    assert private == []


def _is_public(found: Import, target: str) -> bool:
    if part_of(target) not in PUBLIC or target.count(".") > 1 + target.endswith(".__init__"):
        return False
    exported = getattr(sys.modules[PACKAGE.name], "__all__", ()) if part_of(target) == "__init__" else None
    if found.name is None or exported is None:
        return not (found.name or "").startswith("_")
    return found.name in exported


def _is_in(found: Import, parts: set[str]) -> bool:
    return any(f"{found.importer}.".startswith(f"{PACKAGE.name}.{part}.") for part in parts)


@pytest.mark.parametrize(("library", "parts"), LIBRARIES.items(), ids=LIBRARIES)
def test_each_library_is_imported_in_one_place(library: str, parts: set[str]) -> None:
    assert [str(found) for found in outer() if top(found) == library and not _is_in(found, parts)] == []


def test_the_core_imports_no_io_no_clock_and_no_randomness() -> None:
    impure = [found for found in outer() if found.part in PURE and top(found) in IMPURE]

    assert [str(found) for found in impure if (found.importer, top(found)) not in WAITING] == []


def test_the_core_asks_no_type_for_the_time_or_for_randomness() -> None:
    """`datetime` and `uuid` are imported there as types of values; their clocks must not be read."""
    asked = [
        f"{module}:{node.lineno} calls {node.func.attr}()"
        for module, path in MODULES.items()
        if part_of(module) in PURE
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"now", "utcnow", "today", "uuid1", "uuid4", "uuid7"}
    ]

    assert asked == []


def test_nothing_is_imported_by_a_name_made_up_at_run_time() -> None:
    dynamic = [
        f"{module}:{node.lineno}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Name) and node.id == "__import__")
        or (isinstance(node, ast.Attribute) and node.attr in {"import_module", "__import__"})
    ]

    assert dynamic == []


def test_the_package_itself_only_exports() -> None:
    statements = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body

    assert {type(statement).__name__ for statement in statements[1:]} == {"ImportFrom", "Assign", "If", "FunctionDef"}
    assert [node.name for node in statements if isinstance(node, ast.FunctionDef)] == ["__getattr__", "__dir__"]
    assert set(gameball_async.__all__) == {
        found.name
        for found in imports()
        if found.importer == f"{PACKAGE.name}.__init__" and found.module.startswith(PACKAGE.name) and found.name
    } - {"dead_letters", "inspection"}
