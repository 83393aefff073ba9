"""The ledger on disk: rows wait here until the shore has confirmed them.

A row is on disk before it is sent, and leaves only by a receipt. `row` holds what came in, in order; `batch`
holds what was sealed, in the bytes that are sent, however often. One commit per flush: a power cut costs at
most the rows of the flush that was being written. The state of the computations (checkpoint) is committed with
the rows it was computed from, so a start that replays the rows after the checkpoint stands where it stood.
"""

import fcntl
import os
import sqlite3
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edge import wire

SCHEMA = 1
_TABLES = """
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
"""


class SpoolError(Exception):
    """The spool cannot be used. One sentence that says where and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row on its way to disk. `replay` marks what the computations are fed with after a restart."""

    lane: wire.Lane
    t_ns: int
    line: str
    replay: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """A sealed batch; `body` is what the crc was taken of."""

    id: int
    lane: str
    rows: int
    t_first_ns: int
    t_last_ns: int
    crc32: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows since the spool was made; `sealed` counts those on disk. It is stored + refused + dropped + waiting."""

    sealed: int
    stored: int
    refused: int
    dropped: int

    @property
    def waiting(self) -> int:
        return self.sealed - self.stored - self.refused - self.dropped


class Spool:
    """Opens or makes the file. Use it from one thread at a time.

    Args:
        owner: site/gateway whose rows it holds. Only an empty spool changes hands.

    Raises: SpoolError if the folder is not writable, the file is corrupt, or a newer bollard made it.
    """

    def __init__(self, path: Path, owner: str = "") -> None:
        self.path = path
        self._lock = locked(path)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA:
                raise SpoolError(
                    f"{path}: made by a newer bollard (schema {version}, this one knows {SCHEMA}); update bollard"
                )
            if version == 0:
                self._create()
            self.id: str = self._meta("id")
            self._belong_to(owner)
        except sqlite3.DatabaseError as error:
            raise SpoolError(_explain(path, error)) from error

    def _create(self) -> None:
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._db.execute("VACUUM")  # auto_vacuum holds only from the next rewrite of the file
        with _transaction(self):
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute("INSERT INTO meta VALUES ('id', ?)", (str(uuid.uuid4()),))
            self._db.execute("INSERT INTO meta VALUES ('checkpoint', NULL), ('checkpoint_seq', 0), ('owner', '')")
            self._db.executemany(
                "INSERT INTO tally VALUES (?, 0, 0, 0, 0)", [(i,) for i in range(len(wire.LANES))]
            )
            self._db.execute(f"PRAGMA user_version={SCHEMA}")

    def _belong_to(self, owner: str) -> None:
        before = self._meta("owner")
        if before == owner:
            return
        waiting = self.tally().waiting
        if before and waiting:
            raise SpoolError(
                f"{self.path}: holds {waiting} rows of {before} that wait to be sent, this is {owner};"
                f" run {before} until it is empty, or give {owner} another file in [spool] path"
            )
        with _transaction(self):
            self._db.execute("UPDATE meta SET value = ? WHERE key = 'owner'", (owner,))
            self._db.execute(
                "UPDATE meta SET value = NULL WHERE key = 'checkpoint'"
            )  # another site's computations
            self._db.execute("DELETE FROM row")

    def _meta(self, key: str) -> str:
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if found is None:
            raise SpoolError(f"{self.path}: is no spool (no {key} in it); move it away, a new one is made")
        value: str = found[0]
        return value

    def commit(self, entries: Sequence[Entry], checkpoint: bytes | None = None) -> None:
        """Make rows durable, and with them the state that they led to. Raises: SpoolError; nothing is kept."""
        with _transaction(self):
            self._db.executemany(
                "INSERT INTO row (lane, replay, t_ns, line) VALUES (?, ?, ?, ?)",
                [(wire.LANES.index(e.lane), e.replay, e.t_ns, e.line) for e in entries],
            )
            for lane, name in enumerate(wire.LANES):
                count = sum(e.lane == name for e in entries)
                if count:
                    self._count(lane, "sealed", count)
            if checkpoint is not None:
                newest = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'row'").fetchone()
                seq = newest[0] if newest else 0
                self._db.execute("UPDATE meta SET value = ? WHERE key = 'checkpoint'", (checkpoint,))
                self._db.execute("UPDATE meta SET value = ? WHERE key = 'checkpoint_seq'", (seq,))
                self._db.execute("DELETE FROM row WHERE seq <= ? AND batch IS NOT NULL", (seq,))

    def replay(self) -> tuple[bytes | None, list[str]]:
        """The last checkpoint, and the lines to feed after it, in the order in which they came."""
        state, seq = (
            self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]
            for key in ("checkpoint", "checkpoint_seq")
        )
        rows = self._db.execute("SELECT line FROM row WHERE replay AND seq > ? ORDER BY seq", (seq,))
        return state, [line for (line,) in rows]

    def seal(self, lane: str, most_rows: int, most_bytes: int = 256 * 1024) -> Batch | None:
        """Take the oldest rows of a lane into a batch whose bytes are fixed from now on; None if it is empty."""
        index = wire.LANES.index(lane)
        rows: list[tuple[int, int, str]] = []
        size = 0
        query = "SELECT seq, t_ns, line FROM row WHERE lane = ? AND batch IS NULL ORDER BY seq LIMIT ?"
        for seq, t_ns, line in self._db.execute(query, (index, most_rows)):
            size += len(line) + 1
            if rows and size > most_bytes:
                break
            rows.append((seq, t_ns, line))
        if not rows:
            return None
        body = wire.body_of(line for _, _, line in rows)
        times = [t_ns for _, t_ns, _ in rows]
        checksum = wire.crc32(body)
        with _transaction(self):
            cursor = self._db.execute(
                "INSERT INTO batch (lane, rows, t_first_ns, t_last_ns, crc32, body) VALUES (?, ?, ?, ?, ?, ?)",
                (index, len(rows), min(times), max(times), checksum, zlib.compress(body, 1)),
            )
            number = cursor.lastrowid or 0
            self._db.execute(
                "UPDATE row SET batch = ? WHERE lane = ? AND batch IS NULL AND seq <= ?",
                (number, index, rows[-1][0]),
            )
            # what the checkpoint covers is needed for nothing but this batch, which has its own copy
            self._db.execute(
                "DELETE FROM row WHERE batch = ? AND seq <= (SELECT value FROM meta WHERE key = 'checkpoint_seq')",
                (number,),
            )
        return Batch(number, lane, len(rows), min(times), max(times), checksum, body)

    def waiting_ids(self) -> list[tuple[int, str]]:
        """Batches without a receipt, (id, lane), oldest first."""
        query = self._db.execute("SELECT id, lane FROM batch ORDER BY id")
        return [(number, wire.LANES[lane]) for number, lane in query]

    def batch(self, number: int) -> Batch | None:
        """A sealed batch again, byte for byte; None if it has been freed."""
        found = self._db.execute(
            "SELECT id, lane, rows, t_first_ns, t_last_ns, crc32, body FROM batch WHERE id = ?", (number,)
        ).fetchone()
        if found is None:
            return None
        number, lane, rows, first_ns, last_ns, checksum, body = found
        return Batch(number, wire.LANES[lane], rows, first_ns, last_ns, checksum, zlib.decompress(body))

    def confirm(self, receipt: wire.Receipt) -> bool:
        """Free the batch that a receipt names; False if it is not this spool's, or no longer there."""
        if receipt.spool != self.id:
            return False
        found = self._db.execute("SELECT lane, rows, crc32 FROM batch WHERE id = ?", (receipt.batch,)).fetchone()
        if found is None or found[2] != receipt.crc32 or receipt.stored + len(receipt.refused) != found[1]:
            return False
        with _transaction(self):
            self._db.execute("DELETE FROM batch WHERE id = ?", (receipt.batch,))
            self._count(found[0], "stored", receipt.stored)
            self._count(found[0], "refused", len(receipt.refused))
        return True

    def make_room(self, most_bytes: int) -> list[tuple[str, int, int, int]]:
        """Drop whole batches, detail first, then live, oldest first, until the file's content fits.

        Returns: (lane, rows, first t_ns, last t_ns) of each batch dropped. Events and minutes never go.
        """
        dropped = []
        for lane in (wire.LANES.index("detail"), wire.LANES.index("live")):
            while self.used_bytes() > most_bytes:
                found = self._db.execute(
                    "SELECT id, rows, t_first_ns, t_last_ns FROM batch WHERE lane = ? ORDER BY id LIMIT 1",
                    (lane,),
                ).fetchone()
                if found is None:
                    if self.seal(wire.LANES[lane], 10_000) is None:
                        break
                    continue
                with _transaction(self):
                    self._db.execute("DELETE FROM batch WHERE id = ?", (found[0],))
                    self._count(lane, "dropped", found[1])
                dropped.append((wire.LANES[lane], *found[1:]))
        if dropped:
            self._db.executescript("PRAGMA incremental_vacuum")  # a plain execute frees one page and stops
        return dropped

    def used_bytes(self) -> int:
        """Bytes in use inside the file; freed pages do not count."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def tally(self) -> Tally:
        totals = "SELECT sum(sealed), sum(stored), sum(refused), sum(dropped) FROM tally"
        return Tally(*self._db.execute(totals).fetchone())

    def oldest_waiting_ns(self) -> int | None:
        """Time of the oldest row without a receipt: all before it is confirmed. [ns, UTC]"""
        times = []
        for lane in range(len(wire.LANES)):  # one look at an index each, however much waits
            for query in (
                "SELECT t_first_ns FROM batch WHERE lane = ? ORDER BY id LIMIT 1",
                "SELECT t_ns FROM row WHERE lane = ? AND batch IS NULL ORDER BY seq LIMIT 1",
            ):
                times += [t_ns for (t_ns,) in self._db.execute(query, (lane,))]
        return min(times, default=None)

    def close(self) -> None:
        self._db.close()
        self._lock.close()

    def _count(self, lane: int, column: str, rows: int) -> None:
        self._db.execute(f"UPDATE tally SET {column} = {column} + ? WHERE lane = ?", (rows, lane))


class _transaction:  # noqa: N801 - reads as a word
    """BEGIN IMMEDIATE … COMMIT; any exception rolls back. What SQLite refuses leaves as SpoolError."""

    def __init__(self, spool: Spool) -> None:
        self._db, self._path = spool._db, spool.path

    def __enter__(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            raise SpoolError(_explain(self._path, error)) from error

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is None:
            try:
                self._db.execute("COMMIT")
            except sqlite3.DatabaseError as refused:
                error = refused
        if error is not None and self._db.in_transaction:  # a full disk has rolled back by itself
            self._db.execute("ROLLBACK")
        if isinstance(error, sqlite3.DatabaseError):
            raise SpoolError(_explain(self._path, error)) from error


def locked(path: Path) -> IO[str]:
    """A lock beside the file, held until it is closed. Two agents on one spool would count everything twice."""
    try:
        lock = path.with_name(path.name + ".lock").open("w")
    except OSError as error:
        raise SpoolError(_explain(path, sqlite3.OperationalError(f"unable to open: {error.strerror}"))) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SpoolError(f"{path}: another bollard edge run is using it; stop that one first") from error
    return lock


def _explain(path: Path, error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if not path.parent.is_dir():
        return f"{path}: the folder {path.parent} is not there; make it, or change spool.path"
    if "unable to open" in text or "readonly" in text:
        who = os.environ.get("USER", f"user {os.getuid()}")
        return f"{path}: cannot be written by {who} ({text}); change its owner, or spool.path"
    if "malformed" in text or "not a database" in text:
        return f"{path}: is damaged ({text}); move it away to keep it for repair, a new one is made at the start"
    if "full" in text:
        return f"{path}: the disk is full; make room, rows wait in memory meanwhile"
    return f"{path}: {text}"
