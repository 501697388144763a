"""The page on reliability names tests that exist, every mutant, and numbers that the simulation has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from .pages import DOCS, ROOT, code_in

PAGE = DOCS["reliability"]
TABLES = PAGE.tables()
ROWS = [row for table in ("Crashes/What happens", "Chaos/What happens", "Lives/Life") for row in TABLES[table]]
SIMULATION = ROOT / "tests" / "simulation"
MUTANTS = {
    "Mutants/Promise": SIMULATION,
    "Mutants/Promise of the journal": SIMULATION / "journal",
    "Mutants/Promise of bulk requests": SIMULATION / "bulk",
    "Mutants/Promise of the outbox": SIMULATION / "outbox",
}
"""The tables, and where what they list is."""


def assigned(path: Path, name: str) -> ast.expr:
    """What a module assigns to a name."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", statement)]
        value = getattr(statement, "value", None)
        if value is not None and any(ast.unparse(target) == name for target in targets):
            assert isinstance(value, ast.expr)
            return value
    raise AssertionError(f"{path.name} has no {name}")


def mutants(folder: Path) -> list[str]:
    names: list[str] = []
    for path in folder.glob("*mutants.py"):
        if not path.name.startswith("test_"):
            made = assigned(path, path.stem.upper())
            assert isinstance(made, ast.Tuple)
            names += [ast.literal_eval(call.args[0]) for call in made.elts if isinstance(call, ast.Call)]
    return names


@pytest.mark.parametrize("row", ROWS, ids=lambda row: code_in(row["Test"])[0])
def test_a_row_names_a_test_of_the_file_it_links(row: dict[str, str]) -> None:
    (path,) = re.findall(r"\]\(\.\./([\w/]+\.py)\)", row["Test"])
    (test,) = code_in(row["Test"])
    assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_test_of_the_crashes_the_storms_and_the_lives_has_a_row() -> None:
    linked = {(re.findall(r"(\w+\.py)\)", row["Test"])[0], code_in(row["Test"])[0]) for row in ROWS}
    files = [path for folder in ("crash", "chaos", "lives") for path in (ROOT / "tests" / folder).glob("test_*.py")]
    for path in files:
        for test in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert (path.name, test) in linked


def test_a_figure_says_that_it_is_of_one_run() -> None:
    for row in ROWS:
        assert "one run" in row["Figure"] or not re.search(r"\d", row["Figure"])


@pytest.mark.parametrize("table", MUTANTS)
def test_every_mutant_stands_once(table: str) -> None:
    documented = [name for row in TABLES[table] for name in list(row.values())[1].split("; ")]
    assert sorted(documented) == sorted(mutants(MUTANTS[table]))


def test_the_numbers_are_those_of_the_simulation() -> None:
    seeds = ast.literal_eval(assigned(SIMULATION / "test_seeds.py", "SEEDS"))
    seeds_with_a_journal = ast.literal_eval(assigned(SIMULATION / "journal" / "test_journal_seeds.py", "SEEDS"))
    text = " ".join(PAGE.text.split())
    assert f"runs {seeds} seeds on each of the two loops" in text
    assert f"runs {seeds_with_a_journal} seeds of this kind on each of the two loops" in text
    assert f"broken on purpose in {len(mutants(SIMULATION))} ways" in text
    assert f"broken in {len(mutants(SIMULATION / 'journal'))} further ways" in text
    seeds_in_bulk = ast.literal_eval(assigned(SIMULATION / "bulk" / "test_bulk_seeds.py", "SEEDS"))
    assert f"runs {seeds_in_bulk} seeds of this kind on each of the two loops" in text
    assert f"Bulk requests are broken in {len(mutants(SIMULATION / 'bulk'))} ways" in text
    seeds_with_an_outbox = ast.literal_eval(assigned(SIMULATION / "outbox" / "test_outbox_seeds.py", "SEEDS"))
    assert f"runs {seeds_with_an_outbox} seeds of this kind, plus" in text
    assert f"The relay is broken in {len(mutants(SIMULATION / 'outbox'))} ways" in text
