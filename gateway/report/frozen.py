"""What a report was reckoned from, hashed as it is read; and, frozen, a store that gives the same rows again.

A `Recorder` stands before a store and notes every answer: a digest per column, and with an archive the columns
themselves. The archive is a zip of NumPy columns (`.npy`) and JSON, legible without bollard:

    index.json                         site, series, book, and one entry per answer with its digests
    0000-energy_1m-meter_1/t_ns.npy    and so on: one file per column; texts and tags as JSON

Integers are int64 (-2^63: unknown), other numbers float64 (NaN: unknown).
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edge.wire import COMPUTED, EVERY_ROW, Catalogue, FieldType, decode_catalogue
from gateway.book import Book
from gateway.journal import Entry
from gateway.report.errors import WrongInput
from gateway.report.options import Options
from gateway.store.base import Array, Columns, Series, Store

VERSION = 1
STAMP = (1980, 1, 1, 0, 0, 0)  # the first moment a zip can name: archives carry no time of their own
INDEX = "index.json"


@dataclass(frozen=True)
class Answer:
    """A question to the store and the digests of what it answered. `columns`: SHA-256 by column."""

    kind: str
    device: str | None
    fields: tuple[str, ...]
    start_ns: int
    stop_ns: int
    site: str | None
    gateway: str | None
    all_revisions: bool
    rows: int = field(compare=False)
    columns: Mapping[str, str] = field(compare=False)

    def __str__(self) -> str:
        return f"{self.kind} of {self.device or 'every device'}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(encoded(dict(self.columns))).hexdigest()


def report_stem(site: str, month: str) -> str:
    """What the names of a month's files begin with."""
    return f"report-{site}-{month}"


def rows_hash(answers: Sequence[Answer]) -> str:
    """One hash for all rows. An answer without rows says nothing: a device that came later changes no month."""
    found = [[a.kind, a.device, a.start_ns, a.stop_ns, a.sha256] for a in answers if a.rows]
    return hashlib.sha256(encoded(found)).hexdigest()


class Recorder:
    """A store for reading, and a book, that keep what they were asked and what they said."""

    def __init__(
        self, store: Store, book: Book, site: str, month: str, options: Options, archive: "Archive | None" = None
    ) -> None:
        self._store, self._book, self._archive = store, book, archive
        self.options = options
        self._site, self._month = site, month
        self.answers: list[Answer] = []
        self._series: list[Series] | None = None
        self._catalogues: list[Catalogue] | None = None
        self._journal: list[Entry] = []

    def columns(
        self, kind: str, device: str | None, fields: Sequence[str], start_ns: int, stop_ns: int,
        site: str | None = None, *, gateway: str | None = None, all_revisions: bool = False,
    ) -> Columns:  # fmt: skip
        rows = self._store.columns(
            kind, device, fields, start_ns, stop_ns, site, gateway=gateway, all_revisions=all_revisions
        )
        parts = canonical(kind, fields, rows)
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
        answer = Answer(
            kind, device, tuple(fields), start_ns, stop_ns, site, gateway, all_revisions, len(rows), digests
        )
        if answer not in self.answers:
            if self._archive is not None:
                self._archive.add(f"{len(self.answers):04d}-{kind}-{device or 'all'}", parts)
            self.answers.append(answer)
        return rows

    def series(self, counted: bool = False) -> list[Series]:
        """Of the site alone: what other sites send must not change a frozen report."""
        if self._series is None:
            self._series = [s for s in self._store.series(counted) if s.tags.get("site") == self._site]
        return self._series or self._store.series(counted)  # of other sites only to name them in an error

    def catalogues(self, site: str | None = None) -> list[Catalogue]:
        self._catalogues = self._book.catalogues(site)
        return self._catalogues

    def journal(self, site: str | None = None) -> list[Entry]:
        self._journal = self._book.journal(site)
        return self._journal

    @property
    def journal_digest(self) -> str:
        """Of the last entry read: each entry's covers those before it."""
        return self._journal[-1].digest if self._journal else ""

    def index(self) -> dict[str, Any]:
        """All that was read, without the rows themselves."""
        series = [
            [s.kind, dict(sorted(s.tags.items())), s.first_ns, s.last_ns, s.rows] for s in self._series or ()
        ]
        return {
            "version": VERSION,
            "site": self._site,
            "month": self._month,
            "series": series,
            "catalogues": [json.loads(c.encode()) for c in self._catalogues or ()],
            "options": asdict(self.options),
            "journal": [asdict(entry) for entry in self._journal],
            "answers": [asdict(answer) for answer in self.answers],
        }


class Archive:
    """The file that freezes rows, written while they are read. Same rows, same bytes."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)

    def add(self, folder: str, parts: Mapping[str, bytes]) -> None:
        for name, data in parts.items():
            self._write(f"{folder}/{name}", data)

    def close(self, index: Mapping[str, Any]) -> None:
        self._write(INDEX, encoded(index))
        self._zip.close()

    def _write(self, name: str, data: bytes) -> None:
        self._zip.writestr(zipfile.ZipInfo(name, STAMP), data, zipfile.ZIP_DEFLATED, 1)


class FrozenStore:
    """An archive as store and book: it answers what was asked when it was written.

    A later version of the report may ask in another way; then any answer that holds the kind, device and span
    serves, and a field that was not frozen is unknown.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
            self.raw: dict[str, Any] = json.loads(self._zip.read(INDEX))
        except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
            raise WrongInput(
                f"{path}: no file of frozen rows ({error}); give the one that `--final` wrote"
            ) from error
        if self.raw["version"] > VERSION:
            raise WrongInput(f"{path} has format {self.raw['version']}, this bollard knows up to {VERSION}")
        self.answers = [Answer(**{**a, "fields": tuple(a["fields"])}) for a in self.raw["answers"]]

    def columns(
        self, kind: str, device: str | None, fields: Sequence[str], start_ns: int, stop_ns: int,
        site: str | None = None, *, gateway: str | None = None, all_revisions: bool = False,
    ) -> Columns:  # fmt: skip
        asked = Answer(kind, device, tuple(fields), start_ns, stop_ns, site, gateway, all_revisions, 0, {})
        number = next((i for i, a in enumerate(self.answers) if a == asked), None)
        if number is None:
            number = self._nearest(asked)
        rows = self.read(number)
        inside = (rows.t_ns >= start_ns) & (rows.t_ns < stop_ns)
        tags = {name: column[inside] for name, column in rows.tags.items()}
        held = self.answers[number].fields
        found = {name: column_of(rows, kind, name)[inside] for name in fields if name in held}
        nothing = np.full(int(inside.sum()), np.nan)
        return Columns(rows.t_ns[inside], rows.rev[inside], tags, {n: found.get(n, nothing) for n in fields})

    def _nearest(self, asked: Answer) -> int:
        fitting = [
            i for i, a in enumerate(self.answers)
            if (a.kind, a.device, a.all_revisions) == (asked.kind, asked.device, asked.all_revisions)
        ]  # fmt: skip
        if not fitting:
            raise WrongInput(f"{self._path}: holds no {asked}; the report was made by a version that read none")

        def shared(i: int) -> tuple[int, int]:
            held = self.answers[i]
            span_ns = min(held.stop_ns, asked.stop_ns) - max(held.start_ns, asked.start_ns)
            return len(set(held.fields) & set(asked.fields)), span_ns

        return max(fitting, key=shared)

    def read(self, number: int) -> Columns:
        """The rows of one answer. Raises: WrongInput where a byte is not as it was written."""
        answer = self.answers[number]
        folder = f"{number:04d}-{answer.kind}-{answer.device or 'all'}"
        parts = {}
        for name, digest in answer.columns.items():
            try:
                parts[name] = self._zip.read(f"{folder}/{name}")
            except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
                raise WrongInput(f"{self._path}: {folder}/{name} cannot be read: {error}") from error
            if hashlib.sha256(parts[name]).hexdigest() != digest:
                raise WrongInput(f"{self._path}: {folder}/{name} is not what was frozen: its hash differs")
        return _columns(parts)

    @property
    def options(self) -> Options:
        return Options(**self.raw["options"])

    def series(self, counted: bool = False) -> list[Series]:
        return [Series(*series) for series in self.raw["series"]]

    def journal(self, site: str | None = None) -> list[Entry]:
        entries = [Entry(**entry) for entry in self.raw["journal"]]
        return [entry for entry in entries if site in (None, entry.site)]

    @property
    def journal_digest(self) -> str:
        return str(self.raw["journal"][-1]["digest"]) if self.raw["journal"] else ""

    def catalogues(self, site: str | None = None) -> list[Catalogue]:
        return [decode_catalogue(encoded(c)) for c in self.raw["catalogues"] if site in (None, c["site"])]


def encoded(data: Any) -> bytes:
    """JSON in one spelling."""
    return json.dumps(data, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def canonical(kind: str, fields: Sequence[str], rows: Columns) -> dict[str, bytes]:
    """Every column in one spelling, whatever store it comes from; the key is its file name."""
    parts = {"t_ns.npy": _npy(rows.t_ns), "rev.npy": _npy(rows.rev)}
    parts |= {f"tag_{name}.json": _texts(column) for name, column in sorted(rows.tags.items())}
    for name in sorted(fields):
        column = column_of(rows, kind, name)
        text = column.dtype == object
        parts[f"{name}.json" if text else f"{name}.npy"] = _texts(column) if text else _npy(column)
    return parts


def column_of(rows: Columns, kind: str, name: str) -> Array:
    """In the type that the contract gives the field; what devices offer themselves is read as numbers."""
    types: Mapping[str, FieldType] = COMPUTED.get(kind, {}) | EVERY_ROW
    type_ = types.get(name, "float")
    if type_ == "str":
        return rows.text[name]
    return rows.whole(name) if type_ == "int" else rows[name]


def _npy(column: Array) -> bytes:
    little = np.ascontiguousarray(column, column.dtype.newbyteorder("<"))
    if little.dtype.kind == "f":
        little = np.where(np.isnan(little), np.nan, little + 0.0)  # one NaN, one zero
    file = io.BytesIO()
    np.lib.format.write_array(file, little, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _texts(column: Array) -> bytes:
    """Runs of equal texts: [[text, count], …]."""
    if not len(column):
        return b"[]"
    texts = column.tolist()
    if texts.count(texts[0]) == len(texts):  # of a tag mostly; one look at each is all it takes
        return encoded([[texts[0], len(texts)]])
    edges = np.flatnonzero(np.concatenate(([True], column[1:] != column[:-1], [True])))
    return encoded([[column[a], int(b - a)] for a, b in pairwise(edges)])


def _columns(parts: Mapping[str, bytes]) -> Columns:
    columns: dict[str, Array] = {}
    for file, data in parts.items():
        name, _, ending = file.rpartition(".")
        if ending == "npy":
            columns[name] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        else:
            runs = json.loads(data)
            texts = np.array([text for text, _ in runs], object)
            columns[name] = np.repeat(texts, np.array([count for _, count in runs], np.int64))
    tags = {name.removeprefix("tag_"): columns.pop(name) for name in list(columns) if name.startswith("tag_")}
    return Columns(columns.pop("t_ns"), columns.pop("rev"), tags, columns)
