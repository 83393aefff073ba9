"""The embedded store: one SQLite file, a typed table per kind, a row per series and instant."""

import re
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.wire import REVISED, TAGS, FieldType, RowLine, Value, lane_of
from gateway.sqlitefile import explained, open_file, transaction
from gateway.store.base import (
    FIRST_NS,
    MAX_FIELDS,
    UNKNOWN,
    Array,
    Columns,
    Piece,
    Series,
    TypeMemory,
    Types,
    cannot_be_stored,
    clash,
    join,
    type_of,
)

APPLICATION_ID = 0x626F_6C73  # "bols"
VERSION = 1
SCHEMA = f"""
CREATE TABLE series (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, {", ".join(f"{tag} TEXT NOT NULL" for tag in TAGS)},
  UNIQUE (kind, {", ".join(TAGS)})
) STRICT;
"""
# Rows of kind k are in table rows_k. Its key is (@series, @t_ns): names that no field can have.
KEY = '"@series", "@t_ns"'
SQL_TYPE: dict[FieldType, str] = {"int": "INTEGER", "float": "REAL", "str": "TEXT"}
DTYPE = {"int": np.dtype(np.int64), "float": np.dtype(np.float64), "str": np.dtype(object)}
READ = {"int": f"ifnull({{}}, {UNKNOWN})", "float": "{}", "str": "nullif({}, '')"}
ROWS_AT_ONCE = 1024
PRUNED_AT_ONCE = 5000  # some 20 ms
LAST_DAY_NS = 86_400_000_000_000
KEPT_LANES = ("minutes", "events")
WIRE_TYPE: dict[str, FieldType] = {sql: wire for wire, sql in SQL_TYPE.items()}


class SqliteStore:
    """Rows in one file. Other processes may read it meanwhile.

    Raises: StoreError if the file is not ours, damaged, newer than this code, or cannot be written.
    """

    def __init__(self, path: Path, create: bool = True) -> None:
        self._path = path
        self._db = open_file(path, "store", APPLICATION_ID, VERSION, SCHEMA, create)
        self._reader = open_file(path, "store", APPLICATION_ID, VERSION, SCHEMA, create=False)
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._forget()

    def close(self) -> None:
        with self._writing, self._reading:
            self._db.close()
            self._reader.close()

    def pattern(self, row: RowLine, types: Types) -> re.Pattern[str] | None:
        return None  # it needs each value

    def write(self, rows: Sequence[RowLine | str], types: Types) -> list[tuple[int, str]]:
        refused: list[tuple[int, str]] = []
        groups: dict[tuple[str, tuple[str, ...]], list[tuple[Value, ...]]] = {}
        keys: set[tuple[int, int]] = set()
        with self._writing:
            try:
                with transaction(self._db, self._path, "store"):
                    for i, row in enumerate(rows):
                        if isinstance(row, str):
                            raise TypeError("this store has no pattern that a text could match")
                        problem = cannot_be_stored(row, types) or self._make_room(row)
                        if problem is not None:
                            refused.append((i, problem))
                            continue
                        key = (self._series_id(row), row.t_ns)
                        if key in keys:  # once more in this call: the later one comes out on top
                            self._flush(groups)
                            keys.clear()
                        keys.add(key)
                        values = (*key, *row.fields.values())
                        groups.setdefault((row.kind, tuple(row.fields)), []).append(values)
                    self._flush(groups)
            except BaseException:
                self._forget()  # what was added to the caches was rolled back
                raise
        return refused

    def columns(
        self, kind: str, device: str | None, fields: Sequence[str], start_ns: int, stop_ns: int,
        site: str | None = None, *, gateway: str | None = None, all_revisions: bool = False,
    ) -> Columns:  # fmt: skip
        with self._reading, explained(self._path, "store"):
            held = _columns_of(self._reader, kind)
            known = [name for name in fields if name in held]
            asked = {"kind": kind, "device": device, "site": site, "gateway": gateway}
            wanted = {name: value for name, value in asked.items() if value is not None}
            where = " AND ".join(f"{name} = :{name}" for name in wanted)
            series = self._reader.execute(f"SELECT id, {', '.join(TAGS)} FROM series WHERE {where}", wanted)
            pieces = [
                self._piece(kind, number, dict(zip(TAGS, tags, strict=True)), known, held, start_ns, stop_ns)
                for number, *tags in series.fetchall()
                if held
            ]
        return join(kind, fields, pieces, all_revisions)

    def series(self, counted: bool = True) -> list[Series]:
        found = []
        rows_of = "count(*)" if counted else "0"
        with self._reading, explained(self._path, "store"):
            for (kind,) in self._reader.execute("SELECT DISTINCT kind FROM series").fetchall():
                looked_up = ", ".join(  # three look-ups, not a walk over all columns
                    f'(SELECT {what} FROM {_table(kind)} WHERE "@series" = id)'
                    for what in ('min("@t_ns")', 'max("@t_ns")', rows_of)
                )
                there = self._reader.execute(
                    f"SELECT {looked_up}, {', '.join(TAGS)} FROM series WHERE kind = ?", (kind,)
                ).fetchall()
                for first_ns, last_ns, rows, *tags in there:
                    if first_ns is None:
                        continue  # all of it was pruned
                    known = {tag: value for tag, value in zip(TAGS, tags, strict=True) if value}
                    found.append(Series(kind, known, first_ns, last_ns, rows))
        return sorted(found, key=lambda s: (s.kind, [s.tags.get(tag, "") for tag in TAGS]))

    def count(self, site: str, gateway: str) -> int:
        rows = 0
        with self._reading, explained(self._path, "store"):
            kinds = self._reader.execute(
                "SELECT DISTINCT kind FROM series WHERE site = ? AND gateway = ?", (site, gateway)
            )
            for (kind,) in kinds.fetchall():
                found = self._reader.execute(
                    f'SELECT count(*) FROM {_table(kind)} WHERE "@series" IN'
                    " (SELECT id FROM series WHERE kind = ? AND site = ? AND gateway = ?)",
                    (kind, site, gateway),
                )
                rows += found.fetchone()[0]
        return rows

    def remember_types(self, memory: TypeMemory) -> None:
        """Its tables have typed columns."""

    def prune(self, before_ns: int) -> int:
        with self._reading, explained(self._path, "store"):
            found = self._reader.execute("SELECT id, kind FROM series").fetchall()
        raw = [(number, kind) for number, kind in found if lane_of(kind) not in KEPT_LANES]
        return sum(self._prune_series(number, _table(kind), before_ns) for number, kind in raw)

    def _prune_series(self, number: int, table: str, before_ns: int) -> int:
        """In slices, each its own transaction: ingest writes in between. Freed pages are used again."""
        removed = 0
        while True:
            with self._writing, transaction(self._db, self._path, "store"):
                gone = self._db.execute(
                    f'DELETE FROM {table} WHERE "@series" = ?1 AND "@t_ns" <= (SELECT max("@t_ns") FROM ('
                    f'SELECT "@t_ns" FROM {table} WHERE "@series" = ?1'
                    f' AND "@t_ns" < min(?2, (SELECT max("@t_ns") FROM {table} WHERE "@series" = ?1) - ?3)'
                    f' ORDER BY "@t_ns" LIMIT ?4))',
                    (number, before_ns, LAST_DAY_NS, PRUNED_AT_ONCE),
                ).rowcount
            removed += gone
            if gone < PRUNED_AT_ONCE:
                return removed

    def _piece(
        self, kind: str, number: int, tags: Mapping[str, str], names: Sequence[str],
        held: Mapping[str, FieldType], start_ns: int, stop_ns: int,
    ) -> Piece:  # fmt: skip
        some = "1" if kind in REVISED else " OR ".join([f"{_quoted(name)} IS NOT NULL" for name in names] or ["0"])
        rest = (
            f' FROM {_table(kind)} WHERE "@series" = ? AND "@t_ns" >= ? AND "@t_ns" < ? AND ({some})'
            ' ORDER BY "@t_ns"'
        )
        columns = [_quoted(name) for name in ("@t_ns", *names)]
        wanted = [columns[0], *(READ[held[n]].format(c) for n, c in zip(names, columns[1:], strict=True))]
        asked = (number, max(start_ns, FIRST_NS), min(stop_ns, 2**63 - 1))
        cursor = self._reader.execute(f"SELECT {', '.join(wanted)}{rest}", asked)
        dtypes = [np.dtype(np.int64), *(DTYPE[held[name]] for name in names)]
        parts: list[list[Array]] = [[np.empty(0, dtype)] for dtype in dtypes]
        while rows := cursor.fetchmany(ROWS_AT_ONCE):  # a month need not stand in memory as Python objects
            if len(rows) == ROWS_AT_ONCE and object not in dtypes:
                cursor.close()
                parts = self._stepped(f"SELECT {', '.join(columns)}{rest}", asked, dtypes)
                break
            for part, column, dtype in zip(parts, zip(*rows, strict=True), dtypes, strict=True):
                part.append(np.array(column, dtype))
        t_ns, *fields = (np.concatenate(part) for part in parts)
        return Piece(tags, t_ns, dict(zip(names, fields, strict=True)))

    def _stepped(
        self, query: str, asked: tuple[int, int, int], dtypes: Sequence[np.dtype[Any]]
    ) -> list[list[Array]]:
        """A long answer of numbers: worth loading the compiler for, some six times as fast."""
        from gateway.store.stepper import read_columns

        return [[column] for column in read_columns(self._path, query, asked, [d.kind == "f" for d in dtypes])]

    def _flush(self, groups: dict[tuple[str, tuple[str, ...]], list[tuple[Value, ...]]]) -> None:
        for (kind, names), group in groups.items():
            self._db.executemany(_upsert(kind, names), group)
        groups.clear()

    def _forget(self) -> None:
        self._series: dict[tuple[str, ...], int] = {}
        self._held: dict[str, dict[str, FieldType]] = {}

    def _series_id(self, row: RowLine) -> int:
        key = (row.kind, *(row.tags.get(tag, "") for tag in TAGS))
        number = self._series.get(key)
        if number is None:
            marks = ", ".join("?" * len(key))
            self._db.execute(f"INSERT OR IGNORE INTO series (kind, {', '.join(TAGS)}) VALUES ({marks})", key)
            where = " AND ".join(f"{name} = ?" for name in ("kind", *TAGS))
            number = int(self._db.execute(f"SELECT id FROM series WHERE {where}", key).fetchone()[0])
            self._series[key] = number
        return number

    def _make_room(self, row: RowLine) -> str | None:
        """See that table and columns are there. Returns why the row does not fit them, or None."""
        held = self._held.get(row.kind)
        if held is None or not held.keys() >= row.fields.keys():
            held = self._held[row.kind] = self._add_columns(row)
        for name, value in row.fields.items():
            if name not in held:
                return f"field {name!r} would be number {len(held) + 1} of {row.kind}, a store takes {MAX_FIELDS}"
            if type_of(value) != held[name]:
                return clash(row.kind, name, type_of(value), held[name])
        return None

    def _add_columns(self, row: RowLine) -> dict[str, FieldType]:
        table = _table(row.kind)
        held = _columns_of(self._db, row.kind)  # afresh: another worker may have added some
        if not held:
            self._db.execute(
                f'CREATE TABLE IF NOT EXISTS {table} ("@series" INTEGER NOT NULL, "@t_ns" INTEGER NOT NULL,'
                f" PRIMARY KEY ({KEY})) STRICT, WITHOUT ROWID"
            )
        for name, value in row.fields.items():
            if name not in held and len(held) < MAX_FIELDS:
                held[name] = type_of(value)
                self._db.execute(f"ALTER TABLE {table} ADD COLUMN {_quoted(name)} {SQL_TYPE[held[name]]}")
        return held


def _columns_of(db: sqlite3.Connection, kind: str) -> dict[str, FieldType]:
    """Fields of a kind and their types; empty if the store has none of it."""
    found = db.execute("SELECT name, type FROM pragma_table_info(?)", (f"rows_{kind}",))
    return {name: WIRE_TYPE[sql] for name, sql in found if not name.startswith("@")}


def _upsert(kind: str, names: Sequence[str]) -> str:
    columns = ", ".join(_quoted(name) for name in names)
    changes = ", ".join(f"{_quoted(name)} = excluded.{_quoted(name)}" for name in names)
    marks = ", ".join("?" * (len(names) + 2))
    return (
        f"INSERT INTO {_table(kind)} ({KEY}, {columns}) VALUES ({marks})"
        f" ON CONFLICT ({KEY}) DO UPDATE SET {changes}"
    )


def _table(kind: str) -> str:
    return _quoted(f"rows_{kind}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
