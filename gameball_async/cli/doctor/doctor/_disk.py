"""Of which kind the file system under a folder is, and what speaks against keeping a journal on it."""

from __future__ import annotations

import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")  # Linux alone has it; see proc_pid_mountinfo(5)

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
    """Return the kind of the file system that a folder lies on, such as `ext4`; None if the system does not tell.

    Args:
        folder: one that is there.
        mounts: what the system says of its file systems; by default it is asked.
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
        except OSError:
            return None
    path = folder.resolve()
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        point, kind = _read(line)
        # of two at the same place the later one lies above
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = len(point.parts), kind
    return None if found is None else found[1]


def _read(line: str) -> tuple[Path, str]:
    """Where a file system is mounted, and its kind."""
    before, _, after = line.partition(" - ")
    point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4])
    return Path(point), after.split(" ")[0]


def trouble_with(kind: str) -> str | None:
    """Return what speaks against a kind of file system, to stand behind its name; None if nothing does."""
    if kind in _NETWORKS:
        return "a network's or a host's: those promise too little about locks and syncing"
    if kind in _IN_MEMORY:
        return "in memory: what lies there does not survive a loss of power or a reboot"
    if kind in _OF_A_CONTAINER:
        return "a container's own: what lies there goes with the container"
    return None
