"""What is in the sdist and in the wheel, and what they say of themselves."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from trove_classifiers import classifiers, deprecated_classifiers

from gameball_async import __version__

from .conftest import EXTRAS, PROJECT, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Distributions

UNPACKED = f"gameball_async-{__version__}"
INFO = f"{UNPACKED}.dist-info"


def tree(*folders: str) -> Iterator[str]:
    """The files of the source tree below some folders, without what tools leave behind."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            inner = path.relative_to(ROOT)
            if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in inner.parts):
                yield inner.as_posix()


@pytest.fixture(scope="session")
def in_wheel(distributions: Distributions) -> set[str]:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        return set(wheel.namelist())


@pytest.fixture(scope="session")
def in_sdist(distributions: Distributions) -> set[str]:
    with tarfile.open(distributions.sdist) as sdist:
        return {PurePosixPath(name).relative_to(UNPACKED).as_posix() for name in sdist.getnames()}


@pytest.fixture(scope="session")
def metadata(distributions: Distributions) -> Metadata:
    """What the wheel says of itself; reading it checks it."""
    with zipfile.ZipFile(distributions.wheel) as wheel:
        return Metadata.from_email(wheel.read(f"{INFO}/METADATA"), validate=True)


# ------------------------------------------------------------------ files


def test_the_wheel_holds_the_package_and_nothing_else(in_wheel: set[str]) -> None:
    outside = {name for name in in_wheel if not name.startswith(("gameball_async/", f"{INFO}/"))}
    assert outside == {"_gameball_async_cli.py", "_gameball_async_pytest.py"}
    assert {name for name in in_wheel if name.startswith("gameball_async/")} >= set(tree("gameball_async"))
    assert not any("__pycache__" in name or "test_" in name for name in in_wheel)
    assert not any(name.endswith((".csv", ".gz")) for name in in_wheel), "the demo's data has another licence"


@pytest.mark.parametrize(
    "name",
    [
        "gameball_async/py.typed",
        "gameball_async/sandbox/page/index.html",
        "gameball_async/sandbox/page/script.js",
        "gameball_async/sandbox/page/style.css",
        f"{INFO}/licenses/LICENSE",
    ],
)
def test_the_wheel_holds_what_is_not_python_as_well(name: str, in_wheel: set[str]) -> None:
    assert name in in_wheel


def test_the_wheel_runs_on_every_system(distributions: Distributions) -> None:
    assert distributions.wheel.name == f"gameball_async-{__version__}-py3-none-any.whl"


def test_the_sdist_holds_what_its_tests_need(in_sdist: set[str]) -> None:
    folders = ("gameball_async", "tests", "docs", "examples", "benchmarks")
    assert in_sdist >= set(tree(*(folder for folder in folders if (ROOT / folder).is_dir())))
    assert in_sdist >= {"README.md", "CHANGELOG.md", "LICENSE", "Makefile", "pyproject.toml"}


def test_the_sdist_holds_nothing_that_tools_leave_behind(in_sdist: set[str]) -> None:
    left = {
        "__pycache__",
        ".venv",
        ".git",
        ".hypothesis",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        "dist",
        "build",
    }
    assert [name for name in in_sdist if left & set(PurePosixPath(name).parts)] == []


def test_tests_of_the_sdist_pass_where_it_was_unpacked(distributions: Distributions, tmp_path: Path) -> None:
    """Two quick ones; `make dist` runs all."""
    with tarfile.open(distributions.sdist) as sdist:
        sdist.extractall(tmp_path, filter="data")
    tests = ["tests/unit/test_errors.py", "tests/unit/test_config.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=tmp_path / UNPACKED,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


# ------------------------------------------------------------------ metadata


def test_the_metadata_is_valid_and_says_what_the_project_says(metadata: Metadata) -> None:
    assert (metadata.name, str(metadata.version)) == ("gameball-async", __version__)
    assert metadata.summary == PROJECT["description"]
    assert str(metadata.requires_python) == ">=3.11"
    assert metadata.license_expression == "MIT"
    assert metadata.license_files == ["LICENSE"]
    assert sorted(metadata.provides_extra or []) == EXTRAS


def test_the_readme_is_its_description(metadata: Metadata) -> None:
    assert metadata.description_content_type == "text/markdown"
    source, raw = (f"{PROJECT['urls']['Source']}/{kind}/main/" for kind in ("blob", "raw"))
    readme = (ROOT / "README.md").read_text("utf-8")
    assert (metadata.description or "").replace(source, "").replace(raw, "").strip() == readme.strip()


def test_every_link_of_the_description_works_outside_of_the_repository(metadata: Metadata) -> None:
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", metadata.description or "")
    assert len(links) > 20
    assert [link for _, link in links if not link.startswith(("https://", "#"))] == []
    sources = {picture: f"{PROJECT['urls']['Source']}/{kind}/main/" for picture, kind in (("", "blob"), ("!", "raw"))}
    files = [link.removeprefix(sources[picture]).partition("#")[0] for picture, link in links]
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_the_page_on_pypi_names_the_authors_and_links_to_source_documentation_and_changelog(metadata: Metadata) -> None:
    urls = metadata.project_urls or {}
    assert set(urls) >= {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    assert all(url.startswith(urls["Source"]) for url in urls.values())
    assert metadata.author
    assert metadata.author in (ROOT / "LICENSE").read_text("utf-8")


def test_every_classifier_is_known_and_every_python_is_named(metadata: Metadata) -> None:
    named = set(metadata.classifiers or [])
    assert named <= classifiers
    assert not named & deprecated_classifiers.keys()
    assert "Typing :: Typed" in named
    pythons = {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)}
    assert {name for name in named if name.startswith("Programming Language :: Python :: 3.")} == pythons


def test_the_core_needs_few_packages_and_every_extra_brings_some(metadata: Metadata) -> None:
    needed: dict[str | None, set[str]] = {}
    for requirement in metadata.requires_dist or []:
        extra = next((extra for extra in EXTRAS if _belongs_to(requirement, extra)), None)
        needed.setdefault(extra, set()).add(requirement.name)
    assert needed[None] == {"anyio", "attrs", "httpcore", "httpx", "msgspec", "sniffio", "tenacity"}
    assert {extra for extra in needed if extra is not None} == set(EXTRAS)


def _belongs_to(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and not marker.evaluate({"extra": ""}) and marker.evaluate({"extra": extra})


def test_every_address_is_https(metadata: Metadata) -> None:
    assert all(url.startswith("https://") for url in (metadata.project_urls or {}).values())


def test_the_command_and_the_plugin_are_announced(distributions: Distributions) -> None:
    entries = ConfigParser()
    with zipfile.ZipFile(distributions.wheel) as wheel:
        entries.read_string(wheel.read(f"{INFO}/entry_points.txt").decode())
    assert dict(entries["console_scripts"]) == {"gameball-async": "_gameball_async_cli:main"}
    assert dict(entries["pytest11"]) == {"gameball_async": "_gameball_async_pytest"}
