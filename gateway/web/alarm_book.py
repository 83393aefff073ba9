"""The alarms' journal in the book: append-only, numbered, read again at the start."""

import json
from collections.abc import Sequence

from gateway.book import Book
from gateway.web.alarms import Entry

_COLUMNS = "t_ns, site, device, code, point, action, who, comment, until_ns, event, uncertain_ns"


class AlarmBook:
    """Writes entries and reads them back. Methods may be called from any thread. Raises: StoreError."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def append(self, entries: Sequence[Entry]) -> None:
        """On disk when this returns."""
        rows = [(e.t_ns, *e.key, e.action, e.who, e.comment, e.until_ns, e.event, e.uncertain_ns) for e in entries]
        with self._book.writing() as db:
            db.executemany(f"INSERT INTO alarm ({_COLUMNS}) VALUES ({', '.join('?' * 11)})", rows)

    def entries(
        self,
        site: str | None = None,
        device: str | None = None,
        most: int | None = None,
        sites: Sequence[str] = (),
    ) -> list[Entry]:
        """Entries in the order in which they were written (the `most` newest, if given), of `sites` if any."""
        with self._book.reading() as db:
            found = db.execute(
                f"SELECT number, {_COLUMNS} FROM alarm"
                " WHERE (?1 IS NULL OR site = ?1) AND (?2 IS NULL OR device = ?2)"
                " AND (?4 = '[]' OR site IN (SELECT value FROM json_each(?4))) ORDER BY number DESC LIMIT ?3",
                (site, device, -1 if most is None else most, json.dumps(list(sites))),
            ).fetchall()
        return [
            Entry(t_ns, (site_, device_, code, point), action, who, comment, until_ns, event, number, uncertain_ns)
            for number, t_ns, site_, device_, code, point, action, who, comment, until_ns, event, uncertain_ns
            in reversed(found)
        ]  # fmt: skip
