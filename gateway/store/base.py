"""What every store offers: rows in, columns out. Backends differ in how, never in what comes back."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.wire import NAME, REVISED, TAGS, FieldType, RowLine, problem_with

Types = Mapping[tuple[str, str], Mapping[str, FieldType]]  # from Catalogue.field_types
Array = NDArray[Any]  # int64, float64 or object
UNKNOWN = -(2**63)  # stands for "unknown" in an int64 array
FIRST_NS, LAST_NS = -(2**63) + 2, 2**63 - 3  # times that both backends hold, and can be asked for
MAX_FIELDS = 1000  # of one kind; a catalogue that names more is broken


@dataclass(frozen=True, slots=True)
class Series:
    """Rows of one kind that share all their tags."""

    kind: str
    tags: Mapping[str, str]
    first_ns: int
    last_ns: int
    rows: int


class Columns:
    """Rows of one kind as arrays, ordered by time, then by tags.

    `columns[name]` is a number per row, float64[n], NaN where unknown, integers exact to 2^53;
    `columns.whole(name)` is int64[n] for integers beyond that (times), `UNKNOWN` where unknown;
    `columns.text[name]` is an object array of a text field (None where unknown) or of a tag ("" where the
    row has none). A text field that was asked for hides the tag of the same name; `columns.tags` does not.

    Attributes:
        t_ns: Time of each row. int64[n] [ns, UTC]
        rev: Revision of each row, 0 for kinds without. int64[n]
    """

    def __init__(self, t_ns: Array, rev: Array, tags: Mapping[str, Array], fields: Mapping[str, Array]) -> None:
        self.t_ns: NDArray[np.int64] = t_ns
        self.rev: NDArray[np.int64] = rev
        self.tags = tags
        nothing = np.full(len(t_ns), None, object)
        texts = {name: column for name, column in fields.items() if column.dtype == object}
        self.text: Mapping[str, Array] = dict.fromkeys(fields, nothing) | dict(tags) | texts
        self._fields = fields

    def __len__(self) -> int:
        return len(self.t_ns)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        column = self._fields[name]
        if column.dtype == object:
            return np.full(len(self), np.nan)
        return as_float(column)

    def whole(self, name: str) -> NDArray[np.int64]:
        column = self._fields[name]
        if column.dtype == np.int64:
            return column
        whole = np.full(len(self), UNKNOWN, np.int64)
        if column.dtype == np.float64:
            known = np.isfinite(column)
            whole[known] = column[known].astype(np.int64)
        return whole


class TypeMemory(Protocol):
    """Keeps the type of each field for ever: the book."""

    def pin(self, types: Mapping[str, Mapping[str, FieldType]]) -> dict[str, dict[str, FieldType]]:
        """Keep what is new, return all that is kept: kind -> field -> type."""


class Store(Protocol):
    """Where rows are kept. Methods may be called from any thread."""

    def pattern(self, row: RowLine, types: Types) -> re.Pattern[str] | None:
        """What the rest of a line may look like that begins as this good row's, up to its first blank.

        A line that matches may be given to `write` as text. None: this store, or this row, has no such way.
        """

    def write(self, rows: Sequence[RowLine | str], types: Types) -> list[tuple[int, str]]:
        """Make rows durable; when this returns, all but the refused ones are on disk.

        A row whose kind, tags and time are already there overwrites the fields it names, so writing twice
        is harmless.

        Args:
            rows: Rows of one gateway; text where it matches the `pattern` of its series.
            types: What that gateway's catalogue says about its fields.

        Returns: position and reason of each row that cannot be stored, now or later; in order of position.
        Raises: StoreUnavailable if nothing is certain and the same call should be made again; StoreError.
        """

    def columns(
        self, kind: str, device: str | None, fields: Sequence[str], start_ns: int, stop_ns: int,
        site: str | None = None, *, gateway: str | None = None, all_revisions: bool = False,
    ) -> Columns:  # fmt: skip
        """Rows of one kind with `start_ns <= t < stop_ns`; None means any device, site or gateway.

        A row is returned if it knows one of the fields at least: a device's scan classes have their own rows.
        Ask for `q` too to see where a point was scanned and is unknown. Of a kind with revisions every row
        counts, and only the highest revision per site, gateway, device and time is returned, unless
        `all_revisions`. A field that the store has never seen is unknown throughout; so is an empty text.

        Raises: StoreUnavailable, StoreError.
        """

    def series(self, counted: bool = True) -> list[Series]:
        """Everything there is, ordered by kind and tags. Raises: StoreUnavailable, StoreError.

        Not `counted`: `rows` stay 0. To count millions of rows is to read them.
        """

    def count(self, site: str, gateway: str) -> int:
        """Rows held for a gateway, every revision counted. Raises: StoreUnavailable, StoreError."""

    def remember_types(self, memory: TypeMemory) -> None:
        """Before the first write, where a backend may not be able to tell the types of its fields."""

    def prune(self, before_ns: int) -> int:
        """Remove rows of the lanes live and detail older than that; minutes, calls and events never go.

        How many went; 0 where the database does it by itself (a bucket's retention). Never the last day of
        rows: a clock that is wrong must not empty a store. Raises: StoreUnavailable, StoreError.
        """

    def close(self) -> None: ...


def cannot_be_stored(row: RowLine, types: Types) -> str | None:
    """Why no backend can take this row, or None. Backends add what only they know."""
    problem = problem_with(row, types)
    if problem is not None:
        return problem
    if not FIRST_NS <= row.t_ns <= LAST_NS:
        return f"time {row.t_ns} ns is not within {FIRST_NS}..{LAST_NS}"
    for name, value in row.fields.items():
        if isinstance(value, int):
            if not UNKNOWN < value < 2**63:
                return f"field {name!r} = {value} does not fit into 64 bits"
        elif isinstance(value, float) and not math.isfinite(value):
            return f"field {name!r} = {value} is not a finite number; leave unknown fields out"
    names = (row.kind, *row.fields, *row.tags.values())
    bad = next((name for name in names if NAME.fullmatch(name) is None), None)
    return None if bad is None else f"name {bad!r} does not match [a-z0-9_-]+"


def type_of(value: int | float | str) -> FieldType:
    return "str" if isinstance(value, str) else "int" if isinstance(value, int) else "float"


def clash(kind: str, name: str, seen: FieldType, held: str) -> str:
    """The reason for refusing a row whose field has another type than the store's."""
    return f"field {name!r} of {kind} is {seen}, this store holds it as {held}; give the new quantity a new name"


def as_float(column: Array) -> NDArray[np.float64]:
    if column.dtype == np.float64:
        return column
    values = column.astype(np.float64)
    values[column == UNKNOWN] = np.nan
    return values


@dataclass(frozen=True, slots=True)
class Piece:
    """One series' part of an answer; `fields` has int64 (`UNKNOWN`), float64 (NaN) or object (None) arrays."""

    tags: Mapping[str, str]
    t_ns: Array
    fields: Mapping[str, Array]


def join(kind: str, fields: Sequence[str], pieces: Sequence[Piece], all_revisions: bool) -> Columns:
    """Put the series of an answer together: one order, one type per field, the highest revision."""
    pieces = sorted((p for p in pieces if len(p.t_ns)), key=lambda p: [p.tags.get(tag, "") for tag in TAGS])
    sizes = [len(piece.t_ns) for piece in pieces]
    t_ns = np.concatenate([p.t_ns for p in pieces]) if pieces else np.empty(0, np.int64)
    rev = np.repeat(np.array([int(p.tags.get("rev") or 0) for p in pieces], np.int64), sizes)
    kept = _order(kind, pieces, sizes, t_ns, rev, all_revisions)
    tags = {
        tag: np.repeat(np.array([p.tags.get(tag, "") for p in pieces], object), sizes)[kept]
        for tag in TAGS
        if any(piece.tags.get(tag) for piece in pieces)
    }
    return Columns(t_ns[kept], rev[kept], tags, {name: _column(name, pieces, sizes)[kept] for name in fields})


def _order(
    kind: str, pieces: Sequence[Piece], sizes: Sequence[int], t_ns: Array, rev: Array, all_revisions: bool
) -> NDArray[np.intp] | slice:
    """Positions of the rows to return, in order of time, then tags."""
    if len(pieces) == 1 and (t_ns[1:] >= t_ns[:-1]).all():
        return slice(None)  # as it came: no column need be copied
    rank = np.repeat(np.arange(len(pieces)), sizes)
    if kind not in REVISED or all_revisions or (rev == rev[:1]).all():
        return np.lexsort((rank, t_ns))
    owners: dict[tuple[str, ...], int] = {}  # a revision may correct the vessel, not whose row it is
    who = [
        owners.setdefault(tuple(p.tags.get(tag, "") for tag in ("site", "gateway", "device")), len(owners))
        for p in pieces
    ]
    owner = np.repeat(np.array(who), sizes)
    by_row = np.lexsort((rev, owner, t_ns))
    last = np.ones(len(by_row), bool)
    same = (t_ns[by_row][1:] == t_ns[by_row][:-1]) & (owner[by_row][1:] == owner[by_row][:-1])
    last[:-1] = ~same
    kept = by_row[last]
    return kept[np.lexsort((rank[kept], t_ns[kept]))]


def _column(name: str, pieces: Sequence[Piece], sizes: Sequence[int]) -> Array:
    dtypes = {piece.fields[name].dtype.kind for piece in pieces if name in piece.fields}
    dtype = np.dtype(object if "O" in dtypes else np.int64 if dtypes == {"i"} else np.float64)
    missing: Any = {"O": None, "i": UNKNOWN, "f": np.nan}[dtype.kind]
    parts = []
    for piece, size in zip(pieces, sizes, strict=True):
        part = piece.fields.get(name)
        if part is None:
            part = np.full(size, missing, dtype)
        parts.append(as_float(part) if dtype.kind == "f" else part)
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, dtype)
