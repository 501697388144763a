"""The pages hang together: links, anchors, lengths, versions, and words that do not belong there."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

from gameball_async import __version__

from .pages import CHANGELOG, DOCS, PAGES, README, ROOT, Page

LEAST_WORDS = 4
"""Of the text that stands for a picture."""

LONGEST_README = 700
"""Words, as `wc` counts them: code and links included."""


def test_the_readme_is_short() -> None:
    assert len(README.text.split()) <= LONGEST_README


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Page) -> None:
    for link in page.links():
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = Page(Path(os.path.normpath(page.path.parent / file))) if file else page
        assert target.path.is_file(), link
        assert target.path.is_relative_to(ROOT), link
        assert not anchor or anchor in target.anchors(), link


def test_every_picture_is_shown_with_a_text_for_those_who_do_not_see_it() -> None:
    shown: dict[Path, str] = {}
    for page in PAGES:
        for text, file in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.text):
            shown[Path(os.path.normpath(page.path.parent / file))] = text
    pictures = {path for path in (ROOT / "docs").rglob("*") if path.suffix in {".svg", ".png"}}
    assert shown.keys() == pictures
    assert [path.name for path, text in shown.items() if len(text.split()) < LEAST_WORDS] == []


def test_every_page_can_be_reached_from_the_index_and_the_index_from_the_readme() -> None:
    others = {page.path.name for name, page in DOCS.items() if name != "index"}
    assert others <= {link.partition("#")[0].rpartition("/")[2] for link in DOCS["index"].links()}
    assert "docs/index.md" in README.links()


def test_the_badges_say_what_the_project_is() -> None:
    badges = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "drawings").glob("badge-*.svg")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    least = project["project"]["requires-python"].removeprefix(">=")
    assert f"<title>python: {least}+</title>" in badges["badge-python"]
    assert f"<title>licence: {project['project']['license']}</title>" in badges["badge-licence"]
    assert "<title>types: strict mypy and pyright</title>" in badges["badge-types"]
    assert (project["tool"]["mypy"]["strict"], project["tool"]["pyright"]["typeCheckingMode"]) == (True, "strict")
    assert (ROOT / "gameball_async" / "py.typed").is_file()


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", CHANGELOG.text, re.MULTILINE)
    assert versions[0] == __version__


def test_every_public_name_that_the_changelog_gives_exists() -> None:
    import importlib.util  # noqa: PLC0415

    for name in re.findall(r"`(gameball_async\.[\w.]+)`", CHANGELOG.text):
        module, _, attribute = name.rpartition(".")
        parent = importlib.import_module(module)
        is_module = hasattr(parent, "__path__") and importlib.util.find_spec(name) is not None
        assert is_module or hasattr(parent, attribute), name


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_page_names_a_machine_or_an_index(page: Page) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|work|tmp|usr|opt)/|localhost|pypi\.org|--index-url", page.text)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_page_has_one_title_and_no_stray_spaces(page: Page) -> None:
    assert sum(line.startswith("# ") for line in page.prose()) == 1
    assert all(line == line.rstrip() for line in page.text.splitlines())
    assert page.text.endswith("\n")
