"""What makes a spool of an archive safe to go on with: nothing old frees new rows, nothing is counted twice.

The agent may have gone on after the backup was made, and what it then sent is ashore. So the restored spool
- takes a new id: a receipt for a batch of the old one frees nothing here;
- keeps its batches and rows byte for byte: the shore writes them again, which changes nothing there;
- forgets the state of the computations: else the energy since the backup would be counted a second time;
- drops rows that waited for the clock: their times would come out otherwise than those that were sent.
"""

import sqlite3
import uuid
from dataclasses import dataclass
from pathlib import Path

from edge import wire
from edge.spool_file import connect, writing


@dataclass(frozen=True, slots=True)
class Mended:
    """`waiting` rows are sent (perhaps again), `held` were dropped and are told as an event."""

    old_id: str
    new_id: str
    waiting: int
    held: int


def mend_spool(file: Path) -> Mended:
    """Do that to the file of a spool that nobody has open. Raises: SpoolError."""
    db = connect(file)
    try:
        with writing(db, file):
            old_id, new_id = _meta(db, "id"), str(uuid.uuid4())
            newest = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'row'").fetchone()
            for key, value in (
                ("id", new_id),
                ("checkpoint", None),
                ("checkpoint_seq", newest[0] if newest else 0),
            ):
                db.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
            db.execute("UPDATE meta SET value = NULL WHERE key = 'anchor'")  # of a boot that has ended
            db.execute("DELETE FROM row WHERE batch IS NOT NULL")  # its batch has it; it was kept for the state
            db.execute("UPDATE row SET replay = 0")
            held = _drop_held(db)
            sums = "SELECT sum(sealed - stored - refused - dropped) FROM tally"
            waiting = int(db.execute(sums).fetchone()[0])
        db.execute("PRAGMA journal_mode=DELETE")
    finally:
        db.close()
    return Mended(old_id, new_id, waiting, held)


def _meta(db: sqlite3.Connection, key: str) -> str:
    return str(db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])


def _drop_held(db: sqlite3.Connection) -> int:
    """As the spool drops what does not fit: counted, and told at the next start."""
    total = 0
    for lane in range(len(wire.LANES)):
        query = "SELECT line FROM held WHERE lane = ?"
        lines = [line for (line,) in db.execute(query, (lane,)).fetchall()]
        if not lines:
            continue
        times = [int(line[line.rindex(" ") :]) for line in lines]
        insert = (
            "INSERT INTO gone (batch, lane, rows, t_first_ns, t_last_ns, crc32, told)"
            " VALUES (NULL, ?, ?, ?, ?, '', 0)"
        )
        db.execute(insert, (lane, len(lines), min(times), max(times)))
        update = "UPDATE tally SET dropped = dropped + ? WHERE lane = ?"
        db.execute(update, (len(lines), lane))
        total += len(lines)
    db.execute("DELETE FROM held")
    return total
