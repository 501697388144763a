"""Where events go, in words: "Gameball" only if the host is Gameball's."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from .. import AsyncGameball, RateLimit, Retry
from ._files import STANDARD_INPUT, check_header, is_regular
from ._terminal import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._files import ReadOptions
    from ._keys import KeyOptions


_DOMAIN = "gameball.co"


def default_base_url() -> str:
    """Return the address that the client uses if none is given."""
    # asked, so that it stands in one place only
    default: str = inspect.signature(AsyncGameball).parameters["base_url"].default
    return default


def destination(client: Mapping[str, Any]) -> str:
    """Name the host that a client sends to, without a user or a password in its address.

    Args:
        client: the client's arguments.
    """
    parts = urlsplit(client.get("base_url") or default_base_url())
    host = (parts.hostname or "").rstrip(".")
    address = parts.netloc.rpartition("@")[2]
    if host == _DOMAIN or host.endswith("." + _DOMAIN):
        return f"Gameball ({printable(address)})"
    return printable(f"{parts.scheme}://{address}{parts.path.rstrip('/')}")


class UsageProblem(Exception):
    """The options cannot work together or with these files; the message says why and what would."""


@attrs.frozen(kw_only=True)
class SendOptions:
    """Everything `send` was asked to do.

    Attributes:
        paths: the files; `-` is standard input.
        reading: how they are read.
        keys: the account's keys.
        rejects: the rejects file; None puts it beside the first file.
        progress: the progress file; None puts it beside the first file, or has none for a pipe.
        resume: whether to go on where an earlier run stopped.
        sandbox: whether to send to an embedded sandbox.
        dry_run: whether to check the rows only.
        yes: whether to send without asking first.
        client: further arguments of the client.
        rate: the pacing.
        retry: when a failed request is tried again.
        drain: seconds that the requests in flight have after a Ctrl-C.
    """

    paths: tuple[str, ...]
    reading: ReadOptions
    keys: KeyOptions
    rejects: Path | None = None
    progress: Path | None = None
    resume: bool = False
    sandbox: bool = False
    dry_run: bool = False
    yes: bool = False
    client: dict[str, Any] = attrs.field(factory=dict[str, Any])
    rate: RateLimit = attrs.field(factory=RateLimit)
    retry: Retry = attrs.field(factory=Retry)
    drain: float = 10.0

    @property
    def title(self) -> str:
        """What is sent, in a few words."""
        only = "standard input" if self.paths[0] == STANDARD_INPUT else Path(self.paths[0]).name
        return only if len(self.paths) == 1 else f"{len(self.paths)} files"

    def names(self) -> list[str]:
        """Return the files' names, for the rejects."""
        return ["standard input" if path == STANDARD_INPUT else path for path in self.paths]

    def rejects_path(self) -> Path:
        """Return where the rejects go."""
        return self.rejects or _beside(self.paths[0], ".rejects.ndjson")

    def progress_path(self) -> Path | None:
        """Return where the progress is noted; None if it is not."""
        return None if self.sandbox else self._notes_path()

    def _notes_path(self) -> Path | None:
        return self.progress or (_beside(self.paths[0], ".progress") if all(map(is_regular, self.paths)) else None)

    def unfinished(self) -> Path | None:
        """Return the progress file of a run whose rejects file this trial would replace; None if there is none."""
        if not (self.sandbox or self.dry_run) or self.rejects is not None:
            return None
        notes = self._notes_path()
        return notes if notes is not None and notes.exists() else None

    def mapping(self) -> dict[str, Any]:
        """Return the options that decide what the rows mean, as JSON gives them back."""
        options = attrs.asdict(self.reading)
        mapping: dict[str, Any] = json.loads(json.dumps({**options.pop("columns"), **options}))
        return mapping


def check(order: SendOptions) -> None:
    """Make sure that the options fit each other and the files, before anything is sent or written.

    Raises:
        UsageProblem: if they do not.
        MappingError: if a header does not fit.
        OSError: if a file cannot be opened.
    """
    if len({*map(os.path.realpath, order.paths)}) < len(order.paths):
        raise UsageProblem("a file is named twice: name each once.")
    if order.sandbox and order.resume:
        raise UsageProblem("--sandbox begins empty each time, so there is nothing to --resume.")
    if order.resume and order.progress_path() is None:
        raise UsageProblem("what comes from a pipe is not noted by itself: give both runs the same --progress FILE.")
    _check_outputs(order)
    for path in order.paths:
        if is_regular(path):
            check_header(path, order.reading)


def _check_outputs(order: SendOptions) -> None:
    """Make sure that the rejects and the progress have a place of their own.

    Raises:
        UsageProblem: if they do not.
    """
    rejects, progress = order.rejects_path(), order.progress_path()
    if progress is not None and os.path.realpath(rejects) == os.path.realpath(progress):
        raise UsageProblem(f"{printable(str(rejects))} is to hold both rejects and progress: name two files.")
    if not rejects.parent.is_dir():  # it is written when the first row is rejected, which may be hours later
        folder = printable(str(rejects.parent))
        raise UsageProblem(f"the rejects have no place: there is no folder {folder}: make it, or name another file.")
    if (unfinished := order.unfinished()) is not None:
        raise UsageProblem(
            f"{printable(str(unfinished))} tells of a run that is not over, and {printable(str(rejects))} belongs to "
            "it: name another file with --rejects."
        )
    for written in filter(None, (rejects, progress)):
        if written.exists() and any(is_regular(path) and written.samefile(path) for path in order.paths):
            raise UsageProblem(f"{printable(str(written))} is to be read and written: name another file.")


def _beside(path: str, suffix: str) -> Path:
    """Name a file beside an input file; for a pipe, in the working folder."""
    return Path(path + suffix) if is_regular(path) else Path("stdin" + suffix)
