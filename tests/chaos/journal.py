"""What was sealed, told by the spool's own file: triggers copy each row in the transaction that seals it.

The agent runs unchanged and knows nothing of them. A copy is exactly as durable as its row: a kill takes both or
none, a power cut rolls both back. So the journal is what the spool answers for, and what the store holds beyond it
was published before it was safe. A row that the file itself forgets in between is found by its number: a gap in
`seq` below the highest one.

A row that waits for a trusted clock (`held`) comes among the others with its time, once that is known. One that is
dropped before has no time, and no line that could be compared: it is counted.
"""

import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge import wire
from edge.spool import Spool, Tally

TRIGGERS = """
CREATE TABLE chaos_row (seq INTEGER PRIMARY KEY, lane INTEGER, replay INTEGER, line TEXT, batch INTEGER);
CREATE TABLE chaos_freed (n INTEGER PRIMARY KEY, id INTEGER, dropped INTEGER);
CREATE TRIGGER chaos_sealed AFTER INSERT ON row BEGIN
  INSERT INTO chaos_row VALUES (NEW.seq, NEW.lane, NEW.replay, NEW.line, NEW.batch); END;
CREATE TABLE chaos_batch (id INTEGER PRIMARY KEY, seq INTEGER, body BLOB);
CREATE TRIGGER chaos_direct AFTER INSERT ON batch BEGIN
  INSERT INTO chaos_batch VALUES (NEW.id, (SELECT coalesce(max(seq), 0) FROM chaos_row), NEW.body); END;
CREATE TRIGGER chaos_batched AFTER UPDATE OF batch ON row BEGIN
  UPDATE chaos_row SET batch = NEW.batch WHERE seq = NEW.seq; END;
CREATE TRIGGER chaos_freed_ AFTER DELETE ON batch BEGIN
  INSERT INTO chaos_freed (id, dropped) VALUES (OLD.id, 0); END;
CREATE TRIGGER chaos_dropped AFTER INSERT ON gone WHEN NEW.batch IS NOT NULL BEGIN
  UPDATE chaos_freed SET dropped = 1 WHERE id = NEW.batch; END;
CREATE TABLE chaos_held (seq INTEGER PRIMARY KEY, lane INTEGER, dropped INTEGER);
CREATE TRIGGER chaos_unheld AFTER DELETE ON held BEGIN
  INSERT INTO chaos_held VALUES (OLD.seq, OLD.lane, 0); END;
CREATE TRIGGER chaos_untimed AFTER INSERT ON gone WHEN NEW.batch IS NULL BEGIN
  UPDATE chaos_held SET dropped = 1 WHERE seq IN
    (SELECT seq FROM chaos_held WHERE lane = NEW.lane ORDER BY seq DESC LIMIT NEW.rows); END;
"""


@dataclass(frozen=True)
class Sealed:
    """A row that was on disk."""

    line: str
    replay: bool  # it feeds the computations
    batch: int | None
    dropped: bool


@dataclass(frozen=True)
class Journal:
    """Everything a spool has ever sealed, in the order in which it came, and what its own books say."""

    spool: str
    rows: list[Sealed]
    tally: Tally
    checkpoint: bytes | None
    missing: int  # numbers below the highest that no row has
    untimed: int = 0  # rows that were dropped while they waited for a trusted clock


def install(path: Path, owner: str) -> None:
    """Make an empty spool that keeps a journal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Spool(path, owner).close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(TRIGGERS)


def tally(path: Path) -> Tally:
    """What the spool has counted, while its agent runs."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)) as db:
        totals = "SELECT sum(sealed), sum(stored), sum(refused), sum(dropped) FROM tally"
        return Tally(*db.execute(totals).fetchone())


def read(path: Path, owner: str) -> Journal:
    """After the agent has ended. Raises: SpoolError if the file is no longer good."""
    spool = Spool(path, owner)  # as the next start would find it
    tally, name = spool.tally(), spool.id
    checkpoint = spool.replay()[0]
    spool.close()
    with closing(sqlite3.connect(path)) as db:
        damage = db.execute("PRAGMA integrity_check").fetchone()[0]
        assert damage == "ok", f"{path}: {damage}"
        batches = db.execute("SELECT id, seq, body FROM chaos_batch ORDER BY id").fetchall()
        gone = {number for (number,) in db.execute("SELECT id FROM chaos_freed WHERE dropped")}
        of = {line: number for number, _, body in batches for line in _lines(body)}
        found = db.execute("SELECT seq, line, replay FROM chaos_row").fetchall()
        rows = [
            (seq, Sealed(line, bool(replay), of.get(line), of.get(line) in gone)) for seq, line, replay in found
        ]
        count = len(rows)
        known = {line for _, line, _ in found}
        for number, seq, body in batches:  # rows that went into a batch at once, without a place of their own
            rows += [
                (seq, Sealed(line, line[: line.index(",")] not in wire.COMPUTED, number, number in gone))
                for line in _lines(body)
                if line not in known
            ]
        missing = _numbered(db, "row") - count
        held = "SELECT (SELECT count(*) FROM chaos_held) + (SELECT count(*) FROM held)"
        missing += _numbered(db, "held") - db.execute(held).fetchone()[0]
        untimed = db.execute("SELECT count(*) FROM chaos_held WHERE dropped").fetchone()[0]
    return Journal(name, _in_order(rows), tally, checkpoint, missing, untimed)


def _numbered(db: sqlite3.Connection, table: str) -> int:
    """The highest number that a row of a table has ever had."""
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(found[0]) if found else 0


def _lines(body: bytes) -> list[str]:
    return zlib.decompress(body).decode().split("\n")[:-1] if body else []


def _in_order(rows: list[tuple[int, Sealed]]) -> list[Sealed]:
    """As they came: by their times, those that came late where they came."""
    found, newest_ns = [], 0
    for seq, sealed in sorted(rows, key=lambda row: row[0]):
        t_ns = int(sealed.line[sealed.line.rindex(" ") :])
        late = ",late=1i" in sealed.line or " late=1i" in sealed.line
        newest_ns = newest_ns if late else max(newest_ns, t_ns)
        found.append((newest_ns if late else t_ns, seq, sealed))
    return [sealed for _, _, sealed in sorted(found, key=lambda row: row[:2])]
