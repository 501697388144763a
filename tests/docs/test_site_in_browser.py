"""The site in a real browser: on a phone, in the dark, without a network, and for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser
from sandbox.browser import CHROMIUM, DESK, PHONE, barriers, chromium

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
    pytest.mark.timeout(400),  # the first one builds the site
]

THEMES_OWN = (
    "Landmarks should have a unique role",  # the theme's two sidebars have no names
    "<dl> elements must only directly contain",  # how Sphinx lists the fields of a signature
)
"""The beginnings of what axe-core finds in the theme, whatever is written in the pages."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def test_no_page_is_wider_than_a_phone_or_asks_for_anything_from_elsewhere(browser: Browser, site: Path) -> None:
    asked: set[str] = set()
    wide: list[str] = []
    with browser.new_context(viewport={"width": PHONE[0], "height": PHONE[1]}) as context:
        page = context.new_page()
        page.on("request", lambda request: asked.add(request.url))
        for path in sorted(site.glob("*/**/*.html")):  # what lies at the top leads here or is the theme's
            page.goto(path.as_uri())
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wide.append(path.name)
    assert wide == []
    assert [url for url in asked if not url.startswith(site.as_uri())] == []


def test_no_name_in_the_tables_of_settings_is_split_on_a_phone(browser: Browser, site: Path) -> None:
    with browser.new_context(viewport={"width": PHONE[0], "height": PHONE[1]}) as context:
        page = context.new_page()
        page.goto((site / "docs/configuration.html").as_uri())
        names = page.locator("table td:nth-child(-n + 2) code")
        assert names.count() > 20
        lines = names.evaluate_all("all => all.map(name => [name.innerText, name.getClientRects().length])")
    assert [name for name, count in lines if count > 1 and " " not in name] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["docs/index", "docs/pacing", "docs/reference/events"])
def test_nothing_stands_in_anybodys_way(
    name: str, theme: Literal["light", "dark"], browser: Browser, site: Path
) -> None:
    with browser.new_context(viewport={"width": DESK[0], "height": DESK[1]}, color_scheme=theme) as context:
        page = context.new_page()
        page.goto((site / f"{name}.html").as_uri())
        assert [barrier for barrier in barriers(page) if not barrier.startswith(THEMES_OWN)] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_drawings_follow_the_theme_that_the_reader_has_chosen_on_the_page(
    theme: str, browser: Browser, site: Path
) -> None:
    """In the dark theme of the page they are dark, though the system is light, and the other way round."""
    system: Literal["light", "dark"] = "light" if theme == "dark" else "dark"
    with browser.new_context(color_scheme=system) as context:
        page = context.new_page()
        page.goto((site / "docs/pacing.html").as_uri())
        page.evaluate("theme => document.body.dataset.theme = theme", theme)
        scheme = page.evaluate("getComputedStyle(document.querySelector('.content img')).colorScheme")
    assert scheme == theme
