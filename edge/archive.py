"""An archive of files that belong together: one tar with a manifest and each file's hash. Standard library only.

A SQLite file goes in as its backup API gives it: whole and of one instant, also while somebody writes.
"""

import contextlib
import errno
import grp
import hashlib
import io
import json
import os
import pwd
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

FORMAT = 1
MANIFEST, SEAL = "manifest.json", "manifest.sha256"
CHUNK = 1 << 20
Kind = Literal["sqlite", "file", "secret"]


class ArchiveError(Exception):
    """An archive cannot be made, read or put back. One sentence: what is wrong, what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file that goes in. `role`: what it is, as in `spool`."""

    role: str
    kind: Kind
    path: Path


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive; `path`: where it was, absolute."""

    name: str
    role: str
    kind: Kind
    path: str
    mode: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    made_at: str
    software: str
    host: str
    members: tuple[Member, ...]
    left_out: tuple[str, ...] = ()


def write_archive(
    file: Path, parts: Sequence[Part], made_at: str, software: str, left_out: Sequence[str] = ()
) -> Manifest:
    """Make an archive, readable by us alone: keys are in it. Whole or not there.

    Raises: ArchiveError, if a part cannot be read or the archive not be written.
    """
    if file.exists():
        raise ArchiveError(f"{file}: is there already; give another name")
    part_file = file.with_name(file.name + ".part")
    try:
        with contextlib.suppress(FileNotFoundError):
            part_file.unlink()
        with os.fdopen(os.open(part_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw:
            with tarfile.open(fileobj=raw, mode="w") as tar, tempfile.TemporaryDirectory(dir=file.parent) as work:
                members = [_add(tar, part, i, Path(work)) for i, part in enumerate(parts)]
                manifest = Manifest(made_at, software, os.uname().nodename, tuple(members), tuple(left_out))
                text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=2).encode()
                _add_bytes(tar, MANIFEST, text)
                _add_bytes(tar, SEAL, hashlib.sha256(text).hexdigest().encode())
            raw.flush()
            os.fsync(raw.fileno())
        part_file.replace(file)
    except OSError as error:
        raise ArchiveError(_why_not_made(file, parts, error)) from error
    finally:
        with contextlib.suppress(OSError):
            part_file.unlink()
    return manifest


def _why_not_made(file: Path, parts: Sequence[Part], error: OSError) -> str:
    if str(error.filename) in {str(part.path) for part in parts}:
        return f"{error.filename}: cannot be read: {error.strerror}; run this as its owner, or as root"
    if error.errno is None:  # of tarfile: fewer bytes than there were
        return f"{file}: not made, a file became shorter while it was read ({error}); try again"
    return f"{file}: cannot be written: {error.strerror}; make room there, or give another folder"


def _add(tar: tarfile.TarFile, part: Part, number: int, work: Path) -> Member:
    source = part.path
    if part.kind == "sqlite":
        source = work / f"{number}.db"
        copy_sqlite(part.path, source)
    info = tarfile.TarInfo(f"files/{number:03d}-{part.path.name}")
    info.uname, info.gname = _names(part.path)
    original = part.path.stat()
    info.mode, info.mtime = 0o600, int(original.st_mtime)
    with source.open("rb") as file:
        info.size = os.fstat(file.fileno()).st_size
        content = _Hashed(file)
        tar.addfile(info, content)  # type: ignore[arg-type]
    if part.kind == "sqlite":
        source.unlink()
    mode, digest = original.st_mode & 0o777, content.digest.hexdigest()
    return Member(info.name, part.role, part.kind, os.path.abspath(part.path), mode, info.size, digest)


class _Hashed:
    """A file that is hashed as it is read: once, for somebody may replace or continue it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self.digest.update(content)
        return content


def _names(path: Path) -> tuple[str, str]:
    """User and group that a file belongs to; empty where the machine has no name for them."""
    try:
        return path.owner(), path.group()
    except KeyError:
        return "", ""


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))


def copy_sqlite(source: Path, target: Path) -> None:
    """A copy of one instant, checked. Raises: ArchiveError, OSError where there is no room."""
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)
            ) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)  # in one step: between two, each commit of another would start it anew
            new.execute("PRAGMA journal_mode=DELETE")  # one file, no log beside it
            found = new.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise ArchiveError(f"{source}: cannot be copied ({error}); is it whole, and ours to read?") from error
    if found != "ok":
        raise ArchiveError(
            f"{source}: is damaged ({found}); start what owns it, which sets it aside, and try again"
        )


class Archive:
    """An archive that has been checked whole. Use as a context.

    Raises: ArchiveError, if it is none, or not as it was written.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._tar = tarfile.open(file, "r:")  # noqa: SIM115 - open as long as this is
        except OSError as error:
            raise self._unreadable(error) from error
        except tarfile.TarError as error:
            raise ArchiveError(
                f"{file}: is no archive of bollard backup ({error}); give one, or another copy of this one"
            ) from error
        try:
            self.manifest = self._read_manifest()
            for member in self.manifest.members:
                self._check(member)
        except OSError as error:
            self._tar.close()
            raise self._unreadable(error) from error
        except BaseException:
            self._tar.close()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def _bytes(self, name: str) -> bytes:
        with self._content(name) as content:
            return bytes(content.read())

    @contextlib.contextmanager
    def _content(self, name: str) -> Iterator[Any]:
        try:
            found = self._tar.extractfile(name)
            if found is None:
                raise KeyError(name)
            with found:
                yield found
        except (KeyError, EOFError, tarfile.TarError) as error:
            raise self._damaged(f"{name} is missing or cut off") from error

    def _unreadable(self, error: OSError) -> ArchiveError:
        return ArchiveError(f"{self.file}: cannot be read: {error.strerror}; give an archive of bollard backup")

    def _damaged(self, why: str) -> ArchiveError:
        return ArchiveError(f"{self.file}: is damaged ({why}); take another copy, nothing has been put back")

    def _read_manifest(self) -> Manifest:
        text = self._bytes(MANIFEST)
        if self._bytes(SEAL).decode("ascii", "replace") != hashlib.sha256(text).hexdigest():
            raise self._damaged(f"{MANIFEST} is not as it was written")
        told = json.loads(text)
        if told["format"] != FORMAT:
            raise ArchiveError(
                f"{self.file}: format {told['format']}, this bollard knows {FORMAT}; update bollard"
            )
        members = tuple(Member(**member) for member in told["members"])
        for member in members:
            if not member.path.startswith("/") or ".." in Path(member.path).parts:
                raise self._damaged(f"{member.path!r} is no absolute path")
        return Manifest(told["made_at"], told["software"], told["host"], members, tuple(told["left_out"]))

    def _check(self, member: Member) -> None:
        digest, size = hashlib.sha256(), 0
        with self._content(member.name) as content:
            while chunk := content.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
        if (size, digest.hexdigest()) != (member.bytes, member.sha256):
            raise self._damaged(f"{member.name} is not as it was written")

    def put_back(
        self, root: Path, force: bool, mend: Callable[[Member, Path], None] = lambda _member, _file: None
    ) -> list[Path]:
        """Write every file to where it was, below `root`. All are on disk before the first takes its place.

        Args:
            force: Replace what is there; else nothing is written where anything is.
            mend: Called with each file before it takes its place.

        Raises: ArchiveError.
        """
        targets = [root / member.path.lstrip("/") for member in self.manifest.members]
        there = [str(target) for target in targets if target.exists()]
        if there and not force:
            raise ArchiveError(
                f"{', '.join(there[:5])}: already there, nothing is written; give --force to replace"
            )
        done: list[Path] = []
        fresh = [target.with_name(target.name + ".restored") for target in targets]
        try:
            for member, file in zip(self.manifest.members, fresh, strict=True):
                self._extract(member, file)
                mend(member, file)
            for member, file, target in zip(self.manifest.members, fresh, targets, strict=True):
                if member.kind == "sqlite":
                    for beside in ("-wal", "-shm"):  # of the file that it replaces
                        target.with_name(target.name + beside).unlink(missing_ok=True)
                file.replace(target)
                done.append(target)
        except OSError as error:
            back = f"{len(done)} of {len(targets)} files are back" if done else "nothing has been put back"
            raise ArchiveError(
                f"{error.filename or root}: cannot be written: {error.strerror}; {back}: make room, or run this as"
                f" who may write there, then again{' with --force' if done else ''}"
            ) from error
        finally:
            for file in fresh:
                with contextlib.suppress(OSError):
                    file.unlink()
        return targets

    def _extract(self, member: Member, file: Path) -> None:
        """A secret is for us alone from its first instant; root gives it to whom it belongs."""
        secret = member.kind == "secret"
        owner = self._owner(member, file.parent) if os.geteuid() == 0 else None
        _make_folder(file.parent, 0o750 if secret and owner else 0o700 if secret else 0o755, owner)
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else member.mode & 0o755)
        with os.fdopen(made, "wb") as out, self._content(member.name) as content:
            if owner is not None:
                with contextlib.suppress(PermissionError):  # there are disks without owners
                    os.fchown(made, *owner)
                    os.fchmod(made, member.mode & (0o640 if secret else 0o755))  # a group reads keys as before
            while chunk := content.read(CHUNK):
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())

    def _owner(self, member: Member, folder: Path) -> tuple[int, int]:
        """User and group by their names here; where one is not known, those of the folder."""
        info = self._tar.getmember(member.name)
        try:
            return pwd.getpwnam(info.uname).pw_uid, grp.getgrnam(info.gname).gr_gid
        except KeyError:
            near = next(f for f in (folder, *folder.parents) if f.is_dir()).stat()
            return near.st_uid, near.st_gid


def _make_folder(folder: Path, mode: int, owner: tuple[int, int] | None) -> None:
    """With those above it that are missing."""
    if folder.is_dir():
        return
    _make_folder(folder.parent, 0o755, None)
    folder.mkdir(mode, exist_ok=True)
    if owner is not None:
        with contextlib.suppress(PermissionError):
            os.chown(folder, *owner)
