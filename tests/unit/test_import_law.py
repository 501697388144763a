"""The import law of the house: imports point downwards only, and each foreign library has one door."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import attrs
import pytest

import gameball_async

PACKAGE = Path(gameball_async.__file__).parent

FLOORS: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "below all",
        frozenset({"errors", "_version", "_bell", "_counted", "_interruption", "_logger", "_network", "_platform"})
        | {"_proxies", "_remedies", "_reminder", "_seldom"},
    ),
    ("level 0", frozenset({"_config", "_events", "_stats", "_receipt", "_verdict", "_decoding", "_redaction"})),
    ("level 1", frozenset({"_buffer", "_observer", "_pacing", "_outcome", "_wire"})),
    ("level 2", frozenset({"_delivery", "_access", "_admission", "_failures", "_journal", "_runtime"})),
    ("level 3", frozenset({"_flusher"})),
    ("level 4", frozenset({"_client"})),
    ("the front door", frozenset({"__init__"})),
    ("level 5", frozenset({"sandbox", "cli", "integrations", "testing"})),
    ("the back door", frozenset({"__main__"})),
)
"""Every room of the house, from the ground up; a package is one room. A new file needs a place here."""

LEVEL_5 = dict(FLOORS)["level 5"]
FLOOR_OF = {room: floor for floor, (_, rooms) in enumerate(FLOORS) for room in rooms}
PURE = FLOORS[1][1] | FLOORS[2][1]
PUBLIC = frozenset({"__init__", "errors", "sandbox", "testing"})
"""The rooms whose names users import, and so level 5."""

SHARED = frozenset({"_outcome", "_proxies"})
"""The rooms that `doctor` uses beside public names: what an answer means and where it goes stand in one place."""

DOORS = {
    "httpx": {"_delivery", "cli"},  # `doctor` goes the client's way to the API, step by step
    "httpcore": {"_network"},
    "tenacity": {"_delivery"},
    "msgspec": {"_events", "_wire", "_outcome"},
    "sqlite3": {"_journal"},
    "random": {"_flusher", "sandbox"},
    "starlette": {"sandbox", "integrations"},
    "fastapi": {"integrations"},
    "aiohttp": {"integrations"},
    "opentelemetry": {"integrations"},
    "uvicorn": {"sandbox"},
    "click": {"cli"},
    "rich": {"cli"},
}
"""Libraries and the only rooms that may import them."""

IMPURE = frozenset(
    """
    time random secrets socket ssl select selectors asyncio trio anyio sniffio threading concurrent multiprocessing
    subprocess signal os io pathlib tempfile shutil logging contextvars sqlite3 httpx tenacity
    """.split()  # noqa: SIM905 a list of words
)
"""Modules that bring time, randomness, I/O or a loop."""


@attrs.frozen
class Import:
    """One imported module, or one name imported from it."""

    importer: str
    module: str
    name: str | None
    line: int

    @property
    def room(self) -> str:
        return room_of(self.importer)

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}" + (f".{self.name}" if self.name else "")


def modules() -> dict[str, Path]:
    return {
        ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


MODULES = modules()
"""Files by dotted name; a package's own file ends in `.__init__`."""


def room_of(module: str) -> str:
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


IMPORTS = [found for module, path in MODULES.items() for found in imports_of(module, path)]


def target_of(found: Import) -> str | None:
    """The module of the house that an import leads to, as in `MODULES`; None if it leads outside."""
    candidates = [f"{found.module}.{found.name}", f"{found.module}.{found.name}.__init__"] if found.name else []
    candidates += [found.module, f"{found.module}.__init__"]
    return next((candidate for candidate in candidates if candidate in MODULES), None)


INNER = [(found, target) for found in IMPORTS if (target := target_of(found)) is not None]
OUTER = [found for found in IMPORTS if target_of(found) is None]


def top(found: Import) -> str:
    return found.module.partition(".")[0]


def test_the_imports_are_found() -> None:
    assert ("_client", "gameball_async._flusher.__init__") in {(found.room, target) for found, target in INNER}
    assert ("_flusher", "gameball_async._buffer.__init__") in {(found.room, target) for found, target in INNER}
    assert ("_buffer", "gameball_async._buffer._batch") in {(found.room, target) for found, target in INNER}
    assert ("_delivery", "httpx") in {(found.room, top(found)) for found in OUTER}


def test_every_module_has_a_level() -> None:
    assert {room_of(module) for module in MODULES} == set(FLOOR_OF)


def test_imports_point_to_lower_levels_only() -> None:
    upwards = [
        str(found)
        for found, target in INNER
        if found.room != room_of(target)
        and FLOOR_OF[room_of(target)] >= FLOOR_OF[found.room]
        and not (found.room == "cli" and room_of(target) == "sandbox")  # its public face, see below
    ]

    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found, target in INNER:
        graph[found.importer].add(target)

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_every_import_of_the_house_leads_somewhere() -> None:
    assert [str(found) for found in OUTER if top(found) == PACKAGE.name] == []


def test_the_sandbox_imports_nothing_of_the_client() -> None:
    assert [str(found) for found, target in INNER if found.room == "sandbox" and room_of(target) != "sandbox"] == []


def test_level_5_uses_public_names_only() -> None:
    """A public name stands in the `__all__` of a public room; `errors` has none and is public as a whole."""
    private = [
        str(found)
        for found, target in INNER
        if found.room in LEVEL_5
        and found.room != room_of(target)
        and not _is_public(found, target)
        and not (found.importer.startswith("gameball_async.cli.doctor.") and room_of(target) in SHARED)
    ]

    assert private == []


def _is_public(found: Import, target: str) -> bool:
    if room_of(target) == "_platform":  # how to lock a file is told once
        return True
    if room_of(target) not in PUBLIC or target.count(".") > 1 + target.endswith(".__init__"):
        return False
    exported = getattr(sys.modules[PACKAGE.name], "__all__", ()) if room_of(target) == "__init__" else None
    if found.name is None or exported is None:
        return not (found.name or "").startswith("_")
    return found.name in exported


@pytest.mark.parametrize(("library", "rooms"), DOORS.items(), ids=DOORS)
def test_each_foreign_library_has_its_door(library: str, rooms: set[str]) -> None:
    assert [str(found) for found in OUTER if top(found) == library and found.room not in rooms] == []


def test_levels_0_and_1_know_no_io_no_clock_and_no_randomness() -> None:
    assert [str(found) for found in OUTER if found.room in PURE and top(found) in IMPURE] == []


def test_levels_0_and_1_ask_no_type_for_the_time_or_for_randomness() -> None:
    """`datetime` and `uuid` are imported there as types of values; their clocks must not be read."""
    asked = [
        f"{module}:{node.lineno} calls {node.func.attr}()"
        for module, path in MODULES.items()
        if room_of(module) in PURE
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


def test_the_front_door_only_exports() -> None:
    statements = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body

    assert {type(statement).__name__ for statement in statements[1:]} == {"ImportFrom", "Assign"}
    assert sorted(gameball_async.__all__) == sorted(
        found.name
        for found in IMPORTS
        if found.importer == f"{PACKAGE.name}.__init__" and found.name != "annotations" and found.name
    )
