"""The spool's file while it is open: found, checked, replaced if it is damaged; and what is known of it."""

import contextlib
import json
import logging
import os
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge import wire
from edge.clock import Anchor
from edge.spool_file import (
    SpoolDamagedError,
    SpoolError,
    connect,
    firsts_of,
    leave_word,
    left_word,
    locked,
    reading,
    writing,
)
from edge.spool_salvage import Salvaged, finish, salvage, was_interrupted

log = logging.getLogger(__name__)
MOST_CHECKED_BYTES = 64 * 2**20  # a larger file is not looked through at a start after a crash: about 0.3 s
MOST_BATCHES, MOST_ROWS = 100, 5_000  # of a lane that are looked at to say until when each device is confirmed
RESERVE_BYTES = 2 * 2**20
KEEP_PAGES = 32_768  # 32 MiB stay with a file that has emptied


@dataclass(frozen=True, slots=True)
class Entry:
    """A row on its way to disk. `replay` marks what the computations are fed with after a restart."""

    lane: wire.Lane
    t_ns: int
    line: str
    replay: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A row that waits for a trusted clock. The time in its line is what the wall clock said."""

    lane: wire.Lane
    boot: str
    mono_ns: int
    line: str
    seq: int = 0


@dataclass(frozen=True, slots=True)
class HeldBoot:
    """Rows of a boot that wait for a trusted clock: their monotonic times, and what the wall clock was ahead."""

    boot: str
    rows: int
    first_ns: int
    last_ns: int
    wall_ns: int


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
class Committed:
    """What else a commit has done: batches that receipts have freed, and those that were sealed."""

    freed: list[int]
    sealed: list[Batch]


@dataclass(frozen=True, slots=True)
class Dropped:
    """What had to be given up of a lane, and nobody has been told of yet. `last`: a number, for `commit`."""

    lane: str
    rows: int
    t_first_ns: int
    t_last_ns: int
    last: int


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


class SpoolFile:
    """Opens or makes the file. Use it from one thread at a time.

    A damaged file is set aside and what can be read of it goes on in a new one; `salvaged` tells.

    Args:
        owner: site/gateway whose rows it holds. Only an empty spool changes hands.

    Raises: SpoolError if the folder is not writable, a newer bollard made the file, or it is none of ours.
    """

    def __init__(self, path: Path, owner: str = "") -> None:
        self.path, self._owner = path, owner
        self.salvaged: Salvaged | None = None
        self._lock = locked(path)
        try:
            self._open_first()
        except BaseException:
            self._lock.close()
            raise

    def _open_first(self) -> None:
        path, word = self.path, left_word(self._lock)
        if was_interrupted(path):
            log.error("event=salvage_finished aside=%s", finish(path).name)
            word = "closed"
        size = path.stat().st_size if path.is_file() else -1
        log_size = _size_of(path.with_name(path.name + "-wal"))
        try:
            if size == 0 and word and (log_size > 0 or word == "open"):  # else it never was one
                raise SpoolDamagedError(f"{path}: is empty")
            self._connect()
            if word == "open" and size < MOST_CHECKED_BYTES:
                self._check()
        except SpoolDamagedError as error:
            if not word:  # it may be anything
                what = "nothing says that it was ours: move it away, or give another file in [spool] path"
                raise SpoolDamagedError(f"{error}; {what}") from error
            self._mend(error)
        else:
            if word == "open" and size > 0 and log_size < 0:
                log.error("event=spool_log_missing path=%s reason='rows of the last seconds may be lost'", path)
                self._take_new_id()
        leave_word(self._lock, "open")

    def _connect(self) -> None:
        self._db = connect(self.path)
        try:
            self.id: str = self._meta("id")
            self._belong_to(self._owner)
        except BaseException:
            self._db.close()
            raise

    def _check(self) -> None:
        with reading(self.path):
            found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            self._db.close()
            raise SpoolDamagedError(f"{self.path}: is damaged ({found.splitlines()[-1]})")

    def _mend(self, error: SpoolError) -> None:
        with contextlib.suppress(AttributeError):
            self._db.close()
        self.salvaged = salvage(self.path, str(error))
        self._connect()

    def reopen(self, error: SpoolError) -> Salvaged | None:
        """Make the connection to the file again after an error; a damaged file is replaced. Raises: SpoolError.

        Returns: what could be salvaged, if it was damaged.
        """
        self._db.close()
        if isinstance(error, SpoolDamagedError):
            self._mend(error)
            return self.salvaged
        self._connect()
        return None

    def _take_new_id(self) -> None:
        """What was sent under the old one may be older or newer than what is here."""
        self.id = str(uuid.uuid4())
        with writing(self._db, self.path):
            self._set("id", self.id)

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
        with writing(self._db, self.path):
            self._set("owner", owner)
            self._set("checkpoint", None)  # another site's computations
            self._db.execute("DELETE FROM row")
            self._db.execute("DELETE FROM held")

    def _meta(self, key: str) -> Any:
        with reading(self.path):
            found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if found is None:
            raise SpoolError(f"{self.path}: is no spool (no {key} in it); move it away, a new one is made")
        return found[0]

    def _set(self, key: str, value: Any) -> None:
        self._db.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))

    def anchor(self) -> Anchor | None:
        """What was last known of the clock."""
        text = self._meta("anchor")
        try:
            return Anchor(**json.loads(text)) if text else None
        except (ValueError, TypeError):
            return None

    def set_anchor(self, anchor: Anchor) -> None:
        with writing(self._db, self.path):
            self._keep_anchor(anchor)

    def _keep_anchor(self, anchor: Anchor) -> None:
        self._set("anchor", json.dumps(asdict(anchor)))

    def used_bytes(self) -> int:
        """Bytes in use inside the file; freed pages do not count."""
        pages, free, size = self._pages()
        return (pages - free) * size

    def file_bytes(self) -> int:
        """Bytes that the file takes, without its log."""
        pages, _, size = self._pages()
        return pages * size

    def _pages(self) -> tuple[int, int, int]:
        with reading(self.path):
            pages, free, size = (
                int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        return pages, free, size

    def trim(self, most_pages: int) -> None:
        """Give the disk back a part of what stands empty; a file that has drained need not stay so large."""
        pages, free, _ = self._pages()
        surplus = min(most_pages, free - max(KEEP_PAGES, pages // 4))
        if surplus > 0:
            with reading(self.path):
                self._db.executescript(f"PRAGMA incremental_vacuum({surplus})")  # execute frees one and stops

    def keep_reserve(self) -> None:
        """Hold some room on the disk that nobody else can take, if it has any."""
        reserve = self.path.with_name(self.path.name + ".reserve")
        if _size_of(reserve) >= RESERVE_BYTES:
            return
        try:
            with reserve.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError:
            with contextlib.suppress(OSError):
                reserve.unlink()

    def spend_reserve(self) -> None:
        """The disk is full: even to delete, the log has to grow. Give it what was held, and let it begin anew."""
        self.path.with_name(self.path.name + ".reserve").unlink(missing_ok=True)
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def tally(self) -> Tally:
        totals = "SELECT sum(sealed), sum(stored), sum(refused), sum(dropped) FROM tally"
        with reading(self.path):
            return Tally(*self._db.execute(totals).fetchone())

    def _dropped(self) -> int:
        with reading(self.path):
            return int(self._db.execute("SELECT sum(dropped) FROM tally").fetchone()[0])

    def oldest_waiting_ns(self) -> int | None:
        """Time of the oldest row without a receipt: all before it is confirmed. [ns, UTC]"""
        times = []
        for lane in range(len(wire.LANES)):  # both are answered by an index
            for query in (
                "SELECT min(t_first_ns) FROM batch WHERE lane = ?",
                "SELECT t_ns FROM row WHERE lane = ? AND batch IS NULL ORDER BY seq LIMIT 1",
            ):
                with reading(self.path):
                    times += [t_ns for (t_ns,) in self._db.execute(query, (lane,)) if t_ns is not None]
        return min(times, default=None)

    def oldest_by_device(self) -> tuple[dict[str, int], int | None]:
        """Per device the time of its oldest row that waits; and that of rows too many to look at, of any device.

        The oldest `MOST_BATCHES` and `MOST_ROWS` of each lane are looked at: all, unless a long backlog waits.
        [ns, UTC]
        """
        oldest: dict[str, int] = {}
        beyond: list[int] = []
        for lane in range(len(wire.LANES)):
            for firsts, first_ns in self._firsts(lane):
                if firsts is None:
                    beyond.append(first_ns)
                for device, t_ns in (firsts or {}).items():
                    oldest[device] = min(t_ns, oldest.get(device, t_ns))
        return oldest, min(beyond, default=None)

    def _firsts(self, lane: int) -> Iterator[tuple[dict[str, int] | None, int]]:
        """Of each batch of a lane its devices with their first instants; None for what is not looked at."""
        with reading(self.path):
            query = "SELECT id, t_first_ns, devices FROM batch WHERE lane = ? ORDER BY id LIMIT ?"
            known = self._db.execute(query, (lane, MOST_BATCHES)).fetchall()
            query = "SELECT min(t_first_ns) FROM batch WHERE lane = ? AND id > ?"
            rest = self._db.execute(query, (lane, known[-1][0] if known else 0)).fetchone()[0]
            lines = self._db.execute(
                "SELECT t_ns, line FROM row WHERE lane = ? AND batch IS NULL ORDER BY seq LIMIT ?",
                (lane, MOST_ROWS),
            ).fetchall()
        for _, first_ns, devices in known:
            yield (json.loads(devices) if devices else None), first_ns
        if rest is not None:
            yield None, rest
        if len(lines) == MOST_ROWS:
            yield None, lines[-1][0]
        yield firsts_of(line for _, line in lines), 0

    def close(self) -> None:
        self._db.close()
        leave_word(self._lock, "closed")
        self._lock.close()

    def _count(self, lane: int, column: str, rows: int) -> None:
        self._db.execute(f"UPDATE tally SET {column} = {column} + ? WHERE lane = ?", (rows, lane))


def _size_of(path: Path) -> int:
    """-1 where there is no such file."""
    return path.stat().st_size if path.exists() else -1
