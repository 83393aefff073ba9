"""A damaged spool: the file is set aside as it is, and what can be read of it goes into a new one.

The new spool has an id of its own, so that no receipt for the old one frees what it holds. What was already ashore
may be sent again; that changes nothing there. Nothing is moved before the new spool is complete.
"""

import contextlib
import glob
import logging
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge import wire
from edge.spool_file import PAGE_BYTES, SpoolError, connect, firsts_text, writing

log = logging.getLogger(__name__)
MOST_FAILURES = 200_000  # looks at places that cannot be read; about 15 µs each
FEW_FAILURES = 2_000  # where it is not even known how far a table goes
IN_ONE_COMMIT = 2_000
MOST_KEPT = 3  # damaged files beside the spool: a disk that dies must not fill up with them
OLD_PAGE_BYTES = 4096  # of files made by the first version
INTERIOR = 5  # kind of a page that points to others
COLUMNS = {
    "batch": "id, lane, rows, t_first_ns, t_last_ns, crc32, body",
    "row": "seq, lane, batch, replay, t_ns, line",
    "held": "seq, lane, boot, mono_ns, line",
    "gone": "seq, batch, lane, rows, t_first_ns, t_last_ns, crc32, told",
}


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What became of a damaged spool. `lost`: rows that waited there and are gone; None: nobody knows."""

    why: str
    aside: str
    rows: int
    lost: int | None


def salvage(path: Path, why: str) -> Salvaged:
    """Put a new spool in the place of a damaged one that nobody has open. Raises: SpoolError; nothing is moved."""
    building, graft = _beside(path, ".salvage"), _beside(path, ".graft")
    _remove(building)
    try:
        new = connect(building)
        with contextlib.closing(new):
            lost = _copied(path, graft, new, building)
            rows = sum(new.execute("SELECT sum(sealed - stored - refused - dropped) FROM tally").fetchone())
        building.rename(_beside(path, ".salvaged"))
        return Salvaged(why, finish(path).name, rows, lost)
    except (OSError, sqlite3.Error) as error:
        raise SpoolError(f"{path}: is damaged ({why}), and there is no way to salvage it now: {error}") from error
    finally:
        _remove(graft)


def _copied(path: Path, graft: Path, new: sqlite3.Connection, building: Path) -> int | None:
    """Copy what can be read. Returns: rows that are lost; None if nobody knows."""
    if path.stat().st_size:  # SQLite takes the log of an empty file for nobody's, and deletes it
        with contextlib.suppress(sqlite3.DatabaseError), _reader(path) as old:
            return _Copy(old, new, building).all()
    _graft(path, graft, building)  # not even its tables can be found: lend it the first page of a new one
    with contextlib.suppress(sqlite3.DatabaseError), _reader(graft) as old:
        return _Copy(old, new, building).all()
    return None


def finish(path: Path) -> Path:
    """Set the old file aside and put the one that was made of it in its place, also if this was begun before.

    Returns: what it was called last. Raises: OSError.
    """
    kept = sorted(path.parent.glob(f"{glob.escape(path.name)}.damaged-*[0-9Z]"))
    for old in kept[: -MOST_KEPT + 1]:
        log.warning("event=damaged_spool_removed file=%s reason='newer ones are kept'", old.name)
        _remove(old)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    aside = _beside(path, f".damaged-{stamp}")
    for suffix in ("-wal", ""):  # a new file must never find an old one's log
        if _beside(path, suffix).exists():
            _beside(path, suffix).rename(_beside(aside, suffix))
    _beside(path, "-shm").unlink(missing_ok=True)
    _beside(path, ".salvaged").rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return aside


def was_interrupted(path: Path) -> bool:
    """Whether a salvage has come as far as a complete new spool, and no further."""
    return _beside(path, ".salvaged").exists()


class _Copy:
    """From an old spool into an empty new one."""

    def __init__(self, old: sqlite3.Connection, new: sqlite3.Connection, path: Path) -> None:
        self._old, self._new, self._path = old, new, path
        self._batches: set[int] = set()

    def all(self) -> int | None:
        """Returns: rows that waited and are lost; None if it is not known how many waited."""
        self._old.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not {"row", "batch"} <= {name for (name,) in self._old.execute("SELECT name FROM sqlite_master")}:
            raise sqlite3.DatabaseError("no table of a spool is left")
        self._copy("batch", "id", self._batch)
        self._copy("row", "seq", self._row)
        self._copy("held", "seq", self._held)
        self._copy("gone", "seq", lambda found: found if found[-1] == 0 else None)
        with writing(self._new, self._path):
            for key, value in self._meta():
                self._new.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
            return self._count()

    def _copy(self, table: str, key: str, checked: Any) -> None:
        found = (made for row in self._reachable(table, key) if (made := _or_none(checked, row)) is not None)
        columns = COLUMNS[table] + (", devices" if table == "batch" else "")
        statement = (
            f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({', '.join('?' * len(columns.split(',')))})"
        )
        while True:
            with writing(self._new, self._path):
                count = 0
                for row in found:
                    self._new.execute(statement, row)
                    if (count := count + 1) == IN_ONE_COMMIT:
                        break
            if count < IN_ONE_COMMIT:
                return

    def _reachable(self, table: str, key: str) -> Iterator[tuple[Any, ...]]:
        """All rows that can be read; where one cannot, what is left of the range is cut in two, and again."""
        query = f"SELECT {COLUMNS[table]} FROM {table} NOT INDEXED WHERE {key} BETWEEN ? AND ? ORDER BY {key}"
        newest = self._newest(table, key)
        spans, failures = [(1, newest or 2**31)], 0
        while spans and failures < (MOST_FAILURES if newest else FEW_FAILURES):
            low, high = spans.pop()
            try:
                for found in self._old.execute(query, (low, high)):
                    yield found
                    low = max(low, found[0] + 1)
            except sqlite3.DatabaseError as error:
                if "no such table" in str(error):  # an older version's spool
                    return
                failures += 1
                if low < high:
                    middle = (low + high) // 2
                    spans += [(middle + 1, high), (low, middle)]

    def _newest(self, table: str, key: str) -> int | None:
        """Where the table ends; None where nothing tells."""
        for query in (
            f"SELECT max({key}) FROM {table}",
            f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'",
        ):
            with contextlib.suppress(sqlite3.DatabaseError):
                found = self._old.execute(query).fetchone()
                if found and isinstance(found[0], int):
                    return found[0]
        return None

    def _batch(self, found: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """A batch counts if its bytes are those that its checksum was taken of."""
        number, lane, rows, _, _, checksum, body = found
        plain = zlib.decompress(body)
        lines = plain.decode().split("\n")[:-1]
        if wire.crc32(plain) != checksum or len(lines) != rows:
            return None
        times = [int(line[line.rindex(" ") :]) for line in lines]
        self._batches.add(number)
        return number, _lane(lane), rows, min(times), max(times), checksum, body, firsts_text(lines)

    def _row(self, found: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """A row counts if it reads; one whose batch is not there may have been in it: it is sent once more."""
        seq, lane, batch, replay, _, line = found
        t_ns = wire.decode_row(line).t_ns
        if batch in self._batches:
            return seq, lane, batch, int(bool(replay)), t_ns, line
        return seq, _lane(lane), None, int(bool(replay)), t_ns, line

    def _held(self, found: tuple[Any, ...]) -> tuple[Any, ...] | None:
        seq, lane, boot, mono_ns, line = found
        wire.decode_row(line)
        return seq, _lane(lane), str(boot), int(mono_ns), line

    def _meta(self) -> Iterator[tuple[str, Any]]:
        for key, kind in (("owner", str), ("checkpoint", bytes), ("checkpoint_seq", int), ("anchor", str)):
            with contextlib.suppress(sqlite3.DatabaseError):
                found = self._old.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
                if found and isinstance(found[0], kind):
                    yield key, found[0]

    def _count(self) -> int | None:
        """The old totals go on, with what is lost among the dropped; where they cannot be read all begins anew."""
        lost: int | None = 0
        there = (
            "SELECT (SELECT coalesce(sum(rows), 0) FROM batch WHERE lane = ?1)"
            " + (SELECT count(*) FROM row WHERE lane = ?1 AND batch IS NULL)"
            " + (SELECT count(*) FROM held WHERE lane = ?1)"
        )
        for lane in range(len(wire.LANES)):
            waiting, before = self._new.execute(there, (lane,)).fetchone()[0], None
            with contextlib.suppress(sqlite3.DatabaseError):
                query = "SELECT sealed, stored, refused, dropped FROM tally WHERE lane = ?"
                before = self._old.execute(query, (lane,)).fetchone()
            if before is None or not all(isinstance(n, int) and 0 <= n < 2**53 for n in before):
                before, lost = (0, 0, 0, 0), None
            sealed, stored, refused, dropped = before
            missing = max(0, sealed - stored - refused - dropped - waiting) if before[0] else 0
            dropped += missing
            lost = None if lost is None else lost + missing
            totals = (stored + refused + dropped + waiting, stored, refused, dropped, lane)
            self._new.execute(
                "UPDATE tally SET sealed = ?, stored = ?, refused = ?, dropped = ? WHERE lane = ?", totals
            )
        known = self._new.execute("SELECT sum(sealed) FROM tally").fetchone()[0]
        return lost if known else None


def _lane(lane: Any) -> int:
    return lane if isinstance(lane, int) and 0 <= lane < len(wire.LANES) else 0


def _or_none(checked: Any, row: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """What `checked` makes of a row; None if that cannot be a row."""
    try:
        made: tuple[Any, ...] | None = checked(row)
        return made
    except (ValueError, TypeError, AttributeError, zlib.error):  # a WireError is a ValueError
        return None


@contextlib.contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection]:
    """The old file, which stays as it is: who only reads moves nothing out of its log."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as old:
        old.text_factory = lambda text: text.decode("utf-8", "replace")
        yield old


def _graft(path: Path, graft: Path, fresh: Path) -> None:
    """A copy of the old file, with those pages of a new one that tell where the tables are: the same places."""
    _remove(graft)
    for suffix in ("", "-wal"):
        if _beside(path, suffix).exists():
            shutil.copyfile(_beside(path, suffix), _beside(graft, suffix))
    template = _beside(fresh, ".page")
    with path.open("rb") as old:
        size = int.from_bytes(old.read(18)[16:], "big")
    size = size if size in (PAGE_BYTES, OLD_PAGE_BYTES) else PAGE_BYTES
    connect(template, size).close()
    whole = bytearray(template.read_bytes())
    _remove(template)
    pages = max(len(whole), graft.stat().st_size) // size
    whole[28:40] = pages.to_bytes(4, "big") + bytes(8)  # its pages, none of them free: file format, 1.3
    is_empty = graft.stat().st_size == 0
    with graft.open("r+b") as file:
        for number in range(1, len(whole) // size + 1) if is_empty else _schema_pages(whole):
            file.seek((number - 1) * size)
            file.write(whole[(number - 1) * size : number * size])


def _schema_pages(whole: bytearray) -> list[int]:
    """The pages of the table of tables: the first, and those it points to if it cannot hold all. Format, 1.6."""
    if whole[100] != INTERIOR:
        return [1]
    cells = [int.from_bytes(whole[at : at + 2], "big") for at in range(112, 112 + 2 * whole[104], 2)]
    return [1, *(int.from_bytes(whole[at : at + 4], "big") for at in (*cells, 108))]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        _beside(path, suffix).unlink(missing_ok=True)
