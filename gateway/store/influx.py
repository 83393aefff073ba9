"""The store of a port: InfluxDB 2, a bucket per lane. Rows go in as text, answers come back as CSV.

InfluxDB keeps a field's type per shard (a week), accepts another type in the next one, and then leaves one
of both out of answers without a word. So types are pinned here, by what the buckets hold already.
"""

import csv
import io
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import urllib3.exceptions
from influxdb_client import Dialect, InfluxDBClient
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.rest import ApiException

from edge.wire import COMPUTED, EVERY_ROW, REVISED, TAGS, FieldType, RowLine, lane_of
from gateway.errors import StoreError, StoreUnavailable
from gateway.store.base import (
    FIRST_NS,
    LAST_NS,
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
from gateway.store.pattern import pattern_of

TIMEOUT_MS = 30_000
LINES_AT_ONCE = 5000  # InfluxData's advice for one request
ROWS_AT_ONCE = 4096
OPENING = frozenset({400, 401, 403, 404, 422})  # a start with wrong settings is to end with a sentence
ASKING = frozenset({400, 422})  # our question is wrong
NEVER = frozenset[int]()  # what was right at the start may become so again: writing goes on
BUCKETS = {"events": "events", "minutes": "minutes", "live": "raw", "detail": "raw"}  # lane -> suffix
ORIGINAL = {f"{tag}_text": tag for tag in TAGS}  # Flux cannot pivot a field that has a tag's name
STORED = {tag: name for name, tag in ORIGINAL.items()}
WIRE_TYPE: dict[str, FieldType] = {"integer": "int", "float": "float", "string": "str"}  # InfluxQL's names
Line = tuple[int, str]  # position among the rows to write, line protocol


class InfluxStore:
    """Rows in the buckets NAME-raw, NAME-minutes and NAME-events.

    Raises: StoreError if the token, organisation or a bucket is wrong; StoreUnavailable if nobody answers.
    """

    def __init__(self, url: str, org: str, bucket: str, token: str, create: bool = True) -> None:
        self._where = f"store {url}, org {org}, buckets {bucket}-…"
        self._bucket = bucket
        self._client = InfluxDBClient(url, token, org=org, timeout=TIMEOUT_MS)
        self._queries = self._client.query_api()
        self._writing = threading.Lock()
        self._held: dict[str, dict[str, FieldType]] | None = None
        self._memory: TypeMemory | None = None
        try:
            with self._explained(OPENING):
                self._see_to_buckets(create)
        except BaseException:
            self._client.close()
            raise

    @classmethod
    def open(cls, address: str, token: str, create: bool) -> "InfluxStore":
        """From `http://HOST:8086?org=ORG&bucket=NAME`. Raises: StoreError, StoreUnavailable."""
        parts = urlsplit(address)
        options = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.scheme not in ("http", "https") or options.keys() != {"org", "bucket"}:
            raise StoreError(f"store influx:{address}: give influx:http://HOST:8086?org=ORG&bucket=NAME")
        if not token:
            raise StoreError(f"store influx:{address}: no token; set BOLLARD_INFLUX_TOKEN to an API token")
        return cls(f"{parts.scheme}://{parts.netloc}", options["org"], options["bucket"], token, create)

    def close(self) -> None:
        self._client.close()

    def pattern(self, row: RowLine, types: Types) -> re.Pattern[str] | None:
        held = (self._held or {}).get(row.kind)
        if held is None or cannot_be_stored(row, types) is not None or row.kind == "":
            return None
        own = COMPUTED.get(row.kind) or types[row.kind, row.tags.get("device", "")]
        return pattern_of({**own, **EVERY_ROW}, held)

    def write(self, rows: Sequence[RowLine | str], types: Types) -> list[tuple[int, str]]:
        refused: list[tuple[int, str]] = []
        lines: dict[str, list[Line]] = {}
        ways: dict[str, list[Line]] = {}  # kind -> the lines of its bucket
        with self._writing:
            try:
                with self._explained(NEVER):
                    held = self._types_held()
                    problems = [None if isinstance(row, str) else cannot_be_stored(row, types) for row in rows]
                    read = zip(rows, problems, strict=True)
                    self._pin_new([r for r, bad in read if bad is None and not isinstance(r, str)], held)
                    for i, row in enumerate(rows):  # in order: of the same instant, the later one counts
                        if isinstance(row, str):
                            kind = row[: row.index(",")]
                            if kind not in ways:
                                ways[kind] = lines.setdefault(self._bucket_of(kind), [])
                            ways[kind].append((i, row))
                            continue
                        problem = problems[i] or _misfit(row, held)
                        if problem is None:
                            lines.setdefault(self._bucket_of(row.kind), []).append((i, _line(row)))
                        else:
                            refused.append((i, problem))
                    for bucket, all_of_it in lines.items():
                        for k in range(0, len(all_of_it), LINES_AT_ONCE):
                            refused += self._send(bucket, all_of_it[k : k + LINES_AT_ONCE])
            except BaseException:
                self._held = None  # what was pinned may not have been written
                raise
        return sorted(refused)

    def columns(
        self, kind: str, device: str | None, fields: Sequence[str], start_ns: int, stop_ns: int,
        site: str | None = None, *, gateway: str | None = None, all_revisions: bool = False,
    ) -> Columns:  # fmt: skip
        if stop_ns <= start_ns:  # Flux would take it for an error
            return join(kind, fields, (), all_revisions)
        asked = {"_measurement": kind, "device": device, "site": site, "gateway": gateway}
        tests = " and ".join(f"r.{key} == {_text(value)}" for key, value in asked.items() if value is not None)
        script = f"from(bucket: {_text(self._bucket_of(kind))}) |> {_range(start_ns, stop_ns)}"
        script += f" |> filter(fn: (r) => {tests})"
        if kind not in REVISED:  # there a row counts even if it knows none of the fields that were asked for
            names = " or ".join(f"r._field == {_text(STORED.get(name, name))}" for name in fields)
            script += f" |> filter(fn: (r) => {names or 'false'})"
        script += ' |> drop(columns: ["_start", "_stop", "_measurement"])'
        script += ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
        pieces = []
        for table in self._tables(script):
            tags = {tag: table.columns[tag][0] or "" for tag in TAGS if tag in table.columns}
            known = {n: table.columns[s] for n in fields if (s := STORED.get(n, n)) in table.columns}
            pieces.append(Piece(tags, table.columns["_time"], known))
        return join(kind, fields, pieces, all_revisions)

    def series(self, counted: bool = True) -> list[Series]:
        found: dict[tuple[str, ...], dict[str, int]] = {}
        asked = f"instants{_COUNT}{_ENDS}" if counted else _ENDS
        for suffix in dict.fromkeys(BUCKETS.values()):
            for table in self._tables(_instants(f"{self._bucket}-{suffix}") + asked):
                for i, kind in enumerate(table.columns["_measurement"]):
                    tags = [(table.columns[tag][i] or "") if tag in table.columns else "" for tag in TAGS]
                    value = table.columns["_value"][i]
                    found.setdefault((kind, *tags), {})[table.result] = int(value)
        return [
            Series(
                kind,
                {tag: v for tag, v in zip(TAGS, tags, strict=True) if v},
                s["first"],
                s["last"],
                s.get("rows", 0),
            )
            for (kind, *tags), s in sorted(found.items())
        ]

    def count(self, site: str, gateway: str) -> int:
        owner = f"|> filter(fn: (r) => r.site == {_text(site)} and r.gateway == {_text(gateway)})"
        scripts = [
            f"{_instants(f'{self._bucket}-{suffix}', owner)}instants{_COUNT}"
            for suffix in dict.fromkeys(BUCKETS.values())
        ]
        return sum(int(t.columns["_value"].sum()) for script in scripts for t in self._tables(script))

    def remember_types(self, memory: TypeMemory) -> None:
        """A token that may only write cannot ask which types the buckets hold."""
        self._memory = memory

    def prune(self, before_ns: int) -> int:
        return 0  # the raw bucket's retention does it, see gateway/influx_setup.py

    def _bucket_of(self, kind: str) -> str:
        return f"{self._bucket}-{BUCKETS[lane_of(kind)]}"

    def _see_to_buckets(self, create: bool) -> None:
        """Each bucket must be one that this token sees, or may write to without seeing it."""
        buckets = self._client.buckets_api()
        there = {bucket.name for bucket in buckets.find_buckets_iter(org=self._client.org, limit=100)}
        for suffix in dict.fromkeys(BUCKETS.values()):
            name = f"{self._bucket}-{suffix}"
            if name in there:
                continue
            try:
                self._post(name, "")  # a token that may only write sees no bucket
                continue
            except ApiException as error:
                if error.status != 404 or not create:
                    if error.status in (403, 404):
                        raise StoreError(
                            f"{self._where}: bucket {name} does not exist, or the token has no right to it;"
                            " check the name, or run `bollard influx setup`"
                        ) from error
                    raise
            buckets.create_bucket(bucket_name=name)  # without retention: rows stay for ever

    def _post(self, bucket: str, lines: str) -> None:
        """One write request; durable when it returns."""
        self._client.api_client.call_api(
            "/api/v2/write", "POST", body=lines, auth_settings=[], _return_http_data_only=True,
            query_params=[("org", self._client.org), ("bucket", bucket), ("precision", "ns")],
            header_params={"Content-Type": "text/plain; charset=utf-8"},
        )  # fmt: skip

    def _pin_new(self, rows: Sequence[RowLine], held: dict[str, dict[str, FieldType]]) -> None:
        """Pin the types of fields that no row has had before, and have them remembered before they are written."""
        new: dict[str, dict[str, FieldType]] = {}
        for row in rows:
            fields = held.setdefault(row.kind, {})
            if fields.keys() >= row.fields.keys():
                continue
            fresh = new.setdefault(row.kind, {})
            for name, value in row.fields.items():
                stored = STORED.get(name, name)
                if stored not in fields and len(fields) + len(fresh) < MAX_FIELDS:
                    fresh.setdefault(stored, type_of(value))
        if any(new.values()):
            pinned = self._memory.pin(new) if self._memory is not None else new
            for kind, fresh in new.items():
                held[kind] |= {name: pinned[kind][name] for name in fresh}

    def _types_held(self) -> dict[str, dict[str, FieldType]]:
        """Kind -> field, under its stored name -> type, as the buckets have it. Flux does not tell types."""
        if self._held is None:
            held = self._memory.pin({}) if self._memory is not None else {}
            for suffix in dict.fromkeys(BUCKETS.values()):
                answer = self._client.api_client.call_api(
                    "/query", "GET", query_params=[("db", f"{self._bucket}-{suffix}"), ("q", "SHOW FIELD KEYS")],
                    _return_http_data_only=True, _preload_content=False,
                )  # fmt: skip
                for series in _results(answer.data):
                    fields = held.setdefault(series["name"], {})
                    fields.update({name: WIRE_TYPE[seen] for name, seen in series["values"] if seen in WIRE_TYPE})
            self._held = held
        return self._held

    def _send(self, bucket: str, lines: Sequence[Line]) -> list[tuple[int, str]]:
        """Write lines; halve what is refused until the culprits stand alone. Returns those, with the reason."""
        try:
            self._post(bucket, "\n".join(line for _, line in lines))
        except ApiException as error:
            if error.status not in (400, 413, 422):
                raise
            if len(lines) == 1:
                self._held = None  # the buckets know more than we do
                return [(lines[0][0], f"InfluxDB refuses it: {_message(error)}")]
            half = len(lines) // 2  # InfluxDB may have taken some already: writing them again is harmless
            return self._send(bucket, lines[:half]) + self._send(bucket, lines[half:])
        return []

    def _tables(self, script: str) -> Iterator["_Table"]:
        with self._explained(ASKING):
            reply = self._queries.query_raw(script, dialect=Dialect(header=True, annotations=["datatype"]))
            try:
                yield from _read_csv(io.TextIOWrapper(reply, encoding="utf-8", newline=""))
            finally:
                reply.release_conn()

    @contextmanager
    def _explained(self, lasting: frozenset[int]) -> Iterator[None]:
        """Turn the client's errors into ours; `lasting`: with these answers it is no use to ask again."""
        try:
            yield
        except ApiException as error:
            status, message = error.status, _message(error)
            if status in (401, 403):
                text = f"{self._where}: the token is refused ({status}: {message}); check it and its rights"
            elif status == 404:
                text = f"{self._where}: {message}; check org and bucket"
            else:
                text = f"{self._where}: answers {status}: {message}"
            raise (StoreError if status in lasting else StoreUnavailable)(text) from error
        except InfluxDBError as error:  # the client's own: it found no such organisation
            raise StoreError(f"{self._where}: {error}; check org and bucket") from error
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(f"{self._where}: no answer ({type(error).__name__})") from error


class _Table:
    """Consecutive rows of one table of an answer, as arrays."""

    def __init__(self, result: str, columns: dict[str, Array]) -> None:
        self.result = result
        self.columns = columns


def _misfit(row: RowLine, held: Mapping[str, Mapping[str, FieldType]]) -> str | None:
    """Why the row does not fit the types that are pinned, or None."""
    fields = held[row.kind]
    for name, value in row.fields.items():
        pinned = fields.get(STORED.get(name, name))
        if pinned is None:
            return f"field {name!r} would be number {len(fields) + 1} of {row.kind}, a store takes {MAX_FIELDS}"
        if type_of(value) != pinned:
            return clash(row.kind, name, type_of(value), pinned)
    return None


def _line(row: RowLine) -> str:
    """Line protocol as InfluxDB reads it: unlike on our wire a line break in a text stands for itself."""
    tags = "".join(f",{tag}={row.tags[tag]}" for tag in TAGS if row.tags.get(tag))
    pairs = []
    for name, value in row.fields.items():
        if isinstance(value, str):
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            pairs.append(f'{STORED.get(name, name)}="{escaped}"')
        else:
            pairs.append(f"{STORED.get(name, name)}={value!r}{'i' if isinstance(value, int) else ''}")
    return f"{row.kind}{tags} {','.join(pairs)} {row.t_ns}"


def _text(value: str) -> str:
    """A Flux string literal."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{escaped}"'


def _range(start_ns: int, stop_ns: int) -> str:
    return f"range(start: time(v: {max(start_ns, FIRST_NS)}), stop: time(v: {min(stop_ns, LAST_NS + 1)}))"


def _instants(bucket: str, only: str = "") -> str:
    """Flux: `instants`, a table per series with the distinct times of its rows.

    A row has no field that is always there, so rows are counted by their times.
    """
    keys = ", ".join(_text(key) for key in ("_time", "_measurement", *TAGS))
    return (
        f"instants = from(bucket: {_text(bucket)}) |> {_range(FIRST_NS, LAST_NS + 1)} {only}"
        f' |> keep(columns: [{keys}]) |> distinct(column: "_time")\n'
    )


_COUNT = (  # a time cannot be counted, a text can
    ' |> set(key: "row", value: "1") |> count(column: "row") |> rename(columns: {row: "_value"})'
    ' |> yield(name: "rows")\n'
)
_ENDS = 'instants |> min() |> yield(name: "first")\ninstants |> max() |> yield(name: "last")\n'


def _results(answer: bytes) -> Iterable[Mapping[str, Any]]:
    for result in json.loads(answer)["results"]:
        yield from result.get("series", ())


def _message(error: ApiException) -> str:
    """What InfluxDB says, without its envelope."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason or error.body)


def _read_csv(lines: Iterable[str]) -> Iterator[_Table]:
    """Annotated CSV, a few thousand rows at a time. Raises: StoreError if the answer ends in an error."""
    datatypes: list[str] = []
    header: list[str] = []
    rows: list[list[str]] = []
    for record in csv.reader(lines):
        if not record or record[0] == "#datatype":
            if rows:
                yield from _split(header, datatypes, rows)
            rows, header = [], []
            datatypes = record or datatypes
        elif not header:
            header = record
        elif header[1:] == ["error", "reference"]:
            raise StoreError(f"InfluxDB: the query ends with {record[1]!r}")
        else:
            rows.append(record)
            if len(rows) == ROWS_AT_ONCE:
                yield from _split(header, datatypes, rows)
                rows = []
    if rows:
        yield from _split(header, datatypes, rows)


def _split(header: Sequence[str], datatypes: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[_Table]:
    """Rows below one header, by the number of their table."""
    number = header.index("table")
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end][number] != rows[start][number]:
            columns = zip(*rows[start:end], strict=True)
            arrays = {
                name: _PARSE[datatype](column)
                for name, datatype, column in zip(header, datatypes, columns, strict=True)
                if datatype in _PARSE
            }
            yield _Table(rows[start][header.index("result")], arrays)
            start = end


def _times(column: Sequence[str]) -> Array:
    return np.array([text.removesuffix("Z") for text in column], "datetime64[ns]").astype(np.int64)


def _whole(column: Sequence[str]) -> Array:
    return np.array([int(text) if text else UNKNOWN for text in column], np.int64)


def _real(column: Sequence[str]) -> Array:
    return np.array([float(text) if text else np.nan for text in column], np.float64)


def _texts(column: Sequence[str]) -> Array:
    return np.array([text.replace("\r\n", "\n") or None for text in column], object)  # as Flux writes line breaks


_PARSE: dict[str, Callable[[Sequence[str]], Array]] = {
    "dateTime:RFC3339": _times, "dateTime:RFC3339Nano": _times, "long": _whole, "double": _real, "string": _texts,
}  # fmt: skip
