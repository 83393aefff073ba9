"""The ledger on disk: rows wait here until the shore has confirmed them.

A row is on disk before it is sent, and leaves only by a receipt. `row` holds what came in, in order; `batch`
holds what was sealed, in the bytes that are sent, however often; `held` what waits for a trusted clock. One commit
per flush: a power cut costs at most the rows of the flush that was being written. The state of the computations
(checkpoint) is committed with the rows it was computed from, so a start that replays the rows after the
checkpoint stands where it stood.
"""

import logging
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from edge import wire
from edge.clock import Anchor
from edge.spool_base import Batch, Committed, Dropped, Entry, Held, HeldBoot, SpoolFile, Tally
from edge.spool_file import (
    SpoolDamagedError,
    SpoolError,
    SpoolFullError,
    SpoolIoError,
    firsts_text,
    locked,
    reading,
    writing,
)
from edge.spool_salvage import Salvaged

__all__ = [
    "BYTES_IN_BATCH", "ROWS_IN_BATCH", "Batch", "Committed", "Dropped", "Entry", "Held", "HeldBoot", "Salvaged",
    "Spool", "SpoolDamagedError", "SpoolError", "SpoolFullError", "SpoolIoError", "Tally", "locked",
]  # fmt: skip
log = logging.getLogger(__name__)
ROWS_IN_BATCH, BYTES_IN_BATCH = 500, 256 * 1024  # at most
LATE_RECEIPTS = 1000  # batches given up whose receipt may still come
ROWS_GIVEN_UP = 500  # at once
FIRST_TO_GO = ("detail", "live")


class Spool(SpoolFile):
    """Rows on their way: in, out, and what had to be given up. Use it from one thread at a time."""

    # Rows come in.

    def commit(
        self, entries: Sequence[Entry], checkpoint: bytes | None = None, held: Sequence[Held] = (),
        released: int = 0, told: int = 0, receipts: Iterable[wire.Receipt] = (), seal: Iterable[str] = (),
        anchor: Anchor | None = None,
    ) -> Committed:  # fmt: skip
        """Make rows durable, and with them the state that they led to. One transaction, one sync, for all of it.

        Args:
            held: Rows without a time, until the clock is trusted.
            released: These entries are what rows held up to this number became; they go.
            told: Of what was dropped up to this number (`Dropped.last`) the entries speak.
            receipts: Free the batches that they name.
            seal: Lanes whose rows go into a batch at once.
            anchor: What the clocks say to the times of these rows.

        Raises: SpoolError; nothing is kept.
        """
        with writing(self._db, self.path):
            freed = self._free_all(receipts)
            sealed = self._insert(entries, tuple(seal))
            self._db.executemany(
                "INSERT INTO held (lane, boot, mono_ns, line) VALUES (?, ?, ?, ?)",
                [(wire.LANES.index(h.lane), h.boot, h.mono_ns, h.line) for h in held],
            )
            for lane, name in enumerate(wire.LANES):
                count = sum(e.lane == name for e in entries) + sum(h.lane == name for h in held)
                if count:
                    self._count(lane, "sealed", count)
            if released:
                self._release(released)
            if told:
                self._db.execute("UPDATE gone SET told = 1 WHERE seq <= ?", (told,))
                self._db.execute("DELETE FROM gone WHERE told AND seq < ?", (told - LATE_RECEIPTS,))
            if checkpoint is not None:
                self._keep(checkpoint)
            if anchor is not None:
                self._keep_anchor(anchor)
        return Committed(freed, sealed)

    def _insert(self, entries: Sequence[Entry], lanes: tuple[str, ...]) -> list[Batch]:
        """New rows, and batches of these lanes."""
        direct = {}
        for lane in lanes:
            mine = [entry for entry in entries if entry.lane == lane]
            if mine and _is_one_batch(mine) and not self._unsealed(lane, 1):
                direct[lane] = self._insert_batch(lane, [e.t_ns for e in mine], [e.line for e in mine])
        numbers = {lane: batch.id for lane, batch in direct.items()}
        self._db.executemany(
            "INSERT INTO row (lane, batch, replay, t_ns, line) VALUES (?, ?, ?, ?, ?)",
            [(wire.LANES.index(e.lane), numbers.get(e.lane), e.replay, e.t_ns, e.line) for e in entries],
        )
        others = [self._seal(lane, ROWS_IN_BATCH, BYTES_IN_BATCH, 1) for lane in lanes if lane not in direct]
        return [*direct.values(), *(batch for batch in others if batch is not None)]

    def _keep(self, checkpoint: bytes) -> None:
        newest = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'row'").fetchone()
        seq = newest[0] if newest else 0
        self._set("checkpoint", wire.crc32(checkpoint).encode() + checkpoint)
        self._set("checkpoint_seq", seq)
        self._db.execute("DELETE FROM row WHERE seq <= ? AND batch IS NOT NULL", (seq,))

    def _release(self, last: int) -> None:
        """They were counted when they came, and are now among the entries."""
        counts = self._db.execute(
            "SELECT lane, count(*) FROM held WHERE seq <= ? GROUP BY lane", (last,)
        ).fetchall()
        for lane, count in counts:
            self._count(lane, "sealed", -count)
        self._db.execute("DELETE FROM held WHERE seq <= ?", (last,))

    def held(self, most_rows: int) -> list[Held]:
        """The oldest rows that wait for a trusted clock."""
        with reading(self.path):
            query = "SELECT lane, boot, mono_ns, line, seq FROM held ORDER BY seq LIMIT ?"
            found = self._db.execute(query, (most_rows,)).fetchall()
        return [Held(wire.LANES[lane], *rest) for lane, *rest in found]

    def held_count(self) -> int:
        with reading(self.path):
            return int(self._db.execute("SELECT count(*) FROM held").fetchone()[0])

    def held_boots(self) -> list[HeldBoot]:
        """The boots that they are of, in the order in which they were."""
        query = (
            "SELECT boot, count(*), min(mono_ns), max(mono_ns), max(seq) FROM held GROUP BY boot ORDER BY min(seq)"
        )
        boots = []
        with reading(self.path):
            for boot, rows, first_ns, last_ns, newest in self._db.execute(query).fetchall():
                text = "SELECT mono_ns, line FROM held WHERE seq = ?"
                mono_ns, line = self._db.execute(text, (newest,)).fetchone()
                boots.append(HeldBoot(boot, rows, first_ns, last_ns, int(line[line.rindex(" ") :]) - mono_ns))
        return boots

    def replay(self) -> tuple[bytes | None, list[str]]:
        """The last checkpoint, and the lines to feed after it, in the order in which they came."""
        saved, seq = self._meta("checkpoint"), self._meta("checkpoint_seq")
        state = saved if isinstance(saved, bytes) else None
        if state is not None and not state.startswith(b"{"):  # as the first version kept it
            checksum, state = state[:8].decode("ascii", "replace"), state[8:]
            if wire.crc32(state) != checksum:
                log.error("event=checkpoint_damaged path=%s reason='computations begin again'", self.path)
                state = None
        with reading(self.path):
            rows = self._db.execute("SELECT line FROM row WHERE replay AND seq > ? ORDER BY seq", (seq,))
            return state, [line for (line,) in rows]

    # Rows go out.

    def seal(
        self, lane: str, most_rows: int, most_bytes: int = BYTES_IN_BATCH, least_rows: int = 1
    ) -> Batch | None:
        """Take the oldest rows of a lane into a batch whose bytes are fixed from now on.

        None if fewer than `least_rows` are there.
        """
        if len(self._unsealed(lane, least_rows)) < least_rows:
            return None  # nothing to write
        with writing(self._db, self.path):
            return self._seal(lane, most_rows, most_bytes, least_rows)

    def _unsealed(self, lane: str, most_rows: int) -> list[tuple[int, int, str]]:
        query = "SELECT seq, t_ns, line FROM row WHERE lane = ? AND batch IS NULL ORDER BY seq LIMIT ?"
        with reading(self.path):
            return self._db.execute(query, (wire.LANES.index(lane), most_rows)).fetchall()

    def _seal(self, lane: str, most_rows: int, most_bytes: int, least_rows: int) -> Batch | None:
        found = self._unsealed(lane, most_rows)
        if len(found) < least_rows:
            return None
        rows: list[tuple[int, int, str]] = []
        size = 0
        for seq, t_ns, line in found:
            size += len(line) + 1
            if rows and size > most_bytes:
                break
            rows.append((seq, t_ns, line))
        if not rows:
            return None
        batch = self._insert_batch(lane, [t_ns for _, t_ns, _ in rows], [line for *_, line in rows])
        # what the checkpoint covers is needed for nothing but this batch, which has its own copy
        covered = self._db.execute("SELECT value FROM meta WHERE key = 'checkpoint_seq'").fetchone()[0]
        self._db.executemany("DELETE FROM row WHERE seq = ?", [(seq,) for seq, *_ in rows if seq <= covered])
        update = "UPDATE row SET batch = ? WHERE seq = ?"
        self._db.executemany(update, [(batch.id, seq) for seq, *_ in rows if seq > covered])
        return batch

    def _insert_batch(self, lane: str, times: list[int], lines: list[str]) -> Batch:
        body = wire.body_of(lines)
        known = (len(lines), min(times), max(times), wire.crc32(body))
        cursor = self._db.execute(
            "INSERT INTO batch (lane, rows, t_first_ns, t_last_ns, crc32, body, devices)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (wire.LANES.index(lane), *known, zlib.compress(body, 1), firsts_text(lines)),
        )
        return Batch(cursor.lastrowid or 0, lane, *known, body)

    def next_waiting(self, lane: str, after: int = 0) -> int | None:
        """The oldest batch of a lane beyond this one that has no receipt."""
        query = "SELECT id FROM batch WHERE lane = ? AND id > ? ORDER BY id LIMIT 1"
        with reading(self.path):
            found = self._db.execute(query, (wire.LANES.index(lane), after)).fetchone()
        return None if found is None else int(found[0])

    def batches_waiting(self) -> int:
        with reading(self.path):
            return int(self._db.execute("SELECT count(*) FROM batch").fetchone()[0])

    def batch(self, number: int) -> Batch | None:
        """A sealed batch again, byte for byte; None if it has been freed, or has changed on disk."""
        query = "SELECT id, lane, rows, t_first_ns, t_last_ns, crc32, body FROM batch WHERE id = ?"
        with reading(self.path):
            found = self._db.execute(query, (number,)).fetchone()
        if found is None:
            return None
        number, lane, rows, first_ns, last_ns, checksum, packed = found
        try:
            body = zlib.decompress(packed)
        except zlib.error:
            body = b""
        if wire.crc32(body) != checksum:
            log.error("event=batch_damaged batch=%d rows=%d reason='its bytes have changed on disk'", number, rows)
            with writing(self._db, self.path):
                self._give_up(number, lane, rows, first_ns, last_ns, checksum)
            return None
        return Batch(number, wire.LANES[lane], rows, first_ns, last_ns, checksum, body)

    def confirm(self, receipt: wire.Receipt) -> bool:
        """Free the batch that a receipt names; False if it is not this spool's, or no longer there."""
        return bool(self.commit([], receipts=[receipt]).freed)

    def _free_all(self, receipts: Iterable[wire.Receipt]) -> list[int]:
        return [r.batch for r in receipts if r.spool == self.id and self._free(r)]

    def _free(self, receipt: wire.Receipt) -> bool:
        for table, key in (("batch", "id"), ("gone", "batch")):  # what was given up may be ashore all the same
            query = f"SELECT lane, rows, crc32 FROM {table} WHERE {key} = ?"
            found = self._db.execute(query, (receipt.batch,)).fetchone()
            if found is None:
                continue
            lane, rows, checksum = found
            if checksum != receipt.crc32 or receipt.stored + len(receipt.refused) != rows:
                return False
            self._db.execute(f"DELETE FROM {table} WHERE {key} = ?", (receipt.batch,))
            self._count(lane, "stored", receipt.stored)
            self._count(lane, "refused", len(receipt.refused))
            if table == "gone":
                self._count(lane, "dropped", -rows)
            return True
        return False

    # What does not fit.

    def make_room(self, most_bytes: int) -> int:
        """Drop whole batches, detail first, then live, oldest first, until the file's content fits.

        Events and minutes never go. `untold` says what went. Returns: rows dropped.
        """
        before = self._dropped()
        while self.used_bytes() > most_bytes and any(self._drop_oldest(lane) for lane in FIRST_TO_GO):
            pass
        return self._dropped() - before

    def _drop_oldest(self, lane: str) -> bool:
        """Of what was sealed, else of what was not, else of what waits for the clock. False if there is none."""
        index = wire.LANES.index(lane)
        query = "SELECT id, lane, rows, t_first_ns, t_last_ns, crc32 FROM batch WHERE lane = ? ORDER BY id LIMIT 1"
        with reading(self.path):
            found = self._db.execute(query, (index,)).fetchone()
        if found is None and self.seal(lane, ROWS_GIVEN_UP) is not None:
            return self._drop_oldest(lane)
        if found is None:
            return self._drop_held(index)
        with writing(self._db, self.path):
            self._give_up(*found)
        return True

    def _give_up(self, number: int | None, *known: Any) -> None:
        self._db.execute("DELETE FROM batch WHERE id = ?", (number,))
        self._db.execute(
            "INSERT OR REPLACE INTO gone (batch, lane, rows, t_first_ns, t_last_ns, crc32, told)"
            " VALUES (?, ?, ?, ?, ?, ?, 0)",
            (number, *known),
        )
        self._count(known[0], "dropped", known[1])

    def _drop_held(self, index: int) -> bool:
        query = "SELECT seq, line FROM held WHERE lane = ? ORDER BY seq LIMIT ?"
        with reading(self.path):
            found = self._db.execute(query, (index, ROWS_GIVEN_UP)).fetchall()
        if not found:
            return False
        times = [int(line[line.rindex(" ") :]) for _, line in found]
        with writing(self._db, self.path):
            self._db.execute("DELETE FROM held WHERE lane = ? AND seq <= ?", (index, found[-1][0]))
            self._give_up(None, index, len(found), min(times), max(times), "")
        return True

    def untold(self) -> list[Dropped]:
        """What has been dropped since the last commit with `told`, a range per lane."""
        query = (
            "SELECT lane, sum(rows), min(t_first_ns), max(t_last_ns), max(seq)"
            " FROM gone WHERE NOT told GROUP BY lane ORDER BY lane"
        )
        with reading(self.path):
            found = self._db.execute(query).fetchall()
        return [Dropped(wire.LANES[lane], *rest) for lane, *rest in found]


def _is_one_batch(entries: Sequence[Entry]) -> bool:
    return len(entries) <= ROWS_IN_BATCH and sum(len(e.line) + 1 for e in entries) <= BYTES_IN_BATCH
