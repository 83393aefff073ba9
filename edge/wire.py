"""The contract between edge and shore: topics, field types, batches. Standard library only.

Data is InfluxDB line protocol. One message is one batch: a comment line that identifies it, then a line
per row. Names match [a-z0-9_-]+ and so never need escaping; only text does.
"""

import json
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

VERSION = 1
Lane = Literal["events", "minutes", "live", "detail"]
LANES: tuple[Lane, ...] = ("events", "minutes", "live", "detail")  # in the order in which they are sent
FieldType = Literal["int", "float", "str"]
Value = int | float | str
ORIGINS = ("real", "sim", "replay", "test")
TAGS = ("site", "gateway", "device", "origin", "vessel", "rev", "code", "point")  # order on the wire
NAME = re.compile(r"[a-z0-9_-]+")
QUALITY = {  # hex digit -> name; the edge's drivers/row.py has the same list
    0x0: "good", 0x1: "uncertain", 0x2: "unproven", 0x4: "stale", 0x5: "absent", 0x8: "unknown",
    0x9: "out_of_range", 0xA: "refused", 0xB: "no_answer", 0xC: "too_large", 0xD: "nonsense",
    0xF: "not_scanned",
}  # fmt: skip

COMPUTED: dict[str, dict[str, FieldType]] = {
    # Per meter and UTC minute; t is the start of the minute.
    "energy_1m": {
        "import_wh": "int", "export_wh": "int", "max_power_w": "float", "covered_s": "float",
        "measured_wh": "int", "integrated_wh": "int", "estimated_wh": "int",
        "register_import_wh": "int", "register_export_wh": "int", "register_t_ns": "int", "epoch": "int",
    },
    # Per battery scan; soc and its 95 % interval as fractions. available_wh: above empty, at rest. to_target_s: at
    # the present charge rate, left out where the target is not on the way.
    "soc": {
        "soc": "float", "soc_low": "float", "soc_high": "float", "capacity_wh": "float", "soh": "float",
        "available_wh": "float", "available_low_wh": "float", "available_high_wh": "float",
        "target_soc": "float", "to_target_s": "float", "to_target_low_s": "float", "to_target_high_s": "float",
    },
    # A call at a berth; t is its start. Registers are those of the berth's meter.
    "session": {
        "start_ns": "int", "end_ns": "int", "energy_wh": "int", "register_open_wh": "int",
        "register_close_wh": "int", "integrated_wh": "float", "peak_power_w": "float", "covered_s": "float",
        "connected_s": "float", "first_power_s": "float", "interruptions": "int", "soc_start": "float",
        "soc_end": "float", "berth": "str", "meter": "str",
        # 0: it may have begun so much earlier (ended later), no row was there to tell; left out: nobody knows.
        "begin_known": "int", "end_known": "int", "begin_unseen_s": "float", "end_unseen_s": "float",
        "peak_10min_w": "float", "peak_10min_ns": "int",
        "withdrawn": "int",  # 1: late rows have shown that there was no such call; readers leave it out
    },
    # A lockage; t is its start. direction: up, down or unknown.
    "lock_cycle": {
        "start_ns": "int", "end_ns": "int", "direction": "str", "vessel_seen": "int", "entry_s": "float",
        "closing_s": "float", "levelling_s": "float", "opening_s": "float", "exit_s": "float",
        "volume_m3": "float", "head_m": "float", "energy_wh": "int", "complete": "int",
        # false_lockage: 1 where no vessel was seen; lacking: kinds of signals that the lock has not shown.
        "false_lockage": "int", "lacking": "str", "coefficient": "float", "coefficient_sigma": "float",
        "leak_m3_s": "float", "leak_sigma_m3_s": "float", "gate_open_s": "float", "gate_close_s": "float",
        "withdrawn": "int",  # as of a call
    },
    # Where a lock stands now: told when the phase changes, and each minute. since_ns: when the phase began.
    "lock_phase": {"phase": "str", "since_ns": "int"},
    # How a lock ages: a figure (tag code: discharge_coefficient, leak_m3_s, gate_open_s, gate_close_s) of a head,
    # sluice, gate or chamber (tag point), its mean now and the reference, the mean of its first occasions.
    "lock_trend": {
        "value": "float", "sigma": "float", "mean": "float", "reference": "float", "occasions": "int",
        "drifted": "int",
    },
    # Something a person should know; tags code and point, parameters as fields.
    "event": {
        "value": "float", "low": "float", "high": "float", "step_s": "float", "before_wh": "int",
        "after_wh": "int", "rows": "int", "text": "str", "detail": "str",
        # active: 1 begins, 0 ends, having lasted so long and come back so many times; inhibited: in maintenance.
        "active": "int", "lasted_s": "float", "times": "int", "inhibited": "int", "limit": "float",
        "gate": "str", "sluice": "str", "light": "str", "head": "str", "chamber": "str", "head_m": "float",
        "mode": "int", "mode_before": "int", "register_wh": "float", "power_wh": "float", "allowed_wh": "float",
    },
    # Per device and report period.
    "link": {
        "connected": "int", "scan_ms": "float", "round_trip_ms": "float", "period_ms": "float", "scans": "int",
        "missed": "int", "overruns": "int", "set_aside": "int", "requests": "int",
        "errors_unreachable": "int", "errors_refused": "int", "errors_rejected": "int",
        "clock_offset_ms": "float",
    },
    # The gateway about itself.
    "gateway": {
        "rss_bytes": "int", "cpu_percent": "float", "disk_free_bytes": "int", "spool_bytes": "int",
        "waiting_rows": "int", "waiting_batches": "int", "oldest_s": "float", "dropped_rows": "int",
        "clock_trusted": "int", "uptime_s": "float",
    },
}  # fmt: skip
# Digits behind the point of what is estimated: what comes after them is noise, and half of a row's bytes.
DIGITS = {
    "soc": {
        "soc": 10, "soc_low": 6, "soc_high": 6, "soh": 6, "target_soc": 6, "capacity_wh": 0, "available_wh": 0,
        "available_low_wh": 0, "available_high_wh": 0, "to_target_s": 1, "to_target_low_s": 1,
        "to_target_high_s": 1,
    },
    "session": {"soc_start": 10, "soc_end": 10},  # as in the soc rows that they are
    "link": {"scan_ms": 3, "round_trip_ms": 3, "period_ms": 3, "clock_offset_ms": 3},
}  # fmt: skip
REVISED = ("energy_1m", "session", "lock_cycle")  # these carry a tag rev; readers take the highest
# May stand beside any kind's fields. late: 1 where the device had kept the row and gave it to us afterwards.
EVERY_ROW: dict[str, FieldType] = {"q": "str", "clk": "int", "late": "int"}


class WireError(ValueError):
    """A message does not follow the contract. Says where, what was seen, what is allowed."""


@dataclass(frozen=True, slots=True)
class RowLine:
    """One row as it travels. Unknown fields are simply not there."""

    kind: str
    tags: Mapping[str, str]
    fields: Mapping[str, Value]
    t_ns: int


@dataclass(frozen=True, slots=True)
class Header:
    """First line of a batch. `crc32` is that of all bytes after this line."""

    site: str
    gateway: str
    spool: str
    batch: int
    lane: str
    rows: int
    crc32: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the shore has made durable: a batch, and which of its lines it refused and why."""

    spool: str
    batch: int
    crc32: str
    stored: int
    refused: tuple[tuple[int, str], ...] = ()  # (line, counted from 0, and the reason)

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()


def topic(site: str, gateway: str, leaf: str) -> str:
    """`leaf` is data, data-z, receipt, status or catalogue."""
    return f"bollard/{VERSION}/{site}/{gateway}/{leaf}"


def parse_topic(text: str) -> tuple[str, str, str]:
    """Site, gateway and leaf of a topic. Raises: WireError."""
    parts = text.split("/")
    if len(parts) != 5 or parts[:2] != ["bollard", str(VERSION)]:
        raise WireError(f"topic {text!r} is not bollard/{VERSION}/<site>/<gateway>/<leaf>")
    return parts[2], parts[3], parts[4]


def lane_of(kind: str, scan: str = "live") -> Lane:
    """The lane that a row of this kind (and, for device kinds, this scan class) travels in."""
    if kind == "event":
        return "events"
    if kind in REVISED or kind == "lock_trend":
        return "minutes"
    return "live" if kind in COMPUTED or scan == "live" else "detail"


def encode_row(kind: str, tags: Mapping[str, str], fields: Mapping[str, Value], t_ns: int) -> str:
    """One line of line protocol. NaN and infinite numbers are left out, as unknown values are.

    Raises: WireError if nothing is left, or a name cannot travel.
    """
    pairs = []
    for name, value in fields.items():
        if isinstance(value, str):
            escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "")
            pairs.append(f'{name}="{escaped}"')
        elif isinstance(value, int):
            pairs.append(f"{name}={int(value)}i")
        elif math.isfinite(value):
            pairs.append(f"{name}={float(value)!r}")
    if not pairs:
        raise WireError(f"{kind} at {t_ns}: no field is known; a row needs one at least (q will do)")
    known = "".join(f",{tag}={tags[tag]}" for tag in TAGS if tags.get(tag))
    return f"{kind}{known} {','.join(pairs)} {t_ns}"


def encode_batch(header: Header, body: bytes) -> bytes:
    h = header
    return (
        f"# bollard/{VERSION} site={h.site} gateway={h.gateway} spool={h.spool} batch={h.batch}"
        f" lane={h.lane} rows={h.rows} crc32={h.crc32}\n"
    ).encode() + body


def crc32(body: bytes) -> str:
    return f"{zlib.crc32(body):08x}"


def body_of(lines: Iterable[str]) -> bytes:
    """The bytes below a batch's header."""
    return "".join(line + "\n" for line in lines).encode()


def inflate(payload: bytes, limit: int = 16 * 2**20) -> bytes:
    """Content of a `data-z` message (zlib). Raises: WireError if it is broken or larger than `limit`."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(payload, limit)
    except zlib.error as error:
        raise WireError(f"data-z: {len(payload)} bytes that are not zlib: {error}") from error
    if stream.unconsumed_tail or not stream.eof:
        raise WireError(f"data-z: ends early, or holds more than {limit} bytes")
    return plain


_HEADER = re.compile(
    r"# bollard/(\d+) site=([a-z0-9_-]+) gateway=([a-z0-9_-]+) spool=([0-9a-f-]{36}) batch=(\d{1,15})"
    r" lane=([a-z]+) rows=(\d{1,9}) crc32=([0-9a-f]{8})",
    re.ASCII,  # other scripts have digits too
)


def decode_batch(payload: bytes) -> tuple[Header, list[str]]:
    """Header and lines of a batch, with the checksum and the number of rows checked.

    Raises: WireError, with the value seen and the value expected.
    """
    first, _, body = payload.partition(b"\n")
    match = _HEADER.fullmatch(first.decode("utf-8", "replace"))
    if match is None:
        raise WireError(f"first line {first[:120]!r} is no bollard/{VERSION} header")
    if int(match[1]) != VERSION:
        raise WireError(f"version {match[1]} of the wire; this side speaks {VERSION}")
    header = Header(match[2], match[3], match[4], int(match[5]), match[6], int(match[7]), match[8])
    if header.lane not in LANES:
        raise WireError(f"lane {header.lane!r} is not one of {', '.join(LANES)}")
    seen = crc32(body)
    if seen != header.crc32:
        raise WireError(f"batch {header.batch}: crc32 of the lines is {seen}, the header says {header.crc32}")
    try:
        lines = body.decode("utf-8").split("\n")[:-1]
    except UnicodeDecodeError as error:
        raise WireError(f"batch {header.batch}: byte {error.start} is not UTF-8") from error
    if len(lines) != header.rows:
        raise WireError(f"batch {header.batch}: {len(lines)} rows, the header says {header.rows}")
    return header, lines


_NUMBER = r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_FIELD = re.compile(rf'([a-z0-9_-]+)=(?:(-?\d{{1,19}})i|({_NUMBER})|"((?:[^"\\]|\\.)*)")(,|$)', re.ASCII)
_LINE = re.compile(r"([a-z0-9_-]+)((?:,[a-z]+=[a-z0-9_-]+)*) (.+) (-?\d{1,19})", re.DOTALL | re.ASCII)


def decode_row(line: str) -> RowLine:
    """Parse one line of a batch. Raises: WireError."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise WireError(f"{line[:120]!r} is not kind,tag=value field=value time")
    pairs = match[2].split(",")[1:]
    tags = dict(part.split("=") for part in pairs)
    if len(tags) < len(pairs):
        raise WireError(
            f"{match[1]}: a tag stands twice in {match[2]:.120}"
        )  # readers would differ in which holds
    unknown = tags.keys() - set(TAGS)
    if unknown:
        raise WireError(f"tag {sorted(unknown)[0]!r} is not one of {', '.join(TAGS)}")
    text, at = match[3], 0
    fields: dict[str, Value] = {}
    while at < len(text):
        pair = _FIELD.match(text, at)
        if pair is None or (pair[5] == "," and pair.end() == len(text)):
            raise WireError(f"{match[1]}: {text[at : at + 60]!r} is not field=value")
        name, whole, real, string, _ = pair.groups()
        if name in fields:
            raise WireError(f"{match[1]}: field {name!r} stands twice")
        if whole is not None:
            fields[name] = int(whole)
        elif real is not None:
            fields[name] = float(real)
        else:
            fields[name] = _unescape(string)
        at = pair.end()
    return RowLine(match[1], tags, fields, int(match[4]))


def _unescape(text: str) -> str:
    """As in line protocol, where a backslash before anything else stands for itself; a line break is ours."""
    return re.sub(r'\\(["\\n])', lambda m: "\n" if m[1] == "n" else m[1], text) if "\\" in text else text


def decode_receipt(payload: bytes) -> Receipt:
    """Raises: WireError."""
    try:
        data = json.loads(payload)
        refused = tuple((int(line), str(reason)) for line, reason in data["refused"])
        return Receipt(str(data["spool"]), int(data["batch"]), str(data["crc32"]), int(data["stored"]), refused)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise WireError(f"receipt {payload[:120]!r}: {error!r}") from error


@dataclass(frozen=True)
class Catalogue:
    """What a gateway offers: enough to read its rows without its profiles.

    `devices[i]` has name, kind, origin, profile, profile_hash, model, interval_s and points; a point has
    name, type (int, float, str), unit, scan, range ([low, high] or null), codes, fr, en; their order is
    that of the digits of `q`. A meter has `counting` (`edge.counting`): gap, largest power, ratio and range of its
    registers, so that the shore can count alike. `settings` is the site file without its secrets.
    """

    site: str
    gateway: str
    hash: str  # of the site file
    settings: Mapping[str, Any]
    devices: Sequence[Mapping[str, Any]]

    def encode(self) -> bytes:
        data = {"version": VERSION, **asdict(self)}
        return json.dumps(data, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()

    def field_types(self) -> dict[tuple[str, str], dict[str, FieldType]]:
        """(kind, device) -> type of each of its own fields, `q` and `clk` included."""
        return {
            (d["kind"], d["name"]): {p["name"]: p["type"] for p in d["points"]} | EVERY_ROW for d in self.devices
        }


def decode_catalogue(payload: bytes) -> Catalogue:
    """Raises: WireError."""
    try:
        data = json.loads(payload)
        if data["version"] != VERSION:
            raise WireError(f"catalogue of version {data['version']!r:.20}; this side speaks {VERSION}")
        names = ("site", "gateway", "hash")
        odd = next((name for name in names if not isinstance(data[name], str)), None)
        if odd is not None:
            raise WireError(f"catalogue: {odd} {data[odd]!r:.60} is no text")
        json.dumps(data, ensure_ascii=False).encode()  # half a character cannot be kept
        return Catalogue(data["site"], data["gateway"], data["hash"], data["settings"], tuple(data["devices"]))
    except WireError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError(f"catalogue {payload[:80]!r}: {error!r:.100}") from error


def problem_with(row: RowLine, types: Mapping[tuple[str, str], Mapping[str, FieldType]]) -> str | None:
    """Why this row cannot be stored, or None. `types` comes from `Catalogue.field_types`."""
    device = row.tags.get("device", "")
    allowed: Mapping[str, FieldType] | None
    allowed = COMPUTED[row.kind] | EVERY_ROW if row.kind in COMPUTED else types.get((row.kind, device))
    if allowed is None:
        return f"kind {row.kind!r} of device {device!r} is not in the catalogue"
    if row.tags.get("origin") not in ORIGINS:
        return f"origin {row.tags.get('origin')!r} is not one of {', '.join(ORIGINS)}"
    if row.kind in REVISED and not row.tags.get("rev", "").isdigit():
        return f"{row.kind} needs a tag rev, a whole number; seen {row.tags.get('rev')!r}"
    for name, value in row.fields.items():
        if name not in allowed:
            return f"field {name!r} is not in the catalogue of {row.kind} {device!r}"
        seen = "str" if isinstance(value, str) else "int" if isinstance(value, int) else "float"
        if seen != allowed[name]:
            return f"field {name!r} of {row.kind} {device!r} is {seen}, the catalogue says {allowed[name]}"
    return None
