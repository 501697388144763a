"""The pages for frameworks: found by the site's search, and their examples are those that the tests start."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .pages import DOCS, ROOT

pytestmark = pytest.mark.timeout(400)  # the first one builds the site

PAGES = {
    "django": "django_shop",
    "celery": "celery_worker",
    "serverless": "serverless",
    "litestar": "litestar_shop",
    "quart": "quart_shop",
    "taskiq": "taskiq_worker",
    "notebooks": "notebook",
}
"""Each page, and the folder of its example."""


@pytest.mark.parametrize(("page", "folder"), PAGES.items())
def test_a_page_links_to_its_example(page: str, folder: str) -> None:
    assert f"../examples/{folder}/README.md" in DOCS[page].links()
    assert (ROOT / "examples" / folder / "README.md").is_file()


def search_index(site: Path) -> dict[str, Any]:
    (index,) = re.findall(r"Search\.setIndex\((.*)\)", (site / "searchindex.js").read_text(encoding="utf-8"), re.DOTALL)
    parsed: dict[str, Any] = json.loads(index)
    return parsed


@pytest.mark.parametrize("word", ["sync", "django", "celery", "serverless", "litestar", "quart", "taskiq", "notebook"])
def test_the_sites_search_finds_the_page_by_its_title(word: str, site: Path) -> None:
    """A title matches if one of its words begins with what is looked for."""
    index = search_index(site)
    titles = dict(zip(index["docnames"], index["titles"], strict=True))
    found = {name for name, title in titles.items() if re.search(rf"\b{word}", title, re.IGNORECASE)}
    assert {f"docs/{page}" for page in (*PAGES, "sync") if page.startswith(word)} <= found


def test_the_sites_search_finds_what_is_said_about_idempotency(site: Path) -> None:
    index = search_index(site)
    ((page, _),) = index["alltitles"]["Idempotency"]
    assert index["docnames"][page] == "docs/delivery"
