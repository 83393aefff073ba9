"""The book: a small SQLite file beside the store, always there. Catalogues, refused rows, issues, counters."""

import dataclasses
import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.wire import Catalogue, FieldType, Header, decode_catalogue
from gateway.errors import StoreError
from gateway.journal import Entry, NewEntry
from gateway.sqlitefile import explained, open_file, transaction

APPLICATION_ID = 0x626F_6C62  # "bolb"
VERSION = 5
PINNED = """
CREATE TABLE pinned (
  kind TEXT NOT NULL, field TEXT NOT NULL, type TEXT NOT NULL, PRIMARY KEY (kind, field)
) STRICT, WITHOUT ROWID;
"""
JOURNAL = """
CREATE TABLE journal (
  number INTEGER PRIMARY KEY, site TEXT NOT NULL, kind TEXT NOT NULL, json TEXT NOT NULL, author TEXT NOT NULL,
  reason TEXT NOT NULL, written_ns INTEGER NOT NULL, replaces INTEGER UNIQUE, digest TEXT NOT NULL
) STRICT;
"""
FILED = """
CREATE TABLE filed (
  site TEXT NOT NULL, month TEXT NOT NULL, status TEXT NOT NULL, rows_sha256 TEXT NOT NULL,
  figures_sha256 TEXT NOT NULL, software TEXT NOT NULL, totals TEXT NOT NULL, filed_ns INTEGER NOT NULL,
  PRIMARY KEY (site, month, status, rows_sha256, figures_sha256, software)
) STRICT, WITHOUT ROWID;
"""
WEB = """
CREATE TABLE person (
  name TEXT PRIMARY KEY, hash TEXT NOT NULL, role TEXT NOT NULL, sites TEXT NOT NULL, added_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE web_session (
  digest TEXT PRIMARY KEY, name TEXT NOT NULL, seen_ns INTEGER NOT NULL, lasting INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE audit (
  number INTEGER PRIMARY KEY, t_ns INTEGER NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE TABLE alarm (
  number INTEGER PRIMARY KEY, t_ns INTEGER NOT NULL, site TEXT NOT NULL, device TEXT NOT NULL, code TEXT NOT NULL,
  point TEXT NOT NULL, action TEXT NOT NULL, who TEXT NOT NULL, comment TEXT NOT NULL, until_ns INTEGER NOT NULL,
  event TEXT NOT NULL, uncertain_ns INTEGER NOT NULL
) STRICT;
CREATE INDEX alarm_of ON alarm (site, device, t_ns);
"""
SCHEMA = f"""
CREATE TABLE catalogue (
  site TEXT NOT NULL, gateway TEXT NOT NULL, digest TEXT NOT NULL, site_file_hash TEXT NOT NULL,
  json BLOB NOT NULL, first_seen_ns INTEGER NOT NULL, last_seen_ns INTEGER NOT NULL,
  turn INTEGER NOT NULL, PRIMARY KEY (site, gateway, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE refused (
  site TEXT NOT NULL, gateway TEXT NOT NULL, spool TEXT NOT NULL, batch INTEGER NOT NULL, line INTEGER NOT NULL,
  text TEXT NOT NULL, reason TEXT NOT NULL, seen_ns INTEGER NOT NULL,
  PRIMARY KEY (site, gateway, spool, batch, line)
) STRICT, WITHOUT ROWID;
CREATE TABLE malformed (
  topic TEXT NOT NULL, digest TEXT NOT NULL, reason TEXT NOT NULL, payload BLOB NOT NULL,
  first_seen_ns INTEGER NOT NULL, last_seen_ns INTEGER NOT NULL, times INTEGER NOT NULL,
  PRIMARY KEY (topic, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
{PINNED}{JOURNAL}{FILED}{WEB}"""
JOURNAL_COLUMNS = tuple(part.name for part in dataclasses.fields(Entry))
STEPS = {1: PINNED, 2: JOURNAL, 3: FILED, 4: WEB}
MALFORMED_KEPT = 1000  # messages; the least recently seen go first, since anyone can send nonsense
MALFORMED_BYTES = 65_536  # kept of each


@dataclass(frozen=True, slots=True)
class Refused:
    """A line of a confirmed batch that the store could not take. Its only copy is here."""

    site: str
    gateway: str
    spool: str
    batch: int
    line: int  # counted from 0
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message that could not be read as a batch or catalogue. It was not confirmed."""

    topic: str
    reason: str
    payload: bytes  # its first 64 KiB
    times: int


@dataclass(frozen=True, slots=True)
class Filed:
    """An issue of a month's report. `totals`: the site's figures by key, as exact fractions in text, in JSON."""

    site: str
    month: str
    status: str  # provisional or final
    rows_sha256: str
    figures_sha256: str
    software: str
    totals: str
    filed_ns: int


class Book:
    """Catalogues, refused rows and counters of one shore side. Methods may be called from any thread.

    Raises: StoreError if the file is not ours, damaged, newer than this code, or cannot be written;
        StoreUnavailable from any method if the disk is full or another process holds the file.
    """

    def __init__(self, path: Path, create: bool = True) -> None:
        self._path = path
        self._db = open_file(path, "book", APPLICATION_ID, VERSION, SCHEMA, create, STEPS)
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction for a module with tables of its own here: all or nothing, on disk once the block ends."""
        with self._lock, transaction(self._db, self._path, "book"):
            yield self._db

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The same for reading."""
        with self._lock, explained(self._path, "book"):
            yield self._db

    def put_catalogue(self, catalogue: Catalogue) -> bool:
        """Keep what a gateway says about itself; True if it was not known yet.

        The last one said is the newest, whatever the clocks say.
        """
        json, now_ns = catalogue.encode(), time.time_ns()
        key = (catalogue.site, catalogue.gateway, hashlib.sha256(json).hexdigest())
        with self._lock, transaction(self._db, self._path, "book"):
            before = self._db.total_changes
            turn = self._db.execute("SELECT ifnull(max(turn), 0) + 1 FROM catalogue").fetchone()[0]
            self._db.execute(
                "INSERT OR IGNORE INTO catalogue VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*key, catalogue.hash, json, now_ns, now_ns, turn),
            )
            new = self._db.total_changes > before
            self._db.execute(
                "UPDATE catalogue SET last_seen_ns = ?, turn = ? WHERE site = ? AND gateway = ? AND digest = ?",
                (now_ns, turn, *key),
            )
        return new

    def catalogues(self, site: str | None = None) -> list[Catalogue]:
        """The newest catalogue of each gateway (of one site), ordered by site and gateway."""
        with self._lock, explained(self._path, "book"):
            found = self._db.execute(
                "SELECT json, max(turn) FROM catalogue WHERE ?1 IS NULL OR site = ?1"
                " GROUP BY site, gateway ORDER BY site, gateway",
                (site,),
            ).fetchall()
        return [decode_catalogue(json) for json, _ in found]

    def catalogue(self, site: str, gateway: str) -> Catalogue | None:
        """The newest catalogue of a gateway, or None if it never sent one."""
        return next((c for c in self.catalogues(site) if c.gateway == gateway), None)

    def field_types(self, site: str, gateway: str) -> dict[tuple[str, str], dict[str, FieldType]] | None:
        """Types of all fields that this gateway has ever offered, or None if it never sent a catalogue.

        A batch may have waited in the spool while its point was taken out of the profile: it is still good.
        Where catalogues disagree the newest counts.
        """
        with self._lock, explained(self._path, "book"):
            found = self._db.execute(
                "SELECT json FROM catalogue WHERE site = ? AND gateway = ? ORDER BY turn", (site, gateway)
            ).fetchall()
        types: dict[tuple[str, str], dict[str, FieldType]] = {}
        for (json,) in found:
            for device, fields in decode_catalogue(json).field_types().items():
                types.setdefault(device, {}).update(fields)
        return types if found else None

    def refuse(self, batches: Iterable[tuple[Header, Iterable[tuple[int, str, str]]]]) -> None:
        """Keep lines (number, text, reason) of batches; on disk when this returns. A batch may come again."""
        now_ns = time.time_ns()
        with self._lock, transaction(self._db, self._path, "book"):
            for h, lines in batches:
                self._db.executemany(
                    "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        (h.site, h.gateway, h.spool, h.batch, number, text, reason, now_ns)
                        for number, text, reason in lines
                    ],
                )

    def refused(self, site: str | None = None, gateway: str | None = None) -> list[Refused]:
        """Refused rows, oldest batch first."""
        with self._lock, explained(self._path, "book"):
            found = self._db.execute(
                "SELECT site, gateway, spool, batch, line, text, reason FROM refused"
                " WHERE (?1 IS NULL OR site = ?1) AND (?2 IS NULL OR gateway = ?2)"
                " ORDER BY site, gateway, seen_ns, batch, line",
                (site, gateway),
            ).fetchall()
        return [Refused(*row) for row in found]

    def forget_refused(self, rows: Iterable[Refused]) -> None:
        """Take rows out of the book: they are stored now, or given up."""
        with self._lock, transaction(self._db, self._path, "book"):
            self._db.executemany(
                "DELETE FROM refused WHERE site = ? AND gateway = ? AND spool = ? AND batch = ? AND line = ?",
                [(row.site, row.gateway, row.spool, row.batch, row.line) for row in rows],
            )

    def keep_refused(self, rows: Iterable[Refused]) -> None:
        """Rows that were refused once more: the reason of today counts."""
        with self._lock, transaction(self._db, self._path, "book"):
            self._db.executemany(
                "UPDATE refused SET reason = ?"
                " WHERE site = ? AND gateway = ? AND spool = ? AND batch = ? AND line = ?",
                [(row.reason, row.site, row.gateway, row.spool, row.batch, row.line) for row in rows],
            )

    def pin(self, types: Mapping[str, Mapping[str, FieldType]]) -> dict[str, dict[str, FieldType]]:
        """Keep types of fields that are new (kind -> field -> type); what was pinned before stays.

        For a database that does not keep a field's type itself. Returns all that is pinned.
        """
        with self._lock, transaction(self._db, self._path, "book"):
            self._db.executemany(
                "INSERT OR IGNORE INTO pinned VALUES (?, ?, ?)",
                [(kind, name, seen) for kind, fields in types.items() for name, seen in fields.items()],
            )
            pinned: dict[str, dict[str, FieldType]] = {}
            for kind, name, seen in self._db.execute("SELECT kind, field, type FROM pinned"):
                pinned.setdefault(kind, {})[name] = seen
        return pinned

    def write_journal(self, entries: Sequence[NewEntry], written_ns: int) -> list[Entry]:
        """Append entries, all or none; on disk when this returns.

        Raises: StoreError if one replaces an entry of another site, one that is not there or is replaced already.
        """
        written: list[Entry] = []
        with self._lock, transaction(self._db, self._path, "book"):
            known = self._journal()
            for new in entries:
                before = known[-1] if known else None
                self._check_replaced(new, known)
                entry = Entry((before.number if before else 0) + 1, *new.parts, written_ns, new.replaces, "")
                entry = dataclasses.replace(entry, digest=entry.sealed_after(before.digest if before else ""))
                row = [getattr(entry, part) for part in JOURNAL_COLUMNS]
                self._db.execute(f"INSERT INTO journal VALUES ({', '.join('?' * len(row))})", row)
                known.append(entry)
                written.append(entry)
        return written

    def journal(self, site: str | None = None) -> list[Entry]:
        """All entries (of one site), the first first, those that were replaced too.

        Raises: StoreError if an entry is not as it was written.
        """
        with self._lock, explained(self._path, "book"):
            found = self._journal()
        previous = ""
        for number, entry in enumerate(found, 1):
            if entry.number != number or entry.digest != entry.sealed_after(previous):
                raise StoreError(
                    f"book {self._path}: journal entry {entry.number} is not as it was written;"
                    " restore the book from a copy"
                )
            previous = entry.digest
        return [entry for entry in found if site in (None, entry.site)]

    def _journal(self) -> list[Entry]:
        rows = self._db.execute(f"SELECT {', '.join(JOURNAL_COLUMNS)} FROM journal ORDER BY number")
        return [Entry(*row) for row in rows.fetchall()]

    def _check_replaced(self, new: NewEntry, known: Sequence[Entry]) -> None:
        if new.replaces is None:
            return
        old = next((e for e in known if e.number == new.replaces and e.site == new.site), None)
        later = next((e.number for e in known if e.replaces == new.replaces), None)
        if old is None:
            raise StoreError(f"site {new.site!r} has no journal entry {new.replaces}; see `bollard journal list`")
        if later is not None:
            raise StoreError(f"journal entry {new.replaces} is replaced by {later} already; replace that one")

    def note_malformed(self, messages: Iterable[tuple[str, bytes, str]]) -> list[bool]:
        """Keep messages (topic, payload, reason) that cannot be read; True for each that is new.

        The same one again only counts. One transaction for all: whoever floods us with nonsense must not cost the
        others a sync of the disk with each message.
        """
        now_ns, new = time.time_ns(), []
        with self._lock, transaction(self._db, self._path, "book"):
            for topic, payload, reason in messages:
                key = topic, hashlib.sha256(payload).hexdigest()
                known = self._db.execute("SELECT 1 FROM malformed WHERE topic = ? AND digest = ?", key).fetchone()
                reason = reason.encode("utf-8", "backslashreplace").decode()  # it quotes what anyone may send
                self._db.execute(
                    "INSERT INTO malformed VALUES (?, ?, ?, ?, ?, ?, 1)"
                    " ON CONFLICT DO UPDATE SET times = times + 1, last_seen_ns = excluded.last_seen_ns",
                    (*key, reason, payload[:MALFORMED_BYTES], now_ns, now_ns),
                )
                new.append(known is None)
            self._db.execute(
                "DELETE FROM malformed WHERE (topic, digest) IN"
                " (SELECT topic, digest FROM malformed ORDER BY last_seen_ns DESC LIMIT -1 OFFSET ?)",
                (MALFORMED_KEPT,),
            )
        return new

    def malformed(self) -> list[Malformed]:
        """Unreadable messages, the latest last."""
        with self._lock, explained(self._path, "book"):
            found = self._db.execute(
                "SELECT topic, reason, payload, times FROM malformed ORDER BY last_seen_ns"
            ).fetchall()
        return [Malformed(*row) for row in found]

    def file_report(self, issue: Filed) -> bool:
        """Register an issue; True if it is new. The same one made again keeps its first time."""
        values = tuple(getattr(issue, name) for name in Filed.__slots__)
        with self._lock, transaction(self._db, self._path, "book"):
            marks = ", ".join("?" * len(values))
            return self._db.execute(f"INSERT OR IGNORE INTO filed VALUES ({marks})", values).rowcount > 0

    def filed(self, site: str, month: str) -> list[Filed]:
        """Issues of a month's report, the earliest first."""
        with self._lock, explained(self._path, "book"):
            found = self._db.execute(
                f"SELECT {', '.join(Filed.__slots__)} FROM filed WHERE site = ? AND month = ?"
                " ORDER BY filed_ns, status, rows_sha256, figures_sha256, software",
                (site, month),
            ).fetchall()
        return [Filed(*row) for row in found]

    def add(self, counts: Mapping[str, int]) -> None:
        """Add to the counters, which outlive the process."""
        with self._lock, transaction(self._db, self._path, "book"):
            self._db.executemany(
                "INSERT INTO counter VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
                [(name, count) for name, count in counts.items() if count],
            )

    def counters(self) -> dict[str, int]:
        with self._lock, explained(self._path, "book"):
            return dict(self._db.execute("SELECT name, value FROM counter ORDER BY name").fetchall())
