"""`doctor`: looks at everything a client depends on, and says how each thing is, and what to do about it."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import attrs

from ... import AsyncGameball, RateLimit, __version__
from ...errors import ConfigurationError
from .._options import API_KEY, SECRET_KEY, KeyOptions, default_base_url
from .._terminal import argument
from . import _connectivity, _journal_folder
from ._connectivity import probe
from ._findings import CheckStatus, Finding, Report, fail, ok, refused, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


__all__ = ["CheckStatus", "Checks", "Finding", "Report"]


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
        yield api_key(self.keys)
        yield secret_key(self.keys, self.api_version)
        if self.keys_file is not None:
            yield warn("keys_file", "others than you can read it", f"chmod 600 {argument(str(self.keys_file))}")
        yield versions(self.api_version)
        yield limits(self.per_second, self.per_30_seconds, self.share)
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
        return KeyOptions(*(None if key is None or refusal(key) else key for key in attrs.astuple(self.keys)))

    def _without_keys(self, words: str) -> str:
        for key in self.keys.secrets():
            words = words.replace(key, "***") if len(key) >= _SHORTEST_SECRET else words
        return words


_SHORTEST, _LONGEST = 16, 256  # characters; no page of Gameball's says how long its keys are, so beyond is a warning

_PLACEHOLDER = re.compile(r"[<>{}$]|your|my-|changeme|change-me|placeholder|example|x{4}", re.IGNORECASE)
_ITS_OWN_NAME = re.compile(r"(gameball_?)?(api|secret)_?key\b|export\b|bearer\b", re.IGNORECASE)

_ODDITIES: tuple[tuple[Callable[[str], object], str, str], ...] = (
    (
        lambda key: key[0] in "\"'" or key[-1] in "\"'",
        "is in quotation marks, which were taken for a part of it",
        "Remove the quotation marks.",
    ),
    (
        _ITS_OWN_NAME.match,
        "begins with its own name",
        "Give only what stands behind the name.",
    ),
    (
        re.compile(r"ey[\w-]+\.[\w-]+\.[\w-]*").match,
        "looks like the token of a session",
        "Copy the key from Gameball's dashboard.",
    ),
    (
        _PLACEHOLDER.search,
        "looks like the placeholder of an example",
        "Copy the key from Gameball's dashboard.",
    ),
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
"""What a value is that is probably no key: how to tell, in words, and what to do. The first that fits is told."""

_SECRET = re.compile(r"secret|sk[-_]", re.IGNORECASE)


def api_key(keys: KeyOptions) -> Finding:
    """Look at the API key."""
    check, key = "api_key", keys.api_key
    if key is None:
        also = f"; the secret key in {SECRET_KEY} alone is not enough" if keys.secret_key else ""
        return fail(check, f"is missing{also}", f"Set {API_KEY}, or put it into a file and give that as --keys-file.")
    if (refused := refusal(key)) is not None:
        return fail(check, "cannot be sent: it holds spaces, line ends or other characters no key has", refused)
    if key == keys.secret_key:
        return warn(
            check, "is the same as the secret key", f"One of the two is in the other's place: look at {API_KEY}."
        )
    if _SECRET.match(key):
        return warn(check, "looks like a secret key", f"Put that into {SECRET_KEY}, and the API key into {API_KEY}.")
    return _oddity(check, key) or ok(check, "is there and looks like a key")


def secret_key(keys: KeyOptions, api_version: str) -> Finding:
    """Look at the secret key, which not every account needs."""
    check, key = "secret_key", keys.secret_key
    remedy = f"Set {SECRET_KEY}, or put it into the file of --keys-file."
    if key is None:
        if _needs_secret(api_version):
            return fail(check, f"is missing, and {api_version} needs it", remedy)
        return ok(check, f"is not set; {api_version} needs it only if the account's High Security Mode is on")
    if (refused := refusal(key)) is not None:
        return fail(check, "cannot be sent: it holds spaces, line ends or other characters no key has", refused)
    return _oddity(check, key) or ok(check, "is there and looks like a key")


def refusal(key: str) -> str | None:
    """Say what to do if the client itself refuses a key; None if it takes it."""
    try:
        AsyncGameball(key, secret_key="")
    except ConfigurationError:
        return "Copy it again, without what stands around it."
    return None


def _needs_secret(api_version: str) -> bool:
    try:
        AsyncGameball("any", secret_key="", api_version=api_version)
    except ConfigurationError:
        return True
    return False


def _oddity(check: str, key: str) -> Finding | None:
    return next((warn(check, words, remedy) for is_so, words, remedy in _ODDITIES if is_so(key)), None)


_UNDERNEATH = ("httpx", "anyio", "msgspec", "attrs", "tenacity")

_DOCUMENTED = RateLimit()  # its defaults are Gameball's


def versions(api_version: str) -> Finding:
    """Name the versions, for whoever is asked for help."""
    packages = [f"{name} {_version_of(name)}" for name in _UNDERNEATH]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    words = ", ".join([f"gameball_async {__version__}", python, *packages])
    return ok("versions", f"{words}; Gameball's API {api_version}")


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # bundled without what pip notes beside it
        return "of unknown version"


def limits(per_second: int, per_30_seconds: int, share: float) -> Finding:
    """Look at the pacing."""
    check = "limits"
    try:
        rate = RateLimit(per_second=per_second, per_30_seconds=per_30_seconds, share=share)
    except ConfigurationError as error:
        return refused(check, error)
    words = " and ".join(f"{count:,} requests in {seconds:g} s" for count, seconds in rate.windows())
    words = f"at most {words}, a share of {share:g}"
    if per_second > _DOCUMENTED.per_second or per_30_seconds > _DOCUMENTED.per_30_seconds:
        return warn(
            check,
            f"{words}: that is more than Gameball documents",
            f"Unless Gameball has granted you more, stay at {_DOCUMENTED.per_second} and "
            f"{_DOCUMENTED.per_30_seconds:,}: what exceeds its limit is refused and waits.",
        )
    if share == 1:
        words += "; with n processes give each a share of 1/n"
    return ok(check, words)
