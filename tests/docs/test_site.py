"""The site: built strictly, from every page and every docstring, with nothing of another host in it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import runpy
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import attrs
import pytest
from sphinx.util.inventory import InventoryFile

import gameball_async

from .conftest import build
from .pages import DOCS, ROOT

pytestmark = pytest.mark.timeout(400)  # the first one builds the site


@pytest.fixture(scope="module")
def documented(site: Path) -> set[str]:
    """The names that the reference has, in full."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    return {name for kind, names in inventory.data.items() if kind.startswith("py:") for name in names}


# ---------------------------------------------------------------- strict

MISTAKES = {
    "a page that is missing": ("page.md", "[gone](gone.md)", "WARNING: .*'gone.md'"),
    "a heading that is missing": ("heading.md", "[gone](#gone)", "WARNING: .*'gone'"),
    "a name that is missing": ("name.rst", "`Gone` and `Receipt.gone`", "WARNING: .*Gone"),
    "a picture that is missing": ("picture.md", "![gone](gone.svg)", "WARNING: .*gone.svg"),
    "a page without a place in the navigation": ("lost.md", "lost", "WARNING: .*toctree"),
}


@pytest.fixture(scope="module")
def with_mistakes(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A build of pages with one mistake each."""
    folder = tmp_path_factory.mktemp("mistakes")
    source = folder / "source"
    source.mkdir()
    (source / "index.md").write_text("# Index\n")
    pages = [file for file, _, _ in MISTAKES.values()]
    for file, text, _ in MISTAKES.values():
        (source / file).write_text(f"Title\n=====\n\n{text}\n")
    entries = "".join(f"- file: {page}\n" for page in pages if page != "lost.md")
    (source / "toc.yml").write_text(f"root: index\nentries:\n{entries}")
    return build(source, folder, "-D", "include_patterns=**", "-D", f"external_toc_path={source / 'toc.yml'}")


@pytest.mark.parametrize(("file", "warning"), [(file, warning) for file, _, warning in MISTAKES.values()], ids=MISTAKES)
def test_a_mistake_fails_the_build(file: str, warning: str, with_mistakes: subprocess.CompletedProcess[str]) -> None:
    assert with_mistakes.returncode == 1
    line = next(line for line in with_mistakes.stderr.splitlines() if f"/{file}:" in line)
    assert re.search(warning, line)


# ---------------------------------------------------------------- complete


def test_every_page_is_in_the_site(site: Path) -> None:
    pages = [*(f"docs/{name}" for name in DOCS), "README", "CHANGELOG"]
    assert [page for page in pages if not (site / f"{page}.html").is_file()] == []


def test_the_site_begins_with_the_documentations_index(site: Path) -> None:
    assert "docs/index.html" in (site / "index.html").read_text(encoding="utf-8")


def test_every_page_names_authors_version_source_and_description_and_has_an_icon(site: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = project["urls"]["Source"]
    for name in DOCS:
        html = (site / f"docs/{name}.html").read_text(encoding="utf-8")
        assert f"2026, {project['authors'][0]['name']}" in html, name
        assert gameball_async.__version__ in html, name
        assert f'href="{source}"' in html, name
        assert f'<meta content="{project["description"]}" name="description"' in html, name
        assert re.search(r'<link rel="(?:shortcut )?icon" href="[^"]+icon\.svg"', html), name


def test_the_site_begins_with_what_it_is_for_how_to_install_it_an_example_and_a_picture(site: Path) -> None:
    html = (site / "docs/index.html").read_text(encoding="utf-8").partition("<h1>")[2]
    text = re.sub(r"<(?!img)[^>]+>", "", html)
    words = ["Track loyalty events", "pip install gameball-async", "async with AsyncGameball", "<img", "Quick start"]
    places = [text.index(word) for word in words]
    assert places == sorted(places)


def public_modules() -> Iterator[ModuleType]:
    """The package and the modules that users import; the command line is used otherwise."""
    yield gameball_async
    for folder in ("gameball_async", "gameball_async.integrations", "gameball_async.outbox"):
        for found in pkgutil.iter_modules(importlib.import_module(folder).__path__, f"{folder}."):
            name = found.name.rpartition(".")[2]
            if not name.startswith("_") and name != "cli":
                yield importlib.import_module(found.name)


MODULES = {module.__name__: module for module in public_modules()}

INNER = {f"gameball_async.DeadLetters.{name}" for name in ("add", "add_damaged", "close")}
"""What a client alone calls."""


def test_every_public_module_says_what_is_public_in_it() -> None:
    without = {name for name, module in MODULES.items() if not hasattr(module, "__all__")}
    assert without == {"gameball_async.errors", "gameball_async.integrations"}
    assert set(MODULES["gameball_async.errors"].__dict__) & set(gameball_async.__all__)


@pytest.mark.parametrize("module", [name for name, module in MODULES.items() if hasattr(module, "__all__")])
def test_the_reference_has_every_public_name(module: str, documented: set[str]) -> None:
    public = {f"{module}.{name}" for name in MODULES[module].__all__ if not name.startswith("__")}
    assert public - documented == set()


def members(module: str, name: str) -> set[str]:
    """What is defined in a class and public; what a base class documents is documented there."""
    kind = getattr(MODULES[module], name)
    if not inspect.isclass(kind):
        return set()
    own: dict[str, object] = {key: value for key, value in vars(kind).items() if not key.startswith("_")}
    kinds = (property, classmethod, staticmethod)
    return {
        f"{module}.{name}.{key}" for key, value in own.items() if inspect.isfunction(value) or isinstance(value, kinds)
    }


@pytest.mark.parametrize("module", [name for name, module in MODULES.items() if hasattr(module, "__all__")])
def test_the_reference_has_every_public_method(module: str, documented: set[str]) -> None:
    public = {member for name in MODULES[module].__all__ for member in members(module, name)}
    assert public - documented - INNER == set()


def test_a_signature_shows_its_defaults(site: Path) -> None:
    shown = {
        page: " ".join(re.sub(r"<[^>]+>", "", (site / f"docs/reference/{page}.html").read_text("utf-8")).split())
        for page in ("client", "settings")
    }
    assert "metadata: Metadata | MetadataRecord | None = None" in shown["client"]
    assert "linger: float = 0.5, max_events: int = 100, max_bytes: int = 262_144," in shown["settings"]


@pytest.mark.parametrize("name", [name for name in gameball_async.__all__ if attrs.has(getattr(gameball_async, name))])
def test_every_field_is_told_in_the_docstring_of_its_class(name: str) -> None:
    kind: type = getattr(gameball_async, name)
    told = set(re.findall(r"^ +(\w+): ", kind.__doc__ or "", re.MULTILINE))
    assert {field.name for field in attrs.fields(kind) if not field.name.startswith("_")} <= told | set(vars(kind))


# ---------------------------------------------------------------- of one host


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    loaded = re.compile(r"""(?:\ssrc=|<link[^>]*\shref=|@import\s|url\()\s*["']?((?:https?:)?//[^"')\s]+)""")
    texts = {path: path.read_text(encoding="utf-8") for path in site.rglob("*") if path.suffix in {".html", ".css"}}
    assert {path.suffix for path in texts} == {".html", ".css"}
    assert [(path.name, found) for path, text in texts.items() for found in loaded.findall(text)] == []


# ---------------------------------------------------------------- drawings


def test_every_drawing_is_what_its_code_draws() -> None:
    code = runpy.run_path(str(ROOT / "docs" / "_site" / "drawings.py"))
    for drawing in code["DRAWINGS"]:
        assert (code["FOLDER"] / f"{drawing.name}.svg").read_text(encoding="utf-8") == drawing.svg(), drawing.name
