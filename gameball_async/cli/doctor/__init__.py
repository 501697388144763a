"""The doctor: check everything that a client depends on, from the keys to the journal's folder."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import attrs

from ... import AsyncGameball, RateLimit, __version__, validate_event
from ..._core.wire import dialect
from ..._endpoint import DEFAULT_API_VERSION, DEFAULT_BASE_URL, switched_off_by
from ..._log import counted
from ..._platform import hold_lock, release_lock
from ...errors import ConfigurationError, InvalidEvent, JournalError
from .._journal_commands import Status
from .._options import API_KEY, SECRET_KEY, KeyOptions
from .._terminal import argument, byte_size, printable
from . import _connectivity
from ._bulk_probe import BulkOptions, bulk_findings, bulk_options
from ._findings import Finding, fail, ok, refused, skip, warn

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


__all__ = ["Checks", "bulk_options"]


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
    bulk: BulkOptions | None = None

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
        yield from _switch()
        yield self._limits()
        yield from self._network()
        if self.bulk is not None:
            yield from self._bulk(self.bulk)
        if self.journal is not None:
            yield from folder_findings(self.journal, self.share)

    def _bulk(self, options: BulkOptions) -> Iterator[Finding]:
        """Send the event as a bulk request, unless the client could not send it either."""
        base_url = DEFAULT_BASE_URL if self.base_url is None else self.base_url
        try:
            AsyncGameball(
                self.keys.api_key,
                secret_key=self.keys.secret_key or "",
                base_url=base_url,
                api_version=self.api_version,
                enabled=True,
            )
            validate_event(options.player, options.event)
        except (ConfigurationError, InvalidEvent) as error:
            yield fail("bulk_request", str(error).partition(": ")[0], "Correct what is reported above, or the event.")
            return
        yield from bulk_findings(options, self.keys, self.api_version, base_url)

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
        base_url = DEFAULT_BASE_URL if self.base_url is None else self.base_url
        try:
            AsyncGameball("any", secret_key="", base_url=base_url, api_version=DEFAULT_API_VERSION, enabled=True)
        except ConfigurationError as error:
            yield refused("address", error)
            return
        valid = KeyOptions(*(None if key is None or not _is_valid(key) else key for key in attrs.astuple(self.keys)))
        yield from _connectivity.findings(_connectivity.probe(base_url, self.api_version, valid))

    def _redact(self, words: str) -> str:
        for key in self.keys.secrets():
            words = words.replace(key, "***") if len(key) >= _SHORTEST_SECRET else words
        return words


def _switch() -> Iterator[Finding]:
    """Check whether the environment switches clients off."""
    try:
        switch = switched_off_by(enabled=None)
    except ConfigurationError as error:
        yield refused("switch", error)
        return
    if switch is not None:
        yield warn("switch", f"{switch}: clients in this environment send nothing", "Unset GAMEBALL_ENABLED to send.")


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
        AsyncGameball(key, secret_key="", base_url=DEFAULT_BASE_URL, api_version=DEFAULT_API_VERSION, enabled=True)
    except ConfigurationError:
        return False
    return True


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # bundled without its metadata
        return "of unknown version"


# ---------------------------------------------------------------- the journal's folder

_MOUNTS = Path("/proc/self/mountinfo")  # Linux only; see proc_pid_mountinfo(5)

_NETWORKS = frozenset(
    """
    9p afs beegfs ceph cifs coda davfs fuse.ceph fuse.davfs2 fuse.gcsfuse fuse.glusterfs fuse.rclone fuse.s3fs
    fuse.sshfs glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs prl_fs smb3 smbfs vboxsf virtiofs vmhgfs
    fuse.vmhgfs-fuse
    """.split()  # noqa: SIM905 a list of words
)
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_OF_A_CONTAINER = frozenset({"overlay", "aufs"})


def kind_of(folder: Path, mounts: str | None = None) -> str | None:
    """Return the type of a folder's file system, such as `ext4`; None if the system does not report it."""
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
        except OSError:
            return None
    path = folder.resolve()
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        point, kind = _read(line)
        # of two at the same mount point the later one is visible
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = len(point.parts), kind
    return None if found is None else found[1]


def _read(line: str) -> tuple[Path, str]:
    """Return the mount point and the type of a file system."""
    before, _, after = line.partition(" - ")
    point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4])
    return Path(point), after.split(" ")[0]


def problem_with(kind: str) -> str | None:
    """Return why a type of file system is unsuitable, as a phrase after its name, or None."""
    if kind in _NETWORKS:
        return "a network's or a host's: locks and syncing are unreliable on it"
    if kind in _IN_MEMORY:
        return "in memory: its content does not survive a loss of power or a reboot"
    if kind in _OF_A_CONTAINER:
        return "a container's own: its content goes with the container"
    return None


_MIB = 1024 * 1024

LEAST_ROOM = _MIB
"""Bytes. With less, a journal treats the disk as full, and events are refused."""

ENOUGH_ROOM = 256 * _MIB
"""Bytes: an outage of a day, after which events are given up by default, at ten events a second of 300 bytes each."""


def folder_findings(folder: Path, share: float) -> Iterator[Finding]:
    """Check a journal's folder, which may be missing; `share` is each client's share of the rate limit."""
    try:
        yield from _folder_findings(folder, share)
    except OSError as error:
        yield fail(
            "journal_folder",
            f"{printable(folder)} cannot be read ({error.strerror})",
            "Choose a folder that this account can enter.",
        )


def _folder_findings(folder: Path, share: float) -> Iterator[Finding]:
    if not folder.exists():
        yield _missing(folder)
        yield from _disk(_nearest(folder))
    elif not folder.is_dir():
        yield fail("journal_folder", f"{printable(folder)} is not a folder", "Give the path of a folder.")
    else:
        yield from _writing(folder)
        yield _permissions(folder)
        yield from _disk(folder)
        yield _contents(folder, share)


def _missing(folder: Path) -> Finding:
    parent = _nearest(folder)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return ok("journal_folder", f"{printable(folder)} does not exist yet; a client creates it")
    return fail(
        "journal_folder",
        f"{printable(folder)} does not exist, and cannot be created in {printable(parent)}",
        "Create it for the account that runs the client, or choose another folder.",
    )


def _nearest(folder: Path) -> Path:
    """Return the nearest existing parent of a missing folder."""
    return next(path for path in folder.absolute().parents if path.exists())


def _writing(folder: Path) -> list[Finding]:
    """Write and lock a temporary file; the journal's files are not touched."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="doctor-", suffix=".tmp") as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        written = fail(
            "journal_folder",
            f"{printable(folder)} cannot be written ({error.strerror})",
            "Make it writable for the account that runs the client, with free space, or choose another folder.",
        )
        return [written, skip("journal_locks", "nothing can be written")]
    return [ok("journal_folder", f"{printable(folder)} can be written"), _locks(folder)]


def _locks(folder: Path) -> Finding:
    check = "journal_locks"
    remedy = "Choose a folder on a disk of this machine."
    path = folder / f"doctor-{os.getpid()}-lock.tmp"
    held: list[int | None] = []
    try:
        held += [hold_lock(path)]
        held += [hold_lock(path)]
    except OSError as error:
        return fail(check, f"files cannot be locked there ({error.strerror})", remedy)
    finally:
        for descriptor in held:
            if descriptor is not None:
                release_lock(descriptor)
        path.unlink(missing_ok=True)
    if held[1] is None:
        return ok(check, "a locked file stays locked")
    return fail(check, "a locked file can be locked again: two clients would take the same events", remedy)


def _permissions(folder: Path) -> Finding:
    check = "journal_permissions"
    if not hasattr(os, "geteuid"):
        return skip(check, "this system has no POSIX permissions")
    there = folder.stat()
    if there.st_uid != os.geteuid():
        return warn(
            check,
            f"the folder belongs to account {there.st_uid}, and this is account {os.geteuid()}",
            "Run the doctor as the account that runs the client, or give the folder to that account.",
        )
    if there.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return warn(
            check,
            f"others can enter the folder (mode {stat.S_IMODE(there.st_mode):o}); its files are for their owner only",
            f"chmod 700 {argument(printable(folder))}",
        )
    return ok(check, "for its owner only")


def _disk(folder: Path) -> Iterator[Finding]:
    kind = kind_of(folder)
    if kind is None:
        yield skip("journal_disk", "this system does not report the file system")
    elif (problem := problem_with(kind)) is None:
        yield ok("journal_disk", f"the file system is {kind}")
    else:
        yield warn(
            "journal_disk", f"the file system is {kind}, {problem}", "Choose a folder on a disk of this machine."
        )
    yield _room(folder)


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    words = f"{byte_size(free)} free"
    remedy = f"Free some space: {byte_size(ENOUGH_ROOM)} are enough for a day of ten events a second."
    if free < LEAST_ROOM:
        return fail("journal_room", f"{words}: a journal accepts no more events", remedy)
    return warn("journal_room", words, remedy) if free < ENOUGH_ROOM else ok("journal_room", words)


def _contents(folder: Path, share: float) -> Finding:
    check = "journal_contents"
    try:
        status = Status.of(folder)
    except JournalError as error:
        return fail(check, str(error), "Run the doctor as the account that runs the client.")
    clients = sum(file.is_in_use for file in status.files)
    letters = "dead letters unknown" if status.dead_letters is None else counted(status.dead_letters, "dead letter")
    words = f"{counted(clients, 'client')} at work, {counted(status.pending, 'event')} left by others, {letters}"
    if problem := next((file.problem for file in status.files if file.problem), status.problem):
        return warn(
            check, f"{words}; {printable(problem)}", f"gameball-async journal status {argument(printable(folder))}"
        )
    if clients * share > 1:
        return warn(
            check,
            f"{words}; with a share of {share:g} each, they exceed the rate limit together",
            f"Give each of them RateLimit(share=1/{clients}); here, give their share as --share.",
        )
    if status.dead_letters:
        return warn(check, words, f"gameball-async dead-letters list {argument(printable(folder))}")
    return ok(check, words)
