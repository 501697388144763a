"""The order in which things are looked at: what needs no network first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ... import AsyncGameball
from ...errors import ConfigurationError
from .._keys import KeyOptions
from .._send_options import default_base_url
from .._terminal import argument
from . import _connectivity, _environment, _journal_folder
from ._findings import refused, warn
from ._probe import probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ._findings import Finding


_SHORTEST_SECRET = 8  # characters: the sandbox takes "any" for a key, and words such as many hold that


@attrs.frozen(kw_only=True)
class Checks:
    """What the doctor is to look at.

    Attributes:
        keys: the account's keys.
        keys_file: the file they come from, if others can read it; None if all is well.
        api_version: of Gameball's API.
        base_url: where the API lives; None for the client's own default.
        per_second: as in `RateLimit`.
        per_30_seconds: likewise.
        share: likewise.
        journal: the journal's folder; None if there is none.
    """

    keys: KeyOptions
    keys_file: Path | None = None
    api_version: str = "v3.0"
    base_url: str | None = None
    per_second: int = 100
    per_30_seconds: int = 1200
    share: float = 1.0
    journal: Path | None = None

    def findings(self) -> Iterator[Finding]:
        """Look at one thing after another; each is told as soon as it is known, and none holds a key."""
        for finding in self._findings():
            remedy = None if finding.remedy is None else self._without_keys(finding.remedy)
            yield attrs.evolve(finding, words=self._without_keys(finding.words), remedy=remedy)

    def _findings(self) -> Iterator[Finding]:
        yield _environment.api_key(self.keys)
        yield _environment.secret_key(self.keys, self.api_version)
        if self.keys_file is not None:
            yield warn("keys_file", "others than you can read it", f"chmod 600 {argument(str(self.keys_file))}")
        yield _environment.versions(self.api_version)
        yield _environment.limits(self.per_second, self.per_30_seconds, self.share)
        yield from self._network()
        if self.journal is not None:
            yield from _journal_folder.findings(self.journal, self.share)

    def _network(self) -> Iterator[Finding]:
        base_url = default_base_url() if self.base_url is None else self.base_url
        try:
            AsyncGameball("any", secret_key="", base_url=base_url)
        except ConfigurationError as error:
            yield refused("address", error)
            return
        result = probe(base_url, self.api_version, self._keys_that_can_be_sent())
        yield from _connectivity.findings(result)
        if not result.is_impossible:
            yield from _connectivity.answer_findings(result)

    def _keys_that_can_be_sent(self) -> KeyOptions:
        return KeyOptions(
            *(None if key is None or _environment.refusal(key) else key for key in attrs.astuple(self.keys))
        )

    def _without_keys(self, words: str) -> str:
        for key in self.keys.secrets():
            words = words.replace(key, "***") if len(key) >= _SHORTEST_SECRET else words
        return words
