"""Rows of one kind as CSV, for a spreadsheet or an auditor. Column names carry their units."""

import csv
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from edge.wire import COMPUTED, EVERY_ROW, TAGS, Catalogue, FieldType
from gateway.store.base import UNKNOWN, Columns, Store

DAY_NS = 86_400 * 1_000_000_000
TAG_COLUMNS = tuple(tag for tag in TAGS if tag != "rev")  # the revision has a column of its own


def fields_of(kind: str, catalogues: Sequence[Catalogue]) -> dict[str, FieldType]:
    """Every field that rows of this kind may have, by the contract or by the catalogues; empty: no such kind."""
    if kind in COMPUTED:
        return dict(COMPUTED[kind])
    found: dict[str, FieldType] = {}
    for catalogue in catalogues:
        for (of_kind, _), fields in catalogue.field_types().items():
            if of_kind == kind:
                found |= {name: type_ for name, type_ in fields.items() if name not in EVERY_ROW}
    return found | EVERY_ROW if found else {}


def write_csv(
    store: Store, site: str, kind: str, device: str | None, fields: dict[str, FieldType],
    start_ns: int, stop_ns: int, path: Path,
) -> int:  # fmt: skip
    """Write rows with start <= t < stop; the file appears under its name only when it is whole.

    The first columns are `time_utc` and `t_ns`, then tags, `rev` (the highest of a row) and fields. An empty
    cell is an unknown value. Read a day at a time, so that a month of raw rows needs little memory.

    Returns: rows written. Raises: OSError, StoreError.
    """
    part = path.with_name(path.name + ".part")
    count = 0
    with part.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["time_utc", "t_ns", *TAG_COLUMNS, "rev", *fields])
        for day_ns in range(start_ns, stop_ns, DAY_NS):
            rows = store.columns(kind, device, list(fields), day_ns, min(day_ns + DAY_NS, stop_ns), site=site)
            out.writerows(_lines(rows, fields))
            count += len(rows)
    os.replace(part, path)
    return count


def instant_ns(text: str, timezone: str) -> int:
    """A date or an ISO time as ns since 1970; without offset it is local. Raises: ValueError."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        at = at.replace(tzinfo=ZoneInfo(timezone))
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _lines(rows: Columns, fields: dict[str, FieldType]) -> Iterator[Sequence[object]]:
    times = [_iso(int(t)) for t in rows.t_ns]
    nothing = [""] * len(rows)
    tags = [rows.tags[tag].tolist() if tag in rows.tags else nothing for tag in TAG_COLUMNS]
    columns = [_cells(rows, name, type_) for name, type_ in fields.items()]
    return zip(times, rows.t_ns.tolist(), *tags, rows.rev.tolist(), *columns, strict=True)


def _cells(rows: Columns, name: str, type_: FieldType) -> list[object]:
    if type_ == "str":
        return ["" if value is None else value for value in rows.text[name]]
    if type_ == "int":
        return ["" if value == UNKNOWN else value for value in rows.whole(name).tolist()]
    return ["" if value != value else repr(value) for value in rows[name].tolist()]


def _iso(t_ns: int) -> str:
    seconds, ns = divmod(t_ns, 1_000_000_000)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ns:09d}".rstrip("0").rstrip(".") + "Z"
