"""The spool's file: its tables, how it is opened, and what SQLite's complaints mean to us."""

import contextlib
import fcntl
import json
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from edge import wire

SCHEMA = 2
PAGE_BYTES = 1024  # a commit writes whole pages: with 4096 it is twice the bytes (benchmarks/test_spool.py)
LOG_PAGES = 4000  # of the log, before it goes over into the file
_STEPS = (  # from no table to version 1, from there to 2: a new file is made the way an old one is brought up
    """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE row (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, batch INTEGER,
    replay INTEGER NOT NULL, t_ns INTEGER NOT NULL, line TEXT NOT NULL
);
CREATE INDEX row_unsealed ON row (lane, seq) WHERE batch IS NULL;
CREATE INDEX row_sealed ON row (seq) WHERE batch IS NOT NULL;
CREATE TABLE batch (
    id INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, rows INTEGER NOT NULL,
    t_first_ns INTEGER NOT NULL, t_last_ns INTEGER NOT NULL, crc32 TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX batch_lane ON batch (lane, id);
CREATE TABLE tally (lane INTEGER PRIMARY KEY, sealed INTEGER NOT NULL, stored INTEGER NOT NULL,
                    refused INTEGER NOT NULL, dropped INTEGER NOT NULL);
""",
    """
ALTER TABLE batch ADD COLUMN devices TEXT;
DROP INDEX row_sealed;
DROP INDEX batch_lane;
CREATE INDEX batch_lane ON batch (lane, id, t_first_ns);
CREATE TABLE gone (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, batch INTEGER UNIQUE, lane INTEGER NOT NULL, rows INTEGER NOT NULL,
    t_first_ns INTEGER NOT NULL, t_last_ns INTEGER NOT NULL, crc32 TEXT NOT NULL, told INTEGER NOT NULL
);
CREATE TABLE held (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, boot TEXT NOT NULL,
    mono_ns INTEGER NOT NULL, line TEXT NOT NULL
);
CREATE INDEX held_lane ON held (lane, seq);
INSERT OR IGNORE INTO meta VALUES ('anchor', NULL);
""",
)


class SpoolError(Exception):
    """The spool cannot do this now. One sentence that says where and what to do."""


class SpoolFullError(SpoolError):
    """The disk has no room."""


class SpoolDamagedError(SpoolError):
    """What is in the file cannot be right."""


class SpoolIoError(SpoolError):
    """The disk does not read or write: the connection to the file has to be made again."""


_KINDS = {
    sqlite3.SQLITE_FULL: SpoolFullError, sqlite3.SQLITE_IOERR: SpoolIoError,
    sqlite3.SQLITE_CORRUPT: SpoolDamagedError, sqlite3.SQLITE_NOTADB: SpoolDamagedError,
}  # fmt: skip


def explained(path: Path, error: sqlite3.Error) -> SpoolError:
    """The same in our words, sorted by what there is to do."""
    text = str(error)
    kind = _KINDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, SpoolError)  # the low byte: without details
    if not path.parent.is_dir():
        return SpoolError(f"{path}: the folder {path.parent} is not there; make it, or change spool.path")
    if kind is SpoolDamagedError:
        return kind(f"{path}: is damaged ({text})")
    if kind is SpoolFullError:
        return kind(f"{path}: the disk is full; make room, rows wait in memory meanwhile")
    if kind is SpoolIoError:
        return kind(
            f"{path}: the disk does not read or write ({text}); look at the system's log, the card may be worn out"
        )
    if "unable to open" in text or "readonly" in text:
        who = os.environ.get("USER", f"user {os.getuid()}")
        return SpoolError(f"{path}: cannot be written by {who} ({text}); change its owner, or spool.path")
    if "locked" in text:
        return SpoolError(f"{path}: another program holds it ({text}); end whatever looks into it")
    if "no such" in text:
        return SpoolError(f"{path}: is no spool ({text}); give another file in [spool] path")
    return SpoolError(f"{path}: {text}")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """What SQLite refuses in this block leaves as SpoolError."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(path, error) from error


@contextlib.contextmanager
def writing(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT; any exception rolls back."""
    with reading(path):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk has rolled back by itself
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise


def connect(path: Path, page_bytes: int = PAGE_BYTES) -> sqlite3.Connection:
    """Open or make the file, with all its tables. Raises: SpoolError."""
    with reading(path):
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        try:
            db.text_factory = lambda text: text.decode("utf-8", "replace")  # a flipped bit ends nothing
            db.execute(f"PRAGMA page_size={page_bytes}")  # of a new file
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA secure_delete=OFF")  # some builds overwrite what is deleted: all is written twice
            db.execute("PRAGMA journal_size_limit=8388608")
            _bring_up(db, path)
        except BaseException:
            db.close()
            raise
    return db


def _bring_up(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise SpoolError(
            f"{path}: made by a newer bollard (schema {version}, this one knows {SCHEMA}); update bollard"
        )
    if version == 0:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise SpoolError(f"{path}: is a database of something else; give another file in [spool] path")
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("VACUUM")  # auto_vacuum holds only from the next rewrite of the file
    if version == SCHEMA:
        return
    with writing(db, path):
        for step in _STEPS[version:]:
            for statement in step.split(";"):
                db.execute(statement)
        if version == 0:
            db.execute("INSERT INTO meta VALUES ('id', ?)", (str(uuid.uuid4()),))
            db.execute("INSERT INTO meta VALUES ('checkpoint', NULL), ('checkpoint_seq', 0), ('owner', '')")
            db.executemany("INSERT INTO tally VALUES (?, 0, 0, 0, 0)", [(i,) for i in range(len(wire.LANES))])
        db.execute(f"PRAGMA user_version={SCHEMA}")


def locked(path: Path) -> IO[str]:
    """A lock beside the file, held until it is closed. Two agents on one spool would count everything twice.

    Raises: SpoolError.
    """
    file = path.with_name(path.name + ".lock")
    try:
        lock = _open_lock(file)
    except OSError as error:
        raise explained(file, sqlite3.OperationalError(f"unable to open: {error.strerror}")) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise SpoolError(f"{path}: another bollard edge run is using it; stop that one first") from error
    return lock


def _open_lock(file: Path) -> IO[str]:
    """One that root makes belongs to whom the folder does: the agent has to open it, too."""
    with contextlib.suppress(FileExistsError):
        made = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
        if os.geteuid() == 0:
            folder = file.parent.stat()
            with contextlib.suppress(OSError):  # there are disks without owners
                os.fchown(made, folder.st_uid, folder.st_gid)
        return open(made, "a+")
    return file.open("a+")


def left_word(lock: IO[str]) -> str:
    """What who had the spool last has left in the lock: "open", "closed", or nothing."""
    lock.seek(0)
    return lock.read().strip()


def leave_word(lock: IO[str], word: str) -> None:
    """For the next who comes. It may get lost: then less is checked at the next start."""
    with contextlib.suppress(OSError):
        lock.truncate(0)
        lock.write(word)
        lock.flush()
        os.fsync(lock.fileno())


def firsts_of(lines: Iterable[str]) -> dict[str, int]:
    """Per device the time of its first row among these lines; "" stands for the gateway itself. [ns, UTC]"""
    firsts: dict[str, int] = {}
    for line in lines:
        _, _, tags = line[: line.index(" ")].partition(",device=")
        device, t_ns = tags.partition(",")[0], int(line[line.rindex(" ") :])
        firsts[device] = min(t_ns, firsts.get(device, t_ns))
    return firsts


def firsts_text(lines: Iterable[str]) -> str:
    return json.dumps(firsts_of(lines), separators=(",", ":"))
