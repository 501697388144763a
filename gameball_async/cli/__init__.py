"""The command `gameball-async`: finds out whether its extra is installed, and hands over."""

from __future__ import annotations

import sys

from ._terminal import exit_when_interrupted, run

_EXTRAS = {"click": "cli", "rich": "cli", "starlette": "sandbox", "uvicorn": "sandbox"}


def main() -> None:
    """Run the command line with the arguments of the process.

    Raises:
        SystemExit: always, with 0 if everything was delivered, 1 if not, 2 for a wrong usage.
    """
    exit_when_interrupted()  # first, for importing takes a while
    try:
        from ._main import app  # noqa: PLC0415 what it imports may be missing, and that is told below

        run(app)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        print(missing(package), file=sys.stderr)  # noqa: T201 click, which would print it, may be what is missing
        raise SystemExit(2) from None


def missing(package: str) -> str:
    """Return what to do about a package that is not installed."""
    extra = _EXTRAS[package]
    extras = "cli" if extra == "cli" else f"cli,{extra}"
    return f'gameball-async needs "{package}", which is not installed: pip install "gameball-async[{extras}]"'
