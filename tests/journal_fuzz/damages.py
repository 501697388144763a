"""The table of damages: what people, cleanup jobs, deployments and bad disks do to the files of a folder."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import TypeVar

import attrs

_T = TypeVar("_T")

PAGE, FRAME, WAL_HEADER = 4096, 4120, 32


@attrs.frozen
class Place:
    """What a damage works on.

    Attributes:
        folder: the journal's folder.
        older: a copy of it from an earlier moment.
        elsewhere: an empty folder outside of it.
        random: decides everything.
    """

    folder: Path
    older: Path
    elsewhere: Path
    random: Random

    def files(self) -> list[Path]:
        """The files that have content, those of the journal proper more often."""
        found = sorted(path for path in self.folder.iterdir() if path.is_file() and not path.is_symlink())
        return [path for path in found for _ in range(_weight(path)) if path.stat().st_size]

    def file(self) -> Path:
        """Any of them."""
        return self.choice(self.files())

    def choice(self, choices: Sequence[_T]) -> _T:
        """Any of these."""
        return choices[self.below(len(choices))]

    def below(self, end: int) -> int:
        """Any number from 0; near the same place again if a later try of this round has larger or smaller files."""
        return int(self.random.random() * end)

    def bytes(self, size: int) -> bytes:
        """Some garbage."""
        return Random(self.random.random()).randbytes(size)

    def free(self, name: str) -> Path:
        """A path outside of the folder that nothing has yet."""
        return self.elsewhere / f"{self.below(10**9)}-{name}"


def _weight(path: Path) -> int:
    return {".journal-wal": 6, ".journal": 6, ".mark": 3, ".db": 2, ".reserve": 1, ".lock": 1}.get(path.suffix, 1)


@attrs.frozen
class Damage:
    """One row of the table.

    Attributes:
        name: what happens, as a sentence.
        apply: does it; returns where.
        is_harmless: whether nothing may be reported, nor lost.
        is_older: whether it brings back what was there before.
        is_untraceable: whether nothing in the folder shows it.
    """

    name: str
    apply: Callable[[Place], str]
    is_harmless: bool = False
    is_older: bool = False
    is_untraceable: bool = False


# ---------------------------------------------------------------- bytes


def _flip(place: Place, path: Path | None = None) -> str:
    path = path or place.file()
    at = place.below(path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << place.below(8)]))
    return f"{path.name} at {at}"


def _flip_many(place: Place) -> str:
    path = place.file()
    return ", ".join(_flip(place, path) for _ in range(2 + place.below(18)))


def _flip_in_several(place: Place) -> str:
    return ", ".join(_flip(place) for _ in range(2 + place.below(18)))


def _flip_header(place: Place) -> str:
    path = place.file()
    at = place.below(min(path.stat().st_size, 100))
    _write(path, at, place.bytes(1))
    return f"{path.name} at {at}"


def _garbage(place: Place) -> str:
    path = place.file()
    size = path.stat().st_size
    at = place.below(size)
    length = min(size - at, place.choice([1, 4, 100, 512, 5000]))
    _write(path, at, place.bytes(length))
    return f"{path.name} at {at}, {length} bytes"


def _zero_sector(place: Place) -> str:
    path = place.file()
    size = path.stat().st_size
    at = 512 * place.below(-(-size // 512))
    _write(path, at, bytes(min(512, size - at)))
    return f"{path.name} at {at}"


def _write(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


# ---------------------------------------------------------------- pages and frames


def _units(path: Path) -> tuple[int, list[int]]:
    """The size of a page or frame of a file, and where they begin."""
    size = path.stat().st_size
    start, step = (WAL_HEADER, FRAME) if path.suffix == ".journal-wal" else (0, PAGE)
    return step, list(range(start, max(size - step + 1, start + 1), step))


def _read(path: Path, at: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(size)


def _zero_page(place: Place) -> str:
    path = place.file()
    step, starts = _units(path)
    at = place.choice(starts)
    _write(path, at, bytes(min(step, path.stat().st_size - at)))
    return f"{path.name} at {at}"


def _swap_pages(place: Place) -> str:
    path = place.file()
    step, starts = _units(path)
    one, other = place.choice(starts), place.choice(starts)
    first, second = _read(path, one, step), _read(path, other, step)
    _write(path, one, second)
    _write(path, other, first)
    return f"{path.name} at {one} and {other}"


def _duplicate_page(place: Place) -> str:
    path = place.file()
    step, starts = _units(path)
    one, other = place.choice(starts), place.choice(starts)
    _write(path, other, _read(path, one, step))
    return f"{path.name} from {one} to {other}"


# ---------------------------------------------------------------- sizes


def _truncate(place: Place) -> str:
    path = place.file()
    size = place.below(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name} to {size}"


def _truncate_to_page(place: Place) -> str:
    path = place.file()
    size = place.choice(_units(path)[1])
    os.truncate(path, min(size, path.stat().st_size))
    return f"{path.name} to {size}"


def _empty(place: Place) -> str:
    path = place.file()
    os.truncate(path, 0)
    return path.name


def _append_garbage(place: Place) -> str:
    path = place.file()
    size = place.choice([1, 100, 4096, 4120, 20_000])
    with path.open("ab") as file:
        file.write(place.bytes(size))
    return f"{path.name}, {size} bytes"


def _append_zeros(place: Place) -> str:
    path = place.file()
    size = place.choice([1, 4096, 4120, 100_000])
    os.truncate(path, path.stat().st_size + size)
    return f"{path.name}, {size} bytes"


def _append_pages(place: Place) -> str:
    path = place.file()
    step, starts = _units(path)
    at = place.choice(starts)
    content = _read(path, at, step * (1 + place.below(3)))
    with path.open("ab") as file:
        file.write(content)
    return f"{path.name} from {at}"


def _tear(place: Place) -> str:
    """Append what a loss of power may leave of a transaction that was never committed."""
    wals = [path for path in place.files() if path.suffix == ".journal-wal"]
    if not wals:
        return "nothing"
    path = place.choice(wals)
    step, starts = _units(path)
    torn = _read(path, starts[-1], step)
    head = torn[:4] + bytes(4) + torn[8:24]  # within a transaction
    with path.open("ab") as file:
        file.write((head + place.bytes(PAGE))[: 25 + place.below(step - 25)])
    return path.name


# ---------------------------------------------------------------- names


def _remove(place: Place) -> str:
    path = place.file()
    path.unlink()
    return path.name


def _remove_all_of_a_kind(place: Place) -> str:
    suffix = place.file().suffix
    for path in place.folder.glob("*" + suffix):
        path.unlink()
    return "*" + suffix


def _remove_everything(place: Place) -> str:
    return "all but " + _keep(place, [])


def _keep(place: Place, kept: list[Path]) -> str:
    for path in place.folder.iterdir():
        if path.is_file() and path not in kept:
            path.unlink()
    return ", ".join(path.name for path in kept) or "nothing"


def _remove_all_but_one(place: Place) -> str:
    return "all but " + _keep(place, [place.file()])


def _remove_folder(place: Place) -> str:
    shutil.rmtree(place.folder)
    return place.folder.name


def _move_folder(place: Place) -> str:
    place.folder.rename(place.free("folder"))
    return place.folder.name


def _move(place: Place) -> str:
    path = place.file()
    path.rename(place.free(path.name))
    return path.name


def _rename(place: Place) -> str:
    path = place.file()
    path.rename(path.with_name(f"renamed{path.suffix}"))
    return path.name


def _swap(place: Place) -> str:
    one, other = place.file(), place.file()
    if one != other:
        aside = place.free("swap")
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
    return f"{one.name} and {other.name}"


def _swap_stems(place: Place) -> str:
    """Give a file of one client the name of the same kind of file of another."""
    one = place.file()
    others = [path for path in place.files() if path.suffix == one.suffix and path != one]
    if not others:
        return "nothing"
    other = place.choice(others)
    aside = place.free("swap")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    return f"{one.name} and {other.name}"


def _copy_over(place: Place) -> str:
    one, other = place.file(), place.file()
    if one != other:
        shutil.copyfile(one, other)
    return f"{one.name} over {other.name}"


def _copy_file(place: Place) -> str:
    """Copy a file with its `-wal` beside itself, as a person does before trying something."""
    mains = [path for path in place.files() if path.suffix == ".journal"]
    if not mains:
        return "nothing"
    path = place.choice(mains)
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError, IsADirectoryError):
            shutil.copy2(f"{path}{suffix}", path.with_name(f"copy of {path.name}{suffix}"))
    return path.name


# ---------------------------------------------------------------- other things in a file's place


def _directory(place: Place) -> str:
    path = place.file()
    path.unlink()
    path.mkdir()
    if place.random.random() < 0.5:
        (path / "file").write_text("text")
    return path.name


def _dangling_link(place: Place) -> str:
    path = place.file()
    path.unlink()
    path.symlink_to(place.elsewhere / "nowhere")
    return path.name


def _link(place: Place) -> str:
    path = place.file()
    moved = place.free(path.name)
    path.rename(moved)
    path.symlink_to(moved)
    return path.name


def _other_database(place: Place) -> str:
    path = place.file()
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE other (text)")
        database.execute("INSERT INTO other VALUES ('text')")
        database.commit()
    return path.name


def _other_text(place: Place) -> str:
    path = place.file()
    path.write_bytes(place.choice([b"text\n", b"\0" * 5000, place.bytes(9000)]))
    return path.name


def _replace_by_copy(place: Place) -> str:
    """Replace a file by a copy of itself, as editors and backup tools do."""
    path = place.file()
    copy = place.free(path.name)
    shutil.copy2(path, copy)
    shutil.move(copy, path)
    return path.name


# ---------------------------------------------------------------- older copies


def _older(place: Place, names: Callable[[str], bool]) -> str:
    restored = [path for path in sorted(place.older.iterdir()) if path.is_file() and names(path.suffix)]
    for path in restored:
        shutil.copy2(path, place.folder / path.name)
    return ", ".join(path.name for path in restored) or "nothing"


def _older_main(place: Place) -> str:
    return _older(place, lambda suffix: suffix == ".journal")


def _older_wal(place: Place) -> str:
    return _older(place, lambda suffix: suffix == ".journal-wal")


def _older_mark(place: Place) -> str:
    return _older(place, lambda suffix: suffix == ".mark")


def _older_files_without_mark(place: Place) -> str:
    return _older(place, lambda suffix: suffix in {".journal", ".journal-wal"})


def _older_everything(place: Place) -> str:
    return _older(place, lambda _: True)


# ---------------------------------------------------------------- permissions


def _open_to_all(place: Place) -> str:
    path = place.file()
    path.chmod(0o666)
    return path.name


def _closed_to_all(place: Place) -> str:
    path = place.file()
    path.chmod(0)
    return path.name


# ---------------------------------------------------------------- things beside


def _stray_files(place: Place) -> str:
    for name, content in {
        "notes.txt": b"text",
        "stray.lock": b"",
        "other.lock": b"12345\n",
        ".journal": b"",
        "x.reserve": bytes(5000),
        "y.mark": b"",
    }.items():
        (place.folder / name).write_bytes(content)
    (place.folder / "lost+found").mkdir(exist_ok=True)
    return "several"


def _stray_content(place: Place) -> str:
    name = place.choice(["stray.journal", "stray.journal-wal", "stray.mark", "stray.reserve", "stray.lock"])
    (place.folder / name).write_bytes(place.bytes(place.choice([1, 100, 9000])))
    return name


def _repair_leftovers(place: Place) -> str:
    """Leave what a repair may leave, but damaged."""
    mains = [path for path in place.files() if path.suffix == ".journal"]
    if not mains:
        return "nothing"
    path = place.choice(mains).with_suffix(
        place.choice([".salvaging", ".salvaged", ".journal.damaged", ".journal.damaged.txt"])
    )
    match place.below(4):
        case 0:
            path.write_bytes(b"")
        case 1:
            path.write_bytes(place.bytes(5000))
        case 2:
            path.mkdir()
        case _:
            path.symlink_to(place.elsewhere / "nowhere")
    return path.name


def _stray_shared_memory(place: Place) -> str:
    path = place.file()
    suffix = place.choice(["-shm", "-journal"])
    path.with_name(path.name + suffix).write_bytes(place.bytes(32_768))
    return path.name + suffix


def _nothing(_: Place) -> str:
    return ""


AT_ANY_TIME = (
    Damage("a bit is flipped", _flip),
    Damage("many bits are flipped", _flip_many),
    Damage("bits of several files are flipped", _flip_in_several),
    Damage("a byte near the beginning is overwritten", _flip_header),
    Damage("a range is overwritten", _garbage),
    Damage("a sector is zeroed", _zero_sector),
    Damage("a page is zeroed", _zero_page),
    Damage("two pages are swapped", _swap_pages),
    Damage("a page is written over another", _duplicate_page),
    Damage("a file is truncated", _truncate),
    Damage("a file is truncated between two pages", _truncate_to_page),
    Damage("a file is emptied", _empty),
    Damage("garbage is appended", _append_garbage),
    Damage("zeros are appended", _append_zeros),
    Damage("pages are appended once more", _append_pages),
    Damage("a file is removed", _remove),
    Damage("all files of a kind are removed", _remove_all_of_a_kind),
    Damage("all files but one are removed", _remove_all_but_one),
    Damage("a file is moved away", _move),
    Damage("a file is renamed", _rename),
    Damage("two files exchange their names", _swap),
    Damage("files of two clients exchange their names", _swap_stems),
    Damage("a file is copied over another", _copy_over),
    Damage("a file is replaced by a directory", _directory),
    Damage("a file is replaced by a link to nothing", _dangling_link),
    Damage("a file is moved away and linked", _link),
    Damage("a file is replaced by a database of something else", _other_database),
    Damage("a file is replaced by something else", _other_text),
    Damage("a file is replaced by a copy", _replace_by_copy),
    Damage("an older copy of the databases is restored", _older_main, is_older=True),
    Damage("an older copy of the -wal files is restored", _older_wal, is_older=True),
    Damage("an older copy of the marks is restored", _older_mark, is_older=True),
    Damage("an older copy without marks is restored", _older_files_without_mark, is_older=True),
    Damage("a file is readable by all", _open_to_all, is_harmless=True),
    Damage("a file is closed to all", _closed_to_all),
    Damage("stray files without content lie beside", _stray_files, is_harmless=True),
    Damage("stray files with content lie beside", _stray_content),
    Damage("a repair left something unreadable", _repair_leftovers),
    Damage("a file of SQLite lies beside", _stray_shared_memory),
    Damage("nothing happens", _nothing, is_harmless=True),
)

AT_REST = (
    *AT_ANY_TIME,
    Damage("a transaction is torn", _tear, is_harmless=True),
    Damage("an older copy of the folder is restored", _older_everything, is_older=True, is_untraceable=True),
    Damage("a file is copied beside itself", _copy_file),
)
"""What may happen between two clients."""

WHILE_OPEN = (
    *AT_ANY_TIME,
    Damage("all files are removed", _remove_everything),
    Damage("the folder is removed", _remove_folder),
    Damage("the folder is moved away", _move_folder),
)
"""What may happen while a client runs."""
