"""The pages that people read, and just enough Markdown to take them apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(```+)([^`]*)$")
_HEADING = re.compile(r"^#{1,6} (.+)$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@attrs.frozen
class Block:
    """A fenced block.

    Attributes:
        page: the file's name.
        line: the number of its first line, from 1.
        info: what stands behind the fence.
        text: what is in it.
        output: the text of the block right behind it, if that is marked as this one's output.
    """

    page: str
    line: int
    info: str
    text: str
    output: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@attrs.frozen
class Page:
    """One Markdown file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def blocks(self) -> list[Block]:
        found = [
            Block(str(self), number, info, "".join(f"{line}\n" for line in lines))
            for number, info, lines in self._pieces()
            if info is not None
        ]
        return [
            attrs.evolve(block, output=after.text) if after is not None and after.info == "text output" else block
            for block, after in zip_longest(found, found[1:])
        ]

    def prose(self) -> list[str]:
        """The lines outside of fenced blocks."""
        return [line for _, info, lines in self._pieces() if info is None for line in lines]

    def anchors(self) -> set[str]:
        """What a link may name behind `#`, as the usual sites derive it from the headings."""
        headings = filter(None, map(_HEADING.match, self.prose()))
        return {re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-") for heading in headings}

    def links(self) -> list[str]:
        return _LINK.findall("\n".join(self.prose()))

    def tables(self) -> dict[str, list[dict[str, str]]]:
        """The rows of each table, by the heading above it, each by the names of its columns."""
        tables: dict[str, list[dict[str, str]]] = {}
        heading, columns = "", list[str]()
        for line in self.prose():
            if match := _HEADING.match(line):
                heading = match[1]
            if not line.startswith("|"):
                columns = []
            elif not columns:
                columns = _cells(line)
                tables.setdefault(f"{heading}/{columns[0]}", [])
            elif not set(line) <= set("|-: "):
                tables[f"{heading}/{columns[0]}"].append(dict(zip(columns, _cells(line), strict=True)))
        return tables

    def _pieces(self) -> Iterator[tuple[int, str | None, list[str]]]:
        """The page cut at its fences: the first line's number, the fence's info (None outside), the lines."""
        start, info, fence = 1, None, ""
        lines: list[str] = []
        for number, line in enumerate(self.text.splitlines(), 1):
            match = _FENCE.match(line)
            if match is None or (fence and line != fence):
                lines.append(line)
                continue
            yield start, info, lines
            info, fence = (None, "") if fence else (match[2], match[1])
            start, lines = number + 1, []
        assert not fence, f"{self}: a fenced block has no end"
        yield start, info, lines


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def code_in(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


README = Page(ROOT / "README.md")
CHANGELOG = Page(ROOT / "CHANGELOG.md")
DOCS = {path.stem: Page(path) for path in sorted((ROOT / "docs").glob("*.md"))}
EXAMPLE_PAGES = [Page(path) for path in sorted((ROOT / "examples").rglob("*.md"))]
PAGES = [README, CHANGELOG, *DOCS.values()]
