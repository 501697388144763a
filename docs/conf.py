"""How the pages become a site: `make docs`. They stay plain Markdown, which any Git host shows as it is.

Sphinx, because it is strict: with `-W -n` a link, an anchor, a name in a docstring or a page of the navigation that
leads nowhere fails the build. The navigation is `toc.yml`, so that no page needs a directive for it.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import gameball_async

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_site"))  # where the extension `docstrings` is

PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "gameball_async"
author = PROJECT["authors"][0]["name"]
copyright = f"2026, {author}"  # noqa: A001 the name that Sphinx reads
release = gameball_async.__version__
html_title = f"gameball_async {release}"

extensions = [
    "docstrings",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_external_toc",
]

# ---------------------------------------------------------------- pages

# The source is the repository's root, because the pages link to the README, the examples and the tests.
include_patterns = [
    "docs/**",
    "examples/README.md",
    "examples/*/README.md",
    "CHANGELOG.md",
    "README.md",
]
exclude_patterns = ["docs/_*"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
external_toc_path = str(HERE / "toc.yml")
myst_html_meta = {"description": PROJECT["description"]}
myst_heading_anchors = 4  # as a Git host derives them from the headings

# ---------------------------------------------------------------- the reference, from the docstrings

nitpicky = True
default_role = "py:obj"  # what stands between single backticks in a docstring, see `docstrings`
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # `Batching()` instead of all that is in it
autodoc_type_aliases = {
    "HTTPClient": "httpx.AsyncClient",
    "Metadata": "gameball_async.Metadata",
    "MetadataRecord": "gameball_async.MetadataRecord",
}
maximum_signature_line_length = 90
python_use_unqualified_type_names = True
nitpick_ignore_regex = [
    # Other projects' names: without a network nobody can look up where they are documented.
    (r"py:.*", r"(aiohttp|anyio|attrs|fastapi|httpx|opentelemetry|pytest|sqlalchemy|starlette)\..*"),
    (r"py:.*", r"(collections|contextlib|datetime|decimal|enum|os|pathlib|time|types|typing|uuid)\..*"),
    (r"py:obj", r"Decimal|UUID|Enum"),
    (r"py:class", r"datetime"),
    # Types that stand for what everybody knows or what the docstring tells.
    (r"py:class", r"(gameball_async\.[\w.]+\.)?(PathLike|When|Kind|_App|OutboxDatabase)"),
]

# ---------------------------------------------------------------- the look

html_theme = "furo"
html_static_path = ["_site/static"]
html_css_files = ["style.css"]
html_js_files = ["keyboard.js"]
html_show_sourcelink = False
html_copy_source = False
html_domain_indices = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
copybutton_prompt_text = "$ "
html_favicon = "../gameball_async/sandbox/page/icon.svg"
html_theme_options = {
    "navigation_with_keys": True,
    # furo's own button for the source of a page is outside of all landmarks
    "footer_icons": [{"name": "Source code", "url": PROJECT["urls"]["Source"], "html": "Source", "class": ""}],
}
