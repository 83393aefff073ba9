"""Opens the SQLite files of the shore side, or says in one sentence why a file cannot be used."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from gateway.errors import StoreError, StoreUnavailable

BUSY_S = 10.0  # how long a writer waits for another process


def open_file(
    path: Path,
    what: str,
    application_id: int,
    version: int,
    schema: str,
    create: bool,
    steps: Mapping[int, str] = MappingProxyType({}),
) -> sqlite3.Connection:
    """Open, and create where allowed, one of our files: WAL, every commit synced to disk.

    The connection is in autocommit mode; it may move between threads, one at a time.

    Args:
        what: The file's role in messages, as in "store".
        application_id: Marks the file as ours, so that another program's database is not taken for it.
        version: The newest `PRAGMA user_version` this code knows. Newer files are refused.
        schema: Statements that make an empty file a file of this version.
        steps: Statements that take a file of version n to n + 1, by n; all that are needed, in one transaction.

    Raises: StoreError, StoreUnavailable.
    """
    if not path.exists():
        if not create:
            raise StoreError(f"{what} {path}: no such file; check the path, or start `bollard ingest` once")
        if not path.parent.is_dir():
            raise StoreError(f"{what} {path}: folder {path.parent} does not exist; create it")
    elif not path.is_file():
        raise StoreError(f"{what} {path} is no file; give the path of a SQLite file")
    try:
        db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise StoreError(f"{what} {path}: {error}; is the folder writable for this user?") from error
    try:
        with explained(path, what, opening=True):
            _prepare(db, path, what, application_id, version, schema, steps)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(
    db: sqlite3.Connection,
    path: Path,
    what: str,
    application_id: int,
    version: int,
    schema: str,
    steps: Mapping[int, str],
) -> None:
    seen_id = db.execute("PRAGMA application_id").fetchone()[0]
    seen = db.execute("PRAGMA user_version").fetchone()[0]
    empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if seen_id != application_id and not empty:
        raise StoreError(f"{what} {path} is a SQLite file of another kind; give another path")
    if seen > version:
        raise StoreError(
            f"{what} {path} has format {seen}, this bollard knows up to {version};"
            " use the newer bollard that wrote it"
        )
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a commit that has returned survives a power cut
    if empty:
        db.executescript(
            f"BEGIN IMMEDIATE; {schema} PRAGMA application_id = {application_id};"
            f" PRAGMA user_version = {version}; COMMIT;"
        )
    elif seen < version:
        with transaction(db, path, what):
            seen = db.execute("PRAGMA user_version").fetchone()[0]  # another process may have been faster
            for step in range(seen, version):
                for statement in filter(str.strip, steps[step].split(";")):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {version}")
    db.execute("BEGIN IMMEDIATE")  # finds out now, and not at the first batch, that the file is read-only
    db.execute("ROLLBACK")


@contextmanager
def explained(path: Path, what: str, opening: bool = False) -> Iterator[None]:
    """Turn SQLite's errors into ours: what time may heal, and what it will not."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if opening and "locked" not in str(error):
            raise StoreError(f"{what} {path}: {error}; are file and folder writable for this user?") from error
        raise StoreUnavailable(f"{what} {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{what} {path} is damaged ({error}); move it aside or restore a copy,"
            " the gateways send again what they keep"
        ) from error


@contextmanager
def transaction(db: sqlite3.Connection, path: Path, what: str) -> Iterator[None]:
    """All or nothing; on disk once the block has ended. Raises: StoreError, StoreUnavailable."""
    with explained(path, what):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk has already rolled back
                db.execute("ROLLBACK")
            raise
