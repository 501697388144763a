"""The doctor: check everything that a client depends on, from the keys to the journal."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import attrs

from ... import AsyncGameball, RateLimit, __version__
from ..._core.wire import dialect
from ...errors import ConfigurationError
from .._options import API_KEY, SECRET_KEY, KeyOptions, default_base_url
from .._terminal import argument
from . import _connectivity, _journal_folder
from ._findings import Finding, fail, ok, refused, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SHORTEST_SECRET = 8  # characters: the sandbox accepts "any" as a key, which is part of words such as many
_SHORTEST, _LONGEST = 16, 256  # characters; Gameball documents no length, so any other is only a warning
_DEPENDENCIES = ("httpx", "anyio", "msgspec", "attrs", "tenacity")
_DOCUMENTED = RateLimit()  # its defaults are Gameball's limits

_PLACEHOLDER = re.compile(r"[<>{}$]|your|my-|changeme|change-me|placeholder|example|x{4}", re.IGNORECASE)
_ITS_OWN_NAME = re.compile(r"(gameball_?)?(api|secret)_?key\b|export\b|bearer\b", re.IGNORECASE)
_SECRET = re.compile(r"secret|sk[-_]", re.IGNORECASE)

_ODDITIES: tuple[tuple[Callable[[str], object], str, str], ...] = (
    (
        lambda key: key[0] in "\"'" or key[-1] in "\"'",
        "is in quotation marks, which were read as part of it",
        "Remove the quotation marks.",
    ),
    (_ITS_OWN_NAME.match, "begins with its own name", "Give only the value after the name."),
    (
        re.compile(r"ey[\w-]+\.[\w-]+\.[\w-]*").match,
        "looks like a session token",
        "Copy the key from Gameball's dashboard.",
    ),
    (_PLACEHOLDER.search, "looks like the placeholder of an example", "Copy the key from Gameball's dashboard."),
    (
        lambda key: len(key) < _SHORTEST,
        f"is shorter than {_SHORTEST} characters, so it may be cut off",
        "Copy all of it from Gameball's dashboard.",
    ),
    (
        lambda key: len(key) > _LONGEST,
        f"is longer than {_LONGEST} characters, so it may be something else",
        "Copy the key from Gameball's dashboard.",
    ),
)
"""Values that are probably not keys: condition, words, remedy. The first match counts."""


@attrs.frozen(kw_only=True)
class Checks:
    """All checks of the doctor; those that need no network come first."""

    keys: KeyOptions
    keys_file: Path | None = None
    api_version: str = "v3.0"
    base_url: str | None = None
    per_second: int = 100
    per_30_seconds: int = 1200
    share: float = 1.0
    journal: Path | None = None

    def findings(self) -> Iterator[Finding]:
        """Yield each finding as soon as it is known, without any part of a key."""
        for finding in self._findings():
            remedy = None if finding.remedy is None else self._redact(finding.remedy)
            yield attrs.evolve(finding, words=self._redact(finding.words), remedy=remedy)

    def _findings(self) -> Iterator[Finding]:
        yield api_key(self.keys)
        yield secret_key(self.keys, self.api_version)
        if self.keys_file is not None:
            yield warn("keys_file", "others than you can read it", f"chmod 600 {argument(str(self.keys_file))}")
        packages = "".join(f", {name} {_version_of(name)}" for name in _DEPENDENCIES)
        python = f"{platform.python_implementation()} {platform.python_version()}"
        yield ok("versions", f"gameball_async {__version__}, {python}{packages}; Gameball's API {self.api_version}")
        yield self._limits()
        yield from self._network()
        if self.journal is not None:
            yield from _journal_folder.findings(self.journal, self.share)

    def _limits(self) -> Finding:
        check = "limits"
        try:
            rate = RateLimit(per_second=self.per_second, per_30_seconds=self.per_30_seconds, share=self.share)
        except ConfigurationError as error:
            return refused(check, error)
        words = " and ".join(f"{count:,} requests in {seconds:g} s" for count, seconds in rate.windows())
        words = f"at most {words}, a share of {self.share:g}"
        if self.per_second > _DOCUMENTED.per_second or self.per_30_seconds > _DOCUMENTED.per_30_seconds:
            return warn(
                check,
                f"{words}: that is more than Gameball documents",
                f"Unless Gameball has granted you more, stay at {_DOCUMENTED.per_second} and "
                f"{_DOCUMENTED.per_30_seconds:,}: what exceeds its limit is refused and waits.",
            )
        return ok(check, f"{words}; with n processes give each a share of 1/n" if self.share == 1 else words)

    def _network(self) -> Iterator[Finding]:
        base_url = default_base_url() if self.base_url is None else self.base_url
        try:
            AsyncGameball("any", secret_key="", base_url=base_url)
        except ConfigurationError as error:
            yield refused("address", error)
            return
        valid = KeyOptions(*(None if key is None or not _is_valid(key) else key for key in attrs.astuple(self.keys)))
        yield from _connectivity.findings(_connectivity.probe(base_url, self.api_version, valid))

    def _redact(self, words: str) -> str:
        for key in self.keys.secrets():
            words = words.replace(key, "***") if len(key) >= _SHORTEST_SECRET else words
        return words


def api_key(keys: KeyOptions) -> Finding:
    """Check the API key."""
    check, key = "api_key", keys.api_key
    if key is None:
        also = f"; the secret key in {SECRET_KEY} alone is not enough" if keys.secret_key else ""
        return fail(check, f"is missing{also}", f"Set {API_KEY}, or put it into a file and give that as --keys-file.")
    if _is_valid(key):
        if key == keys.secret_key:
            return warn(check, "is the same as the secret key", f"One of the two is wrong: check {API_KEY}.")
        if _SECRET.match(key):
            return warn(
                check, "looks like a secret key", f"Put that into {SECRET_KEY}, and the API key into {API_KEY}."
            )
    return _key_finding(check, key)


def secret_key(keys: KeyOptions, api_version: str) -> Finding:
    """Check the secret key, which not every account needs."""
    check, key = "secret_key", keys.secret_key
    if key is not None:
        return _key_finding(check, key)
    if dialect(api_version).needs_secret:
        remedy = f"Set {SECRET_KEY}, or put it into the file of --keys-file."
        return fail(check, f"is missing, and {api_version} needs it", remedy)
    return ok(check, f"is not set; {api_version} needs it only if the account's High Security Mode is on")


def _key_finding(check: str, key: str) -> Finding:
    if not _is_valid(key):
        return fail(
            check,
            "cannot be sent: it contains spaces, line ends or other characters that no key has",
            "Copy it again, without the characters around it.",
        )
    oddity = next((warn(check, words, remedy) for is_odd, words, remedy in _ODDITIES if is_odd(key)), None)
    return oddity or ok(check, "is there and looks like a key")


def _is_valid(key: str) -> bool:
    """Whether the client accepts a key."""
    try:
        AsyncGameball(key, secret_key="")
    except ConfigurationError:
        return False
    return True


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # bundled without its metadata
        return "of unknown version"
