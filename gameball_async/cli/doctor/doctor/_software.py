"""Which versions are at work, and how fast they may send."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from gameball_async import RateLimit, __version__
from gameball_async.errors import ConfigurationError

from ._findings import ok, refused, warn

if TYPE_CHECKING:
    from ._findings import Finding

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
